package natsorm

import (
	"context"
	"encoding/json"
	"math"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/value"
)

// Sum adds up a number column of the records that the queries select; nulls count
// for nothing, and the sum of no values is 0. The values are added exactly, and the sum
// is rounded once, to the nearest float64. ErrInvalid for a column that holds no
// numbers, for a sum beyond a float64, and for decimals whose sum has more than 10,000
// digits. ErrCorrupt for a record in which this column, or one of a condition, cannot
// be read.
func (m *Model[T]) Sum(ctx context.Context, column string, q ...Query) (float64, error) {
	r, err := m.total(ctx, query.Sum, column, q)
	return r.Float, err
}

// Avg is the mean of a number column over the records that the queries select,
// leaving nulls out. Of no values it is NaN. Its errors are Sum's.
func (m *Model[T]) Avg(ctx context.Context, column string, q ...Query) (float64, error) {
	r, err := m.total(ctx, query.Avg, column, q)
	return r.Float, err
}

// Min is the smallest value of a column among the records that the queries
// select, leaving nulls out; nil when there is none. It has the type that a
// Record has it in: int64, uint64, float64, bool, string, []byte, time.Time, or
// json.Number for a decimal. ErrInvalid for a column that has no order,
// ErrCorrupt as for Sum.
func (m *Model[T]) Min(ctx context.Context, column string, q ...Query) (any, error) {
	r, err := m.total(ctx, query.Min, column, q)
	return goValue(r.Value), err
}

// Max is the largest value of a column; otherwise it is as Min.
func (m *Model[T]) Max(ctx context.Context, column string, q ...Query) (any, error) {
	r, err := m.total(ctx, query.Max, column, q)
	return goValue(r.Value), err
}

// total aggregates one column over all records.
func (m *Model[T]) total(ctx context.Context, f query.Function, column string, q []Query) (r query.Result, err error) {
	err = m.read(ctx, string(f), q, query.ForTotal, func(s *session[T], bound plan.Query, _ query.Spec) (err error) {
		r, err = query.Total(ctx, s.records.Source(), bound, f, column)
		return err
	})
	return r, err
}

// Aggregate is one result that GroupBy computes for each group.
type Aggregate struct{ spec query.Aggregate }

// CountRecords counts a group's records, as "count".
func CountRecords() Aggregate { return aggregate(query.CountRecords, "") }

// SumOf adds up a column, as Model.Sum does, as "sum_<column>".
func SumOf(column string) Aggregate { return aggregate(query.Sum, column) }

// AvgOf is the mean of a column, as "avg_<column>"; nil where every value is
// null.
func AvgOf(column string) Aggregate { return aggregate(query.Avg, column) }

// MinOf is the smallest value of a column, as "min_<column>".
func MinOf(column string) Aggregate { return aggregate(query.Min, column) }

// MaxOf is the largest value of a column, as "max_<column>".
func MaxOf(column string) Aggregate { return aggregate(query.Max, column) }

func aggregate(f query.Function, column string) Aggregate {
	return Aggregate{query.Aggregate{Function: f, Column: column}}
}

// As gives the result another name; an empty one is ErrInvalid at the call.
func (a Aggregate) As(name string) Aggregate {
	a.spec.Name, a.spec.Named = name, true
	return a
}

// GroupBy divides the records that the queries select by the values of columns,
// null being one of them, and computes aggregates for each group: one Record
// with the columns, as in Min, and the results under their names, counts as
// int64, sums and means as float64. Without columns there is one group of all
// records.
//
// Conditions select records, before they are grouped; OrderBy sorts the groups,
// by columns or by the names of results, and Limit and Offset count groups. Without
// OrderBy, groups are in the order of their columns. What GroupBy holds in memory grows
// with the groups, not with the records. Its errors are those of the aggregates, and
// ErrInvalid for After, which does not go with groups, or when two results have one
// name.
func (m *Model[T]) GroupBy(ctx context.Context, columns []string, aggs []Aggregate, q ...Query) (out []Record, err error) {
	err = m.read(ctx, "GroupBy", q, query.ForGroups, func(s *session[T], bound plan.Query, spec query.Spec) error {
		specs := make([]query.Aggregate, len(aggs))
		for i, a := range aggs {
			specs[i] = a.spec
		}
		grouping, err := query.BindGroups(s.records.Def, columns, specs, spec)
		if err != nil {
			return err
		}
		groups, err := query.GroupBy(ctx, s.records.Source(), bound, grouping)
		if err != nil {
			return err
		}
		out = make([]Record, len(groups))
		for i, g := range groups {
			out[i] = groupRecord(grouping.Names, specs, g)
		}
		return nil
	})
	return out, err
}

// groupRecord is a group as a Record: its columns, then its results, under their names.
func groupRecord(names []string, specs []query.Aggregate, g query.Group) Record {
	r := make(Record, len(names))
	for i, v := range g.By {
		r[names[i]] = goValue(v)
	}
	for i, result := range g.Results {
		r[names[len(g.By)+i]] = resultValue(specs[i].Function, result)
	}
	return r
}

func resultValue(f query.Function, r query.Result) any {
	switch f {
	case query.CountRecords:
		return int64(r.Count)
	case query.Sum, query.Avg:
		if math.IsNaN(r.Float) {
			return nil
		}
		return r.Float
	}
	return goValue(r.Value)
}

// goValue is a value as a Record has it.
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
