// Package layout says which keys a record has: its own key, its index entries and its
// unique claims. It is pure: package commit writes those keys, and package access reads
// them.
//
// An index entry belongs to one record, or it is a list of all records with a value.
// Only this package, and the part of commit that writes lists, know which of the two a
// model has. Other packages ask a Layout what follows from it: which records an entry
// leads to (Pointers), how many keys a value's entries take (EntryKeys), what a
// transaction changes at a key (Overlay). So a new kind of index changes few places.
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

// Layout says at which keys the records of one model are, and their index entries and
// claims. In every layout the records are under keys.Records(model) and the entries
// under keys.Entries(model). A Layout is immutable and safe for concurrent use.
type Layout interface {
	// Model is the model's definition.
	Model() *schema.Definition

	// RecordKey is the key of the record with this primary key. For a primary key that
	// Of refuses, it is a key that no record has.
	RecordKey(id value.Value) string

	// Of is the footprint of a document. The error says what in the document does not
	// fit the model.
	Of(doc []byte) (Footprint, error)

	// Finds reports whether Lookup finds every record with these values of an index's
	// first columns. Where it does not, a query has to take another way.
	Finds(x schema.Index, vals []value.Value) bool

	// OneEach reports whether every record has exactly one entry in an index, which no other
	// record has.
	OneEach(x schema.Index) bool

	// Lookup is the key, or the pattern, of an index's entries for these values of its
	// first columns. For a unique index it is the key of the claim.
	Lookup(x schema.Index, vals []value.Value) string

	// EntryKeys is how many keys hold the entries of a value that this many records
	// have.
	EntryKeys(records int) int

	// Pointers appends the keys of the records that an entry or a claim leads to, each
	// once. held is what the entry's or claim's key holds.
	Pointers(to []string, key string, held []byte) ([]string, error)

	// CountPointers is how many records Pointers gives; 0 when held cannot be read.
	CountPointers(key string, held []byte) int

	// Overlay returns what the key of an entry or a claim holds after a transaction's
	// changes. held is what it holds without them; nil when the key is not there. The
	// records that gone reports lose the value; then those with the primary keys in now
	// have it.
	//
	// The answer is empty when the key is gone, and most often one text. A claim has
	// several while records of the transaction contend for it.
	Overlay(key string, held *[]byte, gone func(record string) bool, now []value.Value) ([][]byte, error)

	// HeadOf is the head of an entry, or of a pattern that Lookup gives: the key that is
	// written with every new entry where the bucket may have replicas, and guards lookups there. It
	// is "" in a layout whose Lookup gives no patterns.
	HeadOf(entry string) string

	// IsEntry and IsClaim report whether a key is an entry, or a claim, of one of the
	// model's indexes, and not something that another program keeps beside them. Owns
	// reports whether a key is either of them, or a head.
	IsEntry(key string) bool
	IsClaim(key string) bool
	Owns(key string) bool

	// Owner is what the claim of a record with this primary key holds. ReadOwner reads
	// that back.
	Owner(id value.Value) []byte
	ReadOwner(held []byte) (value.Value, error)

	// Lists writes the entries of a layout in which an entry is a list of all records
	// with a value. It is nil in other layouts. Only package commit uses it.
	Lists() Lists
}

// Lists computes lists. In each method held is what the list's key holds, and a nil
// result is an empty list, whose key is to be deleted. The error is that of a held that
// is not a list.
type Lists interface {
	// Join returns the list with these primary keys in it; new ones come at its end.
	// Leave returns it without those of the records at these keys.
	Join(held []byte, ids ...value.Value) ([]byte, error)
	Leave(held []byte, records ...string) ([]byte, error)

	// Value is the column, and the value as text, for which a document is in the list
	// at key; both are empty when it is not in it.
	Value(doc []byte, key string) (column, text string)
}

// New makes the layout of a model. ErrSchema when the model has something that the
// layout cannot keep, or when this natsorm does not know the layout.
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

// ErrMisplaced says that a record's key and the primary key in its document do not
// agree.
var ErrMisplaced = errors.New("its primary key is not the one in its key")

// At is the footprint of a document that was read at a record's key. ErrMisplaced when
// the document belongs at another key.
func At(l Layout, key string, doc []byte) (Footprint, error) {
	f, err := l.Of(doc)
	if err == nil && f.Record != key {
		err = ErrMisplaced
	}
	return f, err
}

// DefaultShards is the shard count of a model that does not give one: fallback, or what
// the layout prescribes.
func DefaultShards(layout string, fallback int) int {
	if layout == schema.Sequelize {
		return keys.SequelizeShards
	}
	return fallback
}

// Footprint is all keys that a record with one document has.
type Footprint struct {
	ID      value.Value // the primary key; null when the document has none
	Record  string      // the record's key; empty when ID is null
	Entries []string    // the keys of its index entries
	Claims  []Claim

	// Crowded is a column whose list has more different elements than MaxElements, and an index
	// of them; "" when there is none. No record is to become such a one, see Fits.
	Crowded string
}

// MaxElements is how many different elements the list of a record may have that has an index of
// its elements. The changes of one such list, with the heads of its entries, fit into one batch:
// as many entries that come, as many that go, and a head for each that comes.
const MaxElements = 256

// Fits is the errs.ErrInvalid for a record that may not become one with the footprint after; before
// is what it was, or nil. A record that was written before its list had an index keeps what it
// has.
func Fits(def *schema.Definition, before, after *Footprint) error {
	if after == nil || after.Crowded == "" || before != nil && before.Crowded != "" && before.Equal(after) {
		return nil
	}
	return errs.Invalidf(def.Name, after.Crowded, "has more than %d different elements, and an index with an entry for each of them; store fewer in one record, or drop the index with DropIndex", MaxElements)
}

// Claim is a unique value that a document holds.
type Claim struct {
	Key     string
	Columns []string // the unique index's
	Text    string   // the value, for error messages
}

// Taken is the error of a claim that another record of the model, owner, has.
func (c Claim) Taken(model string, owner value.Value) error {
	return &errs.UniqueError{Model: model, Columns: c.Columns, Value: c.Text, Owner: owner.Text()}
}

// Holds reports whether key is one of the footprint's entries or claims.
func (f *Footprint) Holds(key string) bool {
	return slices.Contains(f.Entries, key) || slices.ContainsFunc(f.Claims, func(c Claim) bool { return c.Key == key })
}

// IndexKeys yields the keys of the footprint's entries and claims.
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

// Only is the footprint without all entries and claims but the one at key.
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

// claims is the part that all layouts share: the model, the former names of its columns, and
// what a claim holds.
type claims struct {
	def   *schema.Definition
	names *document.Names // a document may have members by former names
}

func claimsOf(def *schema.Definition) claims { return claims{def, document.NamesOf(def)} }

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

// isOf reports whether a key belongs to one of the model's indexes, unique ones or
// others. After the index's name it must have a token for each column, and this many
// others.
func isOf(def *schema.Definition, key string, unique bool, others int) bool {
	name, columns := keys.IndexOf(def.Name, key, unique)
	i := def.Index(name, unique)
	if name != "" && i >= 0 && def.Indexes[i].Ordered {
		return keys.IsOrderedEntry(def.Name, key, len(def.Indexes[i].Columns))
	}
	return name != "" && i >= 0 && len(def.Indexes[i].Columns) == columns-others
}
