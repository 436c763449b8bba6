package natsorm

import (
	"context"
	"errors"
	"fmt"
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

// FindAllInto is FindAll into structs of another type, which has some of the model's
// columns: those that its fields name as a model's fields do, by JSON names or
// orm:"column:…". Only these are decoded. A field with orm:"version" gets the record's
// revision, or 0 for what the same transaction has written. Other orm tags say nothing here.
//
//	type Row struct{ Name string `json:"name"` }
//	rows, err := natsorm.FindAllInto[Row](ctx, users, natsorm.Gt("age", 30))
//
// Errors: ErrInvalid for a field whose column the model does not have, or has with another
// type; for a value that does not fit its field, such as 300 an int8; and for Select: the
// fields say which columns are read. ErrSchema when R is no
// struct, or a field cannot be read. Those of FindAll.
func FindAllInto[R, T any](ctx context.Context, m *Model[T], q ...Query) (all []R, err error) {
	err = m.read(ctx, "FindAllInto", q, query.ForRead, func(s *session[T], bound plan.Query, spec query.Spec) error {
		if spec.Select != nil {
			return fmt.Errorf("%w: Select is not for FindAllInto: the fields of %s say which columns are read", ErrInvalid, reflect.TypeFor[R]())
		}
		shape, err := shapeOf[R]()
		if err != nil {
			return err
		}
		def := s.Docs.Def
		var columns []string
		for _, col := range shape.Definition.Columns {
			at, err := def.Resolve(col.Name)
			switch {
			case err != nil:
				return fmt.Errorf("%w (of a field of %s)", err, reflect.TypeFor[R]())
			case def.Called(at, col.Name) != col.Name:
				return errs.Invalidf(s.Name, col.Name, "is called %s in the model; give the field of %s that JSON name", def.Columns[at].Name, reflect.TypeFor[R]())
			case def.Typed(def.Columns[at], col.Name, col.Type) != nil:
				return errs.Invalidf(s.Name, col.Name, "has type %s, but type %s in %s", def.Columns[at].Type, col.Type, reflect.TypeFor[R]())
			}
			columns = append(columns, def.Columns[at].Name)
		}
		rows := codec.Under(codec.NewStruct[R](shape), def)
		found := query.Select(ctx, s.Docs.Source(), bound, true, func(m store.Message) (r R, err error) {
			picked := m
			if picked.Value, err = document.Pick(m.Value, columns); err != nil {
				return r, errs.Corrupt(s.Name, m.Key, err)
			}
			if err = rows.Decode(picked, &r); err != nil {
				return r, s.misfit(m, &r, err)
			}
			if txn.Provisional(m.Version()) { // only the commit gives it one, and r is not known to it
				rows.SetVersion(&r, 0)
			}
			return r, nil
		})
		all, err = collect(found)
		return err
	})
	return readable(all, err)
}

// GroupByInto is GroupBy into structs of a type that has a field for each of the group's
// columns and results, and no others. They are named as by FindAllInto:
//
//	type Total struct {
//		City string  `json:"city"`
//		Sum  float64 `json:"sum_age"`
//	}
//	totals, err := natsorm.GroupByInto[Total](ctx, users, []string{"city"}, []natsorm.Aggregate{natsorm.SumOf("age")})
//
// The mean of no values is null: it leaves a float64 zero, and a *float64 nil.
//
// Errors: ErrInvalid when the fields are not those of the groups, or a value does not fit
// its field. ErrSchema as for FindAllInto. Those of GroupBy.
func GroupByInto[R, T any](ctx context.Context, m *Model[T], columns []string, aggs []Aggregate, q ...Query) ([]R, error) {
	var out []R
	err := m.groups(ctx, "GroupByInto", columns, aggs, q, func(s *session[T], grouping query.Grouping, groups []query.Group) error {
		shape, err := shapeOf[R]()
		if err != nil {
			return err
		}
		var fields []string
		for _, col := range shape.Definition.Columns {
			fields = append(fields, col.Name)
		}
		if !slices.Equal(slices.Sorted(slices.Values(fields)), slices.Sorted(slices.Values(grouping.Names))) {
			return fmt.Errorf("%w: GroupByInto: the groups have %s, but %s has %s; give it a field for each, and no others", ErrInvalid,
				strings.Join(grouping.Names, ", "), reflect.TypeFor[R](), strings.Join(fields, ", "))
		}
		rows := codec.NewStruct[R](shape)
		out = make([]R, len(groups))
		for i, g := range groups {
			doc, err := document.Patch([]byte("{}"), grouping.Members(g))
			if err != nil {
				return err
			}
			if err := rows.Decode(store.Message{Value: doc}, &out[i]); err != nil {
				return s.misfit(store.Message{}, &out[i], err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// misfit is the error of a record, or of a group, that could not be decoded into a struct of
// the caller's. A record that cannot be decoded into its own type either is corrupt.
func (s *session[T]) misfit(m store.Message, into any, err error) error {
	if m.Value != nil {
		if _, e := s.Decode(m); e != nil {
			return e
		}
	}
	field, problem := codec.Misfit(errors.Unwrap(err))
	return errs.Invalidf(s.Name, field, "a value of it does not fit its field in %s: %v; use a larger type, or a pointer for null", reflect.TypeOf(into).Elem(), problem)
}

// shapeOf reads the columns that a struct type has.
func shapeOf[R any]() (*schema.Struct, error) {
	t := reflect.TypeFor[R]()
	shape, err := schema.Compile(t, t.String())
	if err == nil && len(shape.Definition.Columns) == 0 {
		err = fmt.Errorf("%w: %s has no fields to read columns into; give it some", ErrSchema, t)
	}
	return shape, err
}
