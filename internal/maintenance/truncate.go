package maintenance

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Truncate deletes every record of a model, also one that cannot be read, and what is
// then left in its indexes. The error is a *PartialError when some are deleted.
func Truncate(ctx context.Context, s store.Store, def *schema.Definition) error {
	m, err := open(s, def)
	if err != nil {
		return err
	}
	pool := workers.NewPool(ctx, builders)
	for r, err := range s.Scan(pool.Ctx(), keys.Records(def.Name), store.ScanOptions{}) {
		if err != nil {
			pool.Fail(err)
			break
		}
		pool.Do(func(ctx context.Context) (int, error) { return m.remove(ctx, r) })
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

// remove deletes a record with its entries and claims, and reports how many were
// there. Without them, which are left to Check, where it cannot be read, and where
// entries are lists: those are swept in the end, each once.
func (m *model) remove(ctx context.Context, r store.Message) (int, error) {
	f, err := m.layout.Of(r.Value)
	if err != nil || f.Record != r.Key || m.layout.Lists() != nil {
		return 1, m.erase(ctx, r)
	}
	n := 0
	_, err = m.writer.Apply(ctx, commit.Change{ID: f.ID, Assume: &r, Held: &f, Many: true, Next: func(cur store.Message) (commit.Draft, error) {
		if !cur.Live() {
			n = 0
			return commit.Draft{}, commit.ErrLeave
		}
		n = 1
		return commit.Draft{}, nil
	}})
	if err != nil {
		n = 0
	}
	return n, err
}

// erase deletes a record whatever it holds, and leaves the indexes alone.
func (m *model) erase(ctx context.Context, r store.Message) error {
	for r.Live() {
		err := m.store.Write(ctx, store.Op{Key: r.Key, Delete: true, Conditional: true, Expect: r.Revision, Settle: true})[0].Err
		if !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if r, err = m.store.GetLatest(ctx, r.Key); err != nil {
			return err
		}
	}
	return nil
}
