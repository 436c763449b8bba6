package store

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sharers is how many changes at the same time make sharing worth while.
	sharers = 4

	// syncCost is the time of a message from which on it is a disk that is waited
	// for: without syncing, one takes 5 to 30 µs, with it 100 and more.
	syncCost = 60 * time.Microsecond

	// The cost of a message is judged by what was done in so much time while there
	// were sharers; what is much older counts less. A pause of the server, as when
	// it begins a new file, is not longer than a fraction of it.
	judgedOver = 50 * time.Millisecond

	// costFor is how long a judgement holds: while batches are shared, there are
	// no single writes to judge by.
	costFor = 5 * time.Second
)

// load measures what single writes cost while many are under way, to find out
// whether they should share batches.
type load struct {
	changes atomic.Int64 // of records, under way

	mu       sync.Mutex
	busy     time.Duration // while there were sharers
	messages int64         // that were done in it
	last     time.Time     // until when that is
}

// note notes that single writes were done.
func (l *load) note(messages int) {
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

// slow reports whether a message takes as long as a disk does.
func (l *load) slow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy > judgedOver && l.messages > 0 && l.busy/time.Duration(l.messages) > syncCost && time.Since(l.last) < costFor
}

// BeginChange says how the change is best written: where the server stages
// batches, phased, unless many changes are under way and a message takes the
// server as long as a disk does.
func (s *JetStream) BeginChange(many bool) Way {
	n := s.load.changes.Add(1)
	switch {
	case !s.batches.Load():
		return Phased
	case !s.staged && many:
		return Shared
	case !s.staged:
		return Atomic
	case n < sharers:
		return Phased
	}
	if s.load.slow() {
		return Shared
	}
	return Phased
}

func (s *JetStream) EndChange() { s.load.changes.Add(-1) }

// Writes is Atomic or Phased for a change that comes alone.
func (s *JetStream) Writes() Way {
	if s.batches.Load() && !s.staged {
		return Atomic
	}
	return Phased
}
