package value

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// Documents are written and read as encoding/json does it with the same struct tags,
// with five differences:
//
//   - Text that is not UTF-8 is refused. encoding/json replaces the bytes.
//   - A document in which a name comes twice is refused.
//   - <, > and & are written as they are.
//   - Member names match by exact case, as indexes and conditions match them.
//   - A time whose zone RFC 3339 cannot write, because its offset has seconds, is written in
//     UTC, and one outside of the years 0 to 9999 in UTC is refused. encoding/json writes
//     another instant, or what cannot be compared.
var (
	marshalOptions = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false), jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false),
		json.WithMarshalers(json.JoinMarshalers(json.MarshalFunc(marshalNumber), json.MarshalToFunc(marshalTime))))
	unmarshalOptions = json.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv1.ReportErrorsWithLegacySemantics(false),
		jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false), json.MatchCaseInsensitiveNames(false),
		json.WithUnmarshalers(json.UnmarshalFunc(unmarshalNumber)))
)

// plainMarshal and plainUnmarshal are without the functions for json.Number and time.Time. The
// JSON package asks for such a function at every value, which takes time.
var (
	plainMarshal   = json.JoinOptions(marshalOptions, json.WithMarshalers(nil))
	plainUnmarshal = json.JoinOptions(unmarshalOptions, json.WithUnmarshalers(nil))
)

// Marshal is x as JSON in the form of documents.
func Marshal(x any) ([]byte, error) { return json.Marshal(x, marshalOptions) }

// Marshaler returns Marshal for values of type t, and for pointers to them. It is faster for
// types without a json.Number or a time.Time in them.
func Marshaler(t reflect.Type) func(x any) ([]byte, error) {
	options := plainMarshal
	if holds(t, map[reflect.Type]bool{}, numberType, timeType) {
		options = marshalOptions
	}
	return func(x any) ([]byte, error) { return json.Marshal(x, options) }
}

// Unmarshaler returns the function that reads documents into pointers to values of type
// t. It is faster for types without a json.Number in them.
func Unmarshaler(t reflect.Type) func(doc []byte, x any) error {
	options := plainUnmarshal
	if holds(t, map[reflect.Type]bool{}, numberType) {
		options = unmarshalOptions
	}
	return func(doc []byte, x any) error { return json.Unmarshal(doc, x, options) }
}

// holds reports whether a value of type t may have a value of one of these types in it. seen
// has the types that are being looked at, so that types that contain themselves end.
func holds(t reflect.Type, seen map[reflect.Type]bool, types ...reflect.Type) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if slices.Contains(types, t) {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holds(t.Elem(), seen, types...)
	case reflect.Map:
		return holds(t.Key(), seen, types...) || holds(t.Elem(), seen, types...)
	case reflect.Interface:
		return true // it may hold anything
	case reflect.Struct:
		for i := range t.NumField() {
			if holds(t.Field(i).Type, seen, types...) {
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

// marshalTime writes the times that the JSON package would write wrongly, and leaves the
// others to it.
func marshalTime(enc *jsontext.Encoder, at time.Time) error {
	if year := at.Year(); year > 0 && year < 9999 {
		if _, offset := at.Zone(); offset%60 == 0 && offset > -maxOffset && offset < maxOffset {
			return errors.ErrUnsupported
		}
	}
	v, err := storedTime(at)
	if err != nil {
		return err
	}
	return enc.WriteValue(v.AppendJSON(nil))
}

// maxOffset is the first offset of a zone, in seconds, that RFC 3339 cannot write.
const maxOffset = 24 * 60 * 60

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
