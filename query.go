package natsorm

import (
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
)

// Query shapes a call that reads or selects records: a Condition, or an option
// such as OrderBy, Limit or All. Queries are immutable values; building one does
// no I/O and cannot fail, and the first mistake in it is returned by the call
// that runs it. Several are combined: conditions with AND, the columns of
// OrderBy and Select one after another; of other options the last one counts.
type Query interface {
	shape(*query.Spec)
}

// specOf adds up a call's queries.
func specOf(q []Query) (query.Spec, error) {
	spec := query.NewSpec()
	for _, part := range q {
		if part == nil {
			return spec, fmt.Errorf("%w: a nil Query", ErrInvalid)
		}
		part.shape(&spec)
	}
	return spec, spec.Err
}

// bind holds a call's queries against the model.
func (s *session[T]) bind(q []Query, use query.Use) (plan.Query, query.Spec, error) {
	spec, err := specOf(q)
	if err != nil {
		return plan.Query{}, spec, err
	}
	bound, err := query.Bind(s.records.Def, &spec, use)
	return bound, spec, err
}

type queryFunc func(*query.Spec)

func (f queryFunc) shape(s *query.Spec) { f(s) }

// All says aloud that every record is meant, to Update, Increment and Destroy.
func All() Query { return queryFunc(func(s *query.Spec) { s.All = true }) }

// OrderBy sorts by columns, the first one first; "-age" descends. Null comes
// before every value, and after them where the column descends. Text is in the
// order of its bytes. Records that agree in all these columns are in the order
// of their primary keys, so that no two have the same place.
//
// With a Limit no more records than that and the Offset are kept in memory on
// the way; without one all that are selected are.
func OrderBy(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: OrderBy without columns", ErrInvalid))
		}
		s.Order = append(s.Order, columns...)
	})
}

// Limit takes the first n records, or as many as there are. Without OrderBy
// these are whichever are found first, and few more are read than it takes to
// find them. Limit(0) takes none.
func Limit(n int) Query {
	return queryFunc(func(s *query.Spec) {
		if n < 0 {
			s.Fail(fmt.Errorf("%w: Limit(%d) is negative; leave it out for no limit", ErrInvalid, n))
		}
		s.Limit = n
	})
}

// Offset passes over the first n records. They are read all the same; After too
// reads all that the conditions select, but stays right when records come and go
// between two pages.
func Offset(n int) Query {
	return queryFunc(func(s *query.Spec) {
		if n < 0 {
			s.Fail(fmt.Errorf("%w: Offset(%d) is negative", ErrInvalid, n))
		}
		s.Offset = n
	})
}

// After takes the records that follow the one that a cursor was made of, with
// the same conditions and OrderBy, by [Model.FindPage] or [Model.Cursor]. An empty
// cursor is the beginning; ErrCursor for one of another query, or none at all.
func After(cursor string) Query { return queryFunc(func(s *query.Spec) { s.After = cursor }) }

// Select decodes only these columns; other fields stay zero, and other members of
// a Record are left out. The server sends whole documents all the same. Such a
// record is not whole: change it with Update, not with Save, which would write
// the zeros too. (Where T has an orm:"version" field, Save, Upsert and Create
// refuse it.)
func Select(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: Select without columns", ErrInvalid))
		}
		s.Select = append(s.Select, columns...)
	})
}
