package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// An index goes with its keys, and programs that know it go on without it.
func TestDropIndex(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 20)
	elsewhere := define[account](t, another(t, db))
	want := bucket(t, ctx, db)
	for key := range want {
		if strings.HasPrefix(key, "account.index.owner.") || strings.HasPrefix(key, "account.unique.number.") {
			delete(want, key)
		}
	}
	var plan natsorm.AlterPlan
	ok(t, db.Alter(ctx, "account", natsorm.DropIndex("owner"), natsorm.DropIndex("balance"), natsorm.DryRun(&plan)))
	if len(plan.Changes) != 2 || plan.Changes[0] != (natsorm.PlannedChange{Change: "drop index owner", Catalogue: true, Remove: 20}) {
		t.Errorf("planned: %+v", plan)
	}
	if n := len(accounts.Schema().Indexes); n != 3 {
		t.Errorf("after a dry run there are %d indexes", n)
	}
	ok(t, db.Alter(ctx, "account", natsorm.DropIndex("Owner"), natsorm.DropIndex("number")))
	sameBucket(t, bucket(t, ctx, db), want)
	for name, m := range map[string]*natsorm.Model[account]{"its program": accounts, "another": elsewhere} {
		if found := must[[]*account](t)(m.FindAll(ctx, natsorm.Eq("owner", "o3"))); len(found) != 4 {
			t.Errorf("%s finds %d", name, len(found))
		}
		must[*account](t)(m.FindOne(ctx, natsorm.Eq("number", "7")))
		if s := m.Schema(); len(s.Indexes) != 1 || s.Indexes[0].Columns[0] != "balance" {
			t.Errorf("%s: %+v", name, s.Indexes)
		}
	}
	ok(t, elsewhere.Create(ctx, &account{ID: 100, Number: "7", Owner: "o3"})) // which is allowed now
	if n := must[int](t)(accounts.Count(ctx, natsorm.Eq("number", "7"))); n != 2 {
		t.Errorf("%d have the number", n)
	}
	// Declared again, it is built again, or refused.
	if _, err := natsorm.Define[account](ctx, db); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), `number "7"`) {
		t.Errorf("declared again: %v", err)
	}
	must[int](t)(accounts.Destroy(ctx, natsorm.Eq("id", 100)))
	again := define[account](t, db)
	if found := must[[]*account](t)(again.FindAll(ctx, natsorm.Eq("owner", "o3"))); len(found) != 4 {
		t.Errorf("by the new index there are %d", len(found))
	}
	if err := elsewhere.Create(ctx, &account{ID: 100, Number: "7"}); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("with the new index: %v", err)
	}
}

