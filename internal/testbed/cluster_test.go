package testbed

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A replicated bucket lives on while a node is away, whether
// nodes are in this process or have their own.
func TestCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	for name, start := range map[string]func(context.Context) *Cluster{
		"inside": func(context.Context) *Cluster { return StartCluster(t) },
		"processes": func(ctx context.Context) *Cluster {
			c, err := NewCluster(ctx, ClusterOptions{Dir: t.TempDir(), Processes: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			c := start(ctx)
			js, err := jetstream.New(c.Connect(t))
			must(err)
			var kv jetstream.KeyValue
			must(Until(ctx, func(ctx context.Context) (err error) {
				kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b", Replicas: ClusterSize})
				return err
			}))
			for i, n := range c.Nodes[:2] {
				if i%2 == 0 {
					must(n.Kill())
				} else {
					must(n.Stop(ctx))
				}
				if n.Up() {
					t.Errorf("%s is up", n.Name())
				}
				must(Until(ctx, func(ctx context.Context) error {
					_, err := kv.PutString(ctx, n.Name(), "away")
					return err
				}))
				must(n.Start(ctx))
				must(c.Settled(ctx, "KV_b"))
			}
			leader, err := c.Leader(ctx, "KV_b")
			must(err)
			nc, err := nats.Connect(leader.URL())
			must(err)
			nc.Close()
		})
	}
}
