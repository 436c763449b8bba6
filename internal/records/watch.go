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

// WatchKind is what happened to a record.
type WatchKind int

const (
	Created WatchKind = iota
	Updated
	Deleted
	Expired
	CaughtUp // everything that was there has been delivered
	Resynced // changes may have been missed; what is there now has been delivered
)

// WatchChange is one change of a record. Before and After are not live where there
// is none.
type WatchChange struct {
	Kind          WatchKind
	Before, After store.Message
	Columns       []string // of an update: the members that differ
	Revision      uint64
	Time          time.Time
}

// Watch follows the records that a condition selects before or after a change.
// It keeps the last document of every record that it follows, because the bucket
// does not keep what was before. It is for one goroutine.
type Watch struct {
	feed    store.Feed
	selects func(store.Message) (bool, error)
	columns []string                 // updates of other members are passed over; nil for none
	last    map[string]store.Message // every record on the path, by key
	fresh   map[string]bool          // during a resync: the keys seen
	queue   []WatchChange
}

// Watch returns when the watch is in place: all that is there has been read,
// and every later change will be delivered. With current, what is there comes
// first, as creations, and then CaughtUp.
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

// Close frees the consumer on the server.
func (w *Watch) Close() { w.feed.Close() }

func (w *Watch) deliverCurrent() {
	for _, e := range w.last {
		if ok, err := w.selects(e); ok || err != nil {
			w.queue = append(w.queue, WatchChange{Kind: Created, After: e, Revision: e.Version(), Time: e.Time})
		}
	}
	w.queue = append(w.queue, WatchChange{Kind: CaughtUp})
}

// Next waits for the next change. After an error the watch is dead.
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

// change takes a message in; ok is false when there is nothing to deliver.
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

// selected reports whether a record fulfils the condition. One that cannot be read
// does: its change is rather delivered than missed.
func (w *Watch) selected(e store.Message) bool {
	if !e.Live() {
		return false
	}
	ok, err := w.selects(e)
	return ok || err != nil
}

// resynced delivers the deletions that happened unseen, and says so.
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
