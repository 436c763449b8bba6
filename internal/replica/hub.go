package replica

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/follow"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// late is how long a reader waits for a revision before the hub looks whether its message is gone.
	late = 50 * time.Millisecond

	// The pauses between tries to follow a bucket that cannot be followed.
	firstPause = 50 * time.Millisecond
	mostPause  = 2 * time.Second
)

// State is all models that were joined, as they were at one moment.
type State struct {
	Revision uint64 // everything up to it is in
	models   map[string]*Snapshot
}

// spawn runs work beside the hub, until that is done or touch is lost.
type spawn func(work func(ctx context.Context, f *follow.Follower))

// Hub keeps models of one bucket in memory. It is safe for concurrent use.
type Hub struct {
	Store  store.Store
	Life   context.Context // when it ends, everything of the hub does
	Tasks  *workers.Tasks  // for the goroutines
	Logger *slog.Logger

	state atomic.Pointer[State] // nil while touch is lost

	mu     sync.Mutex
	tables map[string]*table
	moved  chan struct{} // closed, and made anew, when anything has changed that somebody waits for
	failed error         // why the bucket cannot be followed any more
	follow *follow.Follower
	at     uint64 // where the follower is
	losses int    // how often touch was lost
	spawn  spawn  // nil while nobody follows
	cut    context.CancelFunc
	ended  chan struct{} // closed when the last one that followed has ended; nil when none has begun
}

// Replica is a model in memory, for one who has joined it.
type Replica struct {
	hub    *Hub
	model  string
	table  *table
	closed atomic.Bool
}

