package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
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
	anchorKey = "_anchor"

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

// CatchUp lets the reads that follow see all that anyone was told is written
// before the call.
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

// dropAnchor writes the anchor, if nobody has.
func (s *JetStream) dropAnchor(ctx context.Context) error {
	res := s.Write(ctx, Op{Key: anchorKey, Check: true, Settle: true})[0]
	if errors.Is(res.Err, ErrWrongRevision) {
		return nil
	}
	return res.Err
}

// current repeats a read until it is answered by a server that is as far as the
// session, and asks the leader when none is for a while.
func (s *JetStream) current(ctx context.Context, read func() error, leader func() error) error {
	began, pause := time.Now(), behindPause
	for {
		err := read()
		if !errors.Is(err, errBehind) {
			return err
		}
		if time.Since(began) > behindFor {
			// A bucket that was made anew begins with 1 again.
			if _, last, err := s.streamState(ctx); err == nil && last < s.floor.Load() {
				s.floor.Store(last)
			}
			return leader()
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause *= 2
	}
}

// fromLeaderMatching reads the last messages under patterns from the leader, one
// at a time.
func (s *JetStream) fromLeaderMatching(ctx context.Context, patterns []string, each func(Entry)) error {
	for _, pattern := range patterns {
		last := map[string]Entry{} // with history, a key has several
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
