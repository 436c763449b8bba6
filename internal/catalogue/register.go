package catalogue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Register writes a declaration to the catalogue, merged with what the catalogue has of
// the model. It returns the merged definition, and those indexes of the declaration that
// are not built yet. An index that only another program has declared is that program's to
// build. ErrSchema when the declaration is wrong or contradicts the catalogue.
// defaultShards is the shard count of a new model that does not give one.
func Register(ctx context.Context, s store.Store, code schema.Definition, defaultShards int) (def *schema.Definition, unbuilt []schema.Index, err error) {
	fresh := code
	if fresh.Shards == 0 {
		fresh.Shards = layout.DefaultShards(fresh.Layout, defaultShards)
	}
	if err := fresh.Validate(); err != nil {
		return nil, nil, err
	}
	if _, err := layout.New(&fresh); err != nil {
		return nil, nil, err
	}
	if def, err = register(ctx, s, code, fresh); err != nil {
		return nil, nil, err
	}
	for i, x := range def.Indexes {
		if x.State != schema.Ready && def.Declares(&code, i) {
			unbuilt = append(unbuilt, x)
		}
	}
	return def, unbuilt, nil
}

// register writes the declaration code merged with the catalogue's document, or fresh when
// there is none. It begins again when another program has changed the document since it
// was read.
func register(ctx context.Context, s store.Store, code, fresh schema.Definition) (*schema.Definition, error) {
	for try := 1; ; try++ {
		stored, revision, err := Read(ctx, s, code.Name)
		if err != nil {
			return nil, err
		}
		var def schema.Definition
		changed := true
		if stored == nil || stored.Dropped {
			def = fresh
			if stored != nil { // what came late of the model before has to go first
				def.Born, def.Emptying = stored.Revision, &schema.Emptying{Sure: true}
			}
			def.Indexes = append([]schema.Index(nil), fresh.Indexes...)
			for i := range def.Indexes { // another program may have written records already, which have no entries
				def.Indexes[i].State = schema.Building
			}
		} else if def, changed, err = schema.Reconcile(*stored, code); err != nil {
			return nil, err
		}
		if !changed {
			return &def, nil
		}
		if stored != nil && stored.Moving != nil && stored.Moving.Paused {
			if err := awaitMove(ctx, stored); err != nil {
				return nil, err
			}
			continue
		}
		_, err = Write(ctx, s, &def, revision)
		if !errors.Is(err, store.ErrWrongRevision) {
			return &def, err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return nil, err
		}
	}
}

// StartBuilding writes into the catalogue that every writer maintains indexes. The caller has
// waited for that since it has seen that they are in state Writing.
func StartBuilding(ctx context.Context, s store.Store, def *schema.Definition, written []schema.Index) (now *schema.Definition, err error) {
	return change(ctx, s, def, func(stored *schema.Definition) {
		for i, x := range stored.Indexes {
			if x.State == schema.Writing && x.Among(written) {
				stored.Indexes[i].State = schema.Building
			}
		}
	})
}

// FinishBuilding writes into the catalogue that indexes are ready, and returns the model
// as it is then. complete is false when one of them is not: another process has found that
// the records do not allow it, and perhaps a third one has declared it anew.
func FinishBuilding(ctx context.Context, s store.Store, def *schema.Definition, built []schema.Index) (now *schema.Definition, complete bool, err error) {
	now, err = change(ctx, s, def, func(stored *schema.Definition) {
		for i, x := range stored.Indexes {
			if x.State == schema.Building && x.Among(built) {
				stored.Indexes[i].State = schema.Ready
			}
		}
	})
	if err != nil {
		return nil, false, err
	}
	return now, !slices.ContainsFunc(built, func(x schema.Index) bool {
		i := now.Index(x.Name, x.Unique)
		return i < 0 || now.Indexes[i].State != schema.Ready
	}), nil
}

// GiveUpBuilding takes indexes that are not ready out of the catalogue. Their entries and
// claims stay, because another process may be building the same index and count on them.
// They are as harmless as those of a crashed writer.
func GiveUpBuilding(ctx context.Context, s store.Store, def *schema.Definition, begun []schema.Index) error {
	_, err := change(ctx, s, def, func(stored *schema.Definition) {
		stored.Indexes = slices.DeleteFunc(stored.Indexes, func(x schema.Index) bool {
			return x.State != schema.Ready && x.Among(begun)
		})
	})
	return err
}

// change applies a change to the document of a model that was registered as def, again
// when another program has changed the document in between. ErrSchema when the document
// is gone.
func change(ctx context.Context, s store.Store, def *schema.Definition, apply func(stored *schema.Definition)) (*schema.Definition, error) {
	for try := 1; ; try++ {
		stored, revision, err := Read(ctx, s, def.Name)
		if err != nil {
			return nil, err
		}
		if stored == nil || stored.Dropped || !stored.Same(def) {
			return nil, fmt.Errorf("%w: %s disappeared from the catalogue meanwhile", errs.ErrSchema, def.Name)
		}
		if stored.Moving != nil && stored.Moving.Paused {
			if err := awaitMove(ctx, stored); err != nil {
				return nil, err
			}
			continue
		}
		apply(stored)
		keepZeroNull(stored, def)
		_, err = Write(ctx, s, stored, revision)
		if !errors.Is(err, store.ErrWrongRevision) {
			return stored, err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return nil, err
		}
	}
}

// awaitMove waits for a moment, because a model's records are being moved to their keys in another
// layout: calls of the model wait for whoever does it, who must not find the document changed.
func awaitMove(ctx context.Context, def *schema.Definition) error {
	if err := workers.Sleep(ctx, pausedPoll); err != nil {
		return fmt.Errorf("natsorm: %s is being moved to another layout, and its declaration waited for that until the context ended; if no program is moving it any more, call ChangeLayout again: %w", def.Name, err)
	}
	return nil
}
