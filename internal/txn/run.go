package txn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

const (
	firstPause = time.Millisecond // before a transaction runs again, on average half of it; doubles
	mostPause  = 64 * time.Millisecond
)

// Run runs a transaction, again when others were in its way, until it commits, fn
// returns an error, or the context ends.
func Run(ctx context.Context, s store.Store, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		again, err := once(ctx, s, fn)
		switch {
		case !again && (try == 1 || ctx.Err() == nil || err == nil || errors.Is(err, errs.ErrUnknownOutcome)):
			return err
		case ctx.Err() != nil: // perhaps while fn ran
			return fmt.Errorf("natsorm: transaction: others were in its way, in %d tries, until its context ended; change less in it, or give it more time: %w: %w: %w", try, errs.ErrUnwritten, errConflict, ctx.Err())
		}
		pause := time.NewTimer(rand.N(min(mostPause, firstPause<<min(try, 16))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// once runs fn once; again says that others were in the way.
func once(ctx context.Context, s store.Store, fn func(*Tx) error) (again bool, err error) {
	if err := s.CatchUp(ctx); err != nil {
		return false, commit.Untouched(err)
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
	return t.failed != nil && errors.Is(t.failed, errConflict), err
}
