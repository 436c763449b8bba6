package value

import (
	"errors"
	"fmt"
	"math"
)

// CoerceAmount turns a Go number into what Add adds to a column of type t: of
// the same type, but for Uint, where it is an Int and may be negative.
func CoerceAmount(x any, t Type) (Value, error) {
	switch t {
	case Uint:
		t = Int
	case Int, Float, Decimal:
	default:
		return Null, fmt.Errorf("has type %s; only numbers can be incremented", t)
	}
	v, err := Coerce(x, t)
	if err == nil && v.IsNull() {
		err = errors.New("the amount is nil")
	}
	return v, err
}

// Add is the sum of the value of a column of type t, null counting as zero, and
// an amount made by CoerceAmount for that column.
func Add(v, amount Value, t Type) (Value, error) {
	if v.IsNull() {
		v = Zero(t)
	}
	overflow := fmt.Errorf("%s plus %s does not fit the column", v.Text(), amount.Text())
	switch {
	case v.typ == Int:
		a, b := v.Int(), amount.Int()
		if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
			return Null, overflow
		}
		return OfInt(a + b), nil
	case v.typ == Uint:
		a, b := v.Uint(), amount.Int()
		if b >= 0 && a > math.MaxUint64-uint64(b) || b < 0 && a < uint64(-(b+1))+1 {
			return Null, overflow
		}
		return OfUint(a + uint64(b)), nil
	case v.typ == Float:
		sum := v.Float() + amount.Float()
		if math.IsInf(sum, 0) {
			return Null, overflow
		}
		return OfFloat(sum), nil
	case v.typ == Decimal:
		return addDecimal(v.text, amount.text)
	default:
		return Null, fmt.Errorf("a %s can not be incremented", v.typ)
	}
}
