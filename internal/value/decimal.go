package value

import (
	"bytes"
	"cmp"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// OfDecimal is the Decimal that the text of a JSON number stands for, exactly. Its text
// is canonical, so that equal numbers have equal text: the digits as an integer without
// trailing zeros, then "e" and an exponent where that is not 0 ("1.50" and "15e-1" are
// both "15e-1"). ok is false when s is not a number, or when that exponent is beyond a
// million in either direction.
func OfDecimal(s string) (v Value, ok bool) {
	// Far more than any program stores, and small enough to calculate with.
	const maxExponent = 1_000_000
	rest, neg := strings.CutPrefix(s, "-")
	mantissa, exp := rest, 0
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		n, err := strconv.Atoi(rest[i+1:])
		if err != nil {
			return Null, false
		}
		mantissa, exp = rest[:i], n
	}
	whole, frac, dotted := strings.Cut(mantissa, ".")
	digits := whole + frac
	if whole == "" || dotted && frac == "" || strings.Trim(digits, "0123456789") != "" {
		return Null, false
	}
	exp -= len(frac) // the digits are an integer now: whole and frac without the point
	digits = strings.TrimLeft(digits, "0")
	trimmed := strings.TrimRight(digits, "0")
	exp += len(digits) - len(trimmed)
	switch {
	case trimmed == "":
		return Value{typ: Decimal, text: "0"}, true
	case exp > maxExponent || exp < -maxExponent:
		return Null, false
	case exp != 0:
		trimmed += "e" + strconv.Itoa(exp)
	}
	if neg {
		trimmed = "-" + trimmed
	}
	return Value{typ: Decimal, text: trimmed}, true
}

// compareDecimal is Compare for two canonical decimals. It does not write out the
// zeros of an exponent, which may be a million.
func compareDecimal(a, b string) int {
	sa, sb := decimalSign(a), decimalSign(b)
	if sa != sb || sa == 0 {
		return cmp.Compare(sa, sb)
	}
	da, ea := splitDecimal(a)
	db, eb := splitDecimal(b)
	// The number whose first digit stands for the larger power of ten is larger. With
	// the same power, the digits decide, compared as text from the first one on.
	if c := cmp.Compare(len(da)+ea, len(db)+eb); c != 0 {
		return c * sa
	}
	return strings.Compare(da, db) * sa
}

// decimalSign is -1, 0 or 1: the sign of a canonical decimal.
func decimalSign(s string) int {
	switch {
	case s == "0":
		return 0
	case s[0] == '-':
		return -1
	default:
		return 1
	}
}

// splitDecimal is the digits of a canonical decimal, without its sign, and its exponent.
func splitDecimal(s string) (digits string, exp int) {
	s = strings.TrimPrefix(s, "-")
	digits, e, ok := strings.Cut(s, "e")
	if ok {
		exp, _ = strconv.Atoi(e)
	}
	return digits, exp
}

// Digits is a Decimal as a sign, -1 to 1, its digits, without zeros at the end, and the power of ten that
// the first digit stands for, plus one: 1.25 has the digits 125 and the power 1.
func (v Value) Digits() (sign int, digits string, power int) {
	if sign = decimalSign(v.text); sign == 0 {
		return 0, "", 0
	}
	digits, exp := splitDecimal(v.text)
	return sign, digits, len(digits) + exp
}

// integral is the integer that the text of a JSON number stands for, however it is
// written ("12", "12.0", "1.2e1"). ok is false when the number has a fraction, or does
// not fit into an int64; with unsigned, into a uint64. The bits of an int64 are returned
// as they are.
func integral(text []byte, unsigned bool) (bits uint64, ok bool) {
	// Nearly every integer is written plainly.
	if unsigned {
		if u, err := strconv.ParseUint(string(text), 10, 64); err == nil {
			return u, true
		}
	} else if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return uint64(i), true
	}
	if !bytes.ContainsAny(text, ".eE") {
		return 0, false
	}
	d, ok := OfDecimal(string(text))
	if !ok {
		return 0, false
	}
	digits, exp := splitDecimal(d.text)
	if exp < 0 || len(digits)+exp > 20 { // a fraction, or more digits than any uint64
		return 0, false
	}
	n, ok := new(big.Int).SetString(digits+strings.Repeat("0", exp), 10)
	if !ok {
		return 0, false
	}
	if strings.HasPrefix(d.text, "-") {
		n.Neg(n)
	}
	switch {
	case unsigned && n.IsUint64():
		return n.Uint64(), true
	case !unsigned && n.IsInt64():
		return uint64(n.Int64()), true
	}
	return 0, false
}

// plainDecimal is the canonical decimal s written as people do, without an exponent:
// "15e-1" is "1.5". With an exponent of more than 20 it stays as it is.
func plainDecimal(s string) string {
	const most = 20
	digits, exp := splitDecimal(s)
	sign := ""
	if s[0] == '-' {
		sign = "-"
	}
	switch {
	case exp > most || exp < -most:
		return s
	case exp >= 0:
		return sign + digits + strings.Repeat("0", exp)
	case len(digits) > -exp:
		return sign + digits[:len(digits)+exp] + "." + digits[len(digits)+exp:]
	default:
		return sign + "0." + strings.Repeat("0", -exp-len(digits)) + digits
	}
}

// maxDecimalSpread is how many digits an exact sum may have: 1e1000000 + 1 would take a
// million.
const maxDecimalSpread = 10_000

// addDecimal is the exact sum of two canonical decimals.
func addDecimal(a, b string) (Value, error) {
	da, ea := splitDecimal(a)
	db, eb := splitDecimal(b)
	low := min(ea, eb) // both become integers times ten to this power
	if max(len(da)+ea, len(db)+eb)-low > maxDecimalSpread {
		return Null, fmt.Errorf("the exact sum of %s and %s has more than %d digits; use a column of type float", a, b, maxDecimalSpread)
	}
	sum := new(big.Int).Add(scaled(a, da, ea-low), scaled(b, db, eb-low))
	v, ok := OfDecimal(sum.String() + "e" + strconv.Itoa(low))
	if !ok {
		return Null, fmt.Errorf("the sum of %s and %s does not fit the column", a, b)
	}
	return v, nil
}

// scaled is the digits of the canonical decimal text followed by zeros, as an integer
// with the sign of text.
func scaled(text, digits string, zeros int) *big.Int {
	n, _ := new(big.Int).SetString(digits+strings.Repeat("0", zeros), 10) // canonical, so all are digits
	if text[0] == '-' {
		n.Neg(n)
	}
	return n
}
