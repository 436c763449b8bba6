package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/store"
)

var (
	soakFor  = flag.Duration("soak", 0, "how long TestSoak measures; it is skipped without this")
	soakWarm = flag.Duration("soak.warm", store.BriefFor+time.Minute, "how long TestSoak works before that: by default until as many delete markers of index entries go as come")
)

const (
	soakRecords = 20_000
	soakClients = 8

	// soakRate is how many operations each client begins in a second: some of what the
	// machine can do, so that what is measured is not a queue of the test's own making.
	soakRate = 25

	// longest is what no read may take.
	longest = time.Second

	// drift is how much more the second half may take of what the first half took.
	drift = 1.5
)

// soaker does mixed work on one model.
type soaker struct {
	tickets *natsorm.Model[ticket]
	db      *natsorm.DB
	next    atomic.Int64 // the next record to create

	mu    sync.Mutex
	times map[string][]time.Duration // in this part, by operation
}

// operations are what clients do, with how often each is done of a hundred times.
func (s *soaker) operations() []operation {
	text := func(n int) string { return fmt.Sprint(n) }
	return []operation{
		{"find by key", 35, true, func(ctx context.Context, r *rand.Rand) error {
			_, err := s.tickets.FindByPK(ctx, r.IntN(soakRecords))
			if errors.Is(err, natsorm.ErrNotFound) { // destroyed
				return nil
			}
			return err
		}},
		{"lookup", 25, true, func(ctx context.Context, r *rand.Rand) error {
			_, err := s.tickets.FindAll(ctx, natsorm.Eq("client", text(r.IntN(2000))))
			return err
		}},
		{"large lookup", 3, true, func(ctx context.Context, r *rand.Rand) error {
			_, err := s.tickets.FindAll(ctx, natsorm.Eq("state", text(r.IntN(20))))
			return err
		}},
		{"page", 5, true, func(ctx context.Context, r *rand.Rand) error {
			_, _, err := s.tickets.FindPage(ctx, natsorm.Eq("team", text(r.IntN(200))), natsorm.OrderBy("-id"), natsorm.Limit(20))
			return err
		}},
		{"intersection", 3, true, func(ctx context.Context, r *rand.Rand) error {
			_, err := s.tickets.FindAll(ctx, natsorm.Eq("state", text(r.IntN(20))), natsorm.Eq("team", text(r.IntN(200))))
			return err
		}},
		{"count", 2, true, func(ctx context.Context, _ *rand.Rand) error {
			_, err := s.tickets.Count(ctx)
			return err
		}},
		{"group", 2, true, func(ctx context.Context, r *rand.Rand) error {
			_, err := s.tickets.GroupBy(ctx, []string{"state"}, []natsorm.Aggregate{natsorm.CountRecords()}, natsorm.Eq("team", text(r.IntN(200))))
			return err
		}},
		{"scan", 1, true, func(ctx context.Context, _ *rand.Rand) error {
			_, err := s.tickets.Exists(ctx, natsorm.Eq("text", "none"))
			return err
		}},
		{"read in a transaction", 3, true, func(ctx context.Context, r *rand.Rand) error {
			return s.db.Transaction(ctx, func(ctx context.Context) error {
				_, err := s.tickets.FindAll(ctx, natsorm.Eq("client", text(r.IntN(2000))))
				return err
			})
		}},
		{"update", 15, false, func(ctx context.Context, r *rand.Rand) error {
			_, err := s.tickets.Update(ctx, natsorm.Set{"client": text(r.IntN(2000)), "state": text(r.IntN(20))}, natsorm.Eq("id", r.IntN(soakRecords)))
			return err
		}},
		{"create", 1, false, func(ctx context.Context, r *rand.Rand) error {
			n := int(s.next.Add(1))
			return s.tickets.Create(ctx, s.ticket(n))
		}},
		{"destroy", 1, false, func(ctx context.Context, r *rand.Rand) error {
			// As many go as come, and most of them are the oldest of those that came.
			_, err := s.tickets.Destroy(ctx, natsorm.Eq("id", int(s.next.Load())-soakRecords/2-r.IntN(1000)))
			return err
		}},
		{"transaction", 4, false, func(ctx context.Context, r *rand.Rand) error {
			return s.db.Transaction(ctx, func(ctx context.Context) error {
				v, err := s.tickets.FindByPK(ctx, r.IntN(soakRecords))
				if errors.Is(err, natsorm.ErrNotFound) {
					return nil
				}
				if err != nil {
					return err
				}
				v.Team = text(r.IntN(200))
				return s.tickets.Save(ctx, v)
			})
		}},
	}
}

type operation struct {
	name  string
	share int
	reads bool
	do    func(ctx context.Context, r *rand.Rand) error
}

func (s *soaker) ticket(n int) *ticket {
	return &ticket{ID: int64(n), Client: fmt.Sprint(n % 2000), State: fmt.Sprint(n % 20), Team: fmt.Sprint(n % 200), Text: "some words"}
}

