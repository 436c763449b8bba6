package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/building"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Define registers a declaration in the catalogue, merged with what the catalogue has of
// the model, and builds the indexes that are not built yet. It returns the model as the
// catalogue has it then. ErrSchema when the declaration is wrong or contradicts the
// catalogue, or when the records do not allow a unique index; that index is taken out of
// the catalogue again.
//
// The catalogue says first that writers maintain an index (Writing). When every writer that
// does not has noticed, or will before its call returns (catalogue.Settled), the catalogue
// says that it is being built, and the building begins. Readers use it only when it is
// ready. A crash in between leaves an index that is being built; the next Define of it
// goes on with that (package building). The indexes of a new model need no wait: nobody knew the model before. One
// of a name that was dropped is emptied first, of what came late from those who did.
func Define(ctx context.Context, s store.Store, code schema.Definition, defaultShards int) (*schema.Definition, error) {
	return DefineWith(ctx, s, code, defaultShards, building.Options{})
}

// DefineWith is Define that builds as the options say.
func DefineWith(ctx context.Context, s store.Store, code schema.Definition, defaultShards int, o building.Options) (*schema.Definition, error) {
	if o.Rate < 0 {
		return nil, code.Errorf("BuildRate(%d); use the most records that a build may take in a second, or 0 for no limit", o.Rate)
	}
	for {
		def, unbuilt, err := catalogue.Register(ctx, s, code, defaultShards)
		if errors.Is(err, schema.ErrDropping) { // then it is ended first
			stored, _, err := catalogue.Load(ctx, s, code.Name)
			if err == nil {
				err = endDropping(ctx, s, stored)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		if err == nil && def.Emptying != nil && def.Emptied < def.Born {
			if err := goOn(ctx, s, def); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil || len(unbuilt) == 0 {
			return def, err
		}
		if def.Is(schema.Writing) {
			if err := workers.Sleep(ctx, catalogue.Settled); err != nil {
				return nil, fmt.Errorf("natsorm: wait for those who write %s by the schema that it had: %w", def.Name, err)
			}
			if def, err = catalogue.StartBuilding(ctx, s, def, unbuilt); err != nil {
				return nil, err
			}
		}
		if err := building.Run(ctx, s, def, slices.DeleteFunc(slices.Clone(def.Indexes), func(x schema.Index) bool { return !x.Among(unbuilt) }), o); err != nil {
			if errors.Is(err, errs.ErrSchema) { // the records do not allow it
				err = errors.Join(err, catalogue.GiveUpBuilding(ctx, s, def, unbuilt))
			}
			return nil, err
		}
		def, complete, err := catalogue.FinishBuilding(ctx, s, def, unbuilt)
		if err != nil || complete {
			return def, err
		}
		// Another process found that the records do not allow an index and took it out,
		// while this one built it: declare it again.
	}
}
