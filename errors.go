package natsorm

import (
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
)

// Errors of reading.
var (
	// ErrNotFound: no record has the key, or none fulfils the condition.
	ErrNotFound = errs.ErrNotFound
	// ErrCorrupt: a stored document cannot be read. The error is a *CorruptError, which
	// names its key.
	ErrCorrupt = errs.ErrCorrupt
)

// Errors of writing. Nothing was written, except where stated.
var (
	// ErrExists: Create found a record with the same primary key.
	ErrExists = errs.ErrExists
	// ErrUnique: another record has a value that must be unique. The error is a
	// *UniqueError, which names that record.
	ErrUnique = errs.ErrUnique
	// ErrConflict: the record was changed since it was read. From a Transaction it
	// means that other writes changed what the transaction had read, in every try:
	// until its context ended, or 32 times in a row beside writes that its own DB made
	// outside it.
	ErrConflict = errs.ErrConflict
	// ErrMissingWhere: Update, Increment or Destroy got no condition. Use All() when
	// every record is meant.
	ErrMissingWhere = errs.ErrMissingWhere
	// ErrUnknownOutcome: the answer to a write was lost, and no server could say what
	// became of the write before the context ended (10 seconds without a deadline). The
	// write was done, or was not, or will be done in a moment, so a read now does not
	// tell. It is safe to make the same call again if that call looks first: a Create
	// with its own key or a unique value, a Save with a version, the same Transaction.
	ErrUnknownOutcome = errs.ErrUnknownOutcome
	// ErrTxTooLarge: a transaction's writes take more than 1,000 messages (or the
	// server's own limit for a batch), or more than 32 MB. A record takes one message,
	// plus one for each of its index entries and unique values that is new or goes. On
	// a bucket with replicas a new index entry takes two.
	ErrTxTooLarge = errs.ErrTxTooLarge
	// ErrTxDone: a call was made with the context of a transaction that has ended.
	ErrTxDone = errs.ErrTxDone
)

// Errors of use. Nothing was read or written.
var (
	// ErrInvalid: a record, key, value, condition or option does not fit. Most often
	// the error is a *ValidationError, which names each field and what is wrong with
	// it.
	ErrInvalid = errs.ErrInvalid
	// ErrCursor: After was given text that is no cursor, or a cursor of another query.
	// It matches ErrInvalid too.
	ErrCursor = query.ErrCursor
	// ErrSchema: the declaration of a model is wrong, or it contradicts the catalogue.
	ErrSchema = errs.ErrSchema
	// ErrUnsupportedServer: the server is older than natsorm needs; or a Transaction
	// needs the bucket's atomic publish, which is off, and this account may not switch
	// it on.
	ErrUnsupportedServer = errs.ErrUnsupportedServer
	// ErrClosed: the DB was closed, or its connection was.
	ErrClosed = errs.ErrClosed
)

// UniqueError says which unique value is taken, and by which record. Its fields are
// Model; Columns, those of the unique index; Value, as text; and Owner, the primary key
// of the record that has the value. It matches ErrUnique.
type UniqueError = errs.UniqueError

// ValidationError lists what is wrong with a record or a query. Its fields are Model
// and Faults, a list of FieldFault. It matches ErrInvalid.
type ValidationError = errs.ValidationError

// FieldFault is one entry of a ValidationError: a Field, and the Problem with it, both
// as text. Field is empty when the problem is not one of a single field.
type FieldFault = errs.FieldFault

// PartialError says that an Update, Increment, Destroy or Truncate stopped after it had
// changed some records. Its fields are Model; Changed, how many were changed for sure;
// and Err, why it stopped. errors.Is and errors.As look into Err.
type PartialError = errs.PartialError

// CorruptError names a stored document that cannot be read. Its fields are Model; Key,
// the key in the bucket; and Err, what is wrong. It matches ErrCorrupt.
type CorruptError = errs.CorruptError

// BulkError says which records of a BulkCreate were not created. All others were
// created; in a transaction, none was. errors.Is and errors.As look into every fault.
type BulkError struct {
	Total  int // how many records the call was given
	Faults []BulkFault
}

// BulkFault is why one record of a BulkCreate was not created.
type BulkFault struct {
	Index int // its position in the slice
	Err   error
}

func (e *BulkError) Error() string {
	first := e.Faults[0]
	return fmt.Sprintf("natsorm: %d of %d records were not created; the first is at index %d: %v", len(e.Faults), e.Total, first.Index, first.Err)
}

// Unwrap returns the error of every fault.
func (e *BulkError) Unwrap() []error {
	out := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		out[i] = f.Err
	}
	return out
}

// SafeToRetry reports whether the call that returned err certainly changed nothing, and
// may succeed when it is made again unchanged. That is so when the server could not be
// reached, when the context ended before anything was written, and when a Transaction
// lost to other writes until its context ended. It is false when the outcome is not
// known, and for errors that another try does not mend, such as the ErrConflict of a
// Save with a stale version.
func SafeToRetry(err error) bool {
	var partial *PartialError
	var bulk *BulkError
	switch {
	case errors.As(err, &partial), errors.As(err, &bulk), errors.Is(err, ErrUnknownOutcome):
		return false
	case errors.Is(err, errs.ErrUnwritten):
		return true
	}
	return bucket.Transient(err) && !errors.Is(err, store.ErrUnknown)
}
