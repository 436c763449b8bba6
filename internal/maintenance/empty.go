package maintenance

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// All records of a model are removed at once, with the server's purge. That takes what is at
// or below a revision, whoever has written it, and asks nobody:
//
//  1. The catalogue says that calls wait (schema.Emptying). Those that do not know it have
//     noticed when catalogue.Settled has passed, or do before they return.
//  2. The catalogue says that this is so (Sure). The document with that has a revision, and
//     what is at or below it is purged: records first, then entries, claims and heads.
//  3. The catalogue says that calls go on, and up to which revision the model was emptied.
//     Whoever wrote by an older document, and has its answer later, looks at its record: it
//     is gone, or gets its entries again.
//
// In spec/schema.pml this is EMPTY. Whoever dies in between leaves a model whose calls wait,
// and one of them goes on for it (catalogue.Knowledge). One that stalls before its purge, and
// goes on when others have ended it, purges by the revision that it had: nothing that counts
// is below that any more. So the document of step 3 is only written at the revision up to
// which this program has purged.

// Empty removes all records of a model, with their entries, claims and heads. ErrNotFound
// when the catalogue does not have the model.
func Empty(ctx context.Context, s store.Store, model string) error {
	return begin(ctx, s, model, schema.Emptying{})
}

// Drop removes a model, with everything that it has in the bucket. ErrNotFound when the
// catalogue does not have it.
func Drop(ctx context.Context, s store.Store, model string) error {
	return begin(ctx, s, model, schema.Emptying{Drop: true})
}

// Resume ends what Empty or Drop have begun with a model, if anything.
func Resume(ctx context.Context, s store.Store, model string) error {
	def, _, err := catalogue.Load(ctx, s, model)
	if errors.Is(err, errs.ErrDropped) || err == nil && def.Emptying == nil {
		return nil
	}
	if err == nil {
		err = goOn(ctx, s, def)
	}
	return err
}

func begin(ctx context.Context, s store.Store, model string, e schema.Emptying) error {
	for {
		def, revision, err := catalogue.Load(ctx, s, model)
		if err != nil {
			return err
		}
		if def.Moving != nil && def.Moving.Paused {
			return fmt.Errorf("%w: %s is being moved to another layout; let ChangeLayout come to its end first", errs.ErrConflict, model)
		}
		if def.Emptying != nil && (def.Emptying.Drop || !e.Drop) { // that is all that is wanted
			return goOn(ctx, s, def)
		}
		def.Emptying = &e
		switch _, err := catalogue.Write(ctx, s, def, revision); {
		case err == nil:
			return goOn(ctx, s, def)
		case !errors.Is(err, store.ErrWrongRevision):
			return err
		}
	}
}

// goOn carries steps 1 to 3 out as far as def does not have them.
func goOn(ctx context.Context, s store.Store, def *schema.Definition) error {
	if !def.Emptying.Sure {
		if err := workers.Sleep(ctx, catalogue.Settled); err != nil {
			return fmt.Errorf("natsorm: wait for those who write %s by the schema that it had: %w", def.Name, err)
		}
	}
	for {
		now, revision, err := catalogue.Load(ctx, s, def.Name)
		if errors.Is(err, errs.ErrDropped) || err == nil && (now.Emptying == nil || now.Emptied != def.Emptied || !now.Same(def)) {
			return nil // others were faster
		}
		if err != nil {
			return err
		}
		next := *now
		if now.Emptying.Sure {
			if err := purge(ctx, s, now); err != nil {
				return err
			}
			next.Emptying, next.Emptied = nil, revision
			next.Dropped = now.Emptying.Drop
		} else { // another Drop may have taken the place of an Empty: then who was told of one was told of both
			next.Emptying = &schema.Emptying{Sure: true, Drop: now.Emptying.Drop}
		}
		switch _, err := catalogue.Write(ctx, s, &next, revision); {
		case errors.Is(err, store.ErrWrongRevision):
		case err != nil:
			return err
		case next.Dropped:
			return purgeAll(ctx, s, def.Name, next.Revision) // what came late, from those who were told nothing
		case next.Emptying == nil:
			return nil
		}
	}
}

// purge removes the keys of a model whose document has Emptying.Sure.
func purge(ctx context.Context, s store.Store, def *schema.Definition) error {
	if def.Emptying.Drop {
		return purgeAll(ctx, s, def.Name, def.Revision)
	}
	if err := catalogue.ForgetMark(ctx, s, def.Name); err != nil {
		return err
	}
	if err := remove(ctx, s, keys.Records(def.Name), def.Revision); err != nil {
		return err
	}
	for _, x := range def.Indexes {
		if err := purgeIndex(ctx, s, def, x); err != nil {
			return err
		}
	}
	return nil
}

func purgeAll(ctx context.Context, s store.Store, model string, upTo uint64) error {
	for _, pattern := range []string{keys.Records(model), keys.Entries(model), keys.Claims(model), keys.Heads(model), keys.Sequence(model), keys.Build(model)} {
		if err := remove(ctx, s, pattern, upTo); err != nil {
			return err
		}
	}
	return nil
}

// purgeIndex removes the keys of an index up to the revision of the model's document.
func purgeIndex(ctx context.Context, s store.Store, def *schema.Definition, x schema.Index) error {
	for _, pattern := range keys.OfIndex(def.Name, x.Name, x.Unique) {
		if err := remove(ctx, s, pattern, def.Revision); err != nil {
			return err
		}
	}
	return nil
}

// remove removes what is under a pattern at or below a revision: with a purge, or key by
// key where that is not allowed.
func remove(ctx context.Context, s store.Store, pattern string, upTo uint64) error {
	if p, ok := s.(store.Purger); ok {
		err := p.Purge(ctx, pattern, upTo)
		if !errors.Is(err, errs.ErrPermission) && !errors.Is(err, store.ErrNoPurge) {
			return err
		}
	}
	if err := store.CatchUp(ctx, s); err != nil {
		return err
	}
	var old []store.Message
	flush := func() error {
		_, err := store.Remove(ctx, s, old...)
		old = old[:0]
		return err
	}
	for m, err := range store.Current(ctx, s, pattern) {
		if err != nil {
			return err
		}
		if m.Revision > upTo {
			continue
		}
		if old = append(old, m); len(old) == loadOps {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
