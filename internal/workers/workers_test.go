package workers_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/workers"
)

func TestPoolAddsUpAndIsBounded(t *testing.T) {
	t.Parallel()
	const size, jobs = 3, 50
	var now, most atomic.Int64
	p := workers.NewPool(context.Background(), size)
	for range jobs {
		p.Do(func(context.Context) (int, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return 2, nil
		})
	}
	if n, err := p.Wait(); n != 2*jobs || err != nil || most.Load() > size {
		t.Errorf("%d done, %v, %d at the same time", n, err, most.Load())
	}
}

// What has begun is not broken off by a failure, and an unknown outcome is told
// rather than the failure before it.
func TestPoolFails(t *testing.T) {
	t.Parallel()
	p := workers.NewPool(context.Background(), 2)
	begun, release := make(chan struct{}), make(chan struct{})
	p.Do(func(ctx context.Context) (int, error) {
		close(begun)
		<-release
		return 1, errors.Join(ctx.Err(), fmt.Errorf("late: %w", errs.ErrUnknownOutcome))
	})
	<-begun
	p.Fail(errors.New("first"))
	<-p.Ctx().Done()
	p.Fail(errors.New("later"))
	close(release)
	n, err := p.Wait()
	if n != 1 || !errors.Is(err, errs.ErrUnknownOutcome) || errors.Is(err, context.Canceled) {
		t.Errorf("%d done, %v", n, err)
	}
}

// A task that was begun is waited for, and none begins afterwards.
func TestTasksAreWaitedFor(t *testing.T) {
	t.Parallel()
	var tasks workers.Tasks
	refused, done := make(chan struct{}), false
	if !tasks.Go(func() {
		<-refused
		if tasks.Go(func() { t.Error("a task began after Refuse") }) {
			t.Error("a task was accepted after Refuse")
		}
		done = true
	}) {
		t.Fatal("a task was refused before Refuse")
	}
	tasks.Refuse()
	close(refused)
	tasks.Wait()
	if !done {
		t.Error("Wait did not wait")
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := workers.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for try := range 40 {
		if err := workers.Backoff(ctx, try); !errors.Is(err, context.Canceled) {
			t.Errorf("try %d: %v", try, err)
		}
	}
	if err := workers.Backoff(context.Background(), 1<<20); err != nil {
		t.Error(err)
	}
}

func TestPausesDouble(t *testing.T) {
	t.Parallel()
	p := workers.Pauses{First: 3, Most: 20}
	for _, want := range []time.Duration{3, 6, 12, 20, 20} {
		if got := p.Next(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	p = workers.Pauses{First: 4, Most: 8, Jitter: true}
	for range 100 {
		if got := p.Next(); got < 0 || got >= 8 {
			t.Errorf("%d", got)
		}
	}
}

// A queue reads ahead as far as it may, and sends what waits when there is no more.
func TestQueue(t *testing.T) {
	t.Parallel()
	ended := errors.New("no more")
	for _, c := range []struct{ most, bytes, ahead int }{{3, 100, 3}, {100, 20, 2}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		read := make(chan int, 100)
		out, done := make(chan int), make(chan error, 1)
		go func() {
			n := 0
			done <- workers.Queue(ctx, out, c.most, c.bytes, func(context.Context) (int, int, error) {
				if n == 10 {
					return 0, 0, ended
				}
				n++
				read <- n
				return n, 10, nil
			})
			close(out)
		}()
		for range c.ahead + 1 { // one more is read, and does not wait in the queue
			<-read
		}
		if len(read) > 0 {
			t.Error("it reads further ahead")
		}
		for n := range 10 {
			if got := <-out; got != n+1 {
				t.Errorf("%d comes after %d", got, n)
			}
		}
		if err := <-done; err != ended {
			t.Error(err)
		}
		if late := len(read); c.ahead+1+late != 10 {
			t.Errorf("%d were read in all", c.ahead+1+late)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := workers.Queue(ctx, make(chan int), 1, 1, func(ctx context.Context) (int, int, error) { return 0, 0, ctx.Err() }); err != context.Canceled {
		t.Errorf("after the end: %v", err)
	}
}
