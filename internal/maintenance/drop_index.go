package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// DropIndex takes the indexes of these columns away while programs use the model: all of them, or with
// a kind only the one of that kind. It returns about how many keys they had, and what they
// were, such as "unique email". ErrNotFound when the catalogue does not have the model, ErrInvalid for a column that the model does not have, ErrConflict
// while the model is moved to another layout.
//
// The catalogue says first that nobody uses or maintains the index any more
// (schema.Definition.Dropping). Readers who do not know that have noticed when
// catalogue.Settled has passed, or look again before they return. Then the index's keys are
// removed, and the catalogue forgets it. What writers of an older document put after that
// are strays, which no reader uses.
//
// In spec/schema.pml this is DROP. A crash in between leaves an index that nobody uses and
// some of its keys; another DropIndex goes on, and so does a Define of the index before it
// begins to build a new one.
func DropIndex(ctx context.Context, s store.Store, model string, kind schema.Kind, columns []string) (removed int, dropped []string, err error) {
	for {
		d, err := findIndexes(ctx, s, model, kind, columns)
		if err != nil || !d.any() {
			return 0, nil, err
		}
		if removed, err = d.keys(ctx, s); err != nil {
			return 0, nil, err
		}
		if len(d.kept) == len(d.def.Indexes) {
			return removed, d.names(), endDropping(ctx, s, d.def)
		}
		d.def.Indexes, d.def.Dropping = d.kept, slices.Concat(d.def.Dropping, d.drop)
		switch _, err := catalogue.Write(ctx, s, d.def, d.revision); {
		case err == nil:
			return removed, d.names(), endDropping(ctx, s, d.def)
		case !errors.Is(err, store.ErrWrongRevision):
			return 0, nil, err
		}
	}
}

// DroppedIndex is what DropIndex would return. It changes nothing.
func DroppedIndex(ctx context.Context, s store.Store, model string, kind schema.Kind, columns []string) (keys int, dropped []string, err error) {
	d, err := findIndexes(ctx, s, model, kind, columns)
	if err != nil {
		return 0, nil, err
	}
	keys, err = d.keys(ctx, s)
	return keys, d.names(), err
}

// drop is indexes of a model that are to go.
type drop struct {
	def      *schema.Definition
	revision uint64
	kept     []schema.Index // the others
	drop     []schema.Index // those that programs still use
	dropping []schema.Index // those with which another program, or an earlier call, has begun
}

func (d *drop) any() bool { return len(d.drop)+len(d.dropping) > 0 }

// names are what the indexes are.
func (d *drop) names() (out []string) {
	for _, x := range slices.Concat(d.drop, d.dropping) {
		out = append(out, indexName(x))
	}
	return out
}

// keys is about how many keys they have.
func (d *drop) keys(ctx context.Context, s store.Store) (n int, err error) {
	for _, x := range slices.Concat(d.drop, d.dropping) {
		for _, pattern := range keys.OfIndex(d.def.Name, x.Name, x.Unique) {
			some, err := s.Count(ctx, pattern, store.About)
			if err != nil {
				return 0, err
			}
			n += some
		}
	}
	return n, nil
}

func findIndexes(ctx context.Context, s store.Store, model string, kind schema.Kind, columns []string) (*drop, error) {
	def, revision, err := catalogue.Load(ctx, s, model)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		if names[i], err = def.Named(c); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, errs.Invalidf(model, "", "an index without columns; name those of the index that is to be dropped")
	}
	if def.Moving != nil {
		return nil, fmt.Errorf("%w: %s is being moved to another layout; let ChangeLayout come to its end first", errs.ErrConflict, model)
	}
	d := &drop{def: def, revision: revision}
	meant := func(x schema.Index) bool {
		return slices.Equal(x.Columns, names) && (kind == "" || x.Kind() == kind)
	}
	for _, x := range def.Indexes {
		if meant(x) {
			x.State = schema.Dropping
			d.drop = append(d.drop, x)
		} else {
			d.kept = append(d.kept, x)
		}
	}
	for _, x := range def.Dropping {
		if meant(x) {
			d.dropping = append(d.dropping, x)
		}
	}
	return d, nil
}

// endDropping removes the indexes that are being dropped in def, after the wait.
func endDropping(ctx context.Context, s store.Store, def *schema.Definition) error {
	waited := def.Dropping
	if err := workers.Sleep(ctx, catalogue.Settled); err != nil {
		return fmt.Errorf("natsorm: wait for those who read %s by %s: %w", def.Name, indexNames(waited), err)
	}
	for {
		now, revision, err := catalogue.Load(ctx, s, def.Name)
		if errors.Is(err, errs.ErrDropped) || err == nil && !now.Same(def) {
			return nil
		}
		if err != nil {
			return err
		}
		ours := func(x schema.Index) bool { return x.Among(waited) }
		if !slices.ContainsFunc(now.Dropping, ours) {
			return nil // others were faster
		}
		for _, x := range now.Dropping {
			if ours(x) {
				if err := purgeIndex(ctx, s, now, x); err != nil {
					return err
				}
			}
		}
		if err := catalogue.ForgetMark(ctx, s, now.Name); err != nil {
			return err
		}
		// At the revision up to which the keys were removed: then none that is there was put
		// before it, and a removal that comes late, by a lower revision, finds nothing.
		now.Dropping = slices.DeleteFunc(now.Dropping, ours)
		if _, err := catalogue.Write(ctx, s, now, revision); !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
	}
}

func indexNames(list []schema.Index) string {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = indexName(x)
	}
	return strings.Join(names, "; ")
}

func indexName(x schema.Index) string {
	return string(x.Kind()) + " " + strings.Join(x.Columns, ", ")
}
