package natsorm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// TestCountIsExact counts after every kind of change, in one process and in
// others that come fresh, and holds it against a scan.
func TestCountIsExact(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	ctx := within(t)
	for _, cfg := range []natsorm.Config{{Bucket: "plain"}, {Bucket: "history", History: 3}} {
		db := must[*natsorm.DB](t)(srv.Open(ctx, cfg))
		users := define[user](t, db)
		agree := func(when string, want int) {
			t.Helper()
			if n := must[int](t)(users.Count(ctx)); n != want {
				t.Errorf("%s, %s: counted %d of %d", cfg.Bucket, when, n, want)
			}
			other := must[*natsorm.DB](t)(srv.Open(ctx, cfg))
			if n := must[int](t)(define[user](t, other).Count(ctx)); n != want {
				t.Errorf("%s, %s: another process counted %d of %d", cfg.Bucket, when, n, want)
			}
			ok(t, other.Close())
			if n := len(must[[]*user](t)(users.FindAll(ctx))); n != want {
				t.Errorf("%s, %s: found %d of %d", cfg.Bucket, when, n, want)
			}
		}
		agree("empty", 0)
		var all []*user
		for i := range 500 {
			all = append(all, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i), Age: i})
		}
		ok(t, users.BulkCreate(ctx, all))
		agree("created", 500)
		must[int](t)(users.Destroy(ctx, natsorm.Lt("age", 100)))
		agree("destroyed", 400)
		must[int](t)(users.Update(ctx, natsorm.Set{"name": "m"}, natsorm.Lt("age", 200)))
		agree("updated", 400)
		ok(t, users.BulkCreate(ctx, all[:50]))
		agree("created again", 450)
		for i := range 10 { // other programs leave markers too, without a TTL
			ok(t, db.KV().Delete(ctx, fmt.Sprintf("user.shard_%d.%d", (300+i)%16, 300+i)))
		}
		agree("deleted by another program", 440)
		ok(t, db.KV().PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
		agree("its markers purged", 440)
		if n := must[int](t)(users.Count(ctx, natsorm.Limit(100), natsorm.Offset(400))); n != 40 {
			t.Errorf("limit and offset: %d", n)
		}
		ok(t, users.Truncate(ctx))
		agree("truncated", 0)
		natsormtest.Prove(t, db)
		ok(t, db.Close())
	}
}

// TestCountAmongWriters: 100 records are there all the while, and 20 come and
// go; a count is never less than the one or more than both.
func TestCountAmongWriters(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	var all []*user
	for i := range 100 {
		all = append(all, &user{ID: int64(i), Name: "stays", Email: fmt.Sprint(i)})
	}
	ok(t, users.BulkCreate(ctx, all))
	stop, halt := context.WithTimeout(ctx, testsize.Pick(300*time.Millisecond, time.Second, 3*time.Second))
	defer halt()
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for stop.Err() == nil {
				id := int64(1000 + w)
				if err := users.Create(ctx, &user{ID: id, Name: "goes", Email: fmt.Sprint("goes", w)}); err != nil {
					t.Error(err)
				}
				if _, err := users.Update(ctx, natsorm.Set{"bio": fmt.Sprint(r.IntN(1000))}, natsorm.Eq("id", r.IntN(100))); err != nil {
					t.Error(err)
				}
				if _, err := users.Destroy(ctx, natsorm.Eq("id", id)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	counts := 0
	for ; stop.Err() == nil; counts++ {
		if n := must[int](t)(users.Count(ctx)); n < 100 || n > 120 {
			t.Errorf("count %d of 100 to 120", n)
		}
	}
	wg.Wait()
	t.Logf("%d counts", counts)
	if n := must[int](t)(users.Count(ctx)); n != 100 {
		t.Errorf("in the end %d", n)
	}
}

// TestCountOfOverwrittenRecords: records that are only ever overwritten are all
// counted, at every instant.
func TestCountOfOverwrittenRecords(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	const n = 20
	for i := range n {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)}))
	}
	stop, halt := context.WithTimeout(ctx, testsize.Pick(300*time.Millisecond, time.Second, 3*time.Second))
	defer halt()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; stop.Err() == nil; i++ {
				if _, err := users.Update(ctx, natsorm.Set{"bio": fmt.Sprint(i)}, natsorm.Eq("id", (w+i)%n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	counts := 0
	for ; stop.Err() == nil; counts++ {
		if got := must[int](t)(users.Count(ctx)); got != n {
			t.Errorf("count %d: %d of %d", counts, got, n)
		}
	}
	wg.Wait()
	t.Logf("%d counts", counts)
}
