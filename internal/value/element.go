package value

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Elements of lists. In a list, a value is compared as JSON compares it: text with text,
// numbers exactly (1 and 1.0 are equal), true and false. So an element has one of three types
// here, String, Decimal or Bool, whatever type the list's elements have in Go. Null equals
// nothing, and neither does a list or an object.

// ElementTypes are the types of elements that an index can be of. Each has one text for all
// elements that are equal.
var ElementTypes = []Type{String, Int, Uint, Float, Decimal, Bool}

// IsElement reports whether t is one of ElementTypes.
func (t Type) IsElement() bool { return slices.Contains(ElementTypes, t) }

// IsList reports whether v is a JSON value that is a list.
func (v Value) IsList() bool { return v.typ == JSON && v.text[0] == '[' }

// Elements yields the JSON of each element of v; nothing when v is no list.
func (v Value) Elements() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !v.IsList() {
			return
		}
		for rest := v.text[1:]; rest[0] != ']'; {
			n := elementLen(rest)
			if !yield(rest[:n]) {
				return
			}
			rest = strings.TrimPrefix(rest[n:], ",")
		}
	}
}

// elementLen is the length of the JSON value that text begins with, and that is followed by
// something else: text is valid and has no spaces between its tokens.
func elementLen(text string) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case depth == 0 && (c == ',' || c == ']' || c == '}'):
			return i
		case c == ']' || c == '}':
			depth--
		}
	}
	return len(text)
}

// Element is what an element of a list is compared as. It is null for one that equals nothing.
func Element(raw string) Value {
	switch raw[0] {
	case '"':
		if strings.IndexByte(raw, '\\') < 0 {
			return OfString(raw[1 : len(raw)-1])
		}
		s, _ := unquote([]byte(raw))
		return OfString(s)
	case 't', 'f':
		return OfBool(raw[0] == 't')
	case 'n', '[', '{':
		return Null
	default:
		d, _ := OfDecimal(raw)
		return d
	}
}

// ElementOf is what a caller's value is compared as in lists whose elements have type t; ""
// for any. It is null for nil, and fails for what can be no element.
func ElementOf(x any, t Type) (Value, error) {
	if rv := reflect.ValueOf(x); (rv.Kind() == reflect.Slice || rv.Kind() == reflect.Array) && rv.Type().Elem().Kind() != reflect.Uint8 && !marshals(rv.Type()) {
		return Null, fmt.Errorf("%s is a list; ContainsAny and ContainsAll take several values", clip(fmt.Appendf(nil, "%v", x)))
	}
	if t != "" {
		v, err := Coerce(x, t)
		if err != nil || v.IsNull() {
			return Null, err
		}
		return Element(string(v.AppendJSON(nil))), nil
	}
	switch x.(type) {
	case time.Time, *time.Time:
		return Null, errors.New("a time has several texts in JSON; use the text that the lists have")
	}
	v, err := Coerce(x, JSON)
	if err != nil || v.IsNull() {
		return Null, err
	}
	e := Element(v.text)
	if e.IsNull() {
		return Null, fmt.Errorf("%s can be no element to look for; use a string, a number or a bool", clip([]byte(v.text)))
	}
	return e, nil
}

// As is an element, as Element gives it, as a value of one of ElementTypes. ok is false when
// the type has no such value.
func (v Value) As(t Type) (as Value, ok bool) {
	if v.typ == t || v.IsNull() {
		return v, !v.IsNull()
	}
	as, err := FromJSON(v.AppendJSON(nil), t)
	return as, err == nil
}
