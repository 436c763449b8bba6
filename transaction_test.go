package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
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
		err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			if err := in.Create(ctx, b); err != nil {
				return err
			}
			if _, err := in.Increment(ctx, natsorm.Set{"balance": -30}, natsorm.Eq("id", 1)); err != nil {
				return err
			}
			if _, err := in.Update(ctx, natsorm.Set{"balance": 30}, natsorm.Eq("number", "n2")); err != nil {
				return err
			}
			return bookings.In(tx).Create(ctx, &booking{Slot: "s", By: "Ann"})
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
		err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			ok(t, in.Create(ctx, &account{ID: 2, Number: "n2"}))
			a.Balance = 5
			ok(t, in.Save(ctx, a))
			must[int](t)(in.Destroy(ctx, natsorm.Eq("id", 1)))
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
			_ = db.Transaction(ctx, func(tx *natsorm.Tx) error {
				ok(t, accounts.In(tx).Create(ctx, &account{ID: 3, Number: "n3"}))
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
		err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			ok(t, in.Create(ctx, &account{ID: 100, Owner: "new", Number: "new", Balance: 1000}))
			must[int](t)(in.Update(ctx, natsorm.Set{"owner": "moved"}, natsorm.Eq("owner", "o0"))) // 0, 3 … 18
			must[int](t)(in.Destroy(ctx, natsorm.Eq("id", 1)))
			saved = must[*account](t)(in.FindByPK(ctx, 2))
			saved.Number = "changed"
			ok(t, in.Save(ctx, saved))
			ok(t, in.Save(ctx, saved)) // its version is the one of this transaction

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
				if n := must[int](t)(in.Count(ctx, c.q)); n != c.want {
					t.Errorf("%s: %d, want %d", c.name, n, c.want)
				}
				if n := len(must[[]*account](t)(in.FindAll(ctx, c.q))); n != c.want {
					t.Errorf("%s: found %d, want %d", c.name, n, c.want)
				}
			}
			if n := must[int](t)(accounts.Count(ctx, natsorm.Eq("owner", "moved"))); n != 0 {
				t.Errorf("outside, %d are seen before the commit", n)
			}
			if sum := must[float64](t)(in.Sum(ctx, "balance")); sum != 190-1+1000 {
				t.Errorf("sum %v", sum)
			}
			for v, err := range in.Each(ctx, natsorm.Eq("owner", "moved")) {
				ok(t, err)
				v.Balance++
				ok(t, in.Save(ctx, v))
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
		set := func(in *natsorm.Model[account], id int, number string) error {
			_, err := in.Update(ctx, natsorm.Set{"number": number}, natsorm.Eq("id", id))
			return err
		}
		ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			return errors.Join(set(in, 0, "n1"), set(in, 1, "n2"), set(in, 2, "n0"))
		}))
		for i := range 3 {
			if got := must[*account](t)(accounts.FindOne(ctx, natsorm.Eq("number", fmt.Sprint("n", (i+1)%3)))); got.ID != i {
				t.Errorf("n%d is %d's", (i+1)%3, got.ID)
			}
		}
		err := db.Transaction(ctx, func(tx *natsorm.Tx) error { return set(accounts.In(tx), 0, "n2") })
		var unique *natsorm.UniqueError
		if !errors.As(err, &unique) || unique.Owner != "1" {
			t.Errorf("a taken value: %v", err)
		}
		err = db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			return errors.Join(in.Create(ctx, &account{ID: 8, Number: "same"}), in.Create(ctx, &account{ID: 9, Number: "same"}))
		})
		if !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("two new records with one value: %v", err)
		}
		// A value that is given up in the same transaction is free.
		ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			if _, err := in.Destroy(ctx, natsorm.Eq("number", "n1")); err != nil {
				return err
			}
			return in.Create(ctx, &account{ID: 10, Number: "n1"})
		}))
		err = db.Transaction(ctx, func(tx *natsorm.Tx) error {
			return accounts.In(tx).Create(ctx, &account{ID: 10, Number: "other"})
		})
		if !errors.Is(err, natsorm.ErrExists) {
			t.Errorf("a taken key: %v", err)
		}
	})
}

