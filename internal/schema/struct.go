package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// Struct is a model that a Go struct declares: its definition, and the fields that
// natsorm itself reads and writes. Each field is given by its index path, for
// reflect.Value.FieldByIndex; nil means that the struct has no such field.
type Struct struct {
	Definition Definition
	Key        []int // the primary key
	Version    []int // orm:"version"
	CreatedAt  []int // orm:"createdAt"
	UpdatedAt  []int // orm:"updatedAt"

	// Renamed are the fields that are stored under a name that is not their JSON name, or
	// that have none. Dropped are the names of JSON members that are not stored.
	Renamed []Renamed
	Dropped []string

	paths [][]int // the field of each column, in the order of Definition.Columns
}

// Path is the index path of the field of a column, by its position in Definition.Columns.
func (s *Struct) Path(column int) []int { return s.paths[column] }

// Renamed is a field with a column of its own name: orm:"column:name".
type Renamed struct {
	Field  []int
	Column string
}

// Compile reads a model from the fields and tags of struct type t. The model's name is
// name, or the type's own when name is "". Names of columns, embedding and hidden fields
// are as encoding/json has them. What cannot be stored, read back or indexed is an
// errs.ErrSchema that names the field; Validate is still to be called.
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
		if err := c.out.Definition.AddIndex(g.kind, g.columns...); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

// compiler collects what the fields of a struct declare.
type compiler struct {
	out    *Struct
	groups []*indexGroup  // in the order of their first field
	depth  map[string]int // by column name: how deeply its field is embedded
}

// indexGroup is an index in the making: the fields that share the name in
// orm:"index:name", or a single field without such a name.
type indexGroup struct {
	name    string // "" for a single field
	kind    Kind
	columns []string
}

// errorf is an errs.ErrSchema that names the model.
func (c *compiler) errorf(format string, args ...any) error {
	return c.out.Definition.Errorf(format, args...)
}

// fields adds the columns of struct t, and those of the structs that it embeds. path is
// where t is embedded in the whole struct, and within are the types around it.
func (c *compiler) fields(t reflect.Type, path []int, within []reflect.Type) error {
	for _, seen := range within {
		if seen == t {
			return c.errorf("%s embeds itself; use a pointer in a named field, which is stored as JSON", t)
		}
	}
	within = append(within, t)
	for i := range t.NumField() {
		f := t.Field(i)
		if problem := tagProblem(string(f.Tag)); problem != "" {
			return c.errorf("field %s: its tag %s cannot be read: %s; the form is key:\"value\", with a space between two of them, and \\ doubled in a value", f.Name, f.Tag, problem)
		}
		at := append(append([]int(nil), path...), i)
		jsonTag, _ := f.Tag.Lookup("json")
		jsonName, jsonOpts, _ := strings.Cut(jsonTag, ",")
		orm, tagged := f.Tag.Lookup("orm")
		if inner, ok := embeddedStruct(f); ok && jsonName == "" {
			if tagged {
				return c.errorf("embedded %s has an orm tag; tag its fields instead", f.Name)
			}
			if f.Type.Kind() == reflect.Pointer && !f.IsExported() {
				return c.errorf("embedded pointer %s is not exported, so it cannot be read back from JSON; embed the struct itself", f.Name)
			}
			if err := c.fields(inner, at, within); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			if tagged {
				return c.errorf("field %s has an orm tag but is not exported; give it a capital letter", f.Name)
			}
			if jsonTag != "" && jsonTag != "-" {
				return c.errorf("field %s has a json tag but is not exported; give it a capital letter, or drop the tag", f.Name)
			}
			continue
		}
		if err := c.field(f, at, jsonName, jsonOpts, orm); err != nil {
			return err
		}
	}
	return nil
}

