// Package schema is what natsorm knows of a model: its columns and indexes,
// how a Go struct or a caller declares them, and how a declaration is held
// against the one in the bucket's catalogue. It is pure.
package schema

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/value"
)

// Format is the version of the catalogue's documents and of the key format.
const Format = 1

// The key layouts; see package layout.
const (
	Native    = "native"
	Sequelize = "sequelize" // of the Node library sequelize-natskv
)

const (
	// MaxShards is the largest shard count of a model.
	MaxShards = 1 << 12

	maxIndexColumns = 8
)

// Definition is a model as the catalogue holds it, in JSON at _schema.<model>.
type Definition struct {
	Format  int      `json:"format"`
	Name    string   `json:"name"`
	Layout  string   `json:"layout"`
	Shards  int      `json:"shards"`
	Columns []Column `json:"columns"`
	Indexes []Index  `json:"indexes,omitempty"`
	Moving  *Moving  `json:"moving,omitempty"` // to another layout
}

// Column is one member of a model's documents.
type Column struct {
	Name       string     `json:"name"`
	Type       value.Type `json:"type"`
	PrimaryKey bool       `json:"primaryKey,omitempty"`
	Auto       bool       `json:"auto,omitempty"` // a zero primary key is filled in
	Role       Role       `json:"role,omitempty"`

	// ZeroNull says that this process reads null, or an absent member, as
	// the type's zero: the Go field is not a pointer. It is not stored.
	ZeroNull bool `json:"-"`
}

// Role is what natsorm does with a column by itself.
type Role string

const (
	CreatedAt Role = "createdAt"
	UpdatedAt Role = "updatedAt"
)

// Index is an index, by which records with given values are found. A unique
// one lets only one record have them.
type Index struct {
	Name    string     `json:"name"` // its columns, joined by "-", as in its keys
	Columns []string   `json:"columns"`
	Unique  bool       `json:"unique,omitempty"`
	State   IndexState `json:"state"`
}

// IndexState says what an index can be used for.
type IndexState string

const (
	// Building: every write maintains it; queries do not use it, because
	// records from before it was declared may have no entry yet.
	Building IndexState = "building"
	// Ready: every record has its entry.
	Ready IndexState = "ready"
)

// NewIndex is a ready index of these columns.
func NewIndex(unique bool, columns ...string) Index {
	return Index{Name: keys.IndexName(columns), Columns: columns, Unique: unique, State: Ready}
}

// Kind is "index" or "unique", for messages.
func (x Index) Kind() string {
	if x.Unique {
		return "unique"
	}
	return "index"
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

// Resolve is the position of the column that name means: the one with that
// name, else the only one whose name differs just in letter case.
func (d *Definition) Resolve(name string) (int, error) {
	if i := d.Position(name); i >= 0 {
		return i, nil
	}
	found := -1
	for i, c := range d.Columns {
		if strings.EqualFold(c.Name, name) {
			if found >= 0 {
				return -1, errs.Invalidf(d.Name, name, "means %s or %s; use the exact name", d.Columns[found].Name, c.Name)
			}
			found = i
		}
	}
	const most = 100 // of a name in a message
	if len(name) > most {
		name = name[:most] + "…"
	}
	if found < 0 {
		return -1, errs.Invalidf(d.Name, name, "no such column; %s has %s", d.Name, strings.Join(d.columnNames(), ", "))
	}
	return found, nil
}

// Index is the position of the index of that name and kind, or -1.
func (d *Definition) Index(name string, unique bool) int {
	return slices.IndexFunc(d.Indexes, func(x Index) bool { return x.Name == name && x.Unique == unique })
}

// AddIndex declares an index of these columns, once.
func (d *Definition) AddIndex(unique bool, columns ...string) error {
	resolved := make([]string, len(columns))
	for i, name := range columns {
		pos, err := d.Resolve(name)
		if err != nil {
			return d.Errorf("%s %v: column %q does not exist; the columns are %s", kindName(unique), columns, name, strings.Join(d.columnNames(), ", "))
		}
		resolved[i] = d.Columns[pos].Name
	}
	if len(resolved) == 0 {
		return d.Errorf("%s without columns", kindName(unique))
	}
	x := NewIndex(unique, resolved...)
	if i := d.Index(x.Name, unique); i >= 0 {
		if !slices.Equal(d.Indexes[i].Columns, x.Columns) {
			return d.Errorf("%s %v and %s %v would share the name %q; rename a column", x.Kind(), x.Columns, x.Kind(), d.Indexes[i].Columns, x.Name)
		}
		return nil
	}
	d.Indexes = append(d.Indexes, x)
	return nil
}

// Validate reports the first thing that makes a declaration unusable.
func (d *Definition) Validate() error {
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
			return d.Errorf("two columns are called %q", c.Name)
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
		return d.Errorf("%d primary keys; a model has one", primary)
	}
	for _, x := range d.Indexes {
		if err := d.validateIndex(x); err != nil {
			return err
		}
	}
	return nil
}

func (d *Definition) validateColumn(c Column) error {
	switch {
	case c.Name == "" || !utf8.ValidString(c.Name):
		return d.Errorf("column name %q is empty or not UTF-8", c.Name)
	case c.Name[0] == '_':
		return d.Errorf("column name %q begins with _, which natsorm keeps for itself", c.Name)
	case !slices.Contains(value.Types, c.Type):
		return d.Errorf("column %s: unknown type %q; the types are %v", c.Name, c.Type, value.Types)
	case c.Auto && !c.PrimaryKey:
		return d.Errorf("column %s: auto is for primary keys", c.Name)
	case (c.Role == CreatedAt || c.Role == UpdatedAt) && c.Type != value.Time:
		return d.Errorf("column %s: %s needs a time.Time", c.Name, c.Role)
	}
	if c.PrimaryKey && c.Type != value.Int && c.Type != value.Uint && c.Type != value.String {
		return d.Errorf("primary key %s has type %s; use an integer or a string", c.Name, c.Type)
	}
	return nil
}

func (d *Definition) validateIndex(x Index) error {
	if len(x.Columns) > maxIndexColumns {
		return d.Errorf("%s %s has %d columns; at most %d", x.Kind(), x.Name, len(x.Columns), maxIndexColumns)
	}
	for i, name := range x.Columns {
		pos := d.Position(name)
		if pos < 0 {
			return d.Errorf("%s %s: no column %q", x.Kind(), x.Name, name)
		}
		if err := keys.CheckName(name); err != nil {
			return fmt.Errorf("%w: %s: %s: %w, and can not be indexed", errs.ErrSchema, d.Name, x.Kind(), err)
		}
		if slices.Contains(x.Columns[:i], name) {
			return d.Errorf("%s %s names column %s twice", x.Kind(), x.Name, name)
		}
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

// Errorf is an ErrSchema that names the model.
func (d *Definition) Errorf(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", errs.ErrSchema, d.Name, fmt.Sprintf(format, args...))
}

func kindName(unique bool) string { return Index{Unique: unique}.Kind() }
