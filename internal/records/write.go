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

// Change is what a call does to one record. Every write of a record goes through one.
type Change struct {
	// Next makes the new document from the record before the change. It may be called
	// several times, each time with what others have written meanwhile. An error ends the
	// change.
	Next func(before store.Message) (commit.Draft, error)

	// Done is called once when the record was written, with its new revision; nil for
	// nothing.
	Done func(revision uint64)
}

// Target says which record a change is for.
type Target struct {
	ID   value.Value // the primary key
	New  bool        // the record is believed to be absent: Next is asked before anything is read
	Many bool        // the change is one of many that come at the same time

	found *store.Message    // the record as a query has found it, or nil
	keys  *layout.Footprint // the footprint of found
}

// Write makes a change. Its errors are those of Next, a *UniqueError, ErrUnknownOutcome,
// and others of commit.Writer.Apply.
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

// Modify makes a change to every record that a query selects, many at the same time. It
// returns how many records were selected when they were changed, also those that stay as
// they were. A record that others have changed since the query found it is changed only
// if the query still selects it. The first error ends the call; records that were changed
// before it stay changed, and a *PartialError says how many. In a transaction nothing
// stays.
//
// The query may be asked several times: when a record that was found is no longer
// selected, its value may have gone to one that was not found. Records that were changed
// are remembered and not changed twice.
func (m *Model) Modify(ctx context.Context, q plan.Query, change func() Change) (int, error) {
	p := plan.Make(m.Def, q, plan.Stats{})
	if p.Path == plan.Key && len(p.Keys) == 1 && q.Offset == 0 {
		// The primary key may be all of the condition: then the record can be changed, or
		// destroyed, even if its document cannot be read.
		return m.modify(ctx, Target{ID: p.Keys[0]}, query.Matcher(m.Def, p.Residual(m.Def)), change())
	}
	selects := query.Matcher(m.Def, q.Filter)
	whole := q.Limit < 0 && q.Offset == 0
	var mu sync.Mutex
	done := map[string]bool{} // the keys of records that lookups found and that were changed
	total := 0
	for {
		pool := workers.NewPool(ctx, commit.Together)
		var lost atomic.Bool
		found := query.Records(pool.Ctx(), m.source, q)
		if m.inside { // in a transaction, a query that is still being read sees the changes
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
		// A scan finds every record, so only lookups can have missed one.
		if err == nil && whole && lost.Load() && p.Path != plan.Scan {
			continue
		}
		if err != nil && total > 0 && !m.inside {
			err = &errs.PartialError{Model: m.Def.Name, Changed: total, Err: err}
		}
		return total, err
	}
}

// modify changes one record if it is still selected. It returns 1 if it is, and else 0.
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

// target makes the Target of a record that a query has found.
func (m *Model) target(r store.Message) (Target, error) {
	f, err := layout.At(m.Layout, r.Key, r.Value)
	if err != nil {
		return Target{}, errs.Corrupt(m.Def.Name, r.Key, err)
	}
	return Target{ID: f.ID, Many: true, found: &r, keys: &f}, nil
}