// field adds the column of one field, and what its orm tag asks for. at is its index
// path.
func (c *compiler) field(f reflect.StructField, at []int, jsonName, jsonOpts, orm string) error {
	opts := splitTag(orm)
	inJSON := f.Tag.Get("json") != "-"
	if jsonName == "" {
		jsonName = f.Name
	}
	name, renamed := jsonName, false
	for _, o := range opts {
		if word, arg, _ := strings.Cut(o, ":"); word == "column" {
			if arg == "" || renamed {
				return c.errorf("field %s: orm:%q; name one column, as in orm:\"column:secret\"", f.Name, orm)
			}
			name, renamed = arg, true
		}
	}
	switch stays := slices.Contains(opts, "-"); {
	case (stays || slices.Contains(opts, "version")) && len(opts) > 1:
		return c.errorf("field %s: orm:%q; - and version stand by themselves, because such a field has no column", f.Name, orm)
	case stays:
		return c.drop(f, at, inJSON, jsonName)
	case slices.Contains(opts, "version"):
		// The version is not a column: it is the revision of the record, and so must not
		// be in the document.
		if f.Type.Kind() != reflect.Uint64 {
			return c.errorf("version field %s has type %s; use uint64", f.Name, f.Type)
		}
		if c.out.Version != nil {
			return c.errorf("field %s is a second version; one is enough", f.Name)
		}
		c.out.Version = at
		return c.drop(f, at, inJSON, jsonName)
	case !inJSON && !renamed && len(opts) > 0:
		return c.errorf("field %s has json:\"-\", so orm:%q has no column to work on; name one with orm:\"column:name,…\"", f.Name, orm)
	case !inJSON && !renamed:
		return c.errorf("field %s has json:\"-\" and no orm tag, so it is not clear whether it is to be stored; say orm:\"-\" if it is not, or orm:\"column:name\" if it is", f.Name)
	}
	if hasOption(jsonOpts, "string") {
		return c.errorf("field %s: the json option \"string\" is not supported; drop it", f.Name)
	}
	if hasOption(jsonOpts, "inline") || hasOption(jsonOpts, "unknown") || hasOption(jsonOpts, "embed") {
		return c.errorf("field %s: the json option %q is not supported; drop it", f.Name, jsonOpts)
	}
	typ, nullable, err := columnType(f.Type)
	if err != nil {
		return c.errorf("field %s: %v; leave it out with orm:\"-\", or use another type", f.Name, err)
	}
	col := Column{Name: name, Type: typ, ZeroNull: !nullable}
	if typ == value.JSON {
		col.Go, col.Holds = f.Type, shapeOf(f.Type)
		col.Elements = elementsOf(f.Type, col.Holds)
	}
	if inJSON {
		if hidden, err := c.member(f, at, jsonName); hidden || err != nil {
			return err
		}
	}
	if c.out.Definition.Position(name) >= 0 {
		return c.errorf("two fields have the column name %q; give one another name", name)
	}
	for _, o := range opts {
		if err := c.option(&col, o, f, at); err != nil {
			return err
		}
	}
	c.out.Definition.Columns = append(c.out.Definition.Columns, col)
	c.out.paths = append(c.out.paths, at)
	if renamed {
		c.out.Renamed = append(c.out.Renamed, Renamed{Field: at, Column: name})
		if inJSON {
			c.out.Dropped = append(c.out.Dropped, jsonName)
		}
	}
	return nil
}

// drop leaves a field out of the document.
func (c *compiler) drop(f reflect.StructField, at []int, inJSON bool, name string) error {
	if !inJSON {
		return nil
	}
	hidden, err := c.member(f, at, name)
	if !hidden && err == nil {
		c.out.Dropped = append(c.out.Dropped, name)
	}
	return err
}

// member notes that a field has this name in JSON. A name may come twice when one field is
// embedded more deeply: the other hides it.
func (c *compiler) member(f reflect.StructField, at []int, name string) (hidden bool, err error) {
	depth := len(at)
	if d, ok := c.depth[name]; ok {
		if d == depth {
			return false, c.errorf("two fields have the column name %q; give one another json name", name)
		}
		if d < depth {
			return true, nil // the field that has the name hides this one
		}
		return false, c.errorf("field %s hides an embedded field with the column name %q that is declared before it; declare %[1]s first, or rename it", f.Name, name)
	}
	if c.depth == nil {
		c.depth = map[string]int{}
	}
	c.depth[name] = depth
	return false, nil
}

// option applies one option of an orm tag to the column of field f.
func (c *compiler) option(col *Column, option string, f reflect.StructField, at []int) error {
	word, arg, _ := strings.Cut(option, ":")
	switch word {
	case "primaryKey":
		if f.Type.Kind() == reflect.Pointer {
			return c.errorf("primary key %s is a pointer; use the type that it points to", f.Name)
		}
		col.PrimaryKey, c.out.Key = true, at
	case "auto":
		switch f.Type.Kind() {
		case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default:
			return c.errorf("field %s has type %s, which auto cannot fill; use an integer or a string", f.Name, f.Type)
		}
		if col.Type == value.String && f.Type.Kind() != reflect.String {
			return c.errorf("field %s has type %s, which writes its own text, so auto cannot fill it; use an integer or a string", f.Name, f.Type)
		}
		col.Auto = true
	case "index":
		return c.group(arg, kindIn(f, PlainIndex), col.Name)
	case "unique":
		return c.group(arg, kindIn(f, UniqueIndex), col.Name)
	case "ordered":
		return c.group(arg, OrderedIndex, col.Name)
	case "fold":
		if arg != "" || !slices.ContainsFunc(splitTag(f.Tag.Get("orm")), func(o string) bool {
			word, _, _ := strings.Cut(o, ":")
			return word == "index" || word == "unique"
		}) {
			return c.errorf("field %s: orm:%q; fold is said of the indexes of a tag, as in orm:\"unique,fold\"", f.Name, f.Tag.Get("orm"))
		}
	case "column": // field has done it
	case "hidden":
		col.Hidden = true
	case "createdAt", "updatedAt":
		if f.Type != timeType {
			return c.errorf("field %s: %s needs type time.Time, but it has type %s", f.Name, word, f.Type)
		}
		col.Role = Role(word)
		if col.Role == CreatedAt {
			c.out.CreatedAt = at
		} else {
			c.out.UpdatedAt = at
		}
	default:
		return c.errorf("field %s: unknown option %q in its orm tag; the options are %s", f.Name, option, tagOptions)
	}
	return nil
}

