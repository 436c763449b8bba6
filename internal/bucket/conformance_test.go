package bucket_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/store/storetest"
	"github.com/natsorm/natsorm/internal/testbed"
)

// A bucket keeps the promises of the port, whatever keeps it: memory, files, several
// servers, one that has not what natsorm is faster with.
func TestBucketIsAStore(t *testing.T) {
	t.Parallel()
	var names atomic.Int64
	single := func(t *testing.T, cfg embedded.Config, of bucket.Config, as func(*bucket.Bucket, *storetest.Subject)) func(testing.TB) *storetest.Subject {
		srv, err := embedded.Start(cfg)
		must(t, err)
		t.Cleanup(func() { srv.Close() })
		return func(t testing.TB) *storetest.Subject {
			cfg := of
			cfg.Bucket = fmt.Sprint("b", names.Add(1))
			open := func() *bucket.Bucket { return openOn(t, cfg, func() (*nats.Conn, error) { return srv.Connect() }) }
			b := open()
			s := subject(b, b, open())
			as(b, s)
			return s
		}
	}
	asIs := func(*bucket.Bucket, *storetest.Subject) {}
	memory := bucket.Config{Storage: jetstream.MemoryStorage}
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, single(t, embedded.Config{}, memory, asIs))
	})
	t.Run("history", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, single(t, embedded.Config{}, bucket.Config{Storage: jetstream.MemoryStorage, History: 5}, asIs))
	})
	t.Run("files", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, single(t, embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}, bucket.Config{Storage: jetstream.FileStorage}, asIs))
	})
	t.Run("without direct get", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, single(t, embedded.Config{}, memory, func(b *bucket.Bucket, s *storetest.Subject) {
			b.ForgoDirect(t)
			s.Unbounded = true
		}))
	})
	t.Run("without a fault", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, single(t, embedded.Config{}, memory, func(b *bucket.Bucket, s *storetest.Subject) {
			twin := fault.StallBefore(fault.CrashAfter(b, 1<<40), func(store.Op) bool { return false })
			s.Store = func() store.Store { return twin }
		}))
	})
	t.Run("replicated", func(t *testing.T) {
		t.Parallel()
		servers := cluster(t)
		cfg := bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Replicas: 3}
		open := func(t testing.TB, n int64) *bucket.Bucket {
			return openOn(t, cfg, func() (*nats.Conn, error) {
				return nats.Connect("", nats.InProcessServer(servers[n%3]), nats.IgnoreDiscoveredServers())
			})
		}
		open(t, 0) // makes it
		storetest.Run(t, func(t testing.TB) *storetest.Subject {
			n := names.Add(1)
			b := open(t, n)
			return subject(b, b, open(t, n+1))
		})
	})
}

// subject is a store on a bucket, and another session of it.
func subject(s store.Store, b, writer *bucket.Bucket) *storetest.Subject {
	return &storetest.Subject{
		Store: func() store.Store { return s }, Writer: writer,
		Close: func(store.Store) { b.Close() }, Ended: store.ErrClosed,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openOn opens a bucket on a connection of its own. A cluster may still elect a
// leader, so it tries until that is there.
func openOn(t testing.TB, cfg bucket.Config, connect func() (*nats.Conn, error)) *bucket.Bucket {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	nc, err := connect()
	must(t, err)
	t.Cleanup(nc.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		b, err := bucket.Open(try, nc, cfg)
		cancel()
		if err == nil {
			t.Cleanup(b.Close)
			return b
		}
		if ctx.Err() != nil || cfg.Replicas == 0 {
			t.Fatal(err)
		}
	}
}

// cluster starts three servers that form a cluster.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	// The routes must be known before the servers start.
	ports, err := testbed.FreePorts(3)
	must(t, err)
	var routes string
	for _, port := range ports {
		routes += fmt.Sprint(",nats://127.0.0.1:", port)
	}
	var servers []*server.Server
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("node", i), Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: port},
			Routes:  server.RoutesFromStr(routes[1:]),
		})
		must(t, err)
		s.Start()
		servers = append(servers, s)
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, s := range servers {
			all.Go(func() { s.Shutdown(); s.WaitForShutdown() })
		}
		all.Wait()
	})
	for _, s := range servers {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server did not start")
		}
	}
	return servers
}
