package natsorm

import (
	"context"

	"github.com/natsorm/natsorm/internal/calls"
)

// Transaction runs fn, and then writes all that its calls have changed, in one step.
// When fn returns an error, nothing is written, and Transaction returns that error.
//
//	err := db.Transaction(ctx, func(ctx context.Context) error {
//		from, err := accounts.FindByPK(ctx, 1)
//		…
//		from.Balance -= 10
//		return accounts.Save(ctx, from)
//	})
//
// Every call made with the context that fn gets is inside: any call, of any model of
// this DB. A Transaction inside fn joins this one: it commits with it, and an error of
// its function ends all of it. A call with another context is not inside. It does not
// see what fn has written, and what it writes stands at once, each time that fn runs.
// Use [Outside] where that is meant.
//
// Transactions are serializable: the result is the same as if each had run alone. A
// transaction commits only if everything that fn has read is still unchanged, and if
// what it looked for and did not find is still not there. fn sees its own writes, and
// otherwise one state of the bucket, even in a run that does not commit.
//
// When other writes changed what fn has read, fn runs again after a short random pause,
// until the transaction commits or ctx ends. So give ctx a deadline, let fn have no
// other effects than its calls, and let it keep nothing that it read for a later run.
// Records that fn creates or saves have their new versions after the commit; without a
// commit, they get back the versions that they had.
//
// Only one goroutine at a time may use a transaction: two calls at the same moment end
// it with ErrInvalid. Scans inside it are held in memory. On a bucket in a cluster, a
// transaction that scans, or that reads more keys than a batch has messages, runs again
// whenever anything in the bucket was written. Automatic ids are taken at once and are
// not given back. Watch, Truncate, Define and the calls about the whole bucket (Check,
// Backup, Restore, ChangeLayout, Migrate, Migrations) are refused inside with ErrInvalid.
//
// Errors: what fn returned. ErrUnique when another record has a unique value at the
// commit; two records of one transaction can exchange theirs. ErrTxTooLarge when the
// writes need more messages than a batch has; nothing was written. ErrConflict together
// with the context's error, when the transaction lost to other writes until ctx ended.
// ErrConflict also when it lost 32 times in a row at the same key while this DB wrote outside
// it, as a function does that calls with the wrong context. ErrUnknownOutcome when the answer to
// the commit was lost. ErrUnsupportedServer when the bucket's atomic publish is off and
// this account may not switch it on. A call with fn's context after the transaction has
// ended returns ErrTxDone; a call of another DB with that context returns ErrInvalid.
func (db *DB) Transaction(ctx context.Context, fn func(ctx context.Context) error) error {
	return db.core().Transaction(ctx, fn)
}

// Outside returns ctx without its transaction. Calls with it do not see the
// transaction's writes. What they write stands at once, whatever becomes of the
// transaction, and as often as its function runs.
func Outside(ctx context.Context) context.Context { return calls.Outside(ctx) }
