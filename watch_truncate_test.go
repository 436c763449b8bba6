package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// fill creates records 1 to n.
func fill(t testing.TB, accounts *natsorm.Model[account], n int) {
	t.Helper()
	all := make([]*account, n)
	for i := range all {
		all[i] = &account{ID: i + 1, Number: fmt.Sprint(i + 1), Owner: fmt.Sprint("o", i%5)}
	}
	ok(t, accounts.BulkCreate(within(t), all))
}

// many is a number of records that Truncate removes all at once.
const many = 4500

// A watch is told of every record that goes when all go at once.
func TestWatchSeesATruncation(t *testing.T) {
	if testing.Short() {
		t.Skip("creates thousands of records")
	}
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		fill(t, accounts, many)
		all := must[*natsorm.Watcher[account]](t)(accounts.Watch(ctx))
		defer all.Stop()
		one := must[*natsorm.Watcher[account]](t)(accounts.Watch(ctx, natsorm.Eq("id", 7)))
		defer one.Stop()
		some := must[*natsorm.Watcher[account]](t)(accounts.Watch(ctx, natsorm.Eq("owner", "o3")))
		defer some.Stop()
		ok(t, accounts.Truncate(ctx))
		ok(t, accounts.Create(ctx, &account{ID: 7, Number: "7", Owner: "o3"}))
		for name, w := range map[string]struct {
			*natsorm.Watcher[account]
			deleted int
		}{"all": {all, many}, "one": {one, 1}, "some": {some, many / 5}} {
			seen := map[int]bool{}
			for c := range w.Changes() {
				if c.Op == natsorm.Created {
					if c.After.ID != 7 || len(seen) != w.deleted {
						t.Errorf("%s: %d was created after %d deletions", name, c.After.ID, len(seen))
					}
					break
				}
				if c.Op != natsorm.Deleted || c.Before == nil || seen[c.Before.ID] || c.Time.IsZero() {
					t.Fatalf("%s: %+v", name, c)
				}
				seen[c.Before.ID] = true
			}
		}
	})
}

// A watch of a model that is dropped ends when it has told of every record.
func TestWatchOfADroppedModel(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 20)
	w := must[*natsorm.Watcher[account]](t)(accounts.Watch(ctx))
	ok(t, another(t, db).DropModel(ctx, "account"))
	n := 0
	for c := range w.Changes() {
		if c.Op != natsorm.Deleted {
			t.Errorf("%+v", c)
		}
		n++
	}
	if n != 20 || !errors.Is(w.Err(), natsorm.ErrNotFound) {
		t.Errorf("%d deletions, and then %v", n, w.Err())
	}
}
