package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Step is a part of a migration, in their order.
type Step string

const (
	Copying  Step = "copying"     // the new layout's entries are made; everyone works on
	Waiting  Step = "waiting"     // for those who still work in the old layout
	Carrying Step = "carrying"    // what was changed meanwhile, and records to other keys; calls wait
	Cleaning Step = "cleaning up" // the old layout's entries go; everyone works in the new one
	Checking Step = "checking"
)

// LayoutChange moves a model from one layout to another.
//
// First the entries of the new layout are made beside those of the old one, which
// everyone still uses. Then all calls wait: what was written meanwhile gets its
// entries too, and records whose key is another one are moved there, each in one
// batch. Then the catalogue says that the model has the new layout, all go on with
// that, and the old entries are deleted. Where it was broken off, the catalogue says
// how far it is, and another one goes on from there, or back.
type LayoutChange struct {
	Store    store.Store
	Model    string
	To       string        // a layout
	Grace    time.Duration // how long handles take to learn what the catalogue says, and calls to end
	Progress func(step Step, done, total int)

	def      *schema.Definition
	revision uint64 // of the catalogue's document
	old, new *model
	started  uint64 // a revision from before the copying
	records  int
}

// Run migrates. ErrSchema when the new layout cannot keep the model, and ErrInvalid
// when it cannot keep one of its records; then the model is as it was.
func (g *LayoutChange) Run(ctx context.Context) error {
	if err := g.load(ctx); err != nil {
		return err
	}
	if g.def.Layout == g.To && g.def.Moving == nil {
		return g.check(ctx)
	}
	if err := g.turnBack(ctx); err != nil {
		return err
	}
	if g.def.Layout != g.To {
		if err := g.forward(ctx); err != nil {
			return err
		}
	}
	if err := g.cleanUp(ctx); err != nil {
		return err
	}
	return g.check(ctx)
}

func (g *LayoutChange) load(ctx context.Context) error {
	def, revision, err := catalogue.Read(ctx, g.Store, g.Model)
	if err == nil && def == nil {
		err = fmt.Errorf("%w: no model %q in the catalogue; define it first", errs.ErrNotFound, g.Model)
	}
	g.def, g.revision = def, revision
	return err
}

// save changes the catalogue; ErrConflict when somebody else has.
func (g *LayoutChange) save(ctx context.Context, change func(*schema.Definition)) error {
	next := *g.def
	next.Moving = nil
	change(&next)
	revision, err := catalogue.Write(ctx, g.Store, &next, g.revision)
	if errors.Is(err, store.ErrWrongRevision) {
		return fmt.Errorf("%w: somebody else has declared or migrated %s meanwhile; run it again", errs.ErrConflict, g.Model)
	}
	if err != nil {
		return err
	}
	g.def, g.revision = &next, revision
	return nil
}

// in is the model in a layout.
func (g *LayoutChange) in(name string) (*model, error) {
	def := *g.def
	def.Layout, def.Moving = name, nil
	return open(g.Store, &def)
}

// turnBack undoes a migration to another layout that was broken off: the model has
// not left the one that it is to have.
func (g *LayoutChange) turnBack(ctx context.Context) (err error) {
	m := g.def.Moving
	if m == nil || m.To == g.To || g.def.Layout != g.To {
		return nil
	}
	if g.new, err = g.in(g.To); err != nil {
		return err
	}
	if g.old, err = g.in(m.To); err != nil {
		return err
	}
	if m.Paused {
		if err := g.carry(ctx); err != nil {
			return err
		}
	}
	return g.save(ctx, func(d *schema.Definition) { d.Moving = &schema.Moving{To: g.To, From: m.To} })
}

// forward takes the model to the new layout.
func (g *LayoutChange) forward(ctx context.Context) (err error) {
	from := g.def.Layout
	if g.new, err = g.in(g.To); err != nil {
		return err
	}
	if g.old, err = g.in(from); err != nil {
		return err
	}
	// One that was broken off while calls waited did its copying at a revision that
	// nobody knows: then all records are carried over.
	if !g.def.Paused() {
		if g.started, err = g.Store.Revision(ctx); err != nil {
			return err
		}
		err := g.save(ctx, func(d *schema.Definition) { d.Moving = &schema.Moving{To: g.To} })
		if err != nil {
			return err
		}
		if err := g.copy(ctx); err != nil {
			return g.giveUp(ctx, err)
		}
	}
	if err := g.save(ctx, func(d *schema.Definition) { d.Moving = &schema.Moving{To: g.To, Paused: true} }); err != nil {
		return err
	}
	if err := g.wait(ctx); err != nil {
		return err
	}
	if err := g.carry(ctx); err != nil {
		return g.giveUp(ctx, err)
	}
	return g.save(ctx, func(d *schema.Definition) {
		d.Layout, d.Moving = g.To, &schema.Moving{To: g.To, From: from}
	})
}

