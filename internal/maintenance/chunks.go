package maintenance

import (
	"context"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// together is how many records get their entries in one call of Writer.Ensure. An
	// entry that is a list is written once for all of them.
	together = 4096

	// atOnce is how many chunks of records are worked on at the same time.
	atOnce = 4
)

// chunks calls do with chunks of the records of a model, as choose makes items of them,
// or leaves them out. It sees every record that was committed before the call. A record that a
// replica delivered in an older state comes once more, as it is. choose is called by one
// goroutine, do by several at the same time.
func chunks[T any](ctx context.Context, s store.Store, model string, choose func(store.Message) (item T, ok bool, err error), do func(context.Context, []T) error) error {
	if err := store.CatchUp(ctx, s); err != nil {
		return err
	}
	pool := workers.NewPool(ctx, atOnce)
	var chunk []T
	send := func() {
		now := chunk
		chunk = nil
		pool.Do(func(ctx context.Context) (int, error) { return len(now), do(ctx, now) })
	}
	for m, err := range s.Scan(pool.Ctx(), keys.Records(model), store.ScanOptions{Again: true}) {
		if err == nil && !m.Live() {
			continue
		}
		var item T
		ok := false
		if err == nil {
			item, ok, err = choose(m)
		}
		if err != nil {
			pool.Fail(err)
			break
		}
		if !ok {
			continue
		}
		if chunk = append(chunk, item); len(chunk) == together {
			send()
		}
	}
	if len(chunk) > 0 {
		send()
	}
	_, err := pool.Wait()
	return err
}
