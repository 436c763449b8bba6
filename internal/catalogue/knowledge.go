package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
)

// A change of a model's schema must not leave out those who write by the schema that was
// before. They cannot be asked, and the server does not know them. So what a program knows
// of the catalogue has an age: the time since it began to read it, and found it so. While
// it is younger than Young, it is believed. A change writes its document, and waits for
// Settled before it relies on it: then whoever does not know the document has knowledge
// that is older than Young, and looks before it believes what it did. spec/schema.pml is
// the model of it.
const (
	// Young is how old knowledge may be, at the answer to a write or to a read.
	Young = time.Second

	// Settled is how long a change waits. The clocks of two machines may run at speeds that
	// differ by as much.
	Settled = 3 * Young / 2

	// renewEvery is how often knowledge is renewed while it is used, so that it is young
	// whenever the servers answer in time; and idle how long after its last use that goes on.
	renewEvery = 2 * Young / 5
	idle       = 10 * time.Second

	// abandoned is how long the removal of a model's records may stand still before one who
	// waits for it goes on in the place of a program that may have died.
	abandoned = 10 * time.Second
)

// Knowledge is what a process knows of a bucket's catalogue: the documents of the models
// that have handles. It is safe for concurrent use.
type Knowledge struct {
	store      store.Store
	generation func() uint64
	resume     func(ctx context.Context, model string) error

	sure atomic.Pointer[time.Time] // the catalogue was as it is known at this time; nil: at none
	used atomic.Pointer[time.Time] // when it was last asked for

	looks usage.Usage // what it took to look at the catalogue

	confirming chan struct{} // held, as a lock, by the one who reads the catalogue
	last       uint64        // the catalogue's last revision at sure; guarded by confirming

	mu      sync.Mutex
	models  map[string]*known // by name, those that have handles
	running bool              // it is being renewed
	closed  bool
	stop    context.CancelFunc
	ended   sync.WaitGroup
	life    context.Context
}

// known is what is known of one model.
type known struct {
	def        atomic.Pointer[schema.Definition]
	unreadable atomic.Pointer[error] // why its document could not be read; nil when it could
	build      atomic.Pointer[Build] // how far the building of its indexes had come; nil when there is nothing to build
	unread     bool                  // it was not read when the catalogue was read last; guarded by Knowledge.confirming, or new

	// Of a model that is being emptied; guarded by Knowledge.mu.
	emptying uint64    // the revision of the document that says so, as it was known last
	since    time.Time // when it was first seen to be that one
	resuming bool      // this process goes on with it
}

// NewKnowledge makes a Knowledge that has nothing. generation counts the buckets that
// there were under the name. resume ends the removal of a model's records that another
// program has begun. The caller subscribes to the documents that are written to
// the catalogue, and calls Hear with each. It must call Close.
func NewKnowledge(s store.Store, generation func() uint64, resume func(ctx context.Context, model string) error) *Knowledge {
	k := &Knowledge{store: s, generation: generation, resume: resume, confirming: make(chan struct{}, 1), models: map[string]*known{}}
	k.life, k.stop = context.WithCancel(context.Background())
	return k
}

// Close ends the renewal.
func (k *Knowledge) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.ended.Wait()
}

// Looks is how many requests it took to look at the catalogue.
func (k *Knowledge) Looks() int { return int(k.looks.Requests.Load()) }

// Hear takes a document that somebody has sent to the catalogue; whether the server takes
// it is not known. A text that is not a document is ignored. Nobody relies on hearing it:
// it makes a change known sooner.
func (k *Knowledge) Hear(raw []byte) {
	var def schema.Definition
	if json.Unmarshal(raw, &def) != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.models[def.Name]; m != nil {
		k.Doubt()
	}
}

// Doubt lets the next call look at the catalogue, which this process may have changed: what it has
// done itself a program need not hear of first.
func (k *Knowledge) Doubt() { k.sure.Store(nil) }

// lookAtBuild reads how far the building of the model's indexes has come, where there is any to
// build. Nothing depends on it, so it stays as it was when that fails.
func (m *known) lookAtBuild(ctx context.Context, s store.Store, def *schema.Definition) {
	if !def.Unbuilt() {
		m.build.Store(nil)
	} else if b, _, err := ReadBuild(ctx, s, def.Name); err == nil {
		m.build.Store(&b)
	}
}

