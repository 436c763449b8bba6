package codec

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"

	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// A record in memory is read into a struct field by field, without its document. What a field gets is
// what the JSON package would give it: fields of Go's own types are set from the values, and any
// other is read from the JSON of its column. Where that does not go well, the record is read by way of
// its document, as any other, and the error is the same.

// field is a field of a struct type that has a column.
type field struct {
	column string
	typ    value.Type
	path   []int
	set    func(f reflect.Value, v value.Value) bool // sets it to a value that is not null; false: the value does not fit. nil: see read
	read   func(raw []byte, x any) error             // reads it from JSON
}

// loader reads rows of one shape.
type loader struct {
	shape *row.Shape
	at    []int // the position of each field's column; nil when the shape lacks one
}

var (
	numberType = reflect.TypeFor[json.Number]()
	timeType   = reflect.TypeFor[time.Time]()
	bytesType  = reflect.TypeFor[[]byte]()
	customs    = []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
		reflect.TypeFor[jsonx.MarshalerTo](), reflect.TypeFor[jsonx.UnmarshalerFrom](),
	}
)

// custom reports whether a type has methods that decide what it is in JSON.
func custom(t reflect.Type) bool {
	return slices.ContainsFunc(customs, func(i reflect.Type) bool { return t.Implements(i) || reflect.PointerTo(t).Implements(i) })
}

// fieldsOf are the fields of a struct type that have columns. It is nil when one of them cannot be read
// by itself: it is in a struct that is embedded by a pointer, which is there only when a member
// is, or its tag says more about its JSON.
func fieldsOf(t reflect.Type, compiled *schema.Struct) []field {
	if custom(t) {
		return nil
	}
	out := []field{}
	for i, col := range compiled.Definition.Columns {
		path := compiled.Path(i)
		for n := 1; n < len(path); n++ {
			if t.FieldByIndex(path[:n]).Type.Kind() == reflect.Pointer {
				return nil
			}
		}
		f := t.FieldByIndex(path)
		_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		for o := range strings.SplitSeq(options, ",") {
			if o != "" && o != "omitempty" && o != "omitzero" {
				return nil
			}
		}
		out = append(out, field{column: col.Name, typ: col.Type, path: path, set: setter(f.Type, col.Type), read: value.Unmarshaler(f.Type)})
	}
	return out
}

// setter sets a field of one of Go's own types to a value of a column's type; nil for another one.
func setter(t reflect.Type, typ value.Type) func(f reflect.Value, v value.Value) bool {
	if t.Kind() == reflect.Pointer && !custom(t.Elem()) || t == reflect.PointerTo(timeType) {
		set := setter(t.Elem(), typ)
		if set == nil {
			return nil
		}
		return func(f reflect.Value, v value.Value) bool {
			f.Set(reflect.New(t.Elem()))
			return set(f.Elem(), v)
		}
	}
	switch {
	case t == timeType && typ == value.Time:
		return func(f reflect.Value, v value.Value) bool {
			*f.Addr().Interface().(*time.Time) = v.Time()
			return true
		}
	case t == bytesType && typ == value.Bytes:
		return func(f reflect.Value, v value.Value) bool { f.SetBytes([]byte(v.Str())); return true }
	case custom(t) || t == numberType:
		return nil
	}
	switch kind := t.Kind(); {
	case kind == reflect.Bool && typ == value.Bool:
		return func(f reflect.Value, v value.Value) bool { f.SetBool(v.Bool()); return true }
	case kind == reflect.String && typ == value.String:
		return func(f reflect.Value, v value.Value) bool { f.SetString(v.Str()); return true }
	case kind >= reflect.Int && kind <= reflect.Int64 && typ == value.Int:
		return func(f reflect.Value, v value.Value) bool {
			f.SetInt(v.Int())
			return f.Int() == v.Int()
		}
	case kind >= reflect.Uint && kind <= reflect.Uintptr && typ == value.Uint:
		return func(f reflect.Value, v value.Value) bool {
			f.SetUint(v.Uint())
			return f.Uint() == v.Uint()
		}
	case kind == reflect.Float64 && typ == value.Float: // a float32 is rounded from the text
		return func(f reflect.Value, v value.Value) bool { f.SetFloat(v.Float()); return true }
	}
	return nil
}

func (c *structs) DecodeRow(r *row.Row, only []string, v any) error {
	if c.load(r, only, v) {
		c.SetVersion(v, r.Version())
		return nil
	}
	reflect.ValueOf(v).Elem().SetZero()
	return decodeDocument(c, c.model.Definition.Name, r, only, v)
}

// load sets the fields of v. It returns false when v is to be read by way of the document.
func (c *structs) load(r *row.Row, only []string, v any) (ok bool) {
	s := r.Shape()
	if s == nil || c.fields == nil {
		return false
	}
	defer func() { // as in Encode
		if recover() != nil {
			ok = false
		}
	}()
	l := c.loaded.Load()
	if l == nil || l.shape != s {
		l = c.loader(s)
		c.loaded.Store(l)
	}
	if l.at == nil {
		return false
	}
	to := reflect.ValueOf(v).Elem()
	var raw []byte
	for n := range c.fields {
		f, i := &c.fields[n], l.at[n]
		if only != nil && !slices.Contains(only, f.column) || !r.Has(i) {
			continue
		}
		in := to.FieldByIndex(f.path)
		if f.set != nil && r.Written(i) {
			if val := r.Value(i); !val.IsNull() && !f.set(in, val) {
				return false
			}
			continue
		}
		raw = r.AppendRaw(raw[:0], i)
		if f.read(raw, in.Addr().Interface()) != nil {
			return false
		}
	}
	return true
}

// loader is the loader of a shape.
func (c *structs) loader(s *row.Shape) *loader {
	l := &loader{shape: s, at: make([]int, len(c.fields))}
	for n, f := range c.fields {
		if l.at[n] = s.Position(f.column, f.typ); l.at[n] < 0 {
			return &loader{shape: s}
		}
	}
	return l
}
