package value

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Coerce converts a Go value to a Value of type t. It fails unless the value fits
// exactly:
//
//	Bool        a bool
//	Int, Uint   an integer in range; a float or a json.Number without a fraction
//	Float       a finite float; an integer that a float64 holds exactly; a json.Number,
//	            as the float64 nearest to it
//	Decimal     a number, or the text of one
//	String      a string of valid UTF-8
//	Bytes       a slice of bytes
//	Time        a time.Time in the years 0 to 9999, or RFC 3339 text
//	JSON        anything that can be marshaled
//
// Types based on these, such as type City string, are taken like them. A type with a
// MarshalJSON or MarshalText method is taken as what that writes. A pointer is taken as
// what it points to; nil and a nil pointer are Null.
func Coerce(x any, t Type) (Value, error) {
	switch x := x.(type) { // the common cases, without reflection
	case nil:
		return Null, nil
	case Value:
		if x.IsNull() || x.typ == t {
			return x, nil
		}
		return Coerce(x.Any(), t)
	case string:
		return coerceString(x, t)
	case int:
		return coerceInt(int64(x), t)
	case int64:
		return coerceInt(x, t)
	case json.Number:
		return coerceNumber(string(x), t)
	case time.Time:
		return coerceTime(x, t)
	case []byte:
		if t == Bytes {
			return ofSlice(x), nil
		}
	}
	rv := reflect.ValueOf(x)
	if rv.Kind() == reflect.Pointer && rv.IsNil() {
		return Null, nil
	}
	if marshals(rv.Type()) {
		if rv.Kind() != reflect.Pointer { // the methods may need a pointer
			p := reflect.New(rv.Type())
			p.Elem().Set(rv)
			x = p.Interface()
		}
		raw, err := marshalGuarded(x)
		if err != nil {
			return Null, err
		}
		return FromJSON(raw, t)
	}
	switch rv.Kind() {
	case reflect.Pointer:
		return Coerce(rv.Elem().Interface(), t)
	case reflect.Bool:
		if t == Bool {
			return OfBool(rv.Bool()), nil
		}
	case reflect.String:
		return coerceString(rv.String(), t)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return coerceInt(rv.Int(), t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return coerceUint(rv.Uint(), t)
	case reflect.Float32, reflect.Float64:
		return coerceFloat(rv.Float(), rv.Type().Bits(), t)
	case reflect.Slice:
		if t == Bytes && rv.Type().Elem().Kind() == reflect.Uint8 {
			return ofSlice(rv.Bytes()), nil
		}
	}
	if t == JSON {
		return coerceJSON(x)
	}
	return Null, misfit(x, t)
}

// marshals reports whether values of type t, or pointers to them, have a MarshalJSON or
// MarshalText method that decides what they are. time.Time and json.Number have one,
// but are known here.
func marshals(t reflect.Type) bool {
	if t.PkgPath() == "" && t.Kind() != reflect.Pointer {
		return false // a basic type, or another without a name
	}
	if t.Kind() != reflect.Pointer {
		t = reflect.PointerTo(t)
	}
	return t.Elem() != timeType && t.Elem() != numberType && (t.Implements(jsonMarshaler) || t.Implements(textMarshaler))
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	numberType    = reflect.TypeFor[json.Number]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// ofSlice is a []byte as a document has it: nil is null.
func ofSlice(b []byte) Value {
	if b == nil {
		return Null
	}
	return OfBytes(b)
}

// coerceJSON is x as a value of type JSON.
func coerceJSON(x any) (Value, error) {
	raw, err := marshalGuarded(x)
	if err != nil {
		return Null, err
	}
	return FromJSON(raw, JSON)
}

// marshalGuarded is Marshal of a caller's value, whose methods may panic, also in goroutines
// where the caller cannot recover: then it fails.
func marshalGuarded(x any) (raw []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a %T cannot be written: one of its methods panics: %v", x, r)
		}
	}()
	return Marshal(x)
}

// coerceTime converts a time.Time.
func coerceTime(at time.Time, t Type) (Value, error) {
	switch {
	case t == JSON:
		return coerceJSON(at)
	case t != Time:
		return Null, misfit(at, t)
	}
	return storedTime(at)
}

