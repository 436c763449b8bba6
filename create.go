package natsorm

import (
	"cmp"
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/typed"
	"github.com/natsorm/natsorm/internal/value"
)

// Create writes a new record. It fills v's automatic key when that is zero, its
// createdAt and updatedAt times, and its version. After an error, v is as it was.
//
// In a transaction, unique values are compared when the transaction commits, so it is
// Transaction that returns ErrUnique.
//
// Errors: ErrExists when a record has this primary key already. ErrUnique when another
// record has one of the unique values. ErrInvalid when the record cannot be stored.
// ErrUnknownOutcome when the server's answer was lost.
func (m *Model[T]) Create(ctx context.Context, v *T, opts ...WriteOption) error {
	return m.call(ctx, operation{Name: "Create"}, func(s *session) error {
		if _, err := writeSpec(opts, query.ForCreate); err != nil {
			return err
		}
		return s.Create(ctx, typed.Box(v), value.Null, false)
	})
}

// BulkCreate creates many records, some hundred at a time. Automatic keys follow the
// order of the slice. Each record is created or fails by itself, also when it takes a
// unique value from another record of the slice. When records fail, the error is a
// *BulkError that names them; all others are created. When the context ends, no further
// record is begun.
//
// In a transaction it is all or nothing: when one record fails, the transaction ends
// with that error.
func (m *Model[T]) BulkCreate(ctx context.Context, vs []*T, opts ...WriteOption) error {
	return m.call(ctx, operation{Name: "BulkCreate"}, func(s *session) error {
		if _, err := writeSpec(opts, query.ForCreate); err != nil {
			return err
		}
		faults := s.CreateMany(ctx, typed.BoxAll(vs))
		if len(faults) == 0 {
			return nil
		}
		slices.SortFunc(faults, func(a, b BulkFault) int { return cmp.Compare(a.Index, b.Index) })
		err := &BulkError{Total: len(vs), Faults: faults}
		if s.Tx != nil {
			_ = s.Tx.Run.Fail(err) // all or nothing; Fail returns the first error, which Transaction returns too
		}
		return err
	})
}

// FindOrCreate finds the record that where selects, or creates it. Of many calls that come
// at the same time one creates it, and all others find it. where has one value for each of
// its columns, and among them are the primary key or all columns of a unique index: so
// there is at most one such record. A new record is a copy of defaults, which may be nil,
// with the values of where in their columns. created says which of the two it did.
//
// In a transaction, unique values are compared when it commits, as by Create.
//
// Errors: ErrInvalid when where does not say which record is meant. ErrExists or ErrUnique
// when the record that has the key or the unique value does not fulfil the rest of where,
// or when defaults has a value that another record has. Those of FindOne and Create.
func (m *Model[T]) FindOrCreate(ctx context.Context, where Where, defaults *T) (v *T, created bool, err error) {
	err = m.call(ctx, operation{Name: "FindOrCreate", Finds: true}, func(s *session) (err error) {
		if _, _, err = bind(s, []Query{where}, query.ForRead); err != nil {
			return err
		}
		found, made, err := s.FindOrCreate(ctx, where, typed.Box(defaults))
		v, created = typed.Unbox[T](found), made
		return err
	})
	return v, created, err
}
