package value

import (
	"errors"
	"fmt"
	"math"
)

// CoerceAmount converts a Go number to an amount that Add can add to a column of type
// t. The amount has the type t, except for Uint: there it is an Int, so that it may be
// negative. It fails for nil, for types that are not numbers, and for a number that
// does not fit exactly.
func CoerceAmount(x any, t Type) (Value, error) {
	switch t {
	case Uint:
		t = Int
	case Int, Float, Decimal:
	default:
		return Null, fmt.Errorf("has type %s; only int, uint, float and decimal columns can be incremented", t)
	}
	v, err := Coerce(x, t)
	if err == nil && v.IsNull() {
		err = errors.New("the amount is nil; pass a number")
	}
	return v, err
}

// Add returns v + amount. v is the value of a column of type t, where null counts as
// zero, and CoerceAmount made the amount for that type. It fails when the sum does not
// fit the type; nothing wraps around and nothing is rounded but floats.
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
		// uint64(-(b+1))+1 is the size of a negative b, also of the smallest int64,
		// whose negation would not fit. a + uint64(b) then wraps around to a - size.
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
		return Null, fmt.Errorf("a value of type %s cannot be incremented", v.typ)
	}
}
