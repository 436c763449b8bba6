package replica

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// form is how the records of a version of a model are kept: how they are taken apart, and by what they
// are found. It is immutable.
type form struct {
	def     *schema.Definition
	names   *document.Names // that members of records are to have
	layout  layout.Layout   // where records have their keys; nil when it is not known here
	shape   *row.Shape
	indexes []index // the first is that of the primary key, in which all records are

	views sync.Map // the view of each version of the model that has read: by *records.Model, a *view
}

// index is an index in memory. Each has the order of its values, and then that of the primary key. An index of
// a model may be one, in whatever state it is in the bucket.
type index struct {
	schema.Index
	order   *row.Order // nil for one of elements
	column  int        // of elements: the column that has them,
	members []string   // and the path to them in it; nil for those of a list
}

// primary is the name of the index of the primary key. No other index has no name.
const primary = ""

// newForm is the form of a model. One without a primary key, as a document has that cannot be read, keeps
// all records whole, and finds none.
func newForm(def *schema.Definition) *form { return formOf(def, row.NewShape(def)) }

// formOf is the form of a model whose rows have this shape.
func formOf(def *schema.Definition, shape *row.Shape) *form {
	f := &form{def: def, names: document.NamesOf(def), shape: shape}
	if def.PrimaryKey() < 0 {
		return f
	}
	if l, err := layout.New(def); err == nil {
		f.layout = l
	}
	key := def.PrimaryKey()
	f.indexes = append(f.indexes, index{Index: schema.Index{Name: primary, Columns: []string{def.Key().Name}, State: schema.Ready}, order: row.NewOrder(f.shape, key)})
	for _, x := range def.Indexes {
		switch {
		case x.State == schema.Dropping || slices.ContainsFunc(x.Columns, func(name string) bool { return def.Of(name) < 0 }):
			continue
		case x.Elements != "":
			_, members := schema.Path(x.Columns[0])
			f.indexes = append(f.indexes, index{Index: x, column: def.Of(x.Columns[0]), members: members})
			continue
		case slices.ContainsFunc(f.indexes, func(have index) bool { return have.Fold == x.Fold && slices.Equal(have.Columns, x.Columns) }):
			continue // ordered and not, or unique and not, it is the same here
		}
		var columns []int
		for _, name := range x.Columns {
			i := def.Position(name)
			if folded := f.shape.Folded(i); x.Fold && folded >= 0 {
				i = folded
			}
			columns = append(columns, i)
		}
		f.indexes = append(f.indexes, index{Index: x, order: row.NewOrder(f.shape, append(columns, key)...)})
	}
	return f
}

// with is a newer form of which the rows and the indexes are those of g.
func (f *form) with(g *form) *form {
	return &form{def: f.def, names: f.names, layout: f.layout, shape: g.shape, indexes: g.indexes}
}

// shaped is a newer form of which the rows are those of g.
func (f *form) shaped(g *form) *form { return formOf(f.def, g.shape) }

// like reports whether rows of one form are rows of the other one.
func (f *form) like(g *form) bool {
	return f.shape.Same(g.shape) && slices.Equal(f.names.List(), g.names.List()) && f.def.Layout == g.def.Layout && f.def.Shards == g.def.Shards
}

// sameIndexes reports whether the indexes of two forms are the same.
func (f *form) sameIndexes(g *form) bool {
	return slices.EqualFunc(f.indexes, g.indexes, func(a, b index) bool {
		return a.Name == b.Name && a.Fold == b.Fold && a.Elements == b.Elements && slices.Equal(a.Columns, b.Columns)
	})
}

// pack is a record as a row. One that is not at the key that its primary key has stays whole: nobody
// finds it by that.
func (f *form) pack(p *row.Packer, m *store.Message) *row.Row {
	r := p.Pack(m.Key, f.names.Apply(m.Value), m.Revision, m.Fence, m.Schema)
	switch {
	case r.Shape() == nil:
		return r
	case len(f.indexes) == 0:
		return r.Whole()
	}
	if id := r.Value(f.def.PrimaryKey()); f.layout == nil || id.IsNull() || f.layout.RecordKey(id) != m.Key {
		return r.Whole()
	}
	return r
}

// again is a row of another form.
func (f *form) again(p *row.Packer, r *row.Row) *row.Row {
	return f.pack(p, &store.Message{Key: r.Key(), Value: r.Document(), Revision: r.Revision, Fence: r.Fence, Schema: r.Schema})
}

