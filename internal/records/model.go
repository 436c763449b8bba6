// Package records is the records of one model. It reads them by key, changes them
// through package commit (write.go), and watches them (watch.go). Queries go to its
// Source. Records are JSON documents here; the root package knows their Go types.
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

// Model gives access to the records of one model, in a bucket or in a transaction. It is
// immutable and safe for concurrent use.
type Model struct {
	Def    *schema.Definition
	Layout layout.Layout

	store  store.Store
	writer *commit.Writer
	source *access.Source
	inside bool // in a transaction

	written *atomic.Uint64 // counts the records that this process has written outside of transactions
}

// New makes a Model in a store. ErrSchema when the definition's layout cannot keep it.
func New(s store.Store, def *schema.Definition) (*Model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	return &Model{Def: def, Layout: l, store: s, writer: commit.NewWriter(s, l), source: access.New(s, l), written: new(atomic.Uint64)}, nil
}

// On is the same model in another store on the same bucket, for example one that injects
// faults.
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

// Agree makes the reads that follow at least as new as every write that any client was
// told is done before the call.
func (m *Model) Agree(ctx context.Context) error {
	_, err := m.store.Revision(ctx, store.Agreed)
	return err
}

// Get reads a record by its primary key. One that is not there is a message that is not
// live.
func (m *Model) Get(ctx context.Context, id value.Value) (store.Message, error) {
	return m.store.Get(ctx, m.Layout.RecordKey(id))
}
