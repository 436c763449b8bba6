package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestTransactionTooLarge(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		fill := func(n int) error {
			return db.Transaction(ctx, func(ctx context.Context) error {
				for i := range n {
					if err := accounts.Create(ctx, &account{ID: i, Number: fmt.Sprint(i)}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := fill(251); !errors.Is(err, natsorm.ErrTxTooLarge) {
			t.Errorf("1,004 messages: %v", err)
		}
		if n := must[int](t)(accounts.Count(ctx)); n != 0 {
			t.Errorf("%d records were written", n)
		}
		ok(t, fill(250))
	})
}

// More is read than a batch has conditions for: by key, and by a scan of more
// records than one request reads. What changes meanwhile makes it run again.
func TestTransactionReadsMuch(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		all := make([]*account, 4000)
		for i := range all {
			all[i] = &account{ID: i, Number: fmt.Sprint(i), Owner: "many"}
		}
		ok(t, accounts.BulkCreate(ctx, all))
		ids := make([]any, 1100)
		for i := range ids {
			ids[i] = i
		}
		for name, c := range map[string]struct {
			q    natsorm.Query
			want int
		}{"keys": {natsorm.In("id", ids...), 1100}, "scan": {natsorm.All(), 4000}, "index": {natsorm.Eq("owner", "many"), 4000}} {
			runs := 0
			ok(t, db.Transaction(ctx, func(ctx context.Context) error {
				runs++
				found, err := accounts.FindAll(ctx, c.q)
				if err != nil {
					return err
				}
				if len(found) != c.want {
					t.Errorf("%s: %d records were found, want %d", name, len(found), c.want)
				}
				if runs == 1 {
					must[int](t)(accounts.Increment(natsorm.Outside(ctx), natsorm.Set{"balance": 1}, natsorm.Eq("id", 7)))
				}
				_, err = accounts.Update(ctx, natsorm.Set{"balance": runs}, natsorm.Eq("id", 3))
				return err
			}))
			if runs != 2 {
				t.Errorf("%s: it ran %d times", name, runs)
			}
		}
	})
}

// Reads of many keys with a small payload limit.
func TestTransactionWithASmallPayloadLimit(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	srv := serve(t, embedded.Config{MaxPayload: 16 << 10})
	db := natsormtest.Open(t, srv, "test")
	accounts := define[account](t, db)
	var ids []any
	var vs []*account
	for i := range 600 {
		ids = append(ids, i)
		vs = append(vs, &account{ID: i, Owner: "o", Number: fmt.Sprint(i)})
	}
	ok(t, accounts.BulkCreate(ctx, vs))
	if n, err := accounts.Count(ctx, natsorm.In("id", ids...)); n != 600 || err != nil {
		t.Errorf("outside: %d, %v", n, err)
	}
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		if n, err := accounts.Count(ctx, natsorm.In("id", ids...)); n != 600 || err != nil {
			t.Errorf("keys: %d, %v", n, err)
		}
		if n, err := accounts.Count(ctx, natsorm.Eq("owner", "o")); n != 600 || err != nil {
			t.Errorf("index: %d, %v", n, err)
		}
		return nil
	}))
	err := db.Transaction(ctx, func(ctx context.Context) error {
		for i := range 600 {
			if _, err := accounts.FindByPK(ctx, i); err != nil {
				return err
			}
		}
		for i := 700; i < 850; i++ {
			ok(t, accounts.Create(ctx, &account{ID: i, Owner: strings.Repeat("x", 60), Number: strings.Repeat("y", 40) + fmt.Sprint(i)}))
		}
		return nil
	})
	if err != nil {
		t.Errorf("one by one, and commit: %v", err)
	}
}
