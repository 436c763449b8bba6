package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// Struct is a model declared by a Go struct: its definition, and where in the
// struct natsorm reads and writes by itself. A nil path means there is none.
type Struct struct {
	Definition Definition
	Key        []int // the primary key's field
	Version    []int // orm:"version"
	CreatedAt  []int
	UpdatedAt  []int

	paths [][]int // of the columns' fields
}

const tagOptions = "primaryKey, auto, index, index:name, unique, unique:name, version, createdAt, updatedAt"

// Compile reads the tags of struct type t, once for every Define.
func Compile(t reflect.Type, name string) (*Struct, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%w: %s is not a struct; use a struct type, or DefineRecord", errs.ErrSchema, t)
	}
	if name == "" {
		name = t.Name()
		if i := strings.IndexByte(name, '['); i >= 0 {
			return nil, fmt.Errorf("%w: %s is generic; name the model with natsorm.Name", errs.ErrSchema, t)
		}
		if name == "" {
			return nil, fmt.Errorf("%w: the struct type has no name; name the model with natsorm.Name", errs.ErrSchema)
		}
	}
	c := compiler{out: &Struct{Definition: Definition{Format: Format, Name: name, Layout: Native}}}
	if err := c.fields(t, nil, nil); err != nil {
		return nil, err
	}
	for _, g := range c.groups {
		if err := c.out.Definition.AddIndex(g.unique, g.columns...); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

// ColumnAt is the column of the field of v that pointer points to; ok is false
// when there is none.
func ColumnAt(v, pointer reflect.Value) (name string, ok bool, err error) {
	compiled, err := Compile(v.Type(), "Column")
	if err != nil {
		return "", false, err
	}
	for i, path := range compiled.paths {
		f, err := v.FieldByIndexErr(path)
		if err == nil && f.CanAddr() && f.Addr().Pointer() == pointer.Pointer() && f.Addr().Type() == pointer.Type() {
			return compiled.Definition.Columns[i].Name, true, nil
		}
	}
	return "", false, nil
}

type compiler struct {
	out    *Struct
	groups []*indexGroup
	depth  map[string]int // of the field that has a column name
}

// indexGroup collects the fields that share an index name.
type indexGroup struct {
	name    string
	unique  bool
	columns []string
}

func (c *compiler) fault(format string, args ...any) error {
	return c.out.Definition.Errorf(format, args...)
}

func (c *compiler) fields(t reflect.Type, path []int, within []reflect.Type) error {
	for _, seen := range within {
		if seen == t {
			return c.fault("%s embeds itself", t)
		}
	}
	within = append(within, t)
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), path...), i)
		jsonTag, _ := f.Tag.Lookup("json")
		jsonName, jsonOpts, _ := strings.Cut(jsonTag, ",")
		orm, tagged := f.Tag.Lookup("orm")
		if inner, ok := embeddedStruct(f); ok && jsonName == "" {
			if tagged {
				return c.fault("embedded %s has an orm tag; tag its fields", f.Name)
			}
			if f.Type.Kind() == reflect.Pointer && !f.IsExported() {
				return c.fault("embedded pointer %s is not exported and can not be read back from JSON; embed the struct itself", f.Name)
			}
			if err := c.fields(inner, at, within); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			if tagged {
				return c.fault("field %s has an orm tag but is not exported; give it a capital letter", f.Name)
			}
			continue
		}
		if err := c.field(f, at, jsonName, jsonOpts, orm); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) field(f reflect.StructField, at []int, jsonName, jsonOpts, orm string) error {
	opts := splitTag(orm)
	if jsonName == "-" && jsonOpts == "" {
		for _, o := range opts {
			if o != "version" {
				return c.fault("field %s is left out of the document by json:\"-\", so orm:%q has nothing to work on", f.Name, o)
			}
		}
	}
	for _, o := range opts {
		if o == "version" {
			if f.Type.Kind() != reflect.Uint64 {
				return c.fault("version field %s has type %s; use uint64", f.Name, f.Type)
			}
			if jsonName != "-" {
				return c.fault("version field %s must not be in the document; tag it json:\"-\"", f.Name)
			}
			c.out.Version = at
		}
	}
	if jsonName == "-" && jsonOpts == "" {
		return nil
	}
	if hasOption(jsonOpts, "string") {
		return c.fault("field %s: the json option \"string\" is not supported; drop it", f.Name)
	}
	if hasOption(jsonOpts, "inline") || hasOption(jsonOpts, "unknown") || hasOption(jsonOpts, "embed") {
		return c.fault("field %s: the json option %q is not supported; drop it", f.Name, jsonOpts)
	}
	name := jsonName
	if name == "" {
		name = f.Name
	}
	typ, nullable, err := columnType(f.Type)
	if err != nil {
		return c.fault("field %s: %v; leave it out with json:\"-\", or use another type", f.Name, err)
	}
	col := Column{Name: name, Type: typ, ZeroNull: !nullable}
	depth := len(at)
	if d, ok := c.depth[name]; ok {
		if d == depth {
			return c.fault("two fields have the column name %q; give one another json name", name)
		}
		if d < depth {
			return nil // an outer field hides this one, as in encoding/json
		}
		return c.fault("field %s hides an embedded field with the column name %q declared before it; declare it first, or rename it", f.Name, name)
	}
	if c.depth == nil {
		c.depth = map[string]int{}
	}
	c.depth[name] = depth
	for _, o := range opts {
		if err := c.option(&col, o, f, at); err != nil {
			return err
		}
	}
	c.out.Definition.Columns = append(c.out.Definition.Columns, col)
	c.out.paths = append(c.out.paths, at)
	return nil
}

