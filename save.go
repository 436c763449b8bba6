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

// Save writes the whole of a record that is there. With an orm:"version" field
// that a read or write has filled, it is ErrConflict when the record has been
// changed or destroyed since; without, the last Save wins. ErrNotFound when
// there is no such record; otherwise its errors are Create's. Members of the
// stored document that T has no column for stay as they are.
func (m *Model[T]) Save(ctx context.Context, v *T) error {
	return m.call(ctx, operation{name: "Save"}, func(s *session[T]) error {
		_, err := s.save(ctx, v, false)
		return err
	})
}

// Upsert creates the record, or writes the whole of it over the one with the
// same primary key, whatever its version, but for the creation time, which
// stays when v's is zero. created says which. Its errors are Create's, but
// never ErrExists.
func (m *Model[T]) Upsert(ctx context.Context, v *T) (created bool, err error) {
	err = m.call(ctx, operation{name: "Upsert"}, func(s *session[T]) (err error) {
		created, err = s.save(ctx, v, true)
		return err
	})
	return created, err
}

// save writes the whole of v over the record that is there, or, to upsert, where none is.
func (s *session[T]) save(ctx context.Context, v *T, upsert bool) (created bool, err error) {
	if v == nil {
		return false, s.nilRecord()
	}
	if upsert && s.records.Def.Key().Auto && s.codec.ZeroKey(v) {
		return true, s.create(ctx, v, value.Null, false)
	}
	w, at := s.codec.Clone(v), now()
	undated := s.codec.NeedsCreated(w) // its creation time is the stored record's
	s.codec.Stamp(w, time.Time{}, at)
	whole, err := s.encode(w)
	if err != nil {
		return false, err
	}
	id, version := whole.keys.ID, s.codec.Version(v)
	if version == codec.Partial {
		return false, fmt.Errorf("%w was read with Select and is not whole; read all of it, or use Update", s.describe(ErrConflict, id.Text()))
	}
	_, err = s.records.Write(ctx, records.Target{ID: id}, s.pass(change[T]{
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
		done: s.give(v),
	}))
	return created && err == nil, err
}

// dated is the state of w with the creation time of the record before, or with the time
// of now where there is none.
func (s *session[T]) dated(w *T, before store.Message, now time.Time) (state[T], error) {
	created := now
	if before.Live() {
		created = s.createdAt(before)
	}
	x := s.codec.Clone(w)
	s.codec.Stamp(x, created, now)
	return s.encode(x)
}

// adopt keeps the members of the stored document that T has no column for.
func (s *session[T]) adopt(after state[T], before store.Message) (state[T], error) {
	doc, err := document.Adopt(after.doc, before.Value, s.codec.Writes)
	if err != nil {
		return after, &errs.CorruptError{Model: s.name, Key: before.Key, Err: err}
	}
	if len(doc) != len(after.doc) { // it adopted some, which may be indexed
		keys, err := s.records.Layout.Of(doc)
		if err != nil {
			return after, document.Invalid(s.name, err)
		}
		after.doc, after.keys = doc, &keys
	}
	return after, nil
}
