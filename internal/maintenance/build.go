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

// together is how many records get their entries in one call of Writer.Ensure. An entry
// that is a list is written once for all of them.
const together = 4096

// builders is how many of these calls are under way at the same time.
const builders = 4

// maxViolations is how many duplicates the error of a failed build names.
const maxViolations = 10

// build gives every record of the model its entries and claims, those of the indexes that
// are not ready among them.
//
// The catalogue has the new indexes before the building begins, so every writer that has
// read this definition maintains them for the records that it writes. For each record
// that the scan finds there are two cases. It is still as it was read: then it gets what
// it needs here. Or it was written since: then its writer has seen to it, and what is put
// here may be an entry that no record needs, which is harmless.
//
// A stall is harmless for the same reason: an entry that is put late is one too many at
// worst, and a claim is only taken when no record that holds the value owns it. A crash
// leaves some records without entries. The index is not ready then, so no reader uses it,
// and the next building begins from the start.
func (m *model) build(ctx context.Context) error {
	pool := workers.NewPool(ctx, builders)
	var mu sync.Mutex
	var violations []string
	// The scan must see every record that a writer without the new indexes has committed.
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
	// Again: a record that a replica delivered in an older state comes once more, as it is.
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
			continue // it cannot be read, so it has no entries; Check names it
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

// violations returns a text for each record that shares a unique value with another one.
// A record that has been changed since it was read is left out: its writer has taken its
// claims, or was refused.
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
