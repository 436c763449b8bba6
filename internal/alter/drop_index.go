package alter

import (
	"context"
	"fmt"
	"strings"

	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
)

// DropIndex is the change that takes the indexes of these columns away: all of them, or with a kind only the
// one of that kind.
func DropIndex(kind schema.Kind, columns ...string) Change {
	of := "drop index " + strings.Join(columns, ", ")
	if kind != "" {
		of = fmt.Sprintf("drop %s %s", kind, strings.Join(columns, ", "))
	}
	return Change{name: of, do: func(ctx context.Context, r *Run) (p Planned, err error) {
		model := r.Handle.Last().Def.Name
		drop := maintenance.DropIndex
		if r.Dry {
			drop = maintenance.DroppedIndex
		}
		var dropped []string
		p.Remove, dropped, err = drop(ctx, r.Store, model, kind, columns)
		switch p.Catalogue = len(dropped) > 0; {
		case err != nil:
		case len(dropped) == 0 && kind == "":
			p.Note = "the model has no index of these columns"
		case len(dropped) == 0:
			p.Note = "the model has no index of this kind and these columns"
		case len(dropped) > 1:
			p.Note = fmt.Sprintf("these columns have %d indexes, and all of them go: %s; DropOneIndex names one", len(dropped), strings.Join(dropped, "; "))
		}
		return p, err
	}}
}
