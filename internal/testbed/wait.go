package testbed

import (
	"context"
	"fmt"
	"time"
)

// Look is the pause between two looks at a cluster that should change.
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

// Until calls ask again and again until it returns no error. Each call gets a second at
// the most. When ctx ends first, the error has ctx's and the last one of ask.
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
