// Package groupcommit puts the writes of several calls into one batch. Where the server
// syncs each write to disk, many writes that come at the same time are done faster in one
// batch, which is synced once.
//
// # How batches form
//
// A call that comes alone is sent at once. Calls that come while a batch is under way
// wait in a queue and share the next one. So batches grow with the load, and no call
// waits just for others to come.
//
// There is one exception. Some servers stage batches: they work on one batch at a time,
// and each takes a while however small it is. There the next batch waits a little for
// the calls that shared the last one (gather). Most of them come again at once with their
// next change; without the wait the first of them would get a batch of its own, and all
// others would wait for that.
//
// # When a batch is refused
//
// The server refuses a whole batch when one condition in it does not hold, and does not
// say which. Then the keys with conditions are read (sift). The calls whose conditions do
// not hold fail with the batch's error; the others are sent again together. For each
// call the outcome is the same as if it had been sent by itself.
//
// # What a crash or a stall leaves
//
// A batch is done as a whole or not at all, so a crash leaves each call done or not done.
// A call whose context ends takes its writes out of the queue, if they are still in it:
// then surely nothing was changed. If they are under way it waits a little for the
// batch, and then ends with store.ErrUnknown; the batch goes on for the other calls.
//
// Load (load.go) says whether sharing is worth while, by trying it (Choice, choice.go).
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
	// How many shared batches are under way at the same time. A server that stages
	// batches works on one at a time.
	stagedFlights = 1
	otherFlights  = 4

	// The longest wait for the calls that shared the last batch: one part in gatherShare
	// of the time that the last batch took, and never more than gatherMost.
	gatherShare = 4
	gatherMost  = 20 * time.Millisecond

	// shareRetries is how often the shares whose conditions hold are sent together again
	// after their batch was refused. After that each is sent by itself, so that a share
	// cannot be held up forever by others that come with it.
	shareRetries = 2
)

// Group collects writes that are to share batches. It is safe for concurrent use.
type Group struct {
	bucket store.Store // takes the batches
	opts   Options

	mu      sync.Mutex
	queue   []*share      // in the order in which they came
	flights int           // how many goroutines send batches (fly)
	enough  int           // the queue length that ends gathering; 0 when no goroutine gathers
	come    chan struct{} // closed when the queue has that length
}

// Options says how a group works.
type Options struct {
	Staged bool              // the server stages batches: it writes each to a file of its own first
	Go     func(func()) bool // runs a task that the bucket's Close waits for; returns false after Close
	GiveUp time.Duration     // how long a batch may take, unless one of its calls has a later deadline
	Grace  time.Duration     // how long a call whose context has ended waits for its batch, when that is under way
}

// New makes a group for a bucket.
func New(bucket store.Store, opts Options) *Group { return &Group{bucket: bucket, opts: opts} }

// share is one call's part of a batch.
type share struct {
	deadline time.Time // the call's; zero when it has none
	ops      []store.Op
	done     chan struct{} // closed when revision and err are set

	revision uint64 // of the last op
	err      error
}

// Do writes ops in a batch that may also have those of other calls in it, and returns the
// revision of the last op. It succeeds or fails for itself.
//
// store.ErrWrongRevision when a condition of these ops does not hold. ErrUnwritten, with
// the context's error, when the context ended before the batch was sent; store.ErrUnknown
// when it ended while the batch was under way. store.ErrClosed after Close.
func (g *Group) Do(ctx context.Context, ops []store.Op) (revision uint64, err error) {
	j := &share{ops: ops, done: make(chan struct{})}
	j.deadline, _ = ctx.Deadline()
	most := otherFlights
	if g.opts.Staged {
		most = stagedFlights
	}
	g.mu.Lock()
	g.queue = append(g.queue, j)
	if len(g.queue) == g.enough { // wakes gather
		g.enough = 0
		close(g.come)
	}
	// If all flights are busy, one of them takes the share when its batch is done: fly looks
	// at the queue under the same lock before it ends.
	if g.flights < most {
		g.flights++
		if !g.opts.Go(g.fly) {
			g.flights--
			g.queue = g.queue[:len(g.queue)-1] // it fails, so a flight that is still there must not send it
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

// withdraw takes a share out of the queue. It returns false when the share is under way,
// or done.
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

// fly sends one batch after the other until the queue is empty.
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

// gather waits until n shares are in the queue, but no longer than most.
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

// take takes from the queue the shares that fit into one batch, in their order. The
// caller holds the lock.
//
// A batch must not have a key twice, except one that is only bumped: its second write
// could have a condition on the first. A share that stays in the queue, for this reason or
// because it is too large, is not overtaken: a later share that writes one of its keys
// stays too. A share that is too large for any batch is taken alone, and the server
// refuses it.
func (g *Group) take() (jobs []*share) {
	written := map[string]bool{} // the keys of shares that were taken or stay; true when only bumped
	messages, size := 0, 0       // of the batch
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
	clear(g.queue[len(left):]) // left shares the queue's array: let go of what was taken
	g.queue = left
	return jobs
}

// bumps reports whether an op writes a key only to give it a new revision, as that of an
// index entry does. Several of these in one batch do what one does.
func bumps(op store.Op) bool { return !op.Conditional && !op.Delete && len(op.Value) == 0 }

// send writes shares in one batch. When that is refused, it finds out which of them
// cannot be done, and sends the others again. Every share is finished when it returns.
// It goes on until the latest deadline of the calls, or GiveUp if that is later: a call
// that has ended must not end the batch of the others.
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
		// The server may take less than store.MaxBatch says. And a user may be allowed to
		// write some keys only: then the shares with others are found by halves.
		if (errors.Is(err, store.ErrBatchTooLarge) || errors.Is(err, errs.ErrPermission)) && len(jobs) > 1 {
			g.send(jobs[:len(jobs)/2])
			g.send(jobs[len(jobs)/2:])
			return
		}
		// Done, or a failure that is that of every share. The ops of a batch have
		// consecutive revisions, so each share's last one follows from the first.
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

// finish sets the result of a share and wakes its call.
func (j *share) finish(revision uint64, err error) {
	if err == nil {
		j.revision = revision
	}
	j.err = err
	close(j.done)
}

// sift finishes those shares whose conditions do not hold, with the error of their batch,
// and returns the others. It reads the keys with conditions, at least as new as the leader
// has them: a replica could show the state in which the conditions still held. With an
// error it finishes none and returns all.
//
// The keys can change between the refusal and the read. If the condition that failed
// holds again, its share is sent again, which is right. If one that held does not any
// more, its share fails, as it would have by itself.
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
	at := 0 // the position in found, which has the conditions in their order
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
