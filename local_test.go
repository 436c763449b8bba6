package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/natsormtest"
)

var _, _ natsorm.Reader[user] = (*natsorm.Model[user])(nil), (*natsorm.Local[user])(nil)

func local[T any](t *testing.T, m *natsorm.Model[T]) *natsorm.Local[T] {
	t.Helper()
	l := must[*natsorm.Local[T]](t)(m.Local(within(t)))
	t.Cleanup(func() { ok(t, l.Close()) })
	return l
}

// A Local shows what its DB has written as soon as the call has returned, and asks the server for nothing.
func TestLocalShowsOwnWrites(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		users := define[user](t, db)
		ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "a"}))
		l := local(t, users)
		is := func(what string, id int64, want string) {
			t.Helper()
			u, err := l.FindByPK(ctx, id)
			switch {
			case want == "" && !errors.Is(err, natsorm.ErrNotFound), want != "" && (err != nil || u.Name != want):
				t.Fatalf("%s: %v, %v", what, u, err)
			}
		}
		is("before", 1, "Ann")
		for i := range 50 {
			u := user{ID: 2, Name: fmt.Sprint("Bob ", i), Email: "b"}
			ok(t, users.Create(ctx, &u))
			is("Create", 2, u.Name)
			must[int](t)(users.Update(ctx, natsorm.Set{"name": "Eve"}, natsorm.Eq("id", 2)))
			is("Update", 2, "Eve")
			ok(t, db.Transaction(ctx, func(ctx context.Context) error {
				u.Name = "in a transaction"
				ok(t, users.Save(ctx, &u))
				got := must[*user](t)(l.FindByPK(ctx, 2)) // reads inside of it
				if got.Name != u.Name {
					t.Errorf("inside it is %q", got.Name)
				}
				return nil
			}))
			is("Transaction", 2, "in a transaction")
			must[int](t)(users.Destroy(ctx, natsorm.Eq("email", "b")))
			is("Destroy", 2, "")
		}
		got := must[*user](t)(l.FindByPK(ctx, 1))
		got.Name = "changed by the caller"
		is("a result is the caller's own", 1, "Ann")
		ok(t, users.Truncate(ctx))
		if n := must[int](t)(l.Count(ctx)); n != 0 {
			t.Errorf("after Truncate there are %d", n)
		}
		is("Truncate", 1, "")
	})
}

// Nothing is asked of the server, but by Latest and FreshAs, which see what others have written.
func TestLocalAsksNothing(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		users, others := define[user](t, db), define[user](t, another(t, db))
		for i := range int64(100) {
			ok(t, others.Create(ctx, &user{ID: i, Name: fmt.Sprint("n", i%10), Email: fmt.Sprint(i)}))
		}
		l := local(t, users)
		ok(t, l.FreshAs(ctx))
		plan := must[natsorm.Plan](t)(l.Explain(ctx, natsorm.Eq("name", "n3"), natsorm.OrderBy("-email"), natsorm.Analyze()))
		if !plan.Local || plan.Actual.Requests != 0 || *plan.Results != 10 {
			t.Errorf("%+v", plan)
		}
		for i := range int64(20) {
			ok(t, others.Create(ctx, &user{ID: 1000 + i, Email: fmt.Sprint(1000 + i)}))
			u, err := l.Latest().FindByPK(ctx, 1000+i)
			if err != nil || u.ID != 1000+i {
				t.Fatalf("Latest does not see %d: %v", 1000+i, err)
			}
			ok(t, others.Create(ctx, &user{ID: 2000 + i, Email: fmt.Sprint(2000 + i)}))
			ok(t, l.FreshAs(ctx))
			if found := must[bool](t)(l.Exists(ctx, natsorm.Eq("email", fmt.Sprint(2000+i)))); !found {
				t.Fatalf("after FreshAs %d is not there", 2000+i)
			}
		}
		type versioned struct {
			ID      int    `json:"id" orm:"primaryKey"`
			Version uint64 `json:"version" orm:"version"`
		}
		theirs := define[versioned](t, another(t, db))
		v := local(t, define[versioned](t, db))
		written := versioned{ID: 1}
		ok(t, theirs.Create(ctx, &written))
		ok(t, v.WaitFor(ctx, written.Version))
		if got := must[*versioned](t)(v.FindByPK(ctx, 1)); got.Version != written.Version {
			t.Errorf("%d is there, and not %d", got.Version, written.Version)
		}
	})
}

