// Package value holds the value of one column: what a document has for it, what a
// condition compares with, and what an index entry is made from.
//
// A Value is small and immutable. Two values of the same Type are equal, by Equal and
// by ==, exactly when their Text is the same, so index entries can be made from the
// text. Compare orders the values of one Type.
//
// # Conversions
//
// Nothing is rounded, cut or replaced on the way. What does not fit is an error, which
// quotes the value and the type; the caller adds the model and the column.
//
//   - Coerce takes a Go value, as a caller passes it to a condition or in a Record.
//   - FromJSON takes the JSON of a document.
//   - AppendJSON and ToJSON give the JSON that a document holds.
//   - Text gives the text that index entries are made from, and Any gives a Go value.
//   - Marshal and Unmarshaler are for whole documents and Go structs.
//
// docs/format.md has the JSON and the text of every type.
package value

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"
)

// Type is the type of a column. Its text is the one in the catalogue.
type Type string

const (
	Bool    Type = "bool"
	Int     Type = "int"     // 64 bits, signed
	Uint    Type = "uint"    // 64 bits, unsigned
	Float   Type = "float"   // IEEE 754 double, finite
	Decimal Type = "decimal" // any JSON number, compared exactly
	String  Type = "string"  // valid UTF-8, compared byte by byte
	Bytes   Type = "bytes"   // standard base64 in the document
	Time    Type = "time"    // RFC 3339 in the document, compared as an instant, in nanoseconds
	JSON    Type = "json"    // any JSON value; equal if its text is, without spaces and with members sorted
)

// Types lists every type a column can have.
var Types = []Type{Bool, Int, Uint, Float, Decimal, String, Bytes, Time, JSON}

// Indexable reports whether columns of this type can have an index.
func (t Type) Indexable() bool { return t != JSON }

// Ordered reports whether values of this type have an order that <, <= and the like
// can ask for.
func (t Type) Ordered() bool { return t != JSON }

// Value is one value, or null. The zero Value is null.
type Value struct {
	typ  Type
	bits uint64 // Bool, Int, Uint, Float; Time: Unix seconds
	nsec int32  // Time: nanoseconds within the second
	text string // Decimal, String, Bytes, JSON
}

// Null is the null value; it has no type.
var Null Value

// OfBool is the Bool b.
func OfBool(b bool) Value {
	if b {
		return Value{typ: Bool, bits: 1}
	}
	return Value{typ: Bool}
}

// These make a value of the type in their name. The text of OfString must be valid
// UTF-8, and that of OfJSON must be one JSON value without spaces.
func OfInt(i int64) Value      { return Value{typ: Int, bits: uint64(i)} }
func OfUint(u uint64) Value    { return Value{typ: Uint, bits: u} }
func OfString(s string) Value  { return Value{typ: String, text: s} }
func OfBytes(b []byte) Value   { return Value{typ: Bytes, text: string(b)} }
func OfJSON(text string) Value { return Value{typ: JSON, text: text} }

// OfFloat is the Float f, which must be finite. Negative zero becomes zero, so that
// equal numbers have equal text.
func OfFloat(f float64) Value {
	if f == 0 {
		f = 0 // also when it is negative zero
	}
	return Value{typ: Float, bits: math.Float64bits(f)}
}

// OfTime is the Time t. Only the instant is kept, not the zone.
func OfTime(t time.Time) Value {
	return Value{typ: Time, bits: uint64(t.Unix()), nsec: int32(t.Nanosecond())}
}

// Type is the type of v, or "" when v is null.
func (v Value) Type() Type { return v.typ }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.typ == "" }

// These return a value of the type in their name; Str is for String, and also gives the
// bytes of Bytes and the text of Decimal and JSON. For a value of another type the
// result means nothing. Time is in UTC.
func (v Value) Bool() bool     { return v.bits != 0 }
func (v Value) Int() int64     { return int64(v.bits) }
func (v Value) Uint() uint64   { return v.bits }
func (v Value) Float() float64 { return math.Float64frombits(v.bits) }
func (v Value) Str() string    { return v.text }
func (v Value) Time() time.Time {
	return time.Unix(int64(v.bits), int64(v.nsec)).UTC()
}

// Text is the canonical text of v, from which index entries are made: values of one
// type are equal exactly when their text is. The text of null is "null". A String can
// have that text too, so a caller that must tell them apart asks IsNull first.
func (v Value) Text() string {
	switch v.typ {
	case "":
		return "null"
	case Bool:
		return strconv.FormatBool(v.bits != 0)
	case Int:
		return strconv.FormatInt(int64(v.bits), 10)
	case Uint:
		return strconv.FormatUint(v.bits, 10)
	case Float:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case Time:
		return v.Time().Format(time.RFC3339Nano)
	default:
		return v.text
	}
}

// Any is v as a Go value: a bool, int64, uint64, float64, string, []byte or time.Time,
// nil for null, and a string with the text of a Decimal or JSON value.
func (v Value) Any() any {
	switch v.typ {
	case "":
		return nil
	case Bool:
		return v.Bool()
	case Int:
		return v.Int()
	case Uint:
		return v.Uint()
	case Float:
		return v.Float()
	case Bytes:
		return []byte(v.text)
	case Time:
		return v.Time()
	default:
		return v.text
	}
}

// Compare is negative when a is before b, 0 when they are equal, and positive when a is
// after b. Both must be of one type, or null, which is before every value.
func Compare(a, b Value) int {
	if a.typ == "" || b.typ == "" {
		return cmp.Compare(boolInt(a.typ != ""), boolInt(b.typ != ""))
	}
	switch a.typ {
	case Bool, Uint:
		return cmp.Compare(a.bits, b.bits)
	case Int:
		return cmp.Compare(int64(a.bits), int64(b.bits))
	case Float:
		return cmp.Compare(a.Float(), b.Float())
	case Time:
		if c := cmp.Compare(int64(a.bits), int64(b.bits)); c != 0 {
			return c
		}
		return cmp.Compare(a.nsec, b.nsec)
	case Decimal:
		return compareDecimal(a.text, b.text)
	default:
		return strings.Compare(a.text, b.text)
	}
}

// Equal reports whether two values of one type are the same.
func Equal(a, b Value) bool {
	return a.typ == b.typ && a.bits == b.bits && a.nsec == b.nsec && a.text == b.text
}

// Zero is the value that a document holds for Go's zero value of type t.
func Zero(t Type) Value {
	switch t {
	case Time:
		return OfTime(time.Time{})
	case Decimal:
		return Value{typ: Decimal, text: "0"}
	case JSON:
		return OfJSON("null")
	default:
		return Value{typ: t}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
