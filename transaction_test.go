package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

type account struct {
	ID      int    `json:"id" orm:"primaryKey"`
	Owner   string `json:"owner" orm:"index"`
	Number  string `json:"number" orm:"unique"`
	Balance int    `json:"balance" orm:"index"`
	Version uint64 `json:"-" orm:"version"`
}

type booking struct {
	ID   int64  `json:"id" orm:"primaryKey,auto"`
	Slot string `json:"slot" orm:"index"`
	By   string `json:"by"`
}

// storages are a database in memory and one in files.
var storages = []struct {
	name string
	open func(testing.TB) *natsorm.DB
}{
	{"memory", func(t testing.TB) *natsorm.DB { return natsormtest.New(t) }},
	{"files", onFiles},
}

// onEach runs a test on each storage.
func onEach(t *testing.T, test func(t *testing.T, ctx context.Context, db *natsorm.DB)) {
	t.Parallel()
	for _, s := range storages {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			test(t, within(t), s.open(t))
		})
	}
}

func TestTransactionCommitsTogether(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts, bookings := define[account](t, db), define[booking](t, db)
		a := &account{ID: 1, Owner: "Ann", Number: "n1", Balance: 100}
		ok(t, accounts.Create(ctx, a))
		b := &account{ID: 2, Owner: "Bob", Number: "n2"}
		err := db.Transaction(ctx, func(ctx context.Context) error {
			if err := accounts.Create(ctx, b); err != nil {
				return err
			}
			if _, err := accounts.Increment(ctx, natsorm.Set{"balance": -30}, natsorm.Eq("id", 1)); err != nil {
				return err
			}
			if _, err := accounts.Update(ctx, natsorm.Set{"balance": 30}, natsorm.Eq("number", "n2")); err != nil {
				return err
			}
			return bookings.Create(ctx, &booking{Slot: "s", By: "Ann"})
		})
		ok(t, err)
		if got := must[*account](t)(accounts.FindByPK(ctx, 1)); got.Balance != 70 {
			t.Errorf("balance %d", got.Balance)
		}
		got := must[*account](t)(accounts.FindOne(ctx, natsorm.Eq("balance", 30)))
		if got.ID != 2 {
			t.Errorf("found %+v", got)
		}
		if n := must[int](t)(bookings.Count(ctx)); n != 1 {
			t.Errorf("%d bookings", n)
		}
	})
}

func TestTransactionRollsBack(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		a := &account{ID: 1, Owner: "Ann", Number: "n1", Balance: 100}
		ok(t, accounts.Create(ctx, a))
		version := a.Version
		mine := errors.New("no")
		err := db.Transaction(ctx, func(ctx context.Context) error {
			ok(t, accounts.Create(ctx, &account{ID: 2, Number: "n2"}))
			a.Balance = 5
			ok(t, accounts.Save(ctx, a))
			must[int](t)(accounts.Destroy(ctx, natsorm.Eq("id", 1)))
			return mine
		})
		if !errors.Is(err, mine) {
			t.Errorf("got %v", err)
		}
		if n := must[int](t)(accounts.Count(ctx)); n != 1 {
			t.Errorf("%d accounts", n)
		}
		if a.Version != version {
			t.Errorf("version %d, was %d", a.Version, version)
		}
		ok(t, accounts.Save(ctx, a))
		func() {
			defer func() { _ = recover() }()
			_ = db.Transaction(ctx, func(ctx context.Context) error {
				ok(t, accounts.Create(ctx, &account{ID: 3, Number: "n3"}))
				panic("in the middle")
			})
		}()
		if n := must[int](t)(accounts.Count(ctx)); n != 1 {
			t.Errorf("%d accounts after a panic", n)
		}
	})
}

