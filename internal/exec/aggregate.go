package exec

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Function is what an Aggregate makes of the values of a column.
type Function string

const (
	Count Function = "count" // of records
	Sum   Function = "sum"
	Avg   Function = "avg"
	Min   Function = "min"
	Max   Function = "max"
)

// Fits reports whether a function can be asked of a column of this type.
func (f Function) Fits(t value.Type) bool {
	switch f {
	case Sum, Avg:
		return t == value.Int || t == value.Uint || t == value.Float || t == value.Decimal
	case Min, Max:
		return t.Ordered()
	}
	return true
}

// Aggregate is one result for each group of records. Null values are passed
// over.
type Aggregate struct {
	Function Function
	Column   int // not of Count
}

// Group is the records that agree in some columns.
type Group struct {
	By      []value.Value
	Results []Result
}

// Result is what an Aggregate came to.
type Result struct {
	Count int         // of the records, or of the values that are not null
	Float float64     // of Sum and Avg; not a number when there is no value
	Value value.Value // of Min and Max
}

// GroupBy divides the records that a query selects by the values of columns,
// and aggregates each group. Without columns there is one group, even of
// nothing. It streams: what it keeps grows with the groups, not the records.
// They come in the order of their values.
func (m *Model) GroupBy(ctx context.Context, q plan.Query, columns []int, aggs []Aggregate) ([]Group, error) {
	needed := slices.Clone(columns)
	for _, a := range aggs {
		if a.Function != Count {
			needed = append(needed, a.Column)
		}
	}
	fields := document.NewFields(m.Def, needed...)
	if q.Limit < 0 && q.Offset == 0 && q.After == nil {
		q.Order = nil // it does not matter
	}
	groups := map[string]*group{}
	if len(columns) == 0 {
		groups[""] = newGroup(nil, aggs)
	}
	var key []byte
	for vals, err := range Select(ctx, m, q, true, func(e store.Message) (document.Values, error) {
		vals, err := fields.Read(e.Value)
		return vals, m.corrupt(e, err)
	}) {
		if err != nil {
			return nil, err
		}
		key = key[:0]
		for _, c := range columns {
			key = appendKey(key, m.valueAt(vals, c))
		}
		g := groups[string(key)]
		if g == nil {
			by := make([]value.Value, len(columns))
			for i, c := range columns {
				by[i] = m.valueAt(vals, c)
			}
			g = newGroup(by, aggs)
			groups[string(key)] = g
		}
		for i, a := range aggs {
			v := value.Null
			if a.Function != Count {
				v = m.valueAt(vals, a.Column)
			}
			if err := g.totals[i].add(a.Function, v); err != nil {
				return nil, fmt.Errorf("%s of %s.%s: %w", a.Function, m.Def.Name, m.Def.Columns[a.Column].Name, err)
			}
		}
	}
	out := make([]Group, 0, len(groups))
	for _, g := range groups {
		done := Group{By: g.by}
		for i, a := range aggs {
			r, err := g.totals[i].result(a.Function)
			if err != nil {
				return nil, fmt.Errorf("%s of %s.%s: %w", a.Function, m.Def.Name, m.Def.Columns[a.Column].Name, err)
			}
			done.Results = append(done.Results, r)
		}
		out = append(out, done)
	}
	slices.SortFunc(out, func(a, b Group) int { return slices.CompareFunc(a.By, b.By, value.Compare) })
	return out, nil
}

// appendKey appends a value so that different lists of values differ.
func appendKey(b []byte, v value.Value) []byte {
	if v.IsNull() {
		return append(b, 0)
	}
	text := v.Text()
	return append(binary.AppendUvarint(b, uint64(len(text))+1), text...)
}

type group struct {
	by     []value.Value
	totals []total
}

func newGroup(by []value.Value, aggs []Aggregate) *group {
	g := &group{by: by, totals: make([]total, len(aggs))}
	for i := range g.totals {
		g.totals[i].float.SetPrec(floatPrecision)
	}
	return g
}

// floatPrecision is enough bits for every sum of float64s to be exact: from the
// smallest, 2^-1074, to 2^1024, and 64 for their number.
const floatPrecision = 1074 + 1024 + 64

// total adds up the values of one column, exactly.
type total struct {
	count    int
	extreme  value.Value
	integers big.Int
	decimal  value.Value
	float    big.Float // of floatPrecision

	term      big.Int
	floatTerm big.Float
}

func (t *total) add(f Function, v value.Value) error {
	if f == Count {
		t.count++
		return nil
	}
	if v.IsNull() {
		return nil
	}
	t.count++
	switch f {
	case Min, Max:
		c := value.Compare(v, t.extreme)
		if t.extreme.IsNull() || f == Min && c < 0 || f == Max && c > 0 {
			t.extreme = v
		}
		return nil
	}
	switch v.Type() {
	case value.Int:
		t.integers.Add(&t.integers, t.term.SetInt64(v.Int()))
	case value.Uint:
		t.integers.Add(&t.integers, t.term.SetUint64(v.Uint()))
	case value.Decimal:
		var err error
		if t.decimal, err = value.Add(t.decimal, v, value.Decimal); err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
	default:
		t.float.Add(&t.float, t.floatTerm.SetFloat64(v.Float()))
	}
	return nil
}

func (t *total) result(f Function) (Result, error) {
	r := Result{Count: t.count, Value: t.extreme}
	if f != Sum && f != Avg {
		return r, nil
	}
	n := int64(1)
	if f == Avg {
		n = int64(t.count)
		if n == 0 {
			r.Float = math.NaN()
			return r, nil
		}
	}
	switch {
	case !t.decimal.IsNull():
		sum, ok := new(big.Rat).SetString(t.decimal.Text())
		if !ok {
			return r, errTooLarge
		}
		r.Float, _ = sum.Quo(sum, new(big.Rat).SetInt64(n)).Float64()
	case t.integers.Sign() != 0:
		r.Float, _ = new(big.Rat).SetFrac(&t.integers, big.NewInt(n)).Float64()
	default:
		sum := &t.float
		if n != 1 {
			sum = new(big.Float).SetPrec(floatPrecision).Quo(sum, new(big.Float).SetInt64(n))
		}
		r.Float, _ = sum.Float64()
	}
	if math.IsInf(r.Float, 0) || math.IsNaN(r.Float) {
		return r, errTooLarge
	}
	return r, nil
}

var errTooLarge = fmt.Errorf("%w: the sum does not fit a float64", errs.ErrInvalid)
