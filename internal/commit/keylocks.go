package commit

import (
	"context"
	"fmt"
	"sync"
)

// keyLocks is a lock for each key, within this process. Callers lock several keys in
// sorted order, so no two of them wait for each other.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // by key; the channel is full while the key is locked
	wait map[string]int           // by key: how many callers hold the lock or wait for it
}

// take locks keys, which must be sorted and different, and waits until all are free.
// They stay locked until release is called. When ctx ends first, none is locked and the
// error is ctx's.
func (t *keyLocks) take(ctx context.Context, keys []string) (release func(), err error) {
	for i, key := range keys {
		if err := t.one(ctx, key); err != nil {
			t.release(keys[:i])
			return nil, err
		}
	}
	return func() { t.release(keys) }, nil
}

func (t *keyLocks) one(ctx context.Context, key string) error {
	t.mu.Lock()
	if t.held == nil {
		t.held, t.wait = map[string]chan struct{}{}, map[string]int{}
	}
	lock := t.held[key]
	if lock == nil {
		lock = make(chan struct{}, 1)
		t.held[key] = lock
	}
	t.wait[key]++
	t.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		t.forget(key)
		return fmt.Errorf("wait for other changes of the list at key %s: %w", key, ctx.Err())
	}
}

func (t *keyLocks) release(keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		<-t.held[key]
		t.forget(key)
	}
}

// forget counts a caller off, and drops the lock of a key after its last one.
func (t *keyLocks) forget(key string) {
	if t.wait[key]--; t.wait[key] == 0 {
		delete(t.wait, key)
		delete(t.held, key)
	}
}
