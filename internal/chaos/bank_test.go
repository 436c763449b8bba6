package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
)

// account is where the money is.
type account struct {
	ID      int64 `json:"id"      orm:"primaryKey"`
	Balance int64 `json:"balance" orm:"index"`
}

// ledger counts the transfers of one client, in the same transactions.
type ledger struct {
	ID        int64 `json:"id" orm:"primaryKey"`
	Transfers int64 `json:"transfers"`
}

const (
	accounts       = 100
	openingBalance = 100
)

// Money is neither made nor lost: every transaction that reads all accounts
// finds the same total, whatever transfers are under way and whoever dies, and
// so does the end. Each transfer that was acknowledged happened once.
func TestBank(t *testing.T) {
	a := newArena(t)
	const clients = 32
	type bank struct {
		db       *natsorm.DB
		accounts *natsorm.Model[account]
		ledgers  *natsorm.Model[ledger]
	}
	banks := make([]bank, clients)
	for c := range clients {
		db := a.client(c)
		banks[c] = bank{db, define[account](a, db), define[ledger](a, db)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	for id := range int64(accounts) {
		a.must(banks[0].accounts.Create(ctx, &account{ID: id, Balance: openingBalance}))
	}
	for c := range int64(clients) {
		a.must(banks[0].ledgers.Create(ctx, &ledger{ID: c}))
	}
	var audits atomic.Int64
	acknowledged, unknown := make([]int64, clients), make([]int64, clients) // transfers, by client
	faults := []Fault{KillLeader, DropAnswers, StepDown, CutConnections}

	a.run(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		b := banks[client]
		if rnd.IntN(10) == 0 {
			var total, n int64
			err := b.db.Transaction(ctx, func(ctx context.Context) error {
				all, err := b.accounts.FindAll(ctx)
				total, n = 0, int64(len(all))
				for _, v := range all {
					total += v.Balance
				}
				return err
			})
			switch {
			case errors.Is(err, natsorm.ErrNotFound):
				a.violation("a record is gone", "%v", err)
			case err != nil:
				a.unlucky(err)
			case total != accounts*openingBalance || n != accounts:
				a.violation("a transaction sees another total", "%d in %d accounts", total, n)
			default:
				audits.Add(1)
			}
			return
		}
		from, to, amount := rnd.Int64N(accounts), rnd.Int64N(accounts), 1+rnd.Int64N(10)
		if from == to {
			return
		}
		err := b.db.Transaction(ctx, func(ctx context.Context) error {
			return transfer(ctx, b.accounts, b.accounts, b.ledgers, b.ledgers, int64(client), from, to, amount)
		})
		switch {
		case err == nil:
			acknowledged[client]++
		case errors.Is(err, errPoor), natsorm.SafeToRetry(err): // nothing happened
		case errors.Is(err, natsorm.ErrNotFound):
			a.violation("a record is gone", "%v", err)
		default:
			a.unlucky(err)
			unknown[client]++
		}
	})

	ctx, cancel = context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	total, transfers := int64(0), int64(0)
	for v, err := range banks[0].accounts.Latest().Each(ctx) {
		a.must(err)
		total += v.Balance
		if v.Balance < 0 {
			a.violation("an account is overdrawn", "%+v", *v)
		}
	}
	if total != accounts*openingBalance {
		a.violation("money was made or lost", "%d at the end, %d at the start", total, accounts*openingBalance)
	}
	for c := range clients {
		l, err := banks[0].ledgers.Latest().FindByPK(ctx, c)
		a.must(err)
		transfers += l.Transfers
		if l.Transfers < acknowledged[c] || l.Transfers > acknowledged[c]+unknown[c] {
			a.violation("a transfer is lost, or happened twice", "client %d: %d acknowledged, %d unknown, %d happened", c, acknowledged[c], unknown[c], l.Transfers)
		}
	}
	t.Logf("%d transfers, %d audits", transfers, audits.Load())
	if transfers == 0 || audits.Load() == 0 {
		t.Error("nothing was tested")
	}
	a.report()
}

// errPoor ends a transfer that an account has not enough for.
var errPoor = errors.New("not enough money")

// transfer moves money and counts it. The records are read through the readers. An account that does not
// have enough is the transaction's own error, which rolls everything back.
func transfer(ctx context.Context, readAccounts natsorm.Reader[account], accounts *natsorm.Model[account], readLedgers natsorm.Reader[ledger], ledgers *natsorm.Model[ledger], client, from, to, amount int64) error {
	src, err := readAccounts.FindByPK(ctx, from)
	if err != nil {
		return err
	}
	if src.Balance < amount {
		return fmt.Errorf("%w: account %d", errPoor, from)
	}
	dst, err := readAccounts.FindByPK(ctx, to)
	if err != nil {
		return err
	}
	l, err := readLedgers.FindByPK(ctx, client)
	if err != nil {
		return err
	}
	src.Balance -= amount
	dst.Balance += amount
	l.Transfers++
	return errors.Join(accounts.Save(ctx, src), accounts.Save(ctx, dst), ledgers.Save(ctx, l))
}
