package alter

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Change is one change of a model, to be carried out by Run.Do. Each can be made again: what is
// done already is left.
type Change struct {
	name string // in errors and reports
	do   func(ctx context.Context, r *Run) (Planned, error)
}

// Planned is what a change has done, or would do.
type Planned struct {
	Change    string // the change, for people
	Catalogue bool   // the model's document in the catalogue is written
	Read      int    // how many records are read
	Write     int    // how many of them are written
	Remove    int    // about how many keys of indexes are removed
	Note      string // what the caller should know, besides
}

// Run carries out changes of one model.
type Run struct {
	Store    store.Store
	Handle   *Handle
	Dry      bool                                 // nothing is written
	Progress func(change string, done, total int) // nil, or called by one goroutine at a time

	name string             // of the change that is under way
	dry  *schema.Definition // of a dry run: the model as the changes before have made it
}

// Do carries out changes, one after the other, and returns what they did. The first error ends
// it, and says which change it was; those before it stay.
func (r *Run) Do(ctx context.Context, changes []Change) ([]Planned, error) {
	var done []Planned
	for _, c := range changes {
		r.name = c.name
		p, err := c.do(ctx, r)
		if err != nil {
			return done, fmt.Errorf("natsorm: alter %s: %s: %w", r.Handle.Last().Def.Name, c.name, err)
		}
		p.Change = c.name
		done = append(done, p)
	}
	return done, nil
}

// tell reports progress.
func (r *Run) tell(done, total int) {
	if r.Progress != nil {
		r.Progress(r.name, done, total)
	}
}

// pass rewrites the records of the model.
func (r *Run) pass(ctx context.Context, rewrite rewriter) (Planned, error) {
	p := pass{store: r.Store, handle: r.Handle, dry: r.Dry, progress: r.tell}
	n, err := p.run(ctx, rewrite)
	written := int(n.written.Load())
	if err != nil && written > 0 && !r.Dry {
		err = &errs.PartialError{Model: r.Handle.Last().Def.Name, Changed: written, Err: err}
	}
	return Planned{Read: int(n.read.Load()), Write: written}, err
}

// document changes the model's document in the catalogue, and waits until everybody who does not
// know it will notice, before his call returns. apply is as for catalogue.Alter; what it leaves as
// it is may have been written by one who died in the wait, so that is waited for too.
func (r *Run) document(ctx context.Context, apply func(*schema.Definition) (changed bool, err error)) (def *schema.Definition, changed bool, err error) {
	unmoved := func(d *schema.Definition) (bool, error) {
		if d.Moving != nil {
			return false, fmt.Errorf("%w: the model is being moved to another layout; let ChangeLayout come to its end first", errs.ErrConflict)
		}
		return apply(d)
	}
	name := r.Handle.Last().Def.Name
	if r.Dry {
		if r.dry == nil {
			if r.dry, _, err = catalogue.Load(ctx, r.Store, name); err != nil {
				return nil, false, err
			}
		}
		changed, err = unmoved(r.dry)
		if err == nil && changed {
			err = r.dry.Validate()
		}
		return r.dry, changed, err
	}
	if def, changed, err = catalogue.Alter(ctx, r.Store, name, unmoved); err != nil {
		return nil, false, err
	}
	r.tell(0, 0)
	if err := workers.Sleep(ctx, catalogue.Settled); err != nil {
		return nil, false, fmt.Errorf("wait for those who use the model as it was: %w", err)
	}
	_, err = r.Handle.Since(ctx, def.Revision)
	return def, changed, err
}
