package natsorm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// A value that was saved and then changed by a later call of the same
// transaction gets the version of what it does not have.
func TestTransactionVersionOfAValueThatIsOld(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	a := &account{ID: 1, Number: "1", Balance: 100}
	ok(t, accounts.Create(ctx, a))
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		a.Owner = "Ann"
		ok(t, accounts.Save(ctx, a))
		_, err := accounts.Increment(ctx, natsorm.Set{"balance": 50}, natsorm.Eq("id", 1))
		if e := accounts.Save(ctx, a); !errors.Is(e, natsorm.ErrConflict) {
			t.Errorf("inside: %v", e)
		}
		return err
	}))
	err := accounts.Save(ctx, a)
	got := must[*account](t)(accounts.FindByPK(ctx, 1))
	if !errors.Is(err, natsorm.ErrConflict) {
		t.Errorf("a value with balance %d saved over one with 150: %v; now %d", a.Balance, err, got.Balance)
	}
}

// Change-back of a record that had been fenced.
func TestTransactionVersionOfAFencedRecord(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1", Balance: 100}))
	must[uint64](t)(db.KV().Put(ctx, "account.unique.number.v", []byte("1"))) // as of a crashed writer
	ok(t, accounts.Create(ctx, &account{ID: 2, Number: "v"}))                 // fences 1
	a := must[*account](t)(accounts.FindByPK(ctx, 1))
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		a.Balance = 5
		ok(t, accounts.Save(ctx, a))
		a.Balance = 100
		ok(t, accounts.Save(ctx, a))
		return accounts.Create(ctx, &account{ID: 3, Number: "3"})
	}))
	stored := must[*account](t)(accounts.FindByPK(ctx, 1))
	if err := accounts.Save(ctx, a); err != nil {
		t.Errorf("version %d, stored %d: %v", a.Version, stored.Version, err)
	}
}

// A value without a version that is saved twice, in a transaction that runs twice.
func TestTransactionVersionWhenItRunsAgain(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1", Balance: 100}))
	v := &account{ID: 1, Number: "1"}
	runs := 0
	err := db.Transaction(ctx, func(ctx context.Context) error {
		runs++
		v.Balance = 7
		if err := accounts.Save(ctx, v); err != nil {
			return err
		}
		v.Balance = 8
		if err := accounts.Save(ctx, v); err != nil {
			return err
		}
		if runs == 1 {
			must[int](t)(accounts.Increment(natsorm.Outside(ctx), natsorm.Set{"balance": 1}, natsorm.Eq("id", 1)))
		}
		return nil
	})
	if err != nil {
		t.Errorf("after %d runs: %v", runs, err)
	}
}

// An unchanged Save leaves the value without a version.
func TestTransactionVersionOfAnUnchangedSave(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1", Balance: 100}))
	for _, with := range []bool{true, false} {
		v := &account{ID: 1, Number: "1", Balance: 100}
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			if with {
				ok(t, accounts.Create(ctx, &account{ID: 2, Number: "2"}))
			}
			return accounts.Save(ctx, v)
		}))
		if v.Version == 0 {
			t.Errorf("with another write %v: version 0 after the commit", with)
		}
	}
}
