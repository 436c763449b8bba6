package follow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/follow"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// world is a bucket, and one more session of it.
type world struct {
	*testing.T
	ctx     context.Context
	bucket  *bucket.Bucket
	another *bucket.Bucket
	proxy   *testbed.Proxy // of another
	files   bool
}

// each runs a test on each kind of bucket.
func each(t *testing.T, test func(w *world)) {
	for _, kind := range []string{"memory", "files", "history", "three servers"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			t.Cleanup(cancel)
			w := &world{T: t, ctx: ctx}
			cfg := bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)}
			var addrs []string
			switch kind {
			case "history":
				cfg.History = 8
			case "files":
				cfg.Storage, w.files = jetstream.FileStorage, true
			case "three servers":
				cfg.Replicas = testbed.ClusterSize
				addrs = testbed.StartCluster(t).Addrs()
			}
			if addrs == nil {
				addrs = []string{testbed.StartServer(t, func(o *server.Options) { o.StoreDir = t.TempDir() }).URL()}
			}
			open := func(url string) (b *bucket.Bucket) {
				nc, err := nats.Connect(url, nats.IgnoreDiscoveredServers(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
				w.must(err)
				t.Cleanup(nc.Close)
				w.must(testbed.Until(ctx, func(ctx context.Context) (err error) {
					b, err = bucket.Open(ctx, nc, cfg)
					return err
				}))
				t.Cleanup(b.Close)
				return b
			}
			w.bucket = open(addrs[0])
			w.proxy = testbed.StartProxy(t, addrs[len(addrs)-1])
			w.another = open(w.proxy.URL())
			test(w)
		})
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

const (
	accounts = 6
	each100  = 100
)

func account(i int) string { return fmt.Sprint("account.of.", i) }

// transfer moves an amount from one account to another in a batch, or writes one of them as it is. It
// reports whether nobody was faster.
func (w *world) transfer(b *bucket.Bucket) bool {
	w.Helper()
	from, to := rand.IntN(accounts), rand.IntN(accounts)
	found, err := store.GetMany(w.ctx, b, []string{account(from), account(to)})
	w.must(err)
	amount := func(i, change int) store.Op {
		n := 0
		w.must(json.Unmarshal(found[i].Value, &n))
		return store.Op{Key: found[i].Key, Value: fmt.Append(nil, n+change), Conditional: true, Expect: found[i].Revision, Settle: i == 1}
	}
	if from == to {
		err = b.Write(w.ctx, amount(1, 0))[0].Err
	} else {
		_, err = b.Batch(w.ctx, store.Batch{Ops: []store.Op{amount(0, -1), {Key: fmt.Sprint("entry.of.", rand.IntN(3))}, amount(1, 1)}})
	}
	if err != nil && !errors.Is(err, store.ErrWrongRevision) {
		w.Error(err)
	}
	return err == nil
}

// replica is what a follower has delivered.
type replica struct {
	*follow.Follower
	w     *world
	at    uint64
	state map[string]store.Message
	steps int
}

// follow begins with accounts that have each100.
func (w *world) follow() *replica {
	w.Helper()
	ops := make([]store.Op, accounts)
	r := &replica{w: w, state: map[string]store.Message{}}
	for i := range ops {
		ops[i] = store.Op{Key: account(i), Value: fmt.Append(nil, each100)}
	}
	first, err := w.bucket.Batch(w.ctx, store.Batch{Ops: ops})
	w.must(err)
	for i, op := range ops {
		r.state[op.Key] = store.Message{Key: op.Key, Value: op.Value, Revision: first + uint64(i)}
	}
	w.must(store.CatchUp(w.ctx, w.another))
	r.at, err = w.another.Revision(w.ctx, store.Whole)
	w.must(err)
	r.Follower, err = follow.Start(w.ctx, w.another, r.at)
	w.must(err)
	w.Cleanup(r.Close)
	return r
}

