package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// A record that is there from before a scan until after it is seen exactly
// once, however often it is rewritten meanwhile.
func TestScanSeesEveryRecordOnce(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	type item struct {
		ID int `json:"id" orm:"primaryKey"`
		N  int `json:"n"`
	}
	items := define[item](t, db)
	ctx := within(t)
	const n = 4000
	batch := make([]*item, n)
	for i := range batch {
		batch[i] = &item{ID: i}
	}
	ok(t, items.BulkCreate(ctx, batch))

	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			for i := 0; writing.Err() == nil; i++ {
				// Half of the writes go to a few hot records.
				id := r.IntN(n)
				if i%2 == 0 {
					id = r.IntN(8)
				}
				if _, err := items.Upsert(ctx, &item{ID: id, N: i}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	duration := testsize.Pick(400*time.Millisecond, 2*time.Second, 6*time.Second)
	scans := 0
	for end := time.Now().Add(duration); time.Now().Before(end); scans++ {
		seen := make([]int, n)
		for v, err := range items.Each(ctx) {
			ok(t, err)
			seen[v.ID]++
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("scan %d saw record %d %d times", scans, id, times)
			}
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d scans", scans)
}

// With a history, a destroyed record must not come back when its delete marker
// goes.
func TestDestroyedRecordStaysAwayWithHistory(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	ctx := within(t)
	for _, history := range []uint8{1, 5} {
		bucket := fmt.Sprint("history", history)
		db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: bucket, History: history}))
		users := define[user](t, db)
		ok(t, users.Create(ctx, &user{ID: 1, Name: "a", Email: "e"}))
		must[int](t)(users.Update(ctx, natsorm.Set{"name": "b"}, natsorm.Eq("id", 1)))
		must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 1)))
		js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
		stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_"+bucket))
		for key, expires := range map[string]bool{"user.shard_1.1": history == 1, "user.index.name.b.1": true, "user.unique.email.e": true} {
			msg, err := stream.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+key)
			ok(t, err)
			if msg.Header.Get("KV-Operation") == "" || (msg.Header.Get("Nats-TTL") != "") != expires {
				t.Errorf("history %d: the marker of %s has headers %v", history, key, msg.Header)
			}
		}
		natsormtest.Prove(t, db)
		ok(t, db.Close())
	}
}

// TestScanOfOneHotRecord: a record that is overwritten all the time is found by
// every scan, also by one whose consumer says that there is nothing.
func TestScanOfOneHotRecord(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "n", Email: "e"}))
	stop, halt := context.WithTimeout(ctx, testsize.Pick(300*time.Millisecond, time.Second, 3*time.Second))
	defer halt()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; stop.Err() == nil; i++ {
				if _, err := users.Increment(ctx, natsorm.Set{"age": 1}, natsorm.Eq("id", 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	scans := 0
	for ; stop.Err() == nil; scans++ {
		// A fresh handle does not know that the model is small, and scans it.
		again := define[user](t, db)
		if found := must[[]*user](t)(again.FindAll(ctx)); len(found) != 1 {
			t.Errorf("scan %d found %d", scans, len(found))
		}
	}
	wg.Wait()
	t.Logf("%d scans", scans)
}

// A cancelled context ends a scan at once, and nothing stays on the server.
func TestCancelledScanEndsAtOnce(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	var all []*user
	for i := range 5000 {
		all = append(all, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i), Age: i})
	}
	ok(t, users.BulkCreate(ctx, all))
	for _, q := range [][]natsorm.Query{{}, {natsorm.Gte("age", 0)}, {natsorm.OrderBy("age")}, {natsorm.Eq("name", "n")}} {
		short, cancel := context.WithCancel(ctx)
		n := 0
		var last error
		for v, err := range users.Each(short, q...) {
			if err != nil {
				last = err
				continue
			}
			if n++; v.Age >= 0 && n == 3 {
				cancel()
			}
		}
		cancel()
		if len(q) == 1 && n == 5000 {
			continue // an order is made before the first record is seen
		}
		if !errors.Is(last, context.Canceled) || n > 1000 {
			t.Errorf("%d records after the context ended, then %v", n, last)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := users.FindAll(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	status := must[jetstream.KeyValueStatus](t)(db.KV().Status(ctx))
	if n := status.(*jetstream.KeyValueBucketStatus).StreamInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

// A context that ends in the middle of a scan leaves no consumer.
func TestCanceledScansLeaveNothing(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	ctx := within(t)
	db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "b"}))
	users := define[user](t, db)
	for i := range 500 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Email: fmt.Sprint(i)}))
	}
	for i := range testsize.Pick(100, 300, 300) {
		short, cancel := context.WithTimeout(ctx, time.Duration(i)*10*time.Microsecond)
		_, err := users.FindAll(short)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	ok(t, db.Close()) // waits for consumers that were still being made
	nc := must[*nats.Conn](t)(srv.Connect())
	t.Cleanup(nc.Close)
	stream := must[jetstream.Stream](t)(must[jetstream.JetStream](t)(jetstream.New(nc)).Stream(ctx, "KV_b"))
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
	natsormtest.Open(t, srv, "b") // proves it
}
