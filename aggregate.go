package natsorm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/exec"
	"github.com/natsorm/natsorm/internal/value"
)

// Sum adds up a number column of the records that the queries select; nulls count
// for nothing, and the sum of no values is 0. They are added exactly, and the sum
// is rounded once, to the nearest float64. ErrInvalid for a column that holds no
// numbers, a sum beyond a float64, or one of decimals of more than 10,000 digits. ErrCorrupt for a record in which the column, or one of
// a condition, can not be read.
func (m *Model[T]) Sum(ctx context.Context, column string, q ...Query) (float64, error) {
	r, err := m.total(ctx, exec.Sum, column, q)
	return r.Float, err
}

// Avg is the mean of a number column over the records that the queries select,
// leaving nulls out. Of no values it is NaN. Its errors are Sum's.
func (m *Model[T]) Avg(ctx context.Context, column string, q ...Query) (float64, error) {
	r, err := m.total(ctx, exec.Avg, column, q)
	return r.Float, err
}

// Min is the smallest value of a column among the records that the queries
// select, leaving nulls out; nil when there is none. It has the type that a
// Record has it in: int64, uint64, float64, bool, string, []byte, time.Time, or
// json.Number for a decimal. ErrInvalid for a column that has no order,
// ErrCorrupt as for Sum.
func (m *Model[T]) Min(ctx context.Context, column string, q ...Query) (any, error) {
	r, err := m.total(ctx, exec.Min, column, q)
	return goValue(r.Value), err
}

// Max is the largest value of a column; otherwise it is as Min.
func (m *Model[T]) Max(ctx context.Context, column string, q ...Query) (any, error) {
	r, err := m.total(ctx, exec.Max, column, q)
	return goValue(r.Value), err
}

// total aggregates one column over all records.
func (m *Model[T]) total(ctx context.Context, f exec.Function, column string, q []Query) (exec.Result, error) {
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return exec.Result{}, err
	}
	defer leave()
	query, _, err := m.bind(q, forTotal)
	if err != nil {
		return exec.Result{}, err
	}
	agg, err := m.aggregate(Aggregate{function: f, column: column})
	if err != nil {
		return exec.Result{}, err
	}
	groups, err := m.exec.GroupBy(ctx, query, nil, []exec.Aggregate{agg})
	if err != nil {
		return exec.Result{}, err
	}
	return groups[0].Results[0], nil
}

// Aggregate is one result that GroupBy computes for each group.
type Aggregate struct {
	function exec.Function
	column   string
	name     string
	named    bool
}

// CountRecords counts a group's records, as "count".
func CountRecords() Aggregate { return Aggregate{function: exec.Count} }

// SumOf adds up a column, as Model.Sum does, as "sum_<column>".
func SumOf(column string) Aggregate { return Aggregate{function: exec.Sum, column: column} }

// AvgOf is the mean of a column, as "avg_<column>"; nil where every value is
// null.
func AvgOf(column string) Aggregate { return Aggregate{function: exec.Avg, column: column} }

// MinOf is the smallest value of a column, as "min_<column>".
func MinOf(column string) Aggregate { return Aggregate{function: exec.Min, column: column} }

// MaxOf is the largest value of a column, as "max_<column>".
func MaxOf(column string) Aggregate { return Aggregate{function: exec.Max, column: column} }

// As gives the result another name; an empty one is ErrInvalid at the call.
func (a Aggregate) As(name string) Aggregate {
	a.name, a.named = name, true
	return a
}

// aggregate holds an Aggregate against the model.
func (m *Model[T]) aggregate(a Aggregate) (exec.Aggregate, error) {
	if a.function == exec.Count {
		return exec.Aggregate{Function: a.function}, nil
	}
	if a.function == "" {
		return exec.Aggregate{}, fmt.Errorf("%w: an empty Aggregate; make one with CountRecords, SumOf, AvgOf, MinOf or MaxOf", ErrInvalid)
	}
	at, err := m.exec.Def.Resolve(a.column)
	if err != nil {
		return exec.Aggregate{}, err
	}
	col := m.exec.Def.Columns[at]
	if !a.function.Fits(col.Type) {
		return exec.Aggregate{}, errs.Invalidf(m.name(), col.Name, "has type %s, of which there is no %s", col.Type, a.function)
	}
	return exec.Aggregate{Function: a.function, Column: at}, nil
}

