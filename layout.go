package natsorm

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
)

// Layout is how the keys and index entries of a model are laid out in the bucket.
type Layout string

const (
	// Native is natsorm's own layout: a key for each index entry.
	Native = Layout(schema.Native)
	// Sequelize is the layout of the Node library sequelize-natskv; see SequelizeLayout.
	Sequelize = Layout(schema.Sequelize)
)

// ChangeLayoutOption changes how ChangeLayout works.
type ChangeLayoutOption func(*changeLayoutOptions)

type changeLayoutOptions struct {
	progress func(step LayoutStep, done, total int)
}

// LayoutStep is a step of ChangeLayout.
type LayoutStep string

// The steps of ChangeLayout, in their order.
const (
	LayoutCopying  = LayoutStep(maintenance.Copying)  // the new layout's entries are made; others work on
	LayoutWaiting  = LayoutStep(maintenance.Waiting)  // until all handles know, two seconds each time
	LayoutCarrying = LayoutStep(maintenance.Carrying) // what was written meanwhile is carried over; calls wait
	LayoutCleaning = LayoutStep(maintenance.Cleaning) // the old entries are deleted; others work on
	LayoutChecking = LayoutStep(maintenance.Checking) // as Check with Repair
)

// LayoutProgress calls f as the change goes on: with its step, and how many records of
// how many are done, as far as that is known. Calls come one at a time, and the change
// waits for them.
func LayoutProgress(f func(step LayoutStep, done, total int)) ChangeLayoutOption {
	return func(o *changeLayoutOptions) { o.progress = f }
}

// ChangeLayout moves a model to another layout while programs use it. Programs in this
// process and in others read and write on. They wait while what they wrote meanwhile is
// carried over, which takes a scan of the model. Records whose key differs between the
// layouts, such as those with negative or text ids, are moved in that time, each in one
// batch; a watch sees them deleted and created. At the end the model is checked. The
// shard count stays: Node services have 16 unless they set another.
//
// When it is broken off, by an error, a crash or ctx, call it again: it goes on, or, with
// the layout that the model had before, goes back. While it is broken off between its two
// waits, calls to the model wait. Programs that start afterwards have to declare the
// layout that the model then has. Stop Node services before a model leaves their layout,
// and also programs that hear nothing of the catalogue: older ones, and those whose
// account may not subscribe to $KV.<bucket>._schema.*.
//
// Errors: ErrNotFound when the catalogue has no such model. ErrSchema when the layout
// cannot keep it, as the Sequelize layout cannot keep unique values. ErrInvalid for an
// unknown layout, and when the layout cannot keep a record, which is named; then
// everything is as it was. ErrConflict when another program changes the model's layout.
// ErrCorrupt when the check finds what it cannot repair.
func (db *DB) ChangeLayout(ctx context.Context, model string, to Layout, opts ...ChangeLayoutOption) error {
	return db.call(ctx, operation{name: "ChangeLayout", outside: true}, func() error {
		if to != Native && to != Sequelize {
			return fmt.Errorf("%w: layout %q; use natsorm.Native or natsorm.Sequelize", ErrInvalid, to)
		}
		var o changeLayoutOptions
		for _, opt := range opts {
			if opt != nil {
				opt(&o)
			}
		}
		change := &maintenance.LayoutChange{Store: db.store, Model: model, To: string(to)}
		if o.progress != nil {
			change.Progress = func(step maintenance.Step, done, total int) { o.progress(LayoutStep(step), done, total) }
		}
		if err := change.Run(ctx); err != nil {
			return fmt.Errorf("natsorm: move %s to the %s layout: %w", model, to, err)
		}
		return nil
	})
}
