package groupcommit

import (
	"sync"
	"sync/atomic"
	"time"
)

// Load counts the changes that are under way, and chooses whether they share batches. It is
// safe for concurrent use.
type Load struct {
	changes atomic.Int64 // how many changes are under way
	away    atomic.Int64 // for how long none was, in ns, as far as that is of interest
	since   atomic.Int64 // when the last one ended that left none, in ns since start
	ended   func()       // ends a change that is not measured; made once, so that no change makes its own
	start   time.Time

	mu     sync.Mutex
	choice Choice

	// quiet is the time, in ns since start and less the time away, until which choice is
	// sure to say no, and need not be asked. It is 0 while it must be asked: there is a trial,
	// or changes share. It is never while there was no trial yet.
	quiet atomic.Int64
}

// NewLoad makes a Load.
func NewLoad() *Load {
	l := &Load{start: time.Now()}
	l.ended = func() {
		if l.changes.Add(-1) == 0 && l.quiet.Load() != never {
			l.since.Store(int64(time.Since(l.start)))
		}
	}
	l.quiet.Store(never)
	return l
}

// never is a time before any other, at which a trial may begin.
const never = 1

// Begin notes that a change begins. It reports whether the change is to share a batch with
// others. end must be called when the change has ended.
func (l *Load) Begin() (share bool, end func()) {
	n, quiet := l.count(), l.quiet.Load()
	if quiet > 0 && (n < sharers || int64(time.Since(l.start))-l.away.Load() < quiet) {
		return false, l.ended
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	share, s := l.choice.Begin(time.Now(), int(n), time.Duration(l.away.Load()))
	l.publish()
	if s == (Sample{}) {
		return share, l.ended
	}
	return share, func() {
		l.ended()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.choice.End(time.Now(), s)
		l.publish()
	}
}

// Count notes that a change begins whose way is not a choice. end is as for Begin.
func (l *Load) Count() (end func()) {
	l.count()
	return l.ended
}

// count counts a change, and returns how many are under way now. The time in which there
// were none is of no interest before the first trial: then a lone change needs no clock.
func (l *Load) count() int64 {
	n := l.changes.Add(1)
	if n == 1 && l.quiet.Load() != never {
		if since := l.since.Swap(0); since > 0 {
			l.away.Add(max(0, int64(time.Since(l.start))-since))
		}
	}
	return n
}

// publish sets quiet. The caller holds the lock.
func (l *Load) publish() {
	quiet := int64(0)
	if l.choice.trial == idle && !l.choice.second {
		quiet = max(never, int64(l.choice.due.Sub(l.start)))
	}
	l.quiet.Store(quiet)
}