// GroupBy divides the records that the queries select by the values of columns,
// null being one of them, and computes aggregates for each group: one Record
// with the columns, as in Min, and the results under their names, counts as
// int64, sums and means as float64. Without columns there is one group of all
// records.
//
// Conditions select records, before they are grouped; OrderBy sorts the groups,
// by columns or by the names of results, and Limit
// and Offset are of groups. Otherwise groups are in the order of their columns.
// What GroupBy holds in memory grows with the groups, not with the records. Its
// errors are those of the aggregates, and ErrInvalid for After, of which groups
// have none, or two results of one name.
func (m *Model[T]) GroupBy(ctx context.Context, columns []string, aggs []Aggregate, q ...Query) ([]Record, error) {
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	query, spec, err := m.bind(q, forGroups)
	if err != nil {
		return nil, err
	}
	by, err := columnsOf(m.exec.Def, columns)
	if err != nil {
		return nil, err
	}
	var names []string // of the results' members
	for _, at := range by {
		names = append(names, m.exec.Def.Columns[at].Name)
	}
	bound := make([]exec.Aggregate, len(aggs))
	for i, a := range aggs {
		if bound[i], err = m.aggregate(a); err != nil {
			return nil, err
		}
		name := a.name
		switch {
		case a.named && name == "":
			return nil, fmt.Errorf("%w: GroupBy: As without a name", ErrInvalid)
		case a.named:
		case a.function == exec.Count:
			name = "count"
		default:
			name = string(a.function) + "_" + m.exec.Def.Columns[bound[i].Column].Name
		}
		names = append(names, name)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("%w: GroupBy: two results are called %q; give one another name with As", ErrInvalid, name)
		}
	}
	order, err := groupOrder(spec.order, names)
	if err != nil {
		return nil, err
	}
	groups, err := m.exec.GroupBy(ctx, query, by, bound)
	if err != nil {
		return nil, err
	}
	if len(order) > 0 {
		slices.SortStableFunc(groups, func(a, b exec.Group) int { return compareGroups(order, bound, a, b) })
	}
	groups = groups[min(spec.offset, len(groups)):]
	if spec.limit >= 0 {
		groups = groups[:min(spec.limit, len(groups))]
	}
	out := make([]Record, len(groups))
	for i, g := range groups {
		out[i] = make(Record, len(names))
		for j, v := range g.By {
			out[i][names[j]] = goValue(v)
		}
		for j, r := range g.Results {
			out[i][names[len(by)+j]] = resultValue(bound[j].Function, r)
		}
	}
	return out, nil
}

// groupSort is a member of the results that groups are sorted by.
type groupSort struct {
	member int
	desc   bool
}

func groupOrder(order, names []string) ([]groupSort, error) {
	var out []groupSort
	for _, name := range order {
		plain, desc := strings.CutPrefix(name, "-")
		if slices.Contains(names, name) {
			plain, desc = name, false
		}
		at := slices.Index(names, plain)
		if at < 0 {
			return nil, fmt.Errorf("%w: GroupBy: OrderBy(%q): groups have %s", ErrInvalid, name, strings.Join(names, ", "))
		}
		out = append(out, groupSort{at, desc})
	}
	return out, nil
}

func compareGroups(order []groupSort, aggs []exec.Aggregate, a, b exec.Group) int {
	for _, s := range order {
		var c int
		if i := s.member - len(a.By); i < 0 {
			c = value.Compare(a.By[s.member], b.By[s.member])
		} else {
			switch x, y := a.Results[i], b.Results[i]; aggs[i].Function {
			case exec.Count:
				c = cmp.Compare(x.Count, y.Count)
			case exec.Sum, exec.Avg:
				c = cmp.Compare(x.Float, y.Float) // NaN, which is null here, is the smallest
			default:
				c = value.Compare(x.Value, y.Value)
			}
		}
		if s.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func resultValue(f exec.Function, r exec.Result) any {
	switch f {
	case exec.Count:
		return int64(r.Count)
	case exec.Sum, exec.Avg:
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
