package records

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Fence knows which version of the model is in force.
type Fence interface {
	// Settle is the version that was in force when a call had its answer; used is the one
	// that it has worked by. See catalogue.Handle.
	Settle(ctx context.Context, used *Model) (*Model, error)

	// Since is a version that is at least as new as a revision of the catalogue's document,
	// if there is one.
	Since(ctx context.Context, revision uint64) (*Model, error)

	// Last is the version that was in force when that was asked last.
	Last() *Model

	// Later runs a task that goes on when its call has ended, until the DB is closed.
	Later(task func(ctx context.Context))
}

// Under lets the writes of a model end with a look at the version that is in force. It is
// called before the model is used.
func (m *Model) Under(f Fence) { m.fence = f }

// settled ends a change whose answer has come: what it did holds by the version of the model
// that is in force then. If that is not the one that the change knew, the record is made
// good: it gets its entries and claims, and its key, by the one in force; or when it cannot
// have them, the change is undone, and the error says why. The outcome has the record's
// revision. When another record has its key, the change is to be made again, by the version
// that is returned.
//
// What crashes here leaves a record without an entry, of which nobody was told that it is
// there. Its message says by which schema it was written, so whoever writes it next makes it
// good; and Check finds it.
func (m *Model) settled(ctx context.Context, id value.Value, out commit.Outcome) (*Model, commit.Outcome, error) {
	used := m
	for {
		now, err := m.fence.Settle(ctx, used)
		if errors.Is(err, errs.ErrDropped) {
			return m, out, cmp.Or(m.undo(ctx, id, commit.Outcome{Revision: out.Revision}, err), err)
		}
		if err != nil {
			m.later(id, out)
			return m, out, fmt.Errorf("%w: %s %s was written, and it is not known whether by the schema that is in force: %w", errs.ErrUnknownOutcome, m.Def.Name, id.Text(), err)
		}
		if now == used {
			return m, out, nil
		}
		if used.lacks(now) {
			out, err = now.mend(ctx, used, id, out)
			if errors.Is(err, errElsewhere) {
				return now, out, nil
			}
			if errors.Is(err, errs.ErrUnknownOutcome) {
				m.later(id, out)
			}
			if err != nil {
				return m, out, err
			}
		}
		used = now
	}
}

// errElsewhere says that a record was written at a key that does not count any more, that
// another one is at the key that does, and that the first was taken away.
var errElsewhere = fmt.Errorf("%w at its key in another layout", errs.ErrExists)

// later ends a change of which it is not known whether it was done, or by which version: the
// record that is there gets what it needs by the version in force, as soon as that is
// known; or when it cannot have it, the change is undone. It looks again after a while, because
// the write may be under way.
func (m *Model) later(id value.Value, tried commit.Outcome) {
	m.fence.Later(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, laterFor)
		defer cancel()
		for _, pause := range laterLooks {
			err := workers.Sleep(ctx, pause)
			for err == nil && m.complete(ctx, id, tried) != nil {
				err = workers.Sleep(ctx, time.Second)
			}
			if err != nil {
				return // the DB was closed, or nobody answers; Check finds the record
			}
		}
	})
}

// laterLooks are the pauses before each look. They double: a write that comes so many seconds late
// is made good within about as many more.
var laterLooks = [...]time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}

// laterFor bounds how long the program of such a change goes on.
const laterFor = 2 * time.Minute

// complete gives a record that m may have written what it needs by the version in force.
func (m *Model) complete(ctx context.Context, id value.Value, tried commit.Outcome) error {
	now, err := m.fence.Settle(ctx, m)
	if errors.Is(err, errs.ErrDropped) {
		return nil // whatever the model still has goes when one of its name is defined
	}
	if err != nil || !m.lacks(now) {
		return err
	}
	rec, err := now.store.GetLatest(ctx, m.Layout.RecordKey(id))
	if err != nil || !rec.Live() {
		return err
	}
	if tried.Revision == 0 && bytes.Equal(rec.Value, tried.Tried) && rec.Schema <= now.Def.Changed() { // what the change was to write
		tried.Revision = rec.Version()
	}
	_, err = now.mend(ctx, m, id, tried)
	if errors.Is(err, errs.ErrUnique) || errors.Is(err, errs.ErrExists) || errors.Is(err, errs.ErrInvalid) {
		return nil // it is undone, or of others: Check, or whoever reads it, names it
	}
	return err
}

// lacks reports whether what was written by m may lack something by the version now.
func (m *Model) lacks(now *Model) bool {
	if !m.SamePlacement(now) || m.Def.Emptied != now.Def.Emptied {
		return true
	}
	if slices.ContainsFunc(now.Def.Indexes, func(x schema.Index) bool { return !x.Among(m.Def.Indexes) }) {
		return true
	}
	return !m.Def.Knows(now.Def)
}

// SamePlacement reports whether two versions of a model have their records at the same keys, and whether
// these were there all the time in between: a model that was moved to another layout and back had them
// elsewhere meanwhile.
func (m *Model) SamePlacement(other *Model) bool {
	return m.Def.Layout == other.Def.Layout && m.Def.Shards == other.Def.Shards && m.Def.Placed == other.Def.Placed
}