// Writers move amounts between the records of two models, in transactions. Every look at both, and each
// query of one, shows whole transactions, while connections break.
func TestLocalsShowWholeTransactions(t *testing.T) {
	type pot struct {
		ID     int `json:"id" orm:"primaryKey"`
		Amount int `json:"amount"`
	}
	type purse struct {
		ID     int `json:"id" orm:"primaryKey"`
		Amount int `json:"amount"`
	}
	for _, storage := range []string{"memory", "files"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			cfg := embedded.Config{Port: -1}
			if storage == "files" {
				cfg.Dir, cfg.Sync = t.TempDir(), embedded.SyncInterval
			}
			srv := serve(t, cfg)
			db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "b"})) // consumers of connections that were cut stay for a while
			t.Cleanup(func() { db.Close() })
			proxy := testbed.StartProxy(t, srv.URL())
			reading := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{proxy.URL()}, Bucket: "b", NATS: []nats.Option{nats.ReconnectWait(10 * time.Millisecond)}}))
			t.Cleanup(func() { reading.Close() })
			pots, purses := define[pot](t, db), define[purse](t, db)
			const n, each = 6, 100
			for i := range n {
				ok(t, pots.Create(ctx, &pot{ID: i, Amount: each}))
				ok(t, purses.Create(ctx, &purse{ID: i, Amount: each}))
			}
			inPots := local(t, define[pot](t, reading))
			inPurses := local(t, define[purse](t, reading))
			var stop atomic.Bool
			var work, looks sync.WaitGroup
			for range 8 {
				work.Go(func() {
					for range testsize.Pick(10, 25, 300) {
						ok(t, db.Transaction(ctx, func(ctx context.Context) error {
							amount := rand.IntN(10)
							if _, err := pots.Increment(ctx, natsorm.Set{"amount": -amount}, natsorm.Eq("id", rand.IntN(n))); err != nil {
								return err
							}
							if rand.IntN(2) == 0 {
								_, err := pots.Increment(ctx, natsorm.Set{"amount": amount}, natsorm.Eq("id", rand.IntN(n)))
								return err
							}
							_, err := purses.Increment(ctx, natsorm.Set{"amount": amount}, natsorm.Eq("id", rand.IntN(n)))
							return err
						}))
						// and plain writes, that leave the amounts as they are
						must[int](t)(pots.Increment(ctx, natsorm.Set{"amount": 0}, natsorm.Eq("id", 3)))
					}
				})
			}
			for range 2 {
				looks.Go(func() {
					last := 0.0
					for !stop.Load() {
						// What leaves the pots goes to the purses, so whoever looks there later finds it: at one
						// moment, or at a later one.
						before := must[float64](t)(inPots.Sum(ctx, "amount"))
						after := must[float64](t)(inPurses.Sum(ctx, "amount"))
						if before+after < 2*n*each {
							t.Errorf("there are %v and %v", before, after)
						}
						if after < last {
							t.Errorf("the purses had %v, and have %v", last, after)
						}
						last = after
					}
				})
			}
			looks.Go(func() {
				for !stop.Load() {
					_ = testbed.Wait(ctx, 50*time.Millisecond)
					proxy.Cut()
				}
			})
			work.Wait()
			stop.Store(true)
			looks.Wait()
			ok(t, testbed.Until(ctx, inPots.FreshAs))
			for i := range n {
				if got, want := must[*pot](t)(inPots.FindByPK(ctx, i)), must[*pot](t)(pots.FindByPK(ctx, i)); *got != *want {
					t.Errorf("in the end %+v, and not %+v", got, want)
				}
			}
			if sum := must[float64](t)(inPots.Sum(ctx, "amount")) + must[float64](t)(inPurses.Sum(ctx, "amount")); sum != 2*n*each {
				t.Errorf("in the end there are %v", sum)
			}
			ok(t, inPots.Close())
			ok(t, inPurses.Close())
		})
	}
}

