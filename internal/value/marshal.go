package value

import (
	stdjson "encoding/json"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Documents are written and read as encoding/json does it with the same struct tags,
// with four differences:
//
//   - Text that is not UTF-8 is refused. encoding/json replaces the bytes.
//   - A document in which a name comes twice is refused.
//   - <, > and & are written as they are.
//   - Member names match by exact case, as indexes and conditions match them.
var (
	marshalOptions = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false), jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false),
		json.WithMarshalers(json.MarshalFunc(marshalNumber)))
	unmarshalOptions = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false), json.MatchCaseInsensitiveNames(false),
		json.WithUnmarshalers(json.UnmarshalFunc(unmarshalNumber)))
)

// plain is unmarshalOptions without the function for json.Number. The decoder asks for
// such a function at every value, which takes time.
var plain = json.JoinOptions(unmarshalOptions, json.WithUnmarshalers(nil))

// Marshal is x as JSON in the form of documents.
func Marshal(x any) ([]byte, error) { return json.Marshal(x, marshalOptions) }

// Unmarshaler returns the function that reads documents into pointers to values of type
// t. It is faster for types without a json.Number in them.
func Unmarshaler(t reflect.Type) func(doc []byte, x any) error {
	options := plain
	if hasNumber(t, map[reflect.Type]bool{}) {
		options = unmarshalOptions
	}
	return func(doc []byte, x any) error { return json.Unmarshal(doc, x, options) }
}

// hasNumber reports whether a value of type t may have a json.Number in it. seen holds
// the types that are being looked at, so that types that contain themselves end.
func hasNumber(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if t == reflect.TypeFor[stdjson.Number]() {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return hasNumber(t.Elem(), seen)
	case reflect.Map:
		return hasNumber(t.Key(), seen) || hasNumber(t.Elem(), seen)
	case reflect.Interface:
		return true // it may hold anything
	case reflect.Struct:
		for i := range t.NumField() {
			if hasNumber(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// marshalNumber writes a json.Number with its digits. The JSON package used here does
// not know encoding/json's type, and would write a string.
func marshalNumber(n stdjson.Number) ([]byte, error) {
	if n == "" {
		return []byte("0"), nil
	}
	return []byte(n), nil
}

// unmarshalNumber keeps the digits of a number. Null changes nothing, as in
// encoding/json.
func unmarshalNumber(raw []byte, n *stdjson.Number) error {
	switch jsontext.Value(raw).Kind() {
	case 'n':
	case '0':
		*n = stdjson.Number(raw)
	default:
		return fmt.Errorf("%s is not a number", raw)
	}
	return nil
}
