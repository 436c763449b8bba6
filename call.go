package natsorm

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/typed"
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

	// finds: the call may return what the bucket holds, and may write. Latest is for it too.
	finds bool

	// outside: the call is refused inside a transaction.
	outside bool

	// looks: a call that succeeds has looked at the catalogue as it leaves it.
	looks bool
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
	if err := t.Run.Usable(); err != nil {
		return nil, err
	}
	return t, t.reserve()
}

// end is the error that the caller gets. It notes which indexes this program does not
// declare. The bare error of a context does not say which
// call it ended, so end adds the name.
func (db *DB) end(op operation, err error) error {
	db.declared.Mark(err)
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
	err = db.end(op, work())
	if op.outside && (err != nil || !op.looks) { // it may have changed the catalogue, which this DB knows then
		db.knowledge.Doubt()
	}
	return err
}

// session is a model as one call uses it: in the version that holds now, and inside the
// transaction of the call's context, if there is one.
type session struct {
	typed.Records
	m *model
}

// on is a session with a version of the model, inside a transaction if there is one.
func (m *model) on(docs *records.Model, t *tx) *session {
	s := &session{m: m, Records: typed.Records{Name: m.name, Docs: docs, Codec: codec.Under(m.codec, docs.Def), Seq: m.seq}}
	if t != nil {
		s.Tx = &t.Tx
	}
	return s
}

// call makes a call of a model.
func (m *model) call(ctx context.Context, op operation, work func(s *session) error) error {
	t, err := m.db.begin(ctx, op)
	if err != nil {
		return err
	}
	defer t.release()
	generation := m.db.store.Generation()
	s, err := m.session(ctx, op, t)
	if err == nil {
		work := func(s *session) error {
			err := work(s)
			if op.reads && t == nil {
				if e := s.Docs.Moved(ctx); errors.Is(e, records.ErrReplaced) {
					return e
				}
			}
			return err
		}
		err = work(s)
		for t == nil && errors.Is(err, records.ErrReplaced) && ctx.Err() == nil && !errors.As(err, new(*PartialError)) && !errors.As(err, new(*BulkError)) {
			if s, err = m.session(ctx, op, t); err == nil {
				err = work(s)
			}
		}
		if t == nil && !op.reads {
			err = s.renewed(ctx, generation, err)
		}
	}
	return m.db.end(op, err)
}

func (m *model) session(ctx context.Context, op operation, t *tx) (*session, error) {
	if t != nil {
		inside, err := t.model(ctx, m.handle)
		if err != nil {
			return nil, err
		}
		return m.on(inside, t), nil
	}
	if !op.reads && !m.handle.Defined() {
		if err := m.db.renew(ctx, m.handle); err != nil {
			return nil, err
		}
	}
	now, err := m.handle.Current(ctx)
	if err == nil && (op.reads || op.finds) && m.latest {
		err = now.Agree(ctx)
	}
	return m.on(now, nil), err
}

// last is a session for work that needs no bucket. It has the version of the model that
// the last call used.
func (m *model) last() *session { return m.on(m.handle.Last(), nil) }

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
