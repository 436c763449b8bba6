package natsorm

import (
	"context"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Save writes all columns of a record that exists. With an orm:"version" field that a
// read or a write has filled, Save returns ErrConflict when the record was changed or
// destroyed since then; without one, the last Save wins. Members of the stored document
// for which T has no column stay as they are. After an error, v is as it was.
//
// Errors: ErrNotFound when there is no such record, ErrConflict as above, and those of
// Create except ErrExists.
func (m *Model[T]) Save(ctx context.Context, v *T) error {
	return m.call(ctx, operation{name: "Save"}, func(s *session[T]) error {
		_, err := s.save(ctx, v, false)
		return err
	})
}

// Upsert creates the record or, when its primary key is taken, replaces the record that
// has it, whatever its version. created says which of the two it did. If v's createdAt
// is zero, a replaced record keeps the time that it has. Its errors are those of Create
// except ErrExists.
func (m *Model[T]) Upsert(ctx context.Context, v *T) (created bool, err error) {
	err = m.call(ctx, operation{name: "Upsert"}, func(s *session[T]) (err error) {
		created, err = s.save(ctx, v, true)
		return err
	})
	return created, err
}

// save writes all of v over the record that exists. With upsert, it creates the record
// where none exists.
func (s *session[T]) save(ctx context.Context, v *T, upsert bool) (created bool, err error) {
	if v == nil {
		return false, s.nilRecord()
	}
	if upsert && s.records.Def.Key().Auto && s.codec.ZeroKey(v) {
		return true, s.create(ctx, v, value.Null, false)
	}
	w, at := s.codec.Clone(v), now()
	undated := s.codec.NeedsCreated(w) // then the stored record's creation time stays
	s.codec.Stamp(w, time.Time{}, at)
	whole, err := s.encode(w)
	if err != nil {
		return false, err
	}
	id, version := whole.keys.ID, s.codec.Version(v)
	if version == codec.Partial {
		return false, fmt.Errorf("%w was read with Select and is not whole; read all of it, or use Update", s.describe(ErrConflict, id.Text()))
	}
	err = s.records.Write(ctx, records.Target{ID: id}, s.recordChange(change[T]{
		next: func(before store.Message) (state[T], error) {
			created = !before.Live()
			switch {
			case created && upsert:
			case created && version != 0:
				return state[T]{}, fmt.Errorf("%w is not there: it was destroyed since it was read, or its key was changed (%w)", s.describe(ErrConflict, id.Text()), ErrNotFound)
			case created:
				return state[T]{}, s.describe(ErrNotFound, id.Text())
			case !upsert && version != 0 && version != before.Version():
				return state[T]{}, fmt.Errorf("%w is at revision %d, not %d; read it again", s.describe(ErrConflict, id.Text()), before.Version(), version)
			}
			after := whole
			if undated {
				if after, err = s.dated(w, before, at); err != nil {
					return state[T]{}, err
				}
			}
			if created {
				return after, nil
			}
			return s.adopt(after, before)
		},
		done: s.fillIn(v),
	}))
	return created && err == nil, err
}

// dated is the state of w with the creation time of the record before, or with now when
// there is no such record.
func (s *session[T]) dated(w *T, before store.Message, now time.Time) (state[T], error) {
	created := now
	if before.Live() {
		created = s.createdAt(before)
	}
	x := s.codec.Clone(w)
	s.codec.Stamp(x, created, now)
	return s.encode(x)
}

// adopt adds the members of the stored document for which T has no column.
func (s *session[T]) adopt(after state[T], before store.Message) (state[T], error) {
	doc, err := document.Adopt(after.doc, before.Value, s.codec.Writes)
	if err != nil {
		return after, errs.Corrupt(s.name, before.Key, err)
	}
	if len(doc) != len(after.doc) { // it added some, which may be indexed
		keys, err := s.records.Layout.Of(doc)
		if err != nil {
			return after, document.Invalid(s.name, err)
		}
		after.doc, after.keys = doc, &keys
	}
	return after, nil
}