// elements are the texts of what a row has in an index of elements, each once.
func (x *index) elements(r *row.Row) []string {
	held := r.Value(x.column)
	var out []string
	add := func(v value.Value) {
		if v, ok := v.As(x.Elements); ok {
			out = append(out, v.Text())
		}
	}
	if x.members != nil {
		for v := range held.Leaves(x.members) {
			add(v)
		}
	} else {
		for raw := range held.Elements() {
			add(value.Element(raw))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// entry is a row in an index of elements.
type entry struct {
	text string // of the element
	key  string // the row's; "" is before all
	row  *row.Row
}

func lessEntry(a, b entry) bool {
	if a.text != b.text {
		return a.text < b.text
	}
	return a.key < b.key
}

var unlocked = btree.Options{NoLocks: true} // the hub's lock guards them

// trees are the indexes of a table, in the order of its form's: of each, either the one or the other.
type trees struct {
	sorted   []*btree.BTreeG[row.Item]
	elements []*btree.BTreeG[entry]
	whole    *btree.BTreeG[entry] // the records that could not be taken apart, by their keys
	nulls    []int                // in how many rows each column is null or absent
}

func newTrees(f *form) *trees {
	t := &trees{whole: btree.NewBTreeGOptions(lessEntry, unlocked), nulls: make([]int, f.shape.Len())}
	for _, x := range f.indexes {
		if x.order != nil {
			t.sorted, t.elements = append(t.sorted, btree.NewBTreeGOptions(x.order.Less, unlocked)), append(t.elements, nil)
		} else {
			t.sorted, t.elements = append(t.sorted, nil), append(t.elements, btree.NewBTreeGOptions(lessEntry, unlocked))
		}
	}
	return t
}

// load puts rows into empty trees, several at the same time.
func (t *trees) load(f *form, rows []*row.Row) {
	var parts []*row.Row // those that were taken apart, by their primary keys from here on
	for _, r := range rows {
		if r.Shape() == nil {
			t.whole.Set(entry{key: r.Key(), row: r})
			continue
		}
		parts = append(parts, r)
		t.count(r, 1)
	}
	if len(parts) == 0 {
		return
	}
	items := make([]row.Item, len(parts))
	for i, r := range parts {
		items[i] = f.indexes[0].order.Item(r)
	}
	slices.SortFunc(items, f.indexes[0].order.Compare)
	for i, it := range items {
		parts[i] = it.Row
		t.sorted[0].Load(it)
	}
	var loads sync.WaitGroup
	for i := range f.indexes[1:] {
		loads.Go(func() { t.loadIndex(&f.indexes[1+i], 1+i, parts) })
	}
	loads.Wait()
}

// loadIndex puts rows into the tree of one index. They are in the order of their primary keys.
func (t *trees) loadIndex(x *index, i int, rows []*row.Row) {
	if x.order == nil {
		var all []entry
		for _, r := range rows {
			for _, text := range x.elements(r) {
				all = append(all, entry{text, r.Key(), r})
			}
		}
		slices.SortFunc(all, func(a, b entry) int { return cmp.Or(strings.Compare(a.text, b.text), strings.Compare(a.key, b.key)) })
		for _, e := range all {
			t.elements[i].Load(e)
		}
		return
	}
	type placed struct {
		row.Item
		at int // among rows
	}
	items := make([]placed, len(rows))
	for n, r := range rows {
		items[n] = placed{x.order.Item(r), n}
	}
	values := len(x.order.Columns()) - 1
	slices.SortFunc(items, func(a, b placed) int {
		return cmp.Or(x.order.CompareFirst(a.Item, b.Item, values), cmp.Compare(a.at, b.at))
	})
	for _, it := range items {
		t.sorted[i].Load(it.Item)
	}
}

// count counts the nulls of a row that comes or goes.
func (t *trees) count(r *row.Row, by int) {
	for i := range t.nulls {
		if r.Null(i) {
			t.nulls[i] += by
		}
	}
}

// put replaces a row by another one with its key; either may be nil.
func (t *trees) put(f *form, old, now *row.Row) {
	if old != nil && old.Shape() == nil {
		t.whole.Delete(entry{key: old.Key()})
		old = nil
	}
	if now != nil && now.Shape() == nil {
		t.whole.Set(entry{key: now.Key(), row: now})
		now = nil
	}
	for i, x := range f.indexes {
		if x.order == nil {
			if old != nil {
				for _, text := range x.elements(old) {
					t.elements[i].Delete(entry{text: text, key: old.Key()})
				}
			}
			if now != nil {
				for _, text := range x.elements(now) {
					t.elements[i].Set(entry{text, now.Key(), now})
				}
			}
			continue
		}
		if old != nil && (now == nil || !x.order.Equal(old, now, len(x.order.Columns()))) {
			t.sorted[i].Delete(x.order.Item(old))
		}
		if now != nil {
			t.sorted[i].Set(x.order.Item(now))
		}
	}
	if old != nil {
		t.count(old, -1)
	}
	if now != nil {
		t.count(now, 1)
	}
}

// each yields all rows.
func (t *trees) each(yield func(r *row.Row) bool) {
	more := true
	if len(t.sorted) > 0 {
		t.sorted[0].Scan(func(it row.Item) bool {
			more = yield(it.Row)
			return more
		})
	}
	if more {
		t.whole.Scan(func(e entry) bool { return yield(e.row) })
	}
}

// copy is the trees as they are now, whatever is put later.
func (t *trees) copy() *trees {
	c := &trees{whole: t.whole.Copy(), nulls: slices.Clone(t.nulls)}
	for i := range t.sorted {
		if t.sorted[i] != nil {
			c.sorted, c.elements = append(c.sorted, t.sorted[i].Copy()), append(c.elements, nil)
		} else {
			c.sorted, c.elements = append(c.sorted, nil), append(c.elements, t.elements[i].Copy())
		}
	}
	return c
}
