package replica

import (
	"encoding/json"

	"github.com/tidwall/btree"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// rows are the live records of a model, by their keys.
type rows = btree.BTreeG[*store.Message]

func newRows() *rows {
	return btree.NewBTreeGOptions(func(a, b *store.Message) bool { return a.Key < b.Key }, btree.Options{NoLocks: true})
}

// Snapshot is a model at one moment. It does not change.
type Snapshot struct {
	rows *rows

	// Def is the model as its document in the catalogue had it then. While that is paused, records may
	// be there twice.
	Def *schema.Definition
}

// Len is the number of records.
func (s *Snapshot) Len() int { return s.rows.Len() }

// Get is the record with a key; one that is not there is a message that is not live.
func (s *Snapshot) Get(key string) store.Message {
	if m, ok := s.rows.Get(&store.Message{Key: key}); ok {
		return *m
	}
	return store.Message{Key: key}
}

// table is a model that was joined. It is guarded by the hub's lock.
type table struct {
	model  string
	joined int // how many have joined it

	loaded  bool
	err     error // why it cannot be loaded
	heard   map[string]store.Message
	rows    *rows
	changed bool // since now was made
	now     *Snapshot

	def     *schema.Definition // by the document that was heard of last; nil before
	emptied uint64             // up to which revision the records were removed
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
	if old, ok := t.rows.Get(&m); ok && old.Revision >= m.Revision {
		return
	}
	t.changed = true
	if m.Live() && m.Revision > t.emptied {
		t.rows.Set(&m)
	} else {
		t.rows.Delete(&m)
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
	var gone []*store.Message
	t.rows.Scan(func(m *store.Message) bool {
		if m.Revision <= upTo {
			gone = append(gone, m)
		}
		return true
	})
	for _, m := range gone {
		t.rows.Delete(m)
	}
}

// snapshot is the table as it is now.
func (t *table) snapshot() *Snapshot {
	if t.changed || t.now == nil {
		t.now, t.changed = &Snapshot{rows: t.rows.Copy(), Def: t.def}, false
	}
	return t.now
}
