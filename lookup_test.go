package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// TestListsFindRecordsThatMove: records that have one of two values at every
// instant are found by both values together, also where the entries take more
// than one request.
func TestListsFindRecordsThatMove(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	var all []*user
	for i := range 1204 {
		all = append(all, &user{ID: int64(i), Name: []string{"a", "b"}[i%2], Email: fmt.Sprint(i), Age: i % 3})
	}
	ok(t, users.BulkCreate(ctx, all))
	stop, halt := context.WithTimeout(ctx, testsize.Pick(250*time.Millisecond, 1500*time.Millisecond, 4*time.Second))
	defer halt()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			v := *all[w]
			for stop.Err() == nil {
				v.Name = map[string]string{"a": "b", "b": "a"}[v.Name]
				if err := users.Save(ctx, &v); err != nil {
					t.Error(err)
				}
			}
		})
	}
	rounds := 0
	for ; stop.Err() == nil; rounds++ {
		for _, q := range []natsorm.Query{natsorm.In("name", "a", "b"), natsorm.Or(natsorm.Eq("name", "a"), natsorm.Eq("name", "b"))} {
			times := map[int64]int{}
			for _, v := range must[[]*user](t)(users.FindAll(ctx, q)) {
				times[v.ID]++
			}
			for id := range int64(1204) {
				if times[id] != 1 {
					t.Errorf("round %d: record %d was found %d times", rounds, id, times[id])
				}
			}
		}
	}
	wg.Wait()
	t.Logf("%d rounds", rounds)
}

// The same where the values take more than one request, though their entries are few: on
// a server that takes small requests, and on a bucket without direct get.
func TestTornLookupsFindRecordsThatMove(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, ctx context.Context) *natsorm.DB{
		"small requests": func(t *testing.T, _ context.Context) *natsorm.DB {
			return natsormtest.Open(t, serve(t, embedded.Config{MaxPayload: 16 << 10}), "test")
		},
		"without direct get": withoutDirectGet,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := open(t, ctx)
			users := define[user](t, db)
			values := []any{"a", "z"}
			if name == "small requests" {
				for i := range 400 {
					values = append(values, fmt.Sprint("m", i))
				}
			}
			const records = 40
			for i := range records {
				ok(t, users.Create(ctx, &user{ID: int64(i), Name: "a", Email: fmt.Sprint(i)}))
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for n := 1; ; n++ {
					for i := range records {
						select {
						case <-stop:
							return
						default:
						}
						must[int](t)(users.Update(ctx, natsorm.Set{"name": values[n%2]}, natsorm.Eq("id", i)))
					}
				}
			})
			rounds := testsize.Pick(30, 50, 100)
			if testbed.Race { // each takes ten times as long
				rounds = 20
			}
			for round := range rounds {
				if all := must[[]*user](t)(users.FindAll(ctx, natsorm.In("name", values...))); len(all) != records {
					t.Errorf("round %d: %d of %d records", round, len(all), records)
					break
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}

// Two records exchange a unique value and an indexed one in transactions, so that at
// every instant one of them has it. Lookups, which find entries first and read the
// records then, saw neither: 7 to 10 in a hundred.
func TestLookupsFindValuesThatMove(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		ok(t, accounts.BulkCreate(ctx, []*account{{ID: 1, Number: "a", Owner: "current"}, {ID: 2, Number: "b", Owner: "other"}}))
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ok(t, db.Transaction(ctx, func(ctx context.Context) error {
					both, err := accounts.FindAll(ctx, natsorm.OrderBy("id"))
					if err != nil {
						return err
					}
					one, two := both[0], both[1]
					one.Number, two.Number = two.Number, one.Number
					one.Owner, two.Owner = two.Owner, one.Owner
					return errors.Join(accounts.Save(ctx, one), accounts.Save(ctx, two))
				}))
			}
		})
		for range testsize.Pick(100, 300, 1500) {
			if _, err := accounts.FindOne(ctx, natsorm.Eq("number", "a")); err != nil {
				t.Errorf("by unique value: %v", err)
			}
			if n := len(must[[]*account](t)(accounts.FindAll(ctx, natsorm.Eq("owner", "current")))); n == 0 {
				t.Error("by index: none")
			}
			if n := must[int](t)(accounts.Count(ctx, natsorm.Eq("number", "a"))); n == 0 {
				t.Error("count: none")
			}
			if n := must[int](t)(accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("owner", "current"))); n == 0 {
				t.Error("increment: none")
			}
			if t.Failed() {
				break
			}
		}
		close(stop)
		wg.Wait()
	})
}

