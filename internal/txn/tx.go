package txn

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// errConflict ends a run of a transaction in which something had changed.
var errConflict = fmt.Errorf("%w while the transaction ran", errs.ErrConflict)

// Tx is one run of a transaction. Its methods may be called by several goroutines
// that work for one call.
type Tx struct {
	store store.Store

	mu        sync.Mutex
	again     bool // an earlier run has lost
	sealed    bool // its function has returned: only the commit itself can end it now
	ended     bool
	failed    error                    // why it cannot commit, whatever happens
	contested string                   // the key or pattern that others have changed; "" while that is not known
	asOf      uint64                   // the instant: everything that was read is as it was at this revision
	began     time.Time                // of the run
	at        time.Time                // not later than the instant
	unsure    bool                     // a call failed before it found out whether that is so
	messages  map[string]store.Message // what was read, by key or through a pattern
	keys      map[string]uint64        // the revisions of keys that are guarded one by one
	ranges    map[string]*span         // the patterns that were read
	changes   map[string]*change       // by record key
	order     []*change                // as they were made first
	stamps    []stamp
	staged    uint64                  // how many writes were staged
	beside    map[string]besideWrites // by model
}

// span is a pattern that was read.
type span struct {
	last  uint64 // the last revision under it
	large bool   // it has more keys than one request reads

	// headed: its head was read in the same request when it was read first, or since then,
	// and is among the keys that are guarded.
	headed bool
}

// change is what the transaction makes of one record.
type change struct {
	layout   layout.Layout
	id       value.Value
	base     store.Message // the record outside
	doc      []byte        // the new document; nil deletes it
	after    layout.Footprint
	revision uint64 // provisional, until the commit
}

// stamp is a value whose version is the provisional revision of a write.
type stamp struct {
	record   string
	revision uint64 // provisional
	resolve  func(revision uint64, committed bool)
}

// provisional is the first revision that is given to writes before they are committed.
// No stream has so many messages.
const provisional = 1 << 63

// Provisional reports whether a revision was given to a write inside a transaction.
func Provisional(revision uint64) bool { return revision >= provisional }

func newTx(s store.Store) *Tx {
	return &Tx{
		store: s, began: time.Now(),
		messages: map[string]store.Message{}, keys: map[string]uint64{}, ranges: map[string]*span{}, changes: map[string]*change{}, beside: map[string]besideWrites{},
	}
}

// usable refuses a transaction that has ended, or that cannot go on.
func (t *Tx) usable() error {
	switch {
	case t.ended:
		return fmt.Errorf("%w; start another one, and keep what is inside it inside its function", errs.ErrTxDone)
	case t.failed != nil:
		return t.failed
	}
	return nil
}

// Usable is nil while the transaction can be used.
func (t *Tx) Usable() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.usable()
}

// Fail lets the transaction end with err, whatever its function returns. Of several
// calls the first one counts. It returns the error that the transaction ends with. Once
// the commit has begun, which may be done by now, it only returns err.
func (t *Tx) Fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return err
	}
	return t.fail(err)
}

func (t *Tx) fail(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return t.failed
}

// conflict ends the run: what was read of a key is no longer so.
func (t *Tx) conflict(key string) error {
	t.contested = key
	return t.fail(fmt.Errorf("%w: key %s", errConflict, key))
}

// Conflict ends the run, to be run again: others have changed what key stands for.
func (t *Tx) Conflict(key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conflict(key)
}

// Under lets the transaction commit only while a model's document in the catalogue is at a
// revision.
func (t *Tx) Under(model string, revision uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := keys.Schema(model)
	if known, ok := t.keys[key]; ok && known != revision {
		return t.conflict(key)
	}
	t.keys[key] = revision
	return nil
}

// Stamp calls resolve when the transaction ends, with the revision that a write of the
// record got in the place of its provisional one, or to say that it was not committed.
// It does not when the transaction has written the record again: no record ever had
// that version.
func (t *Tx) Stamp(record string, revision uint64, resolve func(revision uint64, committed bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stamps = append(t.stamps, stamp{record, revision, resolve})
}

// end makes the transaction unusable, and resolves its provisional revisions.
func (t *Tx) end(revisions map[string]uint64) {
	t.mu.Lock()
	t.ended = true
	stamps := t.stamps
	t.stamps = nil
	t.mu.Unlock()
	for _, s := range stamps {
		revision, committed := revisions[s.record]
		if !committed || t.changes[s.record].revision == s.revision {
			s.resolve(revision, committed)
		}
	}
}

// stage takes a write in: it is the commit of the transaction's writers.
func (t *Tx) stage(l layout.Layout, id value.Value, p *commit.Plan) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return 0, err
	}
	c := t.changes[p.Record]
	if c == nil {
		base, ok := t.messages[p.Record]
		if !ok {
			return 0, errors.New("natsorm: a transaction changed a record that it had not read")
		}
		c = &change{layout: l, id: id, base: base}
		t.changes[p.Record] = c
		t.order = append(t.order, c)
	}
	t.staged++
	c.doc, c.after, c.revision = p.Doc, layout.Footprint{}, provisional+t.staged
	if after := p.After(); after != nil && p.Doc != nil {
		c.after = *after
	}
	return c.revision, nil
}

// entry is the record as the transaction has made it.
func (c *change) entry() store.Message {
	return store.Message{Key: c.base.Key, Value: c.doc, Revision: c.revision, Deleted: c.doc == nil}
}
