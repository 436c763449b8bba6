// Package errs holds the errors that more than one layer makes or tests for. The root
// package exports them, and documents there what a user can do about each. An error that
// carries data is a type of its own, and errors.Is matches it with its sentinel.
package errs

import (
	"errors"
	"fmt"
	"strings"
)

var (
	ErrNotFound          = errors.New("natsorm: not found")
	ErrExists            = errors.New("natsorm: record already exists")
	ErrUnique            = errors.New("natsorm: unique value is taken")
	ErrConflict          = errors.New("natsorm: record was changed by someone else")
	ErrMissingWhere      = errors.New("natsorm: no condition given")
	ErrInvalid           = errors.New("natsorm: invalid")
	ErrSchema            = errors.New("natsorm: schema")
	ErrCorrupt           = errors.New("natsorm: corrupt record")
	ErrUnsupportedServer = errors.New("natsorm: unsupported server")
	ErrUnsupportedBucket = errors.New("natsorm: unsupported bucket")
	ErrUnknownOutcome    = errors.New("natsorm: outcome unknown")
	ErrClosed            = errors.New("natsorm: the DB is closed, or its connection; open another one")
	ErrPermission        = errors.New("natsorm: no permission")
	ErrFull              = errors.New("natsorm: the bucket is full")
	ErrTxTooLarge        = errors.New("natsorm: transaction too large")
	ErrTxDone            = errors.New("natsorm: transaction has ended")

	// ErrDropped is of a model that was dropped; it is ErrNotFound.
	ErrDropped = fmt.Errorf("%w: the model was dropped", ErrNotFound)

	// ErrUnwritten marks the error of a call that surely has changed nothing and that
	// may succeed when it is made again. The root package does not export it: its
	// SafeToRetry tests for it.
	ErrUnwritten = errors.New("nothing was changed")
)

// UniqueError says that another record holds a unique value. It is ErrUnique.
type UniqueError struct {
	Model   string   // the model's name
	Columns []string // the columns of the unique index
	Value   string   // the value that was asked for, as text; those of several columns are joined by ", "
	Owner   string   // the primary key of the record that holds it, as text

	// Undeclared: the catalogue has the index, and this program does not declare it.
	Undeclared bool
}

func (e *UniqueError) Error() string {
	index := ""
	if e.Undeclared {
		index = " by a unique index that the catalogue has and this program does not declare"
	}
	return fmt.Sprintf("natsorm: %s.%s %q is taken by %s %s%s; choose another value, or change that record first",
		e.Model, strings.Join(e.Columns, "-"), e.Value, e.Model, e.Owner, index)
}

func (e *UniqueError) Is(target error) bool { return target == ErrUnique }

const (
	// MaxDuplicateGroups is how many groups a DuplicatesError lists, and MaxDuplicateKeys how
	// many keys in all of them together.
	MaxDuplicateGroups = 1000
	MaxDuplicateKeys   = 10_000
)

// DuplicatesError says that records share values, so that an index of them cannot be unique. It
// is ErrSchema.
type DuplicatesError struct {
	Model  string
	Groups []DuplicateGroup // in the order of their columns and values, at most MaxDuplicateGroups

	TotalGroups  int // of all groups, also those that are not listed
	TotalRecords int // in all groups; a record that is in several counts in each
}

// DuplicateGroup is the records that share one value.
type DuplicateGroup struct {
	Columns []string // those of the unique index
	Value   string   // as text, of one of the records where letter case does not matter; those of several columns are joined by ", "
	Keys    []string // the primary keys of the records, as text; in a DuplicatesError at most MaxDuplicateKeys in all groups together
}

