package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

// Migration moves a model from one layout to another.
//
// First the entries of the new layout are made beside those of the old one, which
// everyone still uses. Then all calls wait: what was written meanwhile gets its
// entries too, and records whose key is another one are moved there, each in one
// batch. Then the catalogue says that the model has the new layout, all go on with
// that, and the old entries are deleted. Where it was broken off, the catalogue says
// how far it is, and another one goes on from there, or back.
type Migration struct {
	Store    store.Store
	Model    string
	To       string        // a layout
	Grace    time.Duration // how long handles take to learn what the catalogue says, and calls to end
	Progress func(step Step, done, total int)

	def      *schema.Definition
	revision uint64 // of the catalogue's entry
	old, new *Model
	started  uint64 // a revision from before the copying
	records  int
}

// Run migrates. ErrSchema when the new layout can not keep the model, and ErrInvalid
// when it can not keep one of its records; then the model is as it was.
func (g *Migration) Run(ctx context.Context) error {
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

func (g *Migration) load(ctx context.Context) error {
	def, e, err := load(ctx, g.Store, g.Model)
	if err == nil && def == nil {
		err = fmt.Errorf("%w: no model %q in the catalogue; define it first", errs.ErrNotFound, g.Model)
	}
	if err != nil {
		return err
	}
	g.def, g.revision = def, e.Revision
	return nil
}

// save changes the catalogue; ErrConflict when somebody else has.
func (g *Migration) save(ctx context.Context, change func(*schema.Definition)) error {
	next := *g.def
	next.Moving = nil
	change(&next)
	revision, err := save(ctx, g.Store, &next, g.revision)
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
func (g *Migration) in(name string) (*Model, error) {
	def := *g.def
	def.Layout, def.Moving = name, nil
	return NewModel(g.Store, &def)
}

// turnBack undoes a migration to another layout that was broken off: the model has
// not left the one that it is to have.
func (g *Migration) turnBack(ctx context.Context) (err error) {
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
func (g *Migration) forward(ctx context.Context) (err error) {
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

// giveUp lets the model be as it was, because the new layout can not keep a record.
func (g *Migration) giveUp(ctx context.Context, cause error) error {
	if !errors.Is(cause, errs.ErrInvalid) && !errors.Is(cause, errs.ErrExists) {
		return cause
	}
	g.To, g.started = g.def.Layout, 0
	if err := g.turnBack(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return errors.Join(cause, g.cleanUp(ctx))
}

func (g *Migration) wait(ctx context.Context) error {
	g.tell(Waiting, 0, 0)
	return workers.Sleep(ctx, g.Grace)
}

func (g *Migration) tell(step Step, done, total int) {
	if g.Progress != nil {
		g.Progress(step, done, total)
	}
}

// each calls f with the records, some at a time, each with its footprint in the new
// layout; with all, also for those that were not written since the start.
func (g *Migration) each(ctx context.Context, step Step, all bool, f func(context.Context, []moved) error) error {
	if err := g.Store.CatchUp(ctx); err != nil {
		return err
	}
	pool := workers.NewPool(ctx, fetchers)
	var chunk []moved
	send := func() {
		now := chunk
		chunk = nil
		pool.Do(func(ctx context.Context) (int, error) { return len(now), f(ctx, now) })
	}
	seen := 0
	for e, err := range g.Store.Scan(pool.Ctx(), keys.Records(g.Model), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !e.Live() {
			continue
		}
		if seen++; seen%together == 0 {
			g.tell(step, seen, max(seen, g.records))
		}
		footprint, err := g.new.Layout.Of(e.Value)
		if err != nil {
			if was, e := g.old.Layout.Of(e.Value); e == nil && !was.ID.IsNull() {
				pool.Fail(fmt.Errorf("%w: %s %s can not be moved to the %s layout: %w", errs.ErrInvalid, g.Model, was.ID.Text(), g.To, err))
				break
			}
			continue // it can be read in neither layout; Check names it
		}
		here := e.Key == footprint.Record || e.Key == g.old.Layout.RecordKey(footprint.ID)
		if footprint.ID.IsNull() || !here || !all && e.Key == footprint.Record && e.Revision <= g.started {
			continue
		}
		if chunk = append(chunk, moved{e, &footprint}); len(chunk) == together {
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

// moved is a record, and what it is in the new layout.
type moved struct {
	store.Message
	to *layout.Footprint
}

func (g *Migration) copy(ctx context.Context) error {
	return g.each(ctx, Copying, true, g.place)
}

// place gives records their entries in the new layout.
func (g *Migration) place(ctx context.Context, records []moved) error {
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
func (g *Migration) carry(ctx context.Context) error {
	return g.each(ctx, Carrying, false, func(ctx context.Context, records []moved) error {
		if err := g.place(ctx, records); err != nil {
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
func (g *Migration) cleanUp(ctx context.Context) (err error) {
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
			if g.old.Layout.Owns(e.Key) && !g.new.Layout.Owns(e.Key) {
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
func (g *Migration) check(ctx context.Context) (err error) {
	g.tell(Checking, 0, g.records)
	if g.new, err = g.in(g.def.Layout); err != nil {
		return err
	}
	if _, err := g.new.Check(ctx, true); err != nil {
		return err
	}
	report, err := g.new.Check(ctx, false)
	if err != nil {
		return err
	}
	wrong := slices.DeleteFunc(report.Faults, func(f Fault) bool { return f.Kind.Harmless() })
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s has the %s layout now, and %d problems, the first a %s: %s of %s; see Check", errs.ErrCorrupt, g.Model, g.def.Layout, len(wrong), wrong[0].Kind, wrong[0].Key, wrong[0].Record)
	}
	g.tell(Checking, report.Records, report.Records)
	return nil
}
