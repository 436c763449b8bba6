package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
)

// Deadlines hold when the server is gone, and Close does not wait for it.
func TestDeadlinesWithoutAServer(t *testing.T) {
	t.Parallel()
	srv := must[*embedded.Server](t)(embedded.Start(embedded.Config{}))
	db := must[*natsorm.DB](t)(srv.Open(within(t), natsorm.Config{Bucket: "b"}))
	type rec struct {
		ID int `json:"id" orm:"primaryKey,auto"`
	}
	recs := define[rec](t, db)
	for range testsize.Pick(0, 1000, 5000) {
		ok(t, recs.Create(within(t), &rec{}))
	}
	ok(t, recs.Create(within(t), &rec{}))
	w := must[*natsorm.Watcher[rec]](t)(recs.Watch(within(t)))
	ok(t, srv.Close())
	const most = 2 * time.Second
	for call, run := range map[string]func(ctx context.Context) error{
		"Count":    func(ctx context.Context) error { _, err := recs.Count(ctx); return err },
		"FindAll":  func(ctx context.Context) error { _, err := recs.FindAll(ctx, natsorm.In("id", 1, 2, 3)); return err },
		"FindByPK": func(ctx context.Context) error { _, err := recs.FindByPK(ctx, 1); return err },
		"Update":   func(ctx context.Context) error { _, err := recs.Destroy(ctx, natsorm.All()); return err },
		"Watch":    func(ctx context.Context) error { _, err := recs.Watch(ctx); return err },
		"Check":    func(ctx context.Context) error { _, err := db.Check(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		if err := run(ctx); err == nil {
			t.Errorf("%s succeeds without a server", call)
		}
		if took := time.Since(start); took > most {
			t.Errorf("%s takes %v with 200 ms to go", call, took)
		}
		cancel()
	}
	start := time.Now()
	w.Stop()
	ok(t, db.Close())
	if took := time.Since(start); took > most {
		t.Errorf("Stop and Close take %v", took)
	}
}

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
}

func TestOpenKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { silent.Close() })
	cfg := natsorm.Config{Servers: []string{"nats://" + silent.Addr().String()}, Bucket: "b", NATS: []nats.Option{nil, nats.Timeout(30 * time.Second)}}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	canceled, stop := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, stop)
	for _, ctx := range []context.Context{short, canceled} {
		start := time.Now()
		if _, err := natsorm.Open(ctx, cfg); err == nil {
			t.Error("opened on a server that says nothing")
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("failed after %v", took)
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	closed.Close()
	cfg = natsorm.Config{Servers: []string{"nats://" + closed.Addr().String()}, Bucket: "b", NATS: []nats.Option{nats.RetryOnFailedConnect(true)}}
	if _, err := natsorm.Open(within(t), cfg); err == nil || errors.Is(err, natsorm.ErrUnsupportedServer) {
		t.Errorf("without a server, retrying: %v", err)
	}
}
