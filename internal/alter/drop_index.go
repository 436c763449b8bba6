package alter

import (
	"context"
	"strings"

	"github.com/natsorm/natsorm/internal/maintenance"
)

// DropIndex is the change that takes the indexes of these columns away.
func DropIndex(columns ...string) Change {
	name := "drop index " + strings.Join(columns, ", ")
	return Change{name: name, do: func(ctx context.Context, r *Run) (p Planned, err error) {
		model := r.Handle.Last().Def.Name
		if r.Dry {
			p.Remove, p.Catalogue, err = maintenance.DroppedIndex(ctx, r.Store, model, columns)
		} else {
			p.Remove, p.Catalogue, err = maintenance.DropIndex(ctx, r.Store, model, columns)
		}
		if err == nil && !p.Catalogue {
			p.Note = "the model has no index of these columns"
		}
		return p, err
	}}
}
