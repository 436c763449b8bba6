// Package bench measures natsorm against the raw nats.go calls it is made of,
// side by side in one run: what counts is the ratio, not the time.
//
//	cd bench && go test -bench . -benchtime 2s
//
// Each benchmark reports raw-ns and ns for one operation each, and "ratio", the
// speed of natsorm as a share of raw nats.go's: 1 is the same, 0.5 is half as
// fast. Where an operation is several messages, its raw counterpart and unit
// are named at the benchmark.
package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

type user struct {
	ID    int64  `json:"id" orm:"primaryKey"`
	Name  string `json:"name"`
	Email string `json:"email"`
	Age   int    `json:"age"`
	City  string `json:"city"`
}

type indexedUser struct {
	ID    int64  `json:"id" orm:"primaryKey"`
	Name  string `json:"name" orm:"index"`
	Email string `json:"email" orm:"index"`
	Age   int    `json:"age"`
	City  string `json:"city"`
}

func sample(i int64) *user {
	n := strconv.FormatInt(i, 10)
	return &user{ID: i, Name: "User " + n, Email: "user" + n + "@example.com", Age: int(i % 90), City: "Oslo"}
}

func indexed(i int64) *indexedUser {
	u := indexedUser(*sample(i))
	return &u
}

// storages are the ways in which a server keeps a bucket.
var storages = []struct {
	name string
	cfg  func(b *testing.B) embedded.Config
}{
	{"memory", func(*testing.B) embedded.Config { return embedded.Config{} }},
	{"file", func(b *testing.B) embedded.Config {
		return embedded.Config{Dir: dir(b), Sync: embedded.SyncInterval}
	}},
	{"tcp", func(b *testing.B) embedded.Config { // as file, over loopback
		return embedded.Config{Dir: dir(b), Sync: embedded.SyncInterval, Port: -1}
	}},
	{"synced", func(b *testing.B) embedded.Config { return embedded.Config{Dir: dir(b)} }},
}

func dir(b testing.TB) string {
	d, err := os.MkdirTemp("", "natsorm-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// each runs a benchmark on every storage, or the ones named.
func each(b *testing.B, run func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue), only ...string) {
	for _, st := range storages {
		if len(only) > 0 && !slices.Contains(only, st.name) {
			continue
		}
		b.Run(st.name, func(b *testing.B) {
			srv, err := embedded.Start(st.cfg(b))
			check(b, err)
			defer srv.Close()
			cfg := natsorm.Config{Bucket: "bench"}
			var db *natsorm.DB
			if url := srv.URL(); url != "" {
				cfg.Servers = []string{url}
				db, err = natsorm.Open(context.Background(), cfg)
			} else {
				db, err = srv.Open(context.Background(), cfg)
			}
			check(b, err)
			defer db.Close()
			run(b, db, db.KV())
		})
	}
}

func check(b testing.TB, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// compare runs raw and ours in turns of a few operations, so that both meet the
// same machine, and reports the ratio of their speeds. n counts operations.
func compare(b *testing.B, raw, ours func(n int)) {
	const turn = 64
	var rawTime, ourTime time.Duration
	total := 0
	for b.Loop() {
		start := time.Now()
		for i := range turn {
			raw(total + i)
		}
		middle := time.Now()
		for i := range turn {
			ours(total + i)
		}
		rawTime += middle.Sub(start)
		ourTime += time.Since(middle)
		total += turn
	}
	report(b, rawTime, ourTime, total)
}

func report(b *testing.B, raw, ours time.Duration, n int) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(raw.Nanoseconds())/float64(n), "raw-ns")
	b.ReportMetric(float64(ours.Nanoseconds())/float64(n), "ns")
	b.ReportMetric(float64(raw)/float64(ours), "ratio")
}

