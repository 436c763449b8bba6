package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// slowly lets a program make a call over a slow connection, makes changes meanwhile, and then lets it go on.
func slowly(t *testing.T, d *deploy, rate, messages int, call func() error, during func()) {
	t.Helper()
	d.proxy.Slow(rate)
	sent := d.sent(t)
	done := make(chan error)
	go func() { done <- call() }()
	sent(messages)
	during()
	select {
	case <-done:
		t.Error("the call was over before the change")
	default:
	}
	d.proxy.Slow(0)
	ok(t, <-done)
}

// An Update of many records, found by an index, goes on when the index is dropped, and a column
// that stands before that of its condition.
func TestUpdateDuringDropsOfItsIndexAndAColumn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a call that takes several seconds")
	}
	kinds := []struct {
		column string
		of     natsorm.Condition
	}{{"team", natsorm.Eq("team", "red")}, {"rank", natsorm.Gte("rank", 7)}, {"tags", natsorm.Contains("tags", "red")}, {"nick", natsorm.Eq("nick", "RED")}}
	for _, k := range kinds[:testsize.Pick(1, 2, len(kinds))] {
		t.Run(k.column, func(t *testing.T) {
			t.Parallel()
			versions(t, func(t *testing.T, d *deploy) { updateDuringDrops(t, d, k.column, k.of) })
		})
	}
}

func updateDuringDrops(t *testing.T, d *deploy, column string, of natsorm.Condition) {
	ctx := within(t)
	const n = 500
	type memberV0 struct {
		ID    int64    `json:"id" orm:"primaryKey"`
		Early string   `json:"early"`
		Badge string   `json:"badge"`
		Count int64    `json:"count"`
		Team  string   `json:"team" orm:"index"`
		Rank  int64    `json:"rank" orm:"ordered"`
		Tags  []string `json:"tags" orm:"index"`
		Nick  string   `json:"nick" orm:"index,fold"`
	}
	old := define[memberV0](t, d.oldDB, natsorm.Name("squad"))
	all := make([]*memberV0, n)
	for i := range all {
		all[i] = &memberV0{ID: int64(i), Early: "x", Badge: fmt.Sprint(i), Team: "red", Rank: 7, Tags: []string{"all", "red"}, Nick: "RED"}
	}
	ok(t, define[memberV0](t, d.newDB, natsorm.Name("squad")).BulkCreate(ctx, all))
	slowly(t, d, 25_000, 20, func() error {
		changed, err := old.Increment(ctx, natsorm.Set{"count": 1}, of)
		if changed != n {
			t.Errorf("%d were changed", changed)
		}
		return err
	}, func() {
		ok(t, d.newDB.Alter(ctx, "squad", natsorm.DropIndex(column), natsorm.DropColumn("early"), natsorm.DropColumn("badge")))
	})
	if sum := must[float64](t)(old.Sum(ctx, "count")); sum != n {
		t.Errorf("the sum is %v", sum)
	}
}

// An Increment of many records goes on when they go to another layout, and changes each once.
func TestIncrementDuringALayoutChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a call that takes several seconds")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		const n = 500
		type memberV0 struct {
			ID    int64  `json:"id" orm:"primaryKey"`
			Count int64  `json:"count"`
			Team  string `json:"team" orm:"index"`
		}
		old := define[memberV0](t, d.oldDB, natsorm.Name("squad"))
		all := make([]*memberV0, n)
		for i := range all {
			all[i] = &memberV0{ID: -int64(i), Team: "red"}
		}
		ok(t, define[memberV0](t, d.newDB, natsorm.Name("squad")).BulkCreate(ctx, all))
		slowly(t, d, 25_000, 20, func() error {
			changed, err := old.Increment(ctx, natsorm.Set{"count": 1}, natsorm.Eq("team", "red"))
			if changed != n {
				t.Errorf("%d were changed", changed)
			}
			return err
		}, func() { ok(t, d.newDB.ChangeLayout(ctx, "squad", natsorm.Sequelize)) })
		if sum := must[float64](t)(old.Sum(ctx, "count")); sum != n {
			t.Errorf("the sum is %v", sum)
		}
	})
}

