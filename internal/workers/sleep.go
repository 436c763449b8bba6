package workers

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 100 * time.Microsecond
	maxBackoff   = 50 * time.Millisecond
)

// Backoff waits before another try, longer and more randomly each time; the
// first try again is at once. It returns the context's error when that has ended.
func Backoff(ctx context.Context, try int) error {
	if try <= 1 {
		return ctx.Err()
	}
	return Sleep(ctx, rand.N(min(maxBackoff, firstBackoff<<min(try, 16))))
}

// Sleep waits for d, or until ctx ends; then it returns the context's error.
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
