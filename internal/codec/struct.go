package codec

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// structs is the codec of a struct type.
type structs struct {
	typ     reflect.Type
	model   *schema.Struct
	columns map[string]value.Type // that T has; the model can have more
	write   func(x any) ([]byte, error)
	read    func(doc []byte, x any) error
	renamed []renamed
	shared  bool    // a field that natsorm writes is in a struct that is embedded by a pointer
	fields  []field // how the columns of rows are read; nil: by way of the document
	loaded  atomic.Pointer[loader]
}

// renamed is a field whose column has another name than its JSON member, or that has none.
type renamed struct {
	schema.Renamed
	read func(doc []byte, x any) error
}

// NewStruct is the codec of the struct type t. compiled is what schema.Compile made of it.
func NewStruct(t reflect.Type, compiled *schema.Struct) Codec {
	c := &structs{typ: t, model: compiled, columns: map[string]value.Type{}, write: value.Marshaler(t), read: value.Unmarshaler(t)}
	for _, col := range compiled.Definition.Columns {
		c.columns[col.Name] = col.Type
	}
	for _, path := range c.written() {
		for i := range path {
			c.shared = c.shared || i > 0 && t.FieldByIndex(path[:i]).Type.Kind() == reflect.Pointer
		}
	}
	for _, r := range compiled.Renamed {
		c.renamed = append(c.renamed, renamed{r, value.Unmarshaler(t.FieldByIndex(r.Field).Type)})
	}
	c.fields = fieldsOf(t, compiled)
	return c
}

func (c *structs) New() any { return reflect.New(c.typ).Interface() }

func (c *structs) Writes(column string) bool { return c.columns[column] != "" }

func (c *structs) Type(column string) value.Type { return c.columns[column] }

func (c *structs) Encode(v any) (doc []byte, err error) {
	defer func() { // calls may run in goroutines in which a caller cannot recover
		if r := recover(); r != nil {
			err = errs.Invalidf(c.model.Definition.Name, "", "a %v cannot be written: one of its methods panics: %v", c.typ, r)
		}
	}()
	doc, err = c.write(v)
	if err != nil {
		return nil, encodingError(c.model.Definition.Name, err)
	}
	if len(c.model.Dropped) > 0 {
		if doc, err = document.Without(doc, c.model.Dropped); err != nil {
			return nil, encodingError(c.model.Definition.Name, err)
		}
	}
	if len(c.renamed) == 0 {
		return doc, nil
	}
	set := make([]document.Member, 0, len(c.renamed))
	for _, r := range c.renamed {
		f := c.field(v, r.Field)
		if !f.IsValid() {
			continue
		}
		raw, err := value.Marshal(f.Addr().Interface())
		if err != nil {
			_, problem := Misfit(err)
			return nil, errs.Invalidf(c.model.Definition.Name, r.Column, "cannot be stored as JSON: %v", problem)
		}
		set = append(set, document.Member{Name: r.Column, Raw: raw})
	}
	return document.Patch(doc, set)
}

func (c *structs) Decode(m store.Message, v any) (err error) {
	defer func() { // as in Encode
		if r := recover(); r != nil {
			err = errs.Corrupt(c.model.Definition.Name, m.Key, fmt.Errorf("it cannot be read into a %v: one of its methods panics: %v", c.typ, r))
		}
	}()
	doc := m.Value
	if len(c.model.Dropped) > 0 { // another program may have stored what has such a name
		doc, err = document.Without(doc, c.model.Dropped)
	}
	if err == nil {
		err = c.read(doc, v)
	}
	if err == nil && len(c.renamed) > 0 {
		err = c.readRenamed(m.Value, v)
	}
	if err != nil {
		return errs.Corrupt(c.model.Definition.Name, m.Key, err)
	}
	c.SetVersion(v, m.Version())
	return nil
}

// readRenamed reads the columns that have other names than their fields in JSON.
func (c *structs) readRenamed(doc []byte, v any) error {
	names := make([]string, len(c.renamed))
	for i, r := range c.renamed {
		names[i] = r.Column
	}
	raws, err := document.Raw(doc, names)
	if err != nil {
		return err
	}
	for i, r := range c.renamed {
		if raws[i] == nil {
			continue
		}
		f := reflect.ValueOf(v).Elem()
		for _, at := range r.Field { // as FieldByIndex, but it makes embedded structs
			if f.Kind() == reflect.Pointer {
				if f.IsNil() {
					f.Set(reflect.New(f.Type().Elem()))
				}
				f = f.Elem()
			}
			f = f.Field(at)
		}
		if err := r.read(raws[i], f.Addr().Interface()); err != nil {
			return fmt.Errorf("column %s: %w", r.Column, err)
		}
	}
	return nil
}

