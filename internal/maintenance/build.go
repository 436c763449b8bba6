package maintenance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// builders is how many records are given their entries at the same time, so that they
// share batches.
const builders = 256

// enlisted is how many records are put into their lists together.
const enlisted = 4096

// maxViolations bounds how many duplicates a failed build names.
const maxViolations = 10

// build gives every record the entries and claims of the indexes that are not
// ready. From before it begins, every writer of this definition maintains
// them; so each record found here either still holds what was read of it, or
// its writer has seen to it. An entry that no record needs is harmless.
func (m *model) build(ctx context.Context) error {
	pool := workers.NewPool(ctx, builders)
	var mu sync.Mutex
	var violations []string
	if err := m.store.CatchUp(ctx); err != nil {
		return err
	}
	var chunk []*layout.Footprint
	enlist := func() {
		now := chunk
		chunk = nil
		pool.Do(func(ctx context.Context) (int, error) { return len(now), m.writer.Enlist(ctx, now) })
	}
	for e, err := range m.store.Scan(pool.Ctx(), keys.Records(m.def.Name), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !e.Live() {
			continue
		}
		f, err := m.layout.Of(e.Value)
		if err != nil || f.Record != e.Key {
			continue // no query can find it by this index; Check names it
		}
		if m.layout.Lists() != nil {
			if chunk = append(chunk, &f); len(chunk) == enlisted {
				enlist()
			}
			continue
		}
		pool.Do(func(ctx context.Context) (int, error) {
			err := m.writer.Ensure(ctx, &f)
			if !errors.Is(err, errs.ErrUnique) {
				return 1, err
			}
			now, e := m.footprint(ctx, f.Record)
			if e == nil && now.Equal(&f) {
				mu.Lock()
				defer mu.Unlock()
				var unique *errs.UniqueError
				errors.As(err, &unique)
				violations = append(violations, fmt.Sprintf("%s %q of %s and %s", strings.Join(unique.Columns, "-"), unique.Value, unique.Owner, f.ID.Text()))
			}
			return 1, e
		})
	}
	if len(chunk) > 0 {
		enlist()
	}
	_, err := pool.Wait()
	if err != nil {
		return fmt.Errorf("natsorm: build the indexes of %s: %w", m.def.Name, err)
	}
	if n := len(violations); n > 0 {
		return fmt.Errorf("%w: %s cannot be made unique: %d of its records have a value that another has: %s; change them, then define it again",
			errs.ErrSchema, m.def.Name, n, strings.Join(violations[:min(n, maxViolations)], "; "))
	}
	return nil
}

// footprint is what the record at key holds now; empty when it is gone.
func (m *model) footprint(ctx context.Context, key string) (layout.Footprint, error) {
	e, err := m.store.GetLatest(ctx, key)
	if err != nil || !e.Live() {
		return layout.Footprint{}, err
	}
	f, err := m.layout.Of(e.Value)
	return f, corrupt(m.def, e, err)
}