// storedTime is at as a Time. It fails for years that RFC 3339 cannot write in four
// digits.
func storedTime(at time.Time) (Value, error) {
	if year := at.UTC().Year(); year < 0 || year > 9999 {
		return Null, fmt.Errorf("%v is in the year %d; use a time in the years 0 to 9999, in UTC", at, year)
	}
	return OfTime(at), nil
}

// ToJSON is the JSON that a document holds for x in a column of type t. It fails when
// Coerce does. A decimal that is given as text keeps its digits: "1.50" is 1.50.
func ToJSON(x any, t Type) ([]byte, error) {
	v, err := Coerce(x, t)
	if err != nil {
		return nil, err
	}
	if rv := reflect.ValueOf(x); v.typ == Decimal && rv.Kind() == reflect.String && jsontext.Value(rv.String()).Kind() == '0' && jsontext.Value(rv.String()).IsValid() {
		return []byte(rv.String()), nil
	}
	return v.AppendJSON(nil), nil
}

// coerceString converts text. It never parses text as a bool, integer or float.
func coerceString(s string, t Type) (Value, error) {
	switch t {
	case String:
		if !utf8.ValidString(s) {
			return Null, errors.New("the text is not valid UTF-8; use a column of type bytes for it")
		}
		return OfString(s), nil
	case Time:
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return Null, fmt.Errorf("%q is not an RFC 3339 time, like 2006-01-02T15:04:05Z", s)
		}
		return storedTime(at)
	case JSON:
		return coerceJSON(s)
	case Decimal:
		if v, ok := OfDecimal(s); ok {
			return v, nil
		}
	}
	return Null, misfit(s, t)
}

// coerceInt converts a signed integer.
func coerceInt(i int64, t Type) (Value, error) {
	switch t {
	case Int:
		return OfInt(i), nil
	case Uint:
		if i >= 0 {
			return OfUint(uint64(i)), nil
		}
	case Float:
		// Exactly, or not at all. The first condition keeps the conversion back in range:
		// the largest int64 becomes 2⁶³ as a float.
		if f := float64(i); f < 1<<63 && int64(f) == i {
			return OfFloat(f), nil
		}
	case Decimal, JSON:
		return coerceNumber(strconv.FormatInt(i, 10), t)
	}
	return Null, misfit(i, t)
}

// coerceUint converts an unsigned integer, as coerceInt where it fits there.
func coerceUint(u uint64, t Type) (Value, error) {
	if u <= math.MaxInt64 {
		return coerceInt(int64(u), t)
	}
	switch t {
	case Uint:
		return OfUint(u), nil
	case Float:
		if f := float64(u); f < 1<<64 && uint64(f) == u {
			return OfFloat(f), nil
		}
	case Decimal, JSON:
		return coerceNumber(strconv.FormatUint(u, 10), t)
	}
	return Null, misfit(u, t)
}

// coerceFloat converts a float of 32 or 64 bits. The bits matter: a float32 of 0.1 is
// meant as 0.1, not as the float64 nearest to its binary value.
func coerceFloat(f float64, bits int, t Type) (Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Null, fmt.Errorf("%v cannot be stored, because JSON has no such number", f)
	}
	switch t {
	case Float:
		if bits == 32 { // what a document holds: the shortest text that gives f back
			return FromJSON(strconv.AppendFloat(nil, f, 'g', -1, bits), Float)
		}
		return OfFloat(f), nil
	case Int, Uint, Decimal, JSON:
		return coerceNumber(strconv.FormatFloat(f, 'g', -1, bits), t)
	}
	return Null, misfit(f, t)
}

// coerceNumber converts the text of a number: a json.Number, or a Go number as text.
func coerceNumber(text string, t Type) (Value, error) {
	if _, ok := OfDecimal(text); ok {
		switch t {
		case Int, Uint, Float, Decimal:
			return FromJSON([]byte(text), t)
		case JSON:
			if jsontext.Value(text).IsValid() {
				return OfJSON(text), nil
			}
		}
	}
	return Null, misfit(text, t)
}

// misfit is the error for an x that cannot be a value of type t.
func misfit(x any, t Type) error {
	text, hint := fmt.Appendf(nil, "%v", x), ""
	switch kind := reflect.TypeOf(x).Kind(); {
	case kind == reflect.String:
		text = fmt.Appendf(nil, "%q", x)
	case kind == reflect.Slice && t != Bytes:
		hint = "; In(column, values...) takes several values"
	}
	return fmt.Errorf("%s (%T) does not fit a column of type %s%s", clip(text), x, t, hint)
}