func (c *compiler) option(col *Column, option string, f reflect.StructField, at []int) error {
	word, arg, _ := strings.Cut(option, ":")
	switch word {
	case "primaryKey":
		if f.Type.Kind() == reflect.Pointer {
			return c.fault("primary key %s is a pointer; use a plain type", f.Name)
		}
		col.PrimaryKey, c.out.Key = true, at
	case "auto":
		switch f.Type.Kind() {
		case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default:
			return c.fault("field %s of type %s can not be filled by auto; use an integer or a string", f.Name, f.Type)
		}
		if col.Type == value.String && f.Type.Kind() != reflect.String {
			return c.fault("field %s writes its own text; auto can not fill it", f.Name)
		}
		col.Auto = true
	case "index", "unique":
		c.group(arg, word == "unique", col.Name)
	case "version":
	case "createdAt", "updatedAt":
		if f.Type != timeType {
			return c.fault("field %s: %s needs a time.Time", f.Name, word)
		}
		col.Role = Role(word)
		if col.Role == CreatedAt {
			c.out.CreatedAt = at
		} else {
			c.out.UpdatedAt = at
		}
	default:
		return c.fault("field %s: unknown option %q in its orm tag; the options are %s", f.Name, option, tagOptions)
	}
	return nil
}

func (c *compiler) group(name string, unique bool, column string) {
	if name != "" {
		for _, g := range c.groups {
			if g.name == name && g.unique == unique {
				g.columns = append(g.columns, column)
				return
			}
		}
	}
	c.groups = append(c.groups, &indexGroup{name: name, unique: unique, columns: []string{column}})
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	numberType    = reflect.TypeFor[json.Number]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// columnType maps a Go type to a column's, and says whether the field can hold
// null apart from every other value.
func columnType(t reflect.Type) (typ value.Type, nullable bool, err error) {
	if t.Kind() == reflect.Pointer {
		typ, _, err = columnType(t.Elem())
		return typ, true, err
	}
	switch {
	case t == timeType:
		return value.Time, false, nil
	case t == numberType:
		return value.Decimal, false, nil
	case implements(t, jsonMarshaler) || implements(t, textMarshaler):
		typ, err = marshaledType(t)
		return typ, true, err // its zero need not be its type's
	}
	switch t.Kind() {
	case reflect.Bool:
		return value.Bool, false, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value.Int, false, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return value.Uint, false, nil
	case reflect.Float32, reflect.Float64:
		return value.Float, false, nil
	case reflect.String:
		return value.String, false, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && !implements(t.Elem(), jsonMarshaler) && !implements(t.Elem(), textMarshaler) {
			return value.Bytes, true, nil
		}
		return value.JSON, true, storable(t, nil)
	case reflect.Array, reflect.Map, reflect.Struct, reflect.Interface:
		return value.JSON, true, storable(t, nil)
	}
	return "", false, fmt.Errorf("type %s can not be stored as JSON", t)
}

// marshaledType is the type of a column whose Go type writes its own JSON or
// text: what its zero is written as. It must be readable too.
func marshaledType(t reflect.Type) (typ value.Type, err error) {
	switch {
	case implements(t, jsonMarshaler) && !implements(t, jsonUnmarshaler):
		return "", fmt.Errorf("type %s has MarshalJSON and no UnmarshalJSON, so it can not be read back", t)
	case !implements(t, jsonMarshaler) && !implements(t, textUnmarshaler):
		return "", fmt.Errorf("type %s has MarshalText and no UnmarshalText, so it can not be read back", t)
	case !implements(t, jsonMarshaler):
		return value.String, nil
	}
	defer func() {
		if recover() != nil { // it does not like its zero
			typ = value.JSON
		}
	}()
	raw, err := value.Marshal(reflect.New(t).Interface())
	if err != nil || len(raw) == 0 {
		return value.JSON, nil
	}
	switch raw[0] {
	case '"':
		return value.String, nil
	case 't', 'f':
		return value.Bool, nil
	case 'n', '[', '{':
		return value.JSON, nil
	default:
		return value.Decimal, nil
	}
}

// storable looks for a part of t that JSON can not hold.
func storable(t reflect.Type, seen []reflect.Type) error {
	for _, s := range seen {
		if s == t {
			return nil
		}
	}
	seen = append(seen, t)
	if t == timeType || implements(t, jsonMarshaler) || implements(t, textMarshaler) {
		return nil
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("type %s can not be stored as JSON", t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("interface type %s can not be read back from JSON", t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return storable(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				if err := storable(f.Type, seen); err != nil {
					return fmt.Errorf("its field %s: %w", f.Name, err)
				}
			}
		}
	}
	return nil
}

func implements(t, iface reflect.Type) bool {
	return t.Implements(iface) || reflect.PointerTo(t).Implements(iface)
}

func embeddedStruct(f reflect.StructField) (reflect.Type, bool) {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !f.Anonymous || t.Kind() != reflect.Struct || t == timeType || implements(t, jsonMarshaler) || implements(t, textMarshaler) {
		return nil, false
	}
	return t, true
}

func splitTag(tag string) []string {
	var out []string
	for part := range strings.SplitSeq(tag, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func hasOption(opts, want string) bool {
	for o := range strings.SplitSeq(opts, ",") {
		if o == want {
			return true
		}
	}
	return false
}
