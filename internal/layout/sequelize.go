package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/javascript"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// sequelize is the layout of the Node library sequelize-natskv. One list of ids holds all
// records with a value. Several values can share a list, because their keys are the same
// (keys.SequelizeEntry). A record without a value for a column is in no list for it.
type sequelize struct {
	claims
	primary value.Type   // the type of the primary key
	members []string     // the names of the primary key and of every indexed column
	types   []value.Type // their types
}

// newSequelize makes the layout. ErrSchema for a model with something that the library
// does not have and would break.
func newSequelize(def *schema.Definition) (Layout, error) {
	key := def.Key()
	l := &sequelize{claims: claimsOf(def), primary: key.Type, members: []string{key.Name}, types: []value.Type{key.Type}}
	const instead = "; leave it out, or use the native layout (ChangeLayout moves a model)"
	if key.Name != "id" {
		return nil, def.Errorf("primary key %s: the Sequelize layout's is always id; rename the member, or use the native layout", key.Name)
	}
	for _, x := range def.Indexes {
		if x.Unique {
			return nil, def.Errorf("unique %s: the Sequelize layout has no unique values, because the Node library takes any"+instead, x.Name)
		}
		if x.Ordered {
			return nil, def.Errorf("ordered index of %s: the Sequelize layout finds equal values only"+instead, strings.Join(x.Columns, ", "))
		}
		if x.Elements != "" {
			return nil, def.NoElements(x.Columns[0])
		}
		if len(x.Columns) > 1 {
			return nil, def.Errorf("index %s: the Sequelize layout has no indexes of several columns"+instead, x.Name)
		}
		if x.Fold {
			return nil, def.Errorf("folded index of %s: in the Sequelize layout letter case always matters, because the Node library finds values by their exact text"+instead, x.Columns[0])
		}
		if x.Name != x.Columns[0] {
			return nil, def.Errorf("index %s is of column %s, which was renamed: the Sequelize layout finds a value by the name of its column; drop the index and declare it again, or use the native layout", x.Name, x.Columns[0])
		}
		l.members = append(l.members, x.Columns[0])
		l.types = append(l.types, def.Columns[def.Position(x.Columns[0])].Type)
	}
	return l, nil
}

// Of gives a record no entry for a member that the document does not have. A null member
// has an entry: the text null. A document that does not fit the model is an error, as in
// the native layout.
func (l *sequelize) Of(doc []byte) (Footprint, error) {
	raws, err := document.Raw(l.names.Apply(doc), l.members)
	if err != nil {
		return Footprint{}, err
	}
	var f Footprint
	for i, raw := range raws {
		if raw == nil {
			if i == 0 {
				return f, nil
			}
			continue
		}
		v, err := value.FromJSON(raw, l.types[i])
		if err != nil {
			return Footprint{}, &document.ColumnError{Column: l.members[i], Err: err}
		}
		if i > 0 {
			if key, ok := keys.SequelizeEntry(l.def.Name, l.members[i], javascript.String(raw)); ok {
				f.Entries = append(f.Entries, key)
			}
			continue
		}
		if f.ID = v; v.IsNull() {
			return f, nil
		}
		var why string
		if f.Record, why = keys.SequelizeRecord(l.def.Name, l.def.Shards, v); why != "" {
			return Footprint{}, &document.ColumnError{Column: l.members[0], Err: fmt.Errorf("%.40q can be no key in the Sequelize layout: %s; use another, or the native layout", v.Text(), why)}
		}
	}
	return f, nil
}

func (l *sequelize) RecordKey(id value.Value) string {
	key, _ := keys.SequelizeRecord(l.def.Name, l.def.Shards, id)
	return key
}

// Finds is false for null, because a condition takes an absent member for null, and that
// is in no list. It is false for times, bytes and other JSON too: the Node library may
// have written the same value in several ways, each with a list of its own.
func (l *sequelize) Finds(_ schema.Index, vals []value.Value) bool {
	_, ok := l.list(vals)
	return ok
}

func (l *sequelize) list(vals []value.Value) (text string, ok bool) {
	switch v := vals[0]; v.Type() {
	case value.Bool, value.String:
		text = v.Text()
	case value.Int, value.Uint, value.Float, value.Decimal:
		text = javascript.String([]byte(v.Text()))
	default:
		return "", false
	}
	_, ok = keys.SequelizeEntry("", "", text)
	return text, ok
}

func (l *sequelize) OneEach(schema.Index) bool { return false }

func (l *sequelize) Lookup(x schema.Index, vals []value.Value) string {
	text, _ := l.list(vals)
	key, _ := keys.SequelizeEntry(l.def.Name, x.Columns[0], text)
	return key
}

// EntryKeys is one key, the list's, however many records there are.
func (l *sequelize) EntryKeys(int) int { return 1 }

func (l *sequelize) HeadOf(string) string { return "" }

func (l *sequelize) Pointers(to []string, _ string, held []byte) ([]string, error) {
	ids, err := readList(held)
	if err != nil {
		return to, err
	}
	to = slices.Grow(to, len(ids))
	seen := make(map[string]bool, len(ids))
	for _, raw := range ids {
		if key, ok := l.pointer(raw); ok && !seen[key] {
			seen[key] = true
			to = append(to, key)
		}
	}
	return to, nil
}

func (l *sequelize) CountPointers(key string, held []byte) int {
	to, err := l.Pointers(nil, key, held)
	if err != nil {
		return 0
	}
	return len(to)
}

func (l *sequelize) Overlay(_ string, held *[]byte, gone func(record string) bool, now []value.Value) ([][]byte, error) {
	var list []byte
	if held != nil {
		list = *held
	}
	list, err := l.without(list, gone)
	if err == nil && len(now) > 0 {
		list, err = l.Join(list, now...)
	}
	if err != nil || list == nil {
		return nil, err
	}
	return [][]byte{list}, nil
}

func (l *sequelize) IsEntry(key string) bool { return isOf(l.def, key, false, 0) }

func (l *sequelize) IsClaim(string) bool { return false }

func (l *sequelize) Owns(key string) bool { return l.IsEntry(key) }

func (l *sequelize) Lists() Lists { return l }

func (l *sequelize) Value(doc []byte, key string) (column, text string) {
	raws, err := document.Raw(l.names.Apply(doc), l.members)
	if err != nil {
		return "", ""
	}
	for i, raw := range raws[1:] {
		text := ""
		if raw != nil {
			text = javascript.String(raw)
		}
		if k, ok := keys.SequelizeEntry(l.def.Name, l.members[i+1], text); ok && k == key {
			return l.members[i+1], text
		}
	}
	return "", ""
}
