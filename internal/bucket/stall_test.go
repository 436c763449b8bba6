package bucket_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
)

// stalling is a bucket on three servers, of which a follower can stall.
type stalling struct {
	t       *testing.T
	ctx     context.Context
	cluster *testbed.Cluster
}

const stallingBucket = "b"

func newStalling(ctx context.Context, t *testing.T) *stalling {
	t.Helper()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	c, err := testbed.NewCluster(ctx, testbed.ClusterOptions{Dir: t.TempDir(), Processes: true})
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &stalling{t: t, ctx: ctx, cluster: c}
}

// open opens the bucket on a connection to one of the nodes.
func (s *stalling) open(node *testbed.Node) *bucket.Bucket {
	s.t.Helper()
	cfg := bucket.Config{Bucket: stallingBucket, Storage: jetstream.FileStorage, Replicas: testbed.ClusterSize}
	return openOn(s.t, cfg, func() (*nats.Conn, error) {
		return nats.Connect(node.URL(), nats.IgnoreDiscoveredServers(), nats.MaxReconnects(-1))
	})
}

// roles are the leader and the followers.
func (s *stalling) roles() (leader *testbed.Node, followers []*testbed.Node) {
	s.t.Helper()
	leader, err := s.cluster.Leader(s.ctx, "KV_"+stallingBucket)
	must(s.t, err)
	for _, n := range s.cluster.Nodes {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return leader, followers
}

// answering waits until a follower answers reads itself, which it begins some seconds
// after it has the stream. While it is slow to reach the others, only its own answers
// are fast.
func (s *stalling) answering(node *testbed.Node) {
	s.t.Helper()
	const lag = 30 * time.Millisecond
	nc, err := nats.Connect(node.URL(), nats.IgnoreDiscoveredServers())
	must(s.t, err)
	defer nc.Close()
	s.cluster.Links(node, func(p *testbed.Proxy) { p.Delay(lag) })
	defer s.cluster.Links(node, func(p *testbed.Proxy) { p.Delay(0) })
	must(s.t, testbed.Until(s.ctx, func(ctx context.Context) error {
		start := time.Now()
		_, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET.KV_"+stallingBucket, []byte(`{"last_by_subj":">"}`))
		if took := time.Since(start); err == nil && took > lag {
			return fmt.Errorf("an answer took %v", took)
		}
		return err
	}))
}

// caughtUp waits until a follower, and all others, have what the leader has now. Asked
// through the follower, it answers itself until it has found the others again.
func (s *stalling) caughtUp(node *testbed.Node) {
	s.t.Helper()
	nc, err := nats.Connect(node.URL(), nats.IgnoreDiscoveredServers())
	must(s.t, err)
	defer nc.Close()
	leader, _ := s.roles()
	_, last, err := s.open(leader).State(s.ctx)
	must(s.t, err)
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	must(s.t, err)
	const enough = 100 // answers in a row: somebody else gives each with a chance of two thirds
	must(s.t, s.cluster.Settled(s.ctx, "KV_"+stallingBucket))
	for current := 0; current < enough; {
		must(s.t, nc.PublishRequest("$JS.API.DIRECT.GET.KV_"+stallingBucket, inbox, []byte(`{"multi_last":["$KV.`+stallingBucket+`._anchor"]}`)))
		m, err := answers.NextMsgWithContext(s.ctx)
		must(s.t, err)
		switch upTo, err := strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64); {
		case err != nil:
		case upTo >= last:
			current++
		default:
			current = 0
		}
	}
}

