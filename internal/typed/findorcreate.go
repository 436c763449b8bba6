package typed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// fromWhere is defaults with the values of where.
func (s *Records) fromWhere(where map[string]any, defaults any) (v any, doc []byte, err error) {
	if defaults == nil {
		defaults = s.Codec.New()
	} else if s.Codec.Version(defaults) == codec.Partial {
		return nil, nil, errs.Invalidf(s.Name, "", "the defaults of FindOrCreate were read with Select and are not whole; read all of the record")
	} else {
		defaults = s.Codec.Clone(defaults)
	}
	if m := reflect.ValueOf(defaults).Elem(); m.Kind() == reflect.Map && m.IsNil() {
		m.Set(reflect.MakeMap(m.Type()))
	}
	if doc, err = s.Codec.Encode(defaults); err != nil {
		return nil, nil, err
	}
	set := make([]document.Member, 0, len(where))
	for _, name := range slices.Sorted(maps.Keys(where)) {
		at, err := s.Docs.Def.Resolve(name)
		if err != nil {
			return nil, nil, err
		}
		col := s.Docs.Def.Columns[at]
		raw, err := value.ToJSON(where[name], col.Type)
		switch {
		case err == nil && slices.ContainsFunc(set, func(m document.Member) bool { return m.Name == col.Name }):
			err = errors.New("comes twice")
		case err == nil && col.ZeroNull && string(raw) == "null":
			err = errors.New("cannot be null: the Go field is not a pointer")
		}
		if err != nil {
			return nil, nil, errs.Invalidf(s.Name, s.Docs.Def.Called(at, name), "in FindOrCreate: %v; give each column one value", err)
		}
		set = append(set, document.Member{Name: col.Name, Raw: raw})
	}
	if doc, err = document.Patch(doc, set); err != nil {
		return nil, nil, document.Invalid(s.Name, err)
	}
	v = s.Codec.New()
	if err := s.Codec.Decode(store.Message{Value: doc}, v); err != nil {
		field, problem := codec.Misfit(errors.Unwrap(err))
		return nil, nil, errs.Invalidf(s.Name, field, "in FindOrCreate: the new record would not fit %v: %v", typeOf(v), problem)
	}
	doc, err = s.Codec.Encode(v) // as it will be stored
	return v, doc, err
}

// FindOrCreate finds the record whose columns equal the values of where, or creates one of
// where and defaults.
func (s *Records) FindOrCreate(ctx context.Context, where map[string]any, defaults any) (found any, created bool, err error) {
	v, doc, err := s.fromWhere(where, defaults)
	if err != nil {
		return nil, false, err
	}
	filter, err := s.asStored(where, doc)
	if err != nil {
		return nil, false, err
	}
	def := s.Docs.Def
	id, ok := query.IdentityIn(def, filter, true)
	if !ok {
		return nil, false, errs.Invalidf(s.Name, "", "FindOrCreate needs among the columns of where those of one of %s, with one value each that is not null, so that there is at most one such record (a zero that omitempty leaves out is null)", s.identities())
	}
	if slices.Contains(id.Columns, def.PrimaryKey()) && def.Key().Auto && s.Codec.ZeroKey(v) {
		return nil, false, errs.Invalidf(s.Name, def.Key().Name, "in FindOrCreate: is zero, which stands for the next automatic key; give it a key, or find the record by a unique value")
	}
	selects := query.Matcher(def, filter)
	for {
		if found, err := s.owner(ctx, id.Query(def), selects, nil); found != nil || err != nil {
			return found, false, err
		}
		w := s.Codec.Clone(v)
		refused := s.Create(ctx, w, value.Null, false)
		if refused == nil {
			return w, true, nil
		}
		if !s.taken(refused, id) {
			// Whoever has the other value may just have created the record, with the same defaults.
			if errors.Is(refused, errs.ErrUnique) || errors.Is(refused, errs.ErrExists) {
				if err := s.Docs.Agree(ctx); err != nil {
					return nil, false, err
				}
				if found, err := s.owner(ctx, id.Query(def), selects, refused); found != nil || err != nil {
					return found, false, err
				}
			}
			return nil, false, refused
		}
		// Somebody has created it, unless that record does not fulfil the rest.
		if found, err := s.owner(ctx, id.Query(def), selects, refused); found != nil || err != nil {
			return found, false, err
		}
		if err := s.Docs.Moved(ctx); err != nil {
			return nil, false, err
		}
	}
}

// asStored is the condition that the columns of where have the values that doc has: those of
// where, in the form in which the type of T writes them.
func (s *Records) asStored(where map[string]any, doc []byte) (*cond.Bound, error) {
	def := s.Docs.Def
	var columns []int
	for _, name := range slices.Sorted(maps.Keys(where)) {
		at, err := def.Resolve(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, at)
	}
	stored, err := document.NewFields(def, columns...).Read(doc)
	if err != nil {
		return nil, document.Invalid(s.Name, err)
	}
	values := make([]value.Value, len(columns))
	for i, at := range columns {
		values[i] = stored.At(at)
	}
	return cond.Equals(def, columns, values, false), nil
}

// owner is the record that has an identity, if it is selected; nil when there is none. When
// it is not selected the error is refused, if that is not nil.
func (s *Records) owner(ctx context.Context, q plan.Query, selects func(store.Message) (bool, error), refused error) (any, error) {
	m, err := s.Docs.First(ctx, q)
	if err != nil || !m.Live() {
		return nil, err
	}
	if _, err := layout.At(s.Docs.Layout, m.Key, m.Value); err != nil {
		return nil, errs.Corrupt(s.Name, m.Key, err)
	}
	switch ok, err := selects(m); {
	case err != nil:
		return nil, err
	case !ok && refused != nil:
		return nil, fmt.Errorf("%w (it does not fulfil the rest of where)", refused)
	case !ok:
		return nil, nil
	}
	return s.Decode(m)
}

// identities names what a record can be known by: the key, and the unique indexes.
func (s *Records) identities() string {
	out := []string{"the primary key " + s.Docs.Def.Key().Name}
	for _, x := range s.Docs.Def.Indexes {
		if x.Unique {
			out = append(out, "the unique index "+strings.Join(x.Columns, " and "))
		}
		if x.Unique && !x.Fold && slices.ContainsFunc(x.Columns, func(c string) bool { return s.Docs.Def.Folds(s.Docs.Def.Position(c)) }) {
			out[len(out)-1] += " (only for OnConflict, because a folded index has a column of it, and so several records may be equal)"
		}
	}
	return strings.Join(out, ", ")
}
