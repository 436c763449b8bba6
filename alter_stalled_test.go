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
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// accountV3 is of a time when the visits of accountV1 were dropped, and the name was free for
// another column.
type accountV3 struct {
	ID     int64  `json:"id" orm:"primaryKey"`
	Email  string `json:"email" orm:"unique"`
	Visits string `json:"visits"`
}

// A program drops a column and stands still, in the wait for others or in the middle of its pass
// over the records. Another one ends that, frees the name, and a third has a new column of that
// name. When the first goes on it leaves the values of the new column alone.
func TestDropColumnThatStandsStill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	for _, at := range []int{0, 1000} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			old := define[accountV1](t, db, natsorm.Name("account"))
			n := max(10, 3*at)
			all := make([]*accountV1, n)
			for i := range all {
				all[i] = &accountV1{ID: int64(i), Email: fmt.Sprint("e", i), Visits: 7}
			}
			ok(t, old.BulkCreate(ctx, all))
			second, third := another(t, db), another(t, db)
			drop := natsorm.DropColumn("visits")
			stood := false
			ok(t, db.Alter(ctx, "account", drop, natsorm.AlterProgress(func(_ string, done, _ int) {
				if stood || done != at {
					return
				}
				stood = true
				ok(t, second.Alter(ctx, "account", drop, natsorm.FreeName("visits")))
				young := define[accountV3](t, third, natsorm.Name("account"))
				for i := range int64(n) {
					ok(t, young.Save(ctx, &accountV3{ID: i, Email: fmt.Sprint("e", i), Visits: "many"}))
				}
			})))
			if got := members(t, db, "account"); !stood || got["visits"] != n {
				t.Errorf("of %d records %d have the new column", n, got["visits"])
			}
		})
	}
}

// A program frees a name and stands still when it has looked through the records. Another one frees
// it, and a third has a new column of it, and drops that: the first does not free the name while
// records have members of it.
func TestFreeNameThatStandsStill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[accountV1](t, db, natsorm.Name("account"))
	for i := range int64(20) {
		ok(t, old.Create(ctx, &accountV1{ID: i, Email: fmt.Sprint("e", i), Visits: 7}))
	}
	drop, free := natsorm.DropColumn("visits"), natsorm.FreeName("visits")
	ok(t, db.Alter(ctx, "account", drop))
	second, third := another(t, db), another(t, db)
	calls := 0
	err := db.Alter(ctx, "account", free, natsorm.AlterProgress(func(_ string, done, _ int) {
		if calls++; done != 20 || calls != 2 {
			return
		}
		ok(t, second.Alter(ctx, "account", free))
		define[accountV3](t, third, natsorm.Name("account"))
		short, cancel := context.WithCancel(ctx)
		defer cancel()
		err := second.Alter(short, "account", drop, natsorm.AlterProgress(func(string, int, int) { cancel() }))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("broken off: %v", err)
		}
	}))
	if !errors.Is(err, natsorm.ErrConflict) || calls != 2 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	type again struct {
		ID     int64   `json:"id" orm:"primaryKey"`
		Email  string  `json:"email" orm:"unique"`
		Visits float64 `json:"visits"`
	}
	if _, err := natsorm.Define[again](ctx, db, natsorm.Name("account")); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("a column of that name: %v", err)
	}
}

// A column of an index that is being dropped stays until the index has gone: nobody could end that
// without it.
func TestDropColumnOfADroppedIndex(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 5)
	crashing := fault.CrashAfter(below(t, ctx, db), 1)
	if _, _, err := maintenance.DropIndex(ctx, crashing, "account", "", []string{"owner"}); !errors.Is(err, fault.ErrCrashed) {
		t.Fatal(err)
	}
	if err := db.Alter(ctx, "account", natsorm.DropColumn("owner")); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "DropIndex") {
		t.Errorf("while its index is being dropped: %v", err)
	}
	ok(t, db.Alter(ctx, "account", natsorm.DropIndex("owner"), natsorm.DropColumn("owner")))
	if _, err := db.KV().Get(ctx, "account.index.owner.o1.1"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("an entry is left: %v", err)
	}
}

// A layout change and the drop of an index, which both change the model's document, are not made at
// once: whichever comes second is refused, and no call waits for ever.
func TestChangeLayoutDuringADropOfAnIndex(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the waits of two changes of a schema")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	members := define[memberV1](t, db, natsorm.Name("member"), natsorm.Index("team"))
	for i := range int64(20) {
		ok(t, members.Create(ctx, &memberV1{ID: i, Team: "red"}))
	}
	dropped := make(chan error)
	go func() { dropped <- another(t, db).Alter(ctx, "member", natsorm.DropIndex("team")) }()
	ok(t, testbed.Until(ctx, func(context.Context) error {
		if s := must[[]natsorm.Schema](t)(db.Models(ctx)); s[0].Indexes[0].State != natsorm.IndexDropping {
			return errors.New("it is not being dropped yet")
		}
		return nil
	}))
	if err := db.ChangeLayout(ctx, "member", natsorm.Sequelize); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "DropIndex") {
		t.Errorf("while an index is being dropped: %v", err)
	}
	ok(t, <-dropped)
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if n := must[int](t)(members.Count(short, natsorm.Eq("team", "red"))); n != 20 {
		t.Errorf("%d are there", n)
	}
	ok(t, db.ChangeLayout(ctx, "member", natsorm.Sequelize))
}

// A dry run without a plan to fill is refused, and not carried out.
func TestDryRunWithoutAPlan(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 3)
	if err := db.Alter(ctx, "account", natsorm.DropIndex("owner"), natsorm.DropColumn("owner"), natsorm.DryRun(nil)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a dry run without a plan: %v", err)
	}
	if got := members(t, db, "account"); got["owner"] != 3 {
		t.Errorf("it has changed %v", got)
	}
}

// Dry runs of every kind of change write nothing at all.
func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 30)
	ok(t, db.Alter(ctx, "account", natsorm.DropIndex("balance"), natsorm.RenameColumn("balance", "sum"), natsorm.ForgetName("balance")))
	last := func() uint64 { return must[uint64](t)(below(t, ctx, db).Revision(ctx, store.Whole)) }
	before := last()
	var plan natsorm.AlterPlan
	ok(t, db.Alter(ctx, "account", natsorm.DryRun(&plan), natsorm.FreeName("balance"), natsorm.DropIndex("owner"), natsorm.RenameColumn("number", "no"),
		natsorm.ForgetName("number"), natsorm.Rewrite(func(r natsorm.Record) error { r["owner"] = "x"; return nil })))
	if len(plan.Changes) != 5 || plan.Changes[2].Write != 30 || plan.Changes[4].Write != 30 {
		t.Errorf("planned: %+v", plan)
	}
	if now := last(); now != before {
		t.Errorf("the bucket went from %d to %d", before, now)
	}
}