// race runs two transactions that both look before either commits.
func race(t *testing.T, ctx context.Context, dbs []*natsorm.DB, each func(in *natsorm.Tx, i int, looked func()) error) {
	t.Helper()
	var both, wg sync.WaitGroup
	both.Add(2)
	for i := range 2 {
		wg.Go(func() {
			var once sync.Once // later runs do not wait
			if err := dbs[i%len(dbs)].Transaction(ctx, func(tx *natsorm.Tx) error {
				return each(tx, i, func() { once.Do(func() { both.Done(); both.Wait() }) })
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Two doctors are on call, and each leaves if the other stays.
func TestTransactionWriteSkew(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		paths := map[string]natsorm.Query{"index": natsorm.Eq("owner", "on call"), "scan": natsorm.Like("owner", "on%"), "keys": natsorm.And(natsorm.In("id", 0, 1), natsorm.Eq("owner", "on call"))}
		for name, q := range paths {
			for round := range testsize.Pick(4, 8, 20) {
				for i := range 2 {
					must[bool](t)(accounts.Upsert(ctx, &account{ID: i, Owner: "on call", Number: fmt.Sprint("n", i)}))
				}
				race(t, ctx, []*natsorm.DB{db}, func(tx *natsorm.Tx, i int, looked func()) error {
					in := accounts.In(tx)
					n, err := in.Count(ctx, q)
					if err != nil {
						return err
					}
					looked()
					if n < 2 {
						return nil
					}
					_, err = in.Update(ctx, natsorm.Set{"owner": "at home"}, natsorm.Eq("id", i))
					return err
				})
				if n := must[int](t)(accounts.Count(ctx, natsorm.Eq("owner", "on call"))); n != 1 {
					t.Fatalf("%s, round %d: %d doctors are on call", name, round, n)
				}
			}
		}
	})
}

// Two book one slot that both saw free: by an index lookup, a unique one, a scan
// and a key.
func TestTransactionPhantoms(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		bookings := define[booking](t, db)
		paths := map[string]func(slot string) natsorm.Query{
			"index": func(slot string) natsorm.Query { return natsorm.Eq("slot", slot) },
			"scan":  func(slot string) natsorm.Query { return natsorm.Like("slot", slot[:len(slot)-1]+"_") },
			"in":    func(slot string) natsorm.Query { return natsorm.In("slot", slot, "other") },
		}
		for name, q := range paths {
			for round := range testsize.Pick(4, 8, 20) {
				slot := fmt.Sprint(name, " slot ", round, "!")
				race(t, ctx, []*natsorm.DB{db}, func(tx *natsorm.Tx, i int, looked func()) error {
					in := bookings.In(tx)
					taken, err := in.FindAll(ctx, q(slot))
					if err != nil {
						return err
					}
					looked()
					if len(taken) > 0 {
						return nil
					}
					return in.Create(ctx, &booking{Slot: slot, By: fmt.Sprint(i)})
				})
				if n := must[int](t)(bookings.Count(ctx, natsorm.Eq("slot", slot))); n != 1 {
					t.Fatalf("%s was booked %d times", slot, n)
				}
			}
		}
	})
}

// Money moves between accounts; nobody ever sees some of it missing.
func TestTransactionBank(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		const n, each, clients = 30, 100, 8
		for i := range n {
			ok(t, accounts.Create(ctx, &account{ID: i, Owner: "o", Number: fmt.Sprint(i), Balance: each}))
		}
		runs := testsize.Pick(10, 30, 100)
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(c)))
				for i := range runs {
					if i%10 == 9 {
						total := 0
						err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
							total = 0
							for a, err := range accounts.In(tx).Each(ctx) {
								if err != nil {
									return err
								}
								total += a.Balance
							}
							if total != n*each {
								t.Errorf("in a run, the total is %d", total)
							}
							return nil
						})
						if err != nil || total != n*each {
							t.Errorf("total %d, %v", total, err)
						}
						continue
					}
					from, to := r.IntN(n), r.IntN(n)
					if from == to {
						continue
					}
					err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
						in := accounts.In(tx)
						a, err := in.FindByPK(ctx, from)
						if err != nil {
							return err
						}
						b, err := in.FindByPK(ctx, to)
						if err != nil {
							return err
						}
						amount := r.IntN(a.Balance + 1)
						a.Balance, b.Balance = a.Balance-amount, b.Balance+amount
						return errors.Join(in.Save(ctx, a), in.Save(ctx, b))
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if sum := must[float64](t)(accounts.Sum(ctx, "balance")); sum != n*each {
			t.Errorf("in the end the total is %v", sum)
		}
	})
}