// A Local goes with the schema: its columns are renamed, it is moved to another layout and back, emptied, and
// dropped.
func TestLocalGoesWithTheSchema(t *testing.T) {
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		for id := range int64(20) {
			d.create(t, memberV1{ID: id - 10, Team: fmt.Sprint("t", id%2), Badge: fmt.Sprint(id)})
		}
		mine := must[*natsorm.Local[memberV1]](t)(d.old.Local(ctx))
		same := func(what string) {
			t.Helper()
			ok(t, mine.FreshAs(ctx))
			for _, q := range [][]natsorm.Query{{}, {natsorm.Eq("team", "t1")}, {natsorm.Lt("id", 0)}, {natsorm.Eq("id", -3)}} {
				q = append(q, natsorm.OrderBy("badge"))
				got, want := must[[]*memberV1](t)(mine.FindAll(ctx, q...)), must[[]*memberV1](t)(d.old.FindAll(ctx, q...))
				if len(got) != len(want) {
					t.Fatalf("%s: there are %d, and not %d", what, len(got), len(want))
				}
				for i := range got {
					if *got[i] != *want[i] {
						t.Errorf("%s: %+v, and not %+v", what, got[i], want[i])
					}
				}
			}
		}
		same("at first")
		var stop atomic.Bool
		var looks sync.WaitGroup
		looks.Go(func() { // nothing is missing, or there twice, at any moment
			for !stop.Load() {
				if n := must[int](t)(mine.Count(ctx)); n != 20 {
					t.Errorf("there are %d", n)
				}
				if _, err := mine.FindByPK(ctx, -3); err != nil {
					t.Error(err)
				}
			}
		})
		ok(t, d.newDB.ChangeLayout(ctx, "member", natsorm.Sequelize))
		same("in the other layout")
		ok(t, d.newDB.ChangeLayout(ctx, "member", natsorm.Native))
		same("and back")
		ok(t, d.newDB.Alter(ctx, "member", natsorm.RenameColumn("team", "squad")))
		same("renamed")
		ok(t, testbed.Until(ctx, func(ctx context.Context) error { // the rows get the form of the new version
			p, err := mine.Explain(ctx, natsorm.Eq("id", -3))
			if err == nil && p.Access.Path != "primary key" {
				err = fmt.Errorf("by %s", p.Access.Path)
			}
			return err
		}))
		same("renamed, and by the key")
		must[*natsorm.Model[memberV1]](t)(natsorm.Define[memberV1](ctx, d.oldDB, natsorm.Name("member")))
		stop.Store(true)
		looks.Wait()
		ok(t, d.old.Truncate(ctx))
		same("emptied")
		d.create(t, memberV1{ID: 1, Team: "t1"})
		same("with one again")
		ok(t, d.newDB.DropModel(ctx, "member"))
		if err := mine.FreshAs(ctx); err != nil && !errors.Is(err, natsorm.ErrNotFound) {
			t.Error(err)
		}
		if _, err := mine.Count(ctx); !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("of a model that was dropped: %v", err)
		}
		ok(t, mine.Close())
	})
}

