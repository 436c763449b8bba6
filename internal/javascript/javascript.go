// Package javascript converts values to text and numbers exactly as JavaScript does,
// by the ECMAScript specification. The library sequelize-natskv builds its keys with
// these conversions (String(value), Number(id) % shards), so packages keys and
// layout need the same results to find the same keys.
package javascript

import (
	"bytes"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxSafeInteger is JavaScript's Number.MAX_SAFE_INTEGER, 2⁵³-1. All integers up to it
// have a number of their own; above it, several integers share one.
const MaxSafeInteger = 1<<53 - 1

// String is String(JSON.parse(raw)). raw must be one valid JSON value.
func String(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	switch jsontext.Value(raw).Kind() {
	case '"':
		text, _ := jsontext.AppendUnquote(nil, raw) // it is valid
		return string(text)
	case '0':
		f, _ := strconv.ParseFloat(string(raw), 64) // out of range is Infinity, as in JavaScript
		return NumberString(f)
	case '[':
		return join(raw)
	case '{':
		return "[object Object]"
	}
	return string(raw) // null, true, false
}

// join is the text of the array raw: the texts of its elements with commas between
// them, and nothing for null.
func join(raw []byte) string {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.ReadToken() // [
	var parts []string
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			break
		}
		if v.Kind() == 'n' {
			parts = append(parts, "")
			continue
		}
		parts = append(parts, String(v))
	}
	return strings.Join(parts, ",")
}

// NumberString is String(f): the shortest decimal digits that give f back. It has an
// exponent when f is 1e21 or more, or less than 1e-6, apart from the sign.
func NumberString(f float64) string {
	switch abs := math.Abs(f); {
	case f == 0:
		return "0" // also minus zero
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case abs >= 1e21 || abs < 1e-6: // Go writes 1e-07 where JavaScript writes 1e-7
		text := strconv.FormatFloat(f, 'e', -1, 64)
		mantissa, exponent, _ := strings.Cut(text, "e")
		return mantissa + "e" + exponent[:1] + strings.TrimLeft(exponent[1:], "0")
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// The numeric literals that Number accepts.
var (
	decimal  = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	prefixed = regexp.MustCompile(`^0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)$`)
)

// Number is Number(s). It is 0 for text of nothing but white space, and NaN for text
// that is not a numeric literal.
func Number(s string) float64 {
	s = strings.TrimFunc(s, isSpace)
	switch {
	case s == "":
		return 0
	case decimal.MatchString(s):
		f, _ := strconv.ParseFloat(s, 64) // out of range is Infinity
		return f
	case prefixed.MatchString(s):
		i, _ := new(big.Int).SetString(s, 0) // 0x, 0o and 0b are Go's prefixes too
		f, _ := new(big.Float).SetInt(i).Float64()
		return f
	case s == "Infinity" || s == "+Infinity":
		return math.Inf(1)
	case s == "-Infinity":
		return math.Inf(-1)
	}
	return math.NaN()
}

// isSpace reports whether Number ignores r at the ends of its text: ECMAScript's
// WhiteSpace and LineTerminator.
func isSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
		return true
	}
	return 0x2000 <= r && r <= 0x200A
}

// Remainder is a % b. It has the sign of a, unlike a mathematical modulus.
func Remainder(a, b float64) float64 { return math.Mod(a, b) }
