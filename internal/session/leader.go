package session

import (
	"context"

	"github.com/natsorm/natsorm/internal/store"
)

// AtRevision reads the message of a revision. Where the bucket is not alone, only the
// leader knows that it is not there any more, rather than not there yet.
func (s *Session) AtRevision(ctx context.Context, revision uint64) (m store.Message, err error) {
	err = s.Steady(ctx, func() error {
		if s.Isolates() {
			m, err = s.Stream.At(ctx, revision)
			return err
		}
		l, err := s.Stream.LeaderAt(ctx, revision)
		m = l.Message
		return err
	})
	return m, err
}

// Isolates reports whether direct gets are answered by the one server that keeps the
// bucket, so that what it does not find is not there.
func (s *Session) Isolates() bool {
	known := s.Now()
	return known.Direct && known.Alone
}

// Following is the first message under a pattern that follows a revision; it has no
// revision when there is none.
func (s *Session) Following(ctx context.Context, pattern string, revision uint64) (m store.Message, err error) {
	err = s.Steady(ctx, func() error {
		if s.Isolates() {
			m, _, err = s.Stream.Next(ctx, pattern, revision)
		} else { // only the leader knows that nothing follows
			m, err = s.LeaderNext(ctx, pattern, revision)
		}
		return err
	})
	return m, err
}

// Last asks for the last message under the pattern.
func (s *Session) Last(ctx context.Context, pattern string) (uint64, error) {
	m, err := s.LeaderLast(ctx, pattern)
	return m.Revision, err
}
