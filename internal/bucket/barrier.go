package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/store"
)

// agree writes the anchor, which takes a majority of the servers: a leader that others
// have replaced cannot do it alone. Calls at the same time share a write; a write that
// has begun before a call does not count for it.
func (b *Bucket) agree(ctx context.Context) error {
	b.barriers.mu.Lock()
	w := b.barriers.next
	if w == nil {
		w = &barrier{done: make(chan struct{})}
		b.barriers.next = w
		if !b.stream.Go(func() { b.raise(w) }) {
			b.barriers.next = nil
			b.barriers.mu.Unlock()
			return store.ErrClosed
		}
	}
	b.barriers.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return fmt.Errorf("natsorm: ask a majority how far the bucket is: %w", ctx.Err())
	}
}

// barriers are those that calls wait for. One is being written; the next one waits
// for that, and calls join it meanwhile.
type barriers struct {
	mu   sync.Mutex
	turn sync.Mutex
	next *barrier
}

// barrier is one write of the anchor.
type barrier struct {
	done chan struct{}
	err  error
}

// raise writes a barrier, when the one before it is written.
func (b *Bucket) raise(w *barrier) {
	b.barriers.turn.Lock()
	defer b.barriers.turn.Unlock()
	b.barriers.mu.Lock()
	b.barriers.next = nil // a call that comes now needs another
	b.barriers.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	if err := b.Write(ctx, store.Op{Key: anchorKey})[0].Err; err != nil { // its answer raises the floor
		w.err = fmt.Errorf("natsorm: ask a majority how far the bucket is: %w", err)
	}
	close(w.done)
}

// dropAnchor writes the anchor, if nobody has.
func (b *Bucket) dropAnchor(ctx context.Context) error {
	if time.Since(time.Unix(0, b.anchorless.Load())) < deniedFor {
		return errNoAnchor
	}
	// Without permission to write, the server does not answer.
	ctx, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	res := b.Write(ctx, store.Op{Key: anchorKey, Conditional: true})[0]
	if errors.Is(res.Err, store.ErrWrongRevision) {
		return nil
	}
	if errors.Is(res.Err, store.ErrUnknown) {
		b.anchorless.Store(time.Now().UnixNano())
	}
	return res.Err
}

// errNoAnchor says that nobody has written the anchor, and this account may not.
var errNoAnchor = errors.New("the anchor is missing")
