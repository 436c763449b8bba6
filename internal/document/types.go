package document

import (
	"bytes"
	"errors"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Types says which members of documents have a wider type than the one by which they are known
// to somebody. It is immutable, and nil is one without members.
type Types struct {
	list []typed
}

type typed struct {
	name       string
	known, now value.Type
}

// DeclaredTypes are of a program that declares columns with types that they had before they were
// converted, under the names that in gives to them. declared is the type with which it declares a
// member; "" when it does not.
func DeclaredTypes(def *schema.Definition, in *Names, declared func(name string) value.Type) *Types {
	var t *Types
	for _, c := range def.Converted {
		if name := in.To(c.Column); !c.Underway() && declared(name) == c.From {
			t = t.add(name, c.From, def.Becomes(c))
		}
	}
	return t
}

// TypesFor are of a program that knows the model as mine, for records of a newer version, which have
// the names of mine.
func TypesFor(mine, now *schema.Definition) *Types {
	in := now.In(mine)
	var t *Types
	for i, c := range now.Columns {
		if at := mine.Position(in.Columns[i].Name); at >= 0 && mine.Columns[at].Type.Widens(c.Type) {
			t = t.add(mine.Columns[at].Name, mine.Columns[at].Type, c.Type)
		}
	}
	return t
}

// Converting are the columns of a model that are being converted.
func Converting(def *schema.Definition) *Types {
	var t *Types
	for _, c := range def.Converted {
		if c.Underway() {
			t = t.add(c.Column, c.From, c.To)
		}
	}
	return t
}

func (t *Types) add(name string, known, now value.Type) *Types {
	if t == nil {
		t = &Types{}
	}
	t.list = append(t.list, typed{name, known, now})
	return t
}

// each calls f with the members that doc has, until it fails. Of a document that cannot be read there are
// none: whoever reads it says so.
func (t *Types) each(doc []byte, f func(m typed, raw []byte) error) error {
	if t == nil || doc == nil {
		return nil
	}
	names := make([]string, len(t.list))
	for i, m := range t.list {
		names[i] = m.name
	}
	raws, err := Raw(doc, names)
	if err != nil {
		return nil
	}
	for i, m := range t.list {
		if raws[i] == nil {
			continue
		}
		if err := f(m, raws[i]); err != nil {
			return err
		}
	}
	return nil
}

// Widen is a *ColumnError when a member's value, which is of the known type, is not one of the wider type.
func (t *Types) Widen(doc []byte) error {
	return t.each(doc, func(m typed, raw []byte) error {
		if err := value.Widen(raw, m.known, m.now); err != nil {
			return &ColumnError{m.name, err}
		}
		return nil
	})
}

// Narrow returns doc with the values as they are in the types that are known. It is doc itself where
// they are the same. A *errs.TypeError, which lacks the record, when a type does not have a value.
func (t *Types) Narrow(doc []byte) ([]byte, error) {
	var set []Member
	err := t.each(doc, func(m typed, raw []byte) error {
		narrow, err := value.Narrow(raw, m.known, m.now)
		switch {
		case err != nil:
			return &errs.TypeError{Column: m.name, Declared: string(m.known), Now: string(m.now), Err: err}
		case !bytes.Equal(narrow, raw):
			set = append(set, Member{m.name, narrow})
		}
		return nil
	})
	if err != nil || len(set) == 0 {
		return doc, err
	}
	return Patch(doc, set)
}

// NarrowRecord is Narrow of a record's document.
func (t *Types) NarrowRecord(model, key string, doc []byte) ([]byte, error) {
	out, err := t.Narrow(doc)
	if typed := new(*errs.TypeError); errors.As(err, typed) {
		(*typed).Model, (*typed).Key = model, key
	}
	return out, err
}
