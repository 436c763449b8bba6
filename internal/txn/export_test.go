package txn

import (
	"context"
	"time"

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

// Age makes the transaction one that began, and last looked at what it has read, that much
// earlier.
func (t *Tx) Age(d time.Duration) { t.began, t.at = t.began.Add(-d), t.at.Add(-d) }

// Read reads keys and patterns.
func (t *Tx) Read(ctx context.Context, patterns ...string) ([]store.Message, error) {
	return t.read(ctx, patterns)
}

// ErrConflict is how a run ends that others were in the way of.
var ErrConflict = errConflict
