package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

type counter struct {
	ID int    `json:"id" orm:"primaryKey"`
	N  int    `json:"n"`
	By string `json:"by" orm:"index"`
	U  int    `json:"u" orm:"unique"`
}

// behindProxy opens a bucket that keeps its history, through a proxy and past it.
func behindProxy(t *testing.T, cfg embedded.Config) (p *testbed.Proxy, lossy, direct *natsorm.DB) {
	t.Helper()
	cfg.Port = -1
	srv := serve(t, cfg)
	db := must[*natsorm.DB](t)(srv.Open(within(t), natsorm.Config{Bucket: "log", History: 64}))
	t.Cleanup(func() { natsormtest.Prove(t, db); db.Close() })
	p = testbed.StartLossyProxy(t, srv.URL())
	other := must[*natsorm.DB](t)(natsorm.Open(within(t), natsorm.Config{Servers: []string{p.URL()}, Bucket: "log", NATS: []nats.Option{nats.ReconnectWait(10 * time.Millisecond)}}))
	t.Cleanup(func() { other.Close() })
	return p, other, db
}

// written is how often each key was written, by what the stream still has.
func written(t *testing.T, db *natsorm.DB, pattern string) map[string]int {
	t.Helper()
	out := map[string]int{}
	w := must[jetstream.KeyWatcher](t)(db.KV().Watch(within(t), pattern, jetstream.IncludeHistory()))
	defer w.Stop()
	for e := range w.Updates() {
		if e == nil {
			return out
		}
		out[e.Key()]++
	}
	return out
}

// Of a thousand commits the answer is lost, of some the request too, and now and
// then the connection goes. Each must report what the stream's log shows.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"memory", "file"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			commits := testsize.Pick(40, 200, 1000)
			cfg := embedded.Config{}
			if storage == "file" {
				cfg = embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}
			}
			var mu sync.Mutex
			r := rand.New(rand.NewPCG(1, 2))
			p, lossy, direct := behindProxy(t, cfg)
			counters := define[counter](t, lossy)
			p.Lose(func(subject string, answer bool) bool {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case strings.HasPrefix(subject, "$KV.log.counter.shard_"): // a commit, or a batch with one
					return answer || r.IntN(10) == 0
				case strings.HasPrefix(subject, "$KV.log._settle."): // a probe
					return r.IntN(5) == 0
				}
				return r.IntN(200) == 0
			})
			ctx := within(t)
			var wg sync.WaitGroup
			jobs := make(chan int)
			created, saved := make([]error, commits/2), make([]error, commits/2)
			for range 250 {
				wg.Go(func() {
					for i := range jobs {
						c := &counter{ID: i, N: 1, By: "x", U: i}
						if created[i] = counters.Create(ctx, c); created[i] != nil {
							continue
						}
						_, saved[i] = counters.Increment(ctx, natsorm.Set{"n": 1}, natsorm.Eq("id", i))
					}
				})
			}
			for i := range commits / 2 {
				jobs <- i
				if every := commits / 10; i%every == every-1 {
					p.Cut()
				}
			}
			close(jobs)
			wg.Wait()
			t.Logf("%d messages were lost", p.Lost())
			if p.Lost() < commits/2 {
				t.Errorf("only %d messages were lost", p.Lost())
			}
			p.LoseNothing()
			times := written(t, direct, "counter.*.*")
			for i := range commits / 2 {
				want := 0
				if created[i] == nil {
					want++
				}
				if created[i] == nil && saved[i] == nil {
					want++
				}
				key := "counter.shard_" + strconv.Itoa(i%16) + "." + strconv.Itoa(i)
				if created[i] != nil || saved[i] != nil {
					t.Errorf("%d: %v, %v", i, created[i], saved[i])
				}
				if times[key] != want {
					t.Errorf("%s was written %d times; reported: %v, %v", key, times[key], created[i], saved[i])
				}
			}
		})
	}
}

// When nobody answers within the context, the outcome is unknown, and said to be;
// when the commit was not even sent, that is known.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	p, lossy, direct := behindProxy(t, embedded.Config{})
	counters := define[counter](t, lossy)
	ctx := within(t)
	ok(t, counters.Create(ctx, &counter{ID: 1}))

	p.Lose(func(_ string, answer bool) bool { return answer })
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	err := counters.Create(short, &counter{ID: 2, U: 2})
	if !errors.Is(err, natsorm.ErrUnknownOutcome) || natsorm.SafeToRetry(err) {
		t.Errorf("a write without an answer: %v", err)
	}
	short, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err = counters.Update(short, natsorm.Set{"n": 5}, natsorm.Eq("id", 1)) // cannot even read the record
	if errors.Is(err, natsorm.ErrUnknownOutcome) || !natsorm.SafeToRetry(err) {
		t.Errorf("an update without its record: %v", err)
	}
	p.LoseNothing()
	if n := written(t, direct, "counter.*.1")["counter.shard_1.1"]; n != 1 {
		t.Errorf("the record was written %d times", n)
	}
}

// The server answers too late to some of the writes of a Restore, and to some of its removals: they
// are sent again, and it ends.
func TestRestoreWhoseAnswersAreLost(t *testing.T) {
	t.Parallel()
	p, lossy, direct := behindProxy(t, embedded.Config{})
	counters := define[counter](t, direct)
	ctx := within(t)
	for i := range 10 {
		ok(t, counters.Create(ctx, &counter{ID: i, U: i}))
	}
	var file bytes.Buffer
	ok(t, direct.Backup(ctx, &file))
	for i := range 10 { // half of them go, and others come
		must[int](t)(counters.Destroy(ctx, natsorm.Eq("id", i+5)))
		ok(t, counters.Create(ctx, &counter{ID: i + 5, U: 100 + i}))
	}
	var mu sync.Mutex
	times := map[string]int{} // that each key was written
	p.Lose(func(subject string, answer bool) bool {
		mu.Lock()
		defer mu.Unlock()
		if !answer && strings.HasPrefix(subject, "$KV.log.counter.") {
			times[subject]++
		}
		return answer && times[subject] == 1
	})
	ok(t, lossy.Restore(ctx, &file, natsorm.DeleteOthers()))
	p.LoseNothing()
	if p.Lost() < 20 {
		t.Errorf("only %d answers were lost", p.Lost())
	}
	if n := must[int](t)(counters.Count(ctx)); n != 10 {
		t.Errorf("there are %d records", n)
	}
}