func TestTransactionTooLarge(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		fill := func(n int) error {
			return db.Transaction(ctx, func(tx *natsorm.Tx) error {
				in := accounts.In(tx)
				for i := range n {
					if err := in.Create(ctx, &account{ID: i, Number: fmt.Sprint(i)}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := fill(251); !errors.Is(err, natsorm.ErrTxTooLarge) {
			t.Errorf("1,004 messages: %v", err)
		}
		if n := must[int](t)(accounts.Count(ctx)); n != 0 {
			t.Errorf("%d records were written", n)
		}
		ok(t, fill(250))
	})
}

// More is read than a batch has conditions for: by key, and by a scan of more
// records than one request reads. What changes meanwhile makes it run again.
func TestTransactionReadsMuch(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		all := make([]*account, 4000)
		for i := range all {
			all[i] = &account{ID: i, Number: fmt.Sprint(i), Owner: "many"}
		}
		ok(t, accounts.BulkCreate(ctx, all))
		ids := make([]any, 1100)
		for i := range ids {
			ids[i] = i
		}
		for name, c := range map[string]struct {
			q    natsorm.Query
			want int
		}{"keys": {natsorm.In("id", ids...), 1100}, "scan": {natsorm.All(), 4000}, "index": {natsorm.Eq("owner", "many"), 4000}} {
			runs := 0
			ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
				runs++
				in := accounts.In(tx)
				found, err := in.FindAll(ctx, c.q)
				if err != nil {
					return err
				}
				if len(found) != c.want {
					t.Errorf("%s: %d records were found, want %d", name, len(found), c.want)
				}
				if runs == 1 {
					must[int](t)(accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("id", 7)))
				}
				_, err = in.Update(ctx, natsorm.Set{"balance": runs}, natsorm.Eq("id", 3))
				return err
			}))
			if runs != 2 {
				t.Errorf("%s: it ran %d times", name, runs)
			}
		}
	})
}

// A Save that changes nothing leaves the record's version, and does not hide that
// its claim may belong to a writer who has not committed yet.
func TestTransactionFencesTheOwnerOfAClaim(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		one, two := &account{ID: 1, Number: "1"}, &account{ID: 2, Number: "2"}
		ok(t, accounts.BulkCreate(ctx, []*account{one, two}))
		// A phased writer of 2 has taken the claim of "x", and is about to commit.
		must[uint64](t)(db.KV().Put(ctx, "account.unique.number.x", []byte("2")))
		ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			_, err := in.Update(ctx, natsorm.Set{"number": "x"}, natsorm.Eq("id", 1))
			return errors.Join(err, in.Save(ctx, two)) // as it is
		}))
		if _, err := db.KV().Update(ctx, "account.shard_2.2", []byte(`{"id":2,"owner":"","number":"x","balance":0}`), two.Version); err == nil {
			t.Error("the other writer could commit: both records have the value")
		}
		ok(t, accounts.Save(ctx, two)) // its version survives the fence
		ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error { return accounts.In(tx).Save(ctx, two) }))
		ok(t, accounts.Save(ctx, two))
	})
}

