package natsorm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/txn"
)

// tx is one run of a transaction's function. The context that the function gets
// carries it to every call.
type tx struct {
	db   *DB
	run  *txn.Tx
	busy atomic.Bool // a call is under way

	mu       sync.Mutex
	versions map[any]uint64 // of values that were written, before that; by pointer

	models map[*handle]txModel
}

// handle knows which version of a model holds, for everything that was made of one.
type handle = catalogue.Handle[*records.Model]

// txModel is a version of a model that the transaction uses.
type txModel struct {
	outside *records.Model
	inside  *records.Model
}

// txKey is the key of a context's *tx; a nil one is Outside's.
type txKey struct{}

func txOf(ctx context.Context) *tx {
	t, _ := ctx.Value(txKey{}).(*tx)
	return t
}

// Transaction runs fn, and writes what its calls have changed: all of it together,
// or nothing when fn returns an error, which Transaction then returns.
//
//	err := db.Transaction(ctx, func(ctx context.Context) error {
//		from, err := accounts.FindByPK(ctx, 1)
//		…
//		from.Balance -= 10
//		return accounts.Save(ctx, from)
//	})
//
// Every call that is made with the context that fn gets is inside: any call, of any
// model of this DB. A Transaction inside fn is part of this one, and an error of its
// function ends all of it. Calls with another context are not inside: they do not
// see what fn has written, and what they write stands at once, each time that fn
// runs. Use [Outside] where that is meant.
//
// Transactions are serializable: the result is as if each had run alone. One commits
// only if everything that fn has read is unchanged, and what it looked for and did
// not find is still not there. fn sees its own writes, and otherwise one state of
// the bucket, even in a run that does not commit.
//
// When other writes were in its way fn runs again, after a short random pause, until
// it commits or ctx ends; give ctx a deadline. So fn has no effects but by calls with
// its context, and keeps nothing that it read for a later run. Records that it saves
// or creates have their new versions after the commit, and otherwise the versions
// that they had before.
//
// fn is for one goroutine: calls of two at the same time end the transaction with
// ErrInvalid. (Goroutines whose calls never meet are not noticed.) Scans inside it
// are held in memory. On a bucket with replicas, a transaction that scans, or reads
// more than a batch has messages, runs again whenever anything else was written.
// Automatic ids are taken from the sequence at once and not given back. Watch,
// Truncate, Define and the calls that concern the whole bucket (Check, Backup,
// Restore, ChangeLayout) are refused inside.
//
// Errors: fn's own. ErrUnique when another record has a value as the transaction
// commits (so two records can exchange theirs). ErrTxTooLarge when its writes take
// more messages than a batch; nothing was sent. ErrConflict with the context's error
// when others were in its way until ctx ended; and ErrConflict when it lost again and
// again while this DB wrote outside of it, as a function does that calls with the
// wrong context. ErrUnknownOutcome. ErrUnsupportedServer when the bucket's atomic
// publish is off and this account may not switch it on. ErrTxDone for calls with fn's
// context after the transaction has ended, and ErrInvalid for calls of another DB.
func (db *DB) Transaction(ctx context.Context, fn func(ctx context.Context) error) error {
	op := operation{name: "Transaction"}
	outer, err := db.begin(ctx, op)
	if err != nil {
		return err
	}
	outer.release() // for the calls of fn
	switch {
	case fn == nil:
		return fmt.Errorf("%w: Transaction got a nil function", ErrInvalid)
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
	return db.transactions.Run(ctx, db.store, func(run *txn.Tx) error {
		t := &tx{db: db, run: run, models: map[*handle]txModel{}}
		err := fn(context.WithValue(ctx, txKey{}, t))
		if !t.busy.CompareAndSwap(false, true) { // for good: the commit is under way
			return run.Fail(fmt.Errorf("%w: a goroutine still used the transaction when its function returned; wait for it in the function", ErrInvalid))
		}
		for h, m := range t.models {
			if e := t.unchanged(ctx, h, m.outside); err == nil {
				err = e
			}
		}
		return err
	})
}

// Outside is ctx without its transaction: calls with it do not see the transaction's
// writes, and what they write stands at once, whatever becomes of the transaction and
// as often as its function runs.
func Outside(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, (*tx)(nil))
}

// join runs the function of a transaction inside t. Its error ends t: some of its calls
// may be in t already, and they are all or none.
func (t *tx) join(ctx context.Context, fn func(ctx context.Context) error) error {
	err := fn(ctx)
	if err != nil {
		_ = t.run.Fail(err) // it returns the first reason, which Transaction returns too
	}
	return err
}

// hold reserves the transaction for one call; release ends that.
func (t *tx) hold() error {
	if !t.busy.CompareAndSwap(false, true) {
		return t.run.Fail(fmt.Errorf("%w: two goroutines used one transaction at the same time; a transaction is for one", ErrInvalid))
	}
	return nil
}

func (t *tx) release() {
	if t != nil {
		t.busy.Store(false)
	}
}

// model is a model inside the transaction.
func (t *tx) model(ctx context.Context, h *handle) (*records.Model, error) {
	if m, ok := t.models[h]; ok {
		return m.inside, t.unchanged(ctx, h, m.outside)
	}
	now, err := h.Current(ctx)
	if err != nil {
		return nil, err
	}
	m := txModel{outside: now, inside: now.In(t.run)}
	t.models[h] = m
	return m.inside, nil
}

// unchanged ends the transaction's run when another version of one of its models holds
// now, at other keys; the next run begins with that one.
func (t *tx) unchanged(ctx context.Context, h *handle, outside *records.Model) error {
	now, err := h.Current(ctx)
	if err == nil && now != outside {
		err = t.run.Conflict(outside.Def.Name)
	}
	return err
}

// firstVersion is the version that a value had before the transaction wrote it; it is
// noted as was when this is the first write.
func (t *tx) firstVersion(v any, was uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first, ok := t.versions[v]; ok {
		return first
	}
	if t.versions == nil {
		t.versions = map[any]uint64{}
	}
	t.versions[v] = was
	return was
}
