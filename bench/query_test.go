package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/natsorm/natsorm"
)

// person is the record of the query benchmarks: ten share a city, and every
// hundredth has the same age.
type person struct {
	ID   int64  `json:"id" orm:"primaryKey"`
	Name string `json:"name"`
	Age  int    `json:"age"`
	City string `json:"city" orm:"index"`
}

const people = 100_000

func define(b *testing.B, db *natsorm.DB, n int) *natsorm.Model[person] {
	ctx := context.Background()
	m, err := natsorm.Define[person](ctx, db)
	check(b, err)
	const chunk = 100_000
	for start := 0; start < n; start += chunk {
		all := make([]*person, min(chunk, n-start))
		for i := range all {
			id := start + i
			all[i] = &person{ID: int64(id), Name: fmt.Sprint("Person ", id), Age: id % 100, City: fmt.Sprint("City", id/10)}
		}
		check(b, m.BulkCreate(ctx, all))
	}
	return m
}

// rawMulti asks for the last messages of subjects as fast as nats.go can: with
// one subscription that stays, and without looking at what comes.
type rawMulti struct {
	nc      *nats.Conn
	inbox   string
	replies chan *nats.Msg
}

func newRawMulti(b *testing.B, nc *nats.Conn) *rawMulti {
	r := &rawMulti{nc: nc, inbox: nats.NewInbox(), replies: make(chan *nats.Msg, 4096)}
	sub, err := nc.ChanSubscribe(r.inbox, r.replies)
	check(b, err)
	b.Cleanup(func() { _ = sub.Unsubscribe() })
	return r
}

func (r *rawMulti) get(b *testing.B, subjects ...string) (n int) {
	body, err := json.Marshal(map[string]any{"multi_last": subjects})
	check(b, err)
	check(b, r.nc.PublishRequest("$JS.API.DIRECT.GET.KV_bench", r.inbox, body))
	for m := range r.replies {
		if m.Header.Get("Status") != "" {
			return n
		}
		n++
	}
	return n
}

// city makes the two requests for the ten records of a city.
func (r *rawMulti) city(b *testing.B, city int) {
	if got := r.get(b, fmt.Sprintf("$KV.bench.person.index.city.City%d.*", city)); got != 10 {
		b.Fatalf("%d entries", got)
	}
	subjects := make([]string, 10)
	for j := range subjects {
		subjects[j] = recordSubject(city*10 + j)
	}
	if got := r.get(b, subjects...); got != 10 {
		b.Fatalf("%d records", got)
	}
}

func recordSubject(id int) string { return fmt.Sprintf("$KV.bench.person.shard_%d.%d", id%16, id) }

// BenchmarkIndexLookupOrbit is BenchmarkIndexLookup against the same two
// requests by orbit's jetstreamext, as a program without natsorm would send
// them.
func BenchmarkIndexLookupOrbit(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) {
		m := define(b, db, people)
		ctx := context.Background()
		js, err := jetstream.New(db.Conn())
		check(b, err)
		get := func(subjects ...string) (n int) {
			msgs, err := jetstreamext.GetLastMsgsFor(ctx, js, "KV_bench", subjects)
			check(b, err)
			for _, err := range msgs {
				check(b, err)
				n++
			}
			return n
		}
		compare(b, func(i int) {
			city := i * 7919 % (people / 10)
			if got := get(fmt.Sprintf("$KV.bench.person.index.city.City%d.*", city)); got != 10 {
				b.Fatalf("%d entries", got)
			}
			subjects := make([]string, 10)
			for j := range subjects {
				subjects[j] = recordSubject(city*10 + j)
			}
			if got := get(subjects...); got != 10 {
				b.Fatalf("%d records", got)
			}
		}, func(i int) {
			found, err := m.FindAll(ctx, natsorm.Eq("city", fmt.Sprint("City", i*7919%(people/10))))
			check(b, err)
			if len(found) != 10 {
				b.Fatalf("%d found", len(found))
			}
		})
	}, "memory", "file", "tcp")
}

// BenchmarkIndexLookup compares finding the ten records of a city, decoded,
// with the two requests that it takes.
func BenchmarkIndexLookup(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) {
		m := define(b, db, people)
		lookup(b, db, m, people)
	}, "memory", "file", "tcp")
}

func lookup(b *testing.B, db *natsorm.DB, m *natsorm.Model[person], n int) {
	ctx := context.Background()
	raw := newRawMulti(b, db.Conn())
	compare(b, func(i int) {
		raw.city(b, i*7919%(n/10))
	}, func(i int) {
		found, err := m.FindAll(ctx, natsorm.Eq("city", fmt.Sprint("City", i*7919%(n/10))))
		check(b, err)
		if len(found) != 10 {
			b.Fatalf("%d found", len(found))
		}
	})
}

// BenchmarkFindMany compares finding 1,000 records by their keys, decoded, with
// the one request that asks for them.
func BenchmarkFindMany(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) {
		m := define(b, db, people)
		ctx := context.Background()
		raw := newRawMulti(b, db.Conn())
		ids := make([]any, 1000)
		subjects := make([]string, len(ids))
		for i := range ids {
			ids[i] = i * 7919 % people
			subjects[i] = recordSubject(ids[i].(int))
		}
		compare(b, func(int) {
			if got := raw.get(b, subjects...); got != len(ids) {
				b.Fatalf("%d records", got)
			}
		}, func(int) {
			found, err := m.FindAll(ctx, natsorm.In("id", ids...))
			check(b, err)
			if len(found) != len(ids) {
				b.Fatalf("%d found", len(found))
			}
		})
	}, "memory", "file", "tcp")
}

