// Package records is the records of one model. It reads them by key, changes them
// through package commit (write.go), under the schema that is in force (fence.go), and watches them (watch.go). Queries go to its
// Source. Records are JSON documents here; the root package knows their Go types.
package records

import (
	"context"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/access"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

// Model gives access to the records of one model, in a bucket or in a transaction. It is
// immutable and safe for concurrent use.
type Model struct {
	Def    *schema.Definition
	Layout layout.Layout

	store  store.Store
	writer *commit.Writer
	source *access.Source
	inside bool                                             // in a transaction
	fence  Fence                                            // nil: there is one version
	names  *document.Names                                  // the names that members of records are to have
	both   *document.Types                                  // columns that are being converted, whose values have to fit both types
	newer  *atomic.Pointer[newer]                           // how to read records of a newer version
	stale  func(ctx context.Context, revision uint64) error // inside a transaction: ends it when the model was altered

	written *atomic.Uint64 // counts the records that this process has written outside of transactions
}

// New makes a Model in a store. ErrSchema when the definition's layout cannot keep it.
func New(s store.Store, def *schema.Definition) (*Model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	m := &Model{Def: def, Layout: l, store: s, writer: commit.NewWriter(s, l), names: document.NamesOf(def), both: document.Converting(def), newer: new(atomic.Pointer[newer]), written: new(atomic.Uint64)}
	m.source = access.New(s, l).Viewed(m.View).Trusting(m.still)
	return m, nil
}

// On is the same model in another store on the same bucket, for example one that injects
// faults.
func (m *Model) On(s store.Store) *Model {
	n := &Model{Def: m.Def, Layout: m.Layout, store: s, writer: commit.NewWriter(s, m.Layout), names: m.names, both: m.both, newer: m.newer, fence: m.fence, written: m.written}
	n.source = m.source.On(s).Viewed(n.View).Trusting(n.still)
	return n
}

// In is the model inside a transaction.
func (m *Model) In(t *txn.Tx) *Model {
	view := t.View(m.Layout)
	t.Beside(m.Def.Name, m.written)
	n := &Model{Def: m.Def, Layout: m.Layout, store: view, writer: view.Writer(), names: m.names, both: m.both, newer: m.newer, inside: true, written: m.written}
	n.stale = func(ctx context.Context, revision uint64) error {
		if m.fence != nil { // so that the next run begins with the newer version
			if now, err := m.fence.Since(ctx, revision); err != nil || now == m {
				return err
			}
		}
		return t.Conflict(m.Def.Name)
	}
	n.source = m.source.On(view).Viewed(n.View)
	return n
}

// Source is where queries of the model find its records.
func (m *Model) Source() *access.Source { return m.source }

// Agree makes the reads that follow at least as new as every write that any client was
// told is done before the call.
func (m *Model) Agree(ctx context.Context) error {
	_, err := m.store.Revision(ctx, store.Agreed)
	return err
}

// Get reads a record by its primary key. One that is not there is a message that is not
// live.
func (m *Model) Get(ctx context.Context, id value.Value) (store.Message, error) {
	r, err := m.store.Get(ctx, m.Layout.RecordKey(id))
	if err != nil {
		return r, err
	}
	return m.View(ctx, r)
}
