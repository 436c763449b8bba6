package natsorm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/exec"
	"github.com/natsorm/natsorm/internal/workers"
)

// A model can be moved to another layout while its handles are used. Each call looks
// whether the catalogue has been heard to say so, which costs nothing as long as it
// has not; then it reads the catalogue, waits while records are being moved, and
// goes on in the layout that the model has.

// home is where a model's records stand, for all handles that were made of one.
type home struct {
	db   *DB
	name string
	news *atomic.Uint64

	writes atomic.Uint64 // that were made outside of transactions
	mu     sync.Mutex
	now    atomic.Pointer[exec.Model]
	seen   atomic.Uint64 // of news
	epoch  atomic.Uint64 // of the connection when that was
}

func newHome(db *DB, m *exec.Model) *home {
	h := &home{db: db, name: m.Def.Name, news: db.news.of(m.Def.Name, exec.Location(m.Def))}
	h.now.Store(m)
	h.epoch.Store(db.store.Epoch())
	if m.Def.Moving == nil {
		h.seen.Store(h.news.Load())
	} else {
		h.seen.Store(h.news.Add(1) - 1)
	}
	return h
}

// pausedPoll is how often the catalogue is read while records are being moved.
const pausedPoll = 20 * time.Millisecond

// model is the model in the layout that it has now.
func (h *home) model(ctx context.Context) (*exec.Model, error) {
	for {
		news, epoch := h.news.Load(), h.db.store.Epoch()
		if news == h.seen.Load() && epoch == h.epoch.Load() {
			return h.now.Load(), nil
		}
		paused, err := h.settle(ctx, news, epoch)
		if err != nil {
			return nil, err
		}
		if !paused {
			continue
		}
		if err := workers.Sleep(ctx, pausedPoll); err != nil {
			return nil, fmt.Errorf("natsorm: %s is being moved to another layout, and this call waited for it until its context ended; if nobody is at it any more, run Migrate again: %w: %w", h.name, errs.ErrUnwritten, err)
		}
	}
}

// settle reads the catalogue.
func (h *home) settle(ctx context.Context, news, epoch uint64) (paused bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if news == h.seen.Load() && epoch == h.epoch.Load() {
		return false, nil
	}
	now, paused, err := h.now.Load().Settled(ctx)
	if err != nil || paused {
		return paused, err
	}
	h.now.Store(now)
	h.seen.Store(news)
	h.epoch.Store(epoch)
	return false, nil
}

// news is what was heard of the catalogue: for each model a number that changes when
// it is moved.
type news struct {
	mu sync.Mutex
	m  map[string]*newsOf
}

type newsOf struct {
	n     atomic.Uint64
	place string // that was heard last
}

// of is the number of a model that is at a place.
func (n *news) of(model, place string) *atomic.Uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		n.m = map[string]*newsOf{}
	}
	if n.m[model] == nil {
		n.m[model] = &newsOf{place: place}
	}
	return &n.m[model].n
}

func (n *news) hear(value []byte) {
	name, place, moving, ok := exec.Announced(value)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if of := n.m[name]; of != nil && (moving || place != of.place) {
		of.place = place
		of.n.Add(1)
	}
}
