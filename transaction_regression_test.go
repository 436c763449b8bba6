package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// A claim that a writer in flight has put is taken without a fence, when
// the writer's record was touched by the transaction and is as it was.
func TestTransactionFencesWhatItLeaves(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"untouched", "changed back", "created and destroyed"} {
		t.Run(how, func(t *testing.T) {
			ctx := within(t)
			db := onFiles(t)
			accounts := define[account](t, db)
			kv := db.KV()
			key := "account.shard_1.1"
			var base uint64
			if how != "created and destroyed" {
				ok(t, accounts.Create(ctx, &account{ID: 1, Number: "old"}))
				base = must[jetstream.KeyValueEntry](t)(kv.Get(ctx, key)).Revision()
			}
			// A phased writer of record 1 has done its step 2: the claim of "v" is
			// there. Its step 3 is on its way.
			must[uint64](t)(kv.Put(ctx, "account.unique.number.v", []byte("1")))
			ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
				in := accounts.In(tx)
				switch how {
				case "changed back":
					must[int](t)(in.Update(ctx, natsorm.Set{"owner": "x"}, natsorm.Eq("id", 1)))
					must[int](t)(in.Update(ctx, natsorm.Set{"owner": ""}, natsorm.Eq("id", 1)))
				case "created and destroyed":
					ok(t, in.Create(ctx, &account{ID: 1, Number: "tmp"}))
					must[int](t)(in.Destroy(ctx, natsorm.Eq("id", 1)))
				}
				return in.Create(ctx, &account{ID: 2, Number: "v"})
			}))
			// Step 3 arrives: a compare-and-set of the record at the revision it was read.
			_, err := kv.Update(ctx, key, []byte(`{"id":1,"owner":"","number":"v","balance":0}`), base)
			t.Logf("the writer's commit: %v", err)
			n := must[[]*account](t)(accounts.FindAll(ctx, natsorm.Like("number", "v%")))
			if len(n) != 1 {
				t.Errorf("%d records have the unique value", len(n))
			}
		})
	}
}

// A value that was saved and then changed by a later call of the same
// transaction gets the version of what it does not have.
func TestTransactionVersionOfAValueThatIsOld(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	a := &account{ID: 1, Number: "1", Balance: 100}
	ok(t, accounts.Create(ctx, a))
	ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
		in := accounts.In(tx)
		a.Owner = "Ann"
		ok(t, in.Save(ctx, a))
		_, err := in.Increment(ctx, natsorm.Set{"balance": 50}, natsorm.Eq("id", 1))
		if e := in.Save(ctx, a); !errors.Is(e, natsorm.ErrConflict) {
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
	ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
		in := accounts.In(tx)
		a.Balance = 5
		ok(t, in.Save(ctx, a))
		a.Balance = 100
		ok(t, in.Save(ctx, a))
		return in.Create(ctx, &account{ID: 3, Number: "3"})
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
	err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
		runs++
		in := accounts.In(tx)
		v.Balance = 7
		if err := in.Save(ctx, v); err != nil {
			return err
		}
		v.Balance = 8
		if err := in.Save(ctx, v); err != nil {
			return err
		}
		if runs == 1 {
			must[int](t)(accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("id", 1)))
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
		ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
			if with {
				ok(t, accounts.In(tx).Create(ctx, &account{ID: 2, Number: "2"}))
			}
			return accounts.In(tx).Save(ctx, v)
		}))
		if v.Version == 0 {
			t.Errorf("with another write %v: version 0 after the commit", with)
		}
	}
}

// A read fails with its context between its answer and the validation;
// fn reads again.
func TestTransactionReadsAgainAfterAnError(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	srv := serve(t, embedded.Config{Port: -1})
	inner := natsormtest.Open(t, srv, "test")
	p := testbed.StartLossyProxy(t, srv.URL())
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{p.URL()}, Bucket: "test"})
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	accounts, direct := define[account](t, db), define[account](t, inner)
	for i := range 2 {
		ok(t, direct.Create(ctx, &account{ID: i, Number: fmt.Sprint(i)}))
	}
	runs := 0
	ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
		runs++
		in := accounts.In(tx)
		a, err := in.FindByPK(ctx, 0)
		if err != nil {
			return err
		}
		if runs == 1 {
			ok(t, inner.Transaction(ctx, func(tx *natsorm.Tx) error {
				_, err := direct.In(tx).Increment(ctx, natsorm.Set{"balance": 1}, natsorm.All())
				return err
			}))
			p.Lose(func(subject string, answer bool) bool { return strings.Contains(subject, "STREAM.INFO") })
		}
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		b, err := in.FindByPK(short, 1)
		cancel()
		p.LoseNothing()
		if err != nil { // once more
			b, err = in.FindByPK(ctx, 1)
		}
		if err != nil {
			return err
		}
		if a.Balance != b.Balance {
			t.Errorf("run %d sees balances %d and %d", runs, a.Balance, b.Balance)
		}
		return nil
	}))
	t.Logf("%d runs", runs)
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
	ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
		in := accounts.In(tx)
		if n, err := in.Count(ctx, natsorm.In("id", ids...)); n != 600 || err != nil {
			t.Errorf("keys: %d, %v", n, err)
		}
		if n, err := in.Count(ctx, natsorm.Eq("owner", "o")); n != 600 || err != nil {
			t.Errorf("index: %d, %v", n, err)
		}
		return nil
	}))
	err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
		in := accounts.In(tx)
		for i := range 600 {
			if _, err := in.FindByPK(ctx, i); err != nil {
				return err
			}
		}
		for i := 700; i < 850; i++ {
			ok(t, in.Create(ctx, &account{ID: i, Owner: strings.Repeat("x", 60), Number: strings.Repeat("y", 40) + fmt.Sprint(i)}))
		}
		return nil
	})
	if err != nil {
		t.Errorf("one by one, and commit: %v", err)
	}
}
