package records

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// WatchKind is what happened to a record, or to the watch.
type WatchKind int

const (
	Created WatchKind = iota
	Updated           // it fulfilled the condition before, and fulfils it
	Entered           // updated, so that it fulfils the condition
	Left              // updated, so that it fulfils the condition no more
	Deleted
	Expired  // deleted because its time to live was over
	CaughtUp // the records that were there have been delivered; changes follow
	Resynced // changes may have been missed; the watch has delivered the difference
)

// WatchChange is one change of a record. Before is not live when the record was created,
// After is not when it was deleted.
type WatchChange struct {
	Kind          WatchKind
	Before, After store.Message
	Columns       []string // of an update: the document's members that differ
	Revision      uint64
	Time          time.Time // when the server stored the change
}

// Watch follows the records that a condition selects before or after a change. It keeps
// the last document of every record of its pattern in memory, because the bucket does not
// keep what was there before a change. It is for one goroutine.
type Watch struct {
	model   *Model
	feed    store.Feed
	schema  string // the key of the model's document
	dropped bool   // the model was, and nothing follows the queue
	emptied uint64 // up to which revision the model's records were removed last
	selects func(store.Message) (bool, error)
	columns []string                 // updates of other members are not delivered; nil: all are
	last    map[string]store.Message // the last message of every record under the pattern, by key
	fresh   map[string]bool          // the keys seen since a resync began; nil when there is none
	queue   []WatchChange            // changes to deliver before the feed is asked again
}

// Watch begins to follow records. It returns when all that is there has been read, and
// every later change will be delivered. With current, the records that are there come
// first, as creations, and then CaughtUp. columns are those whose updates are delivered,
// nil for all.
func (m *Model) Watch(ctx context.Context, filter *cond.Bound, columns []string, current bool) (*Watch, error) {
	pattern := keys.Records(m.Def.Name)
	if p := plan.Make(m.Def, plan.Where(filter), plan.Stats{}); p.Path == plan.Key && len(p.Keys) == 1 {
		pattern = m.Layout.RecordKey(p.Keys[0])
	}
	feed, err := m.store.Feed(ctx, store.FeedOptions{Pattern: pattern, Beside: keys.Schema(m.Def.Name)})
	if err != nil {
		return nil, err
	}
	w := &Watch{model: m, feed: feed, schema: keys.Schema(m.Def.Name), emptied: m.Def.Emptied, selects: query.Matcher(m.Def, filter), columns: columns, last: map[string]store.Message{}}
	for {
		ev, err := w.read(ctx)
		if err != nil {
			feed.Close()
			return nil, err
		}
		switch ev.Kind {
		case store.Changed:
			if e := ev.Message; e.Key == w.schema {
				continue // it is read in the end
			} else if e.Live() {
				w.last[e.Key] = e
			} else {
				delete(w.last, e.Key)
			}
		case store.Resync:
			clear(w.last)
		case store.CaughtUp:
			if err := w.look(ctx); err != nil {
				feed.Close()
				return nil, err
			}
			w.queue = nil // nothing has been delivered yet
			if current {
				w.deliverCurrent()
			}
			return w, nil
		}
	}
}

// Close ends the watch and frees its consumer on the server.
func (w *Watch) Close() { w.feed.Close() }

func (w *Watch) deliverCurrent() {
	for _, e := range w.last {
		if ok, err := w.selects(e); ok || err != nil {
			w.queue = append(w.queue, WatchChange{Kind: Created, After: e, Revision: e.Version(), Time: e.Time})
		}
	}
	w.queue = append(w.queue, WatchChange{Kind: CaughtUp})
}

// Next waits for the next change. After an error the watch delivers nothing more and has
// to be closed.
func (w *Watch) Next(ctx context.Context) (WatchChange, error) {
	for {
		if len(w.queue) > 0 {
			c := w.queue[0]
			w.queue = w.queue[1:]
			return c, nil
		}
		if w.dropped {
			return WatchChange{}, fmt.Errorf("%w: %s; this watch of it has ended", errs.ErrDropped, w.model.Def.Name)
		}
		ev, err := w.read(ctx)
		if err != nil {
			return WatchChange{}, err
		}
		switch ev.Kind {
		case store.Changed:
			if ev.Message.Key == w.schema {
				w.removed(ev.Message)
			} else if c, ok := w.change(ev.Message); ok {
				return c, nil
			}
		case store.Resync:
			w.fresh = map[string]bool{}
		case store.CaughtUp:
			if err := w.look(ctx); err != nil {
				return WatchChange{}, err
			}
			w.resynced()
		}
	}
}

