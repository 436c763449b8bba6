package records_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/value"
)

// scattered sends independent writes in any order, as those of writers with connections of their own come.
type scattered struct{ store.Store }

func (s scattered) Write(ctx context.Context, ops ...store.Op) []store.Result {
	results := make([]store.Result, len(ops))
	var wg sync.WaitGroup
	for _, i := range rand.Perm(len(ops)) {
		wg.Go(func() { results[i] = s.Store.Write(ctx, ops[i])[0] })
	}
	wg.Wait()
	return results
}

// Many writers want the same four unique values at the same time. One of them soon gets all of them: none
// keeps some of them while it waits for the others.
func TestContendersForSeveralUniqueValues(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	columns := []string{"holder", "number", "plate", "seal"}
	def := schema.Definition{
		Format: schema.Format, Name: "Licence", Layout: schema.Native, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}},
	}
	for _, name := range columns {
		def.Columns = append(def.Columns, schema.Column{Name: name, Type: value.String})
		def.Indexes = append(def.Indexes, schema.NewIndex(schema.UniqueIndex, name))
	}
	n := 40
	if testbed.Race { // each of them takes the processor for as long as several
		n = 16
	}
	for _, kind := range kinds[:4] {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, srv, "contention_"+kind.name[:3])
			m := defineAs(t, s, def)
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			mine := on(m, kind.mine(scattered{s}))
			for round := range 3 {
				var wg sync.WaitGroup
				var won atomic.Int64
				for i := range n {
					id := 100*round + i
					wg.Go(func() {
						err := create(ctx, mine, fmt.Appendf(nil, `{"id":%d,"holder":"h%d","number":"n%d","plate":"p%d","seal":"s%d"}`, id, round, round, round, round))
						switch {
						case err == nil:
							won.Add(1)
						case !errors.Is(err, errs.ErrUnique):
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if n := won.Load(); n != 1 {
					t.Errorf("round %d: %d have the values", round, n)
				}
			}
			report, err := m.Check(ctx, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range report.Problems {
				if !p.Kind.Harmless() {
					t.Errorf("%+v", p)
				}
			}
			mend(t, m, "at the end")
		})
	}
}
