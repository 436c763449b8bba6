package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Where each write is synced to disk, many that come at the same time are done
// faster in one batch, which is synced once: group commit. A write that comes
// alone is sent at once. What comes while a batch is under way shares the next
// one, so that batches grow with the load, and nobody waits for company.

const (
	// How many shared batches are under way. A server that stages them works on
	// one at a time, and each takes it some time however small it is.
	stagedFlights = 1
	otherFlights  = 4

	// After a batch, most of those who shared it come again at once. The next waits
	// for them, for a part of the time that the last one took; otherwise the first
	// one would have a batch of its own.
	gatherShare = 4
	gatherMost  = 20 * time.Millisecond

	// shareRetries is how often those of a refused batch whose conditions hold are sent
	// together again, before each is sent by itself.
	shareRetries = 2
)

// share is one caller's part of a batch.
type share struct {
	deadline time.Time // of the caller, or zero
	ops      []Op
	done     chan struct{}

	revision uint64
	err      error
}

// group collects what is to share a batch.
type group struct {
	mu      sync.Mutex
	queue   []*share
	flights int
	enough  int           // so many in the queue end the wait for them
	come    chan struct{} // is told when they are there
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
	j := &share{ops: ops, done: make(chan struct{})}
	j.deadline, _ = ctx.Deadline()
	most := otherFlights
	if s.staged {
		most = stagedFlights
	}
	g := &s.group
	g.mu.Lock()
	g.queue = append(g.queue, j)
	if len(g.queue) == g.enough {
		g.enough = 0
		close(g.come)
	}
	if g.flights < most {
		g.flights++
		if !s.spawn(s.fly) {
			g.flights--
			g.queue = g.queue[:len(g.queue)-1] // it must not go with another
			g.mu.Unlock()
			return 0, ErrClosed
		}
	}
	g.mu.Unlock()
	select {
	case <-j.done:
		return j.revision, j.err
	case <-ctx.Done():
	}
	if g.withdraw(j) {
		return 0, fmt.Errorf("%w: %w", errUndelivered, ctx.Err())
	}
	grace := time.NewTimer(writeGrace)
	defer grace.Stop()
	select {
	case <-j.done:
		return j.revision, j.err
	case <-grace.C:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// withdraw takes a share back that is not under way yet.
func (g *group) withdraw(j *share) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, j)
	if i < 0 {
		return false
	}
	g.queue = slices.Concat(g.queue[:i], g.queue[i+1:])
	return true
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
		began := time.Now()
		s.send(jobs)
		if s.staged && len(jobs) > 1 {
			g.gather(len(jobs), min(gatherMost, time.Since(began)/gatherShare))
		}
	}
}

// gather waits until so many are in the queue, or for a time.
func (g *group) gather(n int, most time.Duration) {
	g.mu.Lock()
	if len(g.queue) >= n {
		g.mu.Unlock()
		return
	}
	come := make(chan struct{})
	g.enough, g.come = n, come
	g.mu.Unlock()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-come:
	case <-t.C:
		g.mu.Lock()
		g.enough = 0
		g.mu.Unlock()
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
func bumps(op Op) bool { return !op.Conditional && !op.Delete && len(op.Value) == 0 }

// send does the shares in one batch, or finds out which of them can not be done,
// and does the others.
func (s *JetStream) send(jobs []*share) {
	// The batch goes on as long as any of its callers waits.
	deadline := time.Now().Add(giveUp)
	for _, j := range jobs {
		if j.deadline.After(deadline) {
			deadline = j.deadline
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
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
		if errors.Is(err, ErrBatchTooLarge) && len(jobs) > 1 { // the server takes less than it says
			s.send(jobs[:len(jobs)/2])
			s.send(jobs[len(jobs)/2:])
			return
		}
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
			if op.Conditional {
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
			if op.Conditional {
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
