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

	// Placed is the revision of the document in which the model had another layout last; 0
	// when it always had this one. A record of a writer that knew no later revision may lack
	// the entries of this layout.
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

// Index says that records can be found by the values of these columns, or of the first
// few of them. If it is unique, no two records have the same values in all of them.
type Index struct {
	Name    string     `json:"name"` // as in its keys: its columns, joined by "-"; with Fold "=fold" behind them, with Ordered "/" before the last one
	Columns []string   `json:"columns"`
	Unique  bool       `json:"unique,omitempty"`
	Ordered bool       `json:"ordered,omitempty"`
	Fold    bool       `json:"fold,omitempty"` // letter case does not matter: its keys have value.Fold of the values
	State   IndexState `json:"state"`

	// Elements is the type of the elements of an index of a list: a record has an entry for each
	// of the list's elements that have this type. "" for other indexes.
	Elements value.Type `json:"elements,omitempty"`

	// Declared is the revision of the document that the index was added to; 0 for an index of
	// a new model. A record of a writer that knew no later revision may lack its entry. It also
	// tells one declaration from another one, after the first was given up.
	Declared uint64 `json:"declared,omitempty"`
}

// IndexState says whether queries may use an index.
type IndexState string

const (
	// Writing means that writes begin to maintain the index: there may be programs that
	// have not heard of it yet.
	Writing IndexState = "writing"
	// Building means that every write maintains the index, but queries do not use
	// it: records from before it was declared may have no entry yet.
	Building IndexState = "building"
	// Ready means that every record has its entry, and queries use the index.
	Ready IndexState = "ready"
	// Dropping means that nobody uses or maintains the index any more, and that its entries
	// and claims are being removed.
	Dropping IndexState = "dropping"
)

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
	if slices.ContainsFunc(slices.Concat(d.Indexes, d.Dropping), func(x Index) bool {
		_, members := Path(x.Columns[0])
		return members != nil
	}) {
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

// Kind is what an index is for. Its text is the index's kind in errors.
type Kind string

const (
	PlainIndex   Kind = "index"   // finds records by equal values
	UniqueIndex  Kind = "unique"  // no two records have the same values
	OrderedIndex Kind = "ordered" // finds records by a range of the last column's values, in their order
)

const folded = "folded " // begins the kinds in which letter case does not matter

// Folded is the kind in which letter case does not matter. A model can have an index of the kind and
// one of this, of the same columns.
func (k Kind) Folded() Kind { return folded + k }

// NewIndex is an index of these columns, in state Ready.
func NewIndex(kind Kind, columns ...string) Index {
	base, fold := strings.CutPrefix(string(kind), folded)
	x := Index{Name: keys.IndexName(columns), Columns: columns, Unique: Kind(base) == UniqueIndex, Fold: fold, State: Ready}
	switch {
	case kind == OrderedIndex:
		x.Name, x.Ordered = keys.OrderedName(columns), true
	case fold:
		x.Name = keys.FoldedName(x.Name)
	}
	return x
}

// Each is x as an index of the elements of its column's lists.
func (x Index) Each(elements value.Type) Index {
	x.Name, x.Elements = keys.EachName(x.Name), elements
	return x
}

// Kind is what the index is for.
func (x Index) Kind() Kind {
	kind := PlainIndex
	switch {
	case x.Unique:
		kind = UniqueIndex
	case x.Ordered:
		kind = OrderedIndex
	}
	if x.Fold {
		return kind.Folded()
	}
	return kind
}

// Among reports whether a list has the index, by the same declaration.
func (x Index) Among(list []Index) bool {
	return slices.ContainsFunc(list, func(y Index) bool {
		return x.Name == y.Name && x.Unique == y.Unique && x.Declared == y.Declared
	})
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

// Index is the position of the index with this name and kind, or -1. An index and a
// unique index may have the same name. The names of indexes of lists are like no others.
func (d *Definition) Index(name string, unique bool) int {
	return slices.IndexFunc(d.Indexes, func(x Index) bool { return x.Name == name && x.Unique == unique })
}

// Indexed reports whether an index has this column.
func (d *Definition) Indexed(column string) bool {
	return slices.ContainsFunc(d.Indexes, func(x Index) bool { return x.Has(column) })
}

// Folds reports whether letter case does not matter where the column is compared with equal values:
// it is text, and in a folded index. That is so from the index's declaration on, and whatever way a
// query takes, so that the answer does not depend on that.
func (d *Definition) Folds(at int) bool {
	c := d.Columns[at]
	return c.Type == value.String && slices.ContainsFunc(d.Indexes, func(x Index) bool { return x.Fold && slices.Contains(x.Columns, c.Name) })
}

// Ordered reports whether queries may read the records in the order of a column, by its position.
func (d *Definition) Ordered(column int) bool {
	return slices.ContainsFunc(d.Indexes, func(x Index) bool {
		return x.Ordered && x.State == Ready && x.Columns[len(x.Columns)-1] == d.Columns[column].Name
	})
}

// Own says which indexes a column has by itself. If both folded ones and others are among them, only
// the others count.
func (d *Definition) Own(column string) (index, unique, fold bool) {
	has := func(kind Kind) bool { return d.IndexOf([]string{column}, kind) >= 0 }
	if index, unique = has(PlainIndex), has(UniqueIndex); index || unique {
		return index, unique, false
	}
	index, unique = has(PlainIndex.Folded()), has(UniqueIndex.Folded())
	return index, unique, index || unique
}

// AddIndex adds an index of these columns to d, unless it has that index already. Names
// are resolved as by Resolve.
func (d *Definition) AddIndex(kind Kind, columns ...string) error {
	if slices.ContainsFunc(columns, d.Inside) {
		return d.AddMembers(kind, "", columns...)
	}
	resolved := make([]string, len(columns))
	for i, name := range columns {
		pos, err := d.Resolve(name)
		if err != nil {
			return d.Errorf("%s %v: column %q does not exist; the columns are %s", kind, columns, name, strings.Join(d.columnNames(), ", "))
		}
		resolved[i] = d.Columns[pos].Name
	}
	if kind == OrderedIndex.Folded() {
		return d.Errorf("%s %v: an ordered index does not fold, because letter case matters to an order; leave one of the two out", kind, columns)
	}
	if len(resolved) == 0 {
		return d.Errorf("%s without columns; name at least one", kind)
	}
	x := NewIndex(kind, resolved...)
	for _, name := range resolved {
		if c := d.Columns[d.Position(name)]; c.Type == value.JSON && c.Elements != "" {
			x = d.placed(x.Each(c.Elements))
			break
		}
	}
	if i := d.Index(x.Name, x.Unique); i >= 0 {
		if !slices.Equal(d.Indexes[i].Columns, x.Columns) {
			return d.Errorf("%s %v and %s %v would share the name %q; rename a column", x.Kind(), x.Columns, x.Kind(), d.Indexes[i].Columns, x.Name)
		}
		return nil
	}
	d.Indexes = append(d.Indexes, x)
	return nil
}

// Place gives d a layout, before the catalogue knows it.
func (d *Definition) Place(layout string) {
	d.Layout = layout
	for i, x := range d.Indexes {
		d.Indexes[i] = d.placed(x)
	}
}

// placed is an index as d's layout has it: the one of the Node library has a list as a whole in its
// indexes.
func (d *Definition) placed(x Index) Index {
	if _, members := Path(x.Columns[0]); d.Layout == Sequelize && x.Elements != "" && members == nil {
		return NewIndex(x.Kind(), x.Columns...)
	}
	return x
}

// ElementsOf is the type of the elements that a column's lists are indexed by; "" when they are
// not.
func (d *Definition) ElementsOf(column string) value.Type {
	if i := d.IndexOf([]string{column}, PlainIndex); i >= 0 {
		return d.Indexes[i].Elements
	}
	return ""
}

// SetElements declares of which type the elements of a column's lists are. With "" it changes
// nothing.
func (d *Definition) SetElements(t value.Type, columns ...string) error {
	if t == "" {
		return nil
	}
	if len(columns) != 1 {
		return d.Errorf("index %v: Elements is for an index of one column, which holds lists; give it an index of its own", columns)
	}
	column := columns[0]
	at := d.Position(column)
	switch {
	case at < 0:
		return d.Errorf("column %q does not exist; the columns are %s", column, strings.Join(d.columnNames(), ", "))
	case d.Columns[at].Type != value.JSON:
		return d.Errorf("column %s has type %s, and so no Elements; only a column of type %s has", column, d.Columns[at].Type, value.JSON)
	case !t.IsElement():
		return d.Errorf("column %s: elements of type %q cannot be looked for; the types that can are %v", column, t, value.ElementTypes)
	case d.Columns[at].Elements != "" && d.Columns[at].Elements != t:
		return d.Errorf("column %s has elements of type %s, and of type %s; name one", column, d.Columns[at].Elements, t)
	case d.Layout == Sequelize:
		return d.Errorf("column %s: the Sequelize layout has no indexes of the elements of lists; leave Elements out, or use the native layout", column)
	}
	d.Columns[at].Elements = t
	return nil
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

// validateIndex reports what is wrong with one index.
func (d *Definition) validateIndex(x Index) error {
	if len(x.Columns) > maxIndexColumns {
		return d.Errorf("%s %s has %d columns; use at most %d", x.Kind(), x.Name, len(x.Columns), maxIndexColumns)
	}
	if x.Elements != "" {
		switch {
		case len(x.Columns) > 1:
			return d.Errorf("%s %v has a column that holds lists, and an index of those has no other column; give it an index of its own", x.Kind(), x.Columns)
		case x.Unique:
			return d.Errorf("unique %s is of a list, whose elements several records may have; use an index that is not unique", x.Columns[0])
		case !x.Elements.IsElement():
			return d.Errorf("index %s is of elements of type %q; the types of elements that can be indexed are %v", x.Columns[0], x.Elements, value.ElementTypes)
		}
	}
	for i, name := range x.Columns {
		column, members := Path(name)
		pos := d.Position(column)
		if d.Position(name) >= 0 { // a column whose name has a dot is none with members, and cannot be indexed
			column, members, pos = name, nil, d.Position(name)
		}
		if pos < 0 {
			return d.Errorf("%s %s: no column is called %q; the columns are %s", x.Kind(), x.Name, column, strings.Join(d.columnNames(), ", "))
		}
		if err := keys.CheckName(column); err != nil {
			return fmt.Errorf("%w: %s: %s: %w, so it cannot be indexed", errs.ErrSchema, d.Name, x.Kind(), err)
		}
		if err := d.validateMembers(x, name, members); err != nil {
			return err
		}
		if t := d.Columns[pos].Type; x.Ordered && !t.Indexable() {
			return d.Errorf("ordered index of %s: column %s has type %s, as slices, maps and structs have, and has no order; index another column", strings.Join(x.Columns, ", "), name, t)
		}
		if slices.Contains(x.Columns[:i], name) {
			return d.Errorf("%s %s names column %s twice; name it once", x.Kind(), x.Name, name)
		}
		if d.Columns[pos].Type != value.JSON && x.Elements != "" {
			return d.Errorf("index %s is of the elements of a list, but column %s has type %s; leave out Elements", x.Name, name, d.Columns[pos].Type)
		}
	}
	if x.Fold {
		return d.validateFold(x)
	}
	return nil
}

// validateFold reports why letter case cannot be without meaning in an index.
func (d *Definition) validateFold(x Index) error {
	texts := false
	for _, name := range x.Columns {
		c := d.Columns[d.Position(name)]
		if c.PrimaryKey {
			return d.Errorf("%s of %s: %s is the primary key, which is compared as it is; leave fold out, or give another column a folded index", x.Kind(), strings.Join(x.Columns, ", "), name)
		}
		texts = texts || c.Type == value.String
	}
	if !texts {
		return d.Errorf("%s of %s: no column of it is of type string, so there is no letter case; leave fold out", x.Kind(), strings.Join(x.Columns, ", "))
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
