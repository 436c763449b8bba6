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

// Step is a part of a layout change.
type Step string

// The steps, in their order.
const (
	Copying  Step = "copying"     // the new layout's entries are made, and calls go on
	Waiting  Step = "waiting"     // for calls that still use the old layout
	Carrying Step = "carrying"    // what was changed meanwhile is carried over, and calls wait
	Cleaning Step = "cleaning up" // the old layout's entries are deleted; calls use the new one
	Checking Step = "checking"
)

// grace is how long a handle may take to hear of a change of the catalogue, and a call
// that has begun before to end.
const grace = 2 * time.Second

// LayoutChange moves a model from one layout to another, while others use it:
//
//  1. It says so in the catalogue, and makes the entries of the new layout beside those
//     of the old one, which every call still uses.
//  2. It says in the catalogue that calls have to wait, and lets those end that have
//     begun before.
//  3. It gives what was written since 1 its entries, and moves records whose key is
//     another one in the new layout, each in one batch.
//  4. It says in the catalogue that the model has the new layout, which calls then use.
//  5. It waits again, deletes the entries of the old layout, and checks the model.
//
// The catalogue says how far it is, so where it was broken off, another one goes on, or
// back when it is given the other layout.
type LayoutChange struct {
	Store    store.Store
	Model    string
	To       string                           // a layout
	Progress func(step Step, done, total int) // nil, or called by one goroutine at a time

	def      *schema.Definition
	revision uint64 // of the catalogue's document
	old, new *model
	started  uint64 // a revision that the bucket had before the copying; 0 when it is not known
	records  int    // that were seen in the last scan
}

// Run changes the layout. ErrSchema when the new layout cannot keep the model, and ErrInvalid
// when it cannot keep one of its records; then the model is as it was.
func (c *LayoutChange) Run(ctx context.Context) error {
	var err error
	if c.def, c.revision, err = catalogue.Load(ctx, c.Store, c.Model); err != nil {
		return err
	}
	if c.def.Layout == c.To && c.def.Moving == nil {
		return c.check(ctx)
	}
	if err := c.turnBack(ctx); err != nil {
		return err
	}
	if c.def.Layout != c.To {
		if err := c.forward(ctx); err != nil {
			return err
		}
	}
	if err := c.cleanUp(ctx); err != nil {
		return err
	}
	return c.check(ctx)
}

// save changes the catalogue; ErrConflict when somebody else has.
func (c *LayoutChange) save(ctx context.Context, change func(*schema.Definition)) error {
	next := *c.def
	next.Moving = nil
	change(&next)
	revision, err := catalogue.Write(ctx, c.Store, &next, c.revision)
	if errors.Is(err, store.ErrWrongRevision) {
		return fmt.Errorf("%w: another program has declared %s meanwhile, or changes its layout too; run it again", errs.ErrConflict, c.Model)
	}
	if err != nil {
		return err
	}
	c.def, c.revision = &next, revision
	return nil
}

// in is the model in a layout.
func (c *LayoutChange) in(name string) (*model, error) {
	def := *c.def
	def.Layout, def.Moving = name, nil
	return open(c.Store, &def)
}

// turnBack undoes a migration to another layout that was broken off: the model has
// not left the one that it is to have.
func (c *LayoutChange) turnBack(ctx context.Context) (err error) {
	m := c.def.Moving
	if m == nil || m.To == c.To || c.def.Layout != c.To {
		return nil
	}
	if c.new, err = c.in(c.To); err != nil {
		return err
	}
	if c.old, err = c.in(m.To); err != nil {
		return err
	}
	if m.Paused {
		if err := c.carry(ctx); err != nil {
			return err
		}
	}
	return c.save(ctx, func(d *schema.Definition) { d.Moving = &schema.Moving{To: c.To, From: m.To} })
}

