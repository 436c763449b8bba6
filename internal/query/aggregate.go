package query

import (
	"fmt"
	"math"
	"math/big"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// Function is what an Aggregate makes of the values of a column, nulls aside.
type Function string

const (
	CountRecords Function = "count" // of records
	Sum          Function = "sum"
	Avg          Function = "avg"
	Min          Function = "min"
	Max          Function = "max"
)

// fits reports whether a function can be asked of a column of this type.
func (f Function) fits(t value.Type) bool {
	switch f {
	case Sum, Avg:
		return t == value.Int || t == value.Uint || t == value.Float || t == value.Decimal
	case Min, Max:
		return t.Ordered()
	}
	return true
}

// Result is what an Aggregate came to.
type Result struct {
	Count int         // of the records, or of the values that are not null
	Float float64     // of Sum and Avg; not a number when there is no value
	Value value.Value // of Min and Max
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
