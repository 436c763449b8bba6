package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
)

// Errors of writes.
var (
	// ErrWrongRevision: a checked write was not done, because the key, or what a
	// guard names, is at another revision.
	ErrWrongRevision = errors.New("wrong last revision")
	// ErrUnknown: no answer came. The write was done, or was not, or will be.
	ErrUnknown = errors.New("sent, and not acknowledged")
	// ErrNoBatches: the bucket takes no batches.
	ErrNoBatches = errors.New("the bucket's atomic publish is off")
	// ErrReplicable: the write, or the scan, would be right only where one server keeps the
	// bucket, and others keep it by now, or may. Nothing was done. It is made in another way
	// after that: Traits.Replicable is true from now on.
	ErrReplicable = errors.New("the bucket may have replicas now")
	// ErrNoPurge: the bucket does not allow that keys are removed together.
	ErrNoPurge = errors.New("the bucket takes no purge")
	// ErrBatchTooLarge: a batch exceeds MaxBatch or MaxBatchBytes, or what the
	// server is set to take. Nothing was written.
	ErrBatchTooLarge = errors.New("too many writes for one batch")
	// ErrTooLarge: a value exceeds the payload limit. Nothing was sent.
	ErrTooLarge = fmt.Errorf("%w: value exceeds the server's payload limit", errs.ErrInvalid)
)

// Errors of reads.
var (
	// ErrTooMany: the patterns of a request match more keys than the server
	// answers for.
	ErrTooMany = errors.New("too many results for one request")
)

// Errors of any call.
var (
	// ErrClosed: the store, or its connection, was closed.
	ErrClosed = errs.ErrClosed
	// ErrUnavailable marks errors of the way to the server: it could not be reached,
	// did not answer, or was busy. The errors keep their own text; see Unavailable.
	ErrUnavailable = errors.New("the server is not available")
)

// Unavailable marks an error as ErrUnavailable. Its text, and what it wraps, stay.
func Unavailable(err error) error { return unavailable{err} }

type unavailable struct{ error }

func (e unavailable) Unwrap() error { return e.error }

func (unavailable) Is(target error) bool { return target == ErrUnavailable }

// Transient reports whether an error comes from the way to the server, or from
// the end of a context: the same call may succeed another time.
func Transient(err error) bool {
	for _, target := range []error{ErrUnavailable, ErrUnknown, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
