package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
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
	turnPause  = time.Millisecond // when it is its turn

	// turnWait bounds the wait for a turn: the transaction that has it may be waiting
	// for this one.
	turnWait = 250 * time.Millisecond
	stripes  = 64
)

// Turns lets the transactions of one DB that were in each other's way run again one
// after the other, first come first served, by what they were in the way for.
// Others, and those of other programs, do not wait; nothing depends on it but how
// often they run. The zero value is ready.
type Turns struct {
	once   sync.Once
	seed   maphash.Seed
	stripe [stripes]chan struct{} // of one: full while nobody has the turn
}

func (t *Turns) of(key string) chan struct{} {
	t.once.Do(func() {
		t.seed = maphash.MakeSeed()
		for i := range t.stripe {
			t.stripe[i] = make(chan struct{}, 1)
			t.stripe[i] <- struct{}{}
		}
	})
	return t.stripe[maphash.String(t.seed, key)%stripes]
}

// Run runs a transaction, again when others were in its way, until it commits, fn
// returns an error, or the context ends.
func (t *Turns) Run(ctx context.Context, s store.Store, fn func(*Tx) error) error {
	var turn chan struct{} // held
	defer func() {
		if turn != nil {
			turn <- struct{}{}
		}
	}()
	backoff := workers.Backoff{First: firstPause, Most: mostPause, Jitter: true}
	for try := 1; ; try++ {
		again, key, err := once(ctx, s, fn)
		if !again && (err == nil || try == 1 || ctx.Err() == nil || !errors.Is(err, ctx.Err()) || errors.Is(err, errs.ErrUnknownOutcome)) {
			return err
		}
		if ctx.Err() != nil { // perhaps while fn ran
			return fmt.Errorf("natsorm: transaction: what it read or wrote was changed while it ran, in %d tries, the last time %s, until its context ended; do less in it, give it more time, and see that all models in it are inside (In): %w: %w: %w", try, cmp.Or(key, "nothing in particular"), errs.ErrUnwritten, errConflict, ctx.Err())
		}
		pause := backoff.Next()
		var mine chan struct{}
		if turn == nil {
			mine, pause = t.of(key), turnWait
		} else if try > 2 {
			pause = min(pause, turnPause) // only others' first tries are in its way
		}
		timer := time.NewTimer(pause)
		select {
		case <-mine:
			turn = mine
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// once runs fn once; again says that others were in the way, for key.
func once(ctx context.Context, s store.Store, fn func(*Tx) error) (again bool, key string, err error) {
	if err := s.CatchUp(ctx); err != nil {
		return false, "", commit.Untouched(err)
	}
	t := newTx(s)
	var revisions map[string]uint64
	defer func() { t.end(revisions) }() // also when fn panics
	err = fn(t)
	if err == nil {
		revisions, err = t.commit(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil { // fn can not know what it would have returned
		err = t.failed
	}
	key = t.contested
	if key == "" && len(t.order) > 0 {
		key = t.order[0].base.Key
	}
	return t.failed != nil && errors.Is(t.failed, errConflict), key, err
}
