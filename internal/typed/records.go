// Package typed reads and writes the records of a model as Go values. It stands between the
// public API, which has a method for each call, and package records, which knows only
// documents.
//
// Every write of a record, whichever call makes it, is a change (write.go): a function from
// the record as it is to the record as it will be, which is then committed. A document is
// encoded once, and its keys are computed once; a state carries both.
package typed

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/natsorm/natsorm/internal/access"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/replica"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

// Records are the records of a model as values of its Go type T, as one call uses them. A value is
// a *T in an any, as a codec has it; nil is none.
type Records struct {
	Name  string         // the model's
	Docs  *records.Model // in the version that holds now, and inside the transaction if there is one
	Codec codec.Codec
	Seq   *catalogue.Sequence // of automatic keys
	Tx    *Tx                 // nil outside transactions
	Local *replica.Source     // the records in memory, where they are read from; nil: they are read from Docs

	// Offer gives a transaction the records that are in memory and have these primary keys; nil: nothing is
	// in memory for it.
	Offer func(ctx context.Context, ids ...value.Value) error
}

// Source is where queries find the records.
func (s *Records) Source() query.Source {
	switch {
	case s.Local != nil:
		return s.Local
	case s.Offer != nil:
		return offered{s.Docs.Source(), s}
	}
	return s.Docs.Source()
}

// offered is a source of a transaction whose records by primary key may be in memory.
type offered struct {
	*access.Source
	records *Records
}

func (o offered) Candidates(ctx context.Context, q plan.Query, all bool) (query.Candidates, error) {
	if p := plan.Make(o.records.Docs.Def, q, plan.Stats{}); p.Path == plan.Key {
		if err := o.records.Offer(ctx, p.Keys...); err != nil {
			return query.Candidates{}, err
		}
	}
	return o.Source.Candidates(ctx, q, all)
}

// Get reads a record by its primary key. One that is not there is a message that is not live.
func (s *Records) Get(ctx context.Context, id value.Value) (query.Record, error) {
	if s.Local != nil {
		return s.Local.Find(ctx, id)
	}
	if s.Offer != nil {
		if err := s.Offer(ctx, id); err != nil {
			return query.Record{}, err
		}
	}
	m, err := s.Docs.Get(ctx, id)
	return query.OfMessage(m), err
}

// Moved ends a call that has read; see records.Model. What is in memory is of one moment, and of the schema
// that was in force then.
func (s *Records) Moved(ctx context.Context) error {
	if s.Local != nil {
		return nil
	}
	return s.Docs.Moved(ctx)
}

// typeOf is the type T of a value.
func typeOf(v any) reflect.Type { return reflect.TypeOf(v).Elem() }

// Describe is an error about a record.
func (s *Records) Describe(err error, id string) error { return Describe(err, s.Name, id) }

// Describe is an error about a record of a model.
func Describe(err error, model, id string) error { return fmt.Errorf("%w: %s %s", err, model, id) }

// unfulfilled says that a record is not as a call demands. It matches the kinds of errors that
// it is, but does not say that somebody has changed the record: perhaps nobody has.
type unfulfilled struct {
	text  string
	kinds []error
}

func (u *unfulfilled) Error() string { return "natsorm: " + u.text }

func (u *unfulfilled) Is(target error) bool { return slices.Contains(u.kinds, target) }

// NilRecord is the error of a call that got a nil *T.
func (s *Records) NilRecord() error {
	return errs.Invalidf(s.Name, "", "nil record; pass a pointer to one")
}

// Tx is a transaction, with the versions that values of its caller had before it.
type Tx struct {
	Run *txn.Tx

	mu       sync.Mutex
	versions map[any]uint64 // by pointer to a written value: the version that it had before
}

// firstVersion is the version that a value had before the transaction first wrote it.
// was is its version before the present write, which counts if that is the first.
func (t *Tx) firstVersion(v any, was uint64) uint64 {
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
