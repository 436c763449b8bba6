package schema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/value"
)

// Indexes of members inside of a JSON column. Such an index has one column, which it names with the
// path to the members, as address.city; no column that can be indexed has a dot in its name. A record
// has an entry in it for each different value that the path leads to: lists on the way are looked
// into, as those at its end are. So it is as an index of the elements of a list, and has their type in
// Elements.

// Path is the column that an index names, and the members below it: none for a column as a whole.
func Path(name string) (column string, members []string) {
	column, rest, inside := strings.Cut(name, ".")
	if !inside {
		return name, nil
	}
	return column, strings.Split(rest, ".")
}

// Of is the position among the columns of the one that an index names, with or without members.
func (d *Definition) Of(name string) int {
	column, _ := Path(name)
	return d.Position(column)
}

// Has reports whether the index is of a column, or of members inside of it.
func (x Index) Has(column string) bool {
	return slices.ContainsFunc(x.Columns, func(name string) bool {
		of, _ := Path(name)
		return of == column
	})
}

// inside reports whether the index is of members inside of a column.
func (x Index) inside() bool {
	return slices.ContainsFunc(x.Columns, func(name string) bool { return strings.Contains(name, ".") })
}

// Renamed are the columns of the index after one of them has got another name.
func (x Index) Renamed(from, to string) []string {
	out := slices.Clone(x.Columns)
	for i, name := range out {
		if of, _ := Path(name); of == from {
			out[i] = to + strings.TrimPrefix(name, from)
		}
	}
	return out
}

// Named is what an index names that a caller means by name: a column, as by Resolve, or members inside of
// one.
func (d *Definition) Named(name string) (string, error) {
	at, err := d.Resolve(name)
	if err == nil {
		return d.Columns[at].Name, nil
	}
	column, members := Path(name)
	if at, e := d.Resolve(column); e == nil && members != nil {
		return strings.Join(append([]string{d.Columns[at].Name}, members...), "."), nil
	}
	return "", err
}

// Inside reports whether a caller names members inside of a column.
func (d *Definition) Inside(name string) bool {
	_, err := d.Resolve(name)
	return err != nil && strings.Contains(name, ".")
}

// AddMembers adds an index of the members at a path, as AddIndex does. elements is the type of their
// values; "" for that which the Go field has.
func (d *Definition) AddMembers(kind Kind, elements value.Type, columns ...string) error {
	at := slices.IndexFunc(columns, d.Inside)
	name := columns[at]
	column, members := Path(name)
	pos, err := d.Resolve(column)
	switch {
	case err != nil:
		return d.Errorf("%s %v: column %q does not exist; the columns are %s", kind, columns, column, strings.Join(d.columnNames(), ", "))
	case d.Columns[pos].Type != value.JSON:
		return d.Errorf("%s %v: column %s has type %s, and so no members; only a column of type %s has", kind, columns, d.Columns[pos].Name, d.Columns[pos].Type, value.JSON)
	case len(columns) > 1:
		return d.Errorf("%s %v has members inside of a column, and an index of those has no other column; give %s an index of its own", kind, columns, name)
	case kind != PlainIndex:
		return d.Errorf("%s of %s: members inside of a column, of which a record may have several, can only have an index that is none of unique, ordered and folded; give them that, or store the value in a column of its own", kind, name)
	case d.Layout == Sequelize:
		return d.Errorf("index of %s: the Sequelize layout has no indexes of members inside of columns; use the native layout, or store the value in a column of its own", name)
	}
	if elements == "" {
		if elements, err = memberType(d.Columns[pos].Go, members); err != nil {
			return d.Errorf("index of %s: %v", name, err)
		}
	}
	if name, err = d.Named(name); err != nil {
		return err
	}
	x := NewIndex(kind, name).Each(elements)
	if have := d.Index(x.Name, false); have < 0 {
		d.Indexes = append(d.Indexes, x)
	} else if d.Indexes[have].Elements != elements {
		return d.Errorf("index of %s has elements of type %s, and of type %s; name one", name, d.Indexes[have].Elements, elements)
	}
	return nil
}

// validateMembers reports what is wrong with the names of an index's members.
func (d *Definition) validateMembers(x Index, name string, members []string) error {
	for _, m := range members {
		if err := keys.CheckName(m); err != nil {
			return d.Errorf("index %s: a member of a path: %v, so it cannot be indexed", name, err)
		}
	}
	if len(members) > 0 && (x.Elements == "" || len(x.Columns) > 1) {
		return d.Errorf("index %v is of members inside of a column; it needs the type of its Elements, and no other column", x.Columns)
	}
	return nil
}

// memberType is the type of the values that a path of members leads to in the JSON of a Go type.
func memberType(t reflect.Type, members []string) (value.Type, error) {
	const declare = "; declare the model with DefineRecord, and its type in IndexSchema.Elements"
	if t == nil {
		return "", fmt.Errorf("the type of the members is not known; say it in IndexSchema.Elements")
	}
	for i, m := range members {
		t = within(t)
		if implements(t, jsonMarshaler) || implements(t, textMarshaler) {
			return "", fmt.Errorf("%s writes its own JSON, so the type of %s in it is not known"+declare, t, m)
		}
		switch t.Kind() {
		case reflect.Struct:
			f, ok := jsonField(t, m)
			if !ok {
				return "", fmt.Errorf("%s has no field that is called %s in JSON", t, m)
			}
			if _, opts, _ := strings.Cut(f.Tag.Get("json"), ","); hasOption(opts, "string") {
				return "", fmt.Errorf("field %s of %s has the json option \"string\", with which its value is no element of its type; drop it", f.Name, t)
			}
			t = f.Type
		case reflect.Map:
			t = t.Elem()
		case reflect.Interface:
			return "", fmt.Errorf("what %s has is not known"+declare, strings.Join(members[:i+1], "."))
		default:
			return "", fmt.Errorf("%s has no member %s", t, m)
		}
	}
	t = within(t)
	typ, _, err := columnType(t)
	if err != nil || !typ.IsElement() {
		return "", fmt.Errorf("type %s cannot be looked for inside of a column; the types that can are %v", t, value.ElementTypes)
	}
	return typ, nil
}

// within is the type of the values in t: what pointers lead to, and lists hold.
func within(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || (t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 || t.Kind() == reflect.Array) && !implements(t, jsonMarshaler) && !implements(t, textMarshaler) {
		t = t.Elem()
	}
	return t
}

// jsonField is the field of a struct that has this name in JSON: the one that is embedded least deeply.
func jsonField(t reflect.Type, name string) (found reflect.StructField, ok bool) {
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("json")
		called, _, _ := strings.Cut(tag, ",")
		if _, inner := embeddedStruct(f); inner && called == "" || !f.IsExported() || tag == "-" {
			continue
		}
		if called == "" {
			called = f.Name
		}
		if called == name && (!ok || len(f.Index) < len(found.Index)) {
			found, ok = f, true
		}
	}
	return found, ok
}
