package exec

import (
	"context"
	"errors"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
)

// pool runs work on a bounded number of goroutines and adds up what it did.
type pool struct {
	parent context.Context
	ctx    context.Context // ends with the first failure: no more work begins
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	count int
	err   error
}

func newPool(ctx context.Context, size int) *pool {
	p := &pool{parent: ctx, slots: make(chan struct{}, size)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// do runs work when a goroutine is free, unless something has failed.
func (p *pool) do(work func(context.Context) (int, error)) {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		p.fail(p.ctx.Err())
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		n, err := work(p.parent) // what has begun is not broken off by a neighbour
		p.mu.Lock()
		p.count += n
		p.mu.Unlock()
		if err != nil {
			p.fail(err)
		}
	})
}

// fail records the first error, or one that leaves an outcome unknown, and lets
// no more work begin.
func (p *pool) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, errs.ErrUnknownOutcome) {
		p.err = err
		p.cancel()
	}
}

func (p *pool) wait() (int, error) {
	p.wg.Wait()
	p.cancel()
	return p.count, p.err
}
