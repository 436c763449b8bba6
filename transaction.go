package natsorm

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/exec"
	"github.com/natsorm/natsorm/internal/txn"
)

// tx is one run of a transaction's function. The context that the function gets
// carries it to every call.
type tx struct {
	db   *DB
	run  *txn.Tx
	busy atomic.Bool // a call is under way

	versions map[any]uint64 // of values that were written, before that; by pointer
	models   map[*home]txModel
}

// txModel is a model that the transaction uses.
type txModel struct {
	outside *exec.Model
	inside  *exec.Model
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
	if err := db.check(ctx); err != nil {
		return err
	}
	if fn == nil {
		return fmt.Errorf("%w: Transaction got a nil function", ErrInvalid)
	}
	switch outer, err := db.transaction(ctx); {
	case err != nil:
		return err
	case outer != nil:
		return outer.join(ctx, fn)
	}
	if err := db.store.EnableBatches(ctx); err != nil {
		return err
	}
	return db.transactions.Run(ctx, db.store, func(run *txn.Tx) error {
		t := &tx{db: db, run: run, models: map[*home]txModel{}}
		err := fn(context.WithValue(ctx, txKey{}, t))
		if !t.busy.CompareAndSwap(false, true) { // for good: the commit is under way
			return run.Fail(fmt.Errorf("%w: a goroutine still used the transaction when its function returned; wait for it in the function", ErrInvalid))
		}
		for h, m := range t.models { // no layout has changed while fn ran
			if e := t.unmoved(ctx, h, m.outside); err == nil {
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

// transaction is the one that ctx carries; nil for none.
func (db *DB) transaction(ctx context.Context) (*tx, error) {
	t := txOf(ctx)
	switch {
	case t == nil:
		return nil, nil
	case t.db != db:
		return nil, fmt.Errorf("%w: this context is inside a transaction of another DB; use natsorm.Outside(ctx) for a call that is not part of it", ErrInvalid)
	}
	return t, t.run.Usable()
}

// notInTransaction refuses what is not for transactions.
func notInTransaction(ctx context.Context, call string) error {
	if txOf(ctx) != nil {
		return fmt.Errorf("%w: %s is not for transactions; call it before or after, or with natsorm.Outside(ctx)", ErrInvalid, call)
	}
	return nil
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

func (t *tx) release() { t.busy.Store(false) }

// model is a model inside the transaction.
func (t *tx) model(ctx context.Context, h *home) (*exec.Model, error) {
	m, ok := t.models[h]
	if !ok {
		now, err := h.model(ctx)
		if err != nil {
			return nil, err
		}
		m = txModel{outside: now, inside: now.In(t.run)}
		t.models[h] = m
		t.run.Beside(h.name, &h.writes)
		return m.inside, nil
	}
	return m.inside, t.unmoved(ctx, h, m.outside)
}

// unmoved ends the transaction's run when the layout of one of its models has changed;
// the next run finds it in the new one.
func (t *tx) unmoved(ctx context.Context, h *home, outside *exec.Model) error {
	now, err := h.model(ctx)
	if err == nil && now != outside {
		err = t.run.Conflict(outside.Def.Name)
	}
	return err
}

// Latest is the same model, whose reads are linearizable on a bucket with replicas:
// they see everything that anyone was told is written before the call. For that each
// read asks a majority of the servers first, with a small write, which calls at the
// same time share. Without Latest, reads see at least what this DB has written and
// seen. With one replica, and inside a transaction, there is no difference.
func (m *Model[T]) Latest() *Model[T] {
	n := *m
	n.latest = true
	return &n
}

// enter begins a call, with the model where its records stand now; leave ends it.
func (m *Model[T]) enter(ctx context.Context) (now *Model[T], leave func(), err error) {
	if err := m.db.check(ctx); err != nil {
		return nil, nil, err
	}
	t, err := m.db.transaction(ctx)
	if err != nil {
		return nil, nil, err
	}
	n := *m
	if t == nil {
		n.exec, err = m.home.model(ctx)
		return &n, func() {}, err
	}
	if err := t.hold(); err != nil {
		return nil, nil, err
	}
	n.tx = t
	if n.exec, err = t.model(ctx, m.home); err != nil {
		t.release()
		return nil, nil, err
	}
	return &n, t.release, nil
}

// enterToRead is enter for calls that read.
func (m *Model[T]) enterToRead(ctx context.Context) (now *Model[T], leave func(), err error) {
	now, leave, err = m.enter(ctx)
	if err == nil && m.latest && !now.inside() {
		if err = m.exec.Barrier(ctx); err != nil {
			leave()
		}
	}
	return now, leave, err
}

// inside reports whether the call is inside a transaction.
func (m *Model[T]) inside() bool { return m.tx != nil }

// notInside refuses what is not for transactions.
func (m *Model[T]) notInside(call string) error {
	if m.inside() {
		return errs.Invalidf(m.name(), "", "%s is not for transactions; call it before or after, or with natsorm.Outside(ctx)", call)
	}
	return nil
}

// written gives v, which a call has written as w, its new content and version. In
// a transaction the version is provisional: the commit gives v the real one, and
// without a commit v gets back the one it had.
func (m *Model[T]) written(v, w *T, record string, revision uint64) {
	was := m.codec.Version(v)
	m.codec.SetVersion(w, revision)
	*v = *w
	if !m.inside() {
		m.home.writes.Add(1)
	}
	m.provisional(v, was, record, revision)
}

// provisional sees to it that v, which has a provisional version, gets a real one,
// or without a commit the one that it had before the transaction.
func (m *Model[T]) provisional(v *T, was uint64, record string, revision uint64) {
	if !m.inside() || !txn.Provisional(revision) || m.codec.Version(v) != revision {
		return
	}
	if first, ok := m.tx.versions[v]; ok {
		was = first
	} else {
		if m.tx.versions == nil {
			m.tx.versions = map[any]uint64{}
		}
		m.tx.versions[v] = was
	}
	m.tx.run.Stamp(record, revision, func(committed uint64, ok bool) {
		if m.codec.Version(v) != revision {
			return // it was written again
		}
		if !ok {
			committed = was
		}
		m.codec.SetVersion(v, committed)
	})
}
