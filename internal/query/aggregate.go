package query

import (
	"fmt"
	"math"
	"math/big"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// Function is what an Aggregate computes from the values of a column. Null values do
// not count.
type Function string

const (
	CountRecords Function = "count" // the number of records; it has no column
	Sum          Function = "sum"
	Avg          Function = "avg"
	Min          Function = "min"
	Max          Function = "max"
)

// fits reports whether the function can be computed for a column of this type.
func (f Function) fits(t value.Type) bool {
	switch f {
	case Sum, Avg:
		return t == value.Int || t == value.Uint || t == value.Float || t == value.Decimal
	case Min, Max:
		return t.Ordered()
	}
	return true
}

// Result is the result of an Aggregate. Which field holds it depends on the function.
type Result struct {
	Count int         // how many records, or how many values that are not null
	Float float64     // of Sum, 0 when there is no value; of Avg, NaN when there is none
	Value value.Value // of Min and Max; null when there is no value
}

// Of is the result of a function as a value: null for the average of no values.
func (r Result) Of(f Function) value.Value {
	switch {
	case f == CountRecords:
		return value.OfInt(int64(r.Count))
	case f != Sum && f != Avg:
		return r.Value
	case math.IsNaN(r.Float):
		return value.Null
	}
	return value.OfFloat(r.Float)
}

// floatPrecision is a precision in bits at which every sum of float64s is exact. The bits
// of a float64 are worth from 2^-1074 to less than 2^1024; 64 more hold the carries of up
// to 2^64 terms.
const floatPrecision = 1074 + 1024 + 64

// total adds up the values of one column. Sums are exact, so they do not depend on the
// order in which records come.
type total struct {
	count    int
	extreme  value.Value
	integers big.Int
	decimal  value.Value
	float    big.Float // with floatPrecision

	pending   int64     // the sum of the last integers, not yet added to one of the above
	term      big.Int   // the last term of integers: reused, so that adding does not allocate
	floatTerm big.Float // the same of float
}

// pend adds an integer to those that are pending. It returns false when the sum would not fit.
func (t *total) pend(i int64) bool {
	sum := t.pending + i
	if (sum > t.pending) != (i > 0) && i != 0 {
		return false
	}
	t.pending = sum
	return true
}

// settle adds what is pending, of a column of a type.
func (t *total) settle(typ value.Type) {
	if typ == value.Float {
		t.float.Add(&t.float, new(big.Float).SetInt64(t.pending)) // floatTerm has room for a float64 only
	} else {
		t.integers.Add(&t.integers, t.term.SetInt64(t.pending))
	}
	t.pending = 0
}

// maxPending is up to which size the floats are pended that are integers: so are the sums of many of them.
const maxPending = 1 << 40

func (t *total) add(f Function, v value.Value) error {
	if f == CountRecords {
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
		if !t.pend(v.Int()) {
			t.settle(value.Int)
			t.pending = v.Int()
		}
	case value.Uint:
		t.integers.Add(&t.integers, t.term.SetUint64(v.Uint()))
	case value.Decimal:
		var err error
		if t.decimal, err = value.Add(t.decimal, v, value.Decimal); err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
	default:
		f := v.Float()
		if i := int64(f); float64(i) == f && -maxPending < i && i < maxPending && t.pend(i) {
			return nil
		}
		t.float.Add(&t.float, t.floatTerm.SetFloat64(f))
	}
	return nil
}

// result is the result of a function of a column of a type.
func (t *total) result(f Function, typ value.Type) (Result, error) {
	r := Result{Count: t.count, Value: t.extreme}
	if f != Sum && f != Avg {
		return r, nil
	}
	t.settle(typ)
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
