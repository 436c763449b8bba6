package natsorm

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

// FindByPK reads the record with this primary key, in one round trip.
// ErrNotFound when there is none, ErrInvalid when id does not fit the key.
func (m *Model[T]) FindByPK(ctx context.Context, id any) (v *T, err error) {
	err = m.call(ctx, operation{name: "FindByPK", reads: true}, func(s *session[T]) error {
		key, err := s.key(id)
		if err != nil {
			return err
		}
		found, err := s.records.Get(ctx, key)
		if err != nil {
			return err
		}
		if !found.Live() {
			return s.describe(ErrNotFound, key.Text())
		}
		v, err = s.decode(found)
		return err
	})
	return v, err
}

// FindOne reads the first record that the queries select; without OrderBy,
// whichever is found first. ErrNotFound when there is none, ErrCorrupt when there
// is none but one that cannot be read.
func (m *Model[T]) FindOne(ctx context.Context, q ...Query) (*T, error) {
	var corrupt error
	for v, err := range m.each(ctx, "FindOne", append(slices.Clip(q), atMostOne), false) {
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
	for v, err := range m.each(ctx, "FindAll", q, true) {
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
	err = m.read(ctx, "FindAndCountAll", q, query.ForRead, func(s *session[T], bound plan.Query, spec query.Spec) error {
		found, n, corrupt, err := query.SelectAndCount(ctx, s.records.Source(), bound, s.decoder(spec))
		if err != nil {
			return err
		}
		page, total = append([]*T{}, found...), n
		return errors.Join(corrupt...)
	})
	return page, total, err
}

// Each streams the records that the queries select, in the order of OrderBy, or
// without it in no particular order and as they are read: then only a few records are
// in memory at a time, and 8 bytes for each that was seen (its key, where an index
// leads to many, or the bucket is replicated). A record that is there all the while is
// seen exactly once, one that is written meanwhile at most once. An error comes with a nil record; after ErrCorrupt, which names
// one record, the stream goes on. Breaking out frees everything.
func (m *Model[T]) Each(ctx context.Context, q ...Query) iter.Seq2[*T, error] {
	return m.each(ctx, "Each", q, false)
}

// Count counts the records that the queries select, at most as many as a Limit says.
// It reads the columns of the conditions; a record in which they cannot be read is
// ErrCorrupt. Without conditions no record is read: the first count of a model takes
// about the time of a scan, unless there has been one, and later counts less than a
// tenth of that. On a bucket with replicas or history, every count takes a scan.
func (m *Model[T]) Count(ctx context.Context, q ...Query) (n int, err error) {
	err = m.read(ctx, "Count", q, query.ForTotal, func(s *session[T], bound plan.Query, _ query.Spec) (err error) {
		n, err = query.Count(ctx, s.records.Source(), bound)
		return err
	})
	return n, err
}

// read makes a call that reads what queries select.
func (m *Model[T]) read(ctx context.Context, call string, q []Query, use query.Use, work func(*session[T], plan.Query, query.Spec) error) error {
	return m.call(ctx, operation{name: call, reads: true}, func(s *session[T]) error {
		bound, spec, err := s.bind(q, use)
		if err != nil {
			return err
		}
		return work(s, bound, spec)
	})
}

// each streams what the queries select; with all, the caller reads every record. Inside
// a transaction it reads all of them first: the caller may make other calls in it for
// each record.
func (m *Model[T]) each(ctx context.Context, call string, q []Query, all bool) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		var gathered iter.Seq2[*T, error]
		stopped := false
		err := m.read(ctx, call, q, query.ForRead, func(s *session[T], bound plan.Query, spec query.Spec) error {
			found := query.Select(ctx, s.records.Source(), bound, all, s.decoder(spec))
			if s.tx != nil {
				gathered = query.Gathered(found)
				return nil
			}
			for v, err := range found {
				if err != nil && !errors.Is(err, ErrCorrupt) {
					return err
				}
				if stopped = !yield(v, err); stopped {
					return nil
				}
			}
			return nil
		})
		switch {
		case stopped:
		case err != nil:
			yield(nil, err)
		case gathered != nil:
			gathered(yield)
		}
	}
}

// decoder makes values of records, whole or with the columns of Select.
func (s *session[T]) decoder(spec query.Spec) func(store.Message) (*T, error) {
	if spec.Select == nil {
		return s.decode
	}
	return func(m store.Message) (*T, error) {
		doc, err := document.Pick(m.Value, spec.Select)
		if err != nil {
			return nil, &errs.CorruptError{Model: s.name, Key: m.Key, Err: err}
		}
		m.Value = doc
		v, err := s.decode(m)
		if err == nil {
			s.codec.SetVersion(v, codec.Partial)
		}
		return v, err
	}
}

func (s *session[T]) decode(m store.Message) (*T, error) {
	v := new(T)
	if err := s.codec.Decode(m, v); err != nil {
		return nil, err
	}
	if s.tx != nil && txn.Provisional(m.Revision) {
		s.stamp(v, codec.Partial, m.Key, m.Revision) // without a commit, there is no such record
	}
	return v, nil
}

// key is id as the model's primary key.
func (s *session[T]) key(id any) (value.Value, error) {
	col := s.records.Def.Key()
	key, err := value.Coerce(id, col.Type)
	if err == nil && key.IsNull() {
		err = errors.New("is nil; pass a primary key")
	}
	if err != nil {
		return value.Null, errs.Invalidf(s.name, col.Name, "%v", err)
	}
	return key, nil
}
