package maintenance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
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

// LayoutChange moves a model from one layout to another, while others use it:
//
//  1. It writes into the catalogue that the model is being moved. Then it makes the
//     entries of the new layout for every record. Calls go on with the old layout; its
//     entries stay.
//  2. It writes into the catalogue that calls have to wait, and waits for those that have
//     begun before (Grace).
//  3. It gives the records that were written since step 1 their entries in the new layout.
//     It moves the records that have another key there, many in one batch.
//  4. It writes into the catalogue that the model has the new layout. Calls go on with
//     that one.
//  5. It waits again, for calls that still read by the old layout. Then it deletes the
//     entries of the old layout and checks the model.
//
// The catalogue's document says how far the change has come: schema.Moving. A change that
// was interrupted is completed by another one to the same layout, or undone by one to the
// layout that the model had. What an interruption leaves:
//
//   - In step 1: entries of the new layout that no call reads. The next run copies all
//     records again.
//   - In steps 2 and 3: a model whose calls wait until a ChangeLayout has run. When the
//     copying began is not known any more, so the next run carries every record over.
//   - In step 5: entries of the old layout, which no call reads. The next run deletes them.
type LayoutChange struct {
	Store    store.Store
	Model    string
	To       string                           // the layout that the model is to have
	Progress func(step Step, done, total int) // nil, or called by one goroutine at a time; counts records, or keys while cleaning up
	Grace    time.Duration                    // how long each wait is; defaults to catalogue.Settled

	def      *schema.Definition
	revision uint64 // the revision of the catalogue's document def
	old, new *model // the model in the layout that it leaves, and in the one that it gets
	started  uint64 // a revision that the bucket had before the copying; 0 when it is not known
	records  int    // how many records the last scan has seen
}

// Run changes the layout. ErrNotFound when the catalogue does not have the model,
// ErrSchema when the new layout cannot keep it. ErrInvalid when the new layout cannot keep
// one of its records, and ErrExists when two records would have one key there; then the
// model is as it was. ErrConflict when another program moves the model too, or removes its
// records. ErrCorrupt when the check at the end finds records that are wrong.
func (c *LayoutChange) Run(ctx context.Context) error { return c.repeat(ctx, c.run) }

// repeat takes some steps by the catalogue's document as it is now, and once more when another
// program has declared something of the model meanwhile: what an interruption leaves is
// completed by another run, which makes the entries of new indexes too.
func (c *LayoutChange) repeat(ctx context.Context, steps func(context.Context) error) error {
	for try := 1; ; try++ {
		var err error
		if c.def, c.revision, err = catalogue.Load(ctx, c.Store, c.Model); err != nil {
			return err
		}
		c.started = 0
		if err = steps(ctx); !errors.Is(err, errDeclared) {
			return err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return err
		}
	}
}

