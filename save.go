package natsorm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Save writes the whole of a record that is there. With an orm:"version" field
// that a read or write has filled, it is ErrConflict when the record has been
// changed or destroyed since; without, the last Save wins. ErrNotFound when
// there is no such record; otherwise its errors are Create's. Members of the
// stored document that T has no column for stay as they are.
func (m *Model[T]) Save(ctx context.Context, v *T) error {
	_, err := m.save(ctx, v, false)
	return err
}

// Upsert creates the record, or writes the whole of it over the one with the
// same primary key, whatever its version, but for the creation time, which
// stays when v's is zero. created says which. Its errors are Create's, but
// never ErrExists.
func (m *Model[T]) Upsert(ctx context.Context, v *T) (created bool, err error) {
	return m.save(ctx, v, true)
}

func (m *Model[T]) save(ctx context.Context, v *T, upsert bool) (created bool, err error) {
	m, leave, err := m.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if v == nil {
		return false, m.nilRecord()
	}
	if upsert && m.exec.Def.Key().Auto && m.codec.ZeroKey(v) {
		return true, m.createWith(ctx, v, value.Null, false)
	}
	id, err := m.keyOf(v)
	if err != nil {
		return false, err
	}
	version := m.codec.Version(v)
	if version == codec.Partial {
		return false, fmt.Errorf("%w was read with Select and is not whole; read all of it, or use Update", m.describe(ErrConflict, id.Text()))
	}
	var w *T // v as it is written
	out, err := m.exec.Apply(ctx, id, func(cur store.Message) ([]byte, error) {
		w = m.codec.Clone(v)
		created = !cur.Live()
		switch {
		case created && upsert:
			m.codec.Stamp(w, now(), now())
		case created && version != 0:
			return nil, fmt.Errorf("%w is not there: it was destroyed since it was read, or its key was changed (%w)", m.describe(ErrConflict, id.Text()), ErrNotFound)
		case created:
			return nil, m.describe(ErrNotFound, id.Text())
		case !upsert && version != 0 && version != cur.Version():
			return nil, fmt.Errorf("%w is at revision %d, not %d; read it again", m.describe(ErrConflict, id.Text()), cur.Version(), version)
		default:
			m.codec.Stamp(w, m.createdAt(cur), now())
		}
		doc, err := m.codec.Encode(w)
		if err != nil || created {
			return doc, err
		}
		if doc, err = document.Adopt(doc, cur.Value, m.codec.Writes); err != nil {
			err = &errs.CorruptError{Model: m.name(), Key: cur.Key, Err: err}
		}
		return doc, err
	})
	if err != nil {
		return false, err
	}
	m.written(v, w, m.exec.Layout.RecordKey(id), out.Revision)
	return created, nil
}

// createdAt is the creation time of a stored record; zero when it has none.
func (m *Model[T]) createdAt(e store.Message) time.Time {
	at := slices.IndexFunc(m.exec.Def.Columns, func(c schema.Column) bool { return c.Role == schema.CreatedAt })
	if at < 0 {
		return time.Time{}
	}
	vals, err := document.NewFields(m.exec.Def, at).Read(e.Value)
	if err != nil || vals.At(at).IsNull() {
		return time.Time{}
	}
	return vals.At(at).Time()
}

// keyOf is the primary key of v.
func (m *Model[T]) keyOf(v *T) (value.Value, error) {
	_, footprint, err := m.encode(v)
	if err != nil {
		return value.Null, err
	}
	return footprint.ID, nil
}
