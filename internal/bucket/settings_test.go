package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/usage"
)

// onServer opens a bucket on a server of its own.
func onServer(t *testing.T, cfg bucket.Config) *bucket.Bucket {
	t.Helper()
	srv := testbed.StartServer(t)
	cfg.Bucket = "b"
	return openOn(t, cfg, func() (*nats.Conn, error) { return nats.Connect(srv.URL()) })
}

func put(t *testing.T, b *bucket.Bucket, key, value string) uint64 {
	t.Helper()
	res := b.Write(t.Context(), store.Op{Key: key, Value: []byte(value)})[0]
	must(t, res.Err)
	return res.Revision
}

// Direct get is switched off under a handle: every read finds another way.
func TestDirectGetIsSwitchedOff(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	reads := map[string]func(b *bucket.Bucket) (int, error){
		"get": func(b *bucket.Bucket) (int, error) {
			m, err := b.Get(ctx, "k.1")
			return int(m.Revision), err
		},
		"get latest": func(b *bucket.Bucket) (int, error) {
			m, err := b.GetLatest(ctx, "k.1")
			return int(m.Revision), err
		},
		"get each": func(b *bucket.Bucket) (n int, err error) {
			found, err := store.GetMany(ctx, b, []string{"k.0", "k.1", "none"})
			return int(found[1].Revision), err
		},
		"read": func(b *bucket.Bucket) (int, error) {
			a, err := b.Read(ctx, store.Lookup{Patterns: []string{"k.*"}})
			return len(a.Messages), err
		},
		"read exactly": func(b *bucket.Bucket) (int, error) {
			a, err := b.Read(ctx, store.Lookup{Patterns: []string{"k.*"}, Exact: true})
			return len(a.Messages), err
		},
		"scan": func(b *bucket.Bucket) (n int, err error) {
			for _, err := range b.Scan(ctx, "k.*", store.ScanOptions{Counted: true, Current: true}) {
				if err != nil {
					return 0, err
				}
				n++
			}
			return n, nil
		},
		"count":   func(b *bucket.Bucket) (int, error) { return b.Count(ctx, "k.*", store.Exactly) },
		"changes": func(b *bucket.Bucket) (int, error) { c, err := b.Changes(ctx, "k.*", 0); return len(c), err },
		"whole": func(b *bucket.Bucket) (int, error) {
			n, err := b.Revision(ctx, store.Whole)
			return int(n), err
		},
		"acknowledged": func(b *bucket.Bucket) (int, error) {
			n, err := b.Revision(ctx, store.Acknowledged)
			return int(n), err
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
			put(t, b, "k.0", "")
			put(t, b, "k.1", "")
			b.Configure(t, func(c *jetstream.StreamConfig) { c.AllowDirect = false })
			if n, err := read(b); n != 2 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// Where only the leader can be asked, which gives one message at a time, a read of many keys
// asks once for each of them. It is also how keys are read while the other servers are silent.
func TestManyKeysOfTheLeader(t *testing.T) {
	t.Parallel()
	b := onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
	const n = 50
	var asked []string
	for i := range n {
		asked = append(asked, fmt.Sprint("k.", i))
		if i > 0 { // the first one is absent
			put(t, b, asked[i], fmt.Sprint(i))
		}
	}
	b.ForgoDirect(t)
	for name, read := range map[string]func(context.Context) ([]store.Message, error){
		"by keys": func(ctx context.Context) ([]store.Message, error) {
			got, err := store.GetMany(ctx, b, asked)
			if err == nil && (len(got) != n || got[0].Live()) {
				t.Errorf("%d messages; of the absent key %v", len(got), got[0])
			}
			return slices.DeleteFunc(got, func(m store.Message) bool { return !m.Live() }), err
		},
		"exactly": func(ctx context.Context) ([]store.Message, error) {
			a, err := b.Read(ctx, store.Lookup{Patterns: asked, Exact: true})
			return a.Messages, err
		},
	} {
		var used usage.Usage
		got, err := read(usage.Measured(t.Context(), &used))
		must(t, err)
		for _, m := range got {
			if want := "k." + string(m.Value); m.Key != want {
				t.Errorf("%s: %s has the value of %s", name, m.Key, want)
			}
		}
		if len(got) != n-1 {
			t.Errorf("%s: %d of %d", name, len(got), n-1)
		}
		if asked := used.Requests.Load() - used.Again.Load(); asked > n+5 {
			t.Errorf("%s: %d requests for %d keys", name, asked, n)
		}
	}
}

// A bucket gets history under a handle that does not know it. What the handle deletes must
// not come back when its delete marker goes, and it must not count revisions for keys.
func TestHistoryIsRaised(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b := onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
	put(t, b, "k.0", "")
	if n, err := b.Count(ctx, "k.*", store.Exactly); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	b.Configure(t, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 })
	for i := range 6 {
		put(t, b, fmt.Sprint("k.", i%2), "")
	}
	if n, err := b.Count(ctx, "k.*", store.Exactly); n != 2 || err != nil {
		t.Errorf("%d of 2 keys are counted, %v", n, err)
	}

	b = onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
	b.Configure(t, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 })
	at := put(t, b, "k.0", "a")
	must(t, b.Write(ctx, store.Op{Key: "k.0", Delete: true, Conditional: true, Expect: at})[0].Err)
	history, err := b.KV().History(ctx, "k.0")
	must(t, err)
	if len(history) != 1 {
		t.Errorf("below a delete marker that expires there are %d revisions", len(history)-1)
	}
}

// The bucket's limit of a message is lowered under a handle.
func TestMessagesGetSmaller(t *testing.T) {
	t.Parallel()
	b := onServer(t, bucket.Config{Storage: jetstream.MemoryStorage})
	put(t, b, "a", string(make([]byte, 10_000)))
	b.Configure(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2000 })
	if err := b.Write(t.Context(), store.Op{Key: "a", Value: make([]byte, 10_000)})[0].Err; !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a message over the limit: %v", err)
	}
	put(t, b, "a", "small")
	if max := b.Traits().MaxValue; max > 2000 {
		t.Errorf("the handle believes in %d bytes", max)
	}
}

