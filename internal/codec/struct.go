package codec

import (
	"encoding"
	"errors"
	"reflect"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// structs is the codec of a struct type.
type structs[T any] struct {
	model   *schema.Struct
	columns map[string]bool // that T has; the model can have more
	read    func(doc []byte, x any) error
}

// NewStruct is the codec of a struct type.
func NewStruct[T any](compiled *schema.Struct) Codec[T] {
	c := &structs[T]{model: compiled, columns: map[string]bool{}, read: value.Unmarshaler(reflect.TypeFor[T]())}
	for _, col := range compiled.Definition.Columns {
		c.columns[col.Name] = true
	}
	return c
}

func (c *structs[T]) Writes(column string) bool { return c.columns[column] }

func (c *structs[T]) Encode(v *T) ([]byte, error) {
	doc, err := value.Marshal(v)
	if err != nil {
		return nil, encodingError(c.model.Definition.Name, err)
	}
	return doc, nil
}

func (c *structs[T]) Decode(m store.Message, v *T) error {
	if err := c.read(m.Value, v); err != nil {
		return errs.Corrupt(c.model.Definition.Name, m.Key, err)
	}
	c.SetVersion(v, m.Version())
	return nil
}

// field is the field at path, or an invalid Value when a nil embedded pointer
// is on the way.
func (c *structs[T]) field(v *T, path []int) reflect.Value {
	if path == nil {
		return reflect.Value{}
	}
	f, err := reflect.ValueOf(v).Elem().FieldByIndexErr(path)
	if err != nil {
		return reflect.Value{}
	}
	return f
}

func (c *structs[T]) Clone(v *T) *T {
	w := *v
	return &w
}

func (c *structs[T]) ZeroKey(v *T) bool {
	f := c.field(v, c.model.Key)
	return f.IsValid() && f.IsZero()
}

func (c *structs[T]) SetKey(v *T, id value.Value) error {
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
		return errs.Invalidf(c.model.Definition.Name, c.model.Definition.Key().Name, "the next automatic id, %s, does not fit type %s; use a larger type", id.Text(), f.Type())
	}
	return nil
}

func (c *structs[T]) Version(v *T) uint64 {
	if f := c.field(v, c.model.Version); f.IsValid() {
		return f.Uint()
	}
	return 0
}

func (c *structs[T]) SetVersion(v *T, revision uint64) {
	if f := c.field(v, c.model.Version); f.IsValid() {
		f.SetUint(revision)
	}
}

func (c *structs[T]) NeedsCreated(v *T) bool {
	f := c.field(v, c.model.CreatedAt)
	return f.IsValid() && f.IsZero()
}

func (c *structs[T]) Stamp(v *T, created, updated time.Time) {
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
