package records

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
)

// WatchKind is what happened to a record, or to the watch.
type WatchKind int

const (
	Created WatchKind = iota
	Updated
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
	feed    store.Feed
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
	feed, err := m.store.Feed(ctx, pattern)
	if err != nil {
		return nil, err
	}
	w := &Watch{feed: feed, selects: query.Matcher(m.Def, filter), columns: columns, last: map[string]store.Message{}}
	for {
		ev, err := feed.Next(ctx)
		if err != nil {
			feed.Close()
			return nil, err
		}
		switch ev.Kind {
		case store.Changed:
			if e := ev.Message; e.Live() {
				w.last[e.Key] = e
			} else {
				delete(w.last, e.Key)
			}
		case store.Resync:
			clear(w.last)
		case store.CaughtUp:
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
		ev, err := w.feed.Next(ctx)
		if err != nil {
			return WatchChange{}, err
		}
		switch ev.Kind {
		case store.Changed:
			if c, ok := w.change(ev.Message); ok {
				return c, nil
			}
		case store.Resync:
			w.fresh = map[string]bool{}
		case store.CaughtUp:
			w.resynced()
		}
	}
}

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
		c.Kind = Updated
		c.Columns = document.Diff(before.Value, e.Value)
		if w.columns != nil && !slices.ContainsFunc(c.Columns, func(x string) bool { return slices.Contains(w.columns, x) }) {
			return c, false
		}
	}
	return c, w.selected(before) || w.selected(e)
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
