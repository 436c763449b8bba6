package natsorm_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/natsormtest"
)

type plainTask struct {
	ID       int64     `json:"id"       orm:"primaryKey"`
	Status   string    `json:"status"`
	Priority int       `json:"priority"`
	OpenedAt time.Time `json:"openedAt"`
}

type orderedTask struct {
	ID       int64     `json:"id"       orm:"primaryKey"`
	Status   string    `json:"status"   orm:"ordered:queue"`
	Priority int       `json:"priority" orm:"ordered"`
	OpenedAt time.Time `json:"openedAt" orm:"ordered,ordered:queue"`
}

var tasksFrom = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func openTask(i int) plainTask {
	return plainTask{int64(i), []string{"new", "open", "closed"}[i%3], i % 5, tasksFrom.Add(time.Duration(i*7919%10_007) * time.Minute)}
}

// An ordered index is built beside writers, finds everything in order, is dropped without a trace,
// and built again.
func TestOrderedIndexComesAndGoes(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	old := must[*natsorm.Model[plainTask]](t)(natsorm.Define[plainTask](ctx, db, natsorm.Name("task")))
	const n = 3000
	all := make([]*plainTask, n)
	for i := range all {
		v := openTask(i)
		all[i] = &v
	}
	ok(t, old.BulkCreate(ctx, all))
	stop, writing := make(chan struct{}), sync.WaitGroup{}
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			testsize.Breathe()
			id := rand.IntN(n)
			if _, err := old.Update(ctx, natsorm.Set{"openedAt": openTask(id).OpenedAt, "status": openTask(id).Status}, natsorm.Eq("id", id)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	other := another(t, db)
	tasks := must[*natsorm.Model[orderedTask]](t)(natsorm.Define[orderedTask](ctx, other, natsorm.Name("task")))
	page := func(want func(a, b plainTask) int, keep func(plainTask) bool, q ...natsorm.Query) {
		t.Helper()
		var expected []plainTask
		for i := range n {
			if v := openTask(i); keep(v) {
				expected = append(expected, v)
			}
		}
		slices.SortFunc(expected, func(a, b plainTask) int {
			if c := want(a, b); c != 0 {
				return c
			}
			return int(a.ID - b.ID)
		})
		var got []int64
		cursor := ""
		for {
			found := must[[]*orderedTask](t)(tasks.FindAll(ctx, append([]natsorm.Query{natsorm.Limit(400), natsorm.After(cursor)}, q...)...))
			for _, f := range found {
				got = append(got, f.ID)
			}
			if len(found) < 400 {
				break
			}
			cursor = must[string](t)(tasks.Cursor(found[len(found)-1], q...))
		}
		if len(got) != len(expected) {
			t.Fatalf("%d of %d", len(got), len(expected))
		}
		for i, id := range got {
			if id != expected[i].ID {
				t.Fatalf("at %d: %d, want %d", i, id, expected[i].ID)
			}
		}
	}
	byTime := func(a, b plainTask) int { return a.OpenedAt.Compare(b.OpenedAt) }
	everything := func() {
		t.Helper()
		page(byTime, func(plainTask) bool { return true }, natsorm.OrderBy("openedAt"))
		page(func(a, b plainTask) int { return -byTime(a, b) }, func(plainTask) bool { return true }, natsorm.OrderBy("-openedAt"))
		page(func(a, b plainTask) int { return -byTime(a, b) }, func(v plainTask) bool { return v.Status == "open" }, natsorm.Eq("status", "open"), natsorm.OrderBy("-openedAt"))
		page(func(a, b plainTask) int { return b.Priority - a.Priority }, func(plainTask) bool { return true }, natsorm.OrderBy("-priority"))
	}
	everything()
	close(stop)
	writing.Wait()
	p := must[natsorm.Plan](t)(tasks.Explain(ctx, natsorm.Eq("status", "open"), natsorm.OrderBy("-openedAt"), natsorm.Limit(20)))
	if !p.Access.Sorted || p.Access.Path != "ordered index" || !slices.Equal(p.Access.Columns, []string{"status", "openedAt"}) {
		t.Error(p)
	}
	natsormtest.Prove(t, other)

	// It stays with its columns under other names, also for programs that know the former ones.
	ok(t, other.Alter(ctx, "task", natsorm.RenameColumn("status", "state"), natsorm.RenameColumn("openedAt", "opened")))
	everything()
	if _, err := old.Update(ctx, natsorm.Set{"openedAt": openTask(7).OpenedAt, "status": openTask(7).Status}, natsorm.Eq("id", 7)); err != nil {
		t.Error(err)
	}
	if _, there := bucket(t, ctx, other)["task.index.status/openedAt."+keysOf(openTask(7))]; !there {
		t.Errorf("the entry of 7 is not under the name that the index had")
	}
	p = must[natsorm.Plan](t)(tasks.Explain(ctx, natsorm.Eq("status", "open"), natsorm.OrderBy("-openedAt"), natsorm.Limit(20)))
	if !p.Access.Sorted || p.Access.Path != "ordered index" {
		t.Errorf("with other names:\n%s", p)
	}
	natsormtest.Prove(t, other)

	// A column with another type gets its places when the index is declared again.
	if err := other.Alter(ctx, "task", natsorm.ConvertColumn("priority", natsorm.Float, nil)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("the type of a column of an ordered index: %v", err)
	}
	ok(t, other.Alter(ctx, "task", natsorm.DropIndex("priority"), natsorm.DropIndex("openedAt"), natsorm.DropIndex("status", "openedAt"), natsorm.ConvertColumn("priority", natsorm.Float, nil)))
	report := must[natsorm.Report](t)(other.Check(ctx))
	if report.Models[0].Entries != 0 || !report.Clean() {
		t.Error(report)
	}
	there := must[[]string](t)(other.KV().Keys(ctx))
	if i := slices.IndexFunc(there, func(k string) bool { return strings.HasPrefix(k, "task.index.") || strings.HasPrefix(k, "task.head.") }); i >= 0 {
		t.Errorf("%s is left", there[i])
	}
	tasks = must[*natsorm.Model[orderedTask]](t)(natsorm.Define[orderedTask](ctx, other, natsorm.Name("task")))
	everything()
	three := openTask(3)
	if _, there := bucket(t, ctx, other)["task.index./priority."+keys.Place(value.OfFloat(float64(three.Priority)), value.OfInt(three.ID))+".3"]; !there {
		t.Error("the entry of 3 is not that of a number with a fraction")
	}
}

// keysOf is the end of a task's entry in the index of its status and its time.
func keysOf(v plainTask) string {
	return v.Status + "." + keys.Place(value.OfTime(v.OpenedAt), value.OfInt(v.ID)) + "." + fmt.Sprint(v.ID)
}

// Pages are right beside writers that move records from one end of the order to the other: a record that
// is there all the time is found, none comes twice, and what is delivered is in order.
func TestPagesBesideWriters(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tasks := must[*natsorm.Model[orderedTask]](t)(natsorm.Define[orderedTask](ctx, db, natsorm.Name("task")))
	const n = 600
	var all []*orderedTask
	for i := range n {
		all = append(all, &orderedTask{ID: int64(i), Status: "open", OpenedAt: tasksFrom.Add(time.Duration(i) * time.Minute)})
	}
	ok(t, tasks.BulkCreate(ctx, all))
	stop, writing := make(chan struct{}), sync.WaitGroup{}
	for w := range 3 {
		writing.Go(func() {
			for range 700 { // each leaves delete markers, which stay for minutes and are read too
				select {
				case <-stop:
					return
				default:
				}
				// Records that are multiples of ten stay where they are.
				if id := rand.IntN(n/3)*3 + w; id%10 != 0 {
					if _, err := tasks.Update(ctx, natsorm.Set{"openedAt": tasksFrom.Add(time.Duration(rand.IntN(n)) * time.Minute)}, natsorm.Eq("id", id)); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	rounds := 60
	if testbed.Race { // each takes ten times as long
		rounds = 20
	}
	for round := range rounds {
		order, limit := "openedAt", 1+rand.IntN(200)
		if round%2 == 1 {
			order = "-openedAt"
		}
		found := must[[]*orderedTask](t)(tasks.FindAll(ctx, natsorm.Eq("status", "open"), natsorm.OrderBy(order), natsorm.Limit(limit)))
		if len(found) != limit {
			t.Fatalf("%d of %d", len(found), limit)
		}
		seen := map[int64]bool{}
		for i, f := range found {
			if seen[f.ID] {
				t.Fatalf("%d comes twice", f.ID)
			}
			seen[f.ID] = true
			if i > 0 && found[i-1].OpenedAt.Compare(f.OpenedAt)*map[string]int{"openedAt": 1, "-openedAt": -1}[order] > 0 {
				t.Fatalf("%v comes after %v in %s", f, found[i-1], order)
			}
		}
		last := found[limit-1].OpenedAt
		for id := 0; id < n; id += 10 {
			at := tasksFrom.Add(time.Duration(id) * time.Minute)
			if inside := at.Before(last) && order == "openedAt" || at.After(last) && order != "openedAt"; inside && !seen[int64(id)] {
				t.Fatalf("%d, which does not move, is not before %v in %s", id, last, order)
			}
		}
		found = must[[]*orderedTask](t)(tasks.FindAll(ctx, natsorm.Gte("openedAt", tasksFrom)))
		if len(found) != n {
			t.Fatalf("%d of %d are in a range that has all", len(found), n)
		}
	}
	close(stop)
	writing.Wait()
}

// A record that has the entries of two values of a range, as while a writer moves it or after one has
// died, is found once.
func TestRecordWithTwoEntriesInARange(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type team struct {
		ID   int64 `json:"id" orm:"primaryKey"`
		Rank int   `json:"rank" orm:"ordered"`
	}
	teams := define[team](t, db)
	ok(t, teams.Create(ctx, &team{ID: 1, Rank: 3}))
	ok(t, teams.Create(ctx, &team{ID: 2, Rank: 4}))
	before := entriesOf(t, ctx, db, "team")
	must[int](t)(teams.Update(ctx, natsorm.Set{"rank": 5}, natsorm.Eq("id", 1)))
	var stray []string
	for _, e := range before {
		if !slices.Contains(entriesOf(t, ctx, db, "team"), e) {
			stray = append(stray, "team.index."+e)
			must[uint64](t)(db.KV().PutString(ctx, "team.index."+e, ""))
		}
	}
	if len(stray) == 0 {
		t.Fatal("no entry has gone")
	}
	for _, q := range [][]natsorm.Query{
		{natsorm.Between("rank", 1, 9)}, {natsorm.Between("rank", 1, 9), natsorm.OrderBy("rank")}, {natsorm.Between("rank", 1, 9), natsorm.OrderBy("-rank"), natsorm.Limit(9)},
		{natsorm.Or(natsorm.Between("rank", 1, 4), natsorm.Gt("rank", 4))}, {natsorm.In("rank", 3, 4, 5)},
	} {
		again := define[team](t, another(t, db)) // which does not know how small the model is
		if found := must[[]*team](t)(again.FindAll(ctx, q...)); len(found) != 2 {
			t.Errorf("%v finds %d records, and there are 2", q, len(found))
		}
		if n := must[int](t)(again.Count(ctx, q...)); n != 2 {
			t.Errorf("%v counts %d records, and there are 2", q, n)
		}
	}
	if swept := must[natsorm.Swept](t)(db.Sweep(ctx)); swept.Entries != len(stray) {
		t.Errorf("%+v was swept", swept)
	}
}

// The first page takes as few requests from either end: also where an order begins with what has no
// entries, such as null, and where most records have one value. All its entries are read with one
// request, and are so of one moment.
func TestRequestsForFirstPages(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type reading struct {
		ID    int64     `json:"id"    orm:"primaryKey"`
		Level int       `json:"level" orm:"ordered"`
		At    time.Time `json:"at"    orm:"ordered"`
	}
	readings := define[reading](t, db)
	const n = 3000
	all := make([]*reading, n)
	for i := range all {
		all[i] = &reading{ID: int64(i), Level: min(i%1000, 3), At: tasksFrom.Add(time.Duration(i*7907%n) * time.Minute)}
	}
	ok(t, readings.BulkCreate(ctx, all))
	for _, c := range []struct {
		order    string
		requests int // two for samples, one for entries, one for records
		first    func(a, b *reading) int
	}{
		{"at", 4, func(a, b *reading) int { return a.At.Compare(b.At) }},
		{"-at", 4, func(a, b *reading) int { return b.At.Compare(a.At) }},
		{"level", 4, func(a, b *reading) int { return cmp.Compare(a.Level, b.Level) }},
		{"-level", 5, func(a, b *reading) int { return cmp.Compare(b.Level, a.Level) }}, // samples of the value, too
	} {
		for range 2 { // the second time it is known how large the model is
			q := []natsorm.Query{natsorm.OrderBy(c.order), natsorm.Limit(20)}
			plan := must[natsorm.Plan](t)(readings.Explain(ctx, append(q, natsorm.Analyze())...))
			if got := plan.Actual.Requests - plan.Actual.Again; got > c.requests {
				t.Errorf("%d requests for %v\ninstead of %d", got, plan, c.requests)
			}
			want := slices.SortedFunc(slices.Values(all), func(a, b *reading) int { return cmp.Or(c.first(a, b), cmp.Compare(a.ID, b.ID)) })
			for i, v := range must[[]*reading](t)(readings.FindAll(ctx, q...)) {
				if v.ID != want[i].ID {
					t.Errorf("by %s, %d is at place %d, where %d should be", c.order, v.ID, i, want[i].ID)
				}
			}
		}
	}
}

// A range that no value is in is not asked for, and the plan says so.
func TestRangesWithNothingInThem(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type team struct {
		ID     int64  `json:"id"     orm:"primaryKey"`
		Name   string `json:"name"   orm:"ordered"`
		League string `json:"league" orm:"ordered:place"`
		Rank   *int64 `json:"rank"   orm:"ordered:place"`
		Points uint64 `json:"points" orm:"ordered"`
	}
	teams := define[team](t, db)
	for i := range 20 {
		rank := int64(i)
		ok(t, teams.Create(ctx, &team{ID: int64(i), Name: fmt.Sprint("team ", i), League: "first", Rank: &rank, Points: uint64(i)}))
	}
	for _, c := range []natsorm.Condition{
		natsorm.Lt("name", ""),
		natsorm.And(natsorm.Eq("league", "first"), natsorm.Gt("rank", 3), natsorm.Lt("rank", 3)),
		natsorm.And(natsorm.Gt("name", "team 5"), natsorm.Lt("name", "team 3")),
		natsorm.And(natsorm.Gt("points", 5), natsorm.Lte("points", 5)),
		natsorm.And(natsorm.StartsWith("name", "a"), natsorm.Gt("name", "team")),
		natsorm.Or(natsorm.Lt("name", ""), natsorm.And(natsorm.Gt("points", 5), natsorm.Lt("points", 4))),
	} {
		for _, q := range [][]natsorm.Query{{c}, {c, natsorm.OrderBy("-name"), natsorm.Limit(3)}, {c, natsorm.OrderBy("points")}} {
			plan := must[natsorm.Plan](t)(teams.Explain(ctx, append(q, natsorm.Analyze())...))
			if plan.Access.Path != "nothing" || plan.Estimated.Requests != 0 || plan.Actual.Requests != 0 || *plan.Results != 0 {
				t.Errorf("%v\nreads", plan)
			}
			if n := must[int](t)(teams.Count(ctx, c)); n != 0 {
				t.Errorf("%v counts %d", c, n)
			}
		}
	}
	// What has one value, or none but null, is asked for.
	for _, c := range []natsorm.Condition{natsorm.Lte("name", "team 0"), natsorm.And(natsorm.Gte("points", 5), natsorm.Lt("points", 6))} {
		if n := len(must[[]*team](t)(teams.FindAll(ctx, c))); n != 1 {
			t.Errorf("%v finds %d", c, n)
		}
	}
}

// A transaction that has read a range, or a page, does not commit beside one that puts a record into it.
func TestRangesInTransactions(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"one server", "three servers"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if kind == "three servers" && testing.Short() {
				t.Skip("a cluster takes seconds to start")
			}
			var db *natsorm.DB
			if kind == "one server" {
				db = natsormtest.New(t)
			} else {
				db = openOn(t, within(t), testbed.StartCluster(t).Nodes[0])
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			tasks := must[*natsorm.Model[orderedTask]](t)(natsorm.Define[orderedTask](ctx, db, natsorm.Name("task")))
			// Each transaction takes the number of tasks in a range as the priority of a new one there: so
			// all have different ones.
			const each, writers = 10, 6
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for i := range each {
						id := int64(w*each + i)
						err := db.Transaction(ctx, func(ctx context.Context) error {
							found, err := tasks.FindAll(ctx, natsorm.Between("openedAt", tasksFrom, tasksFrom.Add(time.Hour)))
							if err != nil {
								return err
							}
							top, err := tasks.FindAll(ctx, natsorm.OrderBy("-priority"), natsorm.Limit(1))
							if err != nil {
								return err
							}
							if len(top) > 0 && top[0].Priority != len(found)-1 {
								return fmt.Errorf("%d tasks, and the last one has priority %d", len(found), top[0].Priority)
							}
							return tasks.Create(ctx, &orderedTask{ID: id, Status: "new", Priority: len(found), OpenedAt: tasksFrom.Add(time.Duration(id) * time.Minute / 2)})
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			found := must[[]*orderedTask](t)(tasks.FindAll(ctx, natsorm.OrderBy("priority"), natsorm.Limit(1000)))
			for i, f := range found {
				if f.Priority != i {
					t.Fatalf("task %d has priority %d", i, f.Priority)
				}
			}
			if len(found) != each*writers {
				t.Errorf("%d tasks", len(found))
			}
		})
	}
}

func TestOrderedIndexesThatCannotBe(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	type listed struct {
		ID   int64    `json:"id" orm:"primaryKey"`
		Tags []string `json:"tags" orm:"ordered"`
	}
	if _, err := natsorm.Define[listed](ctx, db); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "tags") {
		t.Error(err)
	}
	if _, err := natsorm.Define[orderedTask](ctx, db, natsorm.SequelizeLayout()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "ordered") {
		t.Error(err)
	}
	if _, err := natsorm.Define[plainTask](ctx, db, natsorm.Fold(natsorm.Ordered("status"))); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "does not fold") {
		t.Error(err)
	}
	if _, err := natsorm.Define[plainTask](ctx, db, natsorm.Ordered()); !errors.Is(err, natsorm.ErrSchema) {
		t.Error(err)
	}
}
