package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// agree writes the anchor, which takes a majority of the servers: a leader that others
// have replaced cannot do it alone. Calls at the same time share a write; a write that
// has begun before a call does not count for it.
func (s *Session) agree(ctx context.Context) error {
	s.barriers.mu.Lock()
	w := s.barriers.next
	if w == nil {
		w = &barrier{done: make(chan struct{})}
		s.barriers.next = w
		if !s.Stream.Go(func() { s.raise(w) }) {
			s.barriers.next = nil
			s.barriers.mu.Unlock()
			return store.ErrClosed
		}
	}
	s.barriers.mu.Unlock()
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
func (s *Session) raise(w *barrier) {
	s.barriers.turn.Lock()
	defer s.barriers.turn.Unlock()
	s.barriers.mu.Lock()
	s.barriers.next = nil // a call that comes now needs another
	s.barriers.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), GiveUp)
	defer cancel()
	if err := s.put(ctx, store.Op{Key: anchorKey}).Err; err != nil { // its answer raises the floor
		w.err = fmt.Errorf("natsorm: ask a majority how far the bucket is: %w", err)
	}
	close(w.done)
}

// anchorlessFor is for how long it is believed that the anchor cannot be written.
const anchorlessFor = time.Minute

// dropAnchor writes the anchor, if nobody has.
func (s *Session) dropAnchor(ctx context.Context) error {
	if time.Since(time.Unix(0, s.anchorless.Load())) < anchorlessFor {
		return errNoAnchor
	}
	// Without permission to write, the server does not answer, and that may not be heard.
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	res := s.put(ctx, store.Op{Key: anchorKey, Conditional: true})
	if errors.Is(res.Err, store.ErrWrongRevision) {
		return nil
	}
	if errors.Is(res.Err, store.ErrUnknown) || errors.Is(res.Err, errs.ErrPermission) {
		s.anchorless.Store(time.Now().UnixNano())
	}
	return res.Err
}

// errNoAnchor says that nobody has written the anchor, and this account may not.
var errNoAnchor = errors.New("the anchor is missing")
