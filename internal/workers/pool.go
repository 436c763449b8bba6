// Package workers is how work is done at the same time, and how it waits: a bounded
// pool, goroutines that a Close waits for, a sleep that a context ends, and the pause
// before another try.
package workers

import (
	"context"
	"errors"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
)

// Pool runs work on a bounded number of goroutines and adds up what it did. One
// goroutine gives it work, and waits for it in the end.
type Pool struct {
	parent context.Context
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	count int
	err   error
}

// NewPool makes a pool of at most size goroutines. Wait must be called in the end.
func NewPool(ctx context.Context, size int) *Pool {
	p := &Pool{parent: ctx, slots: make(chan struct{}, size)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Ctx ends with the first failure, after which no more work begins: it is for
// whoever finds the work.
func (p *Pool) Ctx() context.Context { return p.ctx }

// Do runs work as soon as a goroutine is free, unless something has failed. work
// returns how much it has done. Its context is the caller's: work that has begun is
// not broken off because other work failed.
func (p *Pool) Do(work func(context.Context) (int, error)) {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
	}
	if err := p.ctx.Err(); err != nil { // also if there was a free one
		p.Fail(err)
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		n, err := work(p.parent)
		p.mu.Lock()
		p.count += n
		p.mu.Unlock()
		if err != nil {
			p.Fail(err)
		}
	})
}

// Fail records the first error, or a later one that leaves an outcome unknown, and
// lets no more work begin.
func (p *Pool) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, errs.ErrUnknownOutcome) {
		p.err = err
		p.cancel()
	}
}

// Wait waits for all work that has begun. It returns how much was done, and the error
// that was recorded.
func (p *Pool) Wait() (int, error) {
	p.wg.Wait()
	p.cancel()
	return p.count, p.err
}
