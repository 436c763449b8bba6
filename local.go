package natsorm

import (
	"context"
	"iter"
)

// Reader is what a Model and a Local both are: code that reads takes either.
type Reader[T any] interface {
	FindByPK(ctx context.Context, id any) (*T, error)
	FindOne(ctx context.Context, q ...Query) (*T, error)
	FindAll(ctx context.Context, q ...Query) ([]*T, error)
	FindPage(ctx context.Context, q ...Query) (page []*T, next string, err error)
	FindAndCountAll(ctx context.Context, q ...Query) (page []*T, total int, err error)
	Each(ctx context.Context, q ...Query) iter.Seq2[*T, error]
	Count(ctx context.Context, q ...Query) (int, error)
	Exists(ctx context.Context, q ...Query) (bool, error)
	Sum(ctx context.Context, column string, q ...Query) (float64, error)
	Avg(ctx context.Context, column string, q ...Query) (float64, error)
	Min(ctx context.Context, column string, q ...Query) (any, error)
	Max(ctx context.Context, column string, q ...Query) (any, error)
	GroupBy(ctx context.Context, columns []string, aggs []Aggregate, q ...Query) ([]Record, error)
	Explain(ctx context.Context, q ...Query) (Plan, error)
}

// Local is a model in the memory of this process, kept as the bucket has it. Its calls give the same answers
// as those of the Model, and ask nothing of the server. It is safe for concurrent use.
//
// A Local shows the bucket as it was at one moment, a short while ago: everything up to that moment, and
// nothing after it. It never shows a part of a transaction, nor do several Locals of one DB. All Locals of a DB
// are at the same moment, and it never goes back. What this DB has written a Local shows: a
// call waits, most often for a fraction of a millisecond, until that has come back from the
// server. For what others have written see Latest, FreshAs and WaitFor.
//
// It has every index of the model in memory, from the moment on that it is declared, and in the order of its
// values whether that is asked for in the bucket or not. So a query takes records by their primary keys, or by
// the first columns of an index and a range of the next one, and in the order of an index in both directions; a
// Count or a GroupBy by the columns of an index looks at no record. Any other query looks at all
// records, without decoding their documents. Explain says which. Results are the caller's own.
//
// While the server is away, a Local shows what it has. After an outage of more than half an hour, and in a
// bucket that was made anew, it reads everything again, and its calls wait for that.
//
// In a transaction, records by their primary keys come from memory, without a request, and the commit finds out
// whether they are still so, as of anything that the transaction has read. So to read a record, change it and
// save it takes one round trip. What is not in memory then, and any other query, is read from the bucket, and
// so is everything when the transaction runs again.
type Local[T any] struct{ reads[T] }

// Local reads all records of the model into memory, and keeps them as they are in the bucket until Close,
// or until the DB is closed. It returns when that is done, or when ctx ends.
//
// All Locals of a DB together have one consumer on the server, which delivers everything that is written to
// the bucket, and the Locals of one model share the records.
//
// Errors: ErrPermission for a user who may not read everything; ErrInvalid inside a transaction.
func (m *Model[T]) Local(ctx context.Context) (l *Local[T], err error) {
	err = m.call(ctx, operation{Name: "Local", Outside: true}, func(*session) error {
		core, err := m.core.Load(ctx)
		if err == nil {
			l = &Local[T]{reads[T]{model{core}}}
		}
		return err
	})
	return l, err
}

// Latest is the same Local with linearizable reads: they see every write that was acknowledged to anyone
// before the call. For that each asks the server with one small request, and waits until the Local has
// come that far; in a cluster it is a small write, which calls at the same time share.
func (l *Local[T]) Latest() *Local[T] { return &Local[T]{reads[T]{model{l.core.Latest()}}} }

// FreshAs waits until the Local has every write that was acknowledged to anyone before the call.
func (l *Local[T]) FreshAs(ctx context.Context) error {
	return l.call(ctx, operation{Name: "FreshAs", Reads: true, Outside: true}, func(*session) error {
		return l.core.Fresh(ctx)
	})
}

// WaitFor waits until the Local has everything up to a revision of the bucket, such as the version of a
// record that another process has written.
func (l *Local[T]) WaitFor(ctx context.Context, revision uint64) error {
	return l.call(ctx, operation{Name: "WaitFor", Reads: true, Outside: true}, func(*session) error {
		return l.core.Reached(ctx, revision)
	})
}

// Close frees the memory. When the last Local of a DB is closed, its consumer is gone from the server. Calls
// under way, and all later ones, return ErrClosed. It may be called more than once.
func (l *Local[T]) Close() error {
	if l.core != nil {
		l.core.Unload()
	}
	return nil
}
