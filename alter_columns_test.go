package natsorm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// Two versions of a program: the new one calls email mail, and visits count.
type accountV1 struct {
	ID      int64   `json:"id" orm:"primaryKey"`
	Email   string  `json:"email" orm:"unique"`
	Visits  int64   `json:"visits"`
	City    *string `json:"city,omitempty" orm:"index"`
	Version uint64  `json:"version" orm:"version"`
}

type accountV2 struct {
	ID      int64   `json:"id" orm:"primaryKey"`
	Mail    string  `json:"mail" orm:"unique"`
	Count   int64   `json:"count"`
	City    *string `json:"city,omitempty" orm:"index"`
	Version uint64  `json:"version" orm:"version"`
}

var renaming = []natsorm.Alteration{natsorm.RenameColumn("email", "mail"), natsorm.RenameColumn("visits", "count")}

// members reports which members the records of a model have in the bucket, and how many have each.
func members(t *testing.T, db *natsorm.DB, model string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for key, doc := range bucket(t, within(t), db) {
		if strings.HasPrefix(key, model+".shard_") {
			var r map[string]any
			ok(t, json.Unmarshal([]byte(doc), &r))
			for name := range r {
				out[name]++
			}
		}
	}
	return out
}

// kinds runs a test on buckets whose records are written phased, and in batches.
func kinds(t *testing.T, test func(t *testing.T, db *natsorm.DB)) {
	for name, open := range map[string]func(testing.TB) *natsorm.DB{"in memory": natsormtest.New, "in files": onFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if (testing.Short() || testbed.Race) && name == "in files" {
				t.Skip("the other kind of writes takes as long again")
			}
			test(t, open(t))
		})
	}
}

// While columns are renamed, programs of the old and of the new declaration write, read and look
// up. No increment of either is lost, and nobody misses a record.
func TestRenameColumn(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, db *natsorm.DB) {
		ctx := within(t)
		n := testsize.Pick(100, 200, 2000)
		old := define[accountV1](t, db, natsorm.Name("account"))
		other := define[accountV1](t, another(t, db), natsorm.Name("account"))
		newDB := another(t, db)
		all := make([]*accountV1, n)
		for i := range all {
			all[i] = &accountV1{ID: int64(i), Email: fmt.Sprint("e", i), City: ptr(fmt.Sprint("c", i%7))}
		}
		ok(t, old.BulkCreate(ctx, all))
		var added [3]atomic.Int64
		var moved atomic.Int64
		var stop atomic.Bool
		var wg sync.WaitGroup
		worker := func(kind int, do func(i int) error) {
			wg.Go(func() {
				for i := kind; !stop.Load(); i += 3 {
					if err := do(i % n); err != nil {
						t.Errorf("worker %d: %v", kind, err)
						return
					}
					added[kind].Add(1)
					testsize.Breathe()
				}
			})
		}
		for kind, m := range []*natsorm.Model[accountV1]{old, other} {
			worker(kind, func(i int) error {
				_, err := m.Increment(ctx, natsorm.Set{"visits": 1}, natsorm.Eq("email", fmt.Sprint("e", i)))
				if err != nil {
					return err
				}
				found, err := m.FindOne(ctx, natsorm.Eq("email", fmt.Sprint("e", i)), natsorm.Gte("visits", 0))
				if err == nil && (found.ID != int64(i) || found.Email != fmt.Sprint("e", i)) {
					err = fmt.Errorf("%d is %+v", i, found)
				}
				return err
			})
		}
		for w, in := range []*natsorm.DB{db, another(t, db)} { // one visit goes from a record to another one
			m := define[accountV1](t, in, natsorm.Name("account"))
			wg.Go(func() {
				for i := w; !stop.Load(); i += 2 {
					err := in.Transaction(ctx, func(ctx context.Context) error {
						from, err := m.FindByPK(ctx, i%n)
						if err != nil || from.Visits == 0 {
							return err
						}
						to, err := m.FindOne(ctx, natsorm.Eq("email", fmt.Sprint("e", (i*7+1)%n)))
						if err != nil || from.ID == to.ID {
							return err
						}
						from.Visits, to.Visits = from.Visits-1, to.Visits+1
						if err := m.Save(ctx, from); err != nil {
							return err
						}
						return m.Save(ctx, to)
					})
					if err != nil {
						t.Errorf("transaction: %v", err)
						return
					}
					moved.Add(1)
					testsize.Breathe()
				}
			})
		}
		var members2 *natsorm.Model[accountV2]
		begin := sync.OnceFunc(func() {
			members2 = define[accountV2](t, newDB, natsorm.Name("account"))
			worker(2, func(i int) error { // a whole record is read, changed and saved
				for {
					a, err := members2.FindOne(ctx, natsorm.Eq("mail", fmt.Sprint("e", i)))
					if err != nil {
						return err
					}
					a.Count++
					if err = members2.Save(ctx, a); !errors.Is(err, natsorm.ErrConflict) {
						return err
					}
				}
			})
		})
		ok(t, db.Alter(ctx, "account", append(renaming, natsorm.AlterProgress(func(change string, done, _ int) {
			if change == "rename column visits to count" {
				begin() // the catalogue knows both names of both columns
			}
		}))...))
		stop.Store(true)
		wg.Wait()
		for _, m := range []interface {
			Sum(context.Context, string, ...natsorm.Query) (float64, error)
		}{old, other, members2} {
			for _, name := range []string{"visits", "count"} {
				if sum := must[float64](t)(m.Sum(ctx, name)); int64(sum) != added[0].Load()+added[1].Load()+added[2].Load() {
					t.Errorf("the sum of %s is %v, of %d %d %d", name, sum, added[0].Load(), added[1].Load(), added[2].Load())
				}
			}
		}
		t.Log(added[0].Load(), added[1].Load(), added[2].Load(), moved.Load())
		if got := members(t, db, "account"); got["email"]+got["visits"] != 0 || got["mail"] != n || got["count"] != n {
			t.Errorf("the records have %v", got)
		}
	})
}

