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

// FindByPK reads the record with this primary key, in one round trip. It returns
// ErrNotFound when there is none, ErrInvalid when id does not fit the key's type, and
// ErrCorrupt when the record cannot be read.
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

// FindOne reads the first record that the queries select. Without OrderBy that is
// whichever is found first. It returns ErrNotFound when no record is selected, and
// ErrCorrupt when the only ones cannot be read.
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
		return nil, corrupt // it may have been the record that was looked for
	}
	return nil, m.describe(ErrNotFound, "with these conditions")
}

// atMostOne limits a query to one record, or to none if its Limit is 0.
var atMostOne = queryFunc(func(s *query.Spec) {
	if s.Limit != 0 {
		s.Limit = 1
	}
})

// FindAll reads every record that the queries select, in the order of OrderBy. Without
// OrderBy the order is undefined. When nothing is selected, the slice is empty and
// there is no error.
//
// Records that cannot be read are left out. The error then names them, as a
// *CorruptError or several of them joined, and comes together with the other records.
// With OrderBy and a Limit, such a record still takes a place among the first ones when
// the columns of OrderBy can be read; the slice is then one record shorter.
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

// FindAndCountAll is FindAll, and also counts how many records there are in all,
// without regard to Limit, Offset and After. The records are read once for both. Its
// errors are those of FindAll.
func (m *Model[T]) FindAndCountAll(ctx context.Context, q ...Query) (page []*T, total int, err error) {
	err = m.read(ctx, "FindAndCountAll", q, query.ForRead, func(s *session[T], bound plan.Query, spec query.Spec) (err error) {
		var corrupt []error
		if page, total, corrupt, err = query.SelectAndCount(ctx, s.records.Source(), bound, s.decoder(spec)); err != nil {
			return err
		}
		return errors.Join(corrupt...)
	})
	return page, total, err
}

// Each streams the records that the queries select, in the order of OrderBy. Without
// OrderBy the order is undefined, and records come as they are read. Then only a few of
// them are in memory at a time, plus 8 bytes for each that has come, or its key where
// an index leads to many or the bucket is replicated.
//
// A record that is selected all the while comes exactly once, any other at most once.
//
// An error comes with a nil record. After ErrCorrupt, which names one record, the
// stream goes on; every other error ends it. Breaking out of the loop frees everything.
func (m *Model[T]) Each(ctx context.Context, q ...Query) iter.Seq2[*T, error] {
	return m.each(ctx, "Each", q, false)
}

// Count counts the records that the queries select, up to the Limit if there is one. It
// reads the columns of the conditions, and returns ErrCorrupt when they cannot be read
// in a record.
//
// Without conditions it reads no record. The first such count of a model takes about as
// long as a scan, unless the process has scanned the model; later ones take less than a
// tenth of that. On a bucket with replicas or history, each takes a scan.
func (m *Model[T]) Count(ctx context.Context, q ...Query) (n int, err error) {
	err = m.read(ctx, "Count", q, query.ForTotal, func(s *session[T], bound plan.Query, _ query.Spec) (err error) {
		n, err = query.Count(ctx, s.records.Source(), bound)
		return err
	})
	return n, err
}

// read makes a call that reads what queries select: it binds them to the model, and
// lets work do the rest.
func (m *Model[T]) read(ctx context.Context, call string, q []Query, use query.Use, work func(*session[T], plan.Query, query.Spec) error) error {
	return m.call(ctx, operation{name: call, reads: true}, func(s *session[T]) error {
		bound, spec, err := s.bind(q, use)
		if err != nil {
			return err
		}
		return work(s, bound, spec)
	})
}

// each streams what the queries select. all says that the caller will read every
// record. Inside a transaction, each first reads all records and then delivers them,
// because the caller may make other calls of the transaction for each record.
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

// decoder is what makes values of records: of whole ones, or of the columns of Select.
func (s *session[T]) decoder(spec query.Spec) func(store.Message) (*T, error) {
	if spec.Select == nil {
		return s.decode
	}
	return func(m store.Message) (*T, error) {
		doc, err := document.Pick(m.Value, spec.Select)
		if err != nil {
			return nil, errs.Corrupt(s.name, m.Key, err)
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
		s.replaceProvisional(v, codec.Partial, m.Key, m.Revision) // v is read from the transaction; without a commit, there is no such version
	}
	return v, nil
}

// key is id as a value of the model's primary key.
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
