// Package calls is how every call of the public API begins and ends. Only here is it asked whether the DB
// is open, whether the context carries a transaction, which version of a model holds now, and whether
// what was written has to be made good in a bucket that was recreated meanwhile.
//
// A call of a DB goes through DB.Call, one of a model through Model.Call, which gives it a Session: the
// model in the version that holds, inside the transaction if there is one.
package calls

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/replica"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/workers"
)

// Bucket is what calls need of a bucket, besides keys and messages.
type Bucket interface {
	store.Store

	// Generation is another number after the bucket was recreated.
	Generation() uint64

	// Written is the highest revision that this program has written, and Floor the highest that it
	// has written or seen.
	Written() uint64
	Floor() uint64

	// EnableBatches makes sure that the bucket takes atomic batches.
	EnableBatches(ctx context.Context) error
}

// DB is what all calls of a DB share.
type DB struct {
	Bucket    Bucket
	Knowledge *catalogue.Knowledge
	Declared  catalogue.Declarations
	Life      context.Context // ends when the DB is closed
	Tasks     workers.Tasks   // the goroutines that closing waits for
	Logger    *slog.Logger

	transactions txn.Runner

	replicas sync.Once
	memory   *replica.Hub
}

// Operation describes a public call.
type Operation struct {
	Name string // the method's name

	// Reads: the call returns what the bucket holds. Through a model made by Latest, it
	// first asks a majority of the servers.
	Reads bool

	// Finds: the call may return what the bucket holds, and may write. Latest is for it too.
	Finds bool

	// Outside: the call is refused inside a transaction.
	Outside bool

	// Looks: a call that succeeds has looked at the catalogue as it leaves it.
	Looks bool
}

// begin refuses a call that cannot be made. If the call is inside a transaction, begin
// returns that transaction, reserved for this call until release; otherwise nil.
func (db *DB) begin(ctx context.Context, op Operation) (*tx, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: %s of a nil DB; look at the error that Open returned", errs.ErrInvalid, op.Name)
	}
	if err := CheckContext(ctx); err != nil {
		return nil, err
	}
	if db.Life.Err() != nil {
		return nil, errs.ErrClosed
	}
	t := txOf(ctx)
	switch {
	case t == nil:
		return nil, nil
	case op.Outside:
		return nil, fmt.Errorf("%w: %s is not for transactions; call it before or after, or with natsorm.Outside(ctx)", errs.ErrInvalid, op.Name)
	case t.db != db:
		return nil, fmt.Errorf("%w: the context of this %s is inside a transaction of another DB; use natsorm.Outside(ctx) for a call that is not part of it", errs.ErrInvalid, op.Name)
	}
	if err := t.Run.Usable(); err != nil {
		return nil, err
	}
	return t, t.reserve()
}

// end is the error that the caller gets. It notes which indexes this program does not
// declare. The bare error of a context does not say which
// call it ended, so end adds the name.
func (db *DB) end(op Operation, err error) error {
	db.Declared.Mark(err)
	if err == context.Canceled || err == context.DeadlineExceeded {
		return fmt.Errorf("natsorm: %s: %w", op.Name, err)
	}
	return err
}

// Call makes a call of a DB, which may be nil.
func (db *DB) Call(ctx context.Context, op Operation, work func() error) error {
	t, err := db.begin(ctx, op)
	if err != nil {
		return err
	}
	defer t.release()
	err = db.end(op, work())
	if op.Outside && (err != nil || !op.Looks) { // it may have changed the catalogue, which this DB knows then
		db.Knowledge.Doubt()
	}
	return err
}

// CheckContext refuses a nil context, and one that has ended.
func CheckContext(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("%w: nil context; use context.Background()", errs.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("natsorm: %w: %w", errs.ErrUnwritten, err)
	}
	return nil
}
