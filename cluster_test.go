package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// cluster starts three servers that form a cluster.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	// The routes must be known before the servers start: take free ports.
	var routes []string
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ok(t, err)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, "nats://"+l.Addr().String())
		ok(t, l.Close())
	}
	var servers []*server.Server
	for i := range 3 {
		opts := &server.Options{
			ServerName: fmt.Sprint("node", i), Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "cluster", Host: "127.0.0.1", Port: ports[i]},
			Routes:  server.RoutesFromStr(routes[0] + "," + routes[1] + "," + routes[2]),
		}
		s, err := server.NewServer(opts)
		ok(t, err)
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a server did not start")
		}
	}
	return servers
}

// openOn opens the replicated bucket through one server of the cluster, as soon
// as that has a leader.
func openOn(t *testing.T, ctx context.Context, s *server.Server) *natsorm.DB {
	t.Helper()
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		db, err := natsorm.Open(try, natsorm.Config{
			Servers: []string{s.ClientURL()}, Bucket: "shop", Replicas: 3, NATS: []nats.Option{nats.IgnoreDiscoveredServers()},
		})
		cancel()
		if err == nil {
			t.Cleanup(func() { db.Close() })
			return db
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// On a replicated bucket, through all of its servers: unique stays unique,
// indexes complete, scans see every acknowledged record, and changes are made
// on what the leader has, not on what a replica still believes.
func TestReplicatedBucket(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx := within(t)
	servers := cluster(t)
	var dbs []*natsorm.DB
	var users []*natsorm.Model[user]
	for _, s := range servers {
		db := openOn(t, ctx, s)
		dbs, users = append(dbs, db), append(users, define[user](t, db))
	}
	status, err := dbs[0].KV().Status(ctx)
	ok(t, err)
	if n := status.(*jetstream.KeyValueBucketStatus).StreamInfo().Config.Replicas; n != 3 {
		t.Fatalf("%d replicas", n)
	}

	const n = 90
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for i := range n {
		wg.Go(func() {
			err := users[i%3].Create(ctx, &user{ID: int64(i), Name: "same", Email: "one@example.com"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else if !errors.Is(err, natsorm.ErrUnique) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if created != 1 {
		t.Errorf("%d records were created with one unique value", created)
	}
	must[int](t)(users[0].Destroy(ctx, natsorm.All()))

	for i := range 300 {
		// Written through one server, changed and scanned through another.
		writer, other := users[i%3], users[(i+1)%3]
		ok(t, writer.Create(ctx, &user{ID: int64(i), Name: "same", Email: fmt.Sprint(i)}))
		if n := must[int](t)(other.Update(ctx, natsorm.Set{"age": i}, natsorm.Eq("id", i))); n != 1 {
			t.Fatalf("update %d changed %d records", i, n)
		}
		if i%10 == 0 {
			if n := must[int](t)(other.Count(ctx)); n != i+1 {
				t.Fatalf("a scan sees %d of %d acknowledged records", n, i+1)
			}
		}
	}
	for _, m := range users { // a replica may be behind, but not for long
		for must[int](t)(m.Count(ctx, natsorm.Eq("name", "same"))) != 300 {
			if ctx.Err() != nil {
				t.Fatal(ctx.Err())
			}
		}
	}
	natsormtest.Prove(t, dbs[0])
}
