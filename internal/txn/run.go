package txn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

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
		err := once(ctx, s, fn)
		if !errors.Is(err, errConflict) {
			return err
		}
		pause := time.NewTimer(rand.N(min(mostPause, firstPause<<min(try, 16))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%w: %w, in each of %d tries: %w", errs.ErrUnwritten, err, try, ctx.Err())
		}
	}
}

// once runs fn once.
func once(ctx context.Context, s store.Store, fn func(*Tx) error) (err error) {
	if err := s.CatchUp(ctx); err != nil {
		return err
	}
	t := newTx(s)
	var revisions map[string]uint64
	defer func() { t.end(revisions) }() // also when fn panics
	if err := fn(t); err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.failed != nil {
			return t.failed // fn can not know what it would have returned
		}
		return err
	}
	revisions, err = t.commit(ctx)
	return err
}