// Of several indexes of one column each goes by itself, and DropIndex says that all go.
func TestDropOneIndex(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	var log bytes.Buffer
	srv := serve(t, embedded.Config{Port: -1})
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{srv.URL()}, Bucket: "b", Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	t.Cleanup(func() { natsormtest.Prove(t, db); db.Close() })
	type part struct {
		ID   int64    `json:"id" orm:"primaryKey"`
		Code string   `json:"code" orm:"index,unique,ordered"`
		Name string   `json:"name" orm:"unique,fold,ordered"`
		Tags []string `json:"tags" orm:"index"`
	}
	parts := define[part](t, db)
	for i := range int64(200) { // of which 145 and 161 are in samples
		ok(t, parts.Create(ctx, &part{i, fmt.Sprintf("c%03d", i), fmt.Sprint("N", i), []string{"all", fmt.Sprint("t", i%4)}}))
	}
	left := func() string {
		t.Helper()
		var out []string
		for _, x := range must[[]natsorm.Schema](t)(db.Models(ctx))[0].Indexes {
			out = append(out, fmt.Sprintf("%s unique %v ordered %v fold %v %s", strings.Join(x.Columns, "-"), x.Unique, x.Ordered, x.Fold, x.Elements))
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	gone := func(prefixes ...string) {
		t.Helper()
		for key := range bucket(t, ctx, db) {
			for _, p := range prefixes {
				if strings.HasPrefix(key, p) {
					t.Errorf("%s is left", key)
				}
			}
		}
	}
	var plan natsorm.AlterPlan
	ok(t, db.Alter(ctx, "part", natsorm.DropIndex("code"), natsorm.DropOneIndex(natsorm.IndexSchema{Columns: []string{"code"}, Ordered: true}), natsorm.DryRun(&plan)))
	if c := plan.Changes[0]; c.Remove != 602 || c.Note != "these columns have 3 indexes, and all of them go: index code; unique code; ordered code; DropOneIndex names one" {
		t.Errorf("planned for all: %+v", c)
	}
	if want := (natsorm.PlannedChange{Change: "drop ordered code", Catalogue: true, Remove: 202}); plan.Changes[1] != want {
		t.Errorf("planned for one: %+v", plan.Changes[1])
	}
	log.Reset()
	ok(t, db.Alter(ctx, "part", natsorm.DropOneIndex(natsorm.IndexSchema{Columns: []string{"code"}, Ordered: true}), natsorm.DropOneIndex(natsorm.IndexSchema{Columns: []string{"Name"}, Unique: true, Fold: true})))
	if log.Len() > 0 {
		t.Errorf("the log has %s", &log)
	}
	if now := left(); now != `code unique false ordered false fold false 
code unique true ordered false fold false 
name unique false ordered true fold false 
tags unique false ordered false fold false string` {
		t.Errorf("left: %s", now)
	}
	gone("part.index./code", "part.unique.name")
	if err := parts.Create(ctx, &part{ID: 1000, Code: "c007", Name: "n7"}); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("the unique index of the same column: %v", err)
	}
	ok(t, parts.Create(ctx, &part{ID: 1000, Code: "c1000", Name: "n7"})) // which is allowed now
	if found := must[[]*part](t)(parts.FindAll(ctx, natsorm.OrderBy("-name"), natsorm.Limit(3))); len(found) != 3 || found[0].Name != "n7" {
		t.Errorf("by the ordered index of the other column: %+v", found)
	}
	ok(t, db.Alter(ctx, "part", natsorm.DropOneIndex(natsorm.IndexSchema{Columns: []string{"name"}, Unique: true})))
	if !strings.Contains(log.String(), "no index of this kind") {
		t.Errorf("the log has %q", &log)
	}
	err := db.Alter(ctx, "part", natsorm.DropColumn("name"))
	if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "ordered of [name]") {
		t.Errorf("a column of an ordered index: %v", err)
	}
	if err := db.Alter(ctx, "part", natsorm.ConvertColumn("name", natsorm.Time, nil)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("the type of a column of an ordered index: %v", err)
	}
	ok(t, db.Alter(ctx, "part", natsorm.DropIndex("code"), natsorm.DropIndex("tags"), natsorm.DropIndex("name"), natsorm.DropColumn("name")))
	gone("part.index.", "part.unique.", "part.head.")
	_, err = natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "both", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "n", Type: natsorm.Int}},
		Indexes: []natsorm.IndexSchema{{Columns: []string{"n"}, Unique: true, Ordered: true}}})
	if !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "declare two indexes") {
		t.Errorf("an index that is unique and ordered: %v", err)
	}
}

// What cannot be dropped is refused, and what is not there is said.
func TestDropIndexRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	var log bytes.Buffer
	srv := serve(t, embedded.Config{Port: -1})
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{srv.URL()}, Bucket: "b", Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	t.Cleanup(func() { db.Close() })
	define[account](t, db)
	for what, err := range map[string]struct{ got, want error }{
		"a model that is not there":  {db.Alter(ctx, "Nobody", natsorm.DropIndex("a")), natsorm.ErrNotFound},
		"a column that is not there": {db.Alter(ctx, "account", natsorm.DropIndex("colour")), natsorm.ErrInvalid},
		"no column":                  {db.Alter(ctx, "account", natsorm.DropIndex()), natsorm.ErrInvalid},
	} {
		if !errors.Is(err.got, err.want) {
			t.Errorf("%s: %v", what, err.got)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log has %s", &log)
	}
	ok(t, db.Alter(ctx, "account", natsorm.DropIndex("owner", "number")))
	if !strings.Contains(log.String(), "no index of these columns") {
		t.Errorf("the log has %q", &log)
	}
}

