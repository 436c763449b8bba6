package natsorm

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/txn"
)

// Tx is a transaction under way. Model.In gives a model inside it. It is for the
// goroutine that runs the transaction's function, and ends with it.
type Tx struct {
	db   *DB
	run  *txn.Tx
	busy atomic.Bool // a call is under way

	versions map[any]uint64 // of values that were written, before that; by pointer
	models   map[*home]*records.Model
}

// Transaction runs fn, and writes what it has changed through models inside tx:
// all of it together, or nothing when fn returns an error, which Transaction then
// returns. It is serializable, over any records and models of the bucket: what
// it does is as if no other write had come between, because it commits only if
// all that fn has read is still so, also what was not found, and what an index
// lookup or a scan would find now. fn sees its own writes.
//
//	err := db.Transaction(ctx, func(tx *natsorm.Tx) error {
//		accounts := accounts.In(tx)
//		from, err := accounts.FindByPK(ctx, 1)
//		…
//		from.Balance -= 10
//		return accounts.Save(ctx, from)
//	})
//
// When others were in its way it runs again, after a random pause, as often as it
// takes, until ctx ends; give ctx a deadline. So fn may run several times: it has
// no effects but through tx, and keeps none of what it read for later runs. What
// it has read is always one state of the bucket, also in a run that does not
// commit. Values that it was given, such as a record that is saved, get their
// versions with the commit, and their old ones back without.
//
// A model that is not inside tx, used in fn, is outside of the transaction: it
// does not see its writes, and what it writes is written at once, each time that
// fn runs. A Transaction in fn is another one.
//
// A transaction reads what it scans into memory, and on a bucket with replicas a
// scan makes it run again when anything was written meanwhile; so does a
// transaction that reads more records than fit into a batch. Automatic ids are
// taken from the sequence at once, and not given back.
//
// Errors: fn's; ErrUnique for a value that another record has when the transaction
// commits, so that records can exchange values; ErrTxTooLarge when its writes take
// more messages than a batch has, of which nothing was sent; ErrConflict with the
// context's error when others were in the way until it ended; ErrUnknownOutcome;
// ErrUnsupportedServer when the bucket's atomic publish is off and this account
// may not switch it on.
func (db *DB) Transaction(ctx context.Context, fn func(tx *Tx) error) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	if fn == nil {
		return fmt.Errorf("%w: Transaction got a nil function", ErrInvalid)
	}
	if err := db.store.EnableBatches(ctx); err != nil {
		return err
	}
	return db.turns.Run(ctx, db.store, func(run *txn.Tx) error {
		tx := &Tx{db: db, run: run}
		err := fn(tx)
		if !tx.busy.CompareAndSwap(false, true) { // for good: the commit is under way
			return run.Fail(fmt.Errorf("%w: a goroutine still used the transaction when its function returned; wait for it in the function", ErrInvalid))
		}
		for h, base := range tx.models { // nothing has moved while fn ran
			if e := tx.settled(ctx, h, base); err == nil {
				err = e
			}
		}
		return err
	})
}

// In is the same model inside a transaction. It ends with the transaction, and is
// for one goroutine at a time. Watch and Truncate are not for it. With a
// transaction that has ended, its calls are ErrTxDone, and with one of another DB,
// or while another goroutine's call is under way, ErrInvalid; the latter also ends
// the transaction, of which nothing is written. (Goroutines whose calls never meet
// are not noticed.)
func (m *Model[T]) In(tx *Tx) *Model[T] {
	n := *m
	n.tx, n.in = tx, true
	if n.misuse() == nil {
		n.base = m.home.Last()
		n.exec = n.base.In(tx.run)
	}
	return &n
}

// Latest is the same model, whose reads are linearizable on a bucket with
// replicas: they see everything that anyone was told is written before the call.
// For that each asks a majority of the servers first, with a small write, which
// calls at the same time share. Without, they see at least what this DB has written
// and seen. With one replica, and inside a transaction, there is no difference.
func (m *Model[T]) Latest() *Model[T] {
	n := *m
	n.latest = true
	return &n
}

// misuse is why the model can not be used in its transaction, or nil.
func (m *Model[T]) misuse() error {
	switch {
	case m.tx == nil || m.tx.run == nil:
		return fmt.Errorf("%w: %s is in a nil Tx; use the one that Transaction gives its function", ErrInvalid, m.name())
	case m.tx.db != m.db:
		return fmt.Errorf("%w: %s belongs to another DB than the transaction; define the model on the DB whose Transaction this is", ErrInvalid, m.name())
	}
	return m.tx.run.Usable()
}

// enter begins a call, with the model where its records stand now; leave ends it.
func (m *Model[T]) enter(ctx context.Context) (now *Model[T], leave func(), err error) {
	if err := m.db.check(ctx); err != nil {
		return nil, nil, err
	}
	if m.inside() {
		if err := m.misuse(); err != nil {
			return nil, nil, err
		}
		if !m.tx.busy.CompareAndSwap(false, true) {
			err := fmt.Errorf("%w: two goroutines used one transaction at the same time; a transaction is for one", ErrInvalid)
			return nil, nil, m.tx.run.Fail(err)
		}
		if err := m.tx.settled(ctx, m.home, m.base); err != nil {
			m.tx.busy.Store(false)
			return nil, nil, err
		}
		return m, func() { m.tx.busy.Store(false) }, nil
	}
	cur, err := m.home.Current(ctx)
	if err != nil {
		return nil, nil, err
	}
	if cur != m.exec {
		n := *m
		n.exec = cur
		m = &n
	}
	return m, func() {}, nil
}

// settled ends the transaction's run when a model of it is, or was, moved to another
// layout; the next one finds it there.
func (tx *Tx) settled(ctx context.Context, h *home, base *records.Model) error {
	now, err := h.Current(ctx)
	if err != nil {
		return err
	}
	if now != base {
		return tx.run.Conflict(base.Def.Name)
	}
	if tx.models == nil {
		tx.models = map[*home]*records.Model{}
	}
	tx.models[h] = base
	return nil
}

// enterToRead is enter for calls that read.
func (m *Model[T]) enterToRead(ctx context.Context) (now *Model[T], leave func(), err error) {
	now, leave, err = m.enter(ctx)
	if err == nil && m.latest && !m.inside() {
		if err = m.exec.Barrier(ctx); err != nil {
			leave()
		}
	}
	return now, leave, err
}

// inside reports whether the model was made by In.
func (m *Model[T]) inside() bool { return m.in }

// notInside refuses what is not for transactions.
func (m *Model[T]) notInside(call string) error {
	if m.inside() {
		return errs.Invalidf(m.name(), "", "%s is not for transactions; use the model itself", call)
	}
	return nil
}

// written gives v, which a call has written as w, its new content and version. In
// a transaction the version is provisional: the commit gives v the real one, and
// without a commit v gets back the one it had.
func (m *Model[T]) written(v, w *T, record string, revision uint64) {
	was := m.codec.version(v)
	m.codec.setVersion(w, revision)
	*v = *w
	m.provisional(v, was, record, revision)
}

// provisional sees to it that v, which has a provisional version, gets a real one,
// or without a commit the one that it had before the transaction.
func (m *Model[T]) provisional(v *T, was uint64, record string, revision uint64) {
	if !m.inside() || !txn.Provisional(revision) || m.codec.version(v) != revision {
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
		if m.codec.version(v) != revision {
			return // it was written again
		}
		if !ok {
			committed = was
		}
		m.codec.setVersion(v, committed)
	})
}
