// Package workers holds what concurrent work needs: a bounded pool of goroutines, goroutines
// that a Close waits for, a sleep that a context can end, and the pauses between tries.
package workers

import (
	"context"
	"errors"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
)

// Pool runs work on a bounded number of goroutines, and adds up how much each of them has
// done. One goroutine gives it work with Do and ends it with Wait; Fail may be called by
// any.
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

// NewPool makes a pool of at most size goroutines. Its owner must call Wait at the end.
func NewPool(ctx context.Context, size int) *Pool {
	p := &Pool{parent: ctx, slots: make(chan struct{}, size)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Ctx is the context for finding work. It ends with the first failure, after which no
// more work begins.
func (p *Pool) Ctx() context.Context { return p.ctx }

// Do runs work as soon as a goroutine is free, unless something has failed. work returns
// how much it has done. Its context is the one that the pool was made with: work that has
// begun is not stopped because other work failed, so its outcome is known.
func (p *Pool) Do(work func(context.Context) (int, error)) {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
	}
	if err := p.ctx.Err(); err != nil { // select may have chosen a free goroutine all the same
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

// Fail records an error and lets no more work begin. The first error stays, unless a
// later one is ErrUnknownOutcome, which the caller must not miss.
func (p *Pool) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, errs.ErrUnknownOutcome) {
		p.err = err
		p.cancel()
	}
}

// Wait waits for all work that has begun. It returns the sum of what was done, and the
// recorded error.
func (p *Pool) Wait() (int, error) {
	p.wg.Wait()
	p.cancel()
	return p.count, p.err
}