func watchAll(b *testing.B, kv jetstream.KeyValue, n int) time.Duration {
	start := time.Now()
	w, err := kv.Watch(context.Background(), "person.*.*")
	check(b, err)
	got := 0
	for e := range w.Updates() {
		if e == nil {
			break
		}
		got++
	}
	check(b, w.Stop())
	if got != n {
		b.Fatalf("watched %d", got)
	}
	return time.Since(start)
}

// BenchmarkScanFiltered compares a scan with a condition that one record in a
// hundred fulfils with kv.Watch reading them all; the times are for one record.
func BenchmarkScanFiltered(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		m := define(b, db, people)
		ctx := context.Background()
		var raw, ours time.Duration
		total := 0
		for b.Loop() {
			raw += watchAll(b, kv, people)
			start := time.Now()
			found, err := m.FindAll(ctx, natsorm.Eq("age", 7))
			check(b, err)
			ours += time.Since(start)
			if len(found) != people/100 {
				b.Fatalf("%d found", len(found))
			}
			total += people
		}
		report(b, raw, ours, total)
	}, "memory", "file", "tcp")
}

// BenchmarkCount compares counting, the first time in a process and later, with
// the scan of BenchmarkScanFiltered: first-time and time are shares of its time.
func BenchmarkCount(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		m := define(b, db, people)
		ctx := context.Background()
		_, err := m.Destroy(ctx, natsorm.In("id", 1, 2, 3))
		check(b, err)
		timed := func(f func() (int, error)) time.Duration {
			start := time.Now()
			n, err := f()
			check(b, err)
			if n != people-3 && n != people/100 {
				b.Fatalf("%d counted", n)
			}
			return time.Since(start)
		}
		var scan, first, later time.Duration
		for b.Loop() {
			scan += timed(func() (int, error) { return m.Count(ctx, natsorm.Eq("age", 7)) })
			fresh, err := natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: "bench"})
			check(b, err)
			again, err := natsorm.Define[person](ctx, fresh)
			check(b, err)
			count := func() (int, error) { return again.Count(ctx) }
			first += timed(count)
			later += timed(count)
			check(b, fresh.Close())
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(scan.Milliseconds())/float64(b.N), "scan-ms")
		b.ReportMetric(float64(first)/float64(scan), "first-time")
		b.ReportMetric(float64(later)/float64(scan), "time")
	}, "memory", "file", "tcp")
}

// BenchmarkLimit times the first ten records that fulfil a condition without an
// index, as every second one does.
func BenchmarkLimit(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) {
		m := define(b, db, people)
		ctx := context.Background()
		for b.Loop() {
			found, err := m.FindAll(ctx, natsorm.Lt("age", 50), natsorm.Limit(10))
			check(b, err)
			if len(found) != 10 {
				b.Fatalf("%d found", len(found))
			}
		}
	}, "memory", "file", "tcp")
}

// BenchmarkGrowth times lookups among 10,000 and among 1,000,000 records;
// growth is how much longer they take, raw-index-growth the same of the two raw
// requests of an index lookup, and each-MB what streaming all of them adds to the
// heap. It needs about 2 GB of memory, and half a minute to make the records.
func BenchmarkGrowth(b *testing.B) {
	if testing.Short() {
		b.Skip("makes a million records")
	}
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) {
		ctx := context.Background()
		m := define(b, db, 10_000)
		raw := newRawMulti(b, db.Conn())
		timed := func(n int) (byKey, byIndex, rawIndex time.Duration) {
			const rounds = 10_000
			runtime.GC()  // what making the records left
			for range 2 { // the first time warms up
				start := time.Now()
				for i := range rounds {
					_, err := m.FindByPK(ctx, i*7919%n)
					check(b, err)
				}
				byKey = time.Since(start) / rounds
				start = time.Now()
				for i := range rounds {
					found, err := m.FindAll(ctx, natsorm.Eq("city", fmt.Sprint("City", i*7919%(n/10))))
					check(b, err)
					if len(found) != 10 {
						b.Fatalf("%d found", len(found))
					}
				}
				byIndex = time.Since(start) / rounds
				start = time.Now()
				for i := range rounds {
					raw.city(b, i*7919%(n/10))
				}
				rawIndex = time.Since(start) / rounds
			}
			return byKey, byIndex, rawIndex
		}
		for done := false; b.Loop(); done = true {
			if done { // once is enough
				continue
			}
			key, index, rawIndex := timed(10_000)
			b.StopTimer()
			check(b, m.Truncate(ctx))
			m = define(b, db, 1_000_000)
			b.StartTimer()
			key2, index2, rawIndex2 := timed(1_000_000)
			b.ReportMetric(eachMemory(b, m, 1_000_000), "each-MB")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(key2.Nanoseconds()), "key-ns")
			b.ReportMetric(float64(index2.Nanoseconds()), "index-ns")
			b.ReportMetric(float64(key2)/float64(key), "key-growth")
			b.ReportMetric(float64(index2)/float64(index), "index-growth")
			b.ReportMetric(float64(rawIndex2.Nanoseconds()), "raw-index-ns")
			b.ReportMetric(float64(rawIndex2)/float64(rawIndex), "raw-index-growth")
		}
	}, "file")
}

// eachMemory is how much the heap grows, at most, while Each streams n records,
// in MB. The server's part is in it, which lists 8 bytes for each record.
func eachMemory(b *testing.B, m *natsorm.Model[person], n int) float64 {
	live := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := live()
	most, seen := before, 0
	for _, err := range m.Each(context.Background()) {
		check(b, err)
		if seen++; seen%(n/20) == 0 {
			most = max(most, live())
		}
	}
	if seen != n {
		b.Fatalf("%d of %d records", seen, n)
	}
	return float64(most-before) / 1e6
}
