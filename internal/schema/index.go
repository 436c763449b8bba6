package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/value"
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

// Kind is what an index is for. Its text is the index's kind in errors.
type Kind string

const (
	PlainIndex   Kind = "index"   // finds records by equal values
	UniqueIndex  Kind = "unique"  // no two records have the same values
	OrderedIndex Kind = "ordered" // finds records by a range of the last column's values, in their order
)

// UniqueOrdered is the kind of an index that is said to be both. There is none: AddIndex refuses it.
const UniqueOrdered Kind = "unique ordered"

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
	if kind == UniqueOrdered || kind == UniqueOrdered.Folded() {
		return d.Errorf("index %v is unique and ordered; declare two indexes, a unique one and an ordered one", columns)
	}
	if len(resolved) == 0 {
		return d.Errorf("%s without columns; name at least one", kind)
	}
	x := NewIndex(kind, resolved...)
	for _, name := range resolved {
		if c := d.Columns[d.Position(name)]; c.Type == value.JSON && c.Elements != "" {
			x = x.Each(c.Elements)
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

// NoElements is the error for an index of the elements of a column's lists in a layout that has none.
func (d *Definition) NoElements(column string) error {
	return d.Errorf("index of field %s: the Sequelize layout has no indexes of the elements of lists; leave the index out, or use the native layout (ChangeLayout moves a model). A field of type []any, without Elements, may have one there: that of the Node library, which holds each list as one text, and by which nothing is found", column)
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
		return d.NoElements(column)
	}
	d.Columns[at].Elements = t
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
