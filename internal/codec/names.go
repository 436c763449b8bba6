package codec

import (
	"fmt"
	"reflect"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Under is a codec under a version of the model, in which columns may have other names and types than
// T declares, or may have been dropped. It is c itself where they have not.
func Under(c Codec, def *schema.Definition) Codec {
	if len(def.Former) == 0 && len(def.Converted) == 0 {
		return c
	}
	in, out, dropped := document.DeclaredNames(def, c.Writes)
	types := document.DeclaredTypes(def, in, c.Type)
	if out == nil && types == nil {
		return c
	}
	u := &under{Codec: c, def: def, in: in, out: out, types: types}
	if reflect.TypeOf(c.New()).Elem().Kind() == reflect.Map {
		u.refused = dropped // a struct always has its fields, a map has what somebody has put there
	}
	return u
}

// Outdated is an errs.ErrSchema when T, which was declared under the version first, declares a
// former name, or a former type, that counts no more.
func Outdated(c Codec, first, def *schema.Definition) error {
	for _, f := range def.Former {
		switch {
		case !c.Writes(f.Name) || first.Freed(f):
		case f.Freed > 0:
			return def.Errorf("column %s was dropped or renamed, and its name is free for another column; change the declaration and define the model again, or open it again", f.Name)
		case f.Closed:
			return def.Errorf("column %s is called %s now, and Alter has ended the time of the former name; declare the new one, and define the model again", f.Name, f.Column)
		}
	}
	in, _, _ := document.DeclaredNames(def, c.Writes)
	for _, col := range def.Columns {
		name := in.To(col.Name)
		if t := c.Type(name); t != "" {
			if err := def.Typed(col, name, t); err != nil {
				return fmt.Errorf("%w, and define the model again", err)
			}
		}
	}
	return nil
}

// Dropped are the columns that T declares and that were dropped.
func Dropped(c Codec, def *schema.Definition) []string {
	_, _, dropped := document.DeclaredNames(def, c.Writes)
	return dropped
}

// under is the codec of a T that declares columns by former names, or with former types.
type under struct {
	Codec
	def     *schema.Definition
	in, out *document.Names
	types   *document.Types
	refused []string // dropped columns that a value may not have
}

func (u *under) Encode(v any) ([]byte, error) {
	doc, err := u.Codec.Encode(v)
	if err != nil {
		return nil, err
	}
	if len(u.refused) > 0 {
		raws, err := document.Raw(doc, u.refused)
		if err != nil {
			return nil, document.Invalid(u.def.Name, err)
		}
		for i, raw := range raws {
			if raw != nil {
				return nil, errs.Invalidf(u.def.Name, u.refused[i], "was dropped by Alter; leave it out of the Record")
			}
		}
	}
	if err := u.types.Widen(doc); err != nil {
		return nil, converted(u.def, err)
	}
	return u.out.Apply(doc), nil
}

func (u *under) Decode(m store.Message, v any) error {
	doc, err := u.types.NarrowRecord(u.def.Name, m.Key, u.in.Apply(m.Value))
	if err != nil {
		return err
	}
	m.Value = doc
	return u.Codec.Decode(m, v)
}

func (u *under) DecodeRow(r *row.Row, only []string, v any) error {
	return decodeDocument(u, u.def.Name, r, only, v)
}

// converted is the errs.ErrInvalid for a value that is of a column's former type only.
func converted(def *schema.Definition, err error) error {
	return fmt.Errorf("%w; Alter has converted the column", document.Invalid(def.Name, err))
}

// Type is by the names that the columns have now.
func (u *under) Type(column string) value.Type {
	if !u.Writes(column) {
		return ""
	}
	return u.Codec.Type(u.in.To(column))
}

// Writes is by the names that the columns have now.
func (u *under) Writes(column string) bool {
	return u.Codec.Writes(u.in.To(column)) && u.out.To(column) == column
}
