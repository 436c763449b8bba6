package natsorm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/value"
)

// Sum adds up a number column of the records that the queries select. Nulls are left
// out, and the sum of no values is 0. The values are added exactly; only the result is
// rounded, to the nearest float64.
//
// Errors: ErrInvalid when the column holds no numbers, when the sum is beyond a
// float64, and when a sum of decimals has more than 10,000 digits. ErrCorrupt when this
// column, or one of a condition, cannot be read in a record.
func (m *reads[T]) Sum(ctx context.Context, column string, q ...Query) (float64, error) {
	r, err := m.total(ctx, query.Sum, column, q)
	return r.Float, err
}

// Avg returns the mean of a number column over the records that the queries select.
// Nulls are left out, and the mean of no values is NaN. Its errors are those of Sum.
func (m *reads[T]) Avg(ctx context.Context, column string, q ...Query) (float64, error) {
	r, err := m.total(ctx, query.Avg, column, q)
	return r.Float, err
}

// Min returns the smallest value of a column among the records that the queries select.
// Nulls are left out; the result is nil when there is no value. Its type is the one
// that a Record has for the column: int64, uint64, float64, bool, string, []byte,
// time.Time, or json.Number for a decimal. Where the column has an ordered index, only the first records
// of that are read.
//
// Errors: ErrInvalid for a JSON column, which has no order. ErrCorrupt as for Sum.
func (m *reads[T]) Min(ctx context.Context, column string, q ...Query) (any, error) {
	r, err := m.total(ctx, query.Min, column, q)
	return goValue(r.Value), err
}

// Max returns the largest value of a column. Otherwise it is like Min.
func (m *reads[T]) Max(ctx context.Context, column string, q ...Query) (any, error) {
	r, err := m.total(ctx, query.Max, column, q)
	return goValue(r.Value), err
}

// total computes one aggregate over all the records that the queries select.
func (m *model) total(ctx context.Context, f query.Function, column string, q []Query) (r query.Result, err error) {
	err = m.read(ctx, string(f), q, query.ForTotal, func(s *session, bound plan.Query, _ query.Spec) (err error) {
		r, err = query.Total(ctx, s.Source(), bound, f, column)
		return err
	})
	return r, err
}

// Aggregate is a result that GroupBy computes for each group.
type Aggregate struct{ spec query.Aggregate }

// CountRecords counts the records of a group. Its result is called "count".
func CountRecords() Aggregate { return aggregate(query.CountRecords, "") }

// SumOf adds up a column, as Model.Sum does. Its result is called "sum_<column>".
func SumOf(column string) Aggregate { return aggregate(query.Sum, column) }

// AvgOf is the mean of a column, or nil when every value of the group is null. Its
// result is called "avg_<column>".
func AvgOf(column string) Aggregate { return aggregate(query.Avg, column) }

// MinOf is the smallest value of a column. Its result is called "min_<column>".
func MinOf(column string) Aggregate { return aggregate(query.Min, column) }

// MaxOf is the largest value of a column. Its result is called "max_<column>".
func MaxOf(column string) Aggregate { return aggregate(query.Max, column) }

func aggregate(f query.Function, column string) Aggregate {
	return Aggregate{query.Aggregate{Function: f, Column: column}}
}

// As returns the same aggregate with another name for its result. An empty name makes
// the call return ErrInvalid.
func (a Aggregate) As(name string) Aggregate {
	a.spec.Name, a.spec.Named = name, true
	return a
}

// GroupBy divides the records that the queries select into groups, and computes
// aggregates for each group. The records of a group agree in the values of the given
// columns, where null counts as a value. Without columns, all records are one group.
//
// A group is returned as one Record. It has the group's columns, with values as Min
// returns them, and each result under its name: counts as int64, sums and means as
// float64.
//
// Conditions select records before they are grouped, and Having selects groups. OrderBy
// sorts the groups, by columns or by the names of results; without OrderBy they are sorted
// by their columns. Limit and Offset count groups. GroupBy holds the groups in memory, not the records.
//
// Where all records are only counted, by the columns of an index with at most 64 combinations of values,
// its entries are counted when a process does so again, as Count does.
//
// Errors: those of the aggregates. ErrInvalid for After, which has no meaning for
// groups, and when two results have the same name.
func (m *reads[T]) GroupBy(ctx context.Context, columns []string, aggs []Aggregate, q ...Query) (out []Record, err error) {
	err = m.groups(ctx, "GroupBy", columns, aggs, q, func(_ *session, grouping query.Grouping, groups []query.Group) error {
		out = make([]Record, len(groups))
		for i, g := range groups {
			out[i] = groupRecord(grouping.Names, g, aggs)
		}
		return nil
	})
	return out, err
}

// groups makes a call that groups records.
func (m *model) groups(ctx context.Context, call string, columns []string, aggs []Aggregate, q []Query, got func(*session, query.Grouping, []query.Group) error) error {
	return m.read(ctx, call, q, query.ForGroups, func(s *session, bound plan.Query, spec query.Spec) error {
		specs := make([]query.Aggregate, len(aggs))
		for i, a := range aggs {
			specs[i] = a.spec
		}
		grouping, err := query.BindGroups(s.Docs.Def, columns, specs, spec)
		if err != nil {
			return err
		}
		groups, err := query.GroupBy(ctx, s.Source(), bound, grouping)
		if err != nil {
			return err
		}
		return got(s, grouping, groups)
	})
}

// Having selects the groups of GroupBy for which all conditions are true. They name the
// group's columns and results:
//
//	orders.GroupBy(ctx, []string{"customer"}, []natsorm.Aggregate{natsorm.SumOf("total")},
//		natsorm.Having(natsorm.Gt("sum_total", 1000)))
func Having(conditions ...Condition) Query {
	conditions = slices.Clone(conditions)
	return queryFunc(func(s *query.Spec) {
		of, err := specOf(queries(conditions))
		if err == nil && len(conditions) == 0 {
			err = fmt.Errorf("%w: Having without conditions; give it at least one, or leave it out", ErrInvalid)
		}
		if err != nil {
			s.Fail(err)
		}
		s.Having = append(s.Having, of.Conditions...)
	})
}

// groupRecord makes a Record of a group: its columns, and its results under their
// names.
func groupRecord(names []string, g query.Group, aggs []Aggregate) Record {
	r := make(Record, len(names))
	for i, v := range g.By {
		r[names[i]] = goValue(v)
	}
	for i, result := range g.Results {
		r[names[len(g.By)+i]] = goValue(result.Of(aggs[i].spec.Function))
	}
	return r
}

// goValue is a value in the Go type that a Record has for it.
func goValue(v value.Value) any {
	switch v.Type() {
	case value.Decimal:
		return json.Number(v.AppendJSON(nil))
	case value.JSON: // a group's column
		x, _ := codec.Any(v.Str()) // it was read from JSON
		return x
	}
	return v.Any()
}