// read is the next event of the feed, in the names of the watch's version of the model. Where a
// record is of a newer version, and nobody tells which, it goes on asking.
func (w *Watch) read(ctx context.Context) (store.Event, error) {
	ev, err := w.feed.Next(ctx)
	for err == nil && ev.Kind == store.Changed && ev.Message.Key != w.schema {
		var m store.Message
		m, err = w.model.View(ctx, ev.Message)
		if errors.Is(err, ErrReplaced) { // whoever decodes it says so
			err = nil
		}
		if err == nil {
			ev.Message = m
			break
		}
		if !store.Transient(err) {
			return ev, err
		}
		err = workers.Sleep(ctx, viewPause)
	}
	return ev, err
}

// viewPause is the pause before a watch asks again for a newer version.
const viewPause = 100 * time.Millisecond

// change notes a message and says what it changes; ok is false when there is nothing to
// deliver.
func (w *Watch) change(e store.Message) (c WatchChange, ok bool) {
	before := w.last[e.Key]
	if e.Live() {
		w.last[e.Key] = e
		if w.fresh != nil {
			w.fresh[e.Key] = true
		}
	} else {
		delete(w.last, e.Key)
	}
	c = WatchChange{Before: before, After: e, Revision: e.Revision, Time: e.Time}
	switch {
	case !before.Live() && !e.Live():
		return c, false
	case !before.Live():
		c.Kind = Created
	case e.Expired:
		c.Kind = Expired
	case !e.Live():
		c.Kind = Deleted
	default:
		if bytes.Equal(before.Value, e.Value) {
			return c, false // a fence, or a write that changed nothing
		}
		c.Columns = document.Diff(before.Value, e.Value)
		switch was, is := w.selected(before), w.selected(e); {
		case !was && !is:
			return c, false
		case !was:
			c.Kind = Entered
			return c, true
		case !is:
			c.Kind = Left
			return c, true
		}
		c.Kind = Updated
		if w.columns != nil && !slices.ContainsFunc(c.Columns, func(x string) bool { return slices.Contains(w.columns, x) }) {
			return c, false
		}
		return c, true
	}
	return c, w.selected(before) || w.selected(e)
}

// look reads the model's document, of which the feed need not have told before it had caught
// up.
func (w *Watch) look(ctx context.Context) error {
	document, err := w.model.store.GetLatest(ctx, w.schema)
	if err == nil {
		w.removed(document)
	}
	return err
}

// removed reads a document of the model. When it says that all records up to a revision were
// removed, of which the feed does not tell, their deletions are delivered.
func (w *Watch) removed(document store.Message) {
	var def schema.Definition
	if json.Unmarshal(document.Value, &def) != nil {
		return
	}
	upTo := def.Emptied
	if w.dropped = w.dropped || def.Dropped || !def.Same(w.model.Def); w.dropped {
		upTo = document.Revision
	}
	if upTo <= w.emptied {
		return
	}
	w.emptied = upTo
	for key, before := range w.last {
		if before.Revision <= upTo {
			delete(w.last, key)
			if w.selected(before) {
				w.queue = append(w.queue, WatchChange{Kind: Deleted, Before: before, Time: document.Time})
			}
		}
	}
}

// selected reports whether a record is live and fulfils the condition. For one that
// cannot be read it is true: a change too many is better than a missed one.
func (w *Watch) selected(e store.Message) bool {
	if !e.Live() {
		return false
	}
	ok, err := w.selects(e)
	return ok || err != nil
}

// resynced ends a resync. During it, every record that is there has come as a change. So a
// record that did not come has been deleted unseen: its deletion is delivered, without
// revision and time, and then Resynced.
func (w *Watch) resynced() {
	for key, before := range w.last {
		if !w.fresh[key] {
			delete(w.last, key)
			if w.selected(before) {
				w.queue = append(w.queue, WatchChange{Kind: Deleted, Before: before})
			}
		}
	}
	w.fresh = nil
	w.queue = append(w.queue, WatchChange{Kind: Resynced})
}
