package catalogue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Handle knows which version of a model is in force. M is what the caller builds from a
// version. It is safe for concurrent use.
//
// A call asks with Current before it begins, and with Settle when it has its answer.
type Handle[M comparable] struct {
	from  *Knowledge
	known *known
	build func(*schema.Definition) (M, error)

	mu   sync.Mutex // held to change last
	last atomic.Pointer[version[M]]

	beyond atomic.Uint64 // a revision after which the catalogue was looked at, and which it has not reached

	renewal renewal
}

// version is a document of the catalogue, with what was built from it.
type version[M comparable] struct {
	from  *schema.Definition // as it is known
	def   *schema.Definition // with what only this program knows
	model M
}

// NewHandle makes the handle of a model that was just read from the catalogue; generation
// is the bucket's, before that. build makes an M of a version of the model; first is what
// it makes of def.
func NewHandle[M comparable](k *Knowledge, generation uint64, def *schema.Definition, first M, build func(*schema.Definition) (M, error)) *Handle[M] {
	h := &Handle[M]{from: k, known: k.of(def), build: build}
	h.renewal.defined.Store(generation)
	h.last.Store(&version[M]{def, def, first})
	return h
}

// Last is the version that was in force when Current or Settle was last called. It does
// not wait and makes no request.
func (h *Handle[M]) Last() M { return h.last.Load().model }

// Build is how far the building of the model's indexes had come when the catalogue was looked at
// last.
func (h *Handle[M]) Build() Build {
	if b := h.known.build.Load(); b != nil {
		return *b
	}
	return Build{}
}

// pausedPoll is the pause between two reads of the catalogue while records are being
// moved or removed.
const pausedPoll = 20 * time.Millisecond

// Current is the version that is in force now, as far as is known. While the model's
// records are being moved or removed, it waits. ErrUnwritten when the context ends meanwhile: the call
// has changed nothing. errs.ErrDropped when the model was dropped, also when another one of its
// name was defined since.
func (h *Handle[M]) Current(ctx context.Context) (M, error) {
	v, err := h.current(ctx)
	if store.Transient(err) {
		err = fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
	}
	return v.model, err
}

// Settle is the version that was in force when a call had its answer, which has just
// come: used, when that is the one that the call has worked by. Otherwise the call has to
// make good what it did. It waits as Current does. After an error it is not known.
func (h *Handle[M]) Settle(ctx context.Context, used M) (M, error) {
	v, err := h.current(ctx)
	return v.model, err
}

// Since is a version that is at least as new as a revision of the document, of which the caller
// has seen a sign. It waits as Current does. It is older only when the sign was wrong: the
// catalogue has no such revision.
func (h *Handle[M]) Since(ctx context.Context, revision uint64) (M, error) {
	v := h.last.Load()
	if v.from.Revision >= revision || revision <= h.beyond.Load() {
		return v.model, nil
	}
	h.from.Doubt()
	v, err := h.current(ctx)
	if err == nil && v.from.Revision < revision {
		h.beyond.Store(revision)
	}
	return v.model, err
}

func (h *Handle[M]) current(ctx context.Context) (*version[M], error) {
	now := time.Now()
	h.from.use(now)
	why := "" // this call waits
	ended := func(v *version[M], err error) (*version[M], error) {
		if why != "" && ctx.Err() != nil {
			err = fmt.Errorf("natsorm: %s %s: %w", v.def.Name, why, err)
		}
		return v, err
	}
	for ; ; now = time.Now() {
		if !h.from.young(now) {
			if err := h.from.Confirm(ctx); err != nil {
				return ended(h.last.Load(), err)
			}
		}
		v, err := h.adopt()
		if err != nil || !v.from.Paused() {
			return v, err
		}
		why = "is being moved to another layout, and this call waited for it until its context ended; if no program is moving it any more, call ChangeLayout again"
		if v.from.Emptying != nil {
			h.from.takeOver(h.known, v.from)
			why = "has its records removed at this time, by Truncate or DropModel, and this call waited for it until its context ended; make it again, with more time"
		}
		if err := workers.Sleep(ctx, pausedPoll); err != nil {
			return ended(v, err)
		}
		h.from.Doubt() // it may have ended, and not be heard of
	}
}

// adopt is the version that is known.
//
// In a bucket that was made anew, which may not have been noticed yet, a document of others
// may lack what this program declares, until Renew has defined the model again. Only where
// its records are counts at once.
func (h *Handle[M]) adopt() (*version[M], error) {
	v, from := h.last.Load(), h.known.def.Load()
	if err := h.known.unreadable.Load(); err != nil {
		return v, *err
	}
	if v.from == from {
		return v, nil
	}
	if h.Defined() && (from.Dropped || !from.Same(v.def)) {
		return v, Dropped(v.def.Name)
	}
	if !from.Paused() && placement(from) == placement(v.def) && (!h.Defined() || !from.HasColumns(v.def)) {
		return v, nil
	}
	return h.take()
}

// take makes a version of what is known.
func (h *Handle[M]) take() (*version[M], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, from := h.last.Load(), h.known.def.Load()
	if v.from == from {
		return v, nil
	}
	next := &version[M]{from, v.def, v.model}
	if !from.Paused() {
		def := *from
		def.Columns = slices.Clone(from.Columns)
		keepZeroNull(&def, v.def)
		model, err := h.build(&def)
		if err != nil {
			return v, err
		}
		next.def, next.model = &def, model
	}
	h.last.Store(next)
	return next, nil
}

// placement says where a model's keys are: its layout and its shard count. Two
// definitions with the same placement find the same records at the same keys.
func placement(def *schema.Definition) string { return fmt.Sprint(def.Layout, " in ", def.Shards) }
