package typed

import (
	"cmp"
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

// saving is how a record is saved.
type saving struct {
	upsert   bool        // it is created where none exists, and its version does not matter
	revision *uint64     // the revision that the stored record must have; nil for any, or that of v's version
	key      value.Value // the key that it gets; null for the one that it has

	// over reports whether the stored record is the one that is meant; nil for any. With it,
	// a record that is not there is not created, and errMoved says that it is not there.
	over func(before store.Message) (bool, error)
}

// errMoved ends a save over a record that is no longer the one that was found. As every
// error that tells what was read, it is only believed as a majority has it.
var errMoved = fmt.Errorf("%w: the record is no longer there", errs.ErrNotFound)

// Save writes all of v over the record that exists, if that is at a revision: nil for that
// of v's version, or for any when v has none.
func (s *Records) Save(ctx context.Context, v any, revision *uint64) error {
	_, err := s.save(ctx, v, saving{revision: revision})
	return err
}

// save writes all of v over a record.
func (s *Records) save(ctx context.Context, v any, how saving) (created bool, err error) {
	if v == nil {
		return false, s.NilRecord()
	}
	w, at := s.Codec.Clone(v), now()
	if !how.key.IsNull() {
		if err := s.Codec.SetKey(w, how.key); err != nil {
			return false, err
		}
	}
	var undated any // w, where it has no creation time: then the stored record's stays
	if s.Codec.NeedsCreated(w) {
		undated = s.Codec.Clone(w)
	}
	s.Codec.Stamp(w, at, at)
	whole, err := s.encode(w)
	if err != nil {
		return false, err
	}
	id, version := whole.keys.ID, s.Codec.Version(v)
	if version == codec.Partial {
		return false, fmt.Errorf("%w was read with Select and is not whole; read all of it, or use Update", s.Describe(errs.ErrConflict, id.Text()))
	}
	if how.upsert {
		version = 0
	}
	if how.revision != nil {
		version = *how.revision
	}
	err = s.Docs.Write(ctx, records.Target{ID: id}, s.recordChange(Change{
		next: func(before store.Message) (state, error) {
			created = !before.Live()
			if how.over != nil {
				if ok, err := how.over(before); err != nil || !ok {
					return state{}, cmp.Or(err, errMoved)
				}
			}
			switch {
			case created && how.upsert && version == 0:
			case created && version != 0:
				return state{}, fmt.Errorf("%w is not there: it was destroyed since it was read, or its key was changed (%w)", s.Describe(errs.ErrConflict, id.Text()), errs.ErrNotFound)
			case created:
				return state{}, s.Describe(errs.ErrNotFound, id.Text())
			case version != 0 && version != before.Version():
				return state{}, s.otherRevision(id.Text(), before, version)
			}
			if created {
				return whole, nil
			}
			after := whole
			if undated != nil {
				if after, err = s.keepCreated(whole, undated, before, at); err != nil {
					return state{}, err
				}
			}
			return s.adopt(after, before)
		},
		done: s.fillIn(v),
	}))
	return created && err == nil, err
}

// otherRevision is the error for a record that is not at the revision that a caller knows.
func (s *Records) otherRevision(id string, before store.Message, known uint64) error {
	return fmt.Errorf("%w is at revision %d, not %d; read it again", s.Describe(errs.ErrConflict, id), before.Version(), known)
}

// keepCreated is the state of v, which has no creation time, with that of the record
// before. whole is the state of v with the time now.
func (s *Records) keepCreated(whole state, v any, before store.Message, now time.Time) (state, error) {
	created, column := s.createdAt(before)
	v = s.Codec.Clone(v)
	s.Codec.Stamp(v, created, now)
	if created.IsZero() || column == "" { // only the codec knows how v is encoded with it
		return s.encode(v)
	}
	doc, err := document.Patch(whole.doc, []document.Member{{Name: column, Raw: value.OfTime(created).AppendJSON(nil)}})
	if err != nil {
		return state{}, document.Invalid(s.Name, err)
	}
	after := state{doc: doc, keys: whole.keys, v: v}
	if s.Docs.Def.Indexed(column) {
		keys, err := s.Docs.Layout.Of(doc)
		if err != nil {
			return state{}, document.Invalid(s.Name, err)
		}
		after.keys = &keys
	}
	return after, nil
}

// adopt adds the members of the stored document for which T has no column.
func (s *Records) adopt(after state, before store.Message) (state, error) {
	doc, err := document.Adopt(after.doc, before.Value, s.Codec.Writes)
	if err != nil {
		return after, errs.Corrupt(s.Name, before.Key, err)
	}
	if len(doc) != len(after.doc) { // it added some, which may be indexed
		keys, err := s.Docs.Layout.Of(doc)
		if err != nil {
			return after, document.Invalid(s.Name, err)
		}
		after.doc, after.keys = doc, &keys
	}
	return after, nil
}
