package maintenance

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/building"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Renew defines a model in a bucket that was deleted and made anew, where others may have
// defined it already, and in another layout. Then it gives every record its entries and
// claims, also those of indexes that are ready: records may have been written by a program
// that did not know of them. It returns the model as the catalogue has it then. Its errors
// are those of Define; ErrSchema also for records that share a unique value.
func Renew(ctx context.Context, s store.Store, was *schema.Definition) (*schema.Definition, error) {
	code := *was
	code.Moving, code.Emptying, code.Dropping, code.Born, code.Emptied = nil, nil, nil, 0, 0
	code.Converted = slices.DeleteFunc(slices.Clone(was.Converted), schema.Conversion.Underway)
	stored, _, err := catalogue.Read(ctx, s, was.Name)
	if err != nil {
		return nil, err
	}
	if stored != nil {
		code.Layout, code.Shards = stored.Layout, stored.Shards
	}
	def, err := Define(ctx, s, code, code.Shards)
	if err != nil {
		return nil, err
	}
	return def, building.Again(ctx, s, def)
}
