package maintenance

import (
	"github.com/natsorm/natsorm/internal/commit"
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
