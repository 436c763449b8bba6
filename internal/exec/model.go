// Package exec runs plans: it reads what package plan decided to read, and
// changes records through package commit. It knows documents, not Go types.
package exec

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/access"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
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
	source *access.Source
	inside bool // a transaction
}

// NewModel is a model in a store. ErrSchema when the definition's layout can not
// keep it.
func NewModel(s store.Store, def *schema.Definition) (*Model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	return &Model{Def: def, Layout: l, store: s, writer: commit.NewWriter(s, l), source: access.New(s, l)}, nil
}

// On is the model in another store on the same bucket.
func (m *Model) On(s store.Store) *Model {
	return &Model{Def: m.Def, Layout: m.Layout, store: s, writer: commit.NewWriter(s, m.Layout), source: m.source.On(s)}
}

// In is the model inside a transaction.
func (m *Model) In(t *txn.Tx) *Model {
	view := t.View(m.Layout)
	return &Model{Def: m.Def, Layout: m.Layout, store: view, writer: view.Writer(), source: m.source.On(view), inside: true}
}

// Source is where queries of the model find its records.
func (m *Model) Source() *access.Source { return m.source }

// Barrier lets the reads that follow see all that anyone was told is written
// before the call.
func (m *Model) Barrier(ctx context.Context) error { return m.store.Barrier(ctx) }

// writers is how many records one call changes at the same time, so that they
// share batches.
const writers = 256

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
		Next: func(cur store.Message) (commit.Draft, error) {
			if cur.Live() {
				return commit.Draft{}, errs.ErrExists
			}
			return commit.Draft{Doc: doc, Keys: footprint}, nil
		},
	})
}

// Apply changes the record with one primary key.
func (m *Model) Apply(ctx context.Context, id value.Value, next func(cur store.Message) ([]byte, error)) (commit.Outcome, error) {
	return m.writer.Apply(ctx, commit.Change{ID: id, Next: func(cur store.Message) (commit.Draft, error) {
		doc, err := next(cur)
		return commit.Draft{Doc: doc}, err
	}})
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
	_, err := m.writer.Apply(ctx, commit.Change{ID: id, Assume: assume, Many: many, Next: func(cur store.Message) (_ commit.Draft, err error) {
		if selected, err = selects(cur); err != nil {
			return commit.Draft{}, err
		}
		if !selected {
			return commit.Draft{}, commit.ErrLeave
		}
		doc, err := mutate(cur)
		if err == nil && doc != nil && bytes.Equal(doc, cur.Value) {
			err = commit.ErrLeave
		}
		return commit.Draft{Doc: doc}, err
	}})
	if err != nil || !selected {
		return 0, err
	}
	return 1, nil
}

// idOf is the primary key of a record, from its document.
func (m *Model) idOf(e store.Message) (value.Value, error) {
	f, err := m.Layout.Of(e.Value)
	if err == nil && f.Record != e.Key {
		err = errors.New("its primary key is not the one in its key")
	}
	if err != nil {
		return value.Null, m.corrupt(e, err)
	}
	return f.ID, nil
}

// corrupt marks an error as that of reading a record.
func (m *Model) corrupt(e store.Message, err error) error {
	if err == nil {
		return nil
	}
	return &errs.CorruptError{Model: m.Def.Name, Key: e.Key, Err: err}
}

// erase deletes a record whatever it holds, and leaves the indexes alone.
func (m *Model) erase(ctx context.Context, e store.Message) error {
	for e.Live() {
		err := m.store.Write(ctx, store.Op{Key: e.Key, Delete: true, Conditional: true, Expect: e.Revision, Settle: true})[0].Err
		if !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if e, err = m.store.GetLatest(ctx, e.Key); err != nil {
			return err
		}
	}
	return nil
}

// Truncate deletes every record, also one that can not be read, and what is
// then left in the indexes.
func (m *Model) Truncate(ctx context.Context) error {
	pool := workers.NewPool(ctx, writers)
	for e, err := range m.store.Scan(pool.Ctx(), keys.Records(m.Def.Name), store.ScanOptions{}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		pool.Do(func(ctx context.Context) (int, error) {
			// Lists are swept in the end, each once.
			if id, err := m.idOf(e); err == nil && (m.inside || m.Layout.Lists() == nil) {
				return m.modify(ctx, id, &e, true, query.Matcher(m.Def, nil), func(store.Message) ([]byte, error) { return nil, nil })
			}
			return 1, m.erase(ctx, e)
		})
	}
	n, err := pool.Wait()
	if err == nil {
		_, err = m.Check(ctx, true)
	}
	return m.partial(n, err)
}
