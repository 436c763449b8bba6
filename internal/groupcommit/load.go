package groupcommit

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sharers is how many changes at the same time make sharing worth while.
	sharers = 4

	// syncCost is the time of a message above which a disk is waited for: without
	// syncing, a message takes 5 to 30 µs, with it 100 and more.
	syncCost = 60 * time.Microsecond

	// The cost of a message is judged by what was done in this time while there were
	// sharers; what is much older counts less. A pause of the server, as when it
	// begins a new file, is not longer than a fraction of it.
	judgedOver = 50 * time.Millisecond

	// costFor is how long a judgement holds: while batches are shared, there are no
	// single writes to judge by.
	costFor = 5 * time.Second
)

// Load measures what single writes cost while many are under way, to find out
// whether they should share batches. The zero value is ready.
type Load struct {
	changes atomic.Int64 // of records, under way

	mu       sync.Mutex
	busy     time.Duration // while there were sharers
	messages int64         // that were done in it
	last     time.Time     // until when that is
}

// Begin notes that a change begins, and reports whether enough are under way to
// share batches. End ends it.
func (l *Load) Begin() (enough bool) { return l.changes.Add(1) >= sharers }

// End notes that a change has ended.
func (l *Load) End() { l.changes.Add(-1) }

// Note notes that single writes were done.
func (l *Load) Note(messages int) {
	if l.changes.Load() < sharers {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch idle := now.Sub(l.last); {
	case idle > costFor:
		l.busy, l.messages = 0, 0
	case idle < judgedOver:
		l.busy += idle
		l.messages += int64(messages)
	}
	l.last = now
	if l.busy > 2*judgedOver {
		l.busy /= 2
		l.messages /= 2
	}
}

// Slow reports whether a message takes as long as a disk does.
func (l *Load) Slow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy > judgedOver && l.messages > 0 && l.busy/time.Duration(l.messages) > syncCost && time.Since(l.last) < costFor
}
