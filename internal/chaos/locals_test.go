package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
)

// localBank is what one client has.
type localBank struct {
	db            *natsorm.DB
	accounts      *natsorm.Model[account]
	ledgers       *natsorm.Model[ledger]
	localAccounts *natsorm.Local[account]
	localLedgers  *natsorm.Local[ledger]
}

// audit looks at all accounts that are in memory, by one of the ways that there are.
func (b *localBank) audit(ctx context.Context, a *arena, rnd *rand.Rand, audits *atomic.Int64) {
	total, n := int64(0), int64(0)
	var err error
	how := []string{"FindAll", "in the order of an index", "Sum", "GroupBy", "by two ranges"}[rnd.IntN(5)]
	add := func(found []*account, e error) {
		for _, v := range found {
			total += v.Balance
			n++
		}
		err = errors.Join(err, e)
	}
	switch how {
	case "FindAll":
		add(b.localAccounts.FindAll(ctx))
	case "in the order of an index":
		add(b.localAccounts.FindAll(ctx, natsorm.OrderBy("-balance"), natsorm.Limit(accounts)))
	case "Sum":
		var sum float64
		sum, err = b.localAccounts.Sum(ctx, "balance")
		total, n = int64(sum), accounts
	case "GroupBy":
		var groups []natsorm.Record
		groups, err = b.localAccounts.GroupBy(ctx, []string{"balance"}, []natsorm.Aggregate{natsorm.CountRecords()})
		for _, g := range groups {
			total += g["balance"].(int64) * g["count"].(int64)
			n += g["count"].(int64)
		}
	case "by two ranges":
		add(b.localAccounts.FindAll(ctx, natsorm.Or(natsorm.Lt("balance", openingBalance), natsorm.Gte("balance", openingBalance))))
	}
	switch {
	case err != nil:
		a.unlucky(err)
	case total != accounts*openingBalance || n != accounts:
		a.violation("a Local shows another total", "%s: %d in %d accounts", how, total, n)
	default:
		audits.Add(1)
	}
}

// What is in the memory of each client is the bucket at some moment: every read of a Local finds the same total, by
// each way that it has, whatever transfers are under way and whoever dies. A client sees what it has
// written, and never less than it has seen. In the end each has what the bucket has.
func TestLocals(t *testing.T) {
	a := newArena(t)
	const clients = 16
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	banks := make([]localBank, clients)
	for c := range clients {
		db := a.client(c)
		banks[c] = localBank{db: db, accounts: define[account](a, db), ledgers: define[ledger](a, db)}
	}
	for id := range int64(accounts) {
		a.must(banks[0].accounts.Create(ctx, &account{ID: id, Balance: openingBalance}))
	}
	for c := range int64(clients) {
		a.must(banks[0].ledgers.Create(ctx, &ledger{ID: c}))
	}
	for c := range banks {
		var err error
		banks[c].localAccounts, err = banks[c].accounts.Local(ctx)
		a.must(err)
		banks[c].localLedgers, err = banks[c].ledgers.Local(ctx)
		a.must(err)
		a.must(banks[c].localLedgers.FreshAs(ctx))
	}
	var audits, transfers atomic.Int64
	acknowledged, seen := make([]int64, clients), make([]int64, clients)

	a.run(clients, []Fault{KillLeader, DropAnswers, StepDown, CutConnections}, func(ctx context.Context, client int, rnd *rand.Rand) {
		b := &banks[client]
		if rnd.IntN(3) > 0 {
			b.audit(ctx, a, rnd, &audits)
			l, err := b.localLedgers.FindByPK(ctx, client)
			switch {
			case err != nil:
				a.unlucky(err)
			case l.Transfers < acknowledged[client]:
				a.violation("a Local does not show what its own DB has written", "client %d: %d transfers, and %d were acknowledged", client, l.Transfers, acknowledged[client])
			case l.Transfers < seen[client]:
				a.violation("a Local goes back", "client %d: %d transfers, and %d before", client, l.Transfers, seen[client])
			default:
				seen[client] = l.Transfers
			}
			return
		}
		from, to, amount := rnd.Int64N(accounts), rnd.Int64N(accounts), 1+rnd.Int64N(10)
		if from == to {
			return
		}
		var readAccounts natsorm.Reader[account] = b.accounts
		if rnd.IntN(2) == 0 {
			readAccounts = b.localAccounts
		}
		var readLedgers natsorm.Reader[ledger] = b.ledgers
		if rnd.IntN(2) == 0 {
			readLedgers = b.localLedgers
		}
		err := b.db.Transaction(ctx, func(ctx context.Context) error {
			return transfer(ctx, readAccounts, b.accounts, readLedgers, b.ledgers, int64(client), from, to, amount)
		})
		switch {
		case err == nil:
			acknowledged[client]++
			transfers.Add(1)
		case errors.Is(err, errPoor), natsorm.SafeToRetry(err): // nothing happened
		case errors.Is(err, natsorm.ErrNotFound):
			a.violation("a record is gone", "%v", err)
		default:
			a.unlucky(err)
		}
	})

	ctx, cancel = context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	balances := map[int64]account{}
	for v, err := range banks[0].accounts.Latest().Each(ctx) {
		a.must(err)
		balances[v.ID] = *v
	}
	for c, b := range banks {
		a.must(b.localAccounts.FreshAs(ctx))
		n := 0
		for v, err := range b.localAccounts.Each(ctx) {
			a.must(err)
			if n++; *v != balances[v.ID] {
				a.violation("a Local has another record in the end", "client %d: %+v, and the bucket %+v", c, *v, balances[v.ID])
			}
		}
		if n != len(balances) {
			a.violation("a Local has other records in the end", "client %d: %d, and the bucket %d", c, n, len(balances))
		}
		a.must(b.localAccounts.Close())
		a.must(b.localLedgers.Close())
	}
	t.Logf("%d transfers, %d audits", transfers.Load(), audits.Load())
	if transfers.Load() == 0 || audits.Load() == 0 {
		t.Error("nothing was tested")
	}
	a.report()
}
