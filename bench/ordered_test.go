package bench

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

var orderedRecords = flag.Int("ordered", 0, "how many records TestOrdered reads ranges and pages of; it is skipped without this")

// event is a record of TestOrdered, with ordered indexes; plainEvent is the same without.
type event struct {
	ID     int64     `json:"id"     orm:"primaryKey"`
	State  string    `json:"state"  orm:"ordered:queue"`
	Level  int       `json:"level"  orm:"ordered"`
	At     time.Time `json:"at"     orm:"ordered,ordered:queue"`
	Name   string    `json:"name"   orm:"ordered"`
	Weight float64   `json:"weight"`
}

type plainEvent struct {
	ID     int64     `json:"id" orm:"primaryKey"`
	State  string    `json:"state"`
	Level  int       `json:"level"`
	At     time.Time `json:"at"`
	Name   string    `json:"name"`
	Weight float64   `json:"weight"`
}

// TestOrdered reads ranges and sorted pages of many records, and each as often by a scan of a model
// without indexes, in the same run. It reports the median times and the ratio, and fails where an ordered
// index is not fifty times as fast as the scan, or the answers differ.
func TestOrdered(t *testing.T) {
	if *orderedRecords == 0 {
		t.Skip("needs -ordered")
	}
	open := func(t *testing.T, storage jetstream.StorageType) *natsorm.DB {
		url, stop := startServer(t, benchServer{Dir: t.TempDir()})
		t.Cleanup(stop)
		db, err := natsorm.Open(t.Context(), natsorm.Config{Servers: []string{url}, Bucket: "ordered", Storage: storage})
		check(t, err)
		t.Cleanup(func() { db.Close() })
		return db
	}
	for _, c := range []struct {
		name string
		open func(t *testing.T) *natsorm.DB
	}{
		{"in memory", func(t *testing.T) *natsorm.DB { return open(t, jetstream.MemoryStorage) }},
		{"in files", func(t *testing.T) *natsorm.DB { return open(t, jetstream.FileStorage) }},
		{"on three servers", func(t *testing.T) *natsorm.DB { return cluster(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			db := c.open(t)
			events, err := natsorm.Define[event](ctx, db)
			check(t, err)
			plain, err := natsorm.Define[plainEvent](ctx, db)
			check(t, err)
			n := *orderedRecords
			from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			at := func(i int) time.Time { return from.Add(time.Duration(i) * time.Second) }
			began := time.Now()
			batch, other := make([]*event, 0, 10_000), make([]*plainEvent, 0, 10_000)
			for i := range n {
				e := event{ID: int64(i), State: []string{"open", "new", "done"}[i%3], Level: min(i%1000, 3), At: at(i * 7919 % n), Name: fmt.Sprintf("user %07d", i*104729%n), Weight: float64(i)}
				p := plainEvent(e)
				batch, other = append(batch, &e), append(other, &p)
				if len(batch) == cap(batch) || i == n-1 {
					check(t, events.BulkCreate(ctx, batch))
					check(t, plain.BulkCreate(ctx, other))
					batch, other = batch[:0], other[:0]
				}
			}
			t.Logf("%d records in two models are created in %v", n, time.Since(began).Round(time.Millisecond))
			page := func(order string, q ...natsorm.Query) []natsorm.Query {
				return append(q, natsorm.OrderBy(order), natsorm.Limit(20))
			}
			var singles []any
			for i := range 200 {
				singles = append(singles, at((i*1009+17)%n))
			}
			for _, c := range []struct {
				name  string
				query []natsorm.Query
			}{
				{"a range of 10", []natsorm.Query{natsorm.Between("at", at(n/3), at(n/3+9))}},
				{"a range of 500", []natsorm.Query{natsorm.Between("at", at(n/2), at(n/2+499))}},
				{"200 single values", []natsorm.Query{natsorm.In("at", singles...)}},
				{"the newest 20 of 200 single values", page("-at", natsorm.In("at", singles...))},
				{"a prefix", []natsorm.Query{natsorm.StartsWith("name", "user 001234")}},
				{"the newest 20", page("-at")},
				{"the oldest 20", page("at")},
				{"20 in the middle", page("-at", natsorm.Lt("at", at(n/2)))},
				{"the last 20", page("-at", natsorm.Lt("at", at(20)))},
				{"the newest 20 open ones", page("-at", natsorm.Eq("state", "open"))},
				{"20 of one value that most have", page("level", natsorm.Gte("level", 3))},
				{"the largest 20 of a value that most have", page("-level")},
			} {
				keys := func(ids []int64) []int64 { return slices.Sorted(slices.Values(ids)) }
				var found, expected []int64
				read := median(t, 51, func() {
					all, err := events.FindAll(ctx, c.query...)
					check(t, err)
					found = found[:0]
					for _, e := range all {
						found = append(found, e.ID)
					}
				})
				scan := median(t, 3, func() {
					all, err := plain.FindAll(ctx, c.query...)
					check(t, err)
					expected = expected[:0]
					for _, e := range all {
						expected = append(expected, e.ID)
					}
				})
				ratio := float64(scan) / float64(read)
				t.Logf("%-42s %8.2f ms, a scan %8.1f ms: %.0f times as fast", c.name, read.Seconds()*1e3, scan.Seconds()*1e3, ratio)
				if ratio < 50 {
					t.Errorf("%s: only %.0f times as fast as a scan", c.name, ratio)
				}
				if !slices.Equal(keys(found), keys(expected)) {
					t.Errorf("%s: %v, want %v", c.name, found, expected)
				}
			}
		})
	}
}

// median is the median time that f takes.
func median(t *testing.T, times int, f func()) time.Duration {
	t.Helper()
	took := make([]time.Duration, times)
	for i := range took {
		began := time.Now()
		f()
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[times/2]
}
