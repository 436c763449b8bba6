package natsorm

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/maintenance"
)

// DropModel removes a model from the bucket: its records, its indexes, its sequence of ids,
// and its place in the catalogue. It is done with the server's purge, as Truncate is for many
// records, and other calls of the model wait meanwhile; see there. Afterwards they return
// ErrNotFound, in every program, also through handles that were made before, until the model is
// defined again: that makes a new one of the name, with other columns if need be. A watch
// delivers the deletion of each record, and then ends with ErrNotFound.
//
// What programs had under way when it was dropped is taken back by them: the call that wrote
// it returns ErrNotFound.
//
// Errors: ErrNotFound when the catalogue has no such model, or it was dropped already. ErrSchema
// for a name that no model can have. ErrConflict while ChangeLayout carries its records over.
// ErrInvalid inside a transaction. After any other error the model may be gone, or be about
// to go; call it again.
func (db *DB) DropModel(ctx context.Context, name string) error {
	return db.call(ctx, operation{Name: "DropModel", Outside: true}, func() error {
		if err := maintenance.Drop(ctx, db.store, name); err != nil {
			return fmt.Errorf("natsorm: drop %s: %w", name, err)
		}
		return nil
	})
}