// Inside, a transaction sees its own writes by every path, and outside nobody
// does before it commits.
func TestTransactionSeesItsWrites(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		for i := range 20 {
			ok(t, accounts.Create(ctx, &account{ID: i, Owner: fmt.Sprint("o", i%3), Number: fmt.Sprint("n", i), Balance: i}))
		}
		var saved *account
		err := db.Transaction(ctx, func(ctx context.Context) error {
			ok(t, accounts.Create(ctx, &account{ID: 100, Owner: "new", Number: "new", Balance: 1000}))
			must[int](t)(accounts.Update(ctx, natsorm.Set{"owner": "moved"}, natsorm.Eq("owner", "o0"))) // 0, 3 … 18
			must[int](t)(accounts.Destroy(ctx, natsorm.Eq("id", 1)))
			saved = must[*account](t)(accounts.FindByPK(ctx, 2))
			saved.Number = "changed"
			ok(t, accounts.Save(ctx, saved))
			ok(t, accounts.Save(ctx, saved)) // its version is the one of this transaction

			for _, c := range []struct {
				name string
				q    natsorm.Query
				want int
			}{
				{"all", natsorm.All(), 20},
				{"index, gone", natsorm.Eq("owner", "o0"), 0},
				{"index, moved", natsorm.Eq("owner", "moved"), 7},
				{"index, new", natsorm.Eq("owner", "new"), 1},
				{"index, destroyed", natsorm.Eq("owner", "o1"), 6},
				{"unique, new", natsorm.Eq("number", "new"), 1},
				{"unique, changed", natsorm.Eq("number", "changed"), 1},
				{"unique, old", natsorm.Eq("number", "n2"), 0},
				{"unique, destroyed", natsorm.Eq("number", "n1"), 0},
				{"key, destroyed", natsorm.Eq("id", 1), 0},
				{"union", natsorm.Or(natsorm.Eq("owner", "new"), natsorm.Eq("number", "changed"), natsorm.Eq("id", 1)), 2},
				{"scan", natsorm.Gte("balance", 19), 2},
			} {
				if n := must[int](t)(accounts.Count(ctx, c.q)); n != c.want {
					t.Errorf("%s: %d, want %d", c.name, n, c.want)
				}
				if n := len(must[[]*account](t)(accounts.FindAll(ctx, c.q))); n != c.want {
					t.Errorf("%s: found %d, want %d", c.name, n, c.want)
				}
			}
			if n := must[int](t)(accounts.Count(natsorm.Outside(ctx), natsorm.Eq("owner", "moved"))); n != 0 {
				t.Errorf("outside, %d are seen before the commit", n)
			}
			if sum := must[float64](t)(accounts.Sum(ctx, "balance")); sum != 190-1+1000 {
				t.Errorf("sum %v", sum)
			}
			for v, err := range accounts.Each(ctx, natsorm.Eq("owner", "moved")) {
				ok(t, err)
				v.Balance++
				ok(t, accounts.Save(ctx, v))
			}
			return nil
		})
		ok(t, err)
		if n := must[int](t)(accounts.Count(ctx, natsorm.Eq("owner", "moved"))); n != 7 {
			t.Errorf("%d after the commit", n)
		}
		if sum := must[float64](t)(accounts.Sum(ctx, "balance")); sum != 190-1+1000+7 {
			t.Errorf("sum %v", sum)
		}
		stored := must[*account](t)(accounts.FindByPK(ctx, 2))
		if stored.Version != saved.Version {
			t.Errorf("the version is %d, and %d in the value that was saved", stored.Version, saved.Version)
		}
		ok(t, accounts.Save(ctx, saved))
	})
}

