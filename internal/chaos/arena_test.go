package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
)

const (
	bucket = "chaos"
	stream = "KV_" + bucket

	// checkTimeout bounds the search for an order of a history.
	checkTimeout = time.Minute
)

// opTimeout bounds one call of a client. It is longer than an election.
func opTimeout() time.Duration { return pick(2*time.Second, 5*time.Second) }

// arena is a cluster, clients that reach it through proxies, and what happens
// to them.
type arena struct {
	t       *testing.T
	seed    uint64
	cluster *testbed.Cluster
	proxies []*testbed.Proxy
	start   time.Time

	mu         sync.Mutex
	violations map[string]int
	troubles   map[string]int
}

// newArena starts a cluster for a test, which ends with it. What the database
// holds then is proved to be sound. The test runs in parallel with others: most
// of its time it waits.
func newArena(t *testing.T) *arena {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	a := &arena{t: t, seed: seedOf(t), start: time.Now(), violations: map[string]int{}, troubles: map[string]int{}}
	dir := t.TempDir()
	if *keep != "" {
		var err error
		dir, err = os.MkdirTemp(*keep, t.Name())
		a.must(err)
		t.Logf("the servers' files are in %s", dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	a.cluster, err = testbed.NewCluster(ctx, testbed.ClusterOptions{Dir: dir, Processes: true, SlowElections: *slow, Logs: true, VerboseServers: *verbose})
	a.must(err)
	t.Cleanup(func() {
		if err := a.cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		db, proxy := a.open(ctx, 0)
		defer proxy.Close()
		defer db.Close()
		// Not natsormtest.Prove: where a connection was down when a scan ended,
		// its consumer may stay for five minutes.
		report, err := db.Check(ctx)
		if err != nil || !report.Clean() {
			t.Errorf("at the end: %v\n%s", err, report)
		}
	})
	return a
}

// answers waits until the node that db is connected to answers reads itself: a
// follower begins to some seconds after it has caught up. While it is slow to
// reach the others, only its own answers are fast.
func (a *arena) answers(ctx context.Context, db *natsorm.DB, node int) {
	a.t.Helper()
	a.cluster.Links(a.cluster.Nodes[node], func(p *testbed.Proxy) { p.Delay(lag) })
	defer a.cluster.Links(a.cluster.Nodes[node], func(p *testbed.Proxy) { p.Delay(0) })
	for {
		start := time.Now()
		_, err := db.KV().Get(ctx, "no.such.key")
		if took := time.Since(start); errors.Is(err, jetstream.ErrKeyNotFound) && took < lag {
			return
		}
		a.must(testbed.Wait(ctx, testbed.Look))
	}
}

// lag is what a slow node is behind: longer than a client takes to move.
const lag = 25 * time.Millisecond

// seedOf is the seed of the choices of a test: a new one, or NATSORM_SEED's.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("NATSORM_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("NATSORM_SEED: %v", err)
		}
	}
	t.Logf("the same faults again: NATSORM_SEED=%d", seed)
	return seed
}

// client opens a DB for a client, which ends with the test. It has a connection
// of its own, through a proxy of its own, to the node at that position.
func (a *arena) client(node int) *natsorm.DB {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, proxy := a.open(ctx, node)
	a.proxies = append(a.proxies, proxy)
	a.t.Cleanup(func() {
		db.Close()
		proxy.Close()
	})
	return db
}

func (a *arena) open(ctx context.Context, node int) (*natsorm.DB, *testbed.Proxy) {
	a.t.Helper()
	proxy, err := testbed.NewProxy(a.cluster.Addrs(), node)
	a.must(err)
	for { // the bucket is made as soon as there are leaders for it
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		db, err := natsorm.Open(try, natsorm.Config{
			Servers: []string{proxy.URL()}, Bucket: bucket, Replicas: nodes,
			NATS: []nats.Option{
				nats.IgnoreDiscoveredServers(), // which are not behind the proxy
				nats.ReconnectWait(5 * time.Millisecond), nats.ReconnectJitter(5*time.Millisecond, 0),
				nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), // of a node that is paused
			},
		})
		cancel()
		if err == nil {
			return db, proxy
		}
		if testbed.Wait(ctx, testbed.Look) != nil {
			a.t.Fatal(err)
		}
	}
}

// run lets clients work, each by calling work again and again with its number
// from 0 and random choices of its own, while the nemesis injects faults. They
// work on until everything is healed.
func (a *arena) run(clients int, faults []Fault, work func(ctx context.Context, client int, rnd *rand.Rand)) {
	a.t.Helper()
	if *longForm {
		faults = Faults()
	}
	a.runWith(clients, faults, work)
}

