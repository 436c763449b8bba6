package natsorm

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/query"
)

// Condition is a Query that selects records. Columns are named as in the
// document; letter case is forgiven where only one column fits. Values are of
// any type that fits the column exactly: 2, int64(2) and 2.0 for an integer,
// RFC 3339 text for a time. A mistake is ErrInvalid, and names the column.
//
// Null is as in SQL: a comparison with null selects nothing, not even through
// Not. Eq(c, nil) means IsNull(c), and a nil among In's values stands for null.
// A Go field that is not a pointer is never null: where its member is absent
// or null in the document, it counts as its zero.
type Condition interface {
	Query
	node() cond.Node
}

// Where selects the records whose columns equal the values, all of them. A
// slice, other than a []byte, means any of its values. The map must not be
// changed while a call uses it.
type Where map[string]any

func (w Where) shape(s *query.Spec) {
	if err := w.mistake(); err != nil {
		s.Fail(err)
	}
	s.Conditions = append(s.Conditions, w.node())
}

// mistake is what is wrong with the values before they meet a model.
func (w Where) mistake() error {
	for name, x := range w {
		_, condition := x.(Query)
		if condition || reflect.ValueOf(x).Kind() == reflect.Map {
			return fmt.Errorf("%w: Where{%q: …}: Where compares with values; for other conditions use Gte, Like, Or and the like, or ParseWhere", ErrInvalid, query.Clip(name))
		}
	}
	return nil
}
func (w Where) node() cond.Node { return cond.FromMap(w) }

type condition cond.Node

func (c condition) shape(s *query.Spec) { s.Conditions = append(s.Conditions, cond.Node(c)) }
func (c condition) node() cond.Node     { return cond.Node(c) }

func compare(op cond.Op, column string, values ...any) Condition {
	return condition{Op: op, Column: column, Values: slices.Clone(values)}
}

// Eq selects records whose column equals value; those where it is null when
// value is nil.
func Eq(column string, value any) Condition { return compare(cond.Eq, column, value) }

// Ne selects records whose column has another value; not those where it is
// null, except that Ne(column, nil) means NotNull.
func Ne(column string, value any) Condition { return compare(cond.Ne, column, value) }

// Gt selects records whose column is greater than value.
func Gt(column string, value any) Condition { return compare(cond.Gt, column, value) }

// Gte selects records whose column is greater than or equal to value.
func Gte(column string, value any) Condition { return compare(cond.Gte, column, value) }

// Lt selects records whose column is less than value.
func Lt(column string, value any) Condition { return compare(cond.Lt, column, value) }

// Lte selects records whose column is less than or equal to value.
func Lte(column string, value any) Condition { return compare(cond.Lte, column, value) }

// Between selects records whose column is at least lo and at most hi.
func Between(column string, lo, hi any) Condition { return compare(cond.Between, column, lo, hi) }

// In selects records whose column equals one of values. Without values it
// selects none.
func In(column string, values ...any) Condition { return compare(cond.In, column, values...) }

// NotIn is Not(In(column, values...)).
func NotIn(column string, values ...any) Condition { return compare(cond.NotIn, column, values...) }

// IsNull selects records whose column is null or absent.
func IsNull(column string) Condition { return compare(cond.IsNull, column) }

// NotNull selects records whose column has a value.
func NotNull(column string) Condition { return compare(cond.NotNull, column) }

// Like selects records whose text column matches an SQL pattern: % is any
// text, _ any one character, and \ takes the next character as itself.
func Like(column string, value any) Condition { return compare(cond.Like, column, value) }

// ILike is Like without regard to letter case.
func ILike(column string, value any) Condition { return compare(cond.ILike, column, value) }

// StartsWith selects records whose text column begins with value.
func StartsWith(column string, value any) Condition { return compare(cond.StartsWith, column, value) }

// EndsWith selects records whose text column ends with value.
func EndsWith(column string, value any) Condition { return compare(cond.EndsWith, column, value) }

// Contains selects records whose text column has value in it.
func Contains(column string, value any) Condition { return compare(cond.Contains, column, value) }

// Regexp selects records whose text column matches a regular expression of
// package regexp, anywhere unless it is anchored.
func Regexp(column string, value any) Condition { return compare(cond.Regexp, column, value) }

// And selects records that fulfil every condition; without any, all records.
func And(conditions ...Condition) Condition { return combine(cond.And, conditions) }

// Or selects records that fulfil at least one condition; without any, none.
func Or(conditions ...Condition) Condition { return combine(cond.Or, conditions) }

// Not selects records of which the condition is false. One that is neither
// true nor false, because of a null, stays so.
func Not(c Condition) Condition { return combine(cond.Not, []Condition{c}) }

func combine(op cond.Op, conditions []Condition) Condition {
	n := cond.Node{Op: op}
	for _, c := range conditions {
		if c == nil {
			return badCondition{fmt.Errorf("%w: a nil Condition in And, Or or Not", ErrInvalid)}
		}
		if _, bad := c.(badCondition); bad {
			return c
		}
		if w, ok := c.(Where); ok {
			if err := w.mistake(); err != nil {
				return badCondition{err}
			}
		}
		kid := c.node()
		n.Kids = append(n.Kids, kid)
		n.Depth = max(n.Depth, kid.Depth+1)
	}
	if n.Depth > cond.MaxDepth {
		return badCondition{fmt.Errorf("%w: conditions are nested more than %d deep", ErrInvalid, cond.MaxDepth)}
	}
	return condition(n)
}

// ParseWhere reads a condition in JSON, the form that tools and services share:
// an object whose members all must be true.
//
//	{"age": 30}                          equal; null asks for null
//	{"age": [30, 31]}                    one of
//	{"age": {"gte": 30, "lt": 40}}       all of: eq ne gt gte lt lte in notIn between like iLike
//	                                     startsWith endsWith contains regexp isNull notNull
//	{"or": [{…}, {…}], "and": […], "not": {…}}
//
// Numbers are exact, times are RFC 3339 text, and bytes base64. ErrInvalid names
// the path inside the JSON; so does the error for an unknown column or a value
// that does not fit, which comes from the call that runs the query.
func ParseWhere(jsonText []byte) (Condition, error) {
	n, err := cond.Parse(jsonText)
	if err != nil {
		return nil, err
	}
	return condition(n), nil
}

// badCondition is a condition with a mistake in it: an error at the call that
// runs it.
type badCondition struct{ err error }

func (b badCondition) shape(s *query.Spec) { s.Fail(b.err) }
func (b badCondition) node() cond.Node     { return cond.Node{} }
