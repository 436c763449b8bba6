// Package exec runs plans: it reads what package plan decided to read, and
// changes records through package commit. It knows documents, not Go types.
package exec

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Model reads and writes the records of one model. It is immutable and safe
// for concurrent use.
type Model struct {
	Def    *schema.Definition
	Layout layout.Layout

	store  store.Store
	writer *commit.Writer
	stats  *statistics
	inside bool // a transaction
}

// NewModel is a model in a store. ErrSchema when the definition's layout can not
// keep it.
func NewModel(s store.Store, def *schema.Definition) (*Model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	return &Model{Def: def, Layout: l, store: s, writer: commit.NewWriter(s, l), stats: &statistics{}}, nil
}

// On is the model in another store on the same bucket.
func (m *Model) On(s store.Store) *Model {
	return &Model{Def: m.Def, Layout: m.Layout, store: s, writer: commit.NewWriter(s, m.Layout), stats: m.stats}
}

// In is the model inside a transaction.
func (m *Model) In(t *txn.Tx) *Model {
	view := t.View(m.Layout)
	return &Model{Def: m.Def, Layout: m.Layout, store: view, writer: view.Writer(), stats: m.stats, inside: true}
}

// Barrier lets the reads that follow see all that anyone was told is written
// before the call.
func (m *Model) Barrier(ctx context.Context) error { return m.store.Barrier(ctx) }

// Get reads a record by primary key.
func (m *Model) Get(ctx context.Context, id value.Value) (store.Message, error) {
	return m.store.Get(ctx, m.Layout.RecordKey(id))
}

// Create writes a new record; Exists when its primary key is taken. It is one of
// many when the caller says so.
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

// Apply changes the record with one primary key.
func (m *Model) Apply(ctx context.Context, id value.Value, next func(cur store.Message) ([]byte, error)) (commit.Outcome, error) {
	return m.writer.Apply(ctx, commit.Change{ID: id, Next: next})
}

// Mutation makes a record's new document from its current entry; nil deletes
// the record.
type Mutation func(cur store.Message) ([]byte, error)

// Modify applies mutate to every record that a query selects, many at a time,
// and returns how many: also those that mutate left as they were. Each is
// checked again when it has changed since it was found. The first error stops
// it; records changed until then stay changed.
func (m *Model) Modify(ctx context.Context, q plan.Query, mutate Mutation) (int, error) {
	p := plan.Make(m.Def, q, plan.Stats{})
	if p.Path == plan.Key && len(p.Keys) == 1 && q.Offset == 0 {
		// The key alone may say it, even of a record that can not be read.
		return m.modify(ctx, p.Keys[0], nil, false, m.selects(p.Residual(m.Def)), mutate)
	}
	selects := m.selects(q.Filter)
	whole := q.Limit < 0 && q.Offset == 0
	var mu sync.Mutex
	done := map[string]bool{} // records that lookups found, and that were changed
	total := 0
	for {
		pool := workers.NewPool(ctx, commit.Together)
		var lost atomic.Bool
		found := m.Entries(pool.Ctx(), q)
		if m.inside { // where the query would see what is changed meanwhile
			found = Gathered(found)
		}
		for e, err := range found {
			if err == nil {
				var id value.Value
				if id, err = m.idOf(e); err == nil {
					mu.Lock()
					again := done[e.Key]
					mu.Unlock()
					if again {
						continue
					}
					pool.Do(func(ctx context.Context) (int, error) {
						n, err := m.modify(ctx, id, &e, true, selects, mutate)
						switch {
						case n == 0 && err == nil:
							lost.Store(true)
						case n > 0 && p.Path != plan.Scan:
							mu.Lock()
							defer mu.Unlock()
							done[e.Key] = true
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
			return total, m.partial(total, err)
		}
	}
}

// partial marks an error after which some records are changed.
func (m *Model) partial(changed int, err error) error {
	if err == nil || changed == 0 || m.inside {
		return err
	}
	return &errs.PartialError{Model: m.Def.Name, Changed: changed, Err: err}
}

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

// selects asks a filter of single records.
func (m *Model) selects(filter *cond.Bound) func(store.Message) (bool, error) {
	if filter == nil {
		return func(e store.Message) (bool, error) { return e.Live(), nil }
	}
	fields := document.NewFields(m.Def, filter.Columns(nil)...)
	return func(e store.Message) (bool, error) {
		if !e.Live() {
			return false, nil
		}
		vals, err := fields.Read(e.Value)
		if err != nil {
			return false, m.corrupt(e, err)
		}
		return filter.Match(vals), nil
	}
}

// idOf is the primary key of a record, from its document.
func (m *Model) idOf(e store.Message) (value.Value, error) {
	f, err := layout.At(m.Layout, e.Key, e.Value)
	if err != nil {
		return value.Null, m.corrupt(e, err)
	}
	return f.ID, nil
}

// Truncate deletes every record, also one that can not be read, and what is
// then left in the indexes.
func (m *Model) Truncate(ctx context.Context) error {
	pool := workers.NewPool(ctx, commit.Together)
	for e, err := range m.store.Scan(pool.Ctx(), keys.Records(m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		pool.Do(func(ctx context.Context) (int, error) {
			deleted, err := m.writer.Discard(ctx, e)
			if err != nil || !deleted {
				return 0, err
			}
			return 1, nil
		})
	}
	n, err := pool.Wait()
	if err == nil {
		_, err = m.Check(ctx, true)
	}
	return m.partial(n, err)
}