// runWith is run with these faults also in the long form.
func (a *arena) runWith(clients int, faults []Fault, work func(ctx context.Context, client int, rnd *rand.Rand)) {
	a.t.Helper()
	lasts := pick(3*time.Second, 2*time.Minute)
	if *duration > 0 {
		lasts = *duration
	}
	if *faultNames != "" {
		var err error
		faults, err = FaultsNamed(strings.Split(*faultNames, ",")...)
		a.must(err)
	}
	n := &Nemesis{
		Cluster: a.cluster, Stream: stream, Proxies: a.proxies, Faults: faults,
		Rand: rand.New(rand.NewPCG(a.seed, 0)), Log: a.log,
		Short: pick(100*time.Millisecond, 500*time.Millisecond), Long: pick(500*time.Millisecond, 2500*time.Millisecond),
	}
	healed := make(chan struct{})
	var wg sync.WaitGroup
	for c := range clients {
		rnd := rand.New(rand.NewPCG(a.seed, uint64(c+1)))
		wg.Go(func() {
			for {
				select {
				case <-healed:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), opTimeout())
				work(ctx, c, rnd)
				cancel()
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	err := n.Run(ctx)
	close(healed)
	wg.Wait()
	a.must(err)
	for kind, n := range a.troubles {
		a.t.Logf("%d × %s", n, kind)
	}
}

// pick is a number for the short form, or one for the long form.
func pick[N any](short, long N) N {
	if *longForm {
		return long
	}
	return short
}

// mostTroubles is how many kinds of errors are told apart: there are keys in messages.
const mostTroubles = 20

// unlucky is the clients' view of an error that faults explain. The others are
// faults of natsorm, whose contract does not have them.
func (a *arena) unlucky(err error) {
	kind := "other: " + err.Error()
	switch {
	case errors.Is(err, natsorm.ErrUnknownOutcome):
		kind = "unknown outcome"
	case natsorm.SafeToRetry(err):
		kind = "safe to retry"
	case errors.Is(err, context.DeadlineExceeded):
		kind = "no answer within " + opTimeout().String()
	case errors.Is(err, natsorm.ErrClosed), errors.Is(err, natsorm.ErrInvalid), errors.Is(err, natsorm.ErrCorrupt):
		a.t.Errorf("an error that no fault explains: %v", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.troubles[kind]; !known && len(a.troubles) >= mostTroubles {
		kind = "something else"
	}
	a.troubles[kind]++
}

// violation counts a broken promise, and tells the first ones of a kind.
func (a *arena) violation(kind, format string, args ...any) {
	a.mu.Lock()
	a.violations[kind]++
	n := a.violations[kind]
	a.mu.Unlock()
	if n > 3 {
		return
	}
	a.t.Errorf("%s: %s: %s", a.clock(), kind, fmt.Sprintf(format, args...))
}

// log is for what the nemesis does.
func (a *arena) log(format string, args ...any) {
	a.t.Logf("%s  %s", a.clock(), fmt.Sprintf(format, args...))
}

func (a *arena) clock() string { return fmt.Sprintf("%7.3fs", time.Since(a.start).Seconds()) }

// linearizable holds a history against a model.
func (a *arena) linearizable(h *History, model porcupine.Model) {
	a.t.Helper()
	all, open := h.Size()
	file := filepath.Join(a.artifacts(), a.t.Name()+".html")
	switch result, err := h.Check(model, checkTimeout, file); {
	case result == porcupine.Unknown:
		a.t.Errorf("%d operations, %d of them open: not decided within %v", all, open, checkTimeout)
	case result == porcupine.Illegal:
		a.t.Errorf("%d operations, %d of them open: not linearizable; see %s (%v)", all, open, file, err)
	default:
		a.t.Logf("%d operations, %d of them open: linearizable", all, open)
	}
}

// artifacts is a directory for files that show a violation. Without -artifacts
// it is a temporary one, which stays when there is something in it.
func (a *arena) artifacts() string {
	a.t.Helper()
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
		return a.t.ArtifactDir()
	}
	dir, err := os.MkdirTemp("", "natsorm-chaos-")
	a.must(err)
	a.t.Cleanup(func() { _ = os.Remove(dir) }) // only when it is empty
	return dir
}

func (a *arena) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// define defines a model for a client.
func define[T any](a *arena, db *natsorm.DB) *natsorm.Model[T] {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := natsorm.Define[T](ctx, db)
	a.must(err)
	return m
}

// report tells how often each promise was broken.
func (a *arena) report() {
	for kind, n := range a.violations {
		a.t.Logf("%d × %s", n, kind)
	}
}
