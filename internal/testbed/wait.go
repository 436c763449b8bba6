package testbed

import (
	"context"
	"fmt"
	"time"
)

// Look is how long to wait before looking at a cluster again.
const Look = 20 * time.Millisecond

// Wait waits for d, or for the end of ctx, whose error it then returns.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Until asks again and again, for a second at most each time, until there is no
// error.
func Until(ctx context.Context, ask func(ctx context.Context) error) error {
	for {
		short, cancel := context.WithTimeout(ctx, time.Second)
		err := ask(short)
		cancel()
		if err == nil {
			return nil
		}
		if Wait(ctx, Look) != nil {
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		}
	}
}
