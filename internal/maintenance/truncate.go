package maintenance

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// few is how many records, about, are deleted one by one faster than a removal of all of
// them waits.
const few = 4000

// Truncate deletes every record of a model, also those that cannot be read: all at once
// (Empty), or one by one when they are few.
func Truncate(ctx context.Context, s store.Store, def *schema.Definition) error {
	n, err := s.Count(ctx, keys.Records(def.Name), store.About)
	if err != nil {
		return err
	}
	if n > few {
		err := Empty(ctx, s, def.Name)
		if !errors.Is(err, errs.ErrPermission) { // to write to the catalogue, which those need not have who write records
			return err
		}
	}
	return oneByOne(ctx, s, def)
}

// oneByOne deletes the records of a model one by one. Then it checks
// and repairs the model, which removes the entries and claims that are left. A crash in
// between leaves strays, which are harmless. The error is a *PartialError when some
// records were deleted before it.
func oneByOne(ctx context.Context, s store.Store, def *schema.Definition) error {
	m, err := open(s, def)
	if err != nil {
		return err
	}
	pool := workers.NewPool(ctx, commit.Together)
	// A replica that is behind may show a record as it was, or one that is gone. That is
	// harmless: Discard reads again what is not as it was given.
	for r, err := range s.Scan(pool.Ctx(), keys.Records(def.Name), store.ScanOptions{}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		pool.Do(func(ctx context.Context) (int, error) {
			deleted, err := m.writer.Discard(ctx, r)
			if err != nil || !deleted {
				return 0, err
			}
			return 1, nil
		})
	}
	n, err := pool.Wait()
	if err == nil {
		_, err = checking.Check(ctx, s, def, checking.Options{Mend: checking.Indexes})
	}
	if err != nil && n > 0 {
		err = &errs.PartialError{Model: def.Name, Changed: n, Err: err}
	}
	return err
}
