package natsorm

import (
	"context"

	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/typed"
)

// Save writes all columns of a record that exists. With an orm:"version" field that a
// read or a write has filled, Save returns ErrConflict when the record was changed or
// destroyed since then; without one, the last Save wins. Members of the stored document
// for which T has no column stay as they are. After an error, v is as it was.
//
// Errors: ErrNotFound when there is no such record, ErrConflict as above, and those of
// Create except ErrExists.
//
// With IfRevision it is that revision that the record must have, whatever its version says.
func (m *Model[T]) Save(ctx context.Context, v *T, opts ...WriteOption) error {
	return m.call(ctx, operation{Name: "Save"}, func(s *session) error {
		spec, err := writeSpec(opts, query.ForSave)
		if err != nil {
			return err
		}
		return s.Save(ctx, typed.Box(v), spec.IfRevision)
	})
}

// Upsert creates the record or, when its primary key is taken, replaces the record that
// has it, whatever its version. created says which of the two it did. If v's createdAt
// is zero, a replaced record keeps the time that it has. Its errors are those of Create
// except ErrExists.
//
// With OnConflict it replaces the record that has v's values in the columns of a unique
// index, and v gets its key; when there is none it is like Create, ErrExists included. With
// IfRevision it never creates: it is ErrConflict when there is no record to replace, or it has
// another revision.
func (m *Model[T]) Upsert(ctx context.Context, v *T, opts ...WriteOption) (created bool, err error) {
	err = m.call(ctx, operation{Name: "Upsert"}, func(s *session) error {
		spec, err := writeSpec(opts, query.ForUpsert)
		if err == nil {
			created, err = s.Upsert(ctx, typed.Box(v), spec)
		}
		return err
	})
	return created, err
}