// giveUp lets the model be as it was, because the new layout cannot keep a record.
func (g *LayoutChange) giveUp(ctx context.Context, cause error) error {
	if !errors.Is(cause, errs.ErrInvalid) && !errors.Is(cause, errs.ErrExists) {
		return cause
	}
	g.To, g.started = g.def.Layout, 0
	if err := g.turnBack(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return errors.Join(cause, g.cleanUp(ctx))
}

func (g *LayoutChange) wait(ctx context.Context) error {
	g.tell(Waiting, 0, 0)
	return workers.Sleep(ctx, g.Grace)
}

func (g *LayoutChange) tell(step Step, done, total int) {
	if g.Progress != nil {
		g.Progress(step, done, total)
	}
}

// each calls f with the records, some at a time, each with its footprint in the new
// layout; with all, also for those that were not written since the start.
func (g *LayoutChange) each(ctx context.Context, step Step, all bool, f func(context.Context, []relocated) error) error {
	if err := g.Store.CatchUp(ctx); err != nil {
		return err
	}
	pool := workers.NewPool(ctx, copiers)
	var chunk []relocated
	send := func() {
		now := chunk
		chunk = nil
		pool.Do(func(ctx context.Context) (int, error) { return len(now), f(ctx, now) })
	}
	seen := 0
	for m, err := range g.Store.Scan(pool.Ctx(), keys.Records(g.Model), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !m.Live() {
			continue
		}
		if seen++; seen%together == 0 {
			g.tell(step, seen, max(seen, g.records))
		}
		footprint, err := g.new.layout.Of(m.Value)
		if err != nil {
			if was, e := g.old.layout.Of(m.Value); e == nil && !was.ID.IsNull() {
				pool.Fail(fmt.Errorf("%w: %s %s cannot be moved to the %s layout: %w", errs.ErrInvalid, g.Model, was.ID.Text(), g.To, err))
				break
			}
			continue // it can be read in neither layout; Check names it
		}
		here := m.Key == footprint.Record || m.Key == g.old.layout.RecordKey(footprint.ID)
		if footprint.ID.IsNull() || !here || !all && m.Key == footprint.Record && m.Revision <= g.started {
			continue
		}
		if chunk = append(chunk, relocated{m, &footprint}); len(chunk) == together {
			send()
		}
	}
	if len(chunk) > 0 {
		send()
	}
	_, err := pool.Wait()
	g.tell(step, seen, seen)
	g.records = seen
	return err
}

// copiers is how many chunks of records are copied at the same time.
const copiers = 4

// relocated is a record, and what it is in the new layout.
type relocated struct {
	store.Message
	to *layout.Footprint
}

func (g *LayoutChange) copy(ctx context.Context) error {
	return g.each(ctx, Copying, true, g.putEntries)
}

// putEntries gives records their entries in the new layout.
func (g *LayoutChange) putEntries(ctx context.Context, records []relocated) error {
	footprints := make([]*layout.Footprint, len(records))
	for i, r := range records {
		footprints[i] = r.to
	}
	refused, err := g.new.writer.Ensure(ctx, footprints...)
	if err == nil && len(refused) > 0 {
		err = refused[0].Err
	}
	return err
}

// carry brings over what was written since the copying began, and moves records
// whose key is another one.
func (g *LayoutChange) carry(ctx context.Context) error {
	return g.each(ctx, Carrying, false, func(ctx context.Context, records []relocated) error {
		if err := g.putEntries(ctx, records); err != nil {
			return err
		}
		for _, r := range records {
			if r.Key != r.to.Record {
				if err := g.new.writer.Move(ctx, r.Message, r.to.Record); err != nil {
					return fmt.Errorf("natsorm: move %s to %s: %w", r.Key, r.to.Record, err)
				}
			}
		}
		return nil
	})
}

// cleanUp deletes the entries of the layout that the model has left, when nobody
// uses them any more.
func (g *LayoutChange) cleanUp(ctx context.Context) (err error) {
	m := g.def.Moving
	if m == nil || m.From == "" {
		return nil
	}
	if err := g.wait(ctx); err != nil {
		return err
	}
	if g.old, err = g.in(m.From); err != nil {
		return err
	}
	if g.new, err = g.in(g.def.Layout); err != nil {
		return err
	}
	l := newLoader(ctx, g.Store)
	n := 0
	for _, pattern := range []string{keys.Entries(g.Model), keys.Claims(g.Model), keys.Heads(g.Model)} {
		for e, err := range g.Store.Scan(ctx, pattern, store.ScanOptions{Keys: true}) {
			if err != nil {
				return err
			}
			if g.old.layout.Owns(e.Key) && !g.new.layout.Owns(e.Key) {
				if err := l.add(store.Op{Key: e.Key, Delete: true, Purge: true}); err != nil {
					return err
				}
				if n++; n%together == 0 {
					g.tell(Cleaning, n, n)
				}
			}
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	g.tell(Cleaning, n, n)
	return g.save(ctx, func(*schema.Definition) {})
}

// check verifies the result, and mends what a migration leaves: entries that records
// have given up while they were copied.
func (g *LayoutChange) check(ctx context.Context) (err error) {
	g.tell(Checking, 0, g.records)
	if g.new, err = g.in(g.def.Layout); err != nil {
		return err
	}
	if _, err := g.new.check(ctx, true); err != nil {
		return err
	}
	report, err := g.new.check(ctx, false)
	if err != nil {
		return err
	}
	wrong := slices.DeleteFunc(report.Problems, func(p Problem) bool { return p.Kind.Harmless() })
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s has the %s layout now, and %d problems, the first a %s: %s of %s; see Check", errs.ErrCorrupt, g.Model, g.def.Layout, len(wrong), wrong[0].Kind, wrong[0].Key, wrong[0].Record)
	}
	g.tell(Checking, report.Records, report.Records)
	return nil
}
