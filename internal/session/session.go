package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// Options is what a Session is made of.
type Options struct {
	Stream *wire.Stream
	Logger *slog.Logger

	// Write sends a write, and gives Saw the revision that it gets. Put does the same and
	// looks at what the answer tells of the bucket (Certify).
	Write, Put func(ctx context.Context, op store.Op) store.Result

	// Anew is called when the bucket was made anew.
	Anew func()
}

// GiveUp is how long a call without a deadline is looked after.
const GiveUp = 10 * time.Second

// Session reads a bucket so that nothing is older than what the session has seen. It is
// safe for concurrent use.
type Session struct {
	Stream  *wire.Stream
	Batches atomic.Bool // atomic publish is on

	logger     *slog.Logger
	write, put func(context.Context, store.Op) store.Result
	anew       func()

	settings atomic.Pointer[Settings]
	looking  chan struct{} // held, by putting a token in, by the one call that looks at the stream
	verified atomic.Int64  // when the last look began, in ns

	generation atomic.Uint64 // see Generation

	floor      atomic.Uint64 // the highest revision written or seen; where the bucket is alone, not of every read
	written    atomic.Uint64 // the highest revision written
	anchorless atomic.Int64  // when it was found that the anchor is missing and cannot be written, in ns
	barriers   barriers
}

// New makes a Session, and looks at the stream.
func New(ctx context.Context, o Options) (*Session, error) {
	s := &Session{Stream: o.Stream, logger: o.Logger, write: o.Write, put: o.Put, anew: o.Anew, looking: make(chan struct{}, 1)}
	s.Stream.OnUntaken(s.direct)
	s.Stream.OnNobody(s.gone)
	if _, err := s.learn(ctx, false); err != nil {
		return nil, err
	}
	return s, nil
}

// Floor is the highest revision that the session has written or seen. Where the bucket is
// alone it does not know all that was read.
func (s *Session) Floor() uint64 { return s.floor.Load() }

// Written is the highest revision that the session has written.
func (s *Session) Written() uint64 { return s.written.Load() }

// StartFrom begins anew, with a session that has seen a revision and nothing after it, and has written
// nothing.
func (s *Session) StartFrom(revision uint64) {
	s.floor.Store(revision)
	s.written.Store(0)
}

// Doubt makes the next write look at the stream.
func (s *Session) Doubt() { s.verified.Store(0) }

const (
	anchorKey = keys.Anchor

	// A server that is behind is asked again after this time, which doubles.
	behindPause = 500 * time.Microsecond

	// behindFor is after how long the leader is asked instead, one key at a
	// time. Replicas are behind for milliseconds, if they are not cut off.
	behindFor = 250 * time.Millisecond
)

// Saw notes a revision that the bucket has reached.
func (s *Session) Saw(revision uint64) { raise(&s.floor, revision) }

// Wrote notes a revision that this session has written.
func (s *Session) Wrote(revision uint64) {
	raise(&s.floor, revision)
	raise(&s.written, revision)
}

func raise(to *atomic.Uint64, revision uint64) {
	for {
		old := to.Load()
		if revision <= old || to.CompareAndSwap(old, revision) {
			return
		}
	}
}

// current repeats a read until a server answers it that is as far as the session.
// When none is for a while, or none answers, and the leader is as far, it is read.
func (s *Session) current(ctx context.Context, read func() error, leader func() error) error {
	began, pause := time.Now(), workers.Pauses{First: behindPause, Most: behindFor}
	for {
		err := read()
		silent := errors.Is(err, wire.ErrNoAnswer)
		if !silent && !errors.Is(err, wire.ErrBehind) {
			return err
		}
		if (silent || time.Since(began) > behindFor) && s.leaderIsCurrent(ctx) {
			if err = leader(); err == nil || !store.Transient(err) {
				return err
			}
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > GiveUp {
			return err
		}
		if e := pause.Sleep(ctx); e != nil {
			return fmt.Errorf("%w: %w", err, e)
		}
	}
}

// leaderIsCurrent reports whether the leader has what the session has seen. One
// that is cut off from the others may not.
func (s *Session) leaderIsCurrent(ctx context.Context) bool {
	known := s.Now()
	created, last, err := s.Stream.State(ctx)
	if err == nil && last < s.floor.Load() {
		if created.Equal(known.Created) {
			s.doubt(ctx)
		} else {
			_, err = s.Relook(ctx, known) // the bucket was deleted and made anew, and begins with 1
		}
	}
	return err == nil && last >= s.floor.Load()
}

// LeaderLast gets the last message under a key or pattern from the leader.
func (s *Session) LeaderLast(ctx context.Context, pattern string) (message.Leader, error) {
	m, err := s.Stream.LeaderLast(ctx, pattern)
	s.Saw(m.Revision)
	return m, err
}

// LeaderNext gets the message under a pattern that follows a revision from the
// leader.
func (s *Session) LeaderNext(ctx context.Context, pattern string, revision uint64) (store.Message, error) {
	m, err := s.Stream.LeaderNext(ctx, pattern, revision)
	s.Saw(m.Revision)
	return m.Message, err
}

// maxAskedOfLeader is how many requests of one call the leader has at the same time.
const maxAskedOfLeader = 16

// LeaderEach gets the last messages under patterns from the leader, which gives one at a time:
// so several are asked for at the same time. each is called by one goroutine at a time.
func (s *Session) LeaderEach(ctx context.Context, patterns []string, each func(store.Message)) error {
	var mu sync.Mutex
	pool := workers.NewPool(ctx, maxAskedOfLeader)
	for _, pattern := range patterns {
		pool.Do(func(ctx context.Context) (int, error) {
			found, err := s.leaderLasts(ctx, pattern)
			if err != nil {
				return 0, err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, m := range found {
				each(m)
			}
			return len(found), nil
		})
	}
	_, err := pool.Wait()
	return err
}

// leaderLasts gets the last messages under a pattern from the leader.
func (s *Session) leaderLasts(ctx context.Context, pattern string) ([]store.Message, error) {
	if !keys.IsPattern(pattern) {
		m, err := s.LeaderLast(ctx, pattern)
		if err != nil || m.Revision == 0 {
			return nil, err
		}
		return []store.Message{m.Message}, nil
	}
	last := map[string]store.Message{} // with history, a key has several
	for revision := uint64(0); ; {
		m, err := s.LeaderNext(ctx, pattern, revision)
		if err != nil {
			return nil, err
		}
		if m.Revision == 0 {
			return slices.Collect(maps.Values(last)), nil
		}
		last[m.Key], revision = m, m.Revision
	}
}
