package layout

import (
	"iter"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// native is natsorm's own layout. Each record has keys of its own in every index, so no
// two records write the same entry.
type native struct {
	claims
	primary int              // the position of the primary key's column
	fields  *document.Fields // reads the primary key and every indexed column
	indexes []index
}

type index struct {
	schema.Index
	at      []int    // the positions of its columns in the definition; of an index of lists, that of the list
	members []string // the path to the members that it is of; nil when it is of columns as they are
}

func newNative(def *schema.Definition) (Layout, error) {
	l := &native{claims: claimsOf(def), primary: def.PrimaryKey()}
	read := []int{l.primary}
	for _, x := range def.Indexes {
		ix := index{Index: x}
		for _, name := range x.Columns {
			at := def.Of(name)
			_, ix.members = schema.Path(name)
			if t := def.Columns[at].Type; !t.Indexable() && x.Elements == "" {
				return nil, def.Errorf("column %s has type %s, as maps and structs have, and cannot be indexed; index another column, or one whose lists have elements of type %v: in a Schema, Elements says which", name, t, value.ElementTypes)
			}
			ix.at = append(ix.at, at)
		}
		l.indexes = append(l.indexes, ix)
		read = append(read, ix.at...)
	}
	l.fields = document.NewFields(def, read...)
	return l, nil
}

// Of gives a record no claim in a unique index in which one of its values is null: any
// number of records may have null there.
func (l *native) Of(doc []byte) (Footprint, error) {
	vals, err := l.fields.Read(l.names.Apply(doc))
	if err != nil {
		return Footprint{}, err
	}
	f := Footprint{ID: vals.At(l.primary)}
	if f.ID.IsNull() {
		return f, nil
	}
	id := keys.ID(f.ID)
	f.Record = l.record(id)
	var buf [4]value.Value
	for _, x := range l.indexes {
		if x.Elements != "" {
			if n := l.each(&f, x, vals.At(x.at[0]), id); n > MaxElements && f.Crowded == "" {
				f.Crowded = x.Columns[0]
			}
			continue
		}
		tuple, null := buf[:0], false
		for _, at := range x.at {
			v := vals.At(at)
			null = null || v.IsNull()
			tuple = append(tuple, v)
		}
		switch {
		case x.Ordered:
			f.Entries = keys.OrderedEntries(f.Entries, l.def.Name, x.Name, tuple, f.ID)
		case !x.Unique:
			f.Entries = append(f.Entries, keys.Entry(l.def.Name, x.Name, inKeys(x.Index, tuple), id))
		case !null:
			f.Claims = append(f.Claims, Claim{Key: keys.Claim(l.def.Name, x.Name, inKeys(x.Index, tuple)), Columns: x.Columns, Text: tupleText(tuple)})
		}
	}
	return f, nil
}

// each adds the entries of a record in an index of lists, or of members, and returns how many they
// are: one for each element of the index's type, and none for other elements. That is why such an
// index does not lead to records by a value that is not of its type. An element that comes twice
// has one entry.
func (l *native) each(f *Footprint, x index, held value.Value, id string) int {
	before := len(f.Entries)
	for e := range x.elements(held) {
		if v, ok := e.As(x.Elements); ok {
			f.Entries = append(f.Entries, keys.Entry(l.def.Name, x.Name, []value.Value{v}, id))
		}
	}
	mine := f.Entries[before:]
	slices.Sort(mine) // lists with the same elements in another order have equal footprints
	mine = slices.Compact(mine)
	f.Entries = f.Entries[:before+len(mine)]
	return len(mine)
}

// elements yields what a column's value has that is compared by itself: what the path of members
// leads to, or else the elements of a list.
func (x *index) elements(held value.Value) iter.Seq[value.Value] {
	if x.members != nil {
		return held.Leaves(x.members)
	}
	return func(yield func(value.Value) bool) {
		for raw := range held.Elements() {
			if !yield(value.Element(raw)) {
				return
			}
		}
	}
}

func (l *native) RecordKey(id value.Value) string {
	return keys.RecordOf(l.def.Name, l.def.Shards, id)
}

func (l *native) record(token string) string {
	return keys.Record(l.def.Name, l.def.Shards, token)
}

// Finds is true for every index that is not unique: null has entries too. A claim is only
// found by all its columns, and null has no claim.
func (l *native) Finds(x schema.Index, vals []value.Value) bool {
	if !x.Unique {
		return true
	}
	for _, v := range vals {
		if v.IsNull() {
			return false
		}
	}
	return len(vals) == len(x.Columns)
}

// OneEach leaves out what has claims, which null has none of, and what has elements.
func (l *native) OneEach(x schema.Index) bool { return !x.Unique && x.Elements == "" }

func (l *native) Lookup(x schema.Index, vals []value.Value) string {
	if vals = inKeys(x, vals); x.Unique {
		return keys.Claim(l.def.Name, x.Name, vals)
	}
	return keys.LookupPattern(l.def.Name, x.Name, vals, len(x.Columns)-len(vals))
}

// EntryKeys is one key for each record.
func (l *native) EntryKeys(records int) int { return records }

func (l *native) HeadOf(entry string) string { return keys.HeadOf(l.def.Name, entry) }

func (l *native) Pointers(to []string, key string, held []byte) ([]string, error) {
	if !keys.IsClaim(l.def.Name, key) {
		return append(to, l.record(keys.RecordID(key))), nil
	}
	id, err := l.ReadOwner(held)
	if err != nil {
		return to, err
	}
	return append(to, l.RecordKey(id)), nil
}

func (l *native) CountPointers(string, []byte) int { return 1 }

func (l *native) Overlay(key string, held *[]byte, gone func(record string) bool, now []value.Value) (texts [][]byte, err error) {
	if held != nil {
		to, err := l.Pointers(nil, key, *held)
		if err != nil || !gone(to[0]) { // a claim that cannot be read belongs to no changed record
			texts = append(texts, *held)
		}
	}
	for _, id := range now {
		var text []byte
		if keys.IsClaim(l.def.Name, key) {
			text = l.Owner(id)
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func (l *native) IsEntry(key string) bool { return isOf(l.def, key, false, 1) }

func (l *native) IsClaim(key string) bool { return isOf(l.def, key, true, 0) }

// Owns is also true for the heads of an index that the model no longer has.
func (l *native) Owns(key string) bool {
	return l.IsEntry(key) || l.IsClaim(key) || keys.IsHead(l.def.Name, key)
}

func (l *native) Lists() Lists { return nil }

// inKeys are values as they stand in the keys of an index.
func inKeys(x schema.Index, vals []value.Value) []value.Value {
	if !x.Fold {
		return vals
	}
	out := make([]value.Value, len(vals))
	for i, v := range vals {
		out[i] = value.Fold(v)
	}
	return out
}

func tupleText(tuple []value.Value) string {
	parts := make([]string, len(tuple))
	for i, v := range tuple {
		parts[i] = v.Text()
	}
	return strings.Join(parts, ", ")
}
