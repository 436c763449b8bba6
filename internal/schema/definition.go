// Package schema holds the definition of a model: its columns, its indexes, and the
// layout of its keys. It is pure.
//
// A definition comes from three places. Compile reads it from the tags of a Go struct;
// the root package builds one from a Schema value; and the catalogue of the bucket holds
// it as JSON, for all programs. Validate reports what makes a definition unusable.
// Reconcile compares the one in a program with the one in the catalogue, and returns
// the union of both, or an error where they contradict each other.
//
// All errors are errs.ErrSchema, or errs.ErrInvalid for a column that a caller named in a
// query. They name the model, and say what to change.
package schema

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/value"
)

// Format is the version of the catalogue's documents and of the keys. A program refuses
// a model with a larger one.
//
// FormatChanging is that of a document with an index in state Writing or Dropping, of a model
// that is being emptied, and of one that was dropped. A program of format 1 does not know
// these states: it would build the index too early, or write what is being removed.
// FormatFormer is that of a document with former names: an older program would not know that
// members of records are of other columns. FormatConverted is that of a document with conversions: an
// older program would write what does not fit the new type. FormatKinds is that of a document with an
// index of a kind that older programs do not know: they would maintain another one in its place.
// FormatMembers is that of a document with an index of members inside of a column, for the same reason.
const (
	Format          = 1
	FormatChanging  = 2
	FormatFormer    = 3
	FormatConverted = 4
	FormatKinds     = 5
	FormatMembers   = 6
)

// The layouts: which keys a record and its index entries have. See package layout.
const (
	Native    = "native"    // natsorm's own
	Sequelize = "sequelize" // that of the Node library sequelize-natskv
)

const (
	// MaxShards is the largest number of shards of a model.
	MaxShards = 1 << 12

	maxIndexColumns = 8
)

// Definition is a model: its JSON is what the catalogue holds at _schema.<model>.
type Definition struct {
	Format  int      `json:"format"`
	Name    string   `json:"name"`
	Layout  string   `json:"layout"`  // Native or Sequelize
	Shards  int      `json:"shards"`  // 1 to MaxShards; 0 in a program that leaves it to the catalogue
	Columns []Column `json:"columns"` // in the order of their declaration
	Indexes []Index  `json:"indexes,omitempty"`
	Moving  *Moving  `json:"moving,omitempty"` // while the model moves to another layout, else nil

	Emptying *Emptying `json:"emptying,omitempty"` // while all records are being removed, else nil

	// Dropping are indexes that nobody uses or maintains any more, while their entries and
	// claims are being removed.
	Dropping []Index `json:"dropping,omitempty"`

	// Dropped says that the model is gone. The document stays, to tell programs that know an
	// earlier one.
	Dropped bool `json:"dropped,omitempty"`

	// Born is the revision of the document that said that a model of this name was dropped,
	// before this one was defined; 0 when there was none.
	Born uint64 `json:"born,omitempty"`

	// Emptied is the revision up to which the model's keys were removed last; 0 when they
	// never were. A record of a writer that knew no later revision may lack its entries.
	Emptied uint64 `json:"emptied,omitempty"`

	Former []Former `json:"former,omitempty"` // names that columns had

	Converted []Conversion `json:"converted,omitempty"` // changes of columns' types

	// Placed is the revision of the document in which the model had another layout last, or in
	// which records may have been moved to another one, and back since; 0 when they never were. A
	// record of a writer that knew no later revision may lack the entries of this layout.
	Placed uint64 `json:"placed,omitempty"`

	// Revision is that of the catalogue's document; 0 for a definition that is not from there.
	Revision uint64 `json:"-"`
}