// While the server is away, a Local shows what it has.
func TestLocalWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("until what is known of the catalogue is old")
	}
	ctx := within(t)
	srv := serve(t, embedded.Config{Port: -1})
	proxy := testbed.StartProxy(t, srv.URL())
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{proxy.URL()}, Bucket: "b", NATS: []nats.Option{nats.ReconnectWait(10 * time.Millisecond)}}))
	t.Cleanup(func() { db.Close() })
	users := define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "a"}))
	l := local(t, users)
	proxy.Block()
	ok(t, testbed.Wait(ctx, 2*catalogue.Young))
	for range 3 {
		if found := must[[]*user](t)(l.FindAll(ctx, natsorm.Eq("name", "Ann"))); len(found) != 1 {
			t.Errorf("there are %d", len(found))
		}
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := l.FreshAs(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("as fresh as a server that is away: %v", err)
	}
	proxy.Unblock()
	ok(t, users.Create(ctx, &user{ID: 2, Email: "b"}))
	if n := must[int](t)(l.Count(ctx)); n != 2 {
		t.Errorf("there are %d", n)
	}
}

// The bucket is deleted and made anew: the Local has what is there then.
func TestLocalInABucketMadeAnew(t *testing.T) {
	t.Parallel()
	a := beforeAnew(t, jetstream.MemoryStorage, 50)
	l := local(t, a.tickets)
	var stop atomic.Bool
	var looks sync.WaitGroup
	for range 4 { // who waits for what was written to the old bucket does not wait for ever
		looks.Go(func() {
			for !stop.Load() {
				short, cancel := context.WithTimeout(a.ctx, 20*time.Second)
				if _, err := l.Count(short); errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	other := a.remake()
	tickets := define[ticket](t, other)
	for i := range 7 {
		ok(t, tickets.Create(a.ctx, &ticket{Owner: "new", Number: fmt.Sprint(i)}))
	}
	ok(t, testbed.Until(a.ctx, func(ctx context.Context) error {
		if n, err := l.Count(ctx, natsorm.Eq("owner", "new")); n != 7 || err != nil {
			return fmt.Errorf("there are %d: %w", n, err)
		}
		return nil
	}))
	if n := must[int](t)(l.Count(a.ctx)); n != 7 {
		t.Errorf("there are %d", n)
	}
	stop.Store(true)
	looks.Wait()
}

// Many Locals have one consumer. When they are closed, or their DB is, nothing is left.
func TestLocalsShareOneConsumer(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users, tickets := define[user](t, db), define[ticket](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Email: "a"}))
	var all []*natsorm.Local[user]
	for range 20 {
		all = append(all, must[*natsorm.Local[user]](t)(users.Local(ctx)))
	}
	one := must[*natsorm.Local[ticket]](t)(tickets.Local(ctx))
	if n := consumers(t, ctx, db); n != 1 {
		t.Errorf("there are %d consumers", n)
	}
	for _, l := range all {
		if n := must[int](t)(l.Count(ctx)); n != 1 {
			t.Errorf("there are %d", n)
		}
		ok(t, l.Close())
		ok(t, l.Close())
		if _, err := l.Count(ctx); !errors.Is(err, natsorm.ErrClosed) {
			t.Errorf("a Local that is closed: %v", err)
		}
	}
	ok(t, one.Close())
	ok(t, testbed.Until(ctx, func(context.Context) error {
		if n := consumers(t, ctx, db); n != 0 {
			return fmt.Errorf("%d consumers are left", n)
		}
		return nil
	}))
	again := must[*natsorm.Local[user]](t)(users.Local(ctx)) // ends with its DB
	if n := must[int](t)(again.Count(ctx)); n != 1 {
		t.Errorf("there are %d", n)
	}
	if _, err := users.Local(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := db.Transaction(ctx, func(ctx context.Context) error { _, err := users.Local(ctx); return err }); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("in a transaction: %v", err)
	}
	ok(t, again.Close())
}

// consumers is how many the server has for the bucket.
func consumers(t *testing.T, ctx context.Context, db *natsorm.DB) int {
	t.Helper()
	js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
	return must[jetstream.Stream](t)(js.Stream(ctx, "KV_"+db.KV().Bucket())).CachedInfo().State.Consumers
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// In a transaction, records of a Local are read from memory, and the commit finds out whether they are still so.
func TestLocalInTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		otherDB := another(t, db)
		users, others := define[user](t, db), define[user](t, otherDB)
		for i := range int64(4) {
			ok(t, users.Create(ctx, &user{ID: i, Name: "0", Email: fmt.Sprint(i)}))
		}
		l, theirs := local(t, users), local(t, others)
		addIn := func(ctx context.Context, db *natsorm.DB, users *natsorm.Model[user], l *natsorm.Local[user], id int64, others func()) error {
			runs := 0
			return db.Transaction(ctx, func(ctx context.Context) error {
				u, err := l.FindByPK(ctx, id)
				if err != nil {
					return err
				}
				if runs++; runs == 1 && others != nil {
					others()
				}
				n, _ := strconv.Atoi(u.Name)
				u.Name = strconv.Itoa(n + 1)
				return users.Save(ctx, u)
			})
		}
		add := func(ctx context.Context, id int64, others func()) error { return addIn(ctx, db, users, l, id, others) }
		is := func(what string, id int64, want string) {
			t.Helper()
			if u := must[*user](t)(users.Latest().FindByPK(ctx, id)); u.Name != want {
				t.Errorf("%s: it is %s, not %s", what, u.Name, want)
			}
		}
		ok(t, add(ctx, 1, nil))
		var used usage.Usage
		ok(t, add(usage.Measured(ctx, &used), 1, nil))
		if n := used.Requests.Load(); n != 1 { // the commit
			t.Errorf("it took %d requests", n)
		}
		is("twice", 1, "2")
		// What others have written is not lost, whether the Local has heard of it or not.
		ok(t, add(ctx, 1, func() {
			must[int](t)(others.Update(ctx, natsorm.Set{"name": "10"}, natsorm.Eq("id", 1)))
		}))
		is("beside another one", 1, "11")
		// A record that goes, and one that is not there.
		err := add(ctx, 2, func() { must[int](t)(others.Destroy(ctx, natsorm.Eq("id", 2))) })
		if !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("of a record that goes: %v", err)
		}
		if err := add(ctx, 99, nil); !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("of no record: %v", err)
		}
		// What was read from memory and from the bucket agrees, and so do two reads of one.
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			a := must[*user](t)(l.FindByPK(ctx, 1))
			b := must[*user](t)(users.FindOne(ctx, natsorm.Eq("email", "1")))
			c := must[*user](t)(l.FindOne(ctx, natsorm.Eq("id", 1)))
			if *a != *b || *a != *c {
				t.Errorf("%+v, %+v and %+v", a, b, c)
			}
			a.Name = "changed"
			if err := users.Save(ctx, a); err != nil {
				return err
			}
			if d := must[*user](t)(l.FindByPK(ctx, 1)); d.Name != "changed" {
				t.Errorf("its own write is %q", d.Name)
			}
			return nil
		}))
		is("all", 1, "changed")
		// Many at once, of two processes: each adds.
		must[int](t)(users.Update(ctx, natsorm.Set{"name": "0"}, natsorm.Eq("id", 3)))
		var wg sync.WaitGroup
		const each = 20
		for range 4 {
			wg.Go(func() {
				for range each {
					ok(t, add(ctx, 3, nil))
				}
			})
			wg.Go(func() {
				for range each {
					ok(t, addIn(ctx, otherDB, others, theirs, 3, nil))
				}
			})
		}
		wg.Wait()
		is("many", 3, strconv.Itoa(8*each))
	})
}

// A context that ends, ends a call that looks at many records in memory.
func TestLocalHeedsItsContext(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	var list []*user
	for i := range int64(2000) {
		list = append(list, &user{ID: i, Name: "n", Email: fmt.Sprint(i)})
	}
	ok(t, users.BulkCreate(within(t), list))
	l := local(t, users)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	n := 0
	var last error
	for _, err := range l.Each(ctx) {
		if last = err; err == nil {
			n++
		}
		cancel()
	}
	if !errors.Is(last, context.Canceled) || n == 0 || n == len(list) {
		t.Errorf("after %d records: %v", n, last)
	}
}
