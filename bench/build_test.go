package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

var manyRecords = flag.Int("records", 0, "how many records TestBuildRate builds indexes of, and TestCheckMemory checks; without it the first is skipped, and the second checks 100,000")

const (
	buildWriters = 4

	// Writers are measured in so many windows beside a build, and as many while it is paused. A
	// pause settles before.
	windows = 8
	window  = 1500 * time.Millisecond
	settles = time.Second

	leastRate   = 0.5 // of a build, as a share of the rate of a scan
	leastWrites = 0.8 // of writers beside a build, as a share of what they do alone
	mostP99     = 2   // of writers beside a build, as a multiple of that alone
)

// bare is a record whose indexes are declared by options.
type bare struct {
	ID     int64  `json:"id" orm:"primaryKey"`
	Client string `json:"client"` // 1 of 2000
	State  string `json:"state"`  // 1 of 20
	Email  string `json:"email"`  // its own
	Text   string `json:"text"`
}

// TestBuildRate builds an index of many records, on a server in a process of its own, and
// compares that with a scan of the same records in the same run. It builds another one beside
// writers of the model, and compares what they do with what they do alone. It is for a quiet machine:
//
//	go test -v -run BuildRate -timeout 30m -records 100000 .
func TestBuildRate(t *testing.T) {
	if *manyRecords == 0 {
		t.Skip("needs -records")
	}
	for _, storage := range []jetstream.StorageType{jetstream.FileStorage, jetstream.MemoryStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			url, stop := startServer(t, benchServer{Dir: t.TempDir()})
			defer stop()
			ctx := context.Background()
			db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "build", Storage: storage})
			check(t, err)
			defer db.Close()
			m, err := natsorm.Define[bare](ctx, db)
			check(t, err)
			batch := make([]*bare, 0, 10_000)
			for i := range *manyRecords {
				batch = append(batch, &bare{ID: int64(i), Client: fmt.Sprint(i % 2000), State: fmt.Sprint(i % 20), Email: fmt.Sprintf("user%d@example.com", i), Text: "some words, about as many as such a record has"})
				if len(batch) == cap(batch) || i == *manyRecords-1 {
					check(t, m.BulkCreate(ctx, batch))
					batch = batch[:0]
				}
			}
			scan := scanRate(t, m)
			t.Logf("a scan reads %.0f records in a second", scan)
			for _, x := range []struct {
				name   string
				index  natsorm.ModelOption
				assert bool
			}{{"an index", natsorm.Index("client"), true}, {"a unique index", natsorm.Unique("email"), false}} {
				rate := buildRate(t, db, x.index)
				t.Logf("%s is built at %.0f records in a second, %.2f of the scan", x.name, rate, rate/scan)
				if x.assert && rate < leastRate*scan {
					t.Errorf("%s is built at %.2f of the rate of a scan, and not at %.2f", x.name, rate/scan, leastRate)
				}
			}
			besideBuild(t, db, m)
			report, err := db.Check(ctx)
			if err != nil || !report.Clean() {
				t.Errorf("at the end: %v\n%s", err, report)
			}
		})
	}
}