// Column is one member of a model's documents.
type Column struct {
	Name       string     `json:"name"`
	Type       value.Type `json:"type"`
	PrimaryKey bool       `json:"primaryKey,omitempty"`
	Auto       bool       `json:"auto,omitempty"` // natsorm fills in a primary key that is zero
	Role       Role       `json:"role,omitempty"`
	Hidden     bool       `json:"hidden,omitempty"` // only programs that declare it see it

	// ZeroNull says that the Go field of this program cannot be null, so null and an
	// absent member are read as the type's zero. The catalogue does not hold it: other
	// programs may declare the field differently.
	ZeroNull bool `json:"-"`

	// Holds says what the Go field of this program writes into a JSON column; "" for any
	// value, or when it is not known. The catalogue does not hold it.
	Holds Shape `json:"-"`

	// Elements is the type of the elements of the lists that a JSON column holds, as this
	// program declares it; "" for any, or when it is not known. The catalogue does not hold it,
	// but its indexes do.
	Elements value.Type `json:"-"`

	// Go is the type of this program's Go field; nil when there is none, or when it is not known. The
	// catalogue does not hold it.
	Go reflect.Type `json:"-"`
}

// Shape is what all values of a JSON column are, besides null.
type Shape string

const (
	List   Shape = "list"
	Object Shape = "object"
)

// Role says that natsorm sets a column itself. "" is a column that only programs set.
type Role string

const (
	CreatedAt Role = "createdAt" // the time when the record was created
	UpdatedAt Role = "updatedAt" // the time of the record's last write
)

// Gone is a revision up to which no key of the model is left; 0 when there is none. A scan of a server
// that is behind may still find some.
func (d *Definition) Gone() uint64 {
	if gone := max(d.Emptied, d.Born); gone < d.Revision {
		return gone
	}
	return 0 // the document is from another bucket, with other revisions
}

// Reindexed is the last revision of the model's document that did not ask of a record all entries
// and claims that d asks of it. 0 when none did.
func (d *Definition) Reindexed() uint64 {
	last := max(d.Placed, d.Emptied, d.Born)
	for _, x := range d.Indexes {
		last = max(last, x.Declared)
	}
	return last
}

// Changed is the last revision of the model's document that did not ask of a record all that d
// asks of it, the names of its members among that. 0 when none did: then records do not say by
// which they were written.
func (d *Definition) Changed() uint64 {
	last := d.Reindexed()
	for _, f := range d.Former {
		last = max(last, f.Since, f.Freed)
	}
	for _, c := range d.Converted {
		last = max(last, c.Since)
	}
	return last
}

// Is reports whether an index of d is in the state.
func (d *Definition) Is(state IndexState) bool {
	return slices.ContainsFunc(d.Indexes, func(x Index) bool { return x.State == state })
}

// Unbuilt reports whether an index of d is not ready.
func (d *Definition) Unbuilt() bool { return d.Is(Writing) || d.Is(Building) }

// FormatOf is the format of d's document.
func (d *Definition) FormatOf() int {
	if slices.ContainsFunc(slices.Concat(d.Indexes, d.Dropping), Index.inside) {
		return FormatMembers
	}
	if slices.ContainsFunc(slices.Concat(d.Indexes, d.Dropping), func(x Index) bool { return x.Ordered || x.Fold || x.Elements != "" }) {
		return FormatKinds
	}
	if len(d.Converted) > 0 {
		return FormatConverted
	}
	if len(d.Former) > 0 {
		return FormatFormer
	}
	if d.Is(Writing) || d.Emptying != nil || d.Dropped || len(d.Dropping) > 0 {
		return FormatChanging
	}
	return Format
}

// PrimaryKey is the position of the primary key among the columns.
func (d *Definition) PrimaryKey() int {
	return slices.IndexFunc(d.Columns, func(c Column) bool { return c.PrimaryKey })
}

// Key is the primary key column.
func (d *Definition) Key() Column { return d.Columns[d.PrimaryKey()] }

// Position is the position of the column called name, or -1.
func (d *Definition) Position(name string) int {
	return slices.IndexFunc(d.Columns, func(c Column) bool { return c.Name == name })
}

