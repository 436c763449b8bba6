package workers

import "sync"

// Tasks are goroutines that their owner waits for when it closes. It is safe for
// concurrent use. The zero value is ready.
type Tasks struct {
	mu      sync.Mutex
	refused bool
	wg      sync.WaitGroup
}

// Go runs a task in a goroutine. It reports false, and runs nothing, after Refuse.
func (t *Tasks) Go(task func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused {
		return false
	}
	t.wg.Go(task)
	return true
}

// Refuse lets no more tasks begin.
func (t *Tasks) Refuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = true
}

// Wait waits for the tasks. It is called after Refuse.
func (t *Tasks) Wait() { t.wg.Wait() }
