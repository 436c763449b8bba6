package typed

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Upsert creates v, or replaces the record that has its key, or its values in the columns
// of spec.OnConflict.
func (s *Records) Upsert(ctx context.Context, v any, spec query.Spec) (created bool, err error) {
	switch {
	case v == nil:
		return false, s.NilRecord()
	case spec.OnConflict != nil:
		created, err = s.upsertOn(ctx, v, spec)
	case s.Docs.Def.Key().Auto && s.Codec.ZeroKey(v):
		created, err = true, s.createIf(ctx, v, spec)
	default:
		created, err = s.save(ctx, v, saving{upsert: true, revision: spec.IfRevision})
	}
	return created && err == nil, err
}

// createIf creates v, unless a record was expected.
func (s *Records) createIf(ctx context.Context, v any, spec query.Spec) error {
	if spec.IfRevision != nil {
		return &unfulfilled{fmt.Sprintf("there is no %s to replace, and so none at revision %d; leave IfRevision out to create it", s.Name, *spec.IfRevision), []error{errs.ErrConflict, errs.ErrNotFound}}
	}
	return s.Create(ctx, v, value.Null, false)
}

// upsertOn replaces the record that has v's values in the columns of a unique index, or
// creates v.
func (s *Records) upsertOn(ctx context.Context, v any, spec query.Spec) (created bool, err error) {
	x, err := s.uniqueIndex(spec.OnConflict)
	if err != nil {
		return false, err
	}
	var other error // another value of v was refused; whoever has it may just have created the record, too
	for agreed := s.Tx != nil; ; {
		id, key, err := s.identity(v, x)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(id.Values, value.Value.IsNull) { // nulls are not compared
			return true, s.createIf(ctx, v, spec)
		}
		owner, err := s.Docs.First(ctx, id.Query(s.Docs.Def))
		if err != nil {
			return false, err
		}
		refused := !owner.Live() && spec.IfRevision != nil
		var found layout.Footprint
		if owner.Live() {
			if found, err = layout.At(s.Docs.Layout, owner.Key, owner.Value); err != nil {
				return false, errs.Corrupt(s.Name, owner.Key, err)
			}
			refused = !s.Codec.ZeroKey(v) && !value.Equal(key, found.ID)
		}
		if refused && !agreed { // a replica may be behind
			if err := s.Docs.Agree(ctx); err != nil {
				return false, err
			}
			agreed = true
			continue
		}
		if !owner.Live() {
			if other != nil {
				return false, other
			}
			err := s.createIf(ctx, v, spec)
			if s.taken(err, id) { // somebody has just taken them
				if err := s.Docs.Moved(ctx); err != nil {
					return false, err
				}
				continue
			}
			if errors.Is(err, errs.ErrUnique) || errors.Is(err, errs.ErrExists) {
				other = err
				if err := s.Docs.Agree(ctx); err != nil {
					return false, err
				}
				continue
			}
			return true, err
		}
		if refused {
			return false, &errs.UniqueError{Model: s.Name, Columns: x.Columns, Value: id.Text(), Owner: found.ID.Text()}
		}
		how := saving{upsert: true, revision: spec.IfRevision, over: query.Matcher(s.Docs.Def, id.Query(s.Docs.Def).Filter)}
		if s.Codec.ZeroKey(v) {
			how.key = found.ID
		}
		if _, err := s.save(ctx, v, how); !errors.Is(err, errMoved) {
			return false, err
		}
	}
}

// uniqueIndex is the unique index that a caller means by its columns, in any order. Of two it is the
// folded one, which allows less.
func (s *Records) uniqueIndex(names []string) (found schema.Index, err error) {
	def := s.Docs.Def
	var given []string
	for _, name := range names {
		at, err := def.Resolve(name)
		if err != nil {
			return found, fmt.Errorf("%w (in OnConflict)", err)
		}
		given = append(given, def.Columns[at].Name)
	}
	slices.Sort(given)
	for _, x := range def.Indexes {
		if x.Unique && slices.Equal(slices.Sorted(slices.Values(x.Columns)), given) && (found.Columns == nil || x.Fold) {
			found = x
		}
	}
	if found.Columns != nil {
		return found, nil
	}
	return found, errs.Invalidf(s.Name, "", "OnConflict(%q): these columns are no unique index of the model, which has %s; name all columns of a unique index, or declare one with orm:\"unique\"", names, s.identities())
}

// identity is what v has in the columns of a unique index, and its key.
func (s *Records) identity(v any, x schema.Index) (id query.Identity, key value.Value, err error) {
	doc, err := s.Codec.Encode(v)
	if err != nil {
		return id, key, err
	}
	def := s.Docs.Def
	id.Exact = !x.Fold
	for _, name := range x.Columns {
		id.Columns = append(id.Columns, def.Position(name))
	}
	vals, err := document.NewFields(def, append(slices.Clip(id.Columns), def.PrimaryKey())...).Read(doc)
	if err != nil {
		return id, key, document.Invalid(s.Name, err)
	}
	for _, at := range id.Columns {
		id.Values = append(id.Values, vals.At(at))
	}
	return id, vals.At(def.PrimaryKey()), nil
}

// taken reports whether err says that another record has an identity already.
func (s *Records) taken(err error, id query.Identity) bool {
	var unique *errs.UniqueError
	if errors.As(err, &unique) {
		return id.Is(s.Docs.Def, unique.Columns)
	}
	return errors.Is(err, errs.ErrExists) && id.Is(s.Docs.Def, []string{s.Docs.Def.Key().Name})
}
