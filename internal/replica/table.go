package replica

import (
	"encoding/json"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// table is a model that was joined. It is guarded by the hub's lock.
type table struct {
	model  string
	joined int // how many have joined it

	loaded bool
	err    error // why it cannot be loaded
	heard  map[string]store.Message
	contents
	packer  *row.Packer
	changed bool // since now was made
	now     *Snapshot

	reform *reform // under way; nil: none is

	def     *schema.Definition // by the document that was heard of last; nil before
	emptied uint64             // up to which revision the records were removed
}

// contents are the records of a model, in a form.
type contents struct {
	form  *form
	rows  map[string]*row.Row // by their keys
	trees *trees
}

// newContents are these records.
func newContents(f *form, rows map[string]*row.Row) contents {
	list := make([]*row.Row, 0, len(rows))
	for _, r := range rows {
		list = append(list, r)
	}
	c := contents{f, rows, newTrees(f)}
	c.trees.load(f, list)
	return c
}

// reset makes it a table of which nothing is known.
func (t *table) reset() {
	*t = table{model: t.model, joined: t.joined, heard: map[string]store.Message{}}
}

// hear takes a message of the model: of its document, or of a record.
func (t *table) hear(m store.Message) {
	switch {
	case m.Key == keys.Schema(t.model):
		t.removed(m)
	case !t.loaded:
		if m.Revision > t.heard[m.Key].Revision {
			t.heard[m.Key] = m
		}
	default:
		t.put(m)
	}
}

// put makes a message the last one of its key, unless a later one is there. What came before the
// model's records were removed is gone.
func (t *table) put(m store.Message) {
	if old := t.rows[m.Key]; old != nil && old.Revision >= m.Revision {
		return
	}
	if m.Live() && m.Revision > t.emptied {
		t.set(m.Key, t.form.pack(t.packer, &m))
	} else {
		t.set(m.Key, nil)
	}
}

// set makes a row that of its key; nil: there is none.
func (t *table) set(key string, r *row.Row) {
	old := t.rows[key]
	if old == nil && r == nil {
		return
	}
	t.changed = true
	if t.reform != nil {
		t.reform.since[key] = struct{}{}
	}
	t.contents.set(key, old, r)
}

// set replaces the row of a key, which is old, by another one.
func (c *contents) set(key string, old, now *row.Row) {
	c.trees.put(c.form, old, now)
	if delete(c.rows, key); now != nil {
		c.rows[now.Key()] = now // and not key, which may be a part of the old row
	}
}

// removed takes the model's document. When it says that all records up to a revision were removed, or
// is that of another model of the name, they go.
func (t *table) removed(document store.Message) {
	if t.def != nil && document.Revision <= t.def.Revision {
		return
	}
	var def schema.Definition
	if json.Unmarshal(document.Value, &def) != nil {
		return // whoever looks at the catalogue says so
	}
	def.Revision = document.Revision
	upTo := def.Emptied
	if def.Dropped || t.def != nil && !def.Same(t.def) {
		upTo = document.Revision
	}
	t.def, t.changed = &def, true
	if upTo <= t.emptied {
		return
	}
	t.emptied = upTo
	if !t.loaded {
		return
	}
	rest := map[string]*row.Row{}
	for key, r := range t.rows {
		if r.Revision > upTo {
			rest[key] = r
		}
	}
	t.contents = newContents(t.form, rest)
	t.reform = nil // it has what is gone
}

// snapshot is the table as it is now.
func (t *table) snapshot() *Snapshot {
	if t.changed || t.now == nil {
		t.now, t.changed = &Snapshot{form: t.form, trees: t.trees.copy(), Def: t.def}, false
	}
	return t.now
}
