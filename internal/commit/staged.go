package commit

import (
	"context"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// staged executes a plan by putting it into a transaction. Nothing is written before the
// transaction commits, so there is nothing to clean up.
type staged struct {
	stage Stage
	id    value.Value
}

func (x *staged) execute(_ context.Context, p *Plan) (uint64, error) { return x.stage(x.id, p) }

func (x *staged) oneByOne() executor { return nil }

func (x *staged) abandon(context.Context, store.Message) {}