func (e *DuplicatesError) Error() string {
	const groups, ids = 10, 5
	var b strings.Builder
	values := "values"
	if e.TotalGroups == 1 {
		values = "value"
	}
	fmt.Fprintf(&b, "natsorm: schema: %s cannot be made unique: %d of its records share %d %s", e.Model, e.TotalRecords, e.TotalGroups, values)
	for i, g := range e.Groups {
		if i == groups {
			b.WriteString("; …")
			break
		}
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		more := ""
		if len(g.Keys) > ids {
			more = ", …"
		}
		fmt.Fprintf(&b, "%s%s %q of %s%s", sep, strings.Join(g.Columns, "-"), g.Value, strings.Join(g.Keys[:min(ids, len(g.Keys))], ", "), more)
	}
	b.WriteString(". Change all but one of each, then define it again")
	return b.String()
}

func (e *DuplicatesError) Is(target error) bool { return target == ErrSchema }

// FieldFault is one thing that is wrong with one field.
type FieldFault struct {
	Field   string // the column's name; empty when the fault is not of one field
	Problem string // what is wrong, and what to do
}

// ValidationError lists everything that is wrong with one record or query. It is
// ErrInvalid.
type ValidationError struct {
	Model  string
	Faults []FieldFault
}

func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString("natsorm: invalid ")
	b.WriteString(e.Model)
	for i, f := range e.Faults {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		if f.Field != "" {
			b.WriteString(f.Field + ": ")
		}
		b.WriteString(f.Problem)
	}
	return b.String()
}

func (e *ValidationError) Is(target error) bool { return target == ErrInvalid }

// Invalidf is a ValidationError with one fault.
func Invalidf(model, field, format string, args ...any) error {
	return &ValidationError{Model: model, Faults: []FieldFault{{Field: field, Problem: fmt.Sprintf(format, args...)}}}
}

// PartialError says that a call stopped after it had changed some records. It wraps the
// error that stopped it.
type PartialError struct {
	Model   string
	Changed int // how many records were surely changed
	Err     error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("natsorm: stopped after %d %s records were changed: %v", e.Changed, e.Model, e.Err)
}

func (e *PartialError) Unwrap() error { return e.Err }

// MigrationError says which step of Migrate ended it. It wraps the error of the step.
type MigrationError struct {
	Name    string   // the step's name
	Applied []string // the steps before it that the same call has carried out
	Err     error    // what the step returned, or why it could not begin or be recorded
}

func (e *MigrationError) Error() string {
	applied := "none before it"
	if len(e.Applied) > 0 {
		applied = strings.Join(e.Applied, ", ")
	}
	return fmt.Sprintf("natsorm: migration %q failed (this call has carried out: %s): %v; mend the cause and call Migrate again, which begins with this step", e.Name, applied, e.Err)
}

func (e *MigrationError) Unwrap() error { return e.Err }

// Corrupt makes a *CorruptError of the error of reading what a key holds; nil of nil.
func Corrupt(model, key string, err error) error {
	if err == nil {
		return nil
	}
	return &CorruptError{Model: model, Key: key, Err: err}
}

// CorruptError names a key whose stored text cannot be read: a record's document, an
// entry or a claim. It is ErrCorrupt.
type CorruptError struct {
	Model string
	Key   string // the key in the bucket
	Err   error  // what is wrong with it
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("natsorm: corrupt %s record at key %q: %v; mend or delete that key", e.Model, e.Key, e.Err)
}

func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
func (e *CorruptError) Unwrap() error        { return e.Err }

// TypeError says that a record has a value which the type that a program declares for its column
// does not have, because Alter has given the column another type. It is ErrSchema.
type TypeError struct {
	Model, Key    string // Key is the record's in the bucket
	Column        string
	Declared, Now string // types
	Err           error  // what is wrong with the value, which it quotes
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("%v: %s record at key %q: column %s: %v, by which this program declares it; Alter has converted it to %s: declare that", ErrSchema, e.Model, e.Key, e.Column, e.Err, e.Now)
}

func (e *TypeError) Is(target error) bool { return target == ErrSchema || target == errTyped }
func (e *TypeError) Unwrap() error        { return e.Err }

var errTyped = errors.New("a value of another type")

// Unreadable reports whether an error is that of records that cannot be read. Others may be.
func Unreadable(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, errTyped) }

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