// scanRate is how many records the median of five scans reads in a second.
func scanRate(t *testing.T, m *natsorm.Model[bare]) float64 {
	var rates []float64
	for range 5 {
		n, began := 0, time.Now()
		for _, err := range m.Each(context.Background()) {
			check(t, err)
			n++
		}
		rates = append(rates, float64(n)/time.Since(began).Seconds())
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// buildRate is how many records a build takes in a second, without the wait before it.
func buildRate(t *testing.T, db *natsorm.DB, index natsorm.ModelOption) float64 {
	var began time.Time
	_, err := natsorm.Define[bare](context.Background(), db, index, natsorm.BuildProgress(func(int, int) {
		if began.IsZero() {
			began = time.Now()
		}
	}))
	check(t, err)
	return float64(*manyRecords) / time.Since(began).Seconds()
}

// besideBuild compares writers beside a build with the same ones while it is paused, again and
// again, so that what else the machine does meets both.
func besideBuild(t *testing.T, db *natsorm.DB, m *natsorm.Model[bare]) {
	ctx := context.Background()
	building, built := make(chan struct{}), make(chan error, 1)
	began := sync.OnceFunc(func() { close(building) })
	var done atomic.Int64
	go func() {
		_, err := natsorm.Define[bare](ctx, db, natsorm.Index("state"), natsorm.BuildProgress(func(n, _ int) {
			began()
			done.Store(int64(n))
		}))
		built <- err
	}()
	<-building
	w := startWriters(m)
	var rates, p99s [2][]float64 // paused, and not
	records, worked := int64(0), time.Duration(0)
	for range windows {
		for going, turn := range []func(context.Context, string) error{db.PauseBuild, db.ResumeBuild} {
			if err := turn(ctx, "bare"); errors.Is(err, natsorm.ErrNotFound) {
				t.Logf("the build has ended; more records make it last longer")
				break
			} else {
				check(t, err)
			}
			time.Sleep(settles)
			before := done.Load()
			rate, p99 := w.during(window)
			if going == 1 && done.Load() == int64(*manyRecords) {
				break // it ended in between
			}
			if going == 1 {
				records, worked = records+done.Load()-before, worked+window
			}
			rates[going], p99s[going] = append(rates[going], rate), append(p99s[going], p99)
		}
	}
	check(t, db.ResumeBuild(ctx, "bare"))
	w.stop(t)
	check(t, <-built)
	if len(rates[1]) == 0 {
		t.Fatal("the build was too short to be compared")
	}
	median := func(list []float64) float64 {
		slices.Sort(list)
		return list[len(list)/2]
	}
	alone, beside, aloneP99, besideP99 := median(rates[0]), median(rates[1]), median(p99s[0]), median(p99s[1])
	t.Logf("%d writers write %.0f records in a second alone, and %.2f of that beside a build, which takes %.0f; 99 of 100 writes take up to %.1f ms, beside it %.1f ms",
		buildWriters, alone, beside/alone, float64(records)/worked.Seconds(), aloneP99, besideP99)
	if beside < leastWrites*alone {
		t.Errorf("writers beside a build write %.2f of what they write alone, and not %.2f", beside/alone, leastWrites)
	}
	if besideP99 > mostP99*aloneP99 {
		t.Errorf("99 of 100 writes beside a build take up to %.1f ms, alone %.1f ms", besideP99, aloneP99)
	}
}

// writers change a column without an index, all the time.
type writers struct {
	ended chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	times []time.Duration // what writes took since this was emptied
	err   error
}

func startWriters(m *natsorm.Model[bare]) *writers {
	w := &writers{ended: make(chan struct{})}
	for i := range buildWriters {
		w.wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for n := 0; ; n++ {
				select {
				case <-w.ended:
					return
				default:
				}
				start := time.Now()
				_, err := m.Update(context.Background(), natsorm.Set{"text": fmt.Sprint("words ", n)}, natsorm.Eq("id", r.IntN(*manyRecords)))
				took := time.Since(start)
				w.mu.Lock()
				w.times = append(w.times, took)
				if err != nil {
					w.err = err
				}
				w.mu.Unlock()
			}
		})
	}
	return w
}

// during is how many records are written in a second for a time, and how many milliseconds 99 of 100 writes
// take at the most.
func (w *writers) during(d time.Duration) (rate, p99 float64) {
	w.mu.Lock()
	w.times = nil
	w.mu.Unlock()
	time.Sleep(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.times)
	return float64(len(w.times)) / d.Seconds(), float64(w.times[len(w.times)*99/100].Microseconds()) / 1000
}

func (w *writers) stop(t *testing.T) {
	close(w.ended)
	w.wg.Wait()
	check(t, w.err)
}
