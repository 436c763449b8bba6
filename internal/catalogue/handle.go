package catalogue

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// A model can be moved to another layout while programs use it through handles. So each
// call asks its handle which version of the model is in force. That costs two
// comparisons, as long as no change of the model was announced and the connection was not
// lost, in which case an announcement could have been missed. Otherwise the handle reads
// the catalogue, waits while records are being moved, and continues with the layout that
// the model has then.

// Announcements collects what this process hears about changes of a bucket's catalogue.
// It is safe for concurrent use.
type Announcements struct {
	store store.Store
	epoch func() uint64

	mu     sync.Mutex
	models map[string]*announced // by name, those that have handles
}

// announced is what was heard about one model.
type announced struct {
	changes   atomic.Uint64 // counts the times that its layout may have changed
	placement string        // the placement that was heard last
}

// Listen makes Announcements that have heard nothing yet. epoch counts the connections:
// its result changes when the connection is lost. The caller subscribes to the documents
// that are written to the catalogue, and calls Hear with each.
func Listen(s store.Store, epoch func() uint64) *Announcements {
	return &Announcements{store: s, epoch: epoch, models: map[string]*announced{}}
}

// Hear takes a document that was written to the catalogue. A text that is not a document
// is ignored.
func (a *Announcements) Hear(raw []byte) {
	var def schema.Definition
	if json.Unmarshal(raw, &def) != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.models[def.Name]
	if now := placement(&def); m != nil && (def.Moving != nil || now != m.placement) {
		m.placement = now
		m.changes.Add(1)
	}
}

// of returns what was heard about a model. If nothing was, that is its placement in def.
func (a *Announcements) of(def *schema.Definition) *announced {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.models[def.Name]
	if m == nil {
		m = &announced{placement: placement(def)}
		a.models[def.Name] = m
	}
	return m
}

// placement says where a model's keys are: its layout and its shard count. Two
// definitions with the same placement find the same records at the same keys.
func placement(def *schema.Definition) string { return fmt.Sprint(def.Layout, " in ", def.Shards) }

// Handle knows which version of a model is in force. M is what the caller builds from a
// version. It is safe for concurrent use.
type Handle[M any] struct {
	from      *Announcements
	announced *announced
	build     func(*schema.Definition) (M, error)

	mu    sync.Mutex // held to change the fields below; they are read without it
	last  atomic.Pointer[version[M]]
	seen  atomic.Uint64 // announced.changes when last was in force
	epoch atomic.Uint64 // the connection's epoch when last was in force
}

// version is a definition, with what was built from it.
type version[M any] struct {
	def   *schema.Definition
	model M
}

// NewHandle makes the handle of a model that was just read from the catalogue. build makes
// an M of a version of the model; first is what it makes of def.
func NewHandle[M any](a *Announcements, def *schema.Definition, first M, build func(*schema.Definition) (M, error)) *Handle[M] {
	h := &Handle[M]{from: a, announced: a.of(def), build: build}
	h.last.Store(&version[M]{def, first})
	h.epoch.Store(a.epoch())
	if def.Moving == nil {
		h.seen.Store(h.announced.changes.Load())
	} else { // being moved: it may have changed since it was read, so the first call reads it again
		h.seen.Store(h.announced.changes.Add(1) - 1)
	}
	return h
}

// Last is the version that was in force when Current was last called. It does not wait
// and makes no request.
func (h *Handle[M]) Last() M { return h.last.Load().model }

// pausedPoll is the pause between two reads of the catalogue while records are being
// moved.
const pausedPoll = 20 * time.Millisecond

// Current is the version that is in force now. While the model's records are being moved,
// it waits. ErrUnwritten when the context ends meanwhile: the call has changed nothing.
func (h *Handle[M]) Current(ctx context.Context) (M, error) {
	var none M
	for {
		changes, epoch := h.announced.changes.Load(), h.from.epoch()
		if changes == h.seen.Load() && epoch == h.epoch.Load() {
			return h.Last(), nil
		}
		paused, err := h.refresh(ctx, changes, epoch)
		if err != nil {
			return none, err
		}
		if !paused {
			continue
		}
		if err := workers.Sleep(ctx, pausedPoll); err != nil {
			return none, fmt.Errorf("natsorm: %s is being moved to another layout, and this call waited for it until its context ended; if no program is moving it any more, call ChangeLayout again: %w: %w", h.last.Load().def.Name, errs.ErrUnwritten, err)
		}
	}
}

// refresh reads the catalogue, unless another call has done so in the meantime. changes
// and epoch were read before the catalogue is: what is announced later makes the next call
// read it again. paused reports that records are being moved.
func (h *Handle[M]) refresh(ctx context.Context, changes, epoch uint64) (paused bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if changes == h.seen.Load() && epoch == h.epoch.Load() {
		return false, nil
	}
	last := h.last.Load()
	def, _, err := Read(ctx, h.from.store, last.def.Name)
	switch {
	case err != nil:
		return false, err
	case def == nil: // the bucket is being restored: the last version stays in force
	case def.Paused():
		return true, nil
	case placement(def) != placement(last.def):
		keepZeroNull(def, last.def)
		model, err := h.build(def)
		if err != nil {
			return false, err
		}
		h.last.Store(&version[M]{def, model})
	}
	h.seen.Store(changes)
	h.epoch.Store(epoch)
	return false, nil
}
