package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
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

// Calls under way when the DB is closed say so, and leave nothing behind.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	nc := must[*nats.Conn](t)(srv.Connect())
	t.Cleanup(nc.Close)
	ctx := within(t)
	js := must[jetstream.JetStream](t)(jetstream.New(nc))
	for round := range testsize.Pick(6, 10, 20) {
		var db *natsorm.DB
		if round%2 == 0 { // a connection that stays, and one that goes
			db = must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "b", Storage: jetstream.MemoryStorage}))
		} else {
			db = must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "b"}))
		}
		users := define[user](t, db)
		if round == 0 {
			for i := range 300 {
				ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)}))
			}
		}
		var wg sync.WaitGroup
		started := make(chan struct{}, 64)
		for range 8 {
			for _, call := range []func(ctx context.Context) error{
				func(ctx context.Context) error { _, err := users.FindAll(ctx); return err },
				func(ctx context.Context) error { _, err := users.Count(ctx, natsorm.Eq("name", "n")); return err },
				func(ctx context.Context) error { _, err := users.FindByPK(ctx, 1); return err },
				func(ctx context.Context) error { _, err := users.Watch(ctx); return err },
			} {
				wg.Go(func() {
					for {
						short, cancel := context.WithTimeout(ctx, time.Minute)
						err := call(short)
						cancel()
						select {
						case started <- struct{}{}:
						default:
						}
						if err != nil {
							if !errors.Is(err, natsorm.ErrClosed) {
								t.Errorf("under Close: %v", err)
							}
							return
						}
					}
				})
			}
		}
		<-started
		ok(t, db.Close())
		wg.Wait()
		stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_b"))
		if n := stream.CachedInfo().State.Consumers; n != 0 {
			t.Fatalf("round %d: %d consumers after Close", round, n)
		}
	}
	natsormtest.Open(t, srv, "b") // proves it
}

func TestNilContextAndClosedDB(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	closed := natsormtest.New(t)
	gone := define[user](t, closed)
	t.Cleanup(func() {}) // natsormtest proves before this test's Close below would run
	ctx := within(t)

	calls := func(m *natsorm.Model[user], db *natsorm.DB, nilCtx bool) map[string]error {
		c := ctx
		if nilCtx {
			c = nil
		}
		u := &user{ID: 1}
		out := map[string]error{
			"Create": m.Create(c, u), "Save": m.Save(c, u), "BulkCreate": m.BulkCreate(c, []*user{u}), "Truncate": m.Truncate(c),
		}
		_, out["Upsert"] = m.Upsert(c, u)
		_, out["Update"] = m.Update(c, natsorm.Set{"age": 1}, natsorm.All())
		_, out["Increment"] = m.Increment(c, natsorm.Set{"age": 1}, natsorm.All())
		_, out["Destroy"] = m.Destroy(c, natsorm.All())
		_, out["FindByPK"] = m.FindByPK(c, 1)
		_, out["FindOne"] = m.FindOne(c)
		_, out["FindAll"] = m.FindAll(c)
		_, out["Count"] = m.Count(c)
		_, out["Watch"] = m.Watch(c)
		_, out["Model"] = db.Model(c, "user")
		_, out["Models"] = db.Models(c)
		_, out["Check"] = db.Check(c)
		_, out["Sweep"] = db.Sweep(c)
		_, out["Define"] = natsorm.Define[user](c, db)
		_, out["DefineRecord"] = natsorm.DefineRecord(c, db, natsorm.Schema{})
		for _, err := range m.Each(c) {
			out["Each"] = err
		}
		return out
	}
	for call, err := range calls(users, db, true) {
		if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "context") {
			t.Errorf("%s with a nil context: %v", call, err)
		}
	}
	second := must[*natsorm.DB](t)(natsorm.New(ctx, closed.Conn(), natsorm.Config{Bucket: "test"}))
	users2 := define[user](t, second)
	ok(t, second.Close())
	ok(t, second.Close())
	for call, err := range calls(users2, second, false) {
		if !errors.Is(err, natsorm.ErrClosed) {
			t.Errorf("%s after Close: %v", call, err)
		}
	}
	ok(t, gone.Create(ctx, &user{ID: 1})) // the other DB on the connection is not concerned
}

// Nothing is left of a DB and its watches: no goroutine, no subscription, no
// consumer.
func TestNothingIsLeft(t *testing.T) {
	srv := serve(t, embedded.Config{})
	nc := must[*nats.Conn](t)(srv.Connect())
	t.Cleanup(nc.Close)
	ctx := within(t)
	run := func() {
		db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "left", Storage: jetstream.MemoryStorage}))
		users := define[user](t, db)
		var batch []*user
		for i := range testsize.Pick(1500, 3000, 3000) { // more than a scan asks for at a time
			batch = append(batch, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)})
		}
		_ = users.BulkCreate(ctx, batch)
		for range users.Each(ctx) {
			break
		}
		short, cancel := context.WithCancel(ctx)
		defer cancel()
		for range users.Each(short) {
			cancel()
		}
		must[int](t)(users.Count(ctx, natsorm.Eq("name", "n")))
		w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx, natsorm.WithCurrent()))
		<-w.Changes()
		stopped := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
		stopped.Stop()
		status, err := db.KV().Status(ctx)
		ok(t, err)
		if n := status.(*jetstream.KeyValueBucketStatus).StreamInfo().State.Consumers; n != 1 {
			t.Errorf("%d consumers for one watch", n)
		}
		ok(t, db.Close())
		stream, err := must[jetstream.JetStream](t)(jetstream.New(nc)).Stream(ctx, "KV_left")
		ok(t, err)
		if n := stream.CachedInfo().State.Consumers; n != 0 {
			t.Errorf("%d consumers after Close", n)
		}
	}
	run()
	before := goroutines()
	run()
	run()
	deadline := time.Now().Add(10 * time.Second)
	for len(goroutines()) > len(before) && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if after := goroutines(); len(after) > len(before) {
		t.Errorf("%d goroutines, before %d:\n%s", len(after), len(before), strings.Join(after, "\n\n"))
	}
	if n := nc.NumSubscriptions(); n > 1 { // the connection's own inbox
		t.Errorf("%d subscriptions are left", n)
	}
	natsormtest.Open(t, srv, "left") // proves it
}

// goroutines are the stacks of the goroutines that run this project's code.
func goroutines() []string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return slices.DeleteFunc(strings.Split(string(buf), "\n\n"), func(s string) bool {
		return !strings.Contains(s, "natsorm/internal") && !strings.Contains(s, "natsorm.(*")
	})
}
