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
	ErrUnknownOutcome    = errors.New("natsorm: outcome unknown")
	ErrClosed            = errors.New("natsorm: closed")
	ErrTxTooLarge        = errors.New("natsorm: transaction too large")
	ErrTxDone            = errors.New("natsorm: transaction has ended")

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
}

func (e *UniqueError) Error() string {
	return fmt.Sprintf("natsorm: %s.%s %q is taken by %s %s; choose another value, or change that record first",
		e.Model, strings.Join(e.Columns, "-"), e.Value, e.Model, e.Owner)
}

func (e *UniqueError) Is(target error) bool { return target == ErrUnique }

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
