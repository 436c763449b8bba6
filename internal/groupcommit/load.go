package groupcommit

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sharers is how many changes must be under way at the same time for sharing to be
	// worth while.
	sharers = 4

	// syncCost is a time for each message. When writes take longer, the server waits for a
	// disk: without syncing a message takes 5 to 30 µs, with syncing 100 µs and more.
	syncCost = 60 * time.Microsecond

	// judgedOver is the busy time that a judgement needs. Twice as much is kept at the
	// most; older time counts less. The time is long beside a pause of the server, for
	// example when it begins a new file.
	judgedOver = 50 * time.Millisecond

	// costFor is how long a judgement holds. While batches are shared, there are no single
	// writes by which to judge again.
	costFor = 5 * time.Second
)

// Load measures how long single writes take while many are under way, to find out
// whether they should share batches. The zero value is ready. It is safe for concurrent
// use.
type Load struct {
	changes atomic.Int64 // how many changes of records are under way

	mu       sync.Mutex
	busy     time.Duration // time during which at least sharers changes were under way
	messages int64         // how many messages were written in that time
	last     time.Time     // the end of that time
}

// Begin notes that a change begins. It reports whether enough are under way to share
// batches. End must be called when the change has ended.
func (l *Load) Begin() (enough bool) { return l.changes.Add(1) >= sharers }

// End notes that a change has ended.
func (l *Load) End() { l.changes.Add(-1) }

// Note notes that this many messages were written by single writes. It is called when
// they are done.
func (l *Load) Note(messages int) {
	if l.changes.Load() < sharers {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch idle := now.Sub(l.last); {
	case idle > costFor: // what was measured before is too old
		l.busy, l.messages = 0, 0
	case idle < judgedOver: // after a longer pause the changes were waiting for something else
		l.busy += idle
		l.messages += int64(messages)
	}
	l.last = now
	if l.busy > 2*judgedOver {
		l.busy /= 2
		l.messages /= 2
	}
}

// Slow reports whether writes have lately taken as long as with a disk that is synced.
func (l *Load) Slow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy > judgedOver && l.messages > 0 && l.busy/time.Duration(l.messages) > syncCost && time.Since(l.last) < costFor
}
