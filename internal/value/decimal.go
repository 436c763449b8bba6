package value

import (
	"bytes"
	"cmp"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// OfDecimal makes a value of a JSON number, exactly. Numbers that are equal
// have equal text: digits without trailing zeros, then "e" and an exponent
// where there is one ("1.50" and "15e-1" are both "15e-1"). The exponent is
// bounded; ok is false beyond it or when s is not a number.
func OfDecimal(s string) (v Value, ok bool) {
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
	exp -= len(frac)
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

// compareDecimal orders two canonical decimals without expanding exponents.
func compareDecimal(a, b string) int {
	sa, sb := decimalSign(a), decimalSign(b)
	if sa != sb || sa == 0 {
		return cmp.Compare(sa, sb)
	}
	da, ea := splitDecimal(a)
	db, eb := splitDecimal(b)
	// The position of the first digit decides, then the digits themselves.
	if c := cmp.Compare(len(da)+ea, len(db)+eb); c != 0 {
		return c * sa
	}
	return strings.Compare(da, db) * sa
}

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

func splitDecimal(s string) (digits string, exp int) {
	s = strings.TrimPrefix(s, "-")
	digits, e, ok := strings.Cut(s, "e")
	if ok {
		exp, _ = strconv.Atoi(e)
	}
	return digits, exp
}

// integral is the integer that the JSON number text stands for, however it is
// written ("12", "12.0", "1.2e1"); ok is false when it has a fraction or does
// not fit an int64 or, with unsigned, a uint64.
func integral(text []byte, unsigned bool) (bits uint64, ok bool) {
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
	if exp < 0 || len(digits)+exp > 20 {
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

// plainDecimal is a canonical decimal without an exponent, where that is not
// much longer.
func plainDecimal(s string) string {
	const most = 20 // zeros
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
