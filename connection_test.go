package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// TestLargeRecordsDoNotBreakTheConnection: the server drops a connection that
// too many bytes wait for, and with it everybody's requests.
func TestLargeRecordsDoNotBreakTheConnection(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads hundreds of megabytes")
	}
	srv := serve(t, embedded.Config{Port: -1})
	var breaks atomic.Int32
	nc := must[*nats.Conn](t)(nats.Connect(srv.URL(), nats.DisconnectErrHandler(func(*nats.Conn, error) { breaks.Add(1) })))
	t.Cleanup(nc.Close)
	ctx := within(t)
	db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "large"}))
	users := define[user](t, db)
	const n = 150
	body := strings.Repeat("x", 900_000)
	ids := make([]any, n)
	for i := range n {
		ids[i] = i
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i), Age: i, Bio: body}))
	}
	for i, q := range [][]natsorm.Query{{}, {natsorm.In("id", ids...)}, {natsorm.Eq("name", "n")}, {natsorm.OrderBy("age"), natsorm.Limit(5)}} {
		want := n
		if i == 3 {
			want = 5
		}
		again := define[user](t, db) // one that does not know how large they are
		if found := must[[]*user](t)(again.FindAll(ctx, q...)); len(found) != want {
			t.Errorf("query %d: %d of %d", i, len(found), want)
		}
	}
	if n := breaks.Load(); n > 0 {
		t.Errorf("the connection broke %d times", n)
	}
	ok(t, db.Close())
	natsormtest.Open(t, srv, "large") // proves it
}

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
		"Sweep":    func(ctx context.Context) error { _, err := db.Sweep(ctx); return err },
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

func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	srv := must[*embedded.Server](t)(embedded.Start(embedded.Config{}))
	db := must[*natsorm.DB](t)(srv.Open(within(t), natsorm.Config{Bucket: "b"}))
	users := define[user](t, db)
	ok(t, users.Create(within(t), &user{ID: 1}))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(within(t)))
	ok(t, srv.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := users.Create(ctx, &user{ID: 2}); err == nil {
		t.Error("created on a server that is gone")
	}
	if _, err := users.FindByPK(ctx, 1); err == nil || errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("found on a server that is gone: %v", err)
	}
	ok(t, db.Close())
	if _, open := <-w.Changes(); open {
		t.Error("a change from a server that is gone")
	}
}

// A DB and its watches live through a restart of the server.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := embedded.Config{Dir: dir, Port: testbed.FreePort(t)}
	srv := must[*embedded.Server](t)(embedded.Start(cfg))
	if _, err := embedded.Start(cfg); !errors.Is(err, embedded.ErrDirInUse) {
		t.Errorf("a second server in the directory: %v", err)
	}
	url := srv.URL()
	ctx := within(t)
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{
		Servers: []string{url}, Bucket: "b", NATS: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)},
	}))
	users := define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "1"}))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))

	ok(t, srv.Close())
	srv = must[*embedded.Server](t)(embedded.Start(cfg))
	t.Cleanup(func() { srv.Close() })

	for { // until the connection is back
		_, err := users.Update(ctx, natsorm.Set{"name": "Bea"}, natsorm.Eq("id", 1))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	expect(t, w, userName, "updated from Ann/0 to Bea/0 name")
	must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 1)))
	expect(t, w, userName, "deleted from Bea/0")
	w.Stop()
	natsormtest.Prove(t, db)
	ok(t, db.Close())
}
