package bucket

import (
	"context"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// Revision raises the session's floor to what it returns.
func (b *Bucket) Revision(ctx context.Context, c store.Certainty) (uint64, error) {
	switch c {
	case store.Acknowledged:
		return b.acknowledged(ctx)
	case store.Whole:
		return b.whole(ctx)
	}
	if !b.replicated { // every read is answered by the only server there is
		return 0, nil
	}
	if c == store.Agreed {
		return 0, b.agree(ctx)
	}
	return b.sequence(ctx)
}

// acknowledged asks for the stream's state where its last message is gone, or where
// another server may be behind.
func (b *Bucket) acknowledged(ctx context.Context) (uint64, error) {
	if last, err := b.newest(ctx); err != nil || last > 0 {
		return last, err
	}
	return b.sequence(ctx)
}

// newest is a revision at or above that of every message that is there before the
// call, or 0 when that is not cheaply known.
func (b *Bucket) newest(ctx context.Context) (uint64, error) {
	if !b.direct || b.replicated {
		return 0, nil
	}
	return b.stream.Newest(ctx)
}

// whole asks in a way that is isolated from batches. Without direct get there is no
// such request; then the last message says whether its batch goes on. On a
// replicated bucket it asks a server that is as far as the leader, which shows a
// batch whole or not at all, and then waits until the leader is as far as that.
func (b *Bucket) whole(ctx context.Context) (whole uint64, err error) {
	gone := uint64(0) // a last message that was not there
	for began := time.Now(); ; {
		last, err := b.sequence(ctx)
		switch {
		case err != nil:
			return 0, err
		case whole > 0 && last >= whole:
			return whole, nil
		case last == 0: // the bucket is new
			return 0, nil
		case whole == 0 && !b.direct:
			m, err := b.stream.LeaderAt(ctx, last)
			if err != nil || m.Revision == last && !m.Unfinished || gone == last {
				return last, err
			}
			if m.Revision == 0 { // what follows it has replaced it, unless nothing does
				gone = last
				continue
			}
		case whole == 0:
			a, err := b.readExact(ctx, []string{anchorKey})
			if whole = a.Revision; err != nil || !b.replicated {
				return whole, err
			}
			continue
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > giveUp {
			return 0, fmt.Errorf("natsorm: get the state of %s: %w", b.stream.Name, wire.ErrBehind)
		}
		if err := workers.Sleep(ctx, behindPause); err != nil {
			return 0, err
		}
	}
}

// sequence is the revision of the last message that the bucket ever had, from the
// leader. It raises the floor to it.
func (b *Bucket) sequence(ctx context.Context) (uint64, error) {
	_, last, err := b.stream.State(ctx)
	if err == nil {
		b.saw(last)
	}
	return last, err
}
