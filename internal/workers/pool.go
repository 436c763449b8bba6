// Package workers is what calls that do many things at a time, or wait between
// tries, have in common.
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
	ctx    context.Context // ends with the first failure: no more work begins
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	count int
	err   error
}

// NewPool is a pool of size goroutines. Wait must be called in the end.
func NewPool(ctx context.Context, size int) *Pool {
	p := &Pool{parent: ctx, slots: make(chan struct{}, size)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Do runs work when a goroutine is free, unless something has failed. work
// returns how much it did, which counts also when it fails.
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
		n, err := work(p.parent) // a neighbour's failure does not interrupt what has begun
		p.mu.Lock()
		p.count += n
		p.mu.Unlock()
		if err != nil {
			p.Fail(err)
		}
	})
}

// Context ends with the first failure: whoever finds more work for the pool stops
// then.
func (p *Pool) Context() context.Context { return p.ctx }

// Fail lets no more work begin, and Wait return err. Of several errors the first
// counts, or one that leaves an outcome unknown.
func (p *Pool) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, errs.ErrUnknownOutcome) {
		p.err = err
		p.cancel()
	}
}

// Wait waits for all work, and returns how much was done, and the error of Fail.
func (p *Pool) Wait() (int, error) {
	p.wg.Wait()
	p.cancel()
	return p.count, p.err
}
