package replica

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/follow"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// load reads the records of a table of which the hub notes what it hears. It tries again for as long as
// that may help.
func (h *Hub) load(ctx context.Context, f *follow.Follower, t *table) {
	for try := 1; ; try++ {
		err := h.read(ctx, f, t)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !store.Transient(err) {
			h.mu.Lock()
			defer h.mu.Unlock()
			t.err = err
			h.tell()
			return
		}
		if workers.Backoff(ctx, try) != nil {
			return
		}
	}
}

// read scans the records, and waits until the hub is past all that the scan has read.
//
// A record that was written before the hub began to note what it hears is in the scan as it was then or
// later, because the scan is as new as the session. One that was written after that is noted. So when the
// hub is past what the scan has read, the later of the two is each record's last message.
func (h *Hub) read(ctx context.Context, f *follow.Follower, t *table) error {
	var found []*store.Message
	upTo := uint64(0)
	for m, err := range h.Store.Scan(ctx, keys.Records(t.model), store.ScanOptions{Again: true}) {
		if err != nil {
			return err
		}
		upTo = max(upTo, m.Revision)
		found = append(found, &m)
	}
	// The document comes after the records: what was removed before it is known.
	document, err := h.Store.GetLatest(ctx, keys.Schema(t.model))
	if err != nil {
		return err
	}
	upTo = max(upTo, document.Revision)
	slices.SortFunc(found, func(a, b *store.Message) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Revision, b.Revision))
	})
	if err := h.pass(ctx, f, upTo); err != nil {
		return err
	}
	defer h.mu.Unlock()
	t.fill(found, document)
	h.publish()
	return nil
}

// pass waits until the hub is past a revision, and leaves it locked, unless there is an error.
func (h *Hub) pass(ctx context.Context, f *follow.Follower, revision uint64) error {
	for {
		h.mu.Lock()
		if err := ctx.Err(); err != nil {
			h.mu.Unlock()
			return err
		}
		if h.at >= revision {
			return nil
		}
		moved := h.moved
		h.mu.Unlock()
		timer := time.NewTimer(late)
		select {
		case <-moved:
		case <-timer.C:
			f.Hurry()
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// fill makes a table of its records, which are sorted by key and revision, and of what was heard meanwhile.
func (t *table) fill(found []*store.Message, document store.Message) {
	t.removed(document)
	t.rows = newRows()
	for i, m := range found {
		if last := i+1 == len(found) || found[i+1].Key != m.Key; last && m.Live() && m.Revision > t.emptied {
			t.rows.Load(m)
		}
	}
	t.loaded, t.changed = true, true
	for _, m := range t.heard {
		t.put(m)
	}
	t.heard = nil
}
