package natsorm

import (
	"context"
	"errors"
	"iter"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// FindByPK reads the record with this primary key, in one round trip.
// ErrNotFound when there is none, ErrInvalid when id does not fit the key.
func (m *Model[T]) FindByPK(ctx context.Context, id any) (*T, error) {
	if err := m.db.check(ctx); err != nil {
		return nil, err
	}
	key, err := m.key(id)
	if err != nil {
		return nil, err
	}
	e, err := m.exec.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if !e.Live() {
		return nil, m.describe(ErrNotFound, key.Text())
	}
	return m.decode(e)
}

// FindOne reads one record that the queries select, whichever is found first.
// ErrNotFound when there is none.
func (m *Model[T]) FindOne(ctx context.Context, q ...Query) (*T, error) {
	var corrupt error
	for v, err := range m.Each(ctx, q...) {
		switch {
		case err == nil:
			return v, nil
		case !errors.Is(err, ErrCorrupt):
			return nil, err
		}
		corrupt = err
	}
	if corrupt != nil {
		return nil, corrupt // it may have been the one
	}
	return nil, m.describe(ErrNotFound, "with these conditions")
}

// FindAll reads every record that the queries select, in no particular order;
// none is an empty slice and no error. Records that can not be read are left
// out, and named by the error, a *CorruptError or several of them joined; the
// others are returned beside it.
func (m *Model[T]) FindAll(ctx context.Context, q ...Query) ([]*T, error) {
	out := []*T{}
	var corrupt []error
	for v, err := range m.Each(ctx, q...) {
		switch {
		case err == nil:
			out = append(out, v)
		case errors.Is(err, ErrCorrupt):
			corrupt = append(corrupt, err)
		default:
			return nil, err
		}
	}
	return out, errors.Join(corrupt...)
}

// Each streams the records that the queries select, in no particular order. A
// record that was there all along is seen exactly once, one that is written
// meanwhile at most once. An error comes with a nil record; after ErrCorrupt,
// which names one record, the stream goes on. Breaking out frees everything.
func (m *Model[T]) Each(ctx context.Context, q ...Query) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for e, err := range m.entries(ctx, q) {
			var v *T
			if err == nil {
				v, err = m.decode(e)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// Count counts the records that the queries select. A record that can not be
// read is an error, unless there are no conditions.
func (m *Model[T]) Count(ctx context.Context, q ...Query) (int, error) {
	n := 0
	for _, err := range m.entries(ctx, q) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// entries streams what the queries select, not decoded.
func (m *Model[T]) entries(ctx context.Context, q []Query) iter.Seq2[store.Entry, error] {
	err := m.db.check(ctx)
	if err == nil {
		p, e := m.plan(q, forRead)
		if e == nil {
			return m.exec.Run(ctx, p)
		}
		err = e
	}
	return func(yield func(store.Entry, error) bool) { yield(store.Entry{}, err) }
}

func (m *Model[T]) decode(e store.Entry) (*T, error) {
	v := new(T)
	if err := m.codec.decode(e, v); err != nil {
		return nil, err
	}
	return v, nil
}

// key is id as the model's primary key.
func (m *Model[T]) key(id any) (value.Value, error) {
	col := m.exec.Def.Key()
	key, err := value.Coerce(id, col.Type)
	if err == nil && key.IsNull() {
		err = errors.New("is nil; pass a primary key")
	}
	if err != nil {
		return value.Null, errs.Invalidf(m.name(), col.Name, "%v", err)
	}
	return key, nil
}
