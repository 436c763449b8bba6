package txn

import (
	"context"

	"github.com/natsorm/natsorm/internal/store"
)

// Begin begins a transaction without a function.
func Begin(s store.Store) *Tx { return newTx(s) }

// Commit commits it.
func (t *Tx) Commit(ctx context.Context) error {
	revisions, err := t.commit(ctx)
	t.end(revisions)
	return err
}

// End ends the view's transaction.
func (v *View) End() { v.tx.end(nil) }
