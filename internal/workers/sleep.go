package workers

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d. It returns the context's error when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff is the pauses between the tries of something that fails for a while:
// the first one is First, and each is twice the one before, up to Most.
//
// With Jitter a pause is any time up to that, so that those who failed together
// do not try again together.
type Backoff struct {
	First, Most time.Duration
	Jitter      bool
	next        time.Duration
}

// Next is the next pause.
func (b *Backoff) Next() time.Duration {
	d := min(max(b.next, b.First), b.Most)
	b.next = 2 * d
	if b.Jitter {
		return rand.N(d)
	}
	return d
}

// Sleep waits for the next pause. It returns the context's error when that ends
// first.
func (b *Backoff) Sleep(ctx context.Context) error { return Sleep(ctx, b.Next()) }