// Two programs write, change and look while an index is dropped and declared again: no look
// misses a record, and nothing waits.
func TestDropIndexBesideOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("keeps the processors busy while a schema changes")
	}
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		dbs := []*natsorm.DB{db, another(t, db)}
		models := []*natsorm.Model[account]{define[account](t, dbs[0]), define[account](t, dbs[1])}
		const stable = 200
		fill(t, models[0], stable)
		var stop atomic.Bool
		var wg sync.WaitGroup
		var slowest atomic.Int64
		for w := range 8 {
			m := models[w%2]
			wg.Go(func() {
				for i := w; !stop.Load(); i += 8 {
					began := time.Now()
					switch w {
					case 0, 1:
						if found := must[[]*account](t)(m.FindAll(ctx, natsorm.Eq("owner", fmt.Sprint("o", i%5)))); len(found) < stable/5 {
							t.Errorf("%d are found", len(found))
						}
					case 2, 3:
						seen := map[int]bool{}
						for a, err := range m.Each(ctx, natsorm.Eq("owner", "o1")) {
							ok(t, err)
							if seen[a.ID] {
								t.Errorf("%d comes twice", a.ID)
							}
							seen[a.ID] = true
						}
						for id := 2; id <= stable; id += 5 {
							if !seen[id] {
								t.Errorf("%d is missed", id)
							}
						}
					case 4:
						if n := must[int](t)(m.Update(ctx, natsorm.Set{"balance": i}, natsorm.Eq("owner", "o2"))); n < stable/5 {
							t.Errorf("%d were changed", n)
						}
					case 5:
						ok(t, dbs[w%2].Transaction(ctx, func(ctx context.Context) error {
							found, err := m.FindAll(ctx, natsorm.Eq("owner", "o4"))
							if err == nil && len(found) < stable/5 {
								t.Errorf("in a transaction %d are found", len(found))
							}
							return err
						}))
					default:
						id := 1000 + i
						ok(t, m.Create(ctx, &account{ID: id, Number: fmt.Sprint(id), Owner: "o0"}))
						if i%2 == 0 {
							must[int](t)(m.Destroy(ctx, natsorm.Eq("id", id)))
						}
					}
					if w != 5 { // without the index it is a scan in a transaction, which runs again while others write
						slowest.Store(max(slowest.Load(), int64(time.Since(began))))
					}
				}
			})
		}
		for range testsize.Pick(1, 2, 4) {
			ok(t, db.Alter(ctx, "account", natsorm.DropIndex("owner")))
			define[account](t, db)
		}
		stop.Store(true)
		wg.Wait()
		t.Logf("the slowest call took %v", time.Duration(slowest.Load()))
		natsormtest.Prove(t, db)
	})
}

// A reader looks an index up, and stalls before it has the answer, until the index is empty:
// it finds the record in another way.
func TestReadThatStallsDuringADropOfItsIndex(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("calls that are held back for seconds")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		d.create(t, memberV1{ID: 1, Team: "red", Badge: "b1"})
		d.create(t, memberV1{ID: 2, Team: "blue", Badge: "b2"})
		must[[]*memberV1](t)(d.old.FindAll(ctx, natsorm.Eq("team", "red"))) // by the index
		d.proxy.Delay(3 * time.Second)
		sent := d.sent(t)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if found, err := d.old.FindAll(ctx, natsorm.Eq("team", "red")); err != nil || len(found) == 0 {
					t.Errorf("%d are found: %v", len(found), err)
				}
			})
			wg.Go(func() {
				if found, err := d.old.FindOne(ctx, natsorm.Eq("badge", "b1")); err != nil || found.ID != 1 {
					t.Errorf("by its badge: %v", err)
				}
			})
			wg.Go(func() {
				if found, err := natsorm.FindAllInto[memberV1](ctx, d.old); err != nil || len(found) != 2 {
					t.Errorf("%d of 2 are there: %v", len(found), err)
				}
			})
			wg.Go(func() {
				w := must[*natsorm.Watcher[memberV1]](t)(d.old.Watch(ctx))
				w.Stop()
			})
			wg.Go(func() {
				if n, err := d.old.Update(ctx, natsorm.Set{"team": "red"}, natsorm.Or(natsorm.Eq("team", "red"), natsorm.Eq("id", 2))); err != nil || n != 2 {
					t.Errorf("%d were changed: %v", n, err)
				}
			})
		}
		sent(25)
		ok(t, d.newDB.Alter(ctx, "member", natsorm.DropIndex("team"), natsorm.DropIndex("badge")))
		d.proxy.Delay(0)
		wg.Wait()
		natsormtest.Prove(t, d.newDB) // no consumer of a watch is left
		if n := must[int](t)(members.Count(ctx)); n != 2 {
			t.Errorf("there are %d", n)
		}
	})
}

