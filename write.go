package natsorm

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
)

// Every write of a record, whichever call makes it, is a change: a function from the
// record as it is to the record as it will be, which is then committed. A document is
// encoded once, and its keys are computed once; a state carries both.

// state is a record before or after a change.
type state[T any] struct {
	doc  []byte            // nil when there is no record
	keys *layout.Footprint // the keys of doc; nil when they are not computed yet
	same bool              // doc has the keys that the record had before
	v    *T                // the value of doc; nil when it is not decoded
}

// change is what a call does to one record.
type change[T any] struct {
	// next makes the record after the change from the record before. It may be called
	// several times, with what others have written meanwhile. An error ends the change.
	next func(before store.Message) (after state[T], err error)

	// done gets a record that was written, and its revision. It may be nil.
	done func(after state[T], revision uint64)
}

// recordChange is the form of a change that package records carries out.
func (s *session[T]) recordChange(c change[T]) records.Change {
	var after state[T]
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
func (s *session[T]) encode(v *T) (state[T], error) {
	doc, err := s.codec.Encode(v)
	if err != nil {
		return state[T]{}, err
	}
	keys, err := s.records.Layout.Of(doc)
	if err != nil {
		return state[T]{}, document.Invalid(s.name, err)
	}
	if keys.ID.IsNull() {
		return state[T]{}, errs.Invalidf(s.name, s.records.Def.Key().Name, "is the primary key and has no value; set it")
	}
	return state[T]{doc: doc, keys: &keys, v: v}, nil
}

// fillIn is a change's done that gives v the content and the version that were written.
// In a transaction the version is provisional. The commit gives v the real one; without
// a commit, v gets back the version that it had.
func (s *session[T]) fillIn(v *T) func(after state[T], revision uint64) {
	return func(after state[T], revision uint64) {
		was := s.codec.Version(v)
		s.codec.SetVersion(after.v, revision)
		*v = *after.v
		s.replaceProvisional(v, was, after.keys.Record, revision)
	}
}

// replaceProvisional makes sure that v, if it has a provisional version, gets the real
// one with the commit, or else the version that it had before the transaction.
func (s *session[T]) replaceProvisional(v *T, was uint64, record string, revision uint64) {
	if s.tx == nil || !txn.Provisional(revision) || s.codec.Version(v) != revision {
		return
	}
	was = s.tx.firstVersion(v, was)
	s.tx.run.Stamp(record, revision, func(committed uint64, ok bool) {
		if s.codec.Version(v) != revision {
			return // a later write has changed it
		}
		if !ok {
			committed = was
		}
		s.codec.SetVersion(v, committed)
	})
}

// modify changes every record that the queries select, and returns how many.
func (s *session[T]) modify(ctx context.Context, q []Query, c change[T]) (int, error) {
	selected, _, err := s.bind(q, query.ForChange)
	if err != nil {
		return 0, err
	}
	n, err := s.records.Modify(ctx, selected, func() records.Change { return s.recordChange(c) })
	if err != nil && n > 0 && s.tx != nil {
		return n, s.tx.run.Fail(err) // all or nothing
	}
	return n, err
}

// patch is a change that edits a document in place. Members other than those of
// columns, and of the time of the update, stay as they are.
func (s *session[T]) patch(columns []string, patched func(doc []byte) ([]byte, error)) change[T] {
	same := !slices.ContainsFunc(s.records.Def.Columns, func(c schema.Column) bool {
		return (c.Role == schema.UpdatedAt || slices.Contains(columns, c.Name)) && s.records.Def.Indexed(c.Name)
	})
	return change[T]{next: func(before store.Message) (state[T], error) {
		doc, err := patched(before.Value)
		if err != nil {
			if !errors.Is(err, ErrInvalid) { // the document could not be read
				err = errs.Corrupt(s.name, before.Key, err)
			}
			return state[T]{}, err
		}
		// What was set fits the column. It has to fit the Go field too.
		v := new(T)
		if err := s.codec.Decode(store.Message{Key: before.Key, Value: doc}, v); err != nil {
			if e := s.codec.Decode(before, new(T)); e != nil {
				return state[T]{}, e // the record could not be read before either
			}
			field, problem := codec.Misfit(errors.Unwrap(err))
			return state[T]{}, errs.Invalidf(s.name, field, "the changed record at %s would not fit %T: %v", before.Key, *v, problem)
		}
		return state[T]{doc: doc, same: same, v: v}, nil
	}}
}

// createdAt is the creation time of a stored record. It is zero when the record has
// none.
func (s *session[T]) createdAt(m store.Message) time.Time {
	def := s.records.Def
	at := slices.IndexFunc(def.Columns, func(c schema.Column) bool { return c.Role == schema.CreatedAt })
	if at < 0 {
		return time.Time{}
	}
	vals, err := document.NewFields(def, at).Read(m.Value)
	if err != nil || vals.At(at).IsNull() {
		return time.Time{}
	}
	return vals.At(at).Time()
}

// now is the present time as it is stored: in UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
