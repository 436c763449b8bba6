package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// A transaction that others were in the way of pauses before it runs again, at
	// random up to these times.
	firstPause = 2 * time.Millisecond // doubles
	mostPause  = 64 * time.Millisecond
	nextPause  = time.Millisecond // when it is the first in its queue

	// queueWait bounds the wait in a queue: the first in it may be waiting for this one.
	queueWait = 250 * time.Millisecond
	stripes   = 64 // queues; keys share one by their hash

	// maxOwnLosses ends a transaction that loses at the same key again and again while its
	// own DB writes outside of it. Most likely its function makes those writes itself, each
	// time that it runs.
	maxOwnLosses = 32
)

// Runner runs the transactions of one DB. Those that lost to each other run again
// one after the other, first come first served, by the key that they lost for.
// First runs, and transactions of other programs, do not wait: nothing depends on
// it but how often a function runs. The zero value is ready.
type Runner struct {
	once  sync.Once
	seed  maphash.Seed
	queue [stripes]chan struct{} // holds one token; a transaction that has it is the next to run
}

func (r *Runner) queueOf(key string) chan struct{} {
	r.once.Do(func() {
		r.seed = maphash.MakeSeed()
		for i := range r.queue {
			r.queue[i] = make(chan struct{}, 1)
			r.queue[i] <- struct{}{}
		}
	})
	return r.queue[maphash.String(r.seed, key)%stripes]
}

// Run runs a transaction: again when it lost to other writes, until it commits, fn
// returns an error, or the context ends. Its error is fn's, or the commit's;
// ErrConflict when the context ended first, or when the transaction lost
// maxOwnLosses times in a row at the same key beside writes that its own DB made outside
// of it.
func (r *Runner) Run(ctx context.Context, s store.Store, fn func(*Tx) error) error {
	var token chan struct{} // of the queue that this transaction is the first in
	defer func() {
		if token != nil {
			token <- struct{}{}
		}
	}()
	ownLosses, ownKey := 0, ""
	pauses := workers.Pauses{First: firstPause, Most: mostPause, Jitter: true}
	for try := 1; ; try++ {
		out, err := once(ctx, s, fn, try > 1, ownLosses >= maxOwnLosses/2)
		if !out.lost && (err == nil || try == 1 || ctx.Err() == nil || !errors.Is(err, ctx.Err()) || errors.Is(err, errs.ErrUnknownOutcome)) {
			return err
		}
		if ctx.Err() != nil { // perhaps while fn ran
			return fmt.Errorf("natsorm: transaction: what it read or wrote was changed while it ran, in %d tries, the last time %s, until its context ended; do less in it, or give it more time: %w: %w: %w", try, cmp.Or(out.key, "at an unknown key"), errs.ErrUnwritten, errConflict, ctx.Err())
		}
		if out.beside == "" || out.contested != "" && ownKey != "" && out.contested != ownKey {
			ownLosses, ownKey = 0, ""
		}
		if out.beside != "" {
			ownLosses, ownKey = ownLosses+1, cmp.Or(out.contested, ownKey)
		}
		if ownLosses == maxOwnLosses {
			return fmt.Errorf("natsorm: transaction: it ran %d times in a row beside writes of %s that this DB made outside of it, and lost each time, the last time %s; inside its function, call with the context that the function gets, or with Outside(ctx) what is meant to stand anyway, but not what the transaction reads: %w", maxOwnLosses, out.beside, cmp.Or(out.key, "at an unknown key"), errConflict)
		}
		pause := pauses.Next()
		var queue chan struct{}
		if token == nil {
			queue, pause = r.queueOf(out.key), queueWait
		} else if try > 2 {
			pause = min(pause, nextPause) // it loses only to first runs of others
		}
		timer := time.NewTimer(pause)
		select {
		case <-queue:
			token = queue
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// outcome is what became of a run that did not return fn's own error.
type outcome struct {
	lost      bool   // to other writes: the function has to run again
	contested string // the key or pattern that was changed; "" while that is not known
	key       string // the same; or else the first record that the run changed
	beside    string // the model that this DB wrote outside of the transaction meanwhile; "" for none
}

// once runs fn once, or again. With find, a run that lost at its commit finds out where.
func once(ctx context.Context, s store.Store, fn func(*Tx) error, again, find bool) (out outcome, err error) {
	if err := store.CatchUp(ctx, s); err != nil {
		return out, commit.Untouched(err)
	}
	t := newTx(s)
	t.again = again
	var revisions map[string]uint64
	defer func() { t.end(revisions) }() // also when fn panics
	err = fn(t)
	if err == nil {
		revisions, err = t.commit(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil { // fn cannot know what it would have returned
		err = t.failed
	}
	out.lost = t.failed != nil && errors.Is(t.failed, errConflict)
	if find && out.lost && t.contested == "" {
		_, _ = t.look(ctx) // when it does not find out, it stays unknown
	}
	out.contested, out.key = t.contested, t.contested
	if out.key == "" && len(t.order) > 0 {
		out.key = t.order[0].base.Key
	}
	out.beside = t.writtenBeside()
	return out, err
}

// Beside lets the transaction know of a model that it uses, and of the counter of the
// writes that its DB makes to that model outside of transactions. A run that loses
// while such a counter moves may have lost to itself: its function called with
// another context than its own.
func (t *Tx) Beside(model string, writes *atomic.Uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.beside[model]; !ok {
		t.beside[model] = besideWrites{counter: writes, start: writes.Load()}
	}
}

// besideWrites is the number of writes of one model outside of the transaction.
type besideWrites struct {
	counter *atomic.Uint64
	start   uint64 // when the run first used the model
}

// writtenBeside is the model, of the contested key when that is known, that was written
// outside of the transaction since the run first used it.
func (t *Tx) writtenBeside() string {
	contested, _, _ := strings.Cut(t.contested, ".")
	for model, w := range t.beside {
		if (contested == "" || contested == model) && w.counter.Load() != w.start {
			return model
		}
	}
	return ""
}
