package maintenance

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// model is a model and the means to change its records.
type model struct {
	def    *schema.Definition
	layout layout.Layout
	store  store.Store
	writer *commit.Writer
}

// open makes a model for its definition. ErrSchema when the definition's layout cannot
// keep it.
func open(s store.Store, def *schema.Definition) (*model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	return &model{def: def, layout: l, store: s, writer: commit.NewWriter(s, l)}, nil
}

// Define registers a declaration in the catalogue, merged with what the catalogue has of
// the model, and builds the indexes that are not built yet. It returns the model as the
// catalogue has it then. ErrSchema when the declaration is wrong or contradicts the
// catalogue, or when the records do not allow a unique index; that index is taken out of
// the catalogue again.
//
// The catalogue says that an index is being built before the building begins, and that it
// is ready after it has ended. Readers use it only when it is ready. A crash in between
// leaves an index that is being built; the next Define of it builds it again.
func Define(ctx context.Context, s store.Store, code schema.Definition, defaultShards int) (*schema.Definition, error) {
	for {
		def, unbuilt, err := catalogue.Register(ctx, s, code, defaultShards)
		if err != nil || len(unbuilt) == 0 {
			return def, err
		}
		m, err := open(s, def)
		if err != nil {
			return nil, err
		}
		if err := m.build(ctx); err != nil {
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
