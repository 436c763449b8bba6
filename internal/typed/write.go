package typed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
)

// state is a record before or after a change.
type state struct {
	doc  []byte            // nil when there is no record
	keys *layout.Footprint // the keys of doc; nil when they are not computed yet
	same bool              // doc has the keys that the record had before
	v    any               // the value of doc; nil when it is not decoded
}

// Change is what a call does to one record.
type Change struct {
	// next makes the record after the change from the record before. It may be called
	// several times, with what others have written meanwhile. An error ends the change.
	next func(before store.Message) (after state, err error)

	// done gets a record that was written, and its revision. It may be nil.
	done func(after state, revision uint64)
}

// recordChange is the form of a change that package records carries out.
func (s *Records) recordChange(c Change) records.Change {
	var after state
	return records.Change{
		Next: func(before store.Message) (_ commit.Draft, err error) {
			after, err = c.next(before)
			return commit.Draft{Doc: after.doc, Keys: after.keys, SameKeys: after.same}, err
		},
		Done: func(revision uint64) {
			if c.done != nil {
				c.done(after, revision)
			}
		},
	}
}

// encode is the state of a record whose value is v.
func (s *Records) encode(v any) (state, error) {
	doc, err := s.Codec.Encode(v)
	if err != nil {
		return state{}, err
	}
	keys, err := s.Docs.Layout.Of(doc)
	if err != nil {
		return state{}, document.Invalid(s.Name, err)
	}
	if keys.ID.IsNull() {
		return state{}, errs.Invalidf(s.Name, s.Docs.Def.Key().Name, "is the primary key and has no value; set it")
	}
	return state{doc: doc, keys: &keys, v: v}, nil
}

// fillIn is a change's done that gives v the content and the version that were written.
// In a transaction the version is provisional. The commit gives v the real one; without
// a commit, v gets back the version that it had.
func (s *Records) fillIn(v any) func(after state, revision uint64) {
	return func(after state, revision uint64) {
		was := s.Codec.Version(v)
		s.Codec.SetVersion(after.v, revision)
		s.Codec.Assign(v, after.v)
		s.replaceProvisional(v, was, after.keys.Record, revision)
	}
}

// replaceProvisional makes sure that v, if it has a provisional version, gets the real
// one with the commit, or else the version that it had before the transaction.
func (s *Records) replaceProvisional(v any, was uint64, record string, revision uint64) {
	if s.Tx == nil || !txn.Provisional(revision) || s.Codec.Version(v) != revision {
		return
	}
	was = s.Tx.firstVersion(v, was)
	s.Tx.Run.Stamp(record, revision, func(committed uint64, ok bool) {
		if s.Codec.Version(v) != revision {
			return // a later write has changed it
		}
		if !ok {
			committed = was
		}
		s.Codec.SetVersion(v, committed)
	})
}

// Modify changes every record that a query selects, and returns how many. With a revision,
// which is not nil, one that is not at that revision ends the call with errs.ErrConflict.
func (s *Records) Modify(ctx context.Context, q plan.Query, revision *uint64, c Change) (int, error) {
	c = s.atRevision(revision, c)
	n, err := s.Docs.Modify(ctx, q, func() records.Change { return s.recordChange(c) })
	if err != nil && n > 0 && s.Tx != nil {
		return n, s.Tx.Run.Fail(err) // all or nothing
	}
	return n, err
}

// UpdateOne changes the first record that a query selects, at a moment when it is selected,
// and returns it as it is then. errs.ErrNotFound when none is selected; errs.ErrConflict when
// the record that has the key or the unique value asked for does not fulfil the rest.
func (s *Records) UpdateOne(ctx context.Context, q plan.Query, revision *uint64, c Change) (v any, err error) {
	c = s.atRevision(revision, c)
	next, record := c.next, ""
	c.next = func(before store.Message) (after state, err error) {
		record = before.Key
		if after, err = next(before); err == nil && bytes.Equal(after.doc, before.Value) {
			v, err = s.Decode(before) // it stays as it is
		}
		return after, err
	}
	c.done = func(after state, revision uint64) {
		v = after.v
		s.Codec.SetVersion(v, revision)
		s.replaceProvisional(v, codec.Partial, record, revision)
	}
	switch found, id, err := s.Docs.ModifyOne(ctx, q, s.recordChange(c)); {
	case err != nil:
		return nil, err
	case found == records.Other:
		return nil, &unfulfilled{fmt.Sprintf("%s %s is there, but does not fulfil the other conditions of UpdateOne, and stays as it is", s.Name, id), []error{errs.ErrConflict}}
	case found == records.Nothing:
		return nil, s.Describe(errs.ErrNotFound, "with these conditions")
	}
	return v, nil
}

// atRevision is a change of records that are at a revision; nil for any.
func (s *Records) atRevision(revision *uint64, c Change) Change {
	if revision == nil {
		return c
	}
	next := c.next
	c.next = func(before store.Message) (state, error) {
		if before.Version() != *revision {
			return state{}, s.otherRevision(keys.RecordID(before.Key), before, *revision)
		}
		return next(before)
	}
	return c
}

// patch is a change that edits a document in place. Members other than those of
// columns, and of the time of the update, stay as they are.
func (s *Records) patch(columns []string, patched func(doc []byte) ([]byte, error)) Change {
	same := !slices.ContainsFunc(s.Docs.Def.Columns, func(c schema.Column) bool {
		return (c.Role == schema.UpdatedAt || slices.Contains(columns, c.Name)) && s.Docs.Def.Indexed(c.Name)
	})
	return Change{next: func(before store.Message) (state, error) {
		doc, err := patched(before.Value)
		if err != nil {
			if !errors.Is(err, errs.ErrInvalid) { // the document could not be read
				err = errs.Corrupt(s.Name, before.Key, err)
			}
			return state{}, err
		}
		// What was set fits the column. It has to fit the Go field too.
		v := s.Codec.New()
		if err := s.Codec.Decode(store.Message{Key: before.Key, Value: doc}, v); err != nil {
			if e := s.Codec.Decode(before, s.Codec.New()); e != nil {
				return state{}, e // the record could not be read before either
			}
			field, problem := codec.Misfit(errors.Unwrap(err))
			return state{}, errs.Invalidf(s.Name, field, "the changed record at %s would not fit %v: %v", before.Key, typeOf(v), problem)
		}
		return state{doc: doc, same: same, v: v}, nil
	}}
}

// createdAt is the creation time of a stored record, and the one column that has it. The
// time is zero when the record has none; the column is empty when there are several.
func (s *Records) createdAt(m store.Message) (at time.Time, column string) {
	def := s.Docs.Def
	// Another program may have declared such a column that T does not have.
	ours := func(c schema.Column) bool { return c.Role == schema.CreatedAt && s.Codec.Writes(c.Name) }
	i := slices.IndexFunc(def.Columns, ours)
	if i < 0 {
		return time.Time{}, ""
	}
	if !slices.ContainsFunc(def.Columns[i+1:], ours) {
		column = def.Columns[i].Name
	}
	vals, err := document.NewFields(def, i).Read(m.Value)
	if err != nil || vals.At(i).IsNull() {
		return time.Time{}, column
	}
	return vals.At(i).Time(), column
}

// now is the present time as it is stored: in UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
