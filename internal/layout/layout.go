// Package layout says which keys a record has: its own, its index entries and
// its unique claims. It is pure; package commit writes those keys, and whoever runs
// queries reads them.
//
// An entry is one record's, or a list of all the records with a value. Only this
// package and the part of commit that writes lists know which: everyone else asks
// what follows from it.
package layout

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Layout is where the records of one model stand in the bucket, and their index
// entries. It is immutable. Records are under keys.Records(model), whatever the
// layout; entries under keys.Entries(model).
type Layout interface {
	// Model is the model's definition.
	Model() *schema.Definition

	// RecordKey is the key of the record with this primary key, or one that no record
	// has, where Of refuses such records.
	RecordKey(id value.Value) string

	// Of is the footprint of a document.
	Of(doc []byte) (Footprint, error)

	// Finds reports whether every record with these values of an index's first
	// columns can be found by Lookup.
	Finds(x schema.Index, vals []value.Value) bool

	// Lookup is the key, or the pattern, of the index's entries for these values of
	// its first columns; of a unique index the claim's.
	Lookup(x schema.Index, vals []value.Value) string

	// EntryKeys is how many keys the entries are that a value has when this many
	// records have it.
	EntryKeys(records int) int

	// Pointers appends the keys of the records that an entry or a claim leads to, each
	// once.
	Pointers(to []string, key string, held []byte) ([]string, error)

	// CountPointers is how many records Pointers gives; none of what cannot be read.
	CountPointers(key string, held []byte) int

	// Overlay is what the key of an entry or a claim holds when some records are
	// changed: those that gone is true of no longer have the value, unless their primary
	// keys are among now. held is what it holds without the changes, nil when that is
	// nothing. Most often the answer is nothing or one text; a claim has several when
	// records are about to contend for it.
	Overlay(key string, held *[]byte, gone func(record string) bool, now []value.Value) ([][]byte, error)

	// HeadOf is the key that is written with every new entry on a replicated bucket,
	// for patterns to be guarded by: of an entry or of Lookup's pattern. "" where
	// Lookup gives no patterns.
	HeadOf(entry string) string

	// IsEntry and IsClaim tell the entries and claims of the model's indexes from
	// what other programs keep beside them. Owns is true of those, and of the keys that
	// HeadOf gives.
	IsEntry(key string) bool
	IsClaim(key string) bool
	Owns(key string) bool

	// Owner is what a claim holds, and ReadOwner reads it.
	Owner(id value.Value) []byte
	ReadOwner(held []byte) (value.Value, error)

	// Lists is not nil when an entry is a list, of all the records with a value. It is
	// for package commit, which writes them.
	Lists() Lists
}

// Lists are index entries of several records each.
type Lists interface {
	// Join is a list with these primary keys in it, at its end if they are new; Leave
	// is one without those of these records. An empty list is nil.
	Join(held []byte, ids ...value.Value) ([]byte, error)
	Leave(held []byte, records ...string) ([]byte, error)

	// Value is the column, and the value's text, by which a document is in the list
	// at key.
	Value(doc []byte, key string) (column, text string)
}

// New is the layout of a model. ErrSchema when the model has what the layout cannot
// keep, or the layout is not known.
func New(def *schema.Definition) (Layout, error) {
	makes, ok := layouts[def.Layout]
	if !ok {
		return nil, fmt.Errorf("%w: %s has layout %q, which this natsorm does not know: upgrade this program", errs.ErrSchema, def.Name, def.Layout)
	}
	return makes(def)
}

var layouts = map[string]func(*schema.Definition) (Layout, error){
	schema.Native:    newNative,
	schema.Sequelize: newSequelize,
}

// ErrMisplaced says that a record is at another key than its document says.
var ErrMisplaced = errors.New("its primary key is not the one in its key")

// At is the footprint of the document at a record's key; ErrMisplaced when it belongs
// at another one.
func At(l Layout, key string, doc []byte) (Footprint, error) {
	f, err := l.Of(doc)
	if err == nil && f.Record != key {
		err = ErrMisplaced
	}
	return f, err
}

// DefaultShards is the shard count of a model that does not say one.
func DefaultShards(layout string, fallback int) int {
	if layout == schema.Sequelize {
		return keys.SequelizeShards
	}
	return fallback
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
	Key     string
	Columns []string // the unique index's
	Text    string   // the value, for error messages
}

// Holds reports whether key is one of the footprint's entries or claims.
func (f *Footprint) Holds(key string) bool {
	return slices.Contains(f.Entries, key) || slices.ContainsFunc(f.Claims, func(c Claim) bool { return c.Key == key })
}

// IndexKeys are the keys of the footprint's entries and claims.
func (f *Footprint) IndexKeys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range f.Entries {
			if !yield(e) {
				return
			}
		}
		for _, c := range f.Claims {
			if !yield(c.Key) {
				return
			}
		}
	}
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
	return slices.Equal(f.Entries, g.Entries) && slices.EqualFunc(f.Claims, g.Claims, func(c, d Claim) bool { return c.Key == d.Key })
}

// claims is what layouts have in common: unique values.
type claims struct{ def *schema.Definition }

func (c claims) Model() *schema.Definition { return c.def }

func (c claims) Owner(id value.Value) []byte {
	if id.Type() == value.String {
		quoted, _ := document.Quote(id.Str()) // ids are valid UTF-8
		return quoted
	}
	return []byte(id.Text())
}

func (c claims) ReadOwner(held []byte) (value.Value, error) {
	id, err := document.Scalar(held, c.def.Key().Type)
	if err == nil && id.IsNull() {
		err = fmt.Errorf("no owner")
	}
	return id, err
}

// isOf tells a key of an index of one kind, with a token for each column and some
// others.
func isOf(def *schema.Definition, key string, unique bool, others int) bool {
	name, columns := keys.IndexOf(def.Name, key, unique)
	i := def.Index(name, unique)
	return name != "" && i >= 0 && len(def.Indexes[i].Columns) == columns-others
}