// kindIn is the kind of the indexes for which the tag of a field has the word of kind: fold in the tag
// is for all of them.
func kindIn(f reflect.StructField, kind Kind) Kind {
	if slices.Contains(splitTag(f.Tag.Get("orm")), "fold") {
		return kind.Folded()
	}
	return kind
}

// group adds column to the index of that name and kind, or begins one. Without a name,
// the column is an index by itself.
func (c *compiler) group(name string, kind Kind, column string) error {
	if name != "" {
		for _, g := range c.groups {
			switch {
			case g.name != name:
			case g.kind == kind:
				g.columns = append(g.columns, column)
				return nil
			case g.kind == kind.Folded() || g.kind.Folded() == kind:
				return c.errorf("columns %s and %s are in the index called %q, one with fold and one without; give all columns of it fold, or none", g.columns[0], column, name)
			}
		}
	}
	c.groups = append(c.groups, &indexGroup{name: name, kind: kind, columns: []string{column}})
	return nil
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	numberType    = reflect.TypeFor[json.Number]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// columnType is the column type for fields of type t. nullable says that such a field
// can hold null apart from every other value, as a pointer can and an int cannot. It
// fails for types that cannot be stored as JSON or read back.
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
		return typ, true, err // its zero value need not be written as the zero of typ
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
	return "", false, fmt.Errorf("type %s cannot be stored as JSON", t)
}

// shapeOf is what the values of a type are in JSON.
func shapeOf(t reflect.Type) Shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case implements(t, jsonMarshaler) || implements(t, textMarshaler):
		return ""
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		return List
	case t.Kind() == reflect.Map || t.Kind() == reflect.Struct:
		return Object
	}
	return ""
}

// elementsOf is the type of the elements in the lists of a field; "" when it is none that can be
// looked for.
func elementsOf(t reflect.Type, shape Shape) value.Type {
	if shape != List {
		return ""
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if typ, _, err := columnType(t.Elem()); err == nil && typ.IsElement() {
		return typ
	}
	return ""
}

// marshaledType is the column type for a Go type that writes its own JSON or text. What
// MarshalText writes is a string. For MarshalJSON, the type's zero value is marshaled,
// and the kind of its JSON decides. The type must have the unmarshaling method too.
func marshaledType(t reflect.Type) (typ value.Type, err error) {
	switch {
	case implements(t, jsonMarshaler) && !implements(t, jsonUnmarshaler):
		return "", fmt.Errorf("type %s has MarshalJSON but no UnmarshalJSON, so it cannot be read back", t)
	case !implements(t, jsonMarshaler) && !implements(t, textUnmarshaler):
		return "", fmt.Errorf("type %s has MarshalText but no UnmarshalText, so it cannot be read back", t)
	case !implements(t, jsonMarshaler):
		return value.String, nil
	}
	defer func() {
		if recover() != nil { // its MarshalJSON panics for the zero value
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
		return value.Decimal, nil // a number, maybe of more digits than a float64 has
	}
}

// storable reports why values of type t cannot be stored as JSON and read back, or nil.
// It looks into everything that t contains; seen are the types around t.
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
		return fmt.Errorf("type %s cannot be stored as JSON", t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("interface type %s cannot be read back from JSON", t)
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

// implements reports whether t, or a pointer to t, has the methods of iface.
func implements(t, iface reflect.Type) bool {
	return t.Implements(iface) || reflect.PointerTo(t).Implements(iface)
}

// embeddedStruct is the struct whose fields f brings in, as encoding/json does: f is
// embedded, is a struct or a pointer to one, and does not write its own JSON.
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
