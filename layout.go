package natsorm

import (
	"context"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
)

// Layout says which keys a model has in the bucket for its records and index entries.
type Layout string

const (
	// Native is natsorm's own layout. Each index entry has a key of its own.
	Native = Layout(schema.Native)
	// Sequelize is the layout of the Node library sequelize-natskv. See
	// SequelizeLayout.
	Sequelize = Layout(schema.Sequelize)
)

// ChangeLayoutOption changes how ChangeLayout works.
type ChangeLayoutOption func(*changeLayoutOptions)

type changeLayoutOptions struct {
	progress func(step LayoutStep, done, total int)
	grace    time.Duration // 0: the default
}

// LayoutStep is a step of ChangeLayout.
type LayoutStep string

// The steps of ChangeLayout, in their order.
const (
	LayoutCopying  = LayoutStep(maintenance.Copying)  // the entries of the new layout are made; calls go on
	LayoutWaiting  = LayoutStep(maintenance.Waiting)  // a second and a half, until every program has noticed the change; it comes twice
	LayoutCarrying = LayoutStep(maintenance.Carrying) // what was written meanwhile is carried over; calls wait
	LayoutCleaning = LayoutStep(maintenance.Cleaning) // the entries of the old layout are deleted; calls go on
	LayoutChecking = LayoutStep(maintenance.Checking) // the model is checked and repaired, as by Check with Repair
)

// LayoutProgress makes ChangeLayout call f as it goes on, with the step, how many
// records are done, and how many there are, as far as that is known. It calls f from
// one goroutine at a time, and waits for it.
func LayoutProgress(f func(step LayoutStep, done, total int)) ChangeLayoutOption {
	return func(o *changeLayoutOptions) { o.progress = f }
}

// ChangeLayout moves a model to another layout while programs use it. Programs of this
// process and of others go on reading and writing. Only while what they wrote meanwhile
// is carried over do their calls wait, which takes a scan of the model and a second and a
// half. What was under way before, and comes later, is carried over by the call that wrote it.
// What others declare of the model is taken along: while calls wait, a Define that changes the
// catalogue waits too, and before that the copying begins again.
// In that time, records whose key differs between the layouts (those with negative or
// text ids) are moved, each in one batch; a watch sees them deleted and created. At the
// end the model is checked. Its number of shards stays, while Node services have 16
// unless they set another number.
//
// If ChangeLayout is cut short by an error, a crash or ctx, call it again. With the
// same layout it goes on; with the layout that the model had before, it goes back. If
// it was cut short in the first LayoutWaiting or in LayoutCarrying, calls to the model
// wait until then. A program that starts later has to declare the layout that the model
// has then.
//
// Before a model leaves their layout, stop the Node services. Stop also Go programs
// with an older natsorm, which do not hear of changes in the catalogue.
//
// Errors: ErrNotFound when the catalogue has no such model. ErrSchema for a name that no
// model can have, and when the layout cannot keep the model, as the Sequelize layout
// cannot keep unique values. ErrInvalid for an unknown layout, and when the layout
// cannot keep one of the records, which the error names; then everything is as it was.
// ErrConflict when another program changes the model's layout too, or removes its records, and
// while an index of the model is being dropped.
// ErrCorrupt when the check finds something that it cannot repair.
func (db *DB) ChangeLayout(ctx context.Context, model string, to Layout, opts ...ChangeLayoutOption) error {
	return db.call(ctx, operation{Name: "ChangeLayout", Outside: true}, func() error {
		if to != Native && to != Sequelize {
			return fmt.Errorf("%w: layout %q; use natsorm.Native or natsorm.Sequelize", ErrInvalid, to)
		}
		o := chosen[changeLayoutOptions](opts)
		change := &maintenance.LayoutChange{Store: db.store, Model: model, To: string(to), Grace: o.grace}
		if o.progress != nil {
			change.Progress = func(step maintenance.Step, done, total int) { o.progress(LayoutStep(step), done, total) }
		}
		if err := change.Run(ctx); err != nil {
			return fmt.Errorf("natsorm: move %s to the %s layout: %w", model, to, err)
		}
		return nil
	})
}
