package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// The session, which is what one Bucket reads and writes: see "Reads are as new as
// the session" in doc.go.

const (
	anchorKey = keys.Anchor

	// A server that is behind is asked again after this time, which doubles.
	behindPause = 500 * time.Microsecond

	// behindFor is after how long the leader is asked instead, one key at a
	// time. Replicas are behind for milliseconds, if they are not cut off.
	behindFor = 250 * time.Millisecond
)

// saw notes a revision that the bucket has reached.
func (b *Bucket) saw(revision uint64) {
	if !b.replicated {
		return
	}
	for {
		old := b.floor.Load()
		if revision <= old || b.floor.CompareAndSwap(old, revision) {
			return
		}
	}
}

// current repeats a read until a server answers it that is as far as the session.
// When none is for a while, and the leader is, the leader is read.
func (b *Bucket) current(ctx context.Context, read func() error, leader func() error) error {
	began, pause := time.Now(), workers.Pauses{First: behindPause, Most: behindFor}
	for {
		err := read()
		if !errors.Is(err, wire.ErrBehind) {
			return err
		}
		if time.Since(began) > behindFor && b.leaderIsCurrent(ctx) {
			return leader()
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > giveUp {
			return fmt.Errorf("%w, and so is the leader", wire.ErrBehind)
		}
		if err := pause.Sleep(ctx); err != nil {
			return fmt.Errorf("%w: %w", wire.ErrBehind, err)
		}
	}
}

// leaderIsCurrent reports whether the leader has what the session has seen. One
// that is cut off from the others may not.
func (b *Bucket) leaderIsCurrent(ctx context.Context) bool {
	created, last, err := b.stream.State(ctx)
	if err == nil && last < b.floor.Load() && !created.Equal(b.created) {
		b.floor.Store(last) // the bucket was deleted and made again, and begins with 1
	}
	return err == nil && last >= b.floor.Load()
}

// leaderLast gets the last message under a key or pattern from the leader.
func (b *Bucket) leaderLast(ctx context.Context, pattern string) (wire.LeaderMessage, error) {
	m, err := b.stream.LeaderLast(ctx, pattern)
	b.saw(m.Revision)
	return m, err
}

// leaderNext gets the message under a pattern that follows a revision from the
// leader.
func (b *Bucket) leaderNext(ctx context.Context, pattern string, revision uint64) (store.Message, error) {
	m, err := b.stream.LeaderNext(ctx, pattern, revision)
	b.saw(m.Revision)
	return m.Message, err
}

// leaderEach gets the last messages under patterns from the leader, one at a time.
func (b *Bucket) leaderEach(ctx context.Context, patterns []string, each func(store.Message)) error {
	for _, pattern := range patterns {
		last := map[string]store.Message{} // with history, a key has several
		for revision := uint64(0); ; {
			m, err := b.leaderNext(ctx, pattern, revision)
			if err != nil {
				return err
			}
			if m.Revision == 0 {
				break
			}
			last[m.Key], revision = m, m.Revision
		}
		for _, m := range last {
			each(m)
		}
	}
	return nil
}
