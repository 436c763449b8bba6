// Package groupcommit puts the writes of several calls into one batch. Where each
// write is synced to disk, many that come at the same time are done faster in one
// batch, which is synced once.
//
// A write that comes alone is sent at once. Those that come while a batch is under
// way share the next one, so batches grow with the load and nobody waits for
// company. Only where the server works on one batch at a time, the next batch waits
// a little for those who shared the last one, because most of them come again at
// once; otherwise the first of them would have a batch of its own.
//
// A batch is refused when one condition in it does not hold. Then the keys with
// conditions are read, the shares whose conditions do not hold fail with the
// batch's error, and the others are sent again together.
//
// Load (load.go) tells when sharing is worth while.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

const (
	// How many shared batches are under way. A server that stages batches works on
	// one at a time, and each takes it some time however small it is.
	stagedFlights = 1
	otherFlights  = 4

	// The next batch waits for those who shared the last one for a part of the time
	// that the last one took.
	gatherShare = 4
	gatherMost  = 20 * time.Millisecond

	// shareRetries is how often the shares of a refused batch whose conditions hold
	// are sent together again, before each is sent by itself.
	shareRetries = 2
)

// Group collects writes that are to share batches. It is safe for concurrent use.
type Group struct {
	bucket store.Store // takes the batches
	opts   Options

	mu      sync.Mutex
	queue   []*share
	flights int
	enough  int           // the queue length that ends gathering; 0 when nobody gathers
	come    chan struct{} // closed when the queue is that long
}

// Options says how a group works.
type Options struct {
	Staged bool              // the server writes each batch to a file of its own first
	Go     func(func()) bool // runs a task that the bucket's Close waits for; false after Close
	GiveUp time.Duration     // for a batch none of whose callers has a later deadline
	Grace  time.Duration     // how long a call whose context has ended waits for a batch under way
}

// New is a group for a bucket.
func New(bucket store.Store, opts Options) *Group { return &Group{bucket: bucket, opts: opts} }

// share is one call's part of a batch.
type share struct {
	deadline time.Time // of the call, or zero
	ops      []store.Op
	done     chan struct{}

	revision uint64
	err      error
}

// Do writes ops in a batch that may have those of other calls in it, and returns
// the revision of the last op; see store.Store.Share.
func (g *Group) Do(ctx context.Context, ops []store.Op) (revision uint64, err error) {
	j := &share{ops: ops, done: make(chan struct{})}
	j.deadline, _ = ctx.Deadline()
	most := otherFlights
	if g.opts.Staged {
		most = stagedFlights
	}
	g.mu.Lock()
	g.queue = append(g.queue, j)
	if len(g.queue) == g.enough {
		g.enough = 0
		close(g.come)
	}
	if g.flights < most {
		g.flights++
		if !g.opts.Go(g.fly) {
			g.flights--
			g.queue = g.queue[:len(g.queue)-1] // it must not go with another
			g.mu.Unlock()
			return 0, store.ErrClosed
		}
	}
	g.mu.Unlock()
	select {
	case <-j.done:
		return j.revision, j.err
	case <-ctx.Done():
	}
	if g.withdraw(j) {
		return 0, fmt.Errorf("%w: %w", errs.ErrUnwritten, ctx.Err())
	}
	grace := time.NewTimer(g.opts.Grace)
	defer grace.Stop()
	select {
	case <-j.done:
		return j.revision, j.err
	case <-grace.C:
		return 0, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
}

// withdraw takes a share back that is not under way yet.
func (g *Group) withdraw(j *share) bool {
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
func (g *Group) fly() {
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
		g.send(jobs)
		if g.opts.Staged && len(jobs) > 1 {
			g.gather(len(jobs), min(gatherMost, time.Since(began)/gatherShare))
		}
	}
}

// gather waits until n shares are in the queue, at most for a time.
func (g *Group) gather(n int, most time.Duration) {
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

// take takes from the queue what fits into a batch. No key is in it twice, except
// those that are only bumped. What stays in the queue is not overtaken by later
// writes of its keys.
func (g *Group) take() (jobs []*share) {
	written := map[string]bool{} // true: only bumped
	messages, size := 0, 0
	left := g.queue[:0]
	for i, j := range g.queue {
		bytes := 0
		fits := messages+len(j.ops) <= store.MaxBatch
		for _, op := range j.ops {
			bytes += len(op.Key) + len(op.Value)
			if bump, ok := written[op.Key]; ok && !(bump && bumps(op)) {
				fits = false
			}
		}
		if len(jobs) > 0 && (!fits || size+bytes > store.MaxBatchBytes) {
			left = append(left, j)
			if messages == store.MaxBatch {
				left = append(left, g.queue[i+1:]...)
				break
			}
			for _, op := range j.ops {
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
func bumps(op store.Op) bool { return !op.Conditional && !op.Delete && len(op.Value) == 0 }

// send does the shares in one batch, or finds out which of them cannot be done, and
// does the others. It goes on as long as any of their callers waits.
func (g *Group) send(jobs []*share) {
	deadline := time.Now().Add(g.opts.GiveUp)
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
				first, err := g.bucket.Batch(ctx, store.Batch{Ops: j.ops})
				j.finish(first+uint64(len(j.ops)-1), err)
			}
			return
		}
		var ops []store.Op
		for _, j := range jobs {
			ops = append(ops, j.ops...)
		}
		first, err := g.bucket.Batch(ctx, store.Batch{Ops: ops})
		if errors.Is(err, store.ErrBatchTooLarge) && len(jobs) > 1 { // the server takes less than it says
			g.send(jobs[:len(jobs)/2])
			g.send(jobs[len(jobs)/2:])
			return
		}
		if !errors.Is(err, store.ErrWrongRevision) || len(jobs) == 1 {
			for _, j := range jobs {
				first += uint64(len(j.ops))
				j.finish(first-1, err)
			}
			return
		}
		if jobs, err = g.sift(ctx, jobs, err); err != nil {
			for _, j := range jobs {
				j.finish(0, fmt.Errorf("%w: %w", errs.ErrUnwritten, err))
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

// sift ends those shares whose conditions do not hold, with the error of their
// batch, and returns the others.
func (g *Group) sift(ctx context.Context, jobs []*share, refused error) ([]*share, error) {
	if err := store.CatchUp(ctx, g.bucket); err != nil {
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
	found, err := store.GetMany(ctx, g.bucket, keys)
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
