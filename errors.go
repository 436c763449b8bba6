package natsorm

import (
	"errors"

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
	// ErrExists: Create found a record with the same primary key; FindOrCreate one that does
	// not fulfil the rest of its conditions.
	ErrExists = errs.ErrExists
	// ErrUnique: another record has a value that must be unique. The error is a
	// *UniqueError, which names that record.
	ErrUnique = errs.ErrUnique
	// ErrConflict: the record was changed since it was read, is not at the revision of
	// IfRevision, or does not fulfil the conditions of UpdateOne. From Migrate it means that
	// another program went on with the step, because this one did not renew its lease in time. From a Transaction it
	// means that other writes changed what the transaction had read, in every try:
	// until its context ended, or 32 times in a row at the same key beside writes that its
	// own DB made outside it.
	ErrConflict = errs.ErrConflict
	// ErrMissingWhere: Update, UpdateOne, Increment or Destroy got no condition. Use All() when
	// every record is meant.
	ErrMissingWhere = errs.ErrMissingWhere
	// ErrUnknownOutcome: the answer to a write was lost, and no server could say what
	// became of the write before the context ended (10 seconds without a deadline). The
	// write was done, or was not, or will be done in a moment, so a read now does not
	// tell. It is safe to make the same call again if that call looks first: a Create
	// with its own key or a unique value, a Save with a version, the same Transaction.
	ErrUnknownOutcome = errs.ErrUnknownOutcome
	// ErrFull: the bucket has reached a limit of its stream, max_bytes or max_msgs, and the
	// server takes nothing that makes it larger; or the account or the server has no room
	// left; or the disk of an embedded server is full. A deletion may need room too, for its
	// delete marker. The error names the limit and says how to make room.
	ErrFull = errs.ErrFull
	// ErrTxTooLarge: a transaction's writes take more than 1,000 messages (or the
	// server's own limit for a batch), or more than 32 MB. A record takes one message,
	// plus one for each of its index entries and unique values that is new or goes. On
	// a bucket in a cluster a new index entry takes two.
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
	// ErrSchema: the declaration of a model is wrong, or it contradicts the catalogue; or the
	// steps of Migrate contradict those that the bucket has had.
	ErrSchema = errs.ErrSchema
	// ErrUnsupportedServer: the server is older than natsorm needs; or a Transaction
	// needs the bucket's atomic publish, which is off, and this account may not switch
	// it on.
	ErrUnsupportedServer = errs.ErrUnsupportedServer
	// ErrUnsupportedBucket: the bucket's stream has a setting under which natsorm cannot
	// keep its word, such as a maximal age: its messages go one by one, and so records,
	// index entries and unique values come apart. The error names the setting and says
	// what to set. Open, Define and Check return it.
	ErrUnsupportedBucket = errs.ErrUnsupportedBucket
	// ErrPermission: the connection's user may not use a subject, which the error names. A
	// write that was refused has changed nothing. docs/permissions.md lists the subjects. On
	// a connection that was given to New and got another error handler since, what is
	// refused is not heard of, and looks like an outage.
	ErrPermission = errs.ErrPermission
	// ErrClosed: the DB was closed, or its connection was.
	ErrClosed = errs.ErrClosed
)

// UniqueError says which unique value is taken, and by which record. Its fields are
// Model; Columns, those of the unique index; Value, as text; Owner, the primary key of the
// record that has the value; and Undeclared, which says that this program does not declare
// the index. It matches ErrUnique.
type UniqueError = errs.UniqueError

// DuplicatesError says which records share values that a new unique index does not allow. Its
// fields are Model; Groups, one DuplicateGroup for each value, at most 1,000 of them; and
// TotalGroups and TotalRecords, which count those that are not listed too. A record that shares
// values of several unique indexes counts in each group. It matches ErrSchema.
type DuplicatesError = errs.DuplicatesError

// DuplicateGroup is the records that share one value: Columns, those of the unique index; Value,
// as text; and Keys, their primary keys as text. A DuplicatesError has at most 10,000 keys in
// all its groups together.
type DuplicateGroup = errs.DuplicateGroup

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

// MigrationError says which step ended a Migrate. Its fields are Name, the step's; Applied,
// the steps before it that the same call has carried out; and Err, what the step returned, or
// why it could not begin, or not be recorded. errors.Is and errors.As look into Err.
type MigrationError = errs.MigrationError

// CorruptError names a stored document that cannot be read. Its fields are Model; Key,
// the key in the bucket; and Err, what is wrong. It matches ErrCorrupt.
type CorruptError = errs.CorruptError

// BulkError says which records of a BulkCreate were not created: Faults has the Index and
// the Err of each, and Total is how many the call was given. All others were created; in a
// transaction, none was. errors.Is and errors.As look into every fault.
type BulkError = errs.BulkError

// BulkFault is why one record of a BulkCreate was not created: its Index in the slice, and
// the Err.
type BulkFault = errs.BulkFault

// SafeToRetry reports whether the call that returned err certainly changed nothing, and
// may succeed when it is made again unchanged. That is so when the server could not be
// reached, when the context ended before anything was written, and when a Transaction
// lost to other writes until its context ended. It is false when the outcome is not
// known, and for errors that another try does not mend, such as the ErrConflict of a
// Save with a stale version.
func SafeToRetry(err error) bool {
	var partial *PartialError
	var bulk *BulkError
	var step *MigrationError
	switch {
	case errors.As(err, &partial), errors.As(err, &bulk), errors.As(err, &step), errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrFull):
		return false
	case errors.Is(err, errs.ErrUnwritten):
		return true
	}
	return bucket.Transient(err) && !errors.Is(err, store.ErrUnknown)
}