func (c *LayoutChange) run(ctx context.Context) error {
	if c.def.Emptying != nil {
		return fmt.Errorf("%w: all records of %s are being removed; let Truncate or DropModel come to its end first", errs.ErrConflict, c.Model)
	}
	if c.def.Layout == c.To && c.def.Moving == nil {
		return c.check(ctx)
	}
	if c.def.Moving == nil && len(c.def.Dropping) > 0 { // whose end would change the document, and leave calls waiting
		return fmt.Errorf("%w: an index of %s is being dropped (%s); let that come to its end first, with Alter and DropIndex", errs.ErrConflict, c.Model, indexNames(c.def.Dropping))
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

// errDeclared says that another program has changed the document, and not because it moves the
// model.
var errDeclared = errors.New("another program has declared something of the model meanwhile")

// save changes the catalogue's document, checked to be at the revision that was read, so
// that two layout changes of one model cannot both go on. ErrConflict when another
// program moves the model, and errDeclared when one has changed what else the document says.
// change begins with a definition that is not being moved.
func (c *LayoutChange) save(ctx context.Context, change func(*schema.Definition)) error {
	next := *c.def
	next.Moving = nil
	change(&next)
	revision, err := catalogue.Write(ctx, c.Store, &next, c.revision)
	if errors.Is(err, store.ErrWrongRevision) {
		now, _, err := catalogue.Load(ctx, c.Store, c.Model)
		switch {
		case err != nil:
			return err
		case now.SameMove(c.def) && now.Emptying == nil && !now.SameBut(c.def):
			return errDeclared
		case now.Paused():
			return fmt.Errorf("%w: another program moves %s, or removes its records; until that has come to its end, calls of the model wait", errs.ErrConflict, c.Model)
		}
		return fmt.Errorf("%w: another program has moved %s meanwhile; run it again", errs.ErrConflict, c.Model)
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

// turnBack undoes an interrupted change to another layout, if there is one: the model
// still has the layout that it is to have now.
//
// While calls waited, records may have been moved to their keys in the other layout.
// Those are carried back before calls go on. In the end the catalogue says that the model
// comes from the other layout, so that cleanUp deletes its entries.
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
	return c.save(ctx, func(d *schema.Definition) {
		d.Moving = &schema.Moving{To: c.To, From: m.To}
		if m.Paused { // records may have been elsewhere
			d.Placed = c.revision
		}
	})
}

// forward takes the model to the new layout: steps 1 to 4.
func (c *LayoutChange) forward(ctx context.Context) (err error) {
	from := c.def.Layout
	if c.new, err = c.in(c.To); err != nil {
		return err
	}
	if c.old, err = c.in(from); err != nil {
		return err
	}
	// If calls are waiting already, an earlier change was interrupted after its copying.
	// The revision at which that began is not known, so c.started stays 0, and carry takes
	// all records.
	if !c.def.Paused() {
		// Taken before the catalogue is changed and before the scan: a record at a lower
		// revision is one that the copying has seen.
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
	// After the wait no call writes with the old layout any more, so what carry reads stays
	// as it is.
	if err := c.wait(ctx); err != nil {
		return err
	}
	if err := c.carry(ctx); err != nil {
		return c.giveUp(ctx, err)
	}
	// Every record now has its key and its entries in the new layout: calls may go on.
	return c.save(ctx, func(d *schema.Definition) {
		d.Layout, d.Placed, d.Moving = c.To, c.revision, &schema.Moving{To: c.To, From: from}
	})
}

// giveUp returns the model to the layout that it had, because the new one cannot keep one
// of its records: cause is ErrInvalid or ErrExists. After any other error the change stays
// where it is, and can be run again.
func (c *LayoutChange) giveUp(ctx context.Context, cause error) error {
	if !errors.Is(cause, errs.ErrInvalid) && !errors.Is(cause, errs.ErrExists) {
		return cause
	}
	c.To = c.def.Layout
	return errors.Join(cause, c.repeat(ctx, func(ctx context.Context) error {
		if err := c.turnBack(ctx); err != nil {
			return err
		}
		return c.cleanUp(ctx)
	}))
}

// wait waits until every call has heard of the last change of the catalogue.
func (c *LayoutChange) wait(ctx context.Context) error {
	c.tell(Waiting, 0, 0)
	return workers.Sleep(ctx, cmp.Or(c.Grace, catalogue.Settled))
}

// tell reports progress.
func (c *LayoutChange) tell(step Step, done, total int) {
	if c.Progress != nil {
		c.Progress(step, done, total)
	}
}

// each calls f with chunks of the records, each record with its footprint in the new
// layout. Without all, it leaves out records that have the right key and were not written
// since the copying began. f is called by several goroutines at the same time.
//
// ErrInvalid when a record can be read in the old layout and not in the new one. A record
// that can be read in neither, or that is at a wrong key in both, is left where it is;
// Check names it.
func (c *LayoutChange) each(ctx context.Context, step Step, all bool, f func(context.Context, []relocated) error) error {
	seen := 0
	err := chunks(ctx, c.Store, c.Model, func(m store.Message) (relocated, bool, error) {
		if seen++; seen%together == 0 {
			c.tell(step, seen, max(seen, c.records))
		}
		footprint, err := c.new.layout.Of(m.Value)
		if err != nil {
			if was, e := c.old.layout.Of(m.Value); e == nil && !was.ID.IsNull() {
				return relocated{}, false, fmt.Errorf("%w: %s %s cannot be moved to the %s layout: %w", errs.ErrInvalid, c.Model, was.ID.Text(), c.To, err)
			}
			return relocated{}, false, nil
		}
		// A record that a change before this one has moved is at its new key already.
		here := m.Key == footprint.Record || m.Key == c.old.layout.RecordKey(footprint.ID)
		if footprint.ID.IsNull() || !here || !all && m.Key == footprint.Record && m.Revision <= c.started {
			return relocated{}, false, nil
		}
		return relocated{m, &footprint}, true, nil
	}, f)
	c.tell(step, seen, seen)
	c.records = seen
	return err
}

// relocated is a record as it was read, with its footprint in the new layout.
type relocated struct {
	store.Message
	to *layout.Footprint
}

// copy is step 1: it makes the new layout's entries of all records, while others write.
func (c *LayoutChange) copy(ctx context.Context) error {
	return c.each(ctx, Copying, true, c.putEntries)
}

// putEntries gives records their entries and claims in the new layout. An entry of a
// record that changes meanwhile may be one too many, which check removes.
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

// carry is step 3, while calls wait: it gives entries to the records that were written
// since the copying began, and moves records that have another key in the new layout. A
// record's entries are there before the record is, as in every write. One who has stalled may
// write a record before it is moved: then it is read again, as after a crash.
func (c *LayoutChange) carry(ctx context.Context) error {
	for try := 1; ; try++ {
		err := c.carryOnce(ctx)
		if !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return err
		}
	}
}

func (c *LayoutChange) carryOnce(ctx context.Context) error {
	return c.each(ctx, Carrying, false, func(ctx context.Context, records []relocated) error {
		if err := c.putEntries(ctx, records); err != nil {
			return err
		}
		var moves []commit.Relocation
		for _, r := range records {
			if r.Key != r.to.Record {
				moves = append(moves, commit.Relocation{Record: r.Message, To: r.to.Record})
			}
		}
		if err := c.new.writer.Move(ctx, moves...); err != nil {
			return fmt.Errorf("natsorm: move records of %s: %w", c.Model, err)
		}
		return nil
	})
}

// cleanUp deletes the entries, claims and heads of the layout that the model has left. It
// waits before that, because calls may have begun with that layout. A key that both
// layouts own stays.
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
	if err := catalogue.ForgetMark(ctx, c.Store, c.Model); err != nil {
		return err
	}
	l := newLoader(c.Store)
	n := 0
	// A replica that is behind may show a key that was deleted; to delete it again is
	// harmless.
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

// check repairs what a layout change leaves, entries that records gave up while they were
// copied, and then checks that no record is wrong.
func (c *LayoutChange) check(ctx context.Context) (err error) {
	c.tell(Checking, 0, c.records)
	if c.new, err = c.in(c.def.Layout); err != nil {
		return err
	}
	mend := checking.Options{Mend: checking.All}
	if _, err := checking.Check(ctx, c.Store, c.new.def, mend); err != nil {
		return err
	}
	// A write that was under way for long may come even now, by the old layout. Its writer makes
	// it good, and so does this.
	report, err := checking.Check(ctx, c.Store, c.new.def, mend)
	if err != nil {
		return err
	}
	if n := report.Wrong(); n > 0 {
		wrong := slices.DeleteFunc(report.Problems, func(p checking.Problem) bool { return p.Kind.Harmless() || p.Repaired })[0]
		return fmt.Errorf("%w: %s has the %s layout now, and %d problems, the first a %s: %s of %s; see Check", errs.ErrCorrupt, c.Model, c.def.Layout, n, wrong.Kind, wrong.Key, wrong.Record)
	}
	c.tell(Checking, report.Records, report.Records)
	return nil
}