// Records exchange unique values; one that another keeps is refused.
func TestTransactionUniqueValues(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		for i := range 3 {
			ok(t, accounts.Create(ctx, &account{ID: i, Number: fmt.Sprint("n", i)}))
		}
		set := func(ctx context.Context, id int, number string) error {
			_, err := accounts.Update(ctx, natsorm.Set{"number": number}, natsorm.Eq("id", id))
			return err
		}
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			return errors.Join(set(ctx, 0, "n1"), set(ctx, 1, "n2"), set(ctx, 2, "n0"))
		}))
		for i := range 3 {
			if got := must[*account](t)(accounts.FindOne(ctx, natsorm.Eq("number", fmt.Sprint("n", (i+1)%3)))); got.ID != i {
				t.Errorf("n%d is %d's", (i+1)%3, got.ID)
			}
		}
		err := db.Transaction(ctx, func(ctx context.Context) error { return set(ctx, 0, "n2") })
		var unique *natsorm.UniqueError
		if !errors.As(err, &unique) || unique.Owner != "1" {
			t.Errorf("a taken value: %v", err)
		}
		err = db.Transaction(ctx, func(ctx context.Context) error {
			return errors.Join(accounts.Create(ctx, &account{ID: 8, Number: "same"}), accounts.Create(ctx, &account{ID: 9, Number: "same"}))
		})
		if !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("two new records with one value: %v", err)
		}
		// A value that is given up in the same transaction is free.
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			if _, err := accounts.Destroy(ctx, natsorm.Eq("number", "n1")); err != nil {
				return err
			}
			return accounts.Create(ctx, &account{ID: 10, Number: "n1"})
		}))
		err = db.Transaction(ctx, func(ctx context.Context) error {
			return accounts.Create(ctx, &account{ID: 10, Number: "other"})
		})
		if !errors.Is(err, natsorm.ErrExists) {
			t.Errorf("a taken key: %v", err)
		}
	})
}

// Errors of other transactions do not make this one run again, and a goroutine
// that outlives the function is refused.
func TestTransactionInsideAnother(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts, others := define[account](t, db), define[account](t, another(t, db))
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
	runs := 0
	whole := ctx
	err := db.Transaction(ctx, func(ctx context.Context) error {
		runs++
		short, cancel := context.WithTimeout(natsorm.Outside(ctx), 300*time.Millisecond)
		defer cancel()
		return db.Transaction(short, func(ctx context.Context) error {
			a, err := accounts.FindByPK(ctx, 1)
			if err != nil {
				return err
			}
			must[int](t)(others.Increment(whole, natsorm.Set{"balance": 1}, natsorm.Eq("id", 1)))
			a.Owner = "mine"
			return accounts.Save(ctx, a)
		})
	})
	if !errors.Is(err, natsorm.ErrConflict) || runs != 1 {
		t.Errorf("after %d runs: %v", runs, err)
	}

	stop, stopped := make(chan struct{}), make(chan struct{})
	err = db.Transaction(ctx, func(ctx context.Context) error {
		ok(t, accounts.Create(ctx, &account{ID: 2, Number: "2"}))
		started := make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				_, err := accounts.FindByPK(ctx, i)
				if i == 0 {
					close(started)
				}
				if errors.Is(err, natsorm.ErrTxDone) || errors.Is(err, natsorm.ErrInvalid) {
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		<-started
		return nil
	})
	close(stop)
	<-stopped
	if n := must[int](t)(accounts.Count(ctx)); err != nil && (n != 1 || !errors.Is(err, natsorm.ErrInvalid)) {
		t.Errorf("%d records after %v", n, err)
	}
}

func TestTransactionMisuse(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db, other := natsormtest.New(t), natsormtest.New(t)
	accounts, foreign := define[account](t, db), define[account](t, other)
	var kept context.Context
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		kept = ctx
		if err := foreign.Create(ctx, &account{ID: 1}); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("a model of another DB: %v", err)
		}
		if _, err := accounts.Watch(ctx); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("a watch: %v", err)
		}
		if err := accounts.Truncate(ctx); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("truncate: %v", err)
		}
		return nil
	}))
	if err := accounts.Create(kept, &account{ID: 1}); !errors.Is(err, natsorm.ErrTxDone) {
		t.Errorf("after its end: %v", err)
	}
	if err := db.Transaction(ctx, nil); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a nil function: %v", err)
	}

	// From two goroutines: one of the calls fails, and nothing is written.
	err := db.Transaction(ctx, func(ctx context.Context) error {
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					if err := accounts.Create(ctx, &account{ID: 100*g + i, Number: fmt.Sprint(g, "-", i)}); err != nil {
						mu.Lock()
						refused++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if refused == 0 {
			t.Error("eight goroutines used a transaction, and none was refused")
		}
		return nil
	})
	if !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("from several goroutines: %v", err)
	}
	if n := must[int](t)(accounts.Count(ctx)); n != 0 {
		t.Errorf("%d records were written", n)
	}
}

