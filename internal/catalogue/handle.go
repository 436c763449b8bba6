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

// A model can be moved to another layout while its handles are used. Each call asks
// its handle which version of the model holds. That costs two comparisons as long as
// nothing was announced of the model and the connection was not lost, in which
// announcements could be missed; otherwise the handle reads the catalogue, waits while
// records are being moved, and goes on with the layout that the model has then.

// Announcements is what this process hears of the changes of a bucket's catalogue. It
// is safe for concurrent use.
type Announcements struct {
	store store.Store
	epoch func() uint64

	mu     sync.Mutex
	models map[string]*announced // that have handles
}

// announced is what was heard of a model.
type announced struct {
	changes   atomic.Uint64 // how often it may have changed its layout
	placement string        // as it was heard last
}

// Listen makes Announcements that have heard nothing. epoch is the number of the
// connection, which changes when it is lost. Hear has to be called with every document
// that is written to the catalogue, as far as the connection allows.
func Listen(s store.Store, epoch func() uint64) *Announcements {
	return &Announcements{store: s, epoch: epoch, models: map[string]*announced{}}
}

// Hear takes in a document that was written to the catalogue.
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

// of is what was heard of a model, which is def until something else is heard.
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

// placement says at which keys a model's records are.
func placement(def *schema.Definition) string { return fmt.Sprint(def.Layout, " in ", def.Shards) }

// Handle knows which version of a model holds now. M is what the caller makes of a
// version. It is safe for concurrent use.
type Handle[M any] struct {
	from      *Announcements
	announced *announced
	build     func(*schema.Definition) (M, error)

	mu    sync.Mutex // held to change what follows
	last  atomic.Pointer[version[M]]
	seen  atomic.Uint64 // of announced.changes, when last was made
	epoch atomic.Uint64 // of the connection, when last was made
}

// version is a definition, and what was built of it.
type version[M any] struct {
	def   *schema.Definition
	model M
}

// NewHandle is the handle of a model that was just read from the catalogue. build
// makes what is to be used of a version of the model; first is what it makes of def.
func NewHandle[M any](a *Announcements, def *schema.Definition, first M, build func(*schema.Definition) (M, error)) *Handle[M] {
	h := &Handle[M]{from: a, announced: a.of(def), build: build}
	h.last.Store(&version[M]{def, first})
	h.epoch.Store(a.epoch())
	if def.Moving == nil {
		h.seen.Store(h.announced.changes.Load())
	} else { // it may have changed already
		h.seen.Store(h.announced.changes.Add(1) - 1)
	}
	return h
}

// Last is the version that held when that was last asked.
func (h *Handle[M]) Last() M { return h.last.Load().model }

// pausedPoll is how often the catalogue is read while records are being moved.
const pausedPoll = 20 * time.Millisecond

// Current is the version that holds now. While the model's records are being moved, it
// waits; ErrUnwritten when the context ends meanwhile.
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

// refresh reads the catalogue, unless another call has done so.
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
	case def == nil: // a bucket that is being restored: what held still does
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