// A program that does not hear of anything looks an index up all the time, while it is dropped.
func TestReadsThatDoNotHearOfADrop(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("the wait of a change, on both kinds of buckets")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		define[memberV2](t, d.newDB, natsorm.Name("member"))
		d.create(t, memberV1{ID: 1, Team: "red", Badge: "b1"})
		d.proxy.Lose(func(subject string, answer bool) bool {
			return answer && strings.HasPrefix(subject, "$KV.deploy._schema.")
		})
		var stop atomic.Bool
		done := make(chan int)
		go func() {
			n := 0
			for ; !stop.Load(); n++ {
				if found, err := d.old.FindAll(ctx, natsorm.Eq("team", "red")); err != nil || len(found) != 1 {
					t.Errorf("%d are found: %v", len(found), err)
				}
			}
			done <- n
		}()
		ok(t, d.newDB.Alter(ctx, "member", natsorm.DropIndex("team")))
		for len(d.old.Schema().Indexes) > 1 {
			must[int](t)(d.old.Count(ctx))
		}
		stop.Store(true)
		if n := <-done; n == 0 {
			t.Error("it has not looked")
		}
	})
}

// A program puts the entries of a record and stalls. Meanwhile the index is dropped and declared
// again. When it goes on, its record is in the new one.
func TestWriteThatStallsWhileAnIndexIsMadeAnew(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("three waits of changes")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 5)
	stalling := fault.StallBefore(fault.Phased(below(t, ctx, db)), func(op store.Op) bool { return op.Key == "account.shard_7.7" })
	other := process(t, ctx, stalling, "account")
	ended := make(chan error)
	go func() { ended <- create(ctx, other, 7, "Ann") }()
	<-stalling.Stalled()
	ok(t, db.Alter(ctx, "account", natsorm.DropIndex("owner"), natsorm.DropIndex("number")))
	define[account](t, db)
	if _, err := db.KV().Get(ctx, "account.index.owner.Ann.7"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("the entry is there: %v", err)
	}
	stalling.Resume()
	ok(t, <-ended)
	for _, where := range []natsorm.Condition{natsorm.Eq("owner", "Ann"), natsorm.Eq("number", "7")} {
		if n := must[int](t)(accounts.Count(ctx, where)); n != 1 {
			t.Errorf("by %v there are %d", where, n)
		}
	}
}

// Broken off, a drop is ended by another one, or by a Define of the index, which builds it anew.
func TestDropIndexBrokenOff(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a wait of a change in each case")
	}
	for after := range 5 {
		for _, anew := range []bool{false, true} {
			if testbed.Race && (after != 2 || !anew) {
				continue
			}
			t.Run(fmt.Sprint(after, anew), func(t *testing.T) {
				t.Parallel()
				ctx := within(t)
				db := natsormtest.New(t)
				accounts := define[account](t, db)
				fill(t, accounts, 20)
				crashing := fault.CrashAfter(below(t, ctx, db), after)
				if _, _, err := maintenance.DropIndex(ctx, crashing, "account", "", []string{"owner"}); err == nil == crashing.Crashed() {
					t.Fatalf("broken off: %v", err)
				}
				if anew {
					accounts = define[account](t, db)
				} else {
					ok(t, db.Alter(ctx, "account", natsorm.DropIndex("owner")))
				}
				_, err := db.KV().Get(ctx, "account.index.owner.o1.2")
				if there := !errors.Is(err, jetstream.ErrKeyNotFound); there != anew {
					t.Errorf("the entry is there: %v", there)
				}
				if found := must[[]*account](t)(accounts.FindAll(ctx, natsorm.Eq("owner", "o1"))); len(found) != 4 {
					t.Errorf("%d are found", len(found))
				}
			})
		}
	}
}