// A replica that was stalled while the leader compacted its log learns first which
// messages were overwritten, and only then what has replaced them. Meanwhile it answers
// sessions that know an older state than it has: they miss nothing.
func TestReadsWhileAReplicaCatchesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := newStalling(ctx, t)
	const (
		groups, each = 40, 25 // records; with an entry for each, a batch takes a group
		size         = 32 << 10
	)
	key := func(group, i int) string { return fmt.Sprintf("k.%d.%d", group, i) }
	write := func(b *bucket.Bucket, value []byte) (last uint64) {
		t.Helper()
		for group := range groups {
			var ops []store.Op
			for i := range each {
				ops = append(ops, store.Op{Key: fmt.Sprintf("e.%d.%d", group, i)}, store.Op{Key: key(group, i), Value: value})
			}
			first, err := b.Batch(ctx, store.Batch{Ops: ops})
			must(t, err)
			last = first + uint64(len(ops)-1)
		}
		return last
	}
	first := s.open(s.cluster.Nodes[0])
	_, err := first.Get(ctx, key(0, 0)) // which writes the anchor
	must(t, err)
	seen := write(first, []byte("small"))
	leader, followers := s.roles()
	s.answering(followers[0])

	stalled := followers[0]
	must(t, stalled.Pause())
	s.cluster.Links(stalled, (*testbed.Proxy).Block) // what was sent to it is lost
	value := make([]byte, size)
	_, _ = rand.Read(value)      // the server compresses what can be
	write(s.open(leader), value) // 32 MB: the leader compacts its log every 8 MB

	var reads, missed atomic.Int64
	var wg sync.WaitGroup
	settled := make(chan struct{})
	miss := func(format string, args ...any) {
		if missed.Add(1) <= 5 {
			t.Errorf(format, args...)
		}
	}
	for n := range 8 {
		b := s.open([]*testbed.Node{leader, followers[1]}[n%2])
		wg.Go(func() {
			for i := n; ; i++ {
				select {
				case <-settled:
					return
				default:
				}
				reads.Add(1)
				b.StartFrom(seen)
				group := i % groups
				var err error
				switch i % 3 {
				case 0:
					var m store.Message
					if m, err = b.Get(ctx, key(group, i%each)); err == nil && !m.Live() {
						miss("a read by key misses %s", key(group, i%each))
					}
				case 1:
					keys := make([]string, each)
					for i := range keys {
						keys[i] = key(group, i)
					}
					var got []store.Message
					got, err = store.GetMany(ctx, b, keys)
					for i, m := range got {
						if !m.Live() {
							miss("a read of %d keys misses %s", each, keys[i])
							break
						}
					}
				default:
					var a store.Answer
					a, err = b.Read(ctx, store.Lookup{Patterns: []string{fmt.Sprintf("e.%d.*", group)}})
					if err == nil && len(a.Messages) != each {
						miss("a read by pattern misses %d of %d", each-len(a.Messages), each)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	s.cluster.Links(stalled, (*testbed.Proxy).Unblock)
	must(t, stalled.Resume())
	s.caughtUp(stalled)
	close(settled)
	wg.Wait()
	t.Logf("%d reads, %d missed something", reads.Load(), missed.Load())
}

// While one of three servers is stalled, every read is answered, within a second.
// The stalled one still gets its share of the requests, and of the consumers. If it is the
// one that places consumers, there are none until the others have elected another. Only a
// feed cannot do without.
func TestReadsWhileAReplicaIsStalled(t *testing.T) {
	t.Parallel()
	for _, places := range []bool{false, true} {
		t.Run(fmt.Sprintf("places consumers %v", places), func(t *testing.T) {
			t.Parallel()
			readWhileStalled(t, places)
		})
	}
}

// readWhileStalled stalls a follower: the one that places consumers, or another.
func readWhileStalled(t *testing.T, places bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := newStalling(ctx, t)
	first := s.open(s.cluster.Nodes[0])
	_, err := first.Get(ctx, "k.0") // which writes the anchor
	must(t, err)
	const records = 50
	var keys []string
	var ops []store.Op
	for i := range records {
		keys = append(keys, fmt.Sprintf("k.%d", i))
		ops = append(ops, store.Op{Key: keys[i], Value: []byte("x")})
	}
	_, err = first.Batch(ctx, store.Batch{Ops: ops})
	must(t, err)
	leader, followers := s.roles()
	meta, err := s.cluster.MetaLeader(ctx)
	must(t, err)
	for places && meta == leader {
		must(t, s.cluster.StepDown(ctx, "KV_"+stallingBucket))
		leader, followers = s.roles()
	}
	if (followers[0] == meta) != places {
		slices.Reverse(followers)
	}
	for _, f := range followers {
		s.answering(f)
	}
	one := func(b *bucket.Bucket, n int, err error) error {
		if err == nil && n != records {
			err = fmt.Errorf("%d of %d", n, records)
		}
		return err
	}
	kinds := map[string]func(ctx context.Context, b *bucket.Bucket) error{
		"by key": func(ctx context.Context, b *bucket.Bucket) error {
			m, err := b.Get(ctx, keys[7])
			if err == nil && !m.Live() {
				err = errors.New("missing")
			}
			return err
		},
		"absent": func(ctx context.Context, b *bucket.Bucket) error {
			_, err := b.Get(ctx, "absent")
			return err
		},
		"by keys": func(ctx context.Context, b *bucket.Bucket) error {
			got, err := store.GetMany(ctx, b, keys)
			return one(b, len(got), err)
		},
		"by pattern": func(ctx context.Context, b *bucket.Bucket) error {
			a, err := b.Read(ctx, store.Lookup{Patterns: []string{"k.*"}})
			return one(b, len(a.Messages), err)
		},
		"exactly": func(ctx context.Context, b *bucket.Bucket) error {
			a, err := b.Read(ctx, store.Lookup{Patterns: []string{"k.*"}, Exact: true})
			return one(b, len(a.Messages), err)
		},
		"scan": func(ctx context.Context, b *bucket.Bucket) error {
			n := 0
			for _, err := range b.Scan(ctx, "k.*", store.ScanOptions{}) {
				if err != nil {
					return err
				}
				n++
			}
			return one(b, n, nil)
		},
		"count": func(ctx context.Context, b *bucket.Bucket) error {
			n, err := b.Count(ctx, "k.*", store.Exactly)
			return one(b, n, err)
		},
		"about": func(ctx context.Context, b *bucket.Bucket) error {
			n, err := b.Count(ctx, "k.*", store.About)
			return one(b, n, err)
		},
		"changes": func(ctx context.Context, b *bucket.Bucket) error {
			got, err := b.Changes(ctx, "k.*", 0)
			return one(b, len(got), err)
		},
		"revision": func(ctx context.Context, b *bucket.Bucket) error {
			for _, c := range []store.Certainty{store.Leader, store.Acknowledged, store.Whole, store.Agreed} {
				if _, err := b.Revision(ctx, c); err != nil {
					return err
				}
			}
			return nil
		},
		"feed": func(ctx context.Context, b *bucket.Bucket) error {
			f, err := b.Feed(ctx, store.FeedOptions{Pattern: "k.*"})
			if err != nil {
				return err
			}
			defer f.Close()
			for n := 0; ; n++ {
				e, err := f.Next(ctx)
				if err != nil || e.Kind == store.CaughtUp {
					return one(b, n, err)
				}
			}
		},
	}
	stalled := followers[0]
	const election = 10 * time.Second
	var buckets []*bucket.Bucket
	for _, n := range []*testbed.Node{leader, followers[1]} {
		b := s.open(n)
		for name, kind := range kinds { // as a program that has run for a while
			if err := kind(ctx, b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		buckets = append(buckets, b)
	}
	// read lets all kinds of reads run at the same time, and returns the longest of all. One
	// that fails, or takes longer than within, is an error.
	read := func(what string, lasts, within time.Duration) time.Duration {
		var all atomic.Int64
		var wg sync.WaitGroup
		stop := time.Now().Add(lasts)
		for name, kind := range kinds {
			for _, b := range buckets {
				within := within
				if name == "feed" && places {
					within = max(within, election)
				}
				wg.Go(func() {
					reads, failed, longest := 0, 0, time.Duration(0)
					for time.Now().Before(stop) {
						try, cancel := context.WithTimeout(ctx, 2*within)
						start := time.Now()
						err := kind(try, b)
						took := time.Since(start)
						cancel()
						reads++
						longest = max(longest, took)
						if err != nil || took > within {
							if failed++; failed == 1 {
								t.Errorf("%s, %s: after %v: %v", what, name, took, err)
							}
						}
					}
					t.Logf("%s, %-10s %5d reads, %d failed, the longest took %v", what, name, reads, failed, longest.Round(time.Millisecond))
					for old := all.Load(); int64(longest) > old && !all.CompareAndSwap(old, int64(longest)); old = all.Load() {
					}
				})
			}
		}
		wg.Wait()
		return time.Duration(all.Load())
	}
	before := read("all well", time.Second, 10*time.Second)
	must(t, stalled.Pause())
	read("one stalled", 5*time.Second, max(time.Second, 5*before)) // a busy machine is slow by itself
	must(t, stalled.Resume())
}
