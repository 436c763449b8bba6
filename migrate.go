package natsorm

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
)

// MigrateOption changes how Migrate works.
type MigrateOption func(*migrateOptions)

type migrateOptions struct {
	progress func(step MigrateStep, done, total int)
}

// MigrateStep is a part of a migration.
type MigrateStep string

// The steps of a migration, in their order.
const (
	MigrateCopying  = MigrateStep(maintenance.Copying)  // the new layout's entries are made; everyone works on
	MigrateWaiting  = MigrateStep(maintenance.Waiting)  // until everyone knows, two seconds each time
	MigrateCarrying = MigrateStep(maintenance.Carrying) // what was written meanwhile is carried over; calls wait
	MigrateCleaning = MigrateStep(maintenance.Cleaning) // the old entries are deleted; everyone works on
	MigrateChecking = MigrateStep(maintenance.Checking) // as Check with Repair
)

// MigrateProgress calls f as a migration goes on, with the step, how many records are
// done, and how many there are, as far as that is known. It is called by one goroutine
// at a time, and the migration waits for it.
func MigrateProgress(f func(step MigrateStep, done, total int)) MigrateOption {
	return func(o *migrateOptions) { o.progress = f }
}

// Migrate moves a model from the Sequelize layout to the native one, or back, while
// programs use it: they read and write on, in this process and in others, and wait
// while what they wrote meanwhile is carried over, which takes a scan of the model.
// Records whose key differs between the layouts, such as those with negative or text
// ids, are moved in that time too, each in one batch; a watch sees them deleted and
// created. In the end the model is checked. The shard count stays: Node services have
// 16 unless they set another.
//
// Where it is broken off, by an error, a crash or ctx, run it again: it goes on, or
// back when it is given the other layout. Between the two waits, calls to the model
// wait until then. Programs that start afterwards have to declare the layout that
// the model has. Node services must be stopped before a model is moved from their
// layout, and so must programs that hear nothing of the catalogue: older ones, and
// those whose account may not subscribe to $KV.<bucket>._schema.*.
//
// Errors: ErrNotFound when the catalogue has no such model; ErrSchema when the layout
// cannot keep it, such as unique values in the Sequelize layout; ErrInvalid when it
// cannot keep a record, which is named: then everything is as it was; ErrConflict
// when somebody else migrates it; ErrCorrupt when the check finds what it cannot
// mend.
func Migrate(ctx context.Context, db *DB, model string, toNative bool, opts ...MigrateOption) error {
	if db == nil {
		return fmt.Errorf("%w: Migrate got a nil DB", ErrInvalid)
	}
	if err := db.check(ctx); err != nil {
		return err
	}
	m := &maintenance.LayoutChange{Store: db.store, Model: model, To: schema.Sequelize}
	if toNative {
		m.To = schema.Native
	}
	var o migrateOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if o.progress != nil {
		m.Progress = func(step maintenance.Step, done, total int) { o.progress(MigrateStep(step), done, total) }
	}
	if err := m.Run(ctx); err != nil {
		return fmt.Errorf("natsorm: migrate %s to the %s layout: %w", model, m.To, err)
	}
	return nil
}
