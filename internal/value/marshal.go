package value

import (
	stdjson "encoding/json"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Documents are written and read as encoding/json does with the same tags,
// with three differences: text that is not UTF-8 is refused rather than
// changed, <, > and & stay as they are, and member names match by exact case,
// as they do in indexes.
var (
	marshalOptions = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false), jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false),
		json.WithMarshalers(json.MarshalFunc(marshalNumber)))
	unmarshalOptions = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false), json.MatchCaseInsensitiveNames(false),
		json.WithUnmarshalers(json.UnmarshalFunc(unmarshalNumber)))
)

// plain are unmarshalOptions without what json.Number needs, which is looked up
// for every value.
var plain = json.JoinOptions(unmarshalOptions, json.WithUnmarshalers(nil))

// Marshal is x as JSON, as documents hold it.
func Marshal(x any) ([]byte, error) { return json.Marshal(x, marshalOptions) }

// Unmarshal reads a document into x.
func Unmarshal(doc []byte, x any) error { return json.Unmarshal(doc, x, unmarshalOptions) }

// Unmarshaler is Unmarshal for pointers to type t, made once and faster.
func Unmarshaler(t reflect.Type) func(doc []byte, x any) error {
	if hasNumber(t, map[reflect.Type]bool{}) {
		return Unmarshal
	}
	return func(doc []byte, x any) error { return json.Unmarshal(doc, x, plain) }
}

// hasNumber reports whether there may be a json.Number in a t.
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
		return true // of what it holds already
	case reflect.Struct:
		for i := range t.NumField() {
			if hasNumber(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// marshalNumber writes a json.Number as it is; the package knows only its own.
func marshalNumber(n stdjson.Number) ([]byte, error) {
	if n == "" {
		return []byte("0"), nil
	}
	return []byte(n), nil
}

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
