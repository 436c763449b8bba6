package natsorm_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// The server drops a connection on which 64 MB wait, or what it wrote waits longer than its
// deadline: so those who read large records at the same time share what is under way.
func TestManyLargeReadsAtOnce(t *testing.T) {
	t.Parallel()
	const reads = 8
	t.Run("on a fast connection", func(t *testing.T) {
		t.Parallel()
		large := startLarge(t, testsize.Pick(10, 30, 60), nil)
		large.read(t, large.URL(), reads)
	})
	t.Run("on a slow connection", func(t *testing.T) {
		t.Parallel()
		if testing.Short() || testbed.Race {
			t.Skip("takes as long as the connection is slow, and the server's deadline does not wait for a slow program")
		}
		// The usual deadline is 10 s; this is like a connection of 2 MB/s.
		const deadline, rate = 2 * time.Second, 10 << 20
		large := startLarge(t, testsize.Pick(4, 4, 8), func(o *server.Options) { o.WriteDeadline = deadline })
		proxy := testbed.StartProxy(t, large.URL())
		proxy.Slow(rate)
		large.read(t, proxy.URL(), reads)
	})
}

// large is a server with records of 700 kB.
type large struct {
	*testbed.Server
	n int
}

func startLarge(t *testing.T, n int, change func(*server.Options)) large {
	l := large{n: n}
	if change == nil {
		change = func(*server.Options) {}
	}
	l.Server = testbed.StartServer(t, change)
	ctx := within(t)
	db := must[*natsorm.DB](t)(natsorm.New(ctx, l.Connect(t), natsorm.Config{Bucket: "large", Storage: jetstream.MemoryStorage}))
	users := define[user](t, db)
	body := strings.Repeat("x", 700_000)
	for i := range n {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i), Bio: body}))
	}
	ok(t, db.Close())
	return l
}

// read reads all of them, several times at once on one connection, in every way that
// reads many.
func (l large) read(t *testing.T, url string, times int) {
	ctx := within(t)
	var breaks atomic.Int32
	nc := must[*nats.Conn](t)(nats.Connect(url, nats.DisconnectErrHandler(func(*nats.Conn, error) { breaks.Add(1) })))
	t.Cleanup(nc.Close)
	db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "large"}))
	users := define[user](t, db)
	ids := make([]any, l.n)
	for i := range ids {
		ids[i] = i
	}
	ways := map[string]func() (int, error){
		"a scan": func() (int, error) { found, err := users.FindAll(ctx); return len(found), err },
		"keys": func() (int, error) {
			found, err := users.FindAll(ctx, natsorm.In("id", ids...))
			return len(found), err
		},
		"an index": func() (int, error) { found, err := users.FindAll(ctx, natsorm.Eq("name", "n")); return len(found), err },
		"a watch": func() (n int, err error) {
			w, err := users.Watch(ctx, natsorm.WithCurrent())
			if err != nil {
				return 0, err
			}
			defer w.Stop()
			for range w.Changes() {
				if n++; n == l.n {
					return n, nil
				}
			}
			return n, w.Err()
		},
	}
	var wg sync.WaitGroup
	for way, read := range ways {
		for range times / len(ways) {
			wg.Go(func() {
				if n, err := read(); err != nil || n != l.n {
					t.Errorf("%s: %d of %d, %v", way, n, l.n, err)
				}
			})
		}
	}
	wg.Wait()
	if n := breaks.Load(); n > 0 {
		t.Errorf("the connection broke %d times", n)
	}
	natsormtest.Prove(t, db) // also that no consumer is left
	ok(t, db.Close())
}
