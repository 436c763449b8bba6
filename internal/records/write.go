package records

import (
	"bytes"
	"context"
	"errors"
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

// writers is how many records one call changes at the same time, so that they
// share batches.
const writers = 256

// Create writes a new record; ErrExists when its primary key is taken. many says that
// it is one of many that are written together.
func (m *Model) Create(ctx context.Context, doc []byte, footprint *layout.Footprint, many bool) (commit.Outcome, error) {
	return m.writer.Apply(ctx, commit.Change{
		Many:   many,
		ID:     footprint.ID,
		Assume: &store.Message{},
		Keys:   footprint,
		Next: func(cur store.Message) ([]byte, error) {
			if cur.Live() {
				return nil, errs.ErrExists
			}
			return doc, nil
		},
	})
}

// Apply changes the record with one primary key: next makes its new document of what is
// there, nil to delete it. It may be called several times.
func (m *Model) Apply(ctx context.Context, id value.Value, next func(cur store.Message) ([]byte, error)) (commit.Outcome, error) {
	return m.writer.Apply(ctx, commit.Change{ID: id, Next: next})
}

// Mutation makes a record's new document of its current one; nil deletes the record.
type Mutation func(cur store.Message) ([]byte, error)

// Modify applies mutate to every record that a query selects, many at a time,
// and returns how many: also those that mutate left as they were. Each is
// checked again when it has changed since it was found. The first error stops
// it; records changed until then stay changed.
func (m *Model) Modify(ctx context.Context, q plan.Query, mutate Mutation) (int, error) {
	p := plan.Make(m.Def, q, plan.Stats{})
	if p.Path == plan.Key && len(p.Keys) == 1 && q.Offset == 0 {
		// The key alone may say it, even of a record that cannot be read.
		return m.modify(ctx, p.Keys[0], nil, false, query.Matcher(m.Def, p.Residual(m.Def)), mutate)
	}
	selects := query.Matcher(m.Def, q.Filter)
	whole := q.Limit < 0 && q.Offset == 0
	var mu sync.Mutex
	done := map[string]bool{} // records that lookups found, and that were changed
	total := 0
	for {
		pool := workers.NewPool(ctx, writers)
		var lost atomic.Bool
		found := query.Records(pool.Ctx(), m.source, q)
		if m.inside { // where the query would see what is changed meanwhile
			found = query.Gathered(found)
		}
		for r, err := range found {
			if err == nil {
				var id value.Value
				if id, err = m.idOf(r); err == nil {
					mu.Lock()
					again := done[r.Key]
					mu.Unlock()
					if again {
						continue
					}
					pool.Do(func(ctx context.Context) (int, error) {
						n, err := m.modify(ctx, id, &r, true, selects, mutate)
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
					continue
				}
			}
			pool.Fail(err)
			break
		}
		n, err := pool.Wait()
		total += n
		// A record that was selected and is not any more may have given its value to
		// one that was not yet.
		if err != nil || !whole || !lost.Load() || p.Path == plan.Scan {
			if err != nil && total > 0 && !m.inside { // some records are changed
				err = &errs.PartialError{Model: m.Def.Name, Changed: total, Err: err}
			}
			return total, err
		}
	}
}

// modify changes one record, if it is still selected, and reports how many that were. A
// record that is assumed was just read.
func (m *Model) modify(ctx context.Context, id value.Value, assume *store.Message, many bool, selects func(store.Message) (bool, error), mutate Mutation) (int, error) {
	selected := false
	_, err := m.writer.Apply(ctx, commit.Change{ID: id, Assume: assume, Many: many, Next: func(cur store.Message) (doc []byte, err error) {
		if selected, err = selects(cur); err != nil {
			return nil, err
		}
		if !selected {
			return nil, commit.ErrLeave
		}
		if doc, err = mutate(cur); err == nil && doc != nil && bytes.Equal(doc, cur.Value) {
			return nil, commit.ErrLeave
		}
		return doc, err
	}})
	if err != nil || !selected {
		return 0, err
	}
	return 1, nil
}

// idOf is the primary key of a record, from its document.
func (m *Model) idOf(r store.Message) (value.Value, error) {
	f, err := m.Layout.Of(r.Value)
	if err == nil && f.Record != r.Key {
		err = errors.New("its primary key is not the one in its key")
	}
	if err != nil {
		return value.Null, m.corrupt(r, err)
	}
	return f.ID, nil
}