// FindOrCreate, and Upsert by a unique value, look for a record, and stall until the index is gone:
// they do not take the record for absent and create another one.
func TestUpsertThatStallsDuringADropOfItsIndex(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("calls that are held back for seconds")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		old := define[memberV2](t, d.oldDB, natsorm.Name("member"))
		const n = 500
		all := make([]*memberV2, n)
		for i := range all {
			all[i] = &memberV2{ID: int64(i), Badge: fmt.Sprint("b", i)}
		}
		ok(t, members.BulkCreate(ctx, all))
		must[*memberV2](t)(old.FindOne(ctx, natsorm.Eq("badge", "b7"))) // by the index
		d.proxy.Delay(3 * time.Second)
		sent := d.sent(t)
		var wg sync.WaitGroup
		for i := range int64(5) {
			wg.Go(func() {
				_, created, err := old.FindOrCreate(ctx, natsorm.Where{"badge": fmt.Sprint("b", i)}, &memberV2{ID: 1000 + i})
				if created || !errors.Is(err, natsorm.ErrInvalid) && err != nil {
					t.Errorf("FindOrCreate %d: %v, %v", i, created, err)
				}
			})
			wg.Go(func() {
				created, err := old.Upsert(ctx, &memberV2{ID: 2000 + i, Badge: fmt.Sprint("b", 5+i)}, natsorm.OnConflict("badge"))
				if created || !errors.Is(err, natsorm.ErrInvalid) && !errors.Is(err, natsorm.ErrUnique) {
					t.Errorf("Upsert %d: %v, %v", i, created, err)
				}
			})
		}
		sent(10)
		ok(t, d.newDB.Alter(ctx, "member", natsorm.DropIndex("badge")))
		d.proxy.Delay(0)
		wg.Wait()
		if there := must[int](t)(members.Count(ctx)); there != n {
			t.Errorf("there are %d", there)
		}
	})
}

// Truncate deletes a record one by one that another program is about to rename a column of.
func TestTruncateDuringARename(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[accountV1](t, db, natsorm.Name("account"))
	for i := range int64(20) {
		ok(t, old.Create(ctx, &accountV1{ID: i, Email: fmt.Sprint("e", i), Visits: 7}))
	}
	st := below(t, ctx, db)
	def, _, err := catalogue.Load(ctx, st, "account")
	ok(t, err)
	const key = "account.shard_7.7"
	stalling := fault.StallBefore(fault.Phased(st), func(op store.Op) bool { return op.Key == key && op.Delete })
	ended := make(chan error)
	go func() { ended <- maintenance.Truncate(ctx, stalling, def) }()
	<-stalling.Stalled()
	other := another(t, db)
	ok(t, other.Alter(ctx, "account", natsorm.RenameColumn("visits", "count")))
	stalling.Resume()
	ok(t, <-ended)
	if n := must[int](t)(old.Count(ctx)); n != 0 {
		t.Errorf("%d are left", n)
	}
	natsormtest.Prove(t, other)
}

// The removals and changes that a model had in another bucket, or at another time, say nothing in the
// one in which it is restored: a watch delivers what goes, and nothing else.
func TestWatchAfterARestoreFromAnotherBucket(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	from := natsormtest.New(t)
	accounts := define[account](t, from)
	fill(t, accounts, 300)
	ok(t, maintenance.Empty(ctx, below(t, ctx, from), "account"))
	fill(t, accounts, 5)
	var file bytes.Buffer
	ok(t, from.Backup(ctx, &file))
	for _, there := range []bool{false, true} {
		t.Run(fmt.Sprint(there), func(t *testing.T) {
			ctx := within(t)
			to := natsormtest.New(t)
			n := 5
			var w *natsorm.Watcher[account]
			if there {
				m := define[account](t, to)
				ok(t, m.Create(ctx, &account{ID: 10, Number: "10"}))
				n++
				w = must[*natsorm.Watcher[account]](t)(m.Watch(ctx, natsorm.WithCurrent()))
			}
			ok(t, to.Restore(ctx, bytes.NewReader(file.Bytes())))
			if !there {
				w = must[*natsorm.Watcher[account]](t)(define[account](t, to).Watch(ctx, natsorm.WithCurrent()))
			}
			defer w.Stop()
			st := below(t, ctx, to)
			short, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			context.AfterFunc(short, w.Stop)
			created, deleted, emptied := 0, 0, make(chan error, 1)
			for c := range w.Changes() {
				switch c.Op {
				case natsorm.Created:
					created++
				case natsorm.Deleted:
					deleted++
				}
				if created == n && deleted == 0 && c.Op == natsorm.Created {
					go func() { emptied <- maintenance.Empty(ctx, st, "account") }()
				}
				if deleted == n {
					break
				}
			}
			if created != n || deleted != n {
				t.Fatalf("%d of %d have come, and %d have gone", created, n, deleted)
			}
			ok(t, <-emptied)
		})
	}
}
