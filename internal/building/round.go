package building

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// atOnce is into how many parts a round is divided that are sent at the same time: while the answers to one are
// read, the next one is made and sent.
const atOnce = 4

// partSize is how many records a part has at least.
const partSize = 128

// round gives records what they need, and returns when every answer is there.
func (b *build) round(ctx context.Context, records []*layout.Footprint) error {
	if len(records) == 0 {
		return nil
	}
	size := max(partSize, (len(records)+atOnce-1)/atOnce)
	if b.writer.Listed() { // a list is written once for all
		size = len(records)
	}
	refused := make([][]commit.Refused, 0, atOnce)
	pool := workers.NewPool(ctx, atOnce)
	for begin := 0; begin < len(records); begin += size {
		part := records[begin:min(begin+size, len(records))]
		refused = append(refused, nil)
		mine := &refused[len(refused)-1]
		pool.Do(func(ctx context.Context) (_ int, err error) {
			*mine, err = b.writer.EnsureNew(ctx, part...)
			return len(part), err
		})
	}
	if _, err := pool.Wait(); err != nil {
		return err
	}
	for _, list := range refused {
		if err := b.violations(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// violations notes which of the refused claims are those of records that share a value with another
// one. A record that has been changed since it was read is left out: its writer has taken its claims, or
// was refused.
func (b *build) violations(ctx context.Context, refused []commit.Refused) error {
	if len(refused) == 0 {
		return nil
	}
	if err := store.CatchUp(ctx, b.store); err != nil {
		return err
	}
	records := make([]string, len(refused))
	for i, r := range refused {
		records[i] = r.Record.Record
	}
	now, err := store.GetMany(ctx, b.store, records)
	if err != nil {
		return err
	}
	for i, r := range refused {
		var unique *errs.UniqueError
		if !errors.As(r.Err, &unique) {
			return r.Err
		}
		if !now[i].Live() || commit.Newer(b.layout, now[i]) {
			continue
		}
		f, err := b.layout.Of(now[i].Value)
		if err != nil {
			return errs.Corrupt(b.def.Name, now[i].Key, err)
		}
		if f.Equal(r.Record) {
			b.failing.add(r.Claim.Key, unique, r.Record.ID.Text())
		}
	}
	return nil
}
