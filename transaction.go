package natsorm

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/typed"
)

// tx is one run of a transaction's function. The context that the function gets carries
// it to every call.
type tx struct {
	db *DB
	typed.Tx
	busy atomic.Bool // a call is under way

	models map[*handle]txModel
}

// handle knows which version of a model holds now. Every Model made from one Define
// shares its handle.
type handle = catalogue.Handle[*records.Model]

// txModel is a version of a model that the transaction uses.
type txModel struct {
	outside *records.Model
	inside  *records.Model
}

// txKey is the key under which a context has its *tx; Outside puts a nil *tx there.
type txKey struct{}

func txOf(ctx context.Context) *tx {
	t, _ := ctx.Value(txKey{}).(*tx)
	return t
}

// Transaction runs fn, and then writes all that its calls have changed, in one step.
// When fn returns an error, nothing is written, and Transaction returns that error.
//
//	err := db.Transaction(ctx, func(ctx context.Context) error {
//		from, err := accounts.FindByPK(ctx, 1)
//		…
//		from.Balance -= 10
//		return accounts.Save(ctx, from)
//	})
//
// Every call made with the context that fn gets is inside: any call, of any model of
// this DB. A Transaction inside fn joins this one: it commits with it, and an error of
// its function ends all of it. A call with another context is not inside. It does not
// see what fn has written, and what it writes stands at once, each time that fn runs.
// Use [Outside] where that is meant.
//
// Transactions are serializable: the result is the same as if each had run alone. A
// transaction commits only if everything that fn has read is still unchanged, and if
// what it looked for and did not find is still not there. fn sees its own writes, and
// otherwise one state of the bucket, even in a run that does not commit.
//
// When other writes changed what fn has read, fn runs again after a short random pause,
// until the transaction commits or ctx ends. So give ctx a deadline, let fn have no
// other effects than its calls, and let it keep nothing that it read for a later run.
// Records that fn creates or saves have their new versions after the commit; without a
// commit, they get back the versions that they had.
//
// Only one goroutine at a time may use a transaction: two calls at the same moment end
// it with ErrInvalid. Scans inside it are held in memory. On a bucket in a cluster, a
// transaction that scans, or that reads more keys than a batch has messages, runs again
// whenever anything in the bucket was written. Automatic ids are taken at once and are
// not given back. Watch, Truncate, Define and the calls about the whole bucket (Check,
// Backup, Restore, ChangeLayout, Migrate, Migrations) are refused inside with ErrInvalid.
//
// Errors: what fn returned. ErrUnique when another record has a unique value at the
// commit; two records of one transaction can exchange theirs. ErrTxTooLarge when the
// writes need more messages than a batch has; nothing was written. ErrConflict together
// with the context's error, when the transaction lost to other writes until ctx ended.
// ErrConflict also when it lost 32 times in a row at the same key while this DB wrote outside
// it, as a function does that calls with the wrong context. ErrUnknownOutcome when the answer to
// the commit was lost. ErrUnsupportedServer when the bucket's atomic publish is off and
// this account may not switch it on. A call with fn's context after the transaction has
// ended returns ErrTxDone; a call of another DB with that context returns ErrInvalid.
func (db *DB) Transaction(ctx context.Context, fn func(ctx context.Context) error) error {
	op := operation{name: "Transaction"}
	outer, err := db.begin(ctx, op)
	if err != nil {
		return err
	}
	outer.release() // fn's own calls reserve it
	switch {
	case fn == nil:
		return fmt.Errorf("%w: Transaction got a nil function; give it one that makes the calls", ErrInvalid)
	case outer != nil:
		return outer.join(ctx, fn)
	}
	return db.end(op, db.transact(ctx, fn))
}

// transact runs a transaction that is not inside another one.
func (db *DB) transact(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := db.store.EnableBatches(ctx); err != nil {
		return err
	}
	var t *tx
	generation := db.store.Generation()
	err := db.transactions.Run(ctx, db.store, func(run *txn.Tx) error {
		t = &tx{db: db, Tx: typed.Tx{Run: run}, models: map[*handle]txModel{}}
		err := fn(context.WithValue(ctx, txKey{}, t))
		if !t.busy.CompareAndSwap(false, true) { // never released: the commit begins
			return run.Fail(fmt.Errorf("%w: a goroutine still used the transaction when its function returned; wait for it before the function returns", ErrInvalid))
		}
		for h, m := range t.models {
			if e := t.unchanged(ctx, h, m.outside); err == nil {
				err = e
			}
		}
		return err
	})
	return t.renewed(ctx, generation, err)
}

// Outside returns ctx without its transaction. Calls with it do not see the
// transaction's writes. What they write stands at once, whatever becomes of the
// transaction, and as often as its function runs.
func Outside(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, (*tx)(nil))
}

// join runs the function of a Transaction that was called inside t. Its error ends t:
// some of its calls may have changed t already, and a Transaction is all or nothing. So
// does its panic, which somebody further out may recover.
func (t *tx) join(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	err = fmt.Errorf("%w: the function of a Transaction inside it panicked", ErrInvalid)
	defer func() {
		if err != nil {
			_ = t.Run.Fail(err) // Fail returns the first error, which the outer Transaction returns too
		}
	}()
	err = fn(ctx)
	return err
}

// reserve takes the transaction for one call, until release.
func (t *tx) reserve() error {
	if !t.busy.CompareAndSwap(false, true) {
		return t.Run.Fail(fmt.Errorf("%w: two goroutines used one transaction at the same time; make its calls from one goroutine", ErrInvalid))
	}
	return nil
}

func (t *tx) release() {
	if t != nil {
		t.busy.Store(false)
	}
}

// model is a model as the transaction sees it.
func (t *tx) model(ctx context.Context, h *handle) (*records.Model, error) {
	if m, ok := t.models[h]; ok {
		return m.inside, t.unchanged(ctx, h, m.outside)
	}
	if !h.Defined() {
		if err := t.db.renew(ctx, h); err != nil {
			return nil, err
		}
	}
	now, err := h.Current(ctx)
	if err != nil {
		return nil, err
	}
	if now.Def.Revision > 0 { // the commit is refused when the schema has changed
		if err := t.Run.Under(now.Def.Name, now.Def.Revision); err != nil {
			return nil, err
		}
	}
	m := txModel{outside: now, inside: now.In(t.Run)}
	t.models[h] = m
	return m.inside, nil
}

// unchanged ends this run when the model has got another version, which may have its
// records at other keys. The next run begins with that version.
func (t *tx) unchanged(ctx context.Context, h *handle, outside *records.Model) error {
	now, err := h.Current(ctx)
	if err == nil && now != outside {
		err = t.Run.Conflict(outside.Def.Name)
	}
	return err
}
