package commit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// waiting waits until so many have key k, or wait for it.
func waiting(t *testing.T, locks *keyLocks, k string, n int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		locks.mu.Lock()
		have := locks.wait[k]
		locks.mu.Unlock()
		if have == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d have %s or wait for it, want %d", have, k, n)
		}
	}
}

// Who takes a key has it alone.
func TestKeyLocksExclude(t *testing.T) {
	t.Parallel()
	var locks keyLocks
	sets := [][]string{{"a"}, {"b"}, {"a", "b"}, {"a", "b", "c"}, {"c"}, {"b", "c"}}
	counters := map[string]*int{"a": new(int), "b": new(int), "c": new(int)}
	var wg sync.WaitGroup
	const rounds = 200
	for _, set := range sets {
		for range 3 {
			wg.Go(func() {
				for range rounds {
					release, err := locks.take(context.Background(), set)
					if err != nil {
						t.Error(err)
						return
					}
					for _, k := range set {
						*counters[k]++
					}
					release()
				}
			})
		}
	}
	wg.Wait()
	for k, want := range map[string]int{"a": 9 * rounds, "b": 12 * rounds, "c": 9 * rounds} {
		if *counters[k] != want {
			t.Errorf("%s was had %d times, want %d", k, *counters[k], want)
		}
	}
	if len(locks.held)+len(locks.wait) != 0 {
		t.Errorf("%d keys are remembered", len(locks.held))
	}
}

// One whose context ends while it waits leaves nothing behind: not the keys that it
// had already, and not its place in the queue.
func TestKeyLocksGiveUp(t *testing.T) {
	t.Parallel()
	var locks keyLocks
	release, err := locks.take(context.Background(), []string{"b"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := locks.take(ctx, []string{"a", "b"})
		done <- err
	}()
	waiting(t, &locks, "b", 2)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	again, err := locks.take(context.Background(), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	again()
	release()
	if len(locks.held)+len(locks.wait) != 0 {
		t.Errorf("%v are remembered", locks.wait)
	}
}
