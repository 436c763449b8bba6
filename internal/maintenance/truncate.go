package maintenance

import (
	"context"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Truncate deletes every record of a model, also those that cannot be read. Then it checks
// and repairs the model, which removes the entries and claims that are left. A crash in
// between leaves strays, which are harmless. The error is a *PartialError when some
// records were deleted before it.
func Truncate(ctx context.Context, s store.Store, def *schema.Definition) error {
	m, err := open(s, def)
	if err != nil {
		return err
	}
	pool := workers.NewPool(ctx, commit.Together)
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
		_, err = m.check(ctx, true)
	}
	if err != nil && n > 0 {
		err = &errs.PartialError{Model: def.Name, Changed: n, Err: err}
	}
	return err
}