// The same, where the lookup takes more than one request: two indexes, more entries
// than an answer has, and lists.
func TestLargeLookupsFindValuesThatMove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		others int // records that have the value all the time
		layout []natsorm.ModelOption
		query  natsorm.Query
		path   string
	}{
		{"intersection", 300, nil, natsorm.And(natsorm.Eq("name", "A"), natsorm.Eq("email", "most")), "intersection"},
		{"many entries", 1200, nil, natsorm.Eq("name", "A"), "index"},
		{"union", 1200, nil, natsorm.Or(natsorm.Eq("name", "A"), natsorm.Eq("email", "nobody")), "union"},
		{"list", 1200, []natsorm.ModelOption{natsorm.SequelizeLayout()}, natsorm.Eq("name", "A"), "index"},
		{"intersection of lists", 300, []natsorm.ModelOption{natsorm.SequelizeLayout()}, natsorm.And(natsorm.Eq("name", "A"), natsorm.Eq("email", "most")), "intersection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			users := define[nodeUser](t, db, c.layout...)
			var most, few *string
			if c.path == "intersection" {
				most, few = ptr("most"), ptr("few")
			}
			all := []*nodeUser{{ID: 1, Name: "A", Email: most}, {ID: 2, Name: "B", Email: most}}
			for i := range c.others {
				all = append(all, &nodeUser{ID: int64(10 + i), Name: "A", Email: most})
			}
			for i := range 2 * c.others { // so that a scan is not cheaper
				all = append(all, &nodeUser{ID: int64(100_000 + i), Name: fmt.Sprint("o", i), Email: []*string{most, few}[min(1, i%20)]})
			}
			ok(t, users.BulkCreate(ctx, all))
			must[int](t)(users.Count(ctx))
			must[natsorm.Plan](t)(users.Explain(ctx, c.query)) // now it knows how many have which value
			if plan := must[natsorm.Plan](t)(users.Explain(ctx, c.query)); plan.Access.Path != c.path {
				t.Logf("the plan is\n%s", plan)
			}
			var stop atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() {
				names := []string{"A", "B"}
				for !stop.Load() {
					names[0], names[1] = names[1], names[0]
					ok(t, db.Transaction(ctx, func(ctx context.Context) error {
						for i, name := range names {
							if _, err := users.Update(ctx, natsorm.Set{"name": name}, natsorm.Eq("id", i+1)); err != nil {
								return err
							}
						}
						return nil
					}))
				}
			})
			for range testsize.Pick(5, 12, 60) {
				if found := must[[]*nodeUser](t)(users.FindAll(ctx, c.query)); len(found) < c.others+1 {
					t.Errorf("%d are found", len(found))
					break
				}
			}
			stop.Store(true)
			wg.Wait()
		})
	}
}

// A value is handed over by plain writes, first given to the next record and then taken
// from the last one, so that at every instant a record has it.
func TestLookupsFindValuesThatAreHandedOver(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, ctx context.Context) *natsorm.DB{
		"memory":             func(t *testing.T, _ context.Context) *natsorm.DB { return natsormtest.New(t) },
		"without direct get": withoutDirectGet,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := open(t, ctx)
			users := define[user](t, db)
			const records = 3
			for i := range records {
				ok(t, users.Create(ctx, &user{ID: int64(i), Name: []string{"on", "off", "off"}[i], Email: fmt.Sprint(i)}))
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; ; i = (i + 1) % records {
					select {
					case <-stop:
						return
					default:
					}
					must[int](t)(users.Update(ctx, natsorm.Set{"name": "on"}, natsorm.Eq("id", (i+1)%records)))
					must[int](t)(users.Update(ctx, natsorm.Set{"name": "off"}, natsorm.Eq("id", i)))
				}
			})
			rounds := testsize.Pick(500, 1000, 10_000)
			if testbed.Race { // each takes ten times as long
				rounds = 300
			}
			for round := range rounds {
				if found := must[[]*user](t)(users.FindAll(ctx, natsorm.Eq("name", "on"))); len(found) == 0 {
					t.Errorf("round %d: nobody has the value", round)
					break
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}
