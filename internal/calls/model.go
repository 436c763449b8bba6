package calls

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/replica"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/typed"
)

// Model is a model as a program has declared it, in whatever version holds.
type Model struct {
	Name   string
	DB     *DB
	Handle *Handle
	codec  codec.Codec
	seq    *catalogue.Sequence
	latest bool             // made by Latest
	local  *replica.Replica // where records are read from, outside of transactions; nil: the bucket
}

// Handle knows which version of a model holds now. Every Model made from one declaration
// shares its handle.
type Handle = catalogue.Handle[*records.Model]

// NewModel is a model whose version first was found, or made, in a generation of the bucket. c
// is the codec of the type that declares it.
func (db *DB) NewModel(ctx context.Context, generation uint64, first *records.Model, c codec.Codec) *Model {
	f := &fence{db: db}
	first.Under(f)
	f.Handle = catalogue.NewHandle(db.Knowledge, generation, first.Def, first, func(def *schema.Definition) (*records.Model, error) {
		if err := codec.Outdated(c, first.Def, def); err != nil {
			return nil, err
		}
		if dropped := codec.Dropped(c, def); len(dropped) > 0 && db.Declared.Warns(def.Name+" "+strings.Join(dropped, " ")) {
			db.Logger.Warn("natsorm: columns were dropped by Alter that this program declares; what it writes of them is left out, and it reads nothing",
				"model", def.Name, "columns", dropped)
		}
		db.Declared.Renamed(def)
		m, err := records.New(db.Bucket, def)
		if err == nil {
			m.Under(f)
		}
		return m, err
	})
	_ = db.Knowledge.Confirm(ctx) // so that the first call need not; when it fails, that one finds out why
	return &Model{Name: first.Def.Name, DB: db, Handle: f.Handle, codec: c, seq: catalogue.NewSequence(db.Bucket, first.Def.Name, db.Bucket.Generation)}
}

// fence is a records.Fence: the handle that the writes of a model ask.
type fence struct {
	*Handle
	db *DB
}

func (f *fence) Later(task func(ctx context.Context)) {
	f.db.Tasks.Go(func() { task(f.db.Life) })
}

// Latest is the same model, whose reads first ask a majority of the servers.
func (m *Model) Latest() *Model {
	n := *m
	n.latest = true
	return &n
}

// Session is a model as one call uses it: in the version that holds now, and inside the
// transaction of the call's context, if there is one.
type Session struct {
	typed.Records
	Model *Model
}

// on is a session with a version of the model, inside a transaction if there is one.
func (m *Model) on(docs *records.Model, t *tx) *Session {
	s := &Session{Model: m, Records: typed.Records{Name: m.Name, Docs: docs, Codec: codec.Under(m.codec, docs.Def), Seq: m.seq}}
	if t != nil {
		s.Tx = &t.Tx
	}
	return s
}

// Call makes a call of a model. work may be called again, when the schema was changed meanwhile.
func (m *Model) Call(ctx context.Context, op Operation, work func(s *Session) error) error {
	if m == nil {
		return fmt.Errorf("%w: %s of a Model that Define did not return; look at the error that it returned", errs.ErrInvalid, op.Name)
	}
	t, err := m.DB.begin(ctx, op)
	if err != nil {
		return err
	}
	defer t.release()
	generation := m.DB.Bucket.Generation()
	s, err := m.session(ctx, op, t)
	if err == nil {
		work := func(s *Session) error {
			err := work(s)
			if !op.Reads || t != nil {
				return err
			}
			e := s.Moved(ctx)
			said := err == nil || errors.Is(err, errs.ErrNotFound) || errs.Unreadable(err) // something of the records
			if errors.Is(e, records.ErrReplaced) || e != nil && said {
				return unsure(s.Docs.Def.Name, e)
			}
			return err
		}
		err = work(s)
		for t == nil && errors.Is(err, records.ErrReplaced) && ctx.Err() == nil && !errors.As(err, new(*errs.PartialError)) && !errors.As(err, new(*errs.BulkError)) {
			if s, err = m.session(ctx, op, t); err == nil {
				err = work(s)
			}
		}
		if t == nil && !op.Reads {
			err = s.renewed(ctx, generation, err)
		}
	}
	return m.DB.end(op, err)
}

// unsure is the error of a call that has read, when it is not known whether the schema in force is still
// the one by which it did.
func unsure(model string, err error) error {
	if errors.Is(err, records.ErrReplaced) || !store.Transient(err) {
		return err
	}
	return fmt.Errorf("%w: it is not known whether records of %s were looked for by the schema that is in force: %w", errs.ErrUnwritten, model, err)
}

func (m *Model) session(ctx context.Context, op Operation, t *tx) (*Session, error) {
	if t != nil {
		inside, err := t.model(ctx, m.Handle)
		if err != nil {
			return nil, err
		}
		s := m.on(inside, t)
		if m.local != nil {
			s.Offer = m.offering(t)
		}
		return s, nil
	}
	if m.local != nil {
		return m.inMemory(ctx)
	}
	if !op.Reads && !m.Handle.Defined() {
		if err := m.DB.renew(ctx, m.Handle); err != nil {
			return nil, err
		}
	}
	now, err := m.Handle.Current(ctx)
	if err == nil && (op.Reads || op.Finds) && m.latest {
		err = now.Agree(ctx)
	}
	return m.on(now, nil), err
}

// Last is a session for work that needs no bucket. It has the version of the model that
// the last call used.
func (m *Model) Last() *Session { return m.on(m.Handle.Last(), nil) }
