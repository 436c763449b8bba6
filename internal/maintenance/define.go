// Package maintenance is what is done to a model as a whole: it is defined, and its
// indexes built; it is checked and repaired, moved to another layout, and emptied; and
// the bucket is backed up and restored. All of it may run while others read and write,
// but for a restore.
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

// open is a model in a store. ErrSchema when the definition's layout cannot keep it.
func open(s store.Store, def *schema.Definition) (*model, error) {
	l, err := layout.New(def)
	if err != nil {
		return nil, err
	}
	return &model{def: def, layout: l, store: s, writer: commit.NewWriter(s, l)}, nil
}

// Define registers a declaration in the catalogue, or holds it against the one
// that is there, and builds the indexes that are new. It returns what holds.
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
