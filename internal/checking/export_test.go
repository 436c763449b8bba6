package checking

import (
	"context"

	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// CheckKnowing is Check that remembers so many keys.
func CheckKnowing(ctx context.Context, s store.Store, def *schema.Definition, o Options, known int) (Report, error) {
	o.known = known
	return Check(ctx, s, def, o)
}