// field is the field at path, or an invalid Value when a nil embedded pointer
// is on the way.
func (c *structs) field(v any, path []int) reflect.Value {
	if path == nil {
		return reflect.Value{}
	}
	f, err := reflect.ValueOf(v).Elem().FieldByIndexErr(path)
	if err != nil {
		return reflect.Value{}
	}
	return f
}

// written are the fields that natsorm writes.
func (c *structs) written() [][]int {
	return [][]int{c.model.Key, c.model.Version, c.model.CreatedAt, c.model.UpdatedAt}
}

func (c *structs) Clone(v any) any {
	w := c.New()
	c.Assign(w, v)
	if !c.shared {
		return w
	}
	// What is written into the copy must not show in v: so the structs that hold those
	// fields are copied too, where they are embedded by a pointer.
	done := map[uintptr]bool{}
	for _, path := range c.written() {
		f := reflect.ValueOf(w).Elem()
		for i, at := range path {
			f = f.Field(at)
			if i == len(path)-1 || f.Kind() != reflect.Pointer {
				continue
			}
			if f.IsNil() {
				break
			}
			if !done[f.Pointer()] {
				own := reflect.New(f.Type().Elem())
				own.Elem().Set(f.Elem())
				f.Set(own)
				done[own.Pointer()] = true
			}
			f = f.Elem()
		}
	}
	return w
}

func (c *structs) Assign(v, w any) { reflect.ValueOf(v).Elem().Set(reflect.ValueOf(w).Elem()) }

func (c *structs) ZeroKey(v any) bool {
	f := c.field(v, c.model.Key)
	return f.IsValid() && f.IsZero()
}

func (c *structs) SetKey(v any, id value.Value) error {
	f := c.field(v, c.model.Key)
	if !f.IsValid() {
		return errs.Invalidf(c.model.Definition.Name, c.model.Definition.Key().Name, "is in an embedded nil pointer; set it before writing")
	}
	fits := false
	switch typ := id.Type(); {
	case typ == value.String && f.Kind() == reflect.String:
		f.SetString(id.Str())
		fits = true
	case typ == value.String:
		if u, ok := f.Addr().Interface().(encoding.TextUnmarshaler); ok {
			fits = u.UnmarshalText([]byte(id.Str())) == nil
		}
	case typ == value.Int && f.CanInt():
		fits = !f.OverflowInt(id.Int())
		f.SetInt(id.Int())
	case typ == value.Uint && f.CanUint():
		fits = !f.OverflowUint(id.Uint())
		f.SetUint(id.Uint())
	}
	if !fits {
		return errs.Invalidf(c.model.Definition.Name, c.model.Definition.Key().Name, "the key %s does not fit type %s; use a larger type", id.Text(), f.Type())
	}
	return nil
}

func (c *structs) Version(v any) uint64 {
	if f := c.field(v, c.model.Version); f.IsValid() {
		return f.Uint()
	}
	return 0
}

func (c *structs) SetVersion(v any, revision uint64) {
	if f := c.field(v, c.model.Version); f.IsValid() {
		f.SetUint(revision)
	}
}

func (c *structs) NeedsCreated(v any) bool {
	f := c.field(v, c.model.CreatedAt)
	return f.IsValid() && f.IsZero()
}

func (c *structs) Stamp(v any, created, updated time.Time) {
	if f := c.field(v, c.model.CreatedAt); f.IsValid() && f.IsZero() {
		f.Set(reflect.ValueOf(created))
	}
	if f := c.field(v, c.model.UpdatedAt); f.IsValid() {
		f.Set(reflect.ValueOf(updated))
	}
}

// encodingError names the field that encoding stumbled over.
func encodingError(model string, err error) error {
	field, problem := Misfit(err)
	return errs.Invalidf(model, field, "cannot be stored as JSON: %v", problem)
}

// Misfit is the field that an error of the JSON package is about, and what is
// wrong with it.
func Misfit(err error) (field string, problem error) {
	var pointer jsontext.Pointer
	var semantic *jsonx.SemanticError
	var syntactic *jsontext.SyntacticError
	problem = err
	switch {
	case errors.As(err, &semantic):
		pointer = semantic.JSONPointer
		if semantic.Err != nil {
			problem = semantic.Err
		}
	case errors.As(err, &syntactic):
		pointer = syntactic.JSONPointer
		problem = syntactic.Err
	}
	return strings.ReplaceAll(strings.TrimPrefix(string(pointer), "/"), "/", "."), problem
}