// next takes a step, and holds the new state against what no transfer changes.
func (r *replica) next() {
	r.w.Helper()
	step, err := r.Next(r.w.ctx)
	r.w.must(err)
	if step.Lost || step.Revision < r.at {
		r.w.Fatalf("after %d comes %d, lost %v", r.at, step.Revision, step.Lost)
	}
	r.at = step.Revision
	r.steps++
	for _, m := range step.Messages {
		if m.Revision > step.Revision {
			r.w.Errorf("%s is of revision %d, in a step to %d", m.Key, m.Revision, step.Revision)
		}
		if m.Revision > r.state[m.Key].Revision {
			r.state[m.Key] = m
		}
	}
	sum := 0
	for i := range accounts {
		n := 0
		r.w.must(json.Unmarshal(r.state[account(i)].Value, &n))
		sum += n
	}
	if sum != accounts*each100 {
		r.w.Errorf("at revision %d the sum is %d", r.at, sum)
	}
}

// reach follows up to a revision, and holds what it has then against the bucket, in which nobody writes.
func (r *replica) reach(revision uint64) {
	r.w.Helper()
	for r.at < revision {
		r.next()
	}
	want, err := store.Since(r.w.ctx, r.w.bucket, keys.Everything, 0)
	r.w.must(err)
	for _, m := range want {
		if got := r.state[m.Key]; (got.Revision != m.Revision || string(got.Value) != string(m.Value)) && !keys.Passing(m.Key) {
			r.w.Errorf("in the end %s is %q of %d, and not %q of %d", m.Key, got.Value, got.Revision, m.Value, m.Revision)
		}
	}
}

// Several writers move amounts between few accounts, so that most messages are written over at once. No
// state that a follower leads to has half of a transfer, or one without those that it came after.
func TestStepsLeadFromMomentToMoment(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		r := w.follow()
		n := testsize.Pick(200, 800, 4000)
		if w.files { // where a batch takes two milliseconds
			n /= 4
		}
		var writers sync.WaitGroup
		for range 8 {
			writers.Go(func() {
				for range n / 8 {
					for !w.transfer(w.bucket) {
						if w.ctx.Err() != nil {
							return
						}
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() {
			writers.Wait()
			close(ended)
			r.Hurry() // nothing follows for which it could wait
		}()
		for running := true; running; {
			select {
			case <-ended:
				running = false
			default:
				r.next()
			}
		}
		last, err := w.bucket.Revision(w.ctx, store.Acknowledged)
		w.must(err)
		r.reach(last)
		w.Logf("%d steps to %d", r.steps, r.at)
	})
}

// The connection is cut again and again, and what was written meanwhile was written over many times.
func TestStepsAfterLosses(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		r := w.follow()
		for range testsize.Pick(2, 4, 20) {
			w.proxy.Block()
			for range 50 {
				w.transfer(w.bucket)
			}
			w.proxy.Unblock()
			for range 20 {
				w.transfer(w.bucket)
			}
			last, err := w.bucket.Revision(w.ctx, store.Acknowledged)
			w.must(err)
			for r.at < last {
				r.next()
			}
		}
		r.reach(r.at)
	})
}

// The last message of a batch is written over, or gone, and nothing follows: the follower does not wait for it.
func TestStepAtTheEnd(t *testing.T) {
	t.Parallel()
	each(t, func(w *world) {
		r := w.follow()
		w.proxy.Block()
		_, err := w.bucket.Batch(w.ctx, store.Batch{Ops: []store.Op{{Key: "x.1"}, {Key: "x.2"}, {Key: "x.3"}}})
		w.must(err)
		rev := w.bucket.Write(w.ctx, store.Op{Key: "x.4"})[0].Revision
		w.must(w.bucket.Purge(w.ctx, "x.4", rev))
		w.must(w.bucket.Purge(w.ctx, "x.3", rev))
		w.proxy.Unblock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for r.at < rev {
				r.next()
			}
		}()
		for {
			select {
			case <-done:
				r.reach(rev)
				return
			case <-time.After(10 * time.Millisecond):
				r.Hurry()
			}
		}
	})
}
