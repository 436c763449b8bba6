package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/testbed"
)

// One of three servers is up, and has said for some time that there is no leader: then Open gives up,
// and says so. With Wait it does not, however often it has asked, and opens when the others come.
func TestOpenWaitsForALeader(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers, one of which waits ten seconds before it says that it has no leader")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster := testbed.StartCluster(t)
	config := func(name string, wait bool) bucket.Config {
		return bucket.Config{Bucket: name, Storage: jetstream.FileStorage, Replicas: 3, Wait: wait}
	}
	for _, name := range []string{"there", "other"} {
		b, err := bucket.Open(ctx, cluster.Connect(t), config(name, false))
		must(t, err)
		b.Close()
	}
	for _, n := range cluster.Nodes {
		must(t, n.Kill())
	}
	must(t, cluster.Nodes[0].Start(ctx))
	nc, err := nats.Connect(cluster.Nodes[0].URL())
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	must(t, testbed.Until(ctx, func(ctx context.Context) error {
		if _, err := js.Stream(ctx, "KV_there"); err == nil || !strings.Contains(err.Error(), "temporarily unavailable") {
			return fmt.Errorf("the server does not say that there is no leader: %w", err)
		}
		return nil
	}))
	asked := map[string]*atomic.Int64{"there": {}, "absent": {}}
	opened := make(chan error, len(asked))
	for name, n := range asked {
		sub, err := nc.Subscribe("$JS.API.STREAM.*.KV_"+name, func(*nats.Msg) { n.Add(1) })
		must(t, err)
		defer func() { _ = sub.Unsubscribe() }()
		go func() {
			nc, err := nats.Connect(strings.Join(cluster.Addrs(), ","), nats.DontRandomize())
			if err != nil {
				opened <- err
				return
			}
			defer nc.Close()
			b, err := bucket.Open(ctx, nc, config(name, true))
			if err == nil {
				b.Close()
			}
			opened <- err
		}()
	}
	var tries sync.WaitGroup
	for _, name := range []string{"other", "neither"} { // whose requests are not counted
		tries.Go(func() {
			var api *jetstream.APIError
			_, err := bucket.Open(ctx, nc, config(name, false))
			if !errors.As(err, &api) || !strings.Contains(err.Error(), "more than half") {
				t.Errorf("opened %s without a leader: %v", name, err)
			}
		})
	}
	tries.Wait()
	must(t, testbed.Until(ctx, func(context.Context) error {
		for name, n := range asked {
			if n.Load() <= 10 { // as often is a request sent that is refused
				return errors.New(name + " has not been asked for long")
			}
		}
		return nil
	}))
	for _, n := range cluster.Nodes[1:] {
		must(t, n.Start(ctx))
	}
	for range asked {
		must(t, <-opened)
	}
}