// Resolve is the position of the column that a caller means by name: the one with
// exactly that name, or had it before it was renamed, or else the only one that differs from
// it in nothing but letter case. It fails with errs.ErrInvalid when there is none, or more than one.
func (d *Definition) Resolve(name string) (int, error) {
	if i := d.Position(name); i >= 0 {
		return i, nil
	}
	if f, ok := d.FormerName(name); ok && !f.Dropped() && !f.Closed {
		return d.Position(f.Column), nil
	}
	found := -1
	for i, c := range d.Columns {
		if strings.EqualFold(c.Name, name) {
			if found >= 0 {
				return -1, errs.Invalidf(d.Name, name, "may mean %s or %s; use the exact name of one", d.Columns[found].Name, c.Name)
			}
			found = i
		}
	}
	const most = 100 // bytes of a name in an error: it may come from anywhere
	if len(name) > most {
		name = name[:most] + "…"
	}
	if found < 0 {
		return -1, d.NoColumn(name)
	}
	return found, nil
}

// NoColumn is the error for a name that no column has. It does not tell of hidden ones.
func (d *Definition) NoColumn(name string) error {
	var names []string
	for _, c := range d.Columns {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	hint := d.formerHint(name)
	if strings.EqualFold(name, "version") || strings.EqualFold(name, "revision") {
		hint = "; a record's version is no column: a field with orm:\"version\" gets it, and IfRevision makes a write depend on it"
	}
	return errs.Invalidf(d.Name, name, "no such column; the columns of %s are %s%s", d.Name, strings.Join(names, ", "), hint)
}

// Validate reports the first thing that makes d unusable, or nil. A definition with a
// newer format may mean what this program does not know.
func (d *Definition) Validate() error {
	if d.Format > FormatMembers {
		return d.Errorf("the catalogue has format %d, written by a newer natsorm; this one knows up to %d: upgrade this program", d.Format, FormatMembers)
	}
	if err := keys.CheckName(d.Name); err != nil {
		return fmt.Errorf("%w: model: %w", errs.ErrSchema, err)
	}
	if d.Shards < 1 || d.Shards > MaxShards {
		return d.Errorf("%d shards; use 1 to %d", d.Shards, MaxShards)
	}
	primary := 0
	seen := map[string]bool{}
	for _, c := range d.Columns {
		if err := d.validateColumn(c); err != nil {
			return err
		}
		if seen[c.Name] {
			return d.Errorf("two columns are called %q; rename one", c.Name)
		}
		seen[c.Name] = true
		if c.PrimaryKey {
			primary++
		}
	}
	switch {
	case primary == 0:
		return d.Errorf(`no primary key; tag one field with orm:"primaryKey", or set ColumnSchema.PrimaryKey in a Schema`)
	case primary > 1:
		return d.Errorf("%d primary keys; mark exactly one column", primary)
	}
	for _, x := range d.Indexes {
		if err := d.validateIndex(x); err != nil {
			return err
		}
	}
	if err := d.validateConverted(); err != nil {
		return err
	}
	return d.validateFormer()
}

// validateColumn reports what is wrong with one column by itself.
func (d *Definition) validateColumn(c Column) error {
	switch {
	case c.Name == "" || !utf8.ValidString(c.Name):
		return d.Errorf("column name %q is empty or not valid UTF-8; give it another name", c.Name)
	case c.Name[0] == '_':
		return d.Errorf("column name %q begins with _, which is reserved; give it another name", c.Name)
	case !slices.Contains(value.Types, c.Type):
		return d.Errorf("column %s: unknown type %q; the types are %v", c.Name, c.Type, value.Types)
	case c.Auto && !c.PrimaryKey:
		return d.Errorf("column %s: auto is only for the primary key; drop it here", c.Name)
	case (c.Role == CreatedAt || c.Role == UpdatedAt) && c.Type != value.Time:
		return d.Errorf("column %s: %s needs type %s, but it has type %s", c.Name, c.Role, value.Time, c.Type)
	}
	if c.PrimaryKey && c.Type != value.Int && c.Type != value.Uint && c.Type != value.String {
		return d.Errorf("primary key %s has type %s; use an integer or a string", c.Name, c.Type)
	}
	return nil
}

func (d *Definition) columnNames() []string {
	names := make([]string, len(d.Columns))
	for i, c := range d.Columns {
		names[i] = c.Name
	}
	return names
}

// Errorf is an errs.ErrSchema that names the model.
func (d *Definition) Errorf(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", errs.ErrSchema, d.Name, fmt.Sprintf(format, args...))
}