// part is what was measured in one part of the time.
type part struct {
	median     map[string]time.Duration
	heap       uint64
	goroutines int
	consumers  int
	records    int
}

// Mixed work, for as long as -soak says, on a server on files in a process of its own. No
// read takes longer than a second, and the second half is as the first: in how long each
// operation takes, in memory, goroutines and consumers. It is for a quiet machine:
//
//	go test -v -run Soak -timeout 30m -soak 10m .
//
// Delete markers of records stay for an hour, so few records come and go: a scan meets them.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("takes as long as -soak says")
	}
	url, stop := startServer(t, benchServer{Dir: t.TempDir()})
	defer stop()
	ctx := context.Background()
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "soak"})
	check(t, err)
	defer db.Close()
	s := &soaker{db: db}
	s.tickets, err = natsorm.Define[ticket](ctx, db)
	check(t, err)
	all := make([]*ticket, soakRecords)
	for i := range all {
		all[i] = s.ticket(i)
	}
	check(t, s.tickets.BulkCreate(ctx, all))
	s.next.Store(soakRecords)
	watch, err := s.tickets.Watch(ctx, natsorm.Eq("state", "1"))
	check(t, err)
	defer watch.Stop()
	go func() {
		for range watch.Changes() {
		}
	}()

	const parts = 10
	operations := s.operations()
	s.times = map[string][]time.Duration{}
	s.work(t, operations, *soakWarm)
	s.measure(t, "warm", operations)
	var measured []part
	for i := range parts {
		s.times = map[string][]time.Duration{}
		s.work(t, operations, *soakFor/parts)
		measured = append(measured, s.measure(t, fmt.Sprint("part ", i), operations))
	}
	early, late := measured[:parts/2], measured[parts/2:]
	for _, o := range operations {
		of := func(list []part) (sum time.Duration) {
			for _, p := range list {
				sum += p.median[o.name]
			}
			return sum / time.Duration(len(list))
		}
		if a, b := of(early), of(late); float64(b) > drift*float64(a) {
			t.Errorf("%s: half of them take up to %v, then %v", o.name, a, b)
		}
	}
	most := func(list []part, of func(part) int) (most int) {
		for _, p := range list {
			most = max(most, of(p))
		}
		return most
	}
	for what, of := range map[string]func(part) int{
		"bytes of heap": func(p part) int { return int(p.heap) },
		"goroutines":    func(p part) int { return p.goroutines },
		"consumers":     func(p part) int { return p.consumers },
	} {
		if a, b := most(early, of), most(late, of); float64(b) > drift*float64(a) {
			t.Errorf("%d %s, then %d", a, what, b)
		}
	}
	report, err := db.Check(ctx)
	if err != nil || !report.Clean() {
		t.Errorf("at the end: %v\n%s", err, report)
	}
}

// work lets the clients work for a time.
func (s *soaker) work(t *testing.T, operations []operation, lasts time.Duration) {
	var deck []operation
	for _, o := range operations {
		deck = append(deck, slices.Repeat([]operation{o}, o.share)...)
	}
	end := time.Now().Add(lasts)
	var wg sync.WaitGroup
	for range soakClients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 0))
			tick := time.NewTicker(time.Second / soakRate)
			defer tick.Stop()
			for time.Now().Before(end) {
				<-tick.C
				o := deck[r.IntN(len(deck))]
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				start := time.Now()
				err := o.do(ctx, r)
				took := time.Since(start)
				cancel()
				if err != nil {
					t.Errorf("%s: %v", o.name, err)
				}
				if o.reads && took > longest {
					t.Errorf("%s took %v", o.name, took)
				}
				s.mu.Lock()
				s.times[o.name] = append(s.times[o.name], took)
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// measure says what a part was like.
func (s *soaker) measure(t *testing.T, name string, operations []operation) part {
	ctx := context.Background()
	p := part{median: map[string]time.Duration{}, goroutines: runtime.NumGoroutine()}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	p.heap = mem.HeapAlloc
	js, err := jetstream.New(s.db.Conn())
	check(t, err)
	stream, err := js.Stream(ctx, "KV_soak")
	check(t, err)
	p.consumers = stream.CachedInfo().State.Consumers
	p.records, err = s.tickets.Count(ctx)
	check(t, err)
	var line strings.Builder
	for _, o := range operations {
		times := s.times[o.name]
		if len(times) == 0 {
			continue
		}
		slices.Sort(times)
		p.median[o.name] = times[len(times)/2]
		fmt.Fprintf(&line, "\n\t%-22s %6d times, half up to %8v, 99 of 100 up to %8v, all up to %8v", o.name, len(times),
			times[len(times)/2].Round(10*time.Microsecond), times[len(times)*99/100].Round(10*time.Microsecond), times[len(times)-1].Round(10*time.Microsecond))
	}
	t.Logf("%s: %d records, %.1f MB of heap, %d goroutines, %d consumers%s", name, p.records, float64(p.heap)/1e6, p.goroutines, p.consumers, line.String())
	return p
}
