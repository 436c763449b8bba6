package exec

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

// maxViolations bounds how many duplicates a failed build names.
const maxViolations = 10

// build gives every record the entries and claims of the indexes that are not
// ready. From before it begins, every writer of this definition maintains
// them; so each record found here either still holds what was read of it, or
// its writer has seen to it. An entry too many is harmless.
func (m *Model) build(ctx context.Context) error {
	pool := workers.NewPool(ctx, fetchers)
	var mu sync.Mutex
	var violations []string
	if err := m.store.CatchUp(ctx); err != nil {
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
			for _, r := range refused {
				text, err := m.violation(ctx, r)
				if err != nil {
					return 0, err
				}
				if text != "" {
					mu.Lock()
					violations = append(violations, text)
					mu.Unlock()
				}
			}
			return len(records), nil
		})
	}
	for e, err := range m.store.Scan(pool.Ctx(), keys.Records(m.Def.Name), store.ScanOptions{Again: true}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		if !e.Live() {
			continue
		}
		f, err := m.Layout.Of(e.Value)
		if err != nil || f.Record != e.Key {
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
		return fmt.Errorf("natsorm: build the indexes of %s: %w", m.Def.Name, err)
	}
	if n := len(violations); n > 0 {
		return fmt.Errorf("%w: %s can not be made unique: %d of its records have a value that another has: %s; change them, then define it again",
			errs.ErrSchema, m.Def.Name, n, strings.Join(violations[:min(n, maxViolations)], "; "))
	}
	return nil
}

// violation says which unique value a record shares with another; "" when it has been
// changed since.
func (m *Model) violation(ctx context.Context, r commit.Refused) (string, error) {
	var unique *errs.UniqueError
	if !errors.As(r.Err, &unique) {
		return "", r.Err
	}
	now, err := m.footprint(ctx, r.Record.Record)
	if err != nil || !now.Equal(r.Record) {
		return "", err
	}
	return fmt.Sprintf("%s %q of %s and %s", unique.Field, unique.Value, unique.Owner, r.Record.ID.Text()), nil
}

// footprint is what the record at key holds now; empty when it is gone.
func (m *Model) footprint(ctx context.Context, key string) (layout.Footprint, error) {
	e, err := m.store.GetLatest(ctx, key)
	if err != nil || !e.Live() {
		return layout.Footprint{}, err
	}
	f, err := m.Layout.Of(e.Value)
	return f, m.corrupt(e, err)
}
