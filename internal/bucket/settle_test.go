package bucket_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
)

// While it is settled whether a write was done, a leader that has not what the session has
// is asked again: it may just have been elected. The call has time left.
func TestSettlingWaitsForTheLeader(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := testbed.StartCluster(t)
	cfg := bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Replicas: testbed.ClusterSize}
	open := func(url string) *bucket.Bucket {
		return openOn(t, cfg, func() (*nats.Conn, error) { return nats.Connect(url, nats.IgnoreDiscoveredServers()) })
	}
	others := open(c.Nodes[0].URL())
	proxy := testbed.StartLossyProxy(t, c.Nodes[1].Addr())
	b := open(proxy.URL())
	must(t, b.Write(ctx, store.Op{Key: "k"})[0].Err)
	m, err := b.Get(ctx, "k")
	must(t, err)

	_, last, err := others.State(ctx)
	must(t, err)
	const ahead = 10
	lost, asked := false, make(chan struct{}, 1000)
	proxy.Lose(func(subject string, answer bool) bool {
		if answer {
			return false
		}
		if lost && strings.HasPrefix(subject, "$JS.API.STREAM.INFO.") {
			asked <- struct{}{}
		}
		lose := !lost && subject == "$KV.b.k"
		lost = lost || lose
		return lose
	})
	b.StartFrom(last + ahead)
	wrote := make(chan error, 1)
	go func() {
		wrote <- b.Write(ctx, store.Op{Key: "k", Conditional: true, Expect: m.Revision, Settle: true})[0].Err
	}()
	for range 3 { // times that it has found the leader behind
		select {
		case <-asked:
		case err := <-wrote:
			t.Fatalf("the call has ended: %v", err)
		}
	}
	for range ahead {
		must(t, others.Write(ctx, store.Op{Key: "other"})[0].Err)
	}
	must(t, <-wrote)
}
