package natsorm

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
)

// Every public call that reaches the bucket begins with DB.begin and ends with DB.end.
// A DB's call does so through DB.call, a model's through Model.call. Only there is it
// asked whether the DB is open, and whether the context carries a transaction.

// operation describes a public call.
type operation struct {
	name string // the method's name

	// reads: the call returns what the bucket holds. Through a model made by Latest, it
	// first asks a majority of the servers.
	reads bool

	// outside: the call is refused inside a transaction.
	outside bool
}

// begin refuses a call that cannot be made. If the call is inside a transaction, begin
// returns that transaction, reserved for this call until release; otherwise nil.
func (db *DB) begin(ctx context.Context, op operation) (*tx, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: %s of a nil DB; look at the error that Open returned", ErrInvalid, op.name)
	}
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if db.life.Err() != nil {
		return nil, ErrClosed
	}
	t := txOf(ctx)
	switch {
	case t == nil:
		return nil, nil
	case op.outside:
		return nil, fmt.Errorf("%w: %s is not for transactions; call it before or after, or with natsorm.Outside(ctx)", ErrInvalid, op.name)
	case t.db != db:
		return nil, fmt.Errorf("%w: the context of this %s is inside a transaction of another DB; use natsorm.Outside(ctx) for a call that is not part of it", ErrInvalid, op.name)
	}
	if err := t.run.Usable(); err != nil {
		return nil, err
	}
	return t, t.reserve()
}

// end is the error that the caller gets. The bare error of a context does not say which
// call it ended, so end adds the name.
func (db *DB) end(op operation, err error) error {
	if err == context.Canceled || err == context.DeadlineExceeded {
		return fmt.Errorf("natsorm: %s: %w", op.name, err)
	}
	return err
}

// call makes a call of a DB.
func (db *DB) call(ctx context.Context, op operation, work func() error) error {
	t, err := db.begin(ctx, op)
	if err != nil {
		return err
	}
	defer t.release()
	return db.end(op, work())
}

// session is a model as one call uses it: in the version that holds now, and inside the
// transaction of the call's context, if there is one.
type session[T any] struct {
	*Model[T]
	records *records.Model
	tx      *tx // nil outside transactions
}

// call makes a call of a model.
func (m *Model[T]) call(ctx context.Context, op operation, work func(s *session[T]) error) error {
	t, err := m.db.begin(ctx, op)
	if err != nil {
		return err
	}
	defer t.release()
	s, err := m.session(ctx, op, t)
	if err == nil {
		err = work(s)
	}
	return m.db.end(op, err)
}

func (m *Model[T]) session(ctx context.Context, op operation, t *tx) (*session[T], error) {
	if t != nil {
		inside, err := t.model(ctx, m.handle)
		return &session[T]{Model: m, records: inside, tx: t}, err
	}
	now, err := m.handle.Current(ctx)
	if err == nil && op.reads && m.latest {
		err = now.Agree(ctx)
	}
	return &session[T]{Model: m, records: now}, err
}

// last is a session for work that needs no bucket. It has the version of the model that
// the last call used.
func (m *Model[T]) last() *session[T] { return &session[T]{Model: m, records: m.handle.Last()} }

// checkContext refuses a nil context, and one that has ended.
func checkContext(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w: nil context; use context.Background()", ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("natsorm: %w: %w", errs.ErrUnwritten, err)
	}
	return nil
}

// chosen is what the options of a call choose.
func chosen[O any, F ~func(*O)](opts []F) (o O) {
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o
}