// of is what is known of a model; def was read from the catalogue just now.
func (k *Knowledge) of(def *schema.Definition) *known {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.models[def.Name]
	if m == nil {
		m = &known{unread: true}
		k.models[def.Name] = m
		k.Doubt() // the model's document may have changed since it was read
	}
	if old := m.def.Load(); old == nil || old.Revision < def.Revision {
		m.def.Store(def)
	}
	return m
}

// young reports whether the knowledge is believed now. An age counts by the clock that
// stands still while the machine does, and by the one that may be set.
func (k *Knowledge) young(now time.Time) bool {
	sure := k.sure.Load()
	return sure != nil && now.Sub(*sure) <= Young && now.Round(0).Sub(sure.Round(0)) <= Young
}

// use notes that the knowledge is used, and renews it from now on, until it is not used
// any more.
func (k *Knowledge) use(now time.Time) {
	if last := k.used.Load(); last != nil && now.Sub(*last) < renewEvery/4 {
		return
	}
	at := now // in a variable of its own, so that most calls allocate nothing
	k.used.Store(&at)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.running && !k.closed {
		k.running = true
		k.ended.Go(k.renew)
	}
}

// takeOver is called again and again by those who wait for a removal of records. When that has
// stood still for long, it is carried on here. Two programs that do it at the same time are
// no harm.
func (k *Knowledge) takeOver(m *known, def *schema.Definition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch now := time.Now(); {
	case m.emptying != def.Revision:
		m.emptying, m.since = def.Revision, now
	case m.resuming || k.closed || now.Sub(m.since) < abandoned:
	default:
		m.resuming = true
		k.ended.Go(func() {
			_ = k.resume(k.life, def.Name) // otherwise it is tried again
			k.mu.Lock()
			defer k.mu.Unlock()
			m.resuming, m.since = false, time.Now()
		})
	}
}

func (k *Knowledge) renew() {
	t := time.NewTicker(renewEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-k.life.Done():
		}
		k.mu.Lock()
		if k.closed || time.Since(*k.used.Load()) > idle {
			k.running = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		ctx, cancel := context.WithTimeout(k.life, Young)
		_ = k.Confirm(ctx) // when it fails, the knowledge grows old, and calls find out why
		cancel()
	}
}

// Confirm reads the catalogue: afterwards the knowledge is not older than the call. Calls
// at the same time share what they read. On a bucket that may have replicas it asks a
// majority of the servers. What it costs is no call's.
func (k *Knowledge) Confirm(ctx context.Context) error {
	called := time.Now()
	ctx = usage.Measured(ctx, &k.looks)
	select {
	case k.confirming <- struct{}{}:
		defer func() { <-k.confirming }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if sure := k.sure.Load(); sure != nil && !sure.Before(called) {
		return nil
	}
	began := time.Now()
	if k.store.Traits().Replicable {
		if _, err := k.store.Revision(ctx, store.Agreed); err != nil {
			return err
		}
	}
	last, err := k.store.Last(ctx, keys.Schemas())
	if err != nil {
		return err
	}
	k.mu.Lock()
	models := maps.Clone(k.models)
	k.mu.Unlock()
	for name, m := range models {
		now := m.def.Load()
		m.lookAtBuild(ctx, k.store, now)
		if last == k.last && !m.unread || last == now.Revision {
			m.unread = false
			continue
		}
		def, _, err := Read(ctx, k.store, name)
		if errors.Is(err, errs.ErrSchema) { // this model's calls say so
			m.unreadable.Store(&err)
			m.unread = true
			continue
		}
		if err != nil {
			return err
		}
		m.unreadable.Store(nil)
		if def != nil {
			m.lookAtBuild(ctx, k.store, def)
		}
		if def != nil && def.Revision != now.Revision { // without one, the bucket is being restored: what is known stays in force
			m.def.CompareAndSwap(now, def) // unless a Define was faster
		}
		m.unread = false
	}
	k.last = last
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.models) == len(models) { // otherwise there is a model whose document was not looked at
		k.sure.Store(&began)
	}
	return nil
}