// Errors of other transactions do not make this one run again, and a goroutine
// that outlives the function is refused.
func TestTransactionInsideAnother(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
	runs := 0
	err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
		runs++
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		return db.Transaction(short, func(tx *natsorm.Tx) error {
			in := accounts.In(tx)
			a, err := in.FindByPK(short, 1)
			if err != nil {
				return err
			}
			must[int](t)(accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("id", 1)))
			a.Owner = "mine"
			return in.Save(short, a)
		})
	})
	if !errors.Is(err, natsorm.ErrConflict) || runs != 1 {
		t.Errorf("after %d runs: %v", runs, err)
	}

	stop, stopped := make(chan struct{}), make(chan struct{})
	err = db.Transaction(ctx, func(tx *natsorm.Tx) error {
		in := accounts.In(tx)
		ok(t, in.Create(ctx, &account{ID: 2, Number: "2"}))
		started := make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				_, err := in.FindByPK(ctx, i)
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
	var kept *natsorm.Tx
	ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
		kept = tx
		if err := foreign.In(tx).Create(ctx, &account{ID: 1}); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("a model of another DB: %v", err)
		}
		if _, err := accounts.In(tx).Watch(ctx); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("a watch: %v", err)
		}
		if err := accounts.In(tx).Truncate(ctx); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("truncate: %v", err)
		}
		return nil
	}))
	if err := accounts.In(kept).Create(ctx, &account{ID: 1}); !errors.Is(err, natsorm.ErrTxDone) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := accounts.In(nil).FindAll(ctx); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a nil Tx: %v", err)
	}
	if err := db.Transaction(ctx, nil); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a nil function: %v", err)
	}

	// From two goroutines: one of the calls fails, and nothing is written.
	err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
		in := accounts.In(tx)
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					if err := in.Create(ctx, &account{ID: 100*g + i, Number: fmt.Sprint(g, "-", i)}); err != nil {
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
	accounts := define[account](t, db)
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	runs, outside := 0, 0
	err := db.Transaction(short, func(tx *natsorm.Tx) error {
		runs++
		in := accounts.In(tx)
		a, err := in.FindByPK(short, 1)
		if err != nil {
			return err
		}
		must[int](t)(accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("id", 1))) // outside, each time
		outside++
		a.Owner = "mine"
		return in.Save(short, a)
	})
	if !errors.Is(err, natsorm.ErrConflict) || !errors.Is(err, context.DeadlineExceeded) || !natsorm.SafeToRetry(err) {
		t.Errorf("after %d runs: %v", runs, err)
	}
	if runs < 3 {
		t.Errorf("it ran %d times", runs)
	}
	if a := must[*account](t)(accounts.FindByPK(ctx, 1)); a.Owner != "" || a.Balance != outside {
		t.Errorf("after %d runs: %+v", runs, a)
	}
}

// What a run sees is one state, also in a run that will not commit.
func TestTransactionSeesOneState(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		for i := range 2 {
			ok(t, accounts.Create(ctx, &account{ID: i, Number: fmt.Sprint(i), Owner: "o"}))
		}
		runs := 0
		ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
			runs++
			in := accounts.In(tx)
			a, err := in.FindByPK(ctx, 0)
			if err != nil {
				return err
			}
			if runs == 1 { // both change together, between the reads
				ok(t, db.Transaction(ctx, func(tx *natsorm.Tx) error {
					_, err := accounts.In(tx).Increment(ctx, natsorm.Set{"balance": 1}, natsorm.All())
					return err
				}))
			}
			b, err := in.FindOne(ctx, natsorm.Eq("number", "1"))
			if err != nil {
				return err
			}
			if a.Balance != b.Balance {
				t.Errorf("run %d sees %d and %d", runs, a.Balance, b.Balance)
			}
			return nil
		}))
		if runs != 2 {
			t.Errorf("it ran %d times", runs)
		}
	})
}
