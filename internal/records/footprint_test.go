package records_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// counting is a layout that counts how often the footprint of each document is taken.
type counting struct {
	layout.Layout
	mu    sync.Mutex
	taken map[string]int
}

func (c *counting) Of(doc []byte) (layout.Footprint, error) {
	c.mu.Lock()
	c.taken[string(doc)]++
	c.mu.Unlock()
	return c.Layout.Of(doc)
}

// since is what was taken since it was last asked.
func (c *counting) since() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.taken
	c.taken = map[string]int{}
	return out
}

// A write takes the footprint of the document that it writes once, and that of the one
// which it replaces once, however it is written and whoever else writes.
func TestFootprintsAreTakenOnce(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	for i, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			s := kind.mine(openStore(t, srv, fmt.Sprint("footprints", i)))
			plain := defineAs(t, s, kind.def())
			count := &counting{Layout: plain.Layout, taken: map[string]int{}}
			counted := *plain.Model
			counted.Layout = count
			m := on(&model{&counted, s}, s)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			took := func(what string, want map[string]int) {
				t.Helper()
				if got := count.since(); !maps.Equal(got, want) {
					t.Errorf("%s took footprints %v, want %v", what, got, want)
				}
			}
			ann, bea := string(doc(1, "Ann", "a@x", "Oslo")), string(doc(1, "Bea", "b@x", "Rome"))
			cid, dan := string(doc(1, "Cid", "b@x", "Rome")), string(doc(1, "Dan", "b@x", "Rome"))

			must(create(ctx, m, []byte(ann))) // which takes it before the write
			took("a create", map[string]int{ann: 1})
			if err := create(ctx, m, []byte(bea)); !errors.Is(err, errs.ErrExists) {
				t.Errorf("created twice: %v", err)
			}
			if got := count.since(); got[bea] != 1 { // to clean up may take that of what is there
				t.Errorf("a create of what is there took footprints %v", got)
			}

			write := func(m *model, doc string) error {
				return m.Write(ctx, records.Target{ID: value.OfInt(1)}, records.Change{Next: func(store.Message) (commit.Draft, error) {
					return commit.Draft{Doc: []byte(doc)}, nil
				}})
			}
			must(write(m, bea))
			took("a write over a record", map[string]int{ann: 1, bea: 1})
			must(update(ctx, m, byID(m, 1), "name", "Cid"))
			took("an update by key", map[string]int{bea: 1, cid: 1})
			must(update(ctx, m, where(m, "email", "b@x"), "name", "Dan"))
			took("an update by an index", map[string]int{cid: 1, dan: 1})
			must(update(ctx, m, where(m, "email", "b@x"), "name", "Dan"))
			took("an update that changes nothing", map[string]int{dan: 1})

			// Somebody else is faster: the document that comes between is one more.
			err := stall(t, s, m, commits,
				func(ctx context.Context, m *model) error { return update(ctx, m, byID(m, 1), "city", "Bonn") },
				func(ctx context.Context) { must(write(plain, ann)) })
			must(err)
			took("an update whose record has changed", map[string]int{
				dan: 1, string(doc(1, "Dan", "b@x", "Bonn")): 1, ann: 1, string(doc(1, "Ann", "a@x", "Bonn")): 1,
			})
			must(destroy(ctx, m, where(m, "name", "Ann")))
			took("a destroy", map[string]int{string(doc(1, "Ann", "a@x", "Bonn")): 1})
			sound(t, plain, "at the end")
			mend(t, plain, "at the end")
		})
	}
}
