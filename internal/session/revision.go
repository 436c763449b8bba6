package session

import (
	"context"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// Revision raises the session's floor to what it returns.
func (s *Session) Revision(ctx context.Context, c store.Certainty) (revision uint64, err error) {
	err = s.Steady(ctx, func() error {
		revision, err = s.revision(ctx, c)
		return err
	})
	return revision, err
}

func (s *Session) revision(ctx context.Context, c store.Certainty) (uint64, error) {
	switch c {
	case store.Acknowledged:
		return s.Acknowledged(ctx)
	case store.Whole:
		return s.Whole(ctx)
	}
	if !s.Replicable() { // every read is answered by the only server there is
		return 0, nil
	}
	if c == store.Agreed {
		return 0, s.agree(ctx)
	}
	return s.Sequence(ctx)
}

// Acknowledged asks for the stream's state where its last message is gone, or where
// another server may be behind.
func (s *Session) Acknowledged(ctx context.Context) (uint64, error) {
	if last, err := s.Newest(ctx); err != nil || last > 0 {
		return last, err
	}
	return s.Sequence(ctx)
}

// Newest is a revision at or above that of every message that is there before the
// call, or 0 when that is not cheaply known.
func (s *Session) Newest(ctx context.Context) (uint64, error) {
	if !s.Now().Direct || s.Replicable() {
		return 0, nil
	}
	return s.Stream.Newest(ctx)
}

// Whole asks in a way that is isolated from batches. Without direct get there is no
// such request; then the last message says whether its batch goes on. On a
// replicated bucket it asks a server that is as far as the leader, which shows a
// batch whole or not at all, and then waits until the leader is as far as that.
func (s *Session) Whole(ctx context.Context) (whole uint64, err error) {
	gone := uint64(0) // a last message that was not there
	for began := time.Now(); ; {
		last, err := s.Sequence(ctx)
		switch {
		case err != nil:
			return 0, err
		case whole > 0 && last >= whole:
			return whole, nil
		case last == 0: // the bucket is new
			return 0, nil
		case whole == 0 && !s.Now().Direct:
			m, err := s.Stream.LeaderAt(ctx, last)
			if err != nil || m.Revision == last && !m.Batched || gone == last {
				return last, err
			}
			if m.Revision == 0 { // what follows it has replaced it, unless nothing does
				gone = last
				continue
			}
		case whole == 0:
			a, err := s.ReadExact(ctx, []string{anchorKey})
			if whole = a.Revision; err != nil || !s.Replicable() {
				return whole, err
			}
			continue
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > GiveUp {
			return 0, fmt.Errorf("natsorm: get the state of %s: %w", s.Stream.Name, wire.ErrBehind)
		}
		if err := workers.Sleep(ctx, behindPause); err != nil {
			return 0, err
		}
	}
}

// Sequence is the revision of the last message that the bucket ever had, from the
// leader. It raises the floor to it.
func (s *Session) Sequence(ctx context.Context) (uint64, error) {
	_, last, err := s.Stream.State(ctx)
	if err == nil {
		s.Saw(last)
	}
	return last, err
}
