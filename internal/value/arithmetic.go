package value

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
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

// Add is the sum of a column's value, null counting as zero, and an amount
// made by CoerceAmount for that column.
func Add(v, amount Value) (Value, error) {
	overflow := fmt.Errorf("%s plus %s does not fit the column", v.Text(), amount.Text())
	switch {
	case v.IsNull():
		return amount, nil
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

// maxDecimalSpread bounds the digits that an exact sum can take.
const maxDecimalSpread = 10_000

func addDecimal(a, b string) (Value, error) {
	da, ea := splitDecimal(a)
	db, eb := splitDecimal(b)
	low := min(ea, eb)
	if max(len(da)+ea, len(db)+eb)-low > maxDecimalSpread {
		return Null, fmt.Errorf("the exact sum of %s and %s has more than %d digits", a, b, maxDecimalSpread)
	}
	sum := new(big.Int).Add(scaled(a, da, ea-low), scaled(b, db, eb-low))
	v, ok := OfDecimal(sum.String() + "e" + strconv.Itoa(low))
	if !ok {
		return Null, fmt.Errorf("the sum of %s and %s is out of range", a, b)
	}
	return v, nil
}

func scaled(text, digits string, zeros int) *big.Int {
	n, _ := new(big.Int).SetString(digits+strings.Repeat("0", zeros), 10) // digits are digits
	if text[0] == '-' {
		n.Neg(n)
	}
	return n
}