// Join keeps a model in memory from now on, until Close. It returns when the model is loaded, or ctx has
// ended.
func (h *Hub) Join(ctx context.Context, model string) (*Replica, error) {
	h.mu.Lock()
	if h.moved == nil {
		h.tables, h.moved = map[string]*table{}, make(chan struct{})
	}
	t := h.tables[model]
	if t == nil {
		t = &table{model: model}
		t.reset()
		h.tables[model] = t
	}
	t.joined++
	r := &Replica{hub: h, model: model, table: t}
	if err := h.begin(t); err != nil {
		h.mu.Unlock()
		r.Close()
		return nil, err
	}
	h.mu.Unlock()
	if _, err := r.At(ctx, func(bool) (uint64, error) { return 0, nil }); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends a Join. When nobody has joined anything any more, nothing is left in the process or on the
// server when it returns.
func (r *Replica) Close() {
	if r.closed.Swap(true) {
		return
	}
	h := r.hub
	h.mu.Lock()
	if r.table.joined--; r.table.joined == 0 {
		delete(h.tables, r.model)
		h.publish()
	}
	var ended chan struct{}
	if len(h.tables) == 0 && h.cut != nil {
		h.cut()
		h.cut, ended = nil, h.ended
		h.state.Store(nil)
	}
	h.tell()
	h.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// At is the model at the revision that want returns, or later. It waits for that. When touch was lost
// meanwhile, the bucket may be another one, with revisions of its own: then it calls want again, with
// lost. errs.ErrClosed after Close.
func (r *Replica) At(ctx context.Context, want func(lost bool) (uint64, error)) (*Snapshot, error) {
	revision, err := want(false)
	if err != nil {
		return nil, err
	}
	hurry, losses := false, -1
	for {
		if r.closed.Load() || r.hub.Life.Err() != nil {
			return nil, errs.ErrClosed
		}
		if now := r.hub.state.Load(); now != nil && now.Revision >= revision {
			if s := now.models[r.model]; s != nil {
				return s, nil
			}
		}
		r.hub.mu.Lock()
		lost := losses >= 0 && losses != r.hub.losses
		losses = r.hub.losses
		moved, err := r.hub.moved, r.hub.failed
		if err == nil {
			err = r.table.err
		}
		if now := r.hub.state.Load(); hurry && now != nil && now.Revision < revision && r.hub.follow != nil {
			r.hub.follow.Hurry()
		}
		r.hub.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if lost {
			if revision, err = want(true); err != nil {
				return nil, err
			}
			continue
		}
		if now := r.hub.state.Load(); now != nil && now.Revision >= revision && now.models[r.model] != nil {
			continue // it came between the two looks
		}
		timer := time.NewTimer(late)
		select {
		case <-moved:
		case <-timer.C:
			hurry = true
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-r.hub.Life.Done():
		}
		timer.Stop()
	}
}

// Now is the model as it is in memory, and the revision up to which it has everything. It is nil while it is
// loaded.
func (r *Replica) Now() (revision uint64, s *Snapshot) {
	now := r.hub.state.Load()
	if now == nil || r.closed.Load() {
		return 0, nil
	}
	return now.Revision, now.models[r.model]
}

// tell wakes everybody who waits.
func (h *Hub) tell() {
	close(h.moved)
	h.moved = make(chan struct{})
}

// begin follows the bucket, if nobody does, and loads a table that is new. The lock is held.
func (h *Hub) begin(t *table) error {
	if h.cut == nil {
		before := h.ended
		ctx, cut := context.WithCancel(h.Life)
		ended := make(chan struct{})
		h.failed = nil
		if !h.Tasks.Go(func() {
			defer close(ended)
			if before != nil {
				<-before
			}
			h.run(ctx)
		}) {
			cut()
			return errs.ErrClosed
		}
		h.cut, h.ended = cut, ended
	} else if t.joined == 1 && h.spawn != nil {
		h.loads(t)
	}
	return nil
}

// loads begins to load a table. The lock is held.
func (h *Hub) loads(t *table) {
	h.spawn(func(ctx context.Context, f *follow.Follower) { h.load(ctx, f, t) })
}

// run follows the bucket, and again when touch was lost, until ctx ends.
func (h *Hub) run(ctx context.Context) {
	pauses := workers.Pauses{First: firstPause, Most: mostPause, Jitter: true}
	for {
		began := time.Now()
		err := h.session(ctx)
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.state.Store(nil)
		for _, t := range h.tables {
			t.reset()
		}
		if !store.Transient(err) && !errors.Is(err, errLost) {
			h.failed = err
			h.tell()
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		h.Logger.Warn("natsorm: what was read into memory is read again", "why", err)
		if time.Since(began) > mostPause {
			pauses = workers.Pauses{First: firstPause, Most: mostPause, Jitter: true}
		}
		if pauses.Sleep(ctx) != nil {
			return
		}
	}
}

var errLost = errors.New("it is not known what was written while the server was away, or the bucket was made anew")

// session follows the bucket until touch is lost.
func (h *Hub) session(ctx context.Context) error {
	if err := store.CatchUp(ctx, h.Store); err != nil {
		return err
	}
	at, err := h.Store.Revision(ctx, store.Whole)
	if err != nil {
		return err
	}
	if at == 0 { // the bucket was made anew, and has no models
		return errLost
	}
	f, err := follow.Start(ctx, h.Store, at)
	if err != nil {
		return err
	}
	var loads sync.WaitGroup // what was spawned
	loading, stop := context.WithCancel(ctx)
	defer func() {
		h.mu.Lock()
		h.follow, h.spawn = nil, nil
		h.mu.Unlock()
		stop()
		loads.Wait()
		f.Close()
	}()
	h.mu.Lock()
	h.follow, h.at = f, at
	h.spawn = func(work func(context.Context, *follow.Follower)) { loads.Go(func() { work(loading, f) }) }
	for _, t := range h.tables {
		t.reset() // what was heard before is not followed by what was written since
		h.loads(t)
	}
	h.losses++ // whoever waits since before this may wait for a revision of another bucket
	h.publish()
	h.mu.Unlock()
	for {
		step, err := f.Next(ctx)
		switch {
		case err != nil:
			return err
		case step.Lost:
			return errLost
		}
		h.take(step)
	}
}

// take makes a step one State.
func (h *Hub) take(step follow.Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range step.Messages {
		if t := h.tableOf(m.Key); t != nil {
			t.hear(m)
			h.renew(t)
		}
	}
	h.at = step.Revision
	h.publish()
}

// tableOf is the table that a key is of: a record's, or a document's of the catalogue.
func (h *Hub) tableOf(key string) *table {
	first, rest, _ := strings.Cut(key, ".")
	if keys.IsSchema(key) {
		return h.tables[rest]
	}
	t := h.tables[first]
	if t == nil || !keys.Matches(keys.Records(t.model), key) {
		return nil
	}
	return t
}

// publish makes the tables as they are one State.
func (h *Hub) publish() {
	now := &State{Revision: h.at, models: make(map[string]*Snapshot, len(h.tables))}
	for name, t := range h.tables {
		if t.loaded {
			now.models[name] = t.snapshot()
		}
	}
	h.state.Store(now)
	h.tell()
}
