package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Where each write is synced to disk, many that come at the same time are done
// faster in one batch, which is synced once: group commit. A write that comes
// alone is sent at once. What comes while a batch is under way shares the next
// one, so that batches grow with the load, and nobody waits for company.

const (
	// How many shared batches are under way. A server that stages them works on
	// one at a time; a second one is ready when it has done the first.
	stagedFlights = 2
	otherFlights  = 4

	// retries is how often those of a refused batch whose conditions hold are sent
	// together again, before each is sent by itself.
	shareRetries = 2

	// shareTimeout bounds a shared batch. It has no context of its own: its writes
	// have one each.
	shareTimeout = giveUp
)

// share is one caller's part of a batch.
type share struct {
	ctx  context.Context
	ops  []Op
	done chan struct{}

	revision uint64
	err      error
}

// group collects what is to share a batch.
type group struct {
	mu      sync.Mutex
	queue   []*share
	flights int
}

// Share is Batch for writes that need not be by themselves: they share a batch with
// others that come at the same time. One whose conditions do not hold fails alone.
// The revision is that of the last op.
func (s *JetStream) Share(ctx context.Context, ops []Op) (revision uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", errUndelivered, err)
	}
	limit := s.MaxValue()
	for _, op := range ops {
		if len(op.Value) > limit {
			return 0, fmt.Errorf("%w: key %s", ErrTooLarge, op.Key)
		}
	}
	j := &share{ctx: ctx, ops: ops, done: make(chan struct{})}
	most := otherFlights
	if s.staged {
		most = stagedFlights
	}
	g := &s.group
	g.mu.Lock()
	g.queue = append(g.queue, j)
	if g.flights < most {
		g.flights++
		if !s.spawn(s.fly) {
			g.flights--
			g.mu.Unlock()
			return 0, ErrClosed
		}
	}
	g.mu.Unlock()
	s.load.shared.Add(1)
	defer s.load.shared.Add(-1)
	select {
	case <-j.done:
		return j.revision, j.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, q := range g.queue {
		if q == j {
			g.queue = append(g.queue[:i:i], g.queue[i+1:]...)
			return 0, fmt.Errorf("%w: %w", errUndelivered, ctx.Err())
		}
	}
	return 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
}

// fly sends batches until nothing waits.
func (s *JetStream) fly() {
	g := &s.group
	for {
		g.mu.Lock()
		jobs := g.take()
		if len(jobs) == 0 {
			g.flights--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		s.send(jobs)
	}
}

// take takes from the queue what fits into a batch: no key is in it twice, but for
// those that are only bumped.
func (g *group) take() (jobs []*share) {
	written := map[string]bool{} // true: only bumped
	messages, size := 0, 0
	left := g.queue[:0]
	for i, j := range g.queue {
		bytes := 0
		fits := messages+len(j.ops) <= MaxBatch
		for _, op := range j.ops {
			bytes += len(op.Key) + len(op.Value)
			if bump, ok := written[op.Key]; ok && !(bump && bumps(op)) {
				fits = false
			}
		}
		if len(jobs) > 0 && (!fits || size+bytes > MaxBatchBytes) {
			left = append(left, j)
			if messages == MaxBatch {
				left = append(left, g.queue[i+1:]...)
				break
			}
			for _, op := range j.ops { // what comes later does not overtake it
				if _, ok := written[op.Key]; !ok {
					written[op.Key] = false
				}
			}
			continue
		}
		for _, op := range j.ops {
			written[op.Key] = bumps(op)
		}
		jobs = append(jobs, j)
		messages, size = messages+len(j.ops), size+bytes
	}
	clear(g.queue[len(left):])
	g.queue = left
	return jobs
}

// bumps reports whether an op writes a key only for its revision.
func bumps(op Op) bool { return !op.Check && !op.Delete && len(op.Value) == 0 }

// send does the shares in one batch, or finds out which of them can not be done,
// and does the others.
func (s *JetStream) send(jobs []*share) {
	ctx, cancel := context.WithTimeout(context.Background(), shareTimeout)
	defer cancel()
	for try := 0; len(jobs) > 0; try++ {
		if try > shareRetries {
			for _, j := range jobs {
				first, err := s.Batch(ctx, Batch{Ops: j.ops})
				j.finish(first+uint64(len(j.ops)-1), err)
			}
			return
		}
		var ops []Op
		for _, j := range jobs {
			ops = append(ops, j.ops...)
		}
		first, err := s.Batch(ctx, Batch{Ops: ops})
		if !errors.Is(err, ErrWrongRevision) || len(jobs) == 1 {
			for _, j := range jobs {
				first += uint64(len(j.ops))
				j.finish(first-1, err)
			}
			return
		}
		if jobs, err = s.sift(ctx, jobs, err); err != nil {
			for _, j := range jobs {
				j.finish(0, fmt.Errorf("%w: %w", errUndelivered, err))
			}
			return
		}
	}
}

func (j *share) finish(revision uint64, err error) {
	if err == nil {
		j.revision = revision
	}
	j.err = err
	close(j.done)
}

// sift finishes, with the error of their batch, those shares whose conditions do
// not hold, and returns the others.
func (s *JetStream) sift(ctx context.Context, jobs []*share, refused error) ([]*share, error) {
	if err := s.CatchUp(ctx); err != nil {
		return jobs, err
	}
	var keys []string
	for _, j := range jobs {
		for _, op := range j.ops {
			if op.Check {
				keys = append(keys, op.Key)
			}
		}
	}
	found, err := s.GetMany(ctx, keys)
	if err != nil {
		return jobs, err
	}
	var others []*share
	at := 0
	for _, j := range jobs {
		holds := true
		for _, op := range j.ops {
			if op.Check {
				holds = holds && found[at].Revision == op.Expect
				at++
			}
		}
		if holds {
			others = append(others, j)
		} else {
			j.finish(0, refused)
		}
	}
	return others, nil
}

const (
	// sharers is how many writers at the same time make sharing worth while.
	sharers = 4

	// messagesEach is about how many messages a record's write takes.
	messagesEach = 3

	// syncCost is the time of a message from which on it is a disk that is waited
	// for: without syncing, one takes 10 to 70 µs, with it 200 and more.
	syncCost = 100 * time.Microsecond

	// costOver is how many observations the average is of, about, and costFor for
	// how long it counts: while batches are shared, there are no new ones.
	costOver = 16
	costFor  = 5 * time.Second
)

// load measures what single writes cost while many are under way, to find out
// whether they should share batches.
type load struct {
	single atomic.Int64 // messages of single writes under way
	shared atomic.Int64 // shares under way

	mu   sync.Mutex
	cost time.Duration // the server's time for a message, on average
	at   time.Time     // of the last observation
}

// note notes a call of single writes, during which so many were under way.
func (l *load) note(took time.Duration, underWay int64) {
	if underWay < sharers*messagesEach/2 {
		return
	}
	one := took / time.Duration(underWay)
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.at) > costFor {
		l.cost, l.at = one, now
	} else {
		l.cost, l.at = l.cost+(one-l.cost)/costOver, now
	}
}

// SharingPays reports whether a single record is now better written by Share than
// phased: where the server stages batches, and many are at work, and a message
// takes it as long as a disk does.
func (s *JetStream) SharingPays() bool {
	l := &s.load
	if !s.staged || !s.batches.Load() || l.shared.Load()+l.single.Load()/messagesEach < sharers-1 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cost > syncCost && time.Since(l.at) < costFor
}
