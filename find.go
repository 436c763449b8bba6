package natsorm

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

// FindByPK reads the record with this primary key, in one round trip.
// ErrNotFound when there is none, ErrInvalid when id does not fit the key.
func (m *Model[T]) FindByPK(ctx context.Context, id any) (*T, error) {
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
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

// FindOne reads the first record that the queries select; without OrderBy,
// whichever is found first. ErrNotFound when there is none, ErrCorrupt when there
// is none but one that cannot be read.
func (m *Model[T]) FindOne(ctx context.Context, q ...Query) (*T, error) {
	var corrupt error
	for v, err := range m.each(ctx, append(slices.Clip(q), atMostOne), false) {
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

// atMostOne limits a query to one record, unless its Limit is less.
var atMostOne = queryFunc(func(s *query.Spec) {
	if s.Limit != 0 {
		s.Limit = 1
	}
})

// FindAll reads every record that the queries select, in the order of OrderBy,
// or without it in no particular order; none is an empty slice and no error.
// Records that cannot be read are left out, and named by the error, a
// *CorruptError or several of them joined; the others are returned beside it. With
// OrderBy and a Limit, such a record still counts among the Limit when at least the
// columns of OrderBy can be read: what is returned is then one record less.
func (m *Model[T]) FindAll(ctx context.Context, q ...Query) ([]*T, error) {
	out := []*T{}
	var corrupt []error
	for v, err := range m.each(ctx, q, true) {
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

// FindAndCountAll is FindAll, and how many records there are in all: without
// Limit, Offset and After, and counted as Count does. It reads them once. The
// error may be as FindAll's.
func (m *Model[T]) FindAndCountAll(ctx context.Context, q ...Query) (page []*T, total int, err error) {
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	bound, spec, err := m.bind(q, query.ForRead)
	if err != nil {
		return nil, 0, err
	}
	page, total, corrupt, err := query.SelectAndCount(ctx, m.exec.Source(), bound, m.decoder(spec))
	if err != nil {
		return nil, 0, err
	}
	if page == nil {
		page = []*T{}
	}
	return page, total, errors.Join(corrupt...)
}

// Each streams the records that the queries select, in the order of OrderBy, or
// without it in no particular order and as they are read: then only a few records are
// in memory at a time, and 8 bytes for each that was seen (its key, where an index
// leads to many, or the bucket is replicated). A record that is there all the while is
// seen exactly once, one that is written meanwhile at most once. An error comes with a nil record; after ErrCorrupt, which names
// one record, the stream goes on. Breaking out frees everything.
func (m *Model[T]) Each(ctx context.Context, q ...Query) iter.Seq2[*T, error] {
	return m.each(ctx, q, false)
}

// Count counts the records that the queries select, at most as many as a Limit says.
// It reads the columns of the conditions; a record in which they cannot be read is
// ErrCorrupt. Without conditions no record is read: the first count of a model takes
// about the time of a scan, unless there has been one, and later counts less than a
// tenth of that. On a bucket with replicas or history, every count takes a scan.
func (m *Model[T]) Count(ctx context.Context, q ...Query) (int, error) {
	m, leave, err := m.enterToRead(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	bound, _, err := m.bind(q, query.ForTotal)
	if err != nil {
		return 0, err
	}
	return query.Count(ctx, m.exec.Source(), bound)
}

// each streams what the queries select; with all, the caller reads every one.
func (m *Model[T]) each(ctx context.Context, q []Query, all bool) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		m, leave, err := m.enterToRead(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		bound, spec, err := m.bind(q, query.ForRead)
		if err != nil {
			leave()
			yield(nil, err)
			return
		}
		found := query.Select(ctx, m.exec.Source(), bound, all, m.decoder(spec))
		if m.inside() { // the caller may use the transaction for each of them
			found = query.Gathered(found)
			leave()
		} else {
			defer leave()
		}
		for v, err := range found {
			if !yield(v, err) {
				return
			}
		}
	}
}

// decoder makes records of entries, whole or with the columns of Select.
func (m *Model[T]) decoder(spec query.Spec) func(store.Message) (*T, error) {
	if spec.Select == nil {
		return m.decode
	}
	return func(e store.Message) (*T, error) {
		doc, err := document.Pick(e.Value, spec.Select)
		if err != nil {
			return nil, &errs.CorruptError{Model: m.name(), Key: e.Key, Err: err}
		}
		e.Value = doc
		v, err := m.decode(e)
		if err == nil {
			m.codec.setVersion(v, partial)
		}
		return v, err
	}
}

func (m *Model[T]) decode(e store.Message) (*T, error) {
	v := new(T)
	if err := m.codec.decode(e, v); err != nil {
		return nil, err
	}
	if m.inside() && txn.Provisional(e.Revision) {
		m.provisional(v, partial, e.Key, e.Revision) // without a commit, there is no such record
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