// mend makes a record good that was just written by the version was. One that others have
// written since is left to them, if they knew m. Otherwise it is made good too, as far as that
// goes: their program may have died, and then nobody else does it.
func (m *Model) mend(ctx context.Context, was *Model, id value.Value, out commit.Outcome) (commit.Outcome, error) {
	fail := func(err error) (commit.Outcome, error) {
		return out, fmt.Errorf("%w: %s %s was written by a schema that was replaced meanwhile, and could not be made to fit the one in force: %w", errs.ErrUnknownOutcome, m.Def.Name, id.Text(), err)
	}
	from, to := was.Layout.RecordKey(id), m.Layout.RecordKey(id)
	for {
		rec, err := m.store.GetLatest(ctx, from)
		if err != nil {
			return fail(err)
		}
		others := rec.Version() != out.Revision
		if !rec.Live() || others && rec.Schema > m.Def.Changed() {
			return out, nil
		}
		if from != to {
			err := m.writer.Move(ctx, commit.Relocation{Record: rec, To: to})
			if errors.Is(err, store.ErrWrongRevision) {
				continue
			}
			if errors.Is(err, errs.ErrExists) && others {
				return out, nil // theirs to take away
			}
			if errors.Is(err, errs.ErrExists) {
				gone := store.Op{Key: from, Delete: true, Conditional: true, Expect: rec.Revision, Settle: true}
				if err := m.store.Write(ctx, gone)[0].Err; err != nil && !errors.Is(err, store.ErrWrongRevision) {
					return fail(err)
				}
				return out, errElsewhere
			}
			if err != nil {
				return fail(err)
			}
			if rec, err = m.store.GetLatest(ctx, to); err != nil {
				return fail(err)
			}
			if !others {
				out.Revision = rec.Version()
			}
		}
		f, err := layout.At(m.Layout, to, rec.Value)
		if err != nil {
			return out, errs.Corrupt(m.Def.Name, to, err)
		}
		refused, err := m.writer.Ensure(ctx, &f)
		if err != nil {
			return fail(err)
		}
		if len(refused) > 0 && others {
			return out, nil // theirs to undo
		}
		if len(refused) > 0 {
			return out, m.undo(ctx, id, out, refused[0].Err)
		}
		doc := m.names.Apply(rec.Value)
		if err := m.misfits(was, doc); err != nil && others {
			return out, nil
		} else if err != nil {
			return out, m.undo(ctx, id, out, err)
		}
		if !bytes.Equal(doc, rec.Value) {
			named, err := m.rename(ctx, id, rec)
			switch {
			case errors.Is(err, errs.ErrUnique) && others:
				return out, nil
			case errors.Is(err, errs.ErrUnique):
				return out, m.undo(ctx, id, out, err)
			case err != nil:
				return fail(err)
			case !named.Written: // it was written once more
				continue
			case !others:
				out.Revision = named.Revision
			}
		}
		return out, nil
	}
}

// rename gives the members of a record, as it was read, their present names. It leaves one that
// has changed since.
func (m *Model) rename(ctx context.Context, id value.Value, rec store.Message) (commit.Outcome, error) {
	return m.writer.Apply(ctx, commit.Change{ID: id, Assume: &rec, Next: func(cur store.Message) (commit.Draft, error) {
		if !cur.Live() || cur.Revision != rec.Revision {
			return commit.Draft{}, commit.ErrLeave
		}
		return commit.Draft{Doc: m.names.Apply(cur.Value)}, nil
	}})
}

// undo takes a change back, because of why. When others have written the record since, it
// stays: their write has claimed what it has.
func (m *Model) undo(ctx context.Context, id value.Value, out commit.Outcome, why error) error {
	undone, err := m.writer.Apply(ctx, commit.Change{ID: id, Next: func(cur store.Message) (commit.Draft, error) {
		if !cur.Live() || cur.Version() != out.Revision {
			return commit.Draft{}, commit.ErrLeave
		}
		if !out.Before.Live() {
			return commit.Draft{}, nil
		}
		return commit.Draft{Doc: m.names.Apply(out.Before.Value)}, nil
	}})
	switch {
	case errors.As(err, new(*commit.NewerError)): // what is there now is of others
		return nil
	case err != nil:
		return fmt.Errorf("%w: %s %s was written by a schema that was replaced meanwhile, and stays so, because it could not be taken back: %w; the reason was: %w", errs.ErrUnknownOutcome, m.Def.Name, id.Text(), err, why)
	case !undone.Written:
		return nil
	}
	return why
}

// ErrReplaced says that what a call found says nothing: by the version of the model that it looked
// by, records are not found any more. The call may be made again.
var ErrReplaced = fmt.Errorf("%w: the schema of the model was changed meanwhile", errs.ErrUnwritten)

// Moved ends a call that may have missed records: it is ErrReplaced when those of the model are
// elsewhere, or an index that it has is not to be used any more. errs.ErrDropped when the
// model is gone.
func (m *Model) Moved(ctx context.Context) error {
	if m.fence == nil {
		return nil
	}
	now, err := m.fence.Settle(ctx, m)
	switch {
	case err != nil || now == m:
		return err
	case !m.SamePlacement(now):
		return fmt.Errorf("%w: nothing of %s was changed, which is in layout %s now; make the call again", ErrReplaced, m.Def.Name, now.Def.Layout)
	}
	for _, x := range m.Def.Indexes {
		if x.State == schema.Ready && !x.Among(now.Def.Indexes) {
			return fmt.Errorf("%w: %s %s of %s is being dropped; make the call again", ErrReplaced, x.Kind(), x.Name, m.Def.Name)
		}
	}
	return nil
}

// still reports whether m is the version that is in force, and was when a call had its answer, which has
// just come. Where records or an index are removed by a purge, it was replaced before.
func (m *Model) still(ctx context.Context) bool {
	if m.fence == nil {
		return true
	}
	now, err := m.fence.Settle(ctx, m)
	return err == nil && now == m
}
