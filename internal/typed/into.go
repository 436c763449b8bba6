package typed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
)

// FindInto streams the records that a query selects, as pointers to values of a struct type that has
// some of their columns. The first error is that of a field which fits no column.
func (s *Records) FindInto(ctx context.Context, bound plan.Query, into reflect.Type) (iter.Seq2[any, error], error) {
	shape, err := shapeOf(into)
	if err != nil {
		return nil, err
	}
	def := s.Docs.Def
	var columns []string
	for _, col := range shape.Definition.Columns {
		at, err := def.Resolve(col.Name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w (of a field of %s)", err, into)
		case def.Called(at, col.Name) != col.Name:
			return nil, errs.Invalidf(s.Name, col.Name, "is called %s in the model; give the field of %s that JSON name", def.Columns[at].Name, into)
		case def.Typed(def.Columns[at], col.Name, col.Type) != nil:
			return nil, errs.Invalidf(s.Name, col.Name, "has type %s, but type %s in %s", def.Columns[at].Type, col.Type, into)
		}
		columns = append(columns, def.Columns[at].Name)
	}
	rows := codec.Under(codec.NewStruct(into, shape), def)
	return query.Select(ctx, s.Source(), bound, true, func(rec query.Record) (any, error) {
		r := rows.New()
		if in := rec.Row(); in != nil {
			if err := rows.DecodeRow(in, columns, r); err != nil {
				return nil, s.misfit(rec.Message(), into, err)
			}
			return r, nil
		}
		m := rec.Message()
		picked, err := m, error(nil)
		if picked.Value, err = document.Pick(m.Value, columns); err != nil {
			return nil, errs.Corrupt(s.Name, m.Key, err)
		}
		if err = rows.Decode(picked, r); err != nil {
			return nil, s.misfit(m, into, err)
		}
		if txn.Provisional(m.Version()) { // only the commit gives it one, and r is not known to it
			rows.SetVersion(r, 0)
		}
		return r, nil
	}), nil
}

// GroupsInto makes values of a struct type of groups, and returns pointers to them. The type has a
// field for each column and each aggregate.
func (s *Records) GroupsInto(grouping query.Grouping, groups []query.Group, into reflect.Type) ([]any, error) {
	shape, err := shapeOf(into)
	if err != nil {
		return nil, err
	}
	var fields []string
	for _, col := range shape.Definition.Columns {
		fields = append(fields, col.Name)
	}
	if !slices.Equal(slices.Sorted(slices.Values(fields)), slices.Sorted(slices.Values(grouping.Names))) {
		return nil, fmt.Errorf("%w: GroupByInto: the groups have %s, but %s has %s; give it a field for each, and no others", errs.ErrInvalid,
			strings.Join(grouping.Names, ", "), into, strings.Join(fields, ", "))
	}
	rows := codec.NewStruct(into, shape)
	out := make([]any, len(groups))
	for i, g := range groups {
		doc, err := document.Patch([]byte("{}"), grouping.Members(g))
		if err != nil {
			return nil, err
		}
		out[i] = rows.New()
		if err := rows.Decode(store.Message{Value: doc}, out[i]); err != nil {
			return nil, s.misfit(store.Message{}, into, err)
		}
	}
	return out, nil
}

// misfit is the error of a record, or of a group, that could not be decoded into a struct of
// the caller's. A record that cannot be decoded into its own type either is corrupt.
func (s *Records) misfit(m store.Message, into reflect.Type, err error) error {
	if m.Value != nil {
		if _, e := s.Decode(m); e != nil {
			return e
		}
	}
	field, problem := codec.Misfit(errors.Unwrap(err))
	return errs.Invalidf(s.Name, field, "a value of it does not fit its field in %s: %v; use a larger type, or a pointer for null", into, problem)
}

// shapeOf reads the columns that a struct type has.
func shapeOf(t reflect.Type) (*schema.Struct, error) {
	shape, err := schema.Compile(t, t.String())
	if err == nil && len(shape.Definition.Columns) == 0 {
		err = fmt.Errorf("%w: %s has no fields to read columns into; give it some", errs.ErrSchema, t)
	}
	return shape, err
}