// A write is given a revision that the session has seen: the bucket is another one.
func TestRevisionsBeginAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := testbed.StartServer(t)
	open := func() *bucket.Bucket {
		return openOn(t, bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage}, func() (*nats.Conn, error) { return nats.Connect(srv.URL()) })
	}
	b := open()
	for i := range 10 {
		put(t, b, fmt.Sprint("k.", i), "")
	}
	if n, err := b.Count(ctx, "k.*", store.Exactly); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	js, err := jetstream.New(srv.Connect(t))
	must(t, err)
	must(t, js.DeleteStream(ctx, "KV_b"))
	open()
	before := b.Generation()
	put(t, b, "k.5", "")
	if b.Generation() == before {
		t.Error("nothing was noticed")
	}
	if n, err := b.Count(ctx, "k.*", store.Exactly); n != 1 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
	if a, err := b.Read(ctx, store.Lookup{Patterns: []string{"k.*"}, Exact: true}); len(a.Messages) != 1 || err != nil {
		t.Errorf("%v, %v", a, err)
	}
}

// A program that worked on a server that is in no cluster finds itself on a cluster, where
// the bucket was put back. It takes nothing for right there that was so before.
func TestServerBecomesACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, single := testbed.StartCluster(t), testbed.StartServer(t)
	proxy := testbed.StartProxy(t, append([]string{single.URL()}, cluster.Nodes[0].URL())...)
	cfg := bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage}
	b := openOn(t, cfg, func() (*nats.Conn, error) {
		return nats.Connect(proxy.URL(), nats.IgnoreDiscoveredServers(), nats.ReconnectWait(time.Millisecond))
	})
	must(t, b.Write(ctx, store.Op{Key: "k.1", Lone: true})[0].Err)
	if b.Traits().Replicable {
		t.Fatal("a server that is alone is taken for one of several")
	}

	cfg.Replicas = testbed.ClusterSize
	other := openOn(t, cfg, func() (*nats.Conn, error) {
		return nats.Connect(cluster.Nodes[1].URL(), nats.IgnoreDiscoveredServers())
	})
	put(t, other, "k.1", "")
	last := put(t, other, "k.2", "")
	proxy.Route(1)
	must(t, testbed.Until(ctx, func(ctx context.Context) error {
		if b.Stream.Epoch() == 0 {
			return errors.New("still on the first server")
		}
		return nil
	}))
	if err := b.Write(ctx, store.Op{Key: "k.3", Lone: true})[0].Err; !errors.Is(err, store.ErrReplicable) {
		t.Errorf("a write that is right on one server only: %v", err)
	}
	if _, err := b.Batch(ctx, store.Batch{Ops: []store.Op{{Key: "k.3"}}, Lone: true}); !errors.Is(err, store.ErrReplicable) {
		t.Errorf("a batch that is right on one server only: %v", err)
	}
	for _, err := range b.Scan(ctx, "k.*", store.ScanOptions{Current: true}) {
		if !errors.Is(err, store.ErrReplicable) {
			t.Errorf("a scan that is right on one server only: %v", err)
		}
	}
	if !b.Traits().Replicable {
		t.Error("nothing was noticed")
	}
	if m, err := b.Get(ctx, "k.2"); m.Revision != last || err != nil {
		t.Errorf("%v, %v", m, err)
	}
	for i := range 50 { // the session is not behind what it writes
		key := fmt.Sprint("own.", i)
		at := put(t, b, key, "")
		if m, err := b.Get(ctx, key); m.Revision != at || err != nil {
			t.Fatalf("%v, %v, wrote %d", m, err, at)
		}
	}
}

// A server that is in a cluster is taken for one of several, however many replicas the
// bucket has.
func TestOneReplicaInACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	cluster := testbed.StartCluster(t)
	b := openOn(t, bucket.Config{Bucket: "b", Replicas: 1}, func() (*nats.Conn, error) { return nats.Connect(cluster.Nodes[1].URL()) })
	if traits := b.Traits(); !traits.Replicable || traits.Writes != store.Phased {
		t.Errorf("%+v", traits)
	}
	b.Configure(t, func(c *jetstream.StreamConfig) { c.Replicas = testbed.ClusterSize })
	must(t, testbed.Until(t.Context(), func(context.Context) error { // the way of writing may be learnt late
		if res := b.Write(t.Context(), store.Op{Key: "k"})[0]; res.Err != nil {
			return res.Err
		}
		if b.Traits().Writes != store.Atomic {
			return errors.New("it is still written to as one replica in files is")
		}
		return nil
	}))
}
