package replica

import (
	"context"
	"encoding/json"
	"time"

	"github.com/natsorm/natsorm/internal/follow"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
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
	document, err := h.Store.GetLatest(ctx, keys.Schema(t.model))
	if err != nil {
		return err
	}
	kept := formOfDocument(document)
	s := scanned{form: kept, rows: map[string]*row.Row{}, gone: map[string]uint64{}, packer: row.NewPacker(kept.shape)}
	upTo, err := s.scan(ctx, h.Store, t.model)
	if err != nil {
		return err
	}
	// The document is read again after the records: what was removed before it is known.
	if document, err = h.Store.GetLatest(ctx, keys.Schema(t.model)); err != nil {
		return err
	}
	upTo = max(upTo, document.Revision)
	c := newContents(s.form, s.rows)
	if err := h.pass(ctx, f, upTo); err != nil {
		return err
	}
	defer h.mu.Unlock()
	t.fill(c, document)
	h.renew(t)
	h.publish()
	return nil
}

// formOfDocument is the form of a model by its document in the catalogue. Whoever looks at the catalogue says
// that one cannot be read.
func formOfDocument(document store.Message) *form {
	var def schema.Definition
	if json.Unmarshal(document.Value, &def) != nil {
		def = schema.Definition{}
	}
	def.Revision = document.Revision
	return newForm(&def)
}

// scanned is what a scan has found.
type scanned struct {
	form   *form
	packer *row.Packer
	rows   map[string]*row.Row
	gone   map[string]uint64 // keys without a value, and the revision of that
}

// packChunk is how many records are taken apart at a time, while the next ones are read.
const packChunk = 512

// scan reads the records of a model, and takes them apart in another goroutine. upTo is the last revision that
// it has met.
func (s *scanned) scan(ctx context.Context, from store.Store, model string) (upTo uint64, err error) {
	chunks, done := make(chan []store.Message, 2), make(chan struct{})
	go func() {
		defer close(done)
		for chunk := range chunks {
			for i := range chunk {
				s.add(&chunk[i])
			}
		}
	}()
	defer func() {
		close(chunks)
		<-done
	}()
	chunk := make([]store.Message, 0, packChunk)
	for m, err := range from.Scan(ctx, keys.Records(model), store.ScanOptions{Again: true}) {
		if err != nil {
			return 0, err
		}
		upTo = max(upTo, m.Revision)
		if chunk = append(chunk, m); len(chunk) == packChunk {
			chunks <- chunk
			chunk = make([]store.Message, 0, packChunk)
		}
	}
	chunks <- chunk
	return upTo, nil
}

// add adds a message of a key of which there may be several.
func (s *scanned) add(m *store.Message) {
	old := s.rows[m.Key]
	switch {
	case old != nil && old.Revision >= m.Revision, s.gone[m.Key] > m.Revision:
	case m.Live():
		if old != nil {
			delete(s.rows, m.Key)
		}
		r := s.form.pack(s.packer, m)
		s.rows[r.Key()] = r
	default:
		delete(s.rows, m.Key)
		s.gone[m.Key] = m.Revision
	}
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

// fill makes a table of its records and of what was heard while they were read.
func (t *table) fill(c contents, document store.Message) {
	t.removed(document)
	t.contents, t.packer = c, row.NewPacker(c.form.shape)
	t.loaded, t.changed = true, true
	for key, r := range t.rows {
		if r.Revision <= t.emptied {
			t.set(key, nil)
		}
	}
	for _, m := range t.heard {
		t.put(m)
	}
	t.heard = nil
}
