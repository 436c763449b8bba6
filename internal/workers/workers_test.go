package workers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/workers"
)

func TestBackoffDoubles(t *testing.T) {
	t.Parallel()
	b := workers.Backoff{First: 3, Most: 20}
	for _, want := range []time.Duration{3, 6, 12, 20, 20} {
		if got := b.Next(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	b = workers.Backoff{First: 4, Most: 8, Jitter: true}
	for range 100 {
		if got := b.Next(); got < 0 || got >= 8 {
			t.Errorf("%d", got)
		}
	}
}

func TestSleepEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := workers.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := workers.Sleep(context.Background(), time.Microsecond); err != nil {
		t.Error(err)
	}
}

// A pool works on no more at a time than its size, stops at the first failure, and
// reports one that leaves an outcome unknown before others.
func TestPool(t *testing.T) {
	t.Parallel()
	const size = 3
	p := workers.NewPool(context.Background(), size)
	slots := make(chan struct{}, size)
	for range 50 {
		p.Do(func(context.Context) (int, error) {
			select {
			case slots <- struct{}{}:
			default:
				t.Error("more at a time than the pool's size")
			}
			<-slots
			return 2, nil
		})
	}
	if n, err := p.Wait(); n != 100 || err != nil {
		t.Errorf("%d, %v", n, err)
	}

	p = workers.NewPool(context.Background(), 2)
	release, failed := make(chan struct{}), errors.New("failed")
	p.Do(func(ctx context.Context) (int, error) { // has begun before the failure
		<-release
		return 1, fmt.Errorf("%w: %v", errs.ErrUnknownOutcome, ctx.Err())
	})
	p.Do(func(context.Context) (int, error) { return 1, failed })
	<-p.Context().Done()
	p.Do(func(context.Context) (int, error) { t.Error("began after a failure"); return 0, nil })
	close(release)
	n, err := p.Wait()
	if want := errs.ErrUnknownOutcome.Error() + ": <nil>"; n != 2 || err == nil || err.Error() != want {
		t.Errorf("%d, %v, want %s", n, err, want)
	}
}