// Every call of a program that declares a former name does what it did, and so does every call of
// one that declares the new one: before the records are rewritten, and after.
func TestRenamedColumnInEveryCall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	kinds(t, func(t *testing.T, db *natsorm.DB) {
		ctx := within(t)
		old := define[accountV1](t, db, natsorm.Name("account"))
		oldSchema := natsorm.Schema{Name: "account", Columns: []natsorm.ColumnSchema{
			{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "email", Type: natsorm.String, Unique: true}, {Name: "visits", Type: natsorm.Int}}}
		maps := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, another(t, db), oldSchema))
		watch := must[*natsorm.Watcher[accountV1]](t)(old.Watch(ctx, natsorm.Eq("id", 3), natsorm.Columns("visits")))
		defer watch.Stop()
		ok(t, old.BulkCreate(ctx, []*accountV1{{ID: 1, Email: "a"}, {ID: 2, Email: "b", Visits: 2}, {ID: 3, Email: "c", Visits: 3}}))
		try := func(stage string) {
			t.Helper()
			var renamed []natsorm.FormerName
			for _, m := range []*natsorm.Model[accountV1]{old, define[accountV1](t, another(t, db), natsorm.Name("account"), natsorm.Strict())} {
				renamed = m.Schema().Former
				a := must[*accountV1](t)(m.FindByPK(ctx, 3))
				if a.Email != "c" || a.Visits < 3 {
					t.Errorf("%s: FindByPK: %+v", stage, a)
				}
				a.Visits++
				ok(t, m.Save(ctx, a))
				a.Visits++
				must[bool](t)(m.Upsert(ctx, &accountV1{ID: 0, Email: "c", Visits: a.Visits}, natsorm.OnConflict("email")))
				must[int](t)(m.Increment(ctx, natsorm.Set{"visits": 1}, natsorm.Eq("email", "c")))
				v := must[*accountV1](t)(m.UpdateOne(ctx, natsorm.Set{"visits": a.Visits + 2}, natsorm.Where{"email": "c", "visits": a.Visits + 1}))
				if v.Visits != a.Visits+2 || v.Email != "c" {
					t.Errorf("%s: UpdateOne: %+v", stage, v)
				}
				found, made, err := m.FindOrCreate(ctx, natsorm.Where{"email": "c"}, nil)
				if err != nil || made || found.ID != 3 {
					t.Errorf("%s: FindOrCreate: %+v, %v, %v", stage, found, made, err)
				}
				if err := m.Create(ctx, &accountV1{ID: 9, Email: "b"}); !errors.Is(err, natsorm.ErrUnique) || strings.Contains(err.Error(), "declare") {
					t.Errorf("%s: Create: %v", stage, err)
				}
				ok(t, m.Create(ctx, &accountV1{ID: 4, Email: "d", Visits: 1}))
				sorted := must[[]*accountV1](t)(m.FindAll(ctx, natsorm.OrderBy("-visits"), natsorm.Select("id", "visits")))
				if len(sorted) != 4 || sorted[0].ID != 3 || sorted[0].Visits != v.Visits || sorted[0].Email != "" {
					t.Errorf("%s: Select: %+v", stage, sorted)
				}
				type row struct {
					Visits int64 `json:"visits"`
				}
				if rows := must[[]row](t)(natsorm.FindAllInto[row](ctx, m, natsorm.Eq("id", 3))); len(rows) != 1 || rows[0].Visits != v.Visits {
					t.Errorf("%s: FindAllInto: %+v", stage, rows)
				}
				type group struct {
					Email string  `json:"email"`
					Sum   float64 `json:"sum_visits"`
				}
				groups := must[[]group](t)(natsorm.GroupByInto[group](ctx, m, []string{"email"}, []natsorm.Aggregate{natsorm.SumOf("visits")}, natsorm.Eq("id", 3)))
				if len(groups) != 1 || groups[0] != (group{"c", float64(v.Visits)}) {
					t.Errorf("%s: GroupByInto: %+v", stage, groups)
				}
				where := must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"visits": {"gte": 3}}`)))
				if n := must[int](t)(m.Count(ctx, where)); n != 1 {
					t.Errorf("%s: ParseWhere selects %d", stage, n)
				}
				must[int](t)(m.Destroy(ctx, natsorm.Eq("email", "d")))
			}
			r := must[natsorm.Record](t)(value1(maps.FindByPK(ctx, 3)))
			if r["email"] != "c" {
				t.Errorf("%s: the Record is %v", stage, r)
			}
			r["visits"] = r["visits"].(int64) + 1
			ok(t, maps.Save(ctx, &r))
			err := db.Transaction(ctx, func(ctx context.Context) error {
				a, err := old.FindOne(ctx, natsorm.Eq("email", "c"))
				if err != nil {
					return err
				}
				a.Email = "x"
				if err := old.Save(ctx, a); err != nil {
					return err
				}
				if a, err = old.FindOne(ctx, natsorm.Eq("email", "x")); err != nil {
					return err
				}
				a.Email, a.Visits = "c", a.Visits+1
				return old.Save(ctx, a)
			})
			if err != nil {
				t.Errorf("%s: Transaction: %v", stage, err)
			}
			last := must[*accountV1](t)(old.FindByPK(ctx, 3))
			for c := range watch.Changes() {
				if c.After.Email != "c" || c.Op == natsorm.Updated && !(fmt.Sprint(c.Columns) == "[visits]" || fmt.Sprint(c.Columns) == "[visits city]") {
					t.Errorf("%s: the watch delivers %v %+v", stage, c.Columns, c.After)
				}
				if c.After.Visits == last.Visits {
					break
				}
			}
			t.Log(stage, renamed, last.Visits)
		}
		try("before")
		short, cancel := context.WithCancel(ctx)
		defer cancel()
		for i, change := range renaming { // broken off before a record is rewritten
			err := another(t, db).Alter(short, "account", change, natsorm.AlterProgress(func(string, int, int) {
				if i == 1 {
					cancel()
				}
			}))
			if i == 1 && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		try("broken off")
		ok(t, db.Alter(ctx, "account", renaming...))
		try("after")
		young := define[accountV2](t, another(t, db), natsorm.Name("account"), natsorm.Strict())
		a := must[*accountV2](t)(young.FindOne(ctx, natsorm.Eq("mail", "c")))
		a.Count++
		ok(t, young.Save(ctx, a))
		try("beside a new one")
		r := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "account"))
		if got := *must[*natsorm.Record](t)(r.FindByPK(ctx, 3)); got["mail"] != "c" || got["count"] == nil {
			t.Errorf("the Record is %v", got)
		}
		if got := members(t, db, "account"); got["email"]+got["visits"] != 0 || got["mail"] != 3 {
			t.Errorf("the records have %v", got)
		}
	})
}

// value1 is what a pointer points to.
func value1[T any](p *T, err error) (v T, _ error) {
	if err == nil {
		v = *p
	}
	return v, err
}

// What is under way while columns are renamed, and comes later than everything else, has the new
// names when its writer is told that it is done, and has lost nothing.
func TestWritesThatTakeLongerThanARename(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("calls that are held back for seconds")
	}
	for name, cfg := range map[string]embedded.Config{"in memory": {Port: -1}, "in files": {Port: -1, Dir: "x", Sync: embedded.SyncInterval}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if cfg.Dir != "" {
				cfg.Dir = t.TempDir()
			}
			ctx := within(t)
			srv := serve(t, cfg)
			newDB := natsormtest.Open(t, srv, "deploy")
			proxy := testbed.StartLossyProxy(t, srv.URL())
			nc := must[*nats.Conn](t)(nats.Connect(proxy.URL()))
			t.Cleanup(nc.Close)
			oldDB := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "deploy"}))
			t.Cleanup(func() { oldDB.Close() })
			old := define[accountV1](t, oldDB, natsorm.Name("account"))
			const n = 10
			for i := range int64(n) {
				ok(t, old.Create(ctx, &accountV1{ID: i, Email: fmt.Sprint("e", i), Visits: 1}))
			}
			proxy.Delay(5 * time.Second)
			before := nc.Stats().OutMsgs
			var wg sync.WaitGroup
			for i := range int64(n) {
				wg.Go(func() { // it is rewritten, by the pass and by a new program, before this reads it
					if _, err := old.Increment(ctx, natsorm.Set{"visits": 1}, natsorm.Eq("id", i)); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := old.Create(ctx, &accountV1{ID: n + i, Email: fmt.Sprint("f", i), Visits: 1}); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() { // which another record has got in between
					err := old.Create(ctx, &accountV1{ID: 100 + i, Email: fmt.Sprint("g", i), Visits: 1})
					if !errors.Is(err, natsorm.ErrUnique) {
						t.Errorf("a value that is taken: %v", err)
					}
				})
			}
			ok(t, testbed.Until(ctx, func(context.Context) error {
				if got := nc.Stats().OutMsgs - before; got < 3*n {
					return fmt.Errorf("%d messages", got)
				}
				return nil
			}))
			ok(t, newDB.Alter(ctx, "account", renaming[0]))
			ok(t, newDB.Alter(ctx, "account", renaming[1]))
			young := define[accountV2](t, newDB, natsorm.Name("account"))
			for i := range int64(n) {
				must[int](t)(young.Increment(ctx, natsorm.Set{"count": 10}, natsorm.Eq("id", i)))
				ok(t, young.Create(ctx, &accountV2{ID: 200 + i, Mail: fmt.Sprint("g", i)}))
			}
			if got := must[int](t)(young.Count(ctx)); got != 2*n {
				t.Fatalf("%d of the writes came before the change", got-2*n)
			}
			proxy.Delay(0)
			wg.Wait()
			for i := range int64(n) {
				if a := must[*accountV2](t)(young.FindOne(ctx, natsorm.Eq("mail", fmt.Sprint("e", i)))); a.Count != 12 || a.ID != i {
					t.Errorf("%d has %d", i, a.Count)
				}
				if a := must[*accountV2](t)(young.FindOne(ctx, natsorm.Eq("mail", fmt.Sprint("f", i)))); a.Count != 1 {
					t.Errorf("f%d has %d", i, a.Count)
				}
				if a := must[*accountV2](t)(young.FindOne(ctx, natsorm.Eq("mail", fmt.Sprint("g", i)))); a.ID != 200+i {
					t.Errorf("g%d is of %d", i, a.ID)
				}
			}
			if got := members(t, newDB, "account"); got["email"]+got["visits"] != 0 {
				t.Errorf("the records have %v", got)
			}
		})
	}
}

// A stream that began before a rename goes on through it, under the names that it knows.
func TestEachDuringARename(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("many waits of changes")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[accountV1](t, db, natsorm.Name("account"))
	const n = 3000
	all := make([]*accountV1, n)
	for i := range all {
		all[i] = &accountV1{ID: int64(i), Email: fmt.Sprint("e", i), Visits: 5}
	}
	ok(t, old.BulkCreate(ctx, all))
	seen := 0
	other := another(t, db)
	for a, err := range old.Each(ctx, natsorm.Eq("visits", 5)) {
		ok(t, err)
		if seen++; seen == 1 {
			ok(t, other.Alter(ctx, "account", renaming...))
			ok(t, other.Alter(ctx, "account", natsorm.RenameColumn("mail", "address")))
		}
		if a.Email != fmt.Sprint("e", a.ID) || a.Visits != 5 {
			t.Fatalf("%+v", a)
		}
	}
	if seen != n {
		t.Errorf("%d of %d were seen", seen, n)
	}
	if a := must[*accountV1](t)(old.FindOne(ctx, natsorm.Eq("email", "e7"))); a.Email != "e7" {
		t.Errorf("%+v", a)
	}
	ok(t, other.Alter(ctx, "account", natsorm.RenameColumn("address", "email"), natsorm.RenameColumn("count", "visits")))
	if got := members(t, db, "account"); got["email"] != n || got["visits"] != n || len(got) != 3 {
		t.Errorf("after it was renamed back, the records have %v", got)
	}
	if a := must[*accountV1](t)(old.FindOne(ctx, natsorm.Eq("email", "e7"))); a.Email != "e7" || a.Visits != 5 {
		t.Errorf("%+v", a)
	}
}

// Wherever a change of a column is broken off, records are right for everybody, and another
// process completes it.
func TestAlterBrokenOff(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	for name, changes := range map[string][]natsorm.Alteration{
		"rename": renaming,
		"drop":   {natsorm.DropColumn("visits")},
	} {
		for at := range 4 {
			if testbed.Race && at != 2 {
				continue
			}
			t.Run(fmt.Sprint(name, at), func(t *testing.T) {
				t.Parallel()
				ctx := within(t)
				db := natsormtest.New(t)
				old := define[accountV1](t, db, natsorm.Name("account"))
				const n = 2500
				all := make([]*accountV1, n)
				for i := range all {
					all[i] = &accountV1{ID: int64(i), Email: fmt.Sprint("e", i), Visits: 7}
				}
				ok(t, old.BulkCreate(ctx, all))
				short, cancel := context.WithCancel(ctx)
				calls := 0
				err := db.Alter(short, "account", append(changes, natsorm.AlterProgress(func(string, int, int) {
					if calls++; calls == at+1 {
						cancel()
					}
				}))...)
				cancel()
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				t.Log(members(t, db, "account"))
				for _, id := range []int64{0, n / 2, n - 1} {
					a := must[*accountV1](t)(old.FindOne(ctx, natsorm.Eq("email", fmt.Sprint("e", id))))
					if name == "rename" && a.Visits != 7 || a.Email != fmt.Sprint("e", id) {
						t.Errorf("%+v", a)
					}
					ok(t, old.Save(ctx, a))
				}
				ok(t, another(t, db).Alter(ctx, "account", changes...))
				got := members(t, db, "account")
				if got["visits"] != 0 || name == "rename" && (got["email"] != 0 || got["mail"] != n || got["count"] != n) {
					t.Errorf("the records have %v", got)
				}
				if name == "rename" {
					if sum := must[float64](t)(old.Sum(ctx, "visits")); sum != 7*n {
						t.Errorf("the sum is %v", sum)
					}
				}
			})
		}
	}
}

// A dropped column is gone from the records; programs that declare it are told, go on, and bring
// nothing of it back. Its name is not that of a new column until it is free.
func TestDropColumn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	kinds(t, func(t *testing.T, db *natsorm.DB) {
		ctx := within(t)
		var log strings.Builder
		var mu sync.Mutex
		oldDB := must[*natsorm.DB](t)(natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: db.KV().Bucket(),
			Logger: slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return log.Write(p) }), nil))}))
		t.Cleanup(func() { oldDB.Close() })
		idleDB := another(t, db)
		old, idle := define[accountV1](t, oldDB, natsorm.Name("account")), define[accountV1](t, idleDB, natsorm.Name("account"))
		opened := must[*natsorm.Model[natsorm.Record]](t)(oldDB.Model(ctx, "account"))
		for i := range int64(20) {
			ok(t, old.Create(ctx, &accountV1{ID: i, Email: fmt.Sprint("e", i), Visits: i}))
		}
		var plan natsorm.AlterPlan
		drop := natsorm.DropColumn("visits")
		ok(t, db.Alter(ctx, "account", drop, natsorm.DryRun(&plan)))
		if plan.Changes[0] != (natsorm.PlannedChange{Change: "drop column visits", Catalogue: true, Read: 20, Write: 20}) {
			t.Errorf("the plan is %+v", plan)
		}
		if got := members(t, db, "account"); got["visits"] != 20 {
			t.Errorf("a dry run has changed %v", got)
		}
		ok(t, db.Alter(ctx, "account", drop))
		check := func() {
			t.Helper()
			if got := members(t, db, "account"); got["visits"] != 0 {
				t.Errorf("the records have %v", got)
			}
		}
		check()
		a := must[*accountV1](t)(old.FindByPK(ctx, 7))
		if a.Visits != 0 {
			t.Errorf("%+v", a)
		}
		a.Visits = 99
		ok(t, old.Save(ctx, a))
		ok(t, old.Create(ctx, &accountV1{ID: 50, Email: "new", Visits: 3}))
		check()
		mu.Lock()
		if n := strings.Count(log.String(), "were dropped by Alter"); n == 0 || n > 2 || !strings.Contains(log.String(), "visits") {
			t.Errorf("the Logger got %q", log.String())
		}
		mu.Unlock()
		if _, err := old.Count(ctx, natsorm.Eq("visits", 1)); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "dropped") {
			t.Errorf("a query: %v", err)
		}
		if _, err := old.Update(ctx, natsorm.Set{"visits": 1}, natsorm.All()); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("an update: %v", err)
		}
		r := natsorm.Record{"id": 60, "email": "map", "visits": 1}
		if err := opened.Create(ctx, &r); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "dropped") {
			t.Errorf("a Record: %v", err)
		}
		delete(r, "visits")
		ok(t, opened.Create(ctx, &r))
		if _, err := natsorm.Define[accountV1](ctx, another(t, db), natsorm.Name("account")); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "FreeName") {
			t.Errorf("Define: %v", err)
		}
		ok(t, db.Alter(ctx, "account", drop))
		type again struct {
			ID     int64  `json:"id" orm:"primaryKey"`
			Email  string `json:"email" orm:"unique"`
			Visits string `json:"visits"`
		}
		ok(t, db.Alter(ctx, "account", natsorm.FreeName("visits")))
		ok(t, db.Alter(ctx, "account", natsorm.FreeName("visits")))
		young := define[again](t, another(t, db), natsorm.Name("account"))
		ok(t, young.Create(ctx, &again{ID: 70, Email: "again", Visits: "many"}))
		for _, m := range []*natsorm.Model[accountV1]{old, idle} { // which would write numbers there
			if err := m.Create(ctx, &accountV1{ID: 80, Email: "x"}); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "visits") {
				t.Errorf("a program that declares it as it was: %v", err)
			}
		}
		type later struct {
			ID     int64  `json:"id" orm:"primaryKey"`
			Email  string `json:"email" orm:"unique"`
			Visits string `json:"visits" orm:"index"`
		}
		define[later](t, another(t, db), natsorm.Name("account"))
		if a := must[*again](t)(young.FindOne(ctx, natsorm.Eq("visits", "many"))); a.ID != 70 {
			t.Errorf("%+v", a)
		}
	})
}

// writer is an io.Writer.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A forgotten name is refused wherever a program declares it.
func TestForgetName(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[accountV1](t, db, natsorm.Name("account"))
	ok(t, old.Create(ctx, &accountV1{ID: 1, Email: "a", Visits: 1}))
	if err := db.Alter(ctx, "account", natsorm.ForgetName("email")); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a name that is no former one: %v", err)
	}
	ok(t, db.Alter(ctx, "account", renaming...))
	ok(t, old.Create(ctx, &accountV1{ID: 2, Email: "b", Visits: 1}))
	if err := db.Alter(ctx, "account", natsorm.FreeName("email")); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "ForgetName") {
		t.Errorf("a name that programs may declare: %v", err)
	}
	ok(t, db.Alter(ctx, "account", natsorm.ForgetName("email"), natsorm.ForgetName("visits")))
	if err := old.Create(ctx, &accountV1{ID: 3, Email: "c"}); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "mail") {
		t.Errorf("a call: %v", err)
	}
	if _, err := natsorm.Define[accountV1](ctx, another(t, db), natsorm.Name("account")); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "mail") {
		t.Errorf("Define: %v", err)
	}
	young := define[accountV2](t, another(t, db), natsorm.Name("account"))
	if _, err := young.Count(ctx, natsorm.Eq("email", "a")); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "mail") {
		t.Errorf("a query: %v", err)
	}
	if a := must[*accountV2](t)(young.FindOne(ctx, natsorm.Eq("mail", "b"))); a.Count != 1 {
		t.Errorf("%+v", a)
	}
	ok(t, db.Alter(ctx, "account", natsorm.FreeName("email")))
	type more struct {
		ID    int64  `json:"id" orm:"primaryKey"`
		Mail  string `json:"mail" orm:"unique"`
		Email []byte `json:"email"`
	}
	m := define[more](t, another(t, db), natsorm.Name("account"))
	ok(t, m.Create(ctx, &more{ID: 5, Mail: "m", Email: []byte("x")}))
	if a := must[*more](t)(m.FindByPK(ctx, 5)); a.Mail != "m" || string(a.Email) != "x" {
		t.Errorf("%+v", a)
	}
}

// What cannot be altered is refused, and says what to do.
func TestAlterRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	m := define[person](t, db)
	ok(t, m.Create(ctx, &person{ID: 1, Name: "n", Email: "e"}))
	must[uint64](t)(db.KV().Put(ctx, "person.shard_2.2", []byte(`{"id":2,"name":"x","email":"y","foreign":1}`)))
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	defineNode[nodeUser](t, db, natsorm.Name("User"))
	for name, c := range map[string]struct {
		model  string
		change natsorm.Alteration
		want   error
		text   string
	}{
		"drop nothing":             {"person", natsorm.DropColumn("nobody"), natsorm.ErrInvalid, "the columns of person are"},
		"drop the key":             {"person", natsorm.DropColumn("id"), natsorm.ErrInvalid, "primary key"},
		"drop an indexed column":   {"person", natsorm.DropColumn("name"), natsorm.ErrInvalid, "DropIndex"},
		"drop a role":              {"person", natsorm.DropColumn("updated"), natsorm.ErrInvalid, "updatedAt"},
		"drop of nobody":           {"nobody", natsorm.DropColumn("x"), natsorm.ErrNotFound, "nobody"},
		"rename nothing":           {"person", natsorm.RenameColumn("nobody", "x"), natsorm.ErrInvalid, "the columns of person are"},
		"rename the key":           {"person", natsorm.RenameColumn("id", "x"), natsorm.ErrInvalid, "primary key"},
		"rename to a column":       {"person", natsorm.RenameColumn("visits", "extra"), natsorm.ErrInvalid, "a column already"},
		"rename to itself":         {"person", natsorm.RenameColumn("visits", "visits"), natsorm.ErrInvalid, "a column already"},
		"rename to a reserved one": {"person", natsorm.RenameColumn("visits", "_x"), natsorm.ErrSchema, "reserved"},
		"rename to nothing":        {"person", natsorm.RenameColumn("visits", ""), natsorm.ErrSchema, "empty"},
		"rename to a bad index":    {"person", natsorm.RenameColumn("name", "a.b"), natsorm.ErrInvalid, "indexed"},
		"rename over a member":     {"person", natsorm.RenameColumn("visits", "foreign"), natsorm.ErrInvalid, "record 2"},
		"rename a Node index":      {"User", natsorm.RenameColumn("name", "title"), natsorm.ErrInvalid, "Sequelize"},
		"forget nothing":           {"person", natsorm.ForgetName("visits"), natsorm.ErrInvalid, "no former name"},
	} {
		for _, dry := range []bool{true, false} {
			changes := []natsorm.Alteration{c.change}
			if dry {
				changes = append(changes, natsorm.DryRun(new(natsorm.AlterPlan)))
			}
			if err := db.Alter(ctx, c.model, changes...); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	ok(t, db.Alter(ctx, "person", natsorm.RenameColumn("visits", "count")))
	if err := db.Alter(ctx, "person", natsorm.RenameColumn("visits", "number")); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "count") {
		t.Errorf("two renamings: %v", err)
	}
	if err := db.Alter(ctx, "person", natsorm.DropColumn("visits")); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "count") {
		t.Errorf("drop by a former name: %v", err)
	}
	ok(t, db.Alter(ctx, "person", natsorm.DropColumn("count")))
	if err := db.Alter(ctx, "person", natsorm.RenameColumn("count", "number")); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "dropped") {
		t.Errorf("rename what was dropped: %v", err)
	}
	must[uint64](t)(db.KV().Put(ctx, "_schema.future", []byte(`{"format":99,"name":"future","layout":"native","shards":1,"columns":[{"name":"id","type":"int","primaryKey":true}]}`)))
	if err := db.Alter(ctx, "future", natsorm.DropColumn("x")); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("a newer catalogue: %v", err)
	}
	ok(t, db.KV().Delete(ctx, "_schema.future"))
}
