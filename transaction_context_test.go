package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// A transaction in a function that was called inside another is part of that one.
func TestTransactionJoins(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts, bookings := define[account](t, db), define[booking](t, db)
		open := func(ctx context.Context, id int) error {
			return db.Transaction(ctx, func(ctx context.Context) error {
				return accounts.Create(ctx, &account{ID: id, Number: fmt.Sprint(id)})
			})
		}
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			if err := open(ctx, 1); err != nil {
				return err
			}
			if n := must[int](t)(accounts.Count(natsorm.Outside(ctx))); n != 0 {
				t.Errorf("the inner one has committed by itself: %d", n)
			}
			if n := must[int](t)(accounts.Count(ctx)); n != 1 {
				t.Errorf("the outer one does not see the inner one's write: %d", n)
			}
			return bookings.Create(ctx, &booking{Slot: "s", By: "1"})
		}))
		if n := must[int](t)(accounts.Count(ctx)) + must[int](t)(bookings.Count(ctx)); n != 2 {
			t.Errorf("%d records", n)
		}

		// An error of the inner function ends all of it, also when the outer one goes on.
		mine := errors.New("no")
		err := db.Transaction(ctx, func(ctx context.Context) error {
			ok(t, open(ctx, 2))
			_ = db.Transaction(ctx, func(ctx context.Context) error {
				ok(t, accounts.Create(ctx, &account{ID: 3, Number: "3"}))
				return mine
			})
			return nil
		})
		if n := must[int](t)(accounts.Count(ctx)); !errors.Is(err, mine) || n != 1 {
			t.Errorf("%d records after %v", n, err)
		}

		// Its context may end before the outer one's.
		err = db.Transaction(ctx, func(ctx context.Context) error {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			return db.Transaction(ended, func(ctx context.Context) error { return accounts.Create(ctx, &account{ID: 4}) })
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// A panic of the inner function ends all of it too, also when the outer one recovers.
func TestTransactionJoinedThatPanicsEndsAll(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	err := db.Transaction(ctx, func(ctx context.Context) error {
		func() {
			defer func() { _ = recover() }()
			_ = db.Transaction(ctx, func(ctx context.Context) error {
				ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
				panic("half of it is done")
			})
		}()
		return nil
	})
	if n := must[int](t)(accounts.Count(ctx)); !errors.Is(err, natsorm.ErrInvalid) || n != 0 {
		t.Errorf("%d records after %v", n, err)
	}
}

// A goroutine that is left over is refused, and does not let a transaction that commits
// say that it has not: 291 of 300 did.
func TestTransactionThatCommitsBesideALateCallSaysSo(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	for id := range 100 {
		returned, done := make(chan struct{}), make(chan struct{})
		err := db.Transaction(ctx, func(ctx context.Context) error {
			go func() {
				defer close(done)
				<-returned
				for !errors.Is(db.Transaction(ctx, func(context.Context) error { return errors.New("late") }), natsorm.ErrTxDone) {
					_, _ = accounts.FindByPK(ctx, id)
				}
			}()
			defer close(returned)
			return accounts.Create(ctx, &account{ID: id, Number: fmt.Sprint(id)})
		})
		<-done
		_, missing := accounts.FindByPK(ctx, id)
		if (err == nil) != (missing == nil) {
			t.Fatalf("%v, and the record: %v", err, missing)
		}
	}
}

func TestTransactionOutside(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	mine := errors.New("no")
	err := db.Transaction(ctx, func(ctx context.Context) error {
		ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
		ok(t, accounts.Create(natsorm.Outside(ctx), &account{ID: 2, Number: "2"}))
		ok(t, db.Transaction(natsorm.Outside(ctx), func(ctx context.Context) error {
			return accounts.Create(ctx, &account{ID: 3, Number: "3"})
		}))
		return mine
	})
	all := must[[]*account](t)(accounts.FindAll(ctx, natsorm.OrderBy("id")))
	if !errors.Is(err, mine) || len(all) != 2 || all[0].ID != 2 || all[1].ID != 3 {
		t.Errorf("%v, with %d records", err, len(all))
	}
}

// A function that calls with the context from outside changes what it reads, and would
// run for ever: 8,135 times were seen, each with its effect.
func TestTransactionWithTheWrongContextEnds(t *testing.T) {
	onEach(t, func(t *testing.T, outer context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		ok(t, accounts.Create(outer, &account{ID: 1, Number: "1"}))
		for name, wrong := range map[string]func(runs int) error{
			"a record": func(int) error {
				_, err := accounts.Increment(outer, natsorm.Set{"balance": 1}, natsorm.Eq("id", 1))
				return err
			},
			"an index": func(runs int) error {
				return accounts.Create(outer, &account{ID: 10 + runs, Number: fmt.Sprint(name(t), runs), Owner: "x"})
			},
		} {
			runs := 0
			start := time.Now()
			err := db.Transaction(outer, func(ctx context.Context) error {
				runs++
				if _, err := accounts.FindAll(ctx, natsorm.Or(natsorm.Eq("id", 1), natsorm.Eq("owner", "x"))); err != nil {
					return err
				}
				if err := wrong(runs); err != nil {
					return err
				}
				return accounts.Save(ctx, &account{ID: 1, Number: "1", Owner: name})
			})
			if !errors.Is(err, natsorm.ErrConflict) || natsorm.SafeToRetry(err) || !strings.Contains(err.Error(), "account") || !strings.Contains(err.Error(), "Outside(ctx)") {
				t.Errorf("%s: %v", name, err)
			}
			if runs != 32 {
				t.Errorf("%s: %d runs in %v", name, runs, time.Since(start))
			}
			if a := must[*account](t)(accounts.FindByPK(outer, 1)); a.Owner != "" {
				t.Errorf("%s: it has committed", name)
			}
		}
	})
}

// A transaction that loses here and there to other goroutines of its program goes on.
func TestTransactionAmongWritersOfItsProgramGoesOn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ok(t, accounts.BulkCreate(ctx, []*account{{ID: 1, Number: "1"}, {ID: 2, Number: "2"}, {ID: 3, Number: "3"}}))
	runs := 0
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		runs++
		for id := 1; id <= 2; id++ {
			if _, err := accounts.FindByPK(ctx, id); err != nil {
				return err
			}
		}
		if runs <= 40 {
			if _, err := accounts.Increment(natsorm.Outside(ctx), natsorm.Set{"balance": 1}, natsorm.Eq("id", 1+runs%2)); err != nil {
				return err
			}
		}
		_, err := accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("id", 3))
		return err
	}))
	if runs != 41 {
		t.Errorf("%d runs", runs)
	}
}

func name(t *testing.T) string { return strings.ReplaceAll(t.Name(), "/", "-") }

func TestTransactionRefusesWhatConcernsTheBucket(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		var file bytes.Buffer
		_, define := natsorm.Define[booking](ctx, db)
		_, record := natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "x", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}}})
		_, check := db.Check(ctx)
		_, sweep := db.Sweep(ctx)
		_, watch := accounts.Watch(ctx)
		for call, err := range map[string]error{
			"Define": define, "DefineRecord": record, "Check": check, "Sweep": sweep, "Watch": watch,
			"Truncate": accounts.Truncate(ctx), "Backup": db.Backup(ctx, &file), "Restore": db.Restore(ctx, &file),
			"ChangeLayout": db.ChangeLayout(ctx, "account", natsorm.Native), "DropModel": db.DropModel(ctx, "account"),
		} {
			if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), call) || !strings.Contains(err.Error(), "Outside") {
				t.Errorf("%s: %v", call, err)
			}
		}
		if _, err := db.Models(ctx); err != nil {
			t.Errorf("Models: %v", err)
		}
		return nil
	}))
}
