package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

// ticket is a record whose looked-up columns change all the time.
type ticket struct {
	ID     int64  `json:"id" orm:"primaryKey"`
	Client string `json:"client" orm:"index"` // 1 of 200
	State  string `json:"state" orm:"index"`  // 1 of 4
	Team   string `json:"team" orm:"index"`   // 1 of 50; stays
	Text   string `json:"text"`
}

// BenchmarkBesideWriters measures reads by indexed columns while 0, 2 and 16 writers
// change these columns. Each reports, besides the reads and writes in a second, "ratio",
// the reads as a share of those without writers, and "p99-ratio", the time that 99 of
// 100 reads do not exceed, as a multiple of that without writers.
func BenchmarkBesideWriters(b *testing.B) {
	const records, clients, states, teams, span = 10_000, 200, 4, 50, 3 * time.Second
	text := func(n int) string { return strconv.Itoa(n) }
	some := make([]any, 20)
	for i := range some {
		some[i] = text(i)
	}
	find := func(q ...natsorm.Query) func(context.Context, *natsorm.DB, *natsorm.Model[ticket]) error {
		return func(ctx context.Context, _ *natsorm.DB, m *natsorm.Model[ticket]) error {
			_, err := m.FindAll(ctx, q...)
			return err
		}
	}
	reads := []struct {
		name string
		run  func(ctx context.Context, db *natsorm.DB, m *natsorm.Model[ticket]) error
	}{
		{"lookup", find(natsorm.Eq("client", "7"))},
		{"large", find(natsorm.Eq("state", "1"))},
		{"union", find(natsorm.In("client", some...))},
		{"intersection", find(natsorm.Eq("client", "7"), natsorm.Eq("team", "7"))},
		{"scan", find(natsorm.Eq("text", "none"))},
		{"group", func(ctx context.Context, _ *natsorm.DB, m *natsorm.Model[ticket]) error {
			_, err := m.GroupBy(ctx, []string{"team"}, []natsorm.Aggregate{natsorm.CountRecords()}, natsorm.In("client", some...))
			return err
		}},
		{"count", func(ctx context.Context, _ *natsorm.DB, m *natsorm.Model[ticket]) error {
			_, err := m.Count(ctx)
			return err
		}},
		{"transaction", func(ctx context.Context, db *natsorm.DB, m *natsorm.Model[ticket]) error {
			return db.Transaction(ctx, func(ctx context.Context) error {
				_, err := m.FindAll(ctx, natsorm.Eq("client", "7"))
				return err
			})
		}},
		{"scan in a transaction", func(ctx context.Context, db *natsorm.DB, m *natsorm.Model[ticket]) error {
			return db.Transaction(ctx, func(ctx context.Context) error {
				_, err := m.FindAll(ctx, natsorm.Eq("text", "none"))
				return err
			})
		}},
	}
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) {
		tickets, err := natsorm.Define[ticket](context.Background(), db)
		check(b, err)
		all := make([]*ticket, records)
		for i := range all {
			all[i] = &ticket{ID: int64(i), Client: text(i % clients), State: text(i % states), Team: text(i % teams), Text: "some words"}
		}
		check(b, tickets.BulkCreate(context.Background(), all))
		for _, read := range reads {
			var alone, aloneP99 float64
			for _, writers := range []int{0, 2, 16} {
				b.Run(fmt.Sprintf("%s/%d", read.name, writers), func(b *testing.B) {
					var times []time.Duration
					var writes atomic.Int64
					for b.Loop() {
						ctx, stop := context.WithTimeout(context.Background(), 20*span)
						end := time.Now().Add(span)
						var wg sync.WaitGroup
						for w := range writers {
							wg.Go(func() {
								r := rand.New(rand.NewPCG(1, uint64(w)))
								for time.Now().Before(end) {
									_, err := tickets.Update(ctx, natsorm.Set{"client": text(r.IntN(clients)), "state": text(r.IntN(states))}, natsorm.Eq("id", r.IntN(records)))
									if err != nil {
										b.Error(err)
										return
									}
									writes.Add(1)
								}
							})
						}
						for time.Now().Before(end) {
							start := time.Now()
							if err := read.run(ctx, db, tickets); err != nil {
								b.Error(err)
								break
							}
							times = append(times, time.Since(start))
						}
						wg.Wait()
						stop()
					}
					if len(times) == 0 {
						return
					}
					slices.Sort(times)
					rate := float64(len(times)) / b.Elapsed().Seconds()
					p99 := times[len(times)*99/100]
					if writers == 0 {
						alone, aloneP99 = rate, float64(p99)
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(rate, "reads/s")
					b.ReportMetric(float64(writes.Load())/b.Elapsed().Seconds(), "writes/s")
					b.ReportMetric(rate/alone, "ratio")
					b.ReportMetric(float64(p99)/aloneP99, "p99-ratio")
					b.ReportMetric(float64(times[len(times)-1].Microseconds())/1000, "slowest-ms")
				})
			}
		}
	}, "memory", "file")
}
