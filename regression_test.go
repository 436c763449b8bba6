package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
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
	stop, halt := context.WithTimeout(ctx, testsize.Pick(500*time.Millisecond, 1500*time.Millisecond, 4*time.Second))
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

// TestLargeRecordsDoNotBreakTheConnection: the server drops a connection that
// too many bytes wait for, and with it everybody's requests.
func TestLargeRecordsDoNotBreakTheConnection(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads hundreds of megabytes")
	}
	srv := serve(t, embedded.Config{Port: -1})
	var breaks atomic.Int32
	nc := must[*nats.Conn](t)(nats.Connect(srv.URL(), nats.DisconnectErrHandler(func(*nats.Conn, error) { breaks.Add(1) })))
	t.Cleanup(nc.Close)
	ctx := within(t)
	db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "large"}))
	users := define[user](t, db)
	const n = 150
	body := strings.Repeat("x", 900_000)
	ids := make([]any, n)
	for i := range n {
		ids[i] = i
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i), Age: i, Bio: body}))
	}
	for i, q := range [][]natsorm.Query{{}, {natsorm.In("id", ids...)}, {natsorm.Eq("name", "n")}, {natsorm.OrderBy("age"), natsorm.Limit(5)}} {
		want := n
		if i == 3 {
			want = 5
		}
		again := define[user](t, db) // one that does not know how large they are
		if found := must[[]*user](t)(again.FindAll(ctx, q...)); len(found) != want {
			t.Errorf("query %d: %d of %d", i, len(found), want)
		}
	}
	if n := breaks.Load(); n > 0 {
		t.Errorf("the connection broke %d times", n)
	}
	ok(t, db.Close())
}

// A time that has no RFC 3339 text in UTC would be written and not read back.
func TestTimesBeyondRFC3339AreRefused(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "at", Columns: []natsorm.Field{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "at", Type: natsorm.Time},
	}}))
	for _, at := range []string{"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"} {
		if err := m.Create(ctx, &natsorm.Record{"id": 1, "at": at}); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// What Select left out must not be written as zeros, by Upsert either.
func TestUpsertOfAPartialRecord(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID      int    `json:"id" orm:"primaryKey"`
		Note    string `json:"note"`
		Version uint64 `json:"-" orm:"version"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	ok(t, recs.Create(ctx, &rec{ID: 1, Note: "kept"}))
	part := must[*rec](t)(recs.FindOne(ctx, natsorm.Select("id")))
	if _, err := recs.Upsert(ctx, part); !errors.Is(err, natsorm.ErrConflict) {
		t.Errorf("Upsert of a partial record: %v", err)
	}
	if err := recs.Create(ctx, part); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("Create of a partial record: %v", err)
	}
	if v := must[*rec](t)(recs.FindByPK(ctx, 1)); v.Note != "kept" {
		t.Errorf("%+v", v)
	}
}

// Hostile conditions cost no more than reading them.
func TestHostileConditions(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	deep := natsorm.Eq("age", 1)
	for range 1_000_000 {
		deep = natsorm.Not(deep)
	}
	if _, err := users.FindAll(ctx, deep); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a million deep: %v", err)
	}
	a, b := make([]any, 40_000), make([]any, 40_000)
	for i := range a {
		a[i], b[i] = i, i+20_000
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Second) // it took minutes by comparing each with each
	defer cancel()
	if _, err := users.FindAll(short, natsorm.In("age", a...), natsorm.In("age", b...)); err != nil {
		t.Errorf("two long lists: %v", err)
	}
	if _, err := users.FindAll(ctx, natsorm.OrderBy(strings.Repeat("x", 1_000_000))); err == nil || len(err.Error()) > 1000 {
		t.Errorf("a long name: %.100v", err)
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
				ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
					in := accounts.In(tx)
					both, err := in.FindAll(ctx, natsorm.OrderBy("id"))
					if err != nil {
						return err
					}
					one, two := both[0], both[1]
					one.Number, two.Number = two.Number, one.Number
					one.Owner, two.Owner = two.Owner, one.Owner
					return errors.Join(in.Save(ctx, one), in.Save(ctx, two))
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
			all := []*nodeUser{{ID: 1, Name: "A", Email: ptr("most")}, {ID: 2, Name: "B", Email: ptr("most")}}
			for i := range c.others {
				all = append(all, &nodeUser{ID: int64(10 + i), Name: "A", Email: ptr("most")})
			}
			for i := range 5 * c.others { // so that a scan is not cheaper
				all = append(all, &nodeUser{ID: int64(100_000 + i), Name: fmt.Sprint("o", i), Email: ptr([]string{"most", "few"}[min(1, i%20)])})
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
					ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
						for i, name := range names {
							if _, err := users.In(tx).Update(ctx, natsorm.Set{"name": name}, natsorm.Eq("id", i+1)); err != nil {
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
