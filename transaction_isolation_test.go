package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// race runs two transactions that both look before either commits.
func race(t *testing.T, ctx context.Context, dbs []*natsorm.DB, each func(ctx context.Context, i int, looked func()) error) {
	t.Helper()
	var both, wg sync.WaitGroup
	both.Add(2)
	for i := range 2 {
		wg.Go(func() {
			var once sync.Once // later runs do not wait
			if err := dbs[i%len(dbs)].Transaction(ctx, func(ctx context.Context) error {
				return each(ctx, i, func() { once.Do(func() { both.Done(); both.Wait() }) })
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
				race(t, ctx, []*natsorm.DB{db}, func(ctx context.Context, i int, looked func()) error {
					n, err := accounts.Count(ctx, q)
					if err != nil {
						return err
					}
					looked()
					if n < 2 {
						return nil
					}
					_, err = accounts.Update(ctx, natsorm.Set{"owner": "at home"}, natsorm.Eq("id", i))
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
				race(t, ctx, []*natsorm.DB{db}, func(ctx context.Context, i int, looked func()) error {
					taken, err := bookings.FindAll(ctx, q(slot))
					if err != nil {
						return err
					}
					looked()
					if len(taken) > 0 {
						return nil
					}
					return bookings.Create(ctx, &booking{Slot: slot, By: fmt.Sprint(i)})
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
						err := db.Transaction(ctx, func(ctx context.Context) error {
							total = 0
							for a, err := range accounts.Each(ctx) {
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
					err := db.Transaction(ctx, func(ctx context.Context) error {
						a, err := accounts.FindByPK(ctx, from)
						if err != nil {
							return err
						}
						b, err := accounts.FindByPK(ctx, to)
						if err != nil {
							return err
						}
						amount := r.IntN(a.Balance + 1)
						a.Balance, b.Balance = a.Balance-amount, b.Balance+amount
						return errors.Join(accounts.Save(ctx, a), accounts.Save(ctx, b))
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

// What a run sees is one state, also in a run that will not commit.
func TestTransactionSeesOneState(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		for i := range 2 {
			ok(t, accounts.Create(ctx, &account{ID: i, Number: fmt.Sprint(i), Owner: "o"}))
		}
		runs := 0
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			runs++
			a, err := accounts.FindByPK(ctx, 0)
			if err != nil {
				return err
			}
			if runs == 1 { // both change together, between the reads
				ok(t, db.Transaction(natsorm.Outside(ctx), func(ctx context.Context) error {
					_, err := accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.All())
					return err
				}))
			}
			b, err := accounts.FindOne(ctx, natsorm.Eq("number", "1"))
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

// A read fails with its context between its answer and the validation;
// fn reads again.
func TestTransactionReadsAgainAfterAnError(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	srv := serve(t, embedded.Config{Port: -1})
	inner := natsormtest.Open(t, srv, "test")
	p := testbed.StartLossyProxy(t, srv.URL())
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{p.URL()}, Bucket: "test"})
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	accounts, direct := define[account](t, db), define[account](t, inner)
	for i := range 2 {
		ok(t, direct.Create(ctx, &account{ID: i, Number: fmt.Sprint(i)}))
	}
	runs := 0
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		runs++
		a, err := accounts.FindByPK(ctx, 0)
		if err != nil {
			return err
		}
		if runs == 1 {
			ok(t, inner.Transaction(natsorm.Outside(ctx), func(ctx context.Context) error {
				_, err := direct.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.All())
				return err
			}))
			p.Lose(func(subject string, answer bool) bool { return strings.Contains(subject, "STREAM.INFO") })
		}
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		b, err := accounts.FindByPK(short, 1)
		cancel()
		p.LoseNothing()
		if err != nil { // once more
			b, err = accounts.FindByPK(ctx, 1)
		}
		if err != nil {
			return err
		}
		if a.Balance != b.Balance {
			t.Errorf("run %d sees balances %d and %d", runs, a.Balance, b.Balance)
		}
		return nil
	}))
	t.Logf("%d runs", runs)
}
