package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// batched is how many of the accounts' last messages came in a batch, and how many
// batches those were.
func batched(t *testing.T, ctx context.Context, db *natsorm.DB, all []*account) (records, batches int) {
	t.Helper()
	js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
	stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_"+db.KV().Bucket()))
	ids := map[string]bool{}
	for _, a := range all {
		m := must[*jetstream.RawStreamMsg](t)(stream.GetMsg(ctx, a.Version))
		if id := m.Header.Get("Nats-Batch-Id"); id != "" {
			records++
			ids[id] = true
		}
	}
	return records, len(ids)
}

// On a server that syncs every write, writers that come together share batches: one
// that loses does not take its neighbours with it, and each gets its own revision.
func TestWritersShareBatches(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{Dir: t.TempDir()})
	db := natsormtest.Open(t, srv, "synced")
	accounts := define[account](t, db)
	ctx := within(t)
	const clients = 64
	each := testsize.Pick(12, 40, 40)
	var mu sync.Mutex
	var created []*account
	lost, cancelled := 0, 0
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				a := &account{ID: c*each + i, Number: fmt.Sprint(c, ".", i), Owner: fmt.Sprint(i)}
				if i%4 == 3 {
					a.Number = fmt.Sprint("one of all ", i) // 63 of 64 lose
				}
				one := ctx
				if i%10 == 9 { // some do not wait for long
					var cancel context.CancelFunc
					one, cancel = context.WithTimeout(ctx, 3*time.Millisecond)
					defer cancel()
				}
				err := accounts.Create(one, a)
				mu.Lock()
				switch {
				case err == nil:
					created = append(created, a)
				case errors.Is(err, natsorm.ErrUnique):
					lost++
				case one != ctx && errors.Is(err, context.DeadlineExceeded):
					cancelled++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	records, batches := batched(t, ctx, db, created)
	t.Logf("%d created, %d of them in %d shared batches; %d lost, %d were cancelled", len(created), records, batches, lost, cancelled)
	const puts = 20
	began := time.Now()
	for range puts {
		must[uint64](t)(db.KV().PutString(ctx, "raw", ""))
	}
	if each := time.Since(began) / puts; each < 200*time.Microsecond {
		t.Logf("a put takes %v: the disk syncs too fast for sharing to pay", each)
	} else if batches == 0 || records < 2*batches {
		t.Errorf("a put takes %v, and batches were not shared", each)
	}
	for _, a := range created {
		got := must[*account](t)(accounts.FindByPK(ctx, a.ID))
		if *got != *a {
			t.Fatalf("%+v is stored as %+v", a, got)
		}
	}
}

// A bulk write goes in batches of many, whose versions are the records' own; and
// Close ends what waits.
func TestBulkWritesShareBatches(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	all := make([]*account, 3000)
	for i := range all {
		all[i] = &account{ID: i, Number: fmt.Sprint(i - i%100/99), Owner: "o"} // one in a hundred has its neighbour's
	}
	var bulk *natsorm.BulkError
	if err := accounts.BulkCreate(ctx, all); !errors.As(err, &bulk) || !errors.Is(err, natsorm.ErrUnique) || len(bulk.Faults) != 30 {
		t.Fatalf("got %v", err)
	}
	there := must[[]*account](t)(accounts.FindAll(ctx, natsorm.OrderBy("id")))
	for _, a := range there {
		if *all[a.ID] != *a {
			t.Fatalf("%+v is stored as %+v", all[a.ID], a)
		}
	}
	records, batches := batched(t, ctx, db, there)
	if records != len(there) || batches > 600 {
		t.Errorf("%d records in %d batches", records, batches)
	}
	if n := must[int](t)(accounts.Update(ctx, natsorm.Set{"owner": "p"}, natsorm.Lt("id", 1000))); n != 990 {
		t.Errorf("%d were changed", n)
	}
	if n := must[int](t)(accounts.Destroy(ctx, natsorm.Gte("id", 1000))); n != 1980 {
		t.Errorf("%d were destroyed", n)
	}
	if n := must[int](t)(accounts.Count(ctx, natsorm.Eq("owner", "p"))); n != 990 {
		t.Errorf("%d are left", n)
	}

	closing := make([]*account, 2000)
	for i := range closing {
		closing[i] = &account{ID: 10_000 + i, Number: fmt.Sprint(10_000 + i), Owner: "c"}
	}
	done := make(chan error, 1)
	go func() { done <- accounts.BulkCreate(ctx, closing) }()
	for must[int](t)(accounts.Count(ctx, natsorm.Eq("owner", "c"))) == 0 {
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
	ok(t, db.Close())
	if err := <-done; err != nil && !errors.Is(err, natsorm.ErrClosed) && !errors.Is(err, natsorm.ErrUnknownOutcome) {
		t.Errorf("closed meanwhile: %v", err)
	}
}
