package maintenance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// together is how many records get their entries together: a list is then written
// once for all of them.
const together = 4096

// builders is how many of those are under way at the same time.
const builders = 4

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
	if err := store.CatchUp(ctx, m.store); err != nil {
		return err
	}
	var chunk []*layout.Footprint
	ensure := func() {
		records := chunk
		chunk = nil
		pool.Do(func(ctx context.Context) (int, error) {
			refused, err := m.writer.Ensure(ctx, records...)
			if err != nil {
				return 0, err
			}
			texts, err := m.violations(ctx, refused)
			if err != nil {
				return 0, err
			}
			mu.Lock()
			defer mu.Unlock()
			violations = append(violations, texts...)
			return len(records), nil
		})
	}
	for e, err := range m.store.Scan(pool.Ctx(), keys.Records(m.def.Name), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !e.Live() {
			continue
		}
		f, err := layout.At(m.layout, e.Key, e.Value)
		if err != nil {
			continue // no query can find it by this index; Check names it
		}
		if chunk = append(chunk, &f); len(chunk) == together {
			ensure()
		}
	}
	if len(chunk) > 0 {
		ensure()
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

// violations say which unique values records share with others. Those that have been
// changed since are left out.
func (m *model) violations(ctx context.Context, refused []commit.Refused) (texts []string, err error) {
	if len(refused) == 0 {
		return nil, nil
	}
	if err := store.CatchUp(ctx, m.store); err != nil {
		return nil, err
	}
	records := make([]string, len(refused))
	for i, r := range refused {
		records[i] = r.Record.Record
	}
	now, err := store.GetMany(ctx, m.store, records)
	if err != nil {
		return nil, err
	}
	for i, r := range refused {
		var unique *errs.UniqueError
		if !errors.As(r.Err, &unique) {
			return nil, r.Err
		}
		if !now[i].Live() {
			continue
		}
		f, err := m.layout.Of(now[i].Value)
		if err != nil {
			return nil, errs.Corrupt(m.def.Name, now[i].Key, err)
		}
		if f.Equal(r.Record) {
			texts = append(texts, fmt.Sprintf("%s %q of %s and %s", strings.Join(unique.Columns, "-"), unique.Value, unique.Owner, r.Record.ID.Text()))
		}
	}
	return texts, nil
}
