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

// Backoff waits between two tries of a write that another writer made fail. try is the
// number of the try that has failed, from 1. After the first one there is no pause. Then
// it is a random time below a bound, which doubles with each try up to 50 ms, so that
// writers that failed together do not meet again. It returns the context's error when
// that has ended.
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

// Pauses are the pauses between the tries of something that may fail for a while, as a
// server that is away does. The first pause is First, and each is twice the one before,
// up to Most.
//
// With Jitter each pause is a random time below that, so that callers that failed
// together do not all try again at the same moment.
type Pauses struct {
	First, Most time.Duration
	Jitter      bool
	next        time.Duration
}

// Next is the next pause.
func (b *Pauses) Next() time.Duration {
	d := min(max(b.next, b.First), b.Most)
	b.next = 2 * d
	if b.Jitter {
		return rand.N(d)
	}
	return d
}

// Sleep waits for the next pause. It returns the context's error when that ends
// first.
func (b *Pauses) Sleep(ctx context.Context) error { return Sleep(ctx, b.Next()) }
