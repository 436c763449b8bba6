package maintenance_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
)

// A replica that is behind still has the records of a model that was emptied, or dropped and defined again,
// and no marker will come that says that they are gone. Who knows the model as it is does not find
// or count them, in a transaction either.
func TestEmptiedModelOnAReplicaThatIsBehind(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]func(context.Context, store.Store, string) error{"emptied": maintenance.Empty, "dropped": maintenance.Drop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			code := person(byName)
			w.save(w.define(w.bucket, code), doc(1, "old", "1"), doc(2, "old", "2"))
			behind := w.lagging()
			w.must(empty(w.ctx, w.bucket, "Person"))
			m := w.define(w.bucket, code)
			const many = store.MaxMatches + 10 // more than one request reads, so that a transaction scans too
			var wg sync.WaitGroup
			for i := range many {
				wg.Go(func() {
					if err := save(w.ctx, m, doc(1000+i, "new", fmt.Sprint(i))); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			def, _, err := catalogue.Load(w.ctx, w.bucket, "Person")
			w.must(err)
			look := func(s store.Store, where string) {
				m := w.model(s, *def)
				if n, err := m.Source().Count(w.ctx); n != many || err != nil {
					t.Errorf("%s: %d records, %v", where, n, err)
				}
				n := 0
				for r, err := range query.Records(w.ctx, m.Source(), plan.Where(nil)) {
					w.must(err)
					if n++; r.Key == "Person.shard_1.1" || r.Key == "Person.shard_2.2" {
						t.Errorf("%s: found %s", where, r.Value)
					}
				}
				if n != many {
					t.Errorf("%s: found %d records", where, n)
				}
			}
			look(behind, "outside of transactions")
			w.must(new(txn.Runner).Run(w.ctx, behind, func(tx *txn.Tx) error {
				l, err := layout.New(def)
				w.must(err)
				look(tx.View(l), "in a transaction")
				return nil
			}))
		})
	}
}
