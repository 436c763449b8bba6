package natsorm

import (
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
)

// Query says which records a call is about, and in which shape they are returned: a
// Condition, or an option such as OrderBy, Limit or All. A query is an immutable value.
// Building one does no I/O and cannot fail; a mistake in it is returned by the call
// that runs it.
//
// A call combines its queries: conditions with AND, those of Having too, and the columns of
// OrderBy, Select, Columns and OnConflict one after another. Of any other option, the last
// one counts, but two different IfRevision are ErrInvalid.
type Query interface {
	shape(*query.Spec)
}

// specOf adds up the queries of a call.
func specOf(q []Query) (query.Spec, error) {
	spec := query.NewSpec()
	for _, part := range q {
		if part == nil {
			return spec, fmt.Errorf("%w: a nil Query; leave it out", ErrInvalid)
		}
		part.shape(&spec)
	}
	return spec, spec.Err
}

// queries are conditions, or options of writes, as queries.
func queries[Q Query](list []Q) []Query {
	out := make([]Query, len(list))
	for i, q := range list {
		out[i] = q
	}
	return out
}

// bind adds up the queries of a call, and resolves their columns and values by the
// model.
func bind(s *session, q []Query, use query.Use) (plan.Query, query.Spec, error) {
	spec, err := specOf(q)
	if err != nil {
		return plan.Query{}, spec, err
	}
	bound, err := query.Bind(s.Docs.Def, &spec, use)
	return bound, spec, err
}

type queryFunc func(*query.Spec)

func (f queryFunc) shape(s *query.Spec) { f(s) }

// All says to Update, UpdateOne, Increment and Destroy that every record is meant.
func All() Query { return queryFunc(func(s *query.Spec) { s.All = true }) }

// OrderBy sorts by these columns, the first one first. "-age" sorts by age in
// descending order. Null is smaller than every value. Text is compared by its bytes.
// Records that agree in all these columns are sorted by their primary keys, so the
// order is always complete.
//
// With a Limit, only as many records as Limit and Offset together are in memory at a
// time; without a Limit, all that are selected.
func OrderBy(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: OrderBy without columns; name at least one, or leave it out", ErrInvalid))
		}
		s.Order = append(s.Order, columns...)
	})
}

// Limit takes the first n records, or all if there are fewer. Without OrderBy they are
// whichever are found first, and few more are read. Limit(0) takes none; a negative n
// is ErrInvalid.
func Limit(n int) Query {
	return queryFunc(func(s *query.Spec) {
		if n < 0 {
			s.Fail(fmt.Errorf("%w: Limit(%d) is negative; leave it out for no limit", ErrInvalid, n))
		}
		s.Limit = n
	})
}

// Offset skips the first n records; a negative n is ErrInvalid. The records that it
// skips are read all the same. To page through records, use After: it reads as much,
// but stays right when records come and go between two pages.
func Offset(n int) Query {
	return queryFunc(func(s *query.Spec) {
		if n < 0 {
			s.Fail(fmt.Errorf("%w: Offset(%d) is negative; leave it out to begin with the first record", ErrInvalid, n))
		}
		s.Offset = n
	})
}

// After takes the records behind the one that a cursor marks. The cursor is from
// [Model.FindPage] or [Model.Cursor], called with the same conditions and OrderBy. An
// empty cursor is the beginning. The call returns ErrCursor for a cursor of another
// query, or for other text.
func After(cursor string) Query { return queryFunc(func(s *query.Spec) { s.After = cursor }) }

// Select decodes only these columns. Other fields stay zero, and a Record has no other
// members. The server sends whole documents all the same.
//
// A record that was read with Select is not whole. Change it with Update, not with
// Save, which would write the zeros too. Where T has an orm:"version" field, Save,
// Upsert and Create refuse such a record.
func Select(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *query.Spec) {
		if len(columns) == 0 {
			s.Fail(fmt.Errorf("%w: Select without columns; name at least one, or leave it out", ErrInvalid))
		}
		s.Select = append(s.Select, columns...)
	})
}
