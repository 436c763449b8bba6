package records

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Change is what a call does to one record. Every write of a record is one.
type Change struct {
	// Next makes of the record, as it is, what it is to be. It may be called several
	// times, with what others have written meanwhile; an error ends the change.
	Next func(before store.Message) (commit.Draft, error)

	// Done is told of a record that was written, and its revision.
	Done func(revision uint64)
}

// Target says which record a change is of.
type Target struct {
	ID   value.Value // the primary key
	New  bool        // it is taken to be absent: Next is asked before anything is read
	Many bool        // the change is one of many that come together

	found *store.Message    // as a query has found it
	keys  *layout.Footprint // of found
}

// Write makes a change. Its errors are those of Next, *UniqueError, and the store's; see
// commit.Writer.
func (m *Model) Write(ctx context.Context, t Target, c Change) error {
	ch := commit.Change{ID: t.ID, Many: t.Many, Assume: t.found, Held: t.keys, Next: c.Next}
	if t.New {
		ch.Assume = &store.Message{}
	}
	out, err := m.writer.Apply(ctx, ch)
	if err == nil && out.Written {
		if !m.inside {
			m.written.Add(1)
		}
		if c.Done != nil {
			c.Done(out.Revision)
		}
	}
	return err
}

// Modify makes a change of every record that a query selects, many at a time, and
// returns of how many: also of those that stay as they were. A record that has changed
// since it was found is changed only if it is still selected. The first error stops it;
// records that were changed until then stay changed, and the error says how many.
func (m *Model) Modify(ctx context.Context, q plan.Query, change func() Change) (int, error) {
	p := plan.Make(m.Def, q, plan.Stats{})
	if p.Path == plan.Key && len(p.Keys) == 1 && q.Offset == 0 {
		// The key alone may say it, even of a record that cannot be read.
		return m.modify(ctx, Target{ID: p.Keys[0]}, query.Matcher(m.Def, p.Residual(m.Def)), change())
	}
	selects := query.Matcher(m.Def, q.Filter)
	whole := q.Limit < 0 && q.Offset == 0
	var mu sync.Mutex
	done := map[string]bool{} // records that lookups found, and that were changed
	total := 0
	for {
		pool := workers.NewPool(ctx, commit.Together)
		var lost atomic.Bool
		found := query.Records(pool.Ctx(), m.source, q)
		if m.inside { // where the query would see what is changed meanwhile
			found = query.Gathered(found)
		}
		for r, err := range found {
			var target Target
			if err == nil {
				target, err = m.target(r)
			}
			if err != nil {
				pool.Fail(err)
				break
			}
			mu.Lock()
			again := done[r.Key]
			mu.Unlock()
			if again {
				continue
			}
			pool.Do(func(ctx context.Context) (int, error) {
				n, err := m.modify(ctx, target, selects, change())
				switch {
				case n == 0 && err == nil:
					lost.Store(true)
				case n > 0 && p.Path != plan.Scan:
					mu.Lock()
					defer mu.Unlock()
					done[r.Key] = true
				}
				return n, err
			})
		}
		n, err := pool.Wait()
		total += n
		// A record that was selected and is not any more may have given its value to
		// one that was not yet: then the query is asked again.
		if err == nil && whole && lost.Load() && p.Path != plan.Scan {
			continue
		}
		if err != nil && total > 0 && !m.inside {
			err = &errs.PartialError{Model: m.Def.Name, Changed: total, Err: err}
		}
		return total, err
	}
}

// modify changes one record if it is still selected, and returns how many that were.
func (m *Model) modify(ctx context.Context, t Target, selects func(store.Message) (bool, error), c Change) (int, error) {
	selected := false
	next := c.Next
	c.Next = func(before store.Message) (draft commit.Draft, err error) {
		if selected, err = selects(before); err == nil && !selected {
			err = commit.ErrLeave
		}
		if err == nil {
			draft, err = next(before)
		}
		if err == nil && draft.Doc != nil && bytes.Equal(draft.Doc, before.Value) {
			err = commit.ErrLeave // it stays as it is
		}
		return draft, err
	}
	if err := m.Write(ctx, t, c); err != nil || !selected {
		return 0, err
	}
	return 1, nil
}

// target is a record that a query has found.
func (m *Model) target(r store.Message) (Target, error) {
	f, err := layout.At(m.Layout, r.Key, r.Value)
	if err != nil {
		return Target{}, errs.Corrupt(m.Def.Name, r.Key, err)
	}
	return Target{ID: f.ID, Many: true, found: &r, keys: &f}, nil
}