// forward takes the model to the new layout.
func (c *LayoutChange) forward(ctx context.Context) (err error) {
	from := c.def.Layout
	if c.new, err = c.in(c.To); err != nil {
		return err
	}
	if c.old, err = c.in(from); err != nil {
		return err
	}
	// One that was broken off while calls waited did its copying at a revision that
	// nobody knows: then all records are carried over.
	if !c.def.Paused() {
		if c.started, err = c.Store.Revision(ctx, store.Acknowledged); err != nil {
			return err
		}
		err := c.save(ctx, func(d *schema.Definition) { d.Moving = &schema.Moving{To: c.To} })
		if err != nil {
			return err
		}
		if err := c.copy(ctx); err != nil {
			return c.giveUp(ctx, err)
		}
	}
	if err := c.save(ctx, func(d *schema.Definition) { d.Moving = &schema.Moving{To: c.To, Paused: true} }); err != nil {
		return err
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	if err := c.carry(ctx); err != nil {
		return c.giveUp(ctx, err)
	}
	return c.save(ctx, func(d *schema.Definition) {
		d.Layout, d.Moving = c.To, &schema.Moving{To: c.To, From: from}
	})
}

// giveUp lets the model be as it was, because the new layout cannot keep a record.
func (c *LayoutChange) giveUp(ctx context.Context, cause error) error {
	if !errors.Is(cause, errs.ErrInvalid) && !errors.Is(cause, errs.ErrExists) {
		return cause
	}
	c.To, c.started = c.def.Layout, 0
	if err := c.turnBack(ctx); err != nil {
		return errors.Join(cause, err)
	}
	return errors.Join(cause, c.cleanUp(ctx))
}

func (c *LayoutChange) wait(ctx context.Context) error {
	c.tell(Waiting, 0, 0)
	return workers.Sleep(ctx, grace)
}

func (c *LayoutChange) tell(step Step, done, total int) {
	if c.Progress != nil {
		c.Progress(step, done, total)
	}
}

// each calls f with chunks of the records, each record with its footprint in the new
// layout: with all of them, or without those that were not written since the start.
func (c *LayoutChange) each(ctx context.Context, step Step, all bool, f func(context.Context, []relocated) error) error {
	if err := store.CatchUp(ctx, c.Store); err != nil {
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
	for m, err := range c.Store.Scan(pool.Ctx(), keys.Records(c.Model), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !m.Live() {
			continue
		}
		if seen++; seen%together == 0 {
			c.tell(step, seen, max(seen, c.records))
		}
		footprint, err := c.new.layout.Of(m.Value)
		if err != nil {
			if was, e := c.old.layout.Of(m.Value); e == nil && !was.ID.IsNull() {
				pool.Fail(fmt.Errorf("%w: %s %s cannot be moved to the %s layout: %w", errs.ErrInvalid, c.Model, was.ID.Text(), c.To, err))
				break
			}
			continue // it can be read in neither layout; Check names it
		}
		here := m.Key == footprint.Record || m.Key == c.old.layout.RecordKey(footprint.ID)
		if footprint.ID.IsNull() || !here || !all && m.Key == footprint.Record && m.Revision <= c.started {
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
	c.tell(step, seen, seen)
	c.records = seen
	return err
}

// copiers is how many chunks of records are copied at the same time.
const copiers = 4

// relocated is a record, and what it is in the new layout.
type relocated struct {
	store.Message
	to *layout.Footprint
}

func (c *LayoutChange) copy(ctx context.Context) error {
	return c.each(ctx, Copying, true, c.putEntries)
}

// putEntries gives records their entries in the new layout.
func (c *LayoutChange) putEntries(ctx context.Context, records []relocated) error {
	footprints := make([]*layout.Footprint, len(records))
	for i, r := range records {
		footprints[i] = r.to
	}
	refused, err := c.new.writer.Ensure(ctx, footprints...)
	if err == nil && len(refused) > 0 {
		err = refused[0].Err
	}
	return err
}

// carry brings over what was written since the copying began, and moves records
// whose key is another one.
func (c *LayoutChange) carry(ctx context.Context) error {
	return c.each(ctx, Carrying, false, func(ctx context.Context, records []relocated) error {
		if err := c.putEntries(ctx, records); err != nil {
			return err
		}
		for _, r := range records {
			if r.Key != r.to.Record {
				if err := c.new.writer.Move(ctx, r.Message, r.to.Record); err != nil {
					return fmt.Errorf("natsorm: move %s to %s: %w", r.Key, r.to.Record, err)
				}
			}
		}
		return nil
	})
}

// cleanUp deletes the entries of the layout that the model has left, when nobody
// uses them any more.
func (c *LayoutChange) cleanUp(ctx context.Context) (err error) {
	m := c.def.Moving
	if m == nil || m.From == "" {
		return nil
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	if c.old, err = c.in(m.From); err != nil {
		return err
	}
	if c.new, err = c.in(c.def.Layout); err != nil {
		return err
	}
	l := newLoader(c.Store)
	n := 0
	for _, pattern := range []string{keys.Entries(c.Model), keys.Claims(c.Model), keys.Heads(c.Model)} {
		for e, err := range c.Store.Scan(ctx, pattern, store.ScanOptions{Keys: true}) {
			if err != nil {
				return err
			}
			if c.old.layout.Owns(e.Key) && !c.new.layout.Owns(e.Key) {
				if err := l.add(ctx, store.Op{Key: e.Key, Delete: true, Purge: true}); err != nil {
					return err
				}
				if n++; n%together == 0 {
					c.tell(Cleaning, n, n)
				}
			}
		}
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	c.tell(Cleaning, n, n)
	return c.save(ctx, func(*schema.Definition) {})
}

// check verifies the result, and mends what a migration leaves: entries that records
// have given up while they were copied.
func (c *LayoutChange) check(ctx context.Context) (err error) {
	c.tell(Checking, 0, c.records)
	if c.new, err = c.in(c.def.Layout); err != nil {
		return err
	}
	if _, err := c.new.check(ctx, true); err != nil {
		return err
	}
	report, err := c.new.check(ctx, false)
	if err != nil {
		return err
	}
	wrong := slices.DeleteFunc(report.Problems, func(p Problem) bool { return p.Kind.Harmless() })
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s has the %s layout now, and %d problems, the first a %s: %s of %s; see Check", errs.ErrCorrupt, c.Model, c.def.Layout, len(wrong), wrong[0].Kind, wrong[0].Key, wrong[0].Record)
	}
	c.tell(Checking, report.Records, report.Records)
	return nil
}
