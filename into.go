package natsorm

import (
	"context"
	"fmt"
	"reflect"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
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
	err = m.read(ctx, "FindAllInto", q, query.ForRead, func(s *session, bound plan.Query, spec query.Spec) error {
		if spec.Select != nil {
			return fmt.Errorf("%w: Select is not for FindAllInto: the fields of %s say which columns are read", ErrInvalid, reflect.TypeFor[R]())
		}
		found, err := s.FindInto(ctx, bound, reflect.TypeFor[R]())
		if err != nil {
			return err
		}
		all = []R{}
		return collect(found, func(v any) { all = append(all, *v.(*R)) })
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
func GroupByInto[R, T any](ctx context.Context, m *Model[T], columns []string, aggs []Aggregate, q ...Query) (out []R, err error) {
	err = m.groups(ctx, "GroupByInto", columns, aggs, q, func(s *session, grouping query.Grouping, groups []query.Group) error {
		found, err := s.GroupsInto(grouping, groups, reflect.TypeFor[R]())
		out = make([]R, len(found))
		for i, v := range found {
			out[i] = *v.(*R)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
