package exec

import (
	"context"

	"github.com/natsorm/natsorm/internal/workers"
)

// pool is workers.Pool.
type pool struct {
	*workers.Pool
	ctx context.Context
}

func newPool(ctx context.Context, size int) pool {
	p := workers.NewPool(ctx, size)
	return pool{p, p.Context()}
}

func (p pool) do(work func(context.Context) (int, error)) { p.Do(work) }

func (p pool) fail(err error) { p.Fail(err) }

func (p pool) wait() (int, error) { return p.Wait() }
