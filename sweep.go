package natsorm

import (
	"context"

	"github.com/natsorm/natsorm/internal/maintenance"
)

// Swept is what a sweep has taken.
type Swept struct {
	Entries   int // index entries that no record needed
	Claims    int // unique values that no record held
	Leftovers int // keys of indexes, layouts and models that are gone
}

// Sweep takes what programs that died have left in the bucket: index entries and unique values
// that no record needs, and what came late to an index, a layout or a model that is gone; and it
// ends a DropIndex, Truncate or DropModel that nobody carries on. All of it is harmless, and costs
// room and time. Sweep reads the whole index, and the records that it leads to.
//
// It may run while others write, and in several programs at once. Nothing is taken from a
// writer that is slow, for however long it stalls: that one begins again. Unlike Check with
// Repair, it does not look for what is missing. What a sweep has taken before an error, or the
// end of ctx, stays so.
//
// Errors: ErrConflict while the bucket is being restored; ErrInvalid inside a transaction;
// ErrPermission; and the server's.
func (db *DB) Sweep(ctx context.Context) (swept Swept, err error) {
	err = db.call(ctx, operation{Name: "Sweep", Outside: true}, func() error {
		taken, err := maintenance.Sweep(ctx, db.store)
		swept = Swept(taken)
		return err
	})
	return swept, err
}

// Swept is what this DB has taken in the background since it was opened; see
// Config.SweepEvery.
func (db *DB) Swept() Swept { return Swept(db.sweeper.Swept()) }
