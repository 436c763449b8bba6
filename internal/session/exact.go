package session

import (
	"context"

	"github.com/natsorm/natsorm/internal/store"
)

// ReadExact asks for the anchor too: an answer that has nothing else in it says how far
// the server is all the same.
func (s *Session) ReadExact(ctx context.Context, patterns []string) (a store.Answer, err error) {
	keep := func(m store.Message) { a.Messages = append(a.Messages, m) }
	if !s.Now().Direct {
		if a.Revision, err = s.Whole(ctx); err == nil {
			err = s.LeaderEach(ctx, patterns, keep)
		}
		return a, err
	}
	if len(patterns) >= store.MaxMatches || len(s.Chunks(patterns)) > 1 {
		return a, store.ErrTooMany
	}
	a.Revision, err = s.multiCurrent(ctx, patterns, true, keep)
	return a, err
}
