package bench

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/value"
)

const (
	// burners keep two processors busy: the server and its clients get a third or less.
	burners = 4

	// A benchmark of a choice fails when natsorm has less than this share of the speed of
	// the better of the two ways, in each of some attempts, one after the other: another
	// program on the machine may slow one way down and not the other.
	choiceShare = 0.9
	attempts    = 4
)

// BenchmarkSharing compares writers that update an indexed column, each that of a record of
// its own, as natsorm chooses with the two ways between which it chooses: each change alone,
// or many in shared batches. The processors are idle, or also work on something else. "Raw"
// is the better way, so a ratio of 1 is as fast as can be chosen; less than choiceShare is a
// failure. It reports the updates per second of each.
func BenchmarkSharing(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, _ jetstream.KeyValue) { sharing(b, db, false, true) }, "memory", "file", "synced")
	b.Run("replicated", func(b *testing.B) { sharing(b, cluster(b), false) })
}

func sharing(b *testing.B, db *natsorm.DB, loads ...bool) {
	ctx := context.Background()
	s, err := bucket.Open(ctx, db.Conn(), bucket.Config{Bucket: "bench", Logger: slog.New(slog.DiscardHandler)})
	check(b, err)
	defer s.Close()
	alone := fault.Phased(s)
	if s.Traits().Writes == store.Atomic {
		alone = fault.Atomic(s)
	}
	for _, busy := range loads {
		for _, writers := range []int{1, 2, 8, 16, 64} {
			b.Run(fmt.Sprintf("busy=%v/writers=%d", busy, writers), func(b *testing.B) {
				if busy {
					defer burn(burners)()
				}
				ways := []*updater{{s: alone}, {s: fault.Shared(s)}, {s: s}}
				for _, u := range ways {
					u.define(b)
				}
				ways[2].run(b, writers, 3*time.Second) // it finds out
				ratio := 0.0
				for b.Loop() {
					for range attempts {
						var rate [3]float64
						for i, u := range ways {
							rate[i] = u.run(b, writers, time.Second)
						}
						if ratio = rate[2] / max(rate[0], rate[1]); ratio >= choiceShare {
							b.ReportMetric(rate[0], "alone/s")
							b.ReportMetric(rate[1], "shared/s")
							b.ReportMetric(rate[2], "natsorm/s")
							break
						}
						b.Logf("alone %.0f/s, shared %.0f/s, natsorm %.0f/s", rate[0], rate[1], rate[2])
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ratio, "ratio")
				if ratio < choiceShare {
					b.Errorf("natsorm has %.2f of the speed of the better way", ratio)
				}
			})
		}
	}
}

// updater updates records by way of a store.
type updater struct {
	s     store.Store
	model *records.Model
	next  atomic.Int64
}

func (u *updater) define(b *testing.B) {
	def, err := maintenance.Define(context.Background(), u.s, schema.Definition{
		Format: schema.Format, Name: "user", Layout: schema.Native, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name")},
	}, 16)
	check(b, err)
	u.model, err = records.New(u.s, def)
	check(b, err)
}

// run is how many updates writers make each second.
func (u *updater) run(b *testing.B, writers int, d time.Duration) float64 {
	ctx := context.Background()
	var id, done atomic.Int64
	began := time.Now()
	took := parallel(writers, 1, func() {
		for id := id.Add(1); time.Since(began) < d; done.Add(1) {
			doc := fmt.Appendf(nil, `{"id":%d,"name":"n%d"}`, id, u.next.Add(1))
			keys, err := u.model.Layout.Of(doc)
			if err == nil {
				err = u.model.Write(ctx, records.Target{ID: keys.ID}, records.Change{Next: func(store.Message) (commit.Draft, error) {
					return commit.Draft{Doc: doc, Keys: &keys}, nil
				}})
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
	return float64(done.Load()) / took.Seconds()
}

// burn keeps processors busy until stop is called.
func burn(n int) (stop func()) {
	var done atomic.Bool
	for range n {
		go func() {
			for x := uint64(1); !done.Load(); {
				for range 1000 {
					x = x*6364136223846793005 + 1
				}
			}
		}()
	}
	return func() { done.Store(true) }
}
