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
	// ErrNotFound: no record has the key, or fulfils the condition.
	ErrNotFound = errs.ErrNotFound
	// ErrCorrupt: a stored document can not be read. The error is a
	// *CorruptError that names its key.
	ErrCorrupt = errs.ErrCorrupt
)

// Errors of writing. Nothing was written, except where stated.
var (
	// ErrExists: Create found a record with the same primary key.
	ErrExists = errs.ErrExists
	// ErrUnique: another record has a value that must be unique. The error is
	// a *UniqueError that names it.
	ErrUnique = errs.ErrUnique
	// ErrConflict: the record was changed since it was read. Of a Transaction: others
	// were in its way until its context ended, or calls of its own function were that
	// were made with another context.
	ErrConflict = errs.ErrConflict
	// ErrMissingWhere: Update, Increment or Destroy got no condition; All()
	// means every record.
	ErrMissingWhere = errs.ErrMissingWhere
	// ErrUnknownOutcome: the answer to a write was lost, and nobody answered the
	// question what became of it within the context (10 seconds without a
	// deadline). So it was done, or was not, or will be in a moment: a read may
	// overtake it. What is safe is to do the same again: a Create with a key or a
	// unique value of its own, a Save with a version, a Transaction that looks first.
	ErrUnknownOutcome = errs.ErrUnknownOutcome
	// ErrTxTooLarge: a transaction's writes take more messages than the 1,000 of a
	// batch (or of what the server is set to), or more than 32 MB. A record takes
	// one, and one for each of its index entries and unique values that are new or
	// go; with replicas, two for a new entry. Nothing was written.
	ErrTxTooLarge = errs.ErrTxTooLarge
	// ErrTxDone: a call was made with the context of a transaction that has ended.
	ErrTxDone = errs.ErrTxDone
)

// Errors of use. Nothing was read or written.
var (
	// ErrInvalid: a record, key, value or condition does not fit the model.
	// The error is most often a *ValidationError with each field's fault.
	ErrInvalid = errs.ErrInvalid
	// ErrCursor: After was given text that is no cursor, or a cursor of another
	// query. It is ErrInvalid too.
	ErrCursor = query.ErrCursor
	// ErrSchema: a model's declaration is wrong, or contradicts the catalogue.
	ErrSchema = errs.ErrSchema
	// ErrUnsupportedServer: the server is older than natsorm needs, or the bucket has
	// not what a Transaction needs, and this account may not switch it on.
	ErrUnsupportedServer = errs.ErrUnsupportedServer
	// ErrClosed: the DB, or its connection, was closed.
	ErrClosed = errs.ErrClosed
)

// UniqueError says which unique value was taken, and by which record: the fields
// Model, Columns (those of the unique index), Value, and Owner, the other record's
// primary key. It matches ErrUnique.
type UniqueError = errs.UniqueError

// ValidationError lists what is wrong with a record or a query: the fields
// Model and Faults, each of which has a Field and a Problem. It matches
// ErrInvalid.
type ValidationError = errs.ValidationError

// FieldFault is one fault of a ValidationError: Field and Problem, both text.
type FieldFault = errs.FieldFault

// PartialError says that an Update, Increment, Destroy or Truncate stopped
// after it had changed some records: the fields Model, Changed (how many, for
// sure) and Err (why it stopped), into which errors.Is and errors.As look.
type PartialError = errs.PartialError

// CorruptError names a stored document that can not be read: the fields Model,
// Key (in the bucket) and Err. It matches ErrCorrupt.
type CorruptError = errs.CorruptError

// BulkError says which records of a BulkCreate were not created. The others
// were. errors.Is and errors.As look into every fault.
type BulkError struct {
	Total  int // records given
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

// Unwrap is every fault's error.
func (e *BulkError) Unwrap() []error {
	out := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		out[i] = f.Err
	}
	return out
}

// SafeToRetry reports whether the call that returned err surely changed nothing,
// and may succeed when it is made again as it is: because the server could not be
// reached, or the context ended before anything was written, or others were in a
// Transaction's way. It is false for everything that is not known, and for errors
// that another try does not mend, such as the ErrConflict of a stale Save.
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
