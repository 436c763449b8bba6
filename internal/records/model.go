// Package records is the records of one model: it reads them by key, changes them
// through package commit, and watches them. Queries go to its Source. It knows
// documents, not Go types.
package records

import (
	"context"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/access"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

// Model is the records of one model, in a bucket or in a transaction. It is immutable
// and safe for concurrent use.
type Model struct {
	Def    *schema.Definition
	Layout layout.Layout

	store  store.Store
	writer *commit.Writer
	source *access.Source
	inside bool // a transaction

	written *atomic.Uint64 // records that this process wrote outside of transactions
}

// New is a model in a store. ErrSchema when the definition's layout cannot keep it.
func New(s store.Store, def *schema.Definition) (*Model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	return &Model{Def: def, Layout: l, store: s, writer: commit.NewWriter(s, l), source: access.New(s, l), written: new(atomic.Uint64)}, nil
}

// On is the model in another store on the same bucket: a test can be in its way.
func (m *Model) On(s store.Store) *Model {
	return &Model{Def: m.Def, Layout: m.Layout, store: s, writer: commit.NewWriter(s, m.Layout), source: m.source.On(s), written: m.written}
}

// In is the model inside a transaction.
func (m *Model) In(t *txn.Tx) *Model {
	view := t.View(m.Layout)
	t.Beside(m.Def.Name, m.written)
	return &Model{Def: m.Def, Layout: m.Layout, store: view, writer: view.Writer(), source: m.source.On(view), inside: true, written: m.written}
}

// Source is where queries of the model find its records.
func (m *Model) Source() *access.Source { return m.source }

// Agree lets the reads that follow see everything that anyone was told is written before
// the call.
func (m *Model) Agree(ctx context.Context) error {
	_, err := m.store.Revision(ctx, store.Agreed)
	return err
}

// Get reads a record by primary key.
func (m *Model) Get(ctx context.Context, id value.Value) (store.Message, error) {
	return m.store.Get(ctx, m.Layout.RecordKey(id))
}
