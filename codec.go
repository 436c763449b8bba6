package natsorm

import (
	"encoding"
	"errors"
	"math"
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

// codec is the way between a Go value and the document that is stored.
type codec[T any] interface {
	encode(v *T) ([]byte, error)
	decode(e store.Message, v *T) error

	// clone is a copy of v whose own fields can be changed: a write works on
	// it, and v changes only when the write succeeds.
	clone(v *T) *T

	// A zero primary key is filled in by auto.
	zeroKey(v *T) bool
	setKey(v *T, id value.Value) error

	// version is the revision that v was read or written at; 0 when it is not
	// known, or the type does not keep it.
	version(v *T) uint64
	setVersion(v *T, revision uint64)

	// stamp sets the times that natsorm keeps; the creation time only when
	// there is none, and then to created.
	stamp(v *T, created, updated time.Time)

	// writes reports whether encode writes this column, or would if it had a
	// value. A save keeps the others as they are stored.
	writes(column string) bool
}

// partial is the version of a record of which only some columns were read.
const partial = math.MaxUint64

// structCodec is the codec of a struct type.
type structCodec[T any] struct {
	model   *schema.Struct
	columns map[string]bool // that T has; the model can have more
	read    func(doc []byte, x any) error
}

func newStructCodec[T any](compiled *schema.Struct) *structCodec[T] {
	c := &structCodec[T]{model: compiled, columns: map[string]bool{}, read: value.Unmarshaler(reflect.TypeFor[T]())}
	for _, col := range compiled.Definition.Columns {
		c.columns[col.Name] = true
	}
	return c
}

func (c *structCodec[T]) writes(column string) bool { return c.columns[column] }

func (c *structCodec[T]) encode(v *T) ([]byte, error) {
	doc, err := value.Marshal(v)
	if err != nil {
		return nil, encodingFault(c.model.Definition.Name, err)
	}
	return doc, nil
}

func (c *structCodec[T]) decode(e store.Message, v *T) error {
	if err := c.read(e.Value, v); err != nil {
		return &errs.CorruptError{Model: c.model.Definition.Name, Key: e.Key, Err: err}
	}
	c.setVersion(v, e.Version())
	return nil
}

// field is the field at path, or an invalid Value when a nil embedded pointer
// is on the way.
func (c *structCodec[T]) field(v *T, path []int) reflect.Value {
	if path == nil {
		return reflect.Value{}
	}
	f, err := reflect.ValueOf(v).Elem().FieldByIndexErr(path)
	if err != nil {
		return reflect.Value{}
	}
	return f
}

func (c *structCodec[T]) clone(v *T) *T {
	w := *v
	return &w
}

func (c *structCodec[T]) zeroKey(v *T) bool {
	f := c.field(v, c.model.Key)
	return f.IsValid() && f.IsZero()
}

func (c *structCodec[T]) setKey(v *T, id value.Value) error {
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

func (c *structCodec[T]) version(v *T) uint64 {
	if f := c.field(v, c.model.Version); f.IsValid() {
		return f.Uint()
	}
	return 0
}

func (c *structCodec[T]) setVersion(v *T, revision uint64) {
	if f := c.field(v, c.model.Version); f.IsValid() {
		f.SetUint(revision)
	}
}

func (c *structCodec[T]) stamp(v *T, created, updated time.Time) {
	if f := c.field(v, c.model.CreatedAt); f.IsValid() && f.IsZero() {
		f.Set(reflect.ValueOf(created))
	}
	if f := c.field(v, c.model.UpdatedAt); f.IsValid() {
		f.Set(reflect.ValueOf(updated))
	}
}

// encodingFault names the field that encoding stumbled over.
func encodingFault(model string, err error) error {
	field, problem := misfit(err)
	return errs.Invalidf(model, field, "can not be stored as JSON: %v", problem)
}

// misfit is the field that an error of the JSON package is about, and what is
// wrong with it.
func misfit(err error) (field string, problem error) {
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