// A transaction whose way is never free ends with its context.
func TestTransactionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts, others := define[account](t, db), define[account](t, another(t, db))
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
	runs, outside := 0, 0
	for err := natsorm.ErrUnknownOutcome; errors.Is(err, natsorm.ErrUnknownOutcome); { // it ended while a commit was under way
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		runs = 0
		err = db.Transaction(short, func(ctx context.Context) error {
			runs++
			a, err := accounts.FindByPK(ctx, 1)
			if err != nil {
				return err
			}
			n, err := others.Increment(natsorm.Outside(context.WithoutCancel(ctx)), natsorm.Set{"balance": 1}, natsorm.Eq("id", 1)) // each time, and with an outcome that is known
			if outside += n; err != nil {
				return err
			}
			a.Owner = "mine"
			return accounts.Save(ctx, a)
		})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("after %d runs: %v", runs, err)
		}
		if unknown := errors.Is(err, natsorm.ErrUnknownOutcome); !unknown && (!errors.Is(err, natsorm.ErrConflict) || !natsorm.SafeToRetry(err)) {
			t.Fatalf("after %d runs: %v", runs, err)
		}
	}
	if runs < 3 {
		t.Errorf("it ran %d times", runs)
	}
	if a := must[*account](t)(accounts.FindByPK(ctx, 1)); a.Owner != "" || a.Balance != outside {
		t.Errorf("after %d runs: %+v", runs, a)
	}
}

// A bucket whose atomic publish is off, and may not be switched on, has records but
// no transactions. One whose atomic publish somebody switches off gets it back.
func TestTransactionsNeedBatches(t *testing.T) {
	t.Parallel()
	url := guarded(t)
	ctx := within(t)
	admin, err := nats.Connect(url, nats.UserInfo("admin", "secret"))
	ok(t, err)
	t.Cleanup(admin.Close)
	js := must[jetstream.JetStream](t)(jetstream.New(admin))
	off := jetstream.KeyValueConfig{Bucket: "shop", Storage: jetstream.MemoryStorage}
	_, err = js.CreateKeyValue(ctx, off)
	ok(t, err)
	app := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "shop", User: "app", Pass: "secret"}))
	t.Cleanup(func() { natsormtest.Prove(t, app); app.Close() })
	users := define[user](t, app)
	ok(t, users.BulkCreate(ctx, []*user{{ID: 1, Email: "1"}, {ID: 2, Email: "2"}}))
	for range 2 {
		err = app.Transaction(ctx, func(ctx context.Context) error { return users.Create(ctx, &user{ID: 3, Email: "3"}) })
		if !errors.Is(err, natsorm.ErrUnsupportedServer) || !strings.Contains(err.Error(), "KV_shop") {
			t.Errorf("a transaction without batches: %v", err)
		}
	}
	if p := must[natsorm.Plan](t)(users.Explain(ctx)); p.Writes != natsorm.WritesPhased {
		t.Errorf("records are written %s", p.Writes)
	}
	if n := must[int](t)(users.Count(ctx)); n != 2 {
		t.Errorf("%d records", n)
	}

	mine := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "shop", User: "admin", Pass: "secret"}))
	t.Cleanup(func() { mine.Close() })
	users = define[user](t, mine)
	for i := range 3 {
		conf := must[jetstream.Stream](t)(js.Stream(ctx, "KV_shop")).CachedInfo().Config
		conf.AllowAtomicPublish = false // as a tool does that knows nothing of it
		_, err = js.UpdateStream(ctx, conf)
		ok(t, err)
		if i == 0 {
			ok(t, mine.Transaction(ctx, func(ctx context.Context) error { return users.Create(ctx, &user{ID: 3, Email: "3"}) }))
		} else {
			ok(t, users.Create(ctx, &user{ID: int64(3 + i), Email: fmt.Sprint(3 + i)}))
		}
	}
	if n := must[int](t)(users.Count(ctx)); n != 5 {
		t.Errorf("%d records", n)
	}
}
