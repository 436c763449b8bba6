package natsorm

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/typed"
)

// FindByPK reads the record with this primary key, in one round trip. It returns
// ErrNotFound when there is none, ErrInvalid when id does not fit the key's type, and
// ErrCorrupt when the record cannot be read.
func (m *reads[T]) FindByPK(ctx context.Context, id any) (v *T, err error) {
	err = m.call(ctx, operation{Name: "FindByPK", Reads: true}, func(s *session) error {
		key, err := s.Key(id)
		if err != nil {
			return err
		}
		found, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		if !found.Live() {
			return s.Describe(ErrNotFound, key.Text())
		}
		read, err := s.Decoder(query.Spec{})(found)
		v = typed.Unbox[T](read)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// FindOne reads the first record that the queries select. Without OrderBy that is
// whichever is found first. It returns ErrNotFound when no record is selected, and
// ErrCorrupt when the only ones cannot be read.
func (m *reads[T]) FindOne(ctx context.Context, q ...Query) (*T, error) {
	var corrupt error
	for v, err := range m.each(ctx, "FindOne", append(slices.Clip(q), atMostOne)) {
		switch {
		case err == nil:
			return typed.Unbox[T](v), nil
		case !errs.Unreadable(err):
			return nil, err
		}
		corrupt = err
	}
	if corrupt != nil {
		return nil, corrupt // it may have been the record that was looked for
	}
	return nil, typed.Describe(ErrNotFound, m.core.Name, "with these conditions")
}

// atMostOne limits a query to one record, or to none if its Limit is 0.
var atMostOne = queryFunc(func(s *query.Spec) {
	if s.Limit != 0 {
		s.Limit = 1
	}
})

// Exists reports whether the queries select any record; without queries, whether the model
// has one. It reads until it finds one. Its errors are those of FindOne except ErrNotFound.
func (m *reads[T]) Exists(ctx context.Context, q ...Query) (found bool, err error) {
	err = m.read(ctx, "Exists", q, query.ForTotal, func(s *session, bound plan.Query, _ query.Spec) error {
		if bound.Limit != 0 {
			bound.Limit = 1
		}
		if bound.After == nil {
			bound.Order = nil // whether there is one does not depend on it
		}
		found = false
		var corrupt error
		for _, err := range query.Records(ctx, s.Source(), bound) {
			if !errs.Unreadable(err) {
				found = err == nil
				return err
			}
			corrupt = err
		}
		return corrupt
	})
	return found, err
}

// FindAll reads every record that the queries select, in the order of OrderBy. Without
// OrderBy the order is undefined. When nothing is selected, the slice is empty and
// there is no error.
//
// Records that cannot be read are left out. The error then names them, as a
// *CorruptError or several of them joined, and comes together with the other records.
// With OrderBy and a Limit, such a record still takes a place among the first ones when
// the columns of OrderBy can be read; the slice is then one record shorter.
func (m *reads[T]) FindAll(ctx context.Context, q ...Query) (all []*T, err error) {
	err = m.read(ctx, "FindAll", q, query.ForRead, func(s *session, bound plan.Query, spec query.Spec) (err error) {
		all = []*T{}
		return collect(query.Select(ctx, s.Source(), bound, true, s.Decoder(spec)), func(v any) { all = append(all, v.(*T)) })
	})
	return readable(all, err)
}

// readable is what a call returns that has read records: none after an error other than ErrCorrupt.
func readable[V any](all []V, err error) ([]V, error) {
	if err != nil && !errs.Unreadable(err) {
		return nil, err
	}
	return all, err
}

// collect gives add a whole sequence. Records that cannot be read are left out, and named by
// the error; after every other error what was added does not count.
func collect(found iter.Seq2[any, error], add func(v any)) error {
	var corrupt []error
	for v, err := range found {
		switch {
		case err == nil:
			add(v)
		case errs.Unreadable(err):
			corrupt = append(corrupt, err)
		default:
			return err
		}
	}
	return errors.Join(corrupt...)
}

// FindAndCountAll is FindAll, and also counts how many records there are in all,
// without regard to Limit, Offset and After. The records are read once for both. Its
// errors are those of FindAll.
func (m *reads[T]) FindAndCountAll(ctx context.Context, q ...Query) (page []*T, total int, err error) {
	err = m.read(ctx, "FindAndCountAll", q, query.ForRead, func(s *session, bound plan.Query, spec query.Spec) (err error) {
		found, n, corrupt, err := query.SelectAndCount(ctx, s.Source(), bound, s.Decoder(spec))
		if page, total = nil, n; err != nil {
			return err
		}
		page = typed.UnboxAll[T](found)
		return errors.Join(corrupt...)
	})
	if page, err = readable(page, err); page == nil {
		total = 0
	}
	return page, total, err
}

// Each streams the records that the queries select, in the order of OrderBy. Without
// OrderBy the order is undefined, and records come as they are read. Then only a few of
// them are in memory at a time, plus 8 bytes for each that has come, or its key where
// an index leads to many or the bucket is replicated.
//
// A record that is selected all the while comes exactly once, any other at most once.
//
// An error comes with a nil record. After one that names a record which cannot be read,
// ErrCorrupt, or ErrSchema for a value of another type (see ConvertColumn), the stream goes on;
// every other error ends it. Breaking out of the loop frees everything.
func (m *reads[T]) Each(ctx context.Context, q ...Query) iter.Seq2[*T, error] {
	found := m.each(ctx, "Each", q)
	return func(yield func(*T, error) bool) {
		found(func(v any, err error) bool { return yield(typed.Unbox[T](v), err) })
	}
}

// Count counts the records that the queries select, up to the Limit if there is one. It
// reads the columns of the conditions, and returns ErrCorrupt when they cannot be read
// in a record.
//
// Where the conditions are about the columns of one index only, ordered or not, and a process has counted by it for
// some time, it proves that the entries of the index are exact and counts those, without reading
// records; Explain says so (CountsEntries). The number is then that of one moment.
//
// Without conditions it reads no record. The first such count of a model takes about as
// long as a scan, unless the process has scanned the model; later ones take less than a
// tenth of that. On a bucket in a cluster or with history, each takes a scan.
func (m *reads[T]) Count(ctx context.Context, q ...Query) (n int, err error) {
	err = m.read(ctx, "Count", q, query.ForTotal, func(s *session, bound plan.Query, _ query.Spec) (err error) {
		n, err = query.Count(ctx, s.Source(), bound)
		return err
	})
	return n, err
}

// read makes a call that reads what queries select: it binds them to the model, and
// lets work do the rest.
func (m *model) read(ctx context.Context, call string, q []Query, use query.Use, work func(*session, plan.Query, query.Spec) error) error {
	return m.call(ctx, operation{Name: call, Reads: true}, func(s *session) error {
		bound, spec, err := bind(s, q, use)
		if err != nil {
			return err
		}
		return work(s, bound, spec)
	})
}

// each streams what the queries select. Inside a transaction, it first reads all records and
// then delivers them, because the caller may make other calls of the transaction for each
// record.
func (m *model) each(ctx context.Context, call string, q []Query) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		var gathered iter.Seq2[any, error]
		var st typed.Stream
		err := m.read(ctx, call, q, query.ForRead, func(s *session, bound plan.Query, spec query.Spec) error {
			if s.Tx != nil {
				gathered = query.Gathered(query.Select(ctx, s.Source(), bound, false, s.Decoder(spec)))
				return nil
			}
			return st.Deliver(ctx, &s.Records, bound, spec, yield)
		})
		switch {
		case st.Stopped:
		case err != nil:
			yield(nil, err)
		case gathered != nil:
			gathered(yield)
		}
	}
}
