// Package layout says which keys a record has: its own, its index entries and
// its unique claims. It is pure; package commit writes those keys and package
// exec reads them.
package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Layout is the native layout of one model. It is immutable.
type Layout struct {
	Def     *schema.Definition
	primary int
	fields  *document.Fields // the primary key and every indexed column
	indexes []index
}

type index struct {
	schema.Index
	at []int // its columns' positions
}

// New is the layout of a model.
func New(def *schema.Definition) *Layout {
	l := &Layout{Def: def, primary: def.PrimaryKey()}
	read := []int{l.primary}
	for _, x := range def.Indexes {
		ix := index{Index: x}
		for _, name := range x.Columns {
			ix.at = append(ix.at, def.Position(name))
		}
		l.indexes = append(l.indexes, ix)
		read = append(read, ix.at...)
	}
	l.fields = document.NewFields(def, read...)
	return l
}

// Footprint is the keys that go with one document.
type Footprint struct {
	ID      value.Value // the primary key; null when the document has none
	Record  string      // the record's key, unless ID is null
	Entries []string
	Claims  []Claim
}

// Claim is a unique value that a document holds.
type Claim struct {
	Key   string
	Index string // the unique index's name
	Text  string // the value, for messages
}

// Holds reports whether key is one of the footprint's entries or claims.
func (f *Footprint) Holds(key string) bool {
	return slices.Contains(f.Entries, key) || slices.ContainsFunc(f.Claims, func(c Claim) bool { return c.Key == key })
}

// Only is the footprint with just this entry or claim.
func (f *Footprint) Only(key string) *Footprint {
	out := &Footprint{ID: f.ID, Record: f.Record}
	for _, e := range f.Entries {
		if e == key {
			out.Entries = []string{e}
		}
	}
	for _, c := range f.Claims {
		if c.Key == key {
			out.Claims = []Claim{c}
		}
	}
	return out
}

// Equal reports whether two footprints have the same entries and claims.
func (f *Footprint) Equal(g *Footprint) bool {
	return slices.Equal(f.Entries, g.Entries) && slices.Equal(f.Claims, g.Claims)
}

// Of is the footprint of a document. A null in a unique index claims nothing.
func (l *Layout) Of(doc []byte) (Footprint, error) {
	vals, err := l.fields.Read(doc)
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
		tuple, null := buf[:0], false
		for _, at := range x.at {
			v := vals.At(at)
			null = null || v.IsNull()
			tuple = append(tuple, v)
		}
		switch {
		case !x.Unique:
			f.Entries = append(f.Entries, keys.Entry(l.Def.Name, x.Name, tuple, id))
		case !null:
			f.Claims = append(f.Claims, Claim{Key: keys.Claim(l.Def.Name, x.Name, tuple), Index: x.Name, Text: tupleText(tuple)})
		}
	}
	return f, nil
}

// RecordKey is the key of the record with this primary key.
func (l *Layout) RecordKey(id value.Value) string {
	return keys.RecordOf(l.Def.Name, l.Def.Shards, id)
}

func (l *Layout) record(token string) string {
	return keys.Record(l.Def.Name, l.Def.Shards, token)
}

// Lookup is the pattern of an index's entries for these values of its first
// columns.
func (l *Layout) Lookup(x schema.Index, vals []value.Value) string {
	open := len(x.Columns) - len(vals)
	return keys.Lookup(l.Def.Name, x.Name, vals) + strings.Repeat("*.", open) + "*"
}

// HeadOf is the head of an index entry, or of a lookup's pattern.
func (l *Layout) HeadOf(entry string) string { return keys.HeadOf(l.Def.Name, entry) }

// RecordOfEntry is the key of the record that an index entry points at.
func (l *Layout) RecordOfEntry(entry string) string { return l.record(keys.RecordID(entry)) }

// IsClaim tells a claim from an index entry.
func (l *Layout) IsClaim(key string) bool { return keys.IsClaim(l.Def.Name, key) }

// ClaimKey is the key of the claim for these values of a unique index.
func (l *Layout) ClaimKey(x schema.Index, vals []value.Value) string {
	return keys.Claim(l.Def.Name, x.Name, vals)
}

// Owner is what a claim holds: its owner's primary key, in JSON.
func (l *Layout) Owner(id value.Value) []byte {
	if id.Type() == value.String {
		quoted, _ := document.Quote(id.Str()) // ids are valid UTF-8
		return quoted
	}
	return []byte(id.Text())
}

// ReadOwner reads what a claim holds.
func (l *Layout) ReadOwner(raw []byte) (value.Value, error) {
	id, err := document.Scalar(raw, l.Def.Columns[l.primary].Type)
	if err == nil && id.IsNull() {
		err = fmt.Errorf("no owner")
	}
	return id, err
}

func tupleText(tuple []value.Value) string {
	parts := make([]string, len(tuple))
	for i, v := range tuple {
		parts[i] = v.Text()
	}
	return strings.Join(parts, ", ")
}
