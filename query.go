package natsorm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
)

// Query shapes a call that reads or selects records: a Condition, or an option
// such as OrderBy, Limit or All. Queries are immutable values; building one does
// no I/O and can not fail, and the first mistake in it is returned by the call
// that runs it. Several are combined: conditions with AND, the columns of
// OrderBy and Select one after another; of other options the last one counts.
type Query interface {
	shape(*querySpec)
}

// querySpec is what a call's queries add up to.
type querySpec struct {
	conds   []cond.Node
	all     bool
	columns []string // Columns
	current bool     // WithCurrent
	order   []string
	limit   int // negative for none
	offset  int
	after   string
	selects []string
	analyze bool
	err     error
}

// fail keeps the first mistake.
func (s *querySpec) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
}

// queryUse is the kind of call that a query is for.
type queryUse int

const (
	forRead    queryUse = iota // records
	forTotal                   // counts and sums
	forGroups                  // the order is of the groups
	forChange                  // must say which records
	forWatch                   // changes
	forExplain                 // as forRead
)

func newQuerySpec(q []Query, use queryUse) (querySpec, error) {
	spec := querySpec{limit: -1}
	for _, part := range q {
		if part == nil {
			return spec, fmt.Errorf("%w: a nil Query", ErrInvalid)
		}
		part.shape(&spec)
	}
	if spec.err != nil {
		return spec, spec.err
	}
	for _, o := range []struct {
		given bool
		what  string
		uses  []queryUse
		where string
	}{
		{spec.columns != nil || spec.current, "Columns and WithCurrent are", []queryUse{forWatch}, "Watch"},
		{spec.order != nil || spec.limit >= 0 || spec.offset > 0, "OrderBy, Limit and Offset are", []queryUse{forRead, forTotal, forGroups, forChange, forExplain}, "calls that read or change records, not for Watch"},
		{spec.after != "", "After is", []queryUse{forRead, forTotal, forExplain}, "calls that read records"},
		{spec.selects != nil, "Select is", []queryUse{forRead, forExplain}, "calls that return records"},
		{spec.analyze, "Analyze is", []queryUse{forExplain}, "Explain"},
	} {
		if o.given && !slices.Contains(o.uses, use) {
			return spec, fmt.Errorf("%w: %s for %s", ErrInvalid, o.what, o.where)
		}
	}
	constant, _ := cond.Node{Op: cond.And, Kids: spec.conds}.Constant()
	if use == forChange && constant && !spec.all {
		return spec, fmt.Errorf("%w: say which records, or natsorm.All() for every one", ErrMissingWhere)
	}
	return spec, nil
}

// bind holds a query against the model.
func (m *Model[T]) bind(q []Query, use queryUse) (plan.Query, querySpec, error) {
	spec, err := newQuerySpec(q, use)
	if err != nil {
		return plan.Query{}, spec, err
	}
	out := plan.Query{Limit: spec.limit, Offset: spec.offset}
	if out.Filter, err = m.filter(spec); err != nil {
		return out, spec, err
	}
	if use == forGroups {
		out.Limit, out.Offset = -1, 0 // they are of the groups
		return out, spec, nil
	}
	if out.Order, err = m.order(spec.order); err != nil {
		return out, spec, err
	}
	if spec.after != "" {
		if out.After, err = m.readCursor(spec.after, out); err != nil {
			return out, spec, err
		}
	}
	for i, name := range spec.selects {
		at, err := m.exec.Def.Resolve(name)
		if err != nil {
			return out, spec, err
		}
		spec.selects[i] = m.exec.Def.Columns[at].Name
	}
	return out, spec, nil
}

// filter holds a query's conditions against the model; nil for none.
func (m *Model[T]) filter(spec querySpec) (*cond.Bound, error) {
	if len(spec.conds) == 0 {
		return nil, nil
	}
	return cond.Bind(cond.Node{Op: cond.And, Kids: spec.conds}, m.exec.Def)
}

// order holds the columns of an OrderBy against the model. The primary key
// makes an order whole, so that no two records have the same place.
func (m *Model[T]) order(names []string) ([]plan.Sort, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var out []plan.Sort
	add := func(s plan.Sort) {
		if !slices.ContainsFunc(out, func(o plan.Sort) bool { return o.Column == s.Column }) {
			out = append(out, s)
		}
	}
	for _, name := range names {
		column, desc := strings.CutPrefix(name, "-")
		if m.exec.Def.Position(name) >= 0 { // a column whose name begins with "-"
			column, desc = name, false
		}
		at, err := m.exec.Def.Resolve(column)
		if err != nil {
			return nil, fmt.Errorf("%w (OrderBy(%q): one column each; \"-\" before it descends)", err, clip(name))
		}
		if col := m.exec.Def.Columns[at]; !col.Type.Ordered() {
			return nil, errs.Invalidf(m.name(), col.Name, "has type %s, which has no order for OrderBy", col.Type)
		}
		add(plan.Sort{Column: at, Desc: desc})
	}
	add(plan.Sort{Column: m.exec.Def.PrimaryKey()})
	return out, nil
}

// columnsOf are the positions of columns.
func columnsOf(def *schema.Definition, names []string) ([]int, error) {
	out := make([]int, len(names))
	for i, name := range names {
		var err error
		if out[i], err = def.Resolve(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type queryFunc func(*querySpec)

func (f queryFunc) shape(s *querySpec) { f(s) }

// All says aloud that every record is meant, to Update, Increment and Destroy.
func All() Query { return queryFunc(func(s *querySpec) { s.all = true }) }

// OrderBy sorts by columns, the first one first; "-age" descends. Null comes
// before every value, and after them where the column descends. Text is in the
// order of its bytes. Records that agree in all these columns are in the order
// of their primary keys, so that no two have the same place.
//
// With a Limit no more records than that and the Offset are kept in memory on
// the way; without one all that are selected are.
func OrderBy(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *querySpec) {
		if len(columns) == 0 {
			s.fail("OrderBy without columns")
		}
		s.order = append(s.order, columns...)
	})
}

// Limit takes the first n records, or as many as there are. Without OrderBy
// these are whichever are found first, and few more are read than it takes to
// find them. Limit(0) takes none.
func Limit(n int) Query {
	return queryFunc(func(s *querySpec) {
		if n < 0 {
			s.fail("Limit(%d) is negative; leave it out for no limit", n)
		}
		s.limit = n
	})
}

// Offset passes over the first n records. They are read all the same; After too
// reads all that the conditions select, but stays right when records come and go
// between two pages.
func Offset(n int) Query {
	return queryFunc(func(s *querySpec) {
		if n < 0 {
			s.fail("Offset(%d) is negative", n)
		}
		s.offset = n
	})
}

// After takes the records that follow the one that a cursor was made of, with
// the same conditions and OrderBy, by [Model.FindPage] or [Model.Cursor]. An empty
// cursor is the beginning; ErrCursor for one of another query, or none at all.
func After(cursor string) Query { return queryFunc(func(s *querySpec) { s.after = cursor }) }

// Select decodes only these columns; other fields stay zero, and other members of
// a Record are left out. The server sends whole documents all the same. Such a
// record is not whole: change it with Update, not with Save, which would write
// the zeros too. (Where T has an orm:"version" field, Save, Upsert and Create
// refuse it.)
func Select(columns ...string) Query {
	columns = slices.Clone(columns)
	return queryFunc(func(s *querySpec) {
		if len(columns) == 0 {
			s.fail("Select without columns")
		}
		s.selects = append(s.selects, columns...)
	})
}
