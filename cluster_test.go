package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// openOn opens the replicated bucket through one node of the cluster, as soon as
// that has a leader.
func openOn(t *testing.T, ctx context.Context, node *testbed.Node) *natsorm.DB {
	t.Helper()
	var db *natsorm.DB
	ok(t, testbed.Until(ctx, func(ctx context.Context) (err error) {
		db, err = natsorm.Open(ctx, natsorm.Config{
			Servers: []string{node.URL()}, Bucket: "shop", Replicas: testbed.ClusterSize, NATS: []nats.Option{nats.IgnoreDiscoveredServers()},
		})
		return err
	}))
	t.Cleanup(func() { db.Close() })
	return db
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
	cluster := testbed.StartCluster(t)
	var dbs []*natsorm.DB
	var users []*natsorm.Model[user]
	for _, node := range cluster.Nodes {
		db := openOn(t, ctx, node)
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

	changes := testsize.Pick(60, 120, 300)
	for i := range changes {
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
		for must[int](t)(m.Count(ctx, natsorm.Eq("name", "same"))) != changes {
			if ctx.Err() != nil {
				t.Fatal(ctx.Err())
			}
		}
	}
	natsormtest.Prove(t, dbs[0])
}
