package flow

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func window(size int) *Window { return &Window{size: size, free: size} }

// The more there are who take, the less each gets, and no more than the window together.
func TestShares(t *testing.T) {
	t.Parallel()
	w, sum := window(1000), 0
	last := 1000
	for {
		n := w.TryTake(10, 400)
		if n == 0 {
			break
		}
		if n > last || n < 10 {
			t.Errorf("%d after %d", n, last)
		}
		sum, last = sum+n, n
	}
	if sum < 990 || sum > 1000 || w.UnderWay() != sum {
		t.Errorf("%d of 1000 are taken, %d under way", sum, w.UnderWay())
	}
	if n := w.Share(10, 400); n != 10 {
		t.Errorf("who does not wait has %d", n)
	}
	w.Give(sum+10, 0, 0)
	if n, err := w.Take(t.Context(), 5000, 9000, nil); err != nil || n != 5000 || w.TryTake(1, 1) != 0 {
		t.Errorf("more than the window: %d, %v", n, err)
	}
}

// Takers come in the order of their calls: small ones do not pass a large one that waits.
func TestTakersWaitInOrder(t *testing.T) {
	t.Parallel()
	w := window(100)
	held := w.Share(100, 100)
	order := make(chan int, 3)
	var takers sync.WaitGroup
	for i, least := range []int{90, 1, 1} {
		takers.Go(func() {
			n, err := w.Take(t.Context(), least, least, nil)
			if err != nil {
				t.Error(err)
			}
			order <- i
			w.Give(n, 0, 0)
		})
		for w.queued() != i+1 {
			time.Sleep(time.Millisecond)
		}
	}
	w.Give(held, 0, 0)
	if first := <-order; first != 0 {
		t.Errorf("%d was before the large one", first)
	}
	takers.Wait()
	if w.UnderWay() != 0 {
		t.Errorf("%d under way", w.UnderWay())
	}
}

// Who waits does not wait for ever: not after its context, not after the end, and not
// for those who have what they asked for and do not read on.
func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	w := window(100)
	w.Share(100, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := w.Take(ctx, 10, 10, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
	})
	wg.Go(func() {
		if _, err := w.Take(t.Context(), 10, 10, done); !errors.Is(err, ErrDone) {
			t.Errorf("after the end: %v", err)
		}
	})
	var passed atomic.Bool
	wg.Go(func() {
		if n, err := w.Take(t.Context(), 10, 10, nil); err != nil || n != 10 {
			t.Errorf("while nobody reads: %d, %v", n, err)
		}
		passed.Store(true)
	})
	for w.queued() != 3 {
		time.Sleep(time.Millisecond)
	}
	if passed.Load() {
		t.Error("nobody waited")
	}
	cancel()
	close(done)
	wg.Wait()
	if w.queued() != 0 || w.UnderWay() != 10 {
		t.Errorf("%d wait, %d under way", w.queued(), w.UnderWay())
	}
}

// A window grows by what came at once, and halves when it took long, once for all who
// were waiting at that time.
func TestWindowsFollowTheConnection(t *testing.T) {
	t.Parallel()
	w := window(firstSize)
	for range 10 {
		w.Give(w.Share(4<<20, 4<<20), 4<<20, soon)
	}
	if w.size != mostSize || w.free != mostSize {
		t.Errorf("grew to %d, %d free", w.size, w.free)
	}
	w.Give(w.Share(1, 1), 1<<20, (soon+late)/2)
	if w.size != mostSize {
		t.Errorf("%d after a wait that is not long", w.size)
	}
	a, b := w.Share(1000, 1000), w.Share(1000, 1000)
	w.Give(a, 1000, 2*late)
	w.Give(b, 1000, 2*late)
	if w.size != mostSize/2 || w.UnderWay() != 0 {
		t.Errorf("shrank to %d, %d under way", w.size, w.UnderWay())
	}
	for range 10 {
		w.shrank = time.Time{}
		w.Give(w.Share(1, 1), 1, 2*late)
	}
	if w.size != leastSize {
		t.Errorf("shrank to %d", w.size)
	}
}

// All clients of a connection have one Flow, until the last has released it.
func TestFlowsAreShared(t *testing.T) {
	t.Parallel()
	nc := new(nats.Conn)
	a, releaseA := Of(nc)
	b, releaseB := Of(nc)
	other, release := Of(new(nats.Conn))
	if a != b || a == other {
		t.Error("not one for each connection")
	}
	releaseA()
	releaseA()
	if c, release := Of(nc); c != b {
		t.Error("gone with the first release")
	} else {
		release()
	}
	releaseB()
	if c, release := Of(nc); c == b {
		t.Error("stays after the last release")
	} else {
		release()
	}
	release()
}

func (w *Window) queued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}
