package bench

import (
	"context"
	"flag"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

var countedRecords = flag.Int("counted", 0, "how many records TestCounted counts and groups; it is skipped without this")

// counted is a record of TestCounted: each tenth is open, and each tenth in one of ten queues.
type counted struct {
	ID    int64  `json:"id"    orm:"primaryKey"`
	State string `json:"state" orm:"index"`
	Queue string `json:"queue" orm:"index"`
	Level int    `json:"level" orm:"ordered"`
	Text  string `json:"text"`
}

// TestCounted counts and groups records by their entries, and by reading the records, in the same
// run. It reports the median times and the ratio. Records are read for a condition that is true of
// all of them besides, and for a group that also has a maximum: then entries alone do not say
// enough.
func TestCounted(t *testing.T) {
	if *countedRecords == 0 {
		t.Skip("needs -counted")
	}
	for name, storage := range map[string]jetstream.StorageType{"in memory": jetstream.MemoryStorage, "in files": jetstream.FileStorage} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			url, stop := startServer(t, benchServer{Dir: t.TempDir()})
			defer stop()
			db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "counted", Storage: storage})
			check(t, err)
			defer db.Close()
			m, err := natsorm.Define[counted](ctx, db)
			check(t, err)
			n := *countedRecords
			all := make([]*counted, n)
			for i := range all {
				all[i] = &counted{ID: int64(i), State: "done", Queue: fmt.Sprint("queue", i/10%10), Level: i % 1000, Text: fmt.Sprintf("what is to be done in ticket %d", i)}
				if i%10 == 0 {
					all[i].State = "open"
				}
			}
			check(t, m.BulkCreate(ctx, all))
			open, range10 := natsorm.Eq("state", "open"), natsorm.Gte("level", 900)
			count := func(q ...natsorm.Query) func() int {
				return func() int {
					n, err := m.Count(ctx, q...)
					check(t, err)
					return n
				}
			}
			group := func(aggs ...natsorm.Aggregate) func() int {
				return func() int {
					groups, err := m.GroupBy(ctx, []string{"queue"}, aggs)
					check(t, err)
					return len(groups)
				}
			}
			writes := 0
			write := func() {
				writes++
				_, err := m.Update(ctx, natsorm.Set{"text": fmt.Sprint("changed ", writes)}, natsorm.Eq("id", 5))
				check(t, err)
			}
			text := natsorm.Ne("text", "")
			for _, c := range []struct {
				name          string
				want          int
				before        func()
				entries, read func() int
			}{
				{"a value that a tenth has", n / 10, func() {}, count(open), count(open, text)},
				{"the same, each after a write", n / 10, write, count(open), count(open, text)},
				{"a range with a tenth", n / 10, func() {}, count(range10), count(range10, text)},
				{"groups by ten values", 10, func() {}, group(natsorm.CountRecords()), group(natsorm.CountRecords(), natsorm.MaxOf("id"))},
				{"groups, each after a write", 10, write, group(natsorm.CountRecords()), group(natsorm.CountRecords(), natsorm.MaxOf("id"))},
			} {
				run := func(f func() int) func() {
					return func() {
						c.before()
						if got := f(); got != c.want {
							t.Errorf("%s: %d, want %d", c.name, got, c.want)
						}
					}
				}
				for range 12 { // until the index is proven
					run(c.entries)()
				}
				read := median(t, 11, run(c.read))
				entries := median(t, 51, run(c.entries))
				t.Logf("%-36s %8.2f ms, by reading records %8.2f ms: %.1f times as fast", c.name, entries.Seconds()*1e3, read.Seconds()*1e3, float64(read)/float64(entries))
			}
			plan, err := m.Explain(ctx, open)
			check(t, err)
			if plan.Counts != natsorm.CountsEntries {
				t.Errorf("entries are not counted: %s", plan)
			}
		})
	}
}
