package schema

import (
	"fmt"
	"reflect"

	"github.com/natsorm/natsorm/internal/errs"
)

// ColumnOf calls field with a pointer to a new struct of type t, and finds which column's
// field of that struct the pointer that it returns is for. Otherwise it is errs.ErrSchema.
func ColumnOf(t reflect.Type, field func(record any) any) (name string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: Column of %s: the function panics on an empty record: %v", errs.ErrSchema, t, r)
		}
	}()
	if t.Kind() != reflect.Struct {
		return "", fmt.Errorf("%w: Column of %s, which is not a struct", errs.ErrSchema, t)
	}
	if field == nil {
		return "", fmt.Errorf("%w: Column of %s without a function", errs.ErrSchema, t)
	}
	v := reflect.New(t)
	allocate(v.Elem())
	name, ok, err := columnAt(v.Elem(), reflect.ValueOf(field(v.Interface())))
	if err == nil && !ok {
		err = fmt.Errorf("%w: Column of %s: the function does not point to a field that is a column", errs.ErrSchema, t)
	}
	return name, err
}

// allocate gives every pointer among the fields something of its own to point to, also
// those of embedded structs.
func allocate(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !v.Type().Field(i).Anonymous && f.CanSet() && f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			continue
		}
		if !v.Type().Field(i).Anonymous || !f.CanSet() && f.Kind() != reflect.Struct {
			continue
		}
		if f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct && f.Type() != reflect.PointerTo(v.Type()) {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct {
			allocate(f)
		}
	}
}

// columnAt is the name of the column whose field in the struct v pointer points to, or
// whose field is that pointer. ok is false when there is none. v must be addressable.
func columnAt(v, pointer reflect.Value) (name string, ok bool, err error) {
	compiled, err := Compile(v.Type(), "Column")
	if err != nil {
		return "", false, err
	}
	for i, path := range compiled.paths {
		f, err := v.FieldByIndexErr(path)
		if err != nil || !f.CanAddr() {
			continue
		}
		to := f.Kind() == reflect.Pointer && f.Type() == pointer.Type() && f.Pointer() == pointer.Pointer()
		if to || f.Addr().Pointer() == pointer.Pointer() && f.Addr().Type() == pointer.Type() {
			return compiled.Definition.Columns[i].Name, true, nil
		}
	}
	return "", false, nil
}