func BenchmarkFindByPK(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[user](ctx, db)
		check(b, err)
		const n = 1000
		for i := range int64(n) {
			check(b, users.Create(ctx, sample(i)))
		}
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("user.shard_%d.%d", i%16, i)
		}
		compare(b, func(i int) {
			_, err := kv.Get(ctx, keys[i%n])
			check(b, err)
		}, func(i int) {
			_, err := users.FindByPK(ctx, i%n)
			check(b, err)
		})
	})
}

// BenchmarkCreate compares with a put of the same document.
func BenchmarkCreate(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[user](ctx, db)
		check(b, err)
		doc := []byte(`{"id":1000,"name":"User 1000","email":"user1000@example.com","age":10,"city":"Oslo"}`)
		compare(b, func(i int) {
			_, err := kv.Put(ctx, "raw.shard_1."+strconv.Itoa(i), doc)
			check(b, err)
		}, func(i int) {
			check(b, users.Create(ctx, sample(int64(i))))
		})
	})
}

// BenchmarkCreateTwoIndexes compares one client's create, three messages in two
// round trips, with one put: a ratio of 0.4 is 2.5 round trips.
func BenchmarkCreateTwoIndexes(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[indexedUser](ctx, db)
		check(b, err)
		doc := []byte(`{"id":1000,"name":"User 1000","email":"user1000@example.com","age":10,"city":"Oslo"}`)
		compare(b, func(i int) {
			_, err := kv.Put(ctx, "raw.shard_1."+strconv.Itoa(i), doc)
			check(b, err)
		}, func(i int) {
			check(b, users.Create(ctx, indexed(int64(i))))
		})
	})
}

// parallel is how long clients take that do op so many times each.
func parallel(clients, times int, op func()) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range times {
				op()
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkCreateTwoIndexes64 compares 64 clients' creates with three puts each:
// the same number of messages.
func BenchmarkCreateTwoIndexes64(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[indexedUser](ctx, db)
		check(b, err)
		doc := []byte(`{"id":1000,"name":"User 1000","email":"user1000@example.com","age":10,"city":"Oslo"}`)
		var rawTime, ourTime time.Duration
		var rawKey, id atomic.Int64
		total := 0
		const clients, turn = 64, 10
		for b.Loop() {
			rawTime += parallel(clients, turn, func() {
				k := rawKey.Add(1)
				for _, prefix := range []string{"raw.index.a.", "raw.index.b.", "raw.shard_1."} {
					value := doc
					if prefix != "raw.shard_1." {
						value = nil
					}
					if _, err := kv.Put(ctx, prefix+strconv.FormatInt(k, 10), value); err != nil {
						b.Error(err)
					}
				}
			})
			ourTime += parallel(clients, turn, func() {
				if err := users.Create(ctx, indexed(id.Add(1))); err != nil {
					b.Error(err)
				}
			})
			total += clients * turn
		}
		report(b, rawTime, ourTime, total)
	})
}

// BenchmarkScan compares Each over 100,000 records, decoded, with kv.Watch
// reading them, not decoded; the times are for one record.
func BenchmarkScan(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[user](ctx, db)
		check(b, err)
		const n = 100_000
		all := make([]*user, n)
		for i := range all {
			all[i] = sample(int64(i))
		}
		check(b, users.BulkCreate(ctx, all))
		var rawTime, ourTime time.Duration
		total := 0
		for b.Loop() {
			start := time.Now()
			w, err := kv.Watch(ctx, "user.*.*")
			check(b, err)
			got := 0
			for e := range w.Updates() {
				if e == nil {
					break
				}
				got++
			}
			check(b, w.Stop())
			middle := time.Now()
			ours := 0
			for _, err := range users.Each(ctx) {
				check(b, err)
				ours++
			}
			rawTime += middle.Sub(start)
			ourTime += time.Since(middle)
			if got != n || ours != n {
				b.Fatalf("read %d and %d of %d records", got, ours, n)
			}
			total += n
		}
		report(b, rawTime, ourTime, total)
	}, "memory", "file")
}
