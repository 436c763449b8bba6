// Package codec turns the Go values of an application into documents and back:
// structs by their tags, and maps that name columns. It is pure.
package codec

import (
	"math"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Codec is the way between the values of one type T and the documents that are stored. It is
// immutable.
//
// A value is passed as a *T in an any, so that what is above and below a codec is compiled once and
// not again for each T.
type Codec interface {
	// New is a *T to a zero T.
	New() any

	// Encode is v's document. ErrInvalid names the fields that cannot be stored.
	Encode(v any) ([]byte, error)

	// Decode reads a record into v, with its version. ErrCorrupt when its document
	// does not fit.
	Decode(m store.Message, v any) error

	// DecodeRow is Decode of a record in memory, into a v that New has made. Of its columns it reads
	// only those with the names in only; all when that is nil.
	DecodeRow(r *row.Row, only []string, v any) error

	// Clone is a copy of v whose own fields can be changed: a write works on it, and v
	// changes only when the write succeeds.
	Clone(v any) any

	// Assign sets v to what w is.
	Assign(v, w any)

	// ZeroKey reports whether v's primary key is zero, as automatic keys are before
	// they are given; SetKey gives it one.
	ZeroKey(v any) bool
	SetKey(v any, id value.Value) error

	// Version is the revision at which v was read or written; 0 when that is not
	// known, or T does not keep it; Partial when v is not whole.
	Version(v any) uint64
	SetVersion(v any, revision uint64)

	// NeedsCreated reports whether T keeps the time of creation and v has none; Stamp
	// sets it then, to created, and the time of the update always.
	NeedsCreated(v any) bool
	Stamp(v any, created, updated time.Time)

	// Writes reports whether Encode writes this column, or would if it had a value.
	// A save leaves other columns as they are stored.
	Writes(column string) bool

	// Type is the type with which T declares a column; "" when Writes is false.
	Type(column string) value.Type
}

// Partial is the version of a record of which only some columns were read.
const Partial = math.MaxUint64

// MessageOf is a record in memory as a message, with the document of those columns only; all when only is
// nil.
func MessageOf(r *row.Row, only []string) (store.Message, error) {
	m := store.Message{Key: r.Key(), Revision: r.Revision, Fence: r.Fence, Schema: r.Schema}
	if only == nil {
		m.Value = r.Document()
		return m, nil
	}
	s := r.Shape()
	if s == nil {
		doc, err := document.Pick(r.Document(), only)
		m.Value = doc
		return m, err
	}
	m.Value = r.Picked(func(i int) bool { return slices.Contains(only, s.Name(i)) }, false)
	return m, nil
}

// decodeDocument is DecodeRow by way of the document.
func decodeDocument(c Codec, model string, r *row.Row, only []string, v any) error {
	m, err := MessageOf(r, only)
	if err != nil {
		return errs.Corrupt(model, m.Key, err)
	}
	return c.Decode(m, v)
}
