package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/keys"
)

// On a replicated bucket a read may be answered by a server that is behind. A
// store remembers the highest revision that it wrote or saw, and takes no answer
// from a server that is not as far: it asks again, and in the end the leader. So
// a session, which is what one store reads and writes, never sees less than it
// has seen, or written, before.
//
// An answer says how far its server is only when it has a key in it. So every
// request also asks for one that is always there, the anchor.

const (
	anchorKey = keys.Anchor

	// A server that is behind is asked again after this time, which doubles.
	behindPause = 500 * time.Microsecond

	// behindFor is after how long the leader is asked instead, one key at a
	// time. Replicas are behind for milliseconds, if they are not cut off.
	behindFor = 250 * time.Millisecond
)

// errBehind is the answer of a server that has not yet what the session has seen.
var errBehind = errors.New("the replica is behind")

// saw notes a revision that the bucket has reached.
func (s *JetStream) saw(revision uint64) {
	if !s.replicated {
		return
	}
	for {
		old := s.floor.Load()
		if revision <= old || s.floor.CompareAndSwap(old, revision) {
			return
		}
	}
}

// upTo is the revision that the server had reached when it answered, by the end
// of the answer.
func upTo(end nats.Header) (uint64, error) {
	n, err := strconv.ParseUint(end.Get("Nats-UpTo-Sequence"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the server does not say how far it is: %w", err)
	}
	return n, nil
}

// CatchUp lets the reads that follow see what the leader has. One that is cut off
// from the other servers believes to be leader for some seconds longer than it is.
func (s *JetStream) CatchUp(ctx context.Context) error {
	if !s.replicated {
		return nil
	}
	_, last, err := s.streamState(ctx)
	if err == nil {
		s.saw(last)
	}
	return err
}

// Barrier lets the reads that follow see all that anyone was told is written before
// the call, whatever a leader believes that others have replaced: it writes the
// anchor, which takes a majority. Calls at the same time share a write: one that
// has begun before a call does not count for it.
func (s *JetStream) Barrier(ctx context.Context) error {
	if !s.replicated {
		return nil
	}
	s.barrier.mu.Lock()
	b := s.barrier.next
	if b == nil {
		b = &barrier{done: make(chan struct{})}
		s.barrier.next = b
		if !s.spawn(func() { s.raise(b) }) {
			s.barrier.next = nil
			s.barrier.mu.Unlock()
			return ErrClosed
		}
	}
	s.barrier.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("natsorm: ask a majority how far the bucket is: %w", ctx.Err())
	}
}

// barriers are those that calls wait for: one is being written, and the next one
// waits for it, and for calls to join.
type barriers struct {
	mu   sync.Mutex
	turn sync.Mutex
	next *barrier
}

type barrier struct {
	done chan struct{}
	err  error
}

// raise writes a barrier, when the one before it is written.
func (s *JetStream) raise(b *barrier) {
	s.barrier.turn.Lock()
	defer s.barrier.turn.Unlock()
	s.barrier.mu.Lock()
	s.barrier.next = nil // who comes now needs another
	s.barrier.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	if err := s.Write(ctx, Op{Key: anchorKey})[0].Err; err != nil { // its answer raises the floor
		b.err = fmt.Errorf("natsorm: ask a majority how far the bucket is: %w", err)
	}
	close(b.done)
}

// dropAnchor writes the anchor, if nobody has.
func (s *JetStream) dropAnchor(ctx context.Context) error {
	if time.Since(time.Unix(0, s.anchorless.Load())) < deniedFor {
		return errNoAnchor
	}
	// Without permission to write, the server does not answer.
	ctx, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	res := s.Write(ctx, Op{Key: anchorKey, Conditional: true})[0]
	if errors.Is(res.Err, ErrWrongRevision) {
		return nil
	}
	if errors.Is(res.Err, ErrUnknown) {
		s.anchorless.Store(time.Now().UnixNano())
	}
	return res.Err
}

// errNoAnchor says that nobody has written the anchor, and this account may not.
var errNoAnchor = errors.New("the anchor is missing")

// current repeats a read until it is answered by a server that is as far as the
// session. When none is for a while, and the leader is, the leader is read.
func (s *JetStream) current(ctx context.Context, read func() error, leader func() error) error {
	began, pause := time.Now(), behindPause
	for {
		err := read()
		if !errors.Is(err, errBehind) {
			return err
		}
		if time.Since(began) > behindFor && s.leaderIsCurrent(ctx) {
			return leader()
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > giveUp {
			return fmt.Errorf("%w, and so is the leader", errBehind)
		}
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("%w: %w", errBehind, err)
		}
		pause = min(2*pause, behindFor)
	}
}

// leaderIsCurrent reports whether the leader has what the session has seen. One
// that is cut off from the others may not.
func (s *JetStream) leaderIsCurrent(ctx context.Context) bool {
	created, last, err := s.streamState(ctx)
	if err == nil && last < s.floor.Load() && !created.Equal(s.created) {
		s.floor.Store(last) // the bucket was made anew, and begins with 1 again
	}
	return err == nil && last >= s.floor.Load()
}

// fromLeaderMatching reads the last messages under patterns from the leader, one
// at a time.
func (s *JetStream) fromLeaderMatching(ctx context.Context, patterns []string, each func(Message)) error {
	for _, pattern := range patterns {
		last := map[string]Message{} // with history, a key has several
		for revision := uint64(0); ; {
			e, err := s.fromLeader(ctx, map[string]any{"seq": revision + 1, "next_by_subj": s.prefix + pattern})
			if err != nil {
				return err
			}
			if e.Revision == 0 {
				break
			}
			last[e.Key], revision = e, e.Revision
		}
		for _, e := range last {
			each(e)
		}
	}
	return nil
}
