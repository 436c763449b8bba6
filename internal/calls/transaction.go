package calls

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
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

	models map[*Handle]txModel
}

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

// Transaction runs fn in a transaction, or in the one that ctx is inside of.
func (db *DB) Transaction(ctx context.Context, fn func(ctx context.Context) error) error {
	op := Operation{Name: "Transaction"}
	outer, err := db.begin(ctx, op)
	if err != nil {
		return err
	}
	outer.release() // fn's own calls reserve it
	switch {
	case fn == nil:
		return fmt.Errorf("%w: Transaction got a nil function; give it one that makes the calls", errs.ErrInvalid)
	case outer != nil:
		return outer.join(ctx, fn)
	}
	return db.end(op, db.transact(ctx, fn))
}

// transact runs a transaction that is not inside another one.
func (db *DB) transact(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := db.Bucket.EnableBatches(ctx); err != nil {
		return err
	}
	var t *tx
	generation := db.Bucket.Generation()
	err := db.transactions.Run(ctx, db.Bucket, func(run *txn.Tx) error {
		t = &tx{db: db, Tx: typed.Tx{Run: run}, models: map[*Handle]txModel{}}
		err := fn(context.WithValue(ctx, txKey{}, t))
		if !t.busy.CompareAndSwap(false, true) { // never released: the commit begins
			return run.Fail(fmt.Errorf("%w: a goroutine still used the transaction when its function returned; wait for it before the function returns", errs.ErrInvalid))
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

// Outside is ctx without its transaction.
func Outside(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, (*tx)(nil))
}

// join runs the function of a Transaction that was called inside t. Its error ends t:
// some of its calls may have changed t already, and a Transaction is all or nothing. So
// does its panic, which somebody further out may recover.
func (t *tx) join(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	err = fmt.Errorf("%w: the function of a Transaction inside it panicked", errs.ErrInvalid)
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
		return t.Run.Fail(fmt.Errorf("%w: two goroutines used one transaction at the same time; make its calls from one goroutine", errs.ErrInvalid))
	}
	return nil
}

func (t *tx) release() {
	if t != nil {
		t.busy.Store(false)
	}
}

// model is a model as the transaction sees it.
func (t *tx) model(ctx context.Context, h *Handle) (*records.Model, error) {
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
func (t *tx) unchanged(ctx context.Context, h *Handle, outside *records.Model) error {
	now, err := h.Current(ctx)
	if err == nil && now != outside {
		err = t.Run.Conflict(outside.Def.Name)
	}
	return err
}
