package natsorm

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/query"
)

// Condition is a Query that selects records by their columns. Columns have the names
// that they have in the document; another letter case is accepted when only one column
// fits. A value may have any Go type that fits the column exactly: 2, int64(2) or 2.0
// for an integer, RFC 3339 text for a time. For anything else the call returns
// ErrInvalid, which names the column.
//
// A JSON column is compared as a whole: with a list, a map, a struct or a json.RawMessage
// that has the same members and elements. The order of members does not matter; how a
// number is written does. Of the elements of a list, Contains, ContainsAny and ContainsAll ask;
// besides these and equality it has no operators.
//
// What is inside of a JSON column has a name with dots: "address.city" of a struct or a map. A
// list on the way is looked into: "items.sku" is about the sku of each item, and a condition is
// true when it is true of one of them. Ne and Not are then true when it is true of none. Where
// there is no such member, or only null, it is null. Strings, numbers and bools are compared with
// values of their own kind; with others they are not equal, and neither greater nor less. All
// operators but Contains, ContainsAny and ContainsAll may be used. No index helps to find the records.
//
// Nulls are treated as in SQL: a comparison with null is neither true nor false, so it
// selects nothing, also inside Not. Two exceptions: Eq(c, nil) means IsNull(c), and a
// nil among the values of In selects nulls. A Go field that is not a pointer is never
// null: where its member is absent or null in the document, it counts as the zero
// value.
type Condition interface {
	Query
	node() cond.Node
}

// Where selects the records whose columns equal all of these values. A slice stands for
// any one of its elements, except a []byte, and except for a JSON column: there it is one
// value. Do not change the map while a call uses it.
type Where map[string]any

func (w Where) shape(s *query.Spec) {
	if err := w.mistake(); err != nil {
		s.Fail(err)
	}
	s.Conditions = append(s.Conditions, w.node())
}

// mistake is what can be told to be wrong before the model is known.
func (w Where) mistake() error {
	for name, x := range w {
		_, condition := x.(Query)
		if condition || reflect.ValueOf(x).Kind() == reflect.Map {
			return fmt.Errorf("%w: Where{%q: …}: Where only compares with values; for other conditions use Gte, Like, Or and the like, or ParseWhere", ErrInvalid, query.Clip(name))
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

// Eq selects records whose column equals value. Eq(column, nil) means IsNull(column). Letter case
// matters to Eq, Ne, In and NotIn, unless the column has a folded index: see Fold.
func Eq(column string, value any) Condition { return compare(cond.Eq, column, value) }

// Ne selects records whose column has another value than this one. It leaves out nulls.
// Ne(column, nil) means NotNull(column).
func Ne(column string, value any) Condition { return compare(cond.Ne, column, value) }

// Gt selects records whose column is greater than value.
func Gt(column string, value any) Condition { return compare(cond.Gt, column, value) }

// Gte selects records whose column is greater than or equal to value.
func Gte(column string, value any) Condition { return compare(cond.Gte, column, value) }

// Lt selects records whose column is less than value.
func Lt(column string, value any) Condition { return compare(cond.Lt, column, value) }

// Lte selects records whose column is less than or equal to value.
func Lte(column string, value any) Condition { return compare(cond.Lte, column, value) }

// Between selects records whose column is at least lo and at most hi. A lo that is greater
// than hi is ErrInvalid.
func Between(column string, lo, hi any) Condition { return compare(cond.Between, column, lo, hi) }

// In selects records whose column equals one of values. A nil selects nulls. Without
// values, In selects nothing.
func In(column string, values ...any) Condition { return compare(cond.In, column, values...) }

// NotIn means Not(In(column, values...)).
func NotIn(column string, values ...any) Condition { return compare(cond.NotIn, column, values...) }

// IsNull selects records whose column is null or absent.
func IsNull(column string) Condition { return compare(cond.IsNull, column) }

// NotNull selects records whose column is not null.
func NotNull(column string) Condition { return compare(cond.NotNull, column) }

// Like selects records whose text column matches an SQL pattern: % stands for any text,
// _ for any one character, and \ takes the next character literally.
func Like(column string, value any) Condition { return compare(cond.Like, column, value) }

// ILike is Like without a difference between the cases of a letter: σ, ς and Σ are the same
// to it, by the simple case folding of Unicode. Accents differ, and ß is not ss.
func ILike(column string, value any) Condition { return compare(cond.ILike, column, value) }

// StartsWith selects records whose text column begins with value.
func StartsWith(column string, value any) Condition { return compare(cond.StartsWith, column, value) }

// EndsWith selects records whose text column ends with value.
func EndsWith(column string, value any) Condition { return compare(cond.EndsWith, column, value) }

// Contains selects records whose text column contains value, or whose list has it as an element:
// a list of strings, numbers or bools, such as a []string, or in a JSON column of a Schema.
// Numbers are compared exactly, 1 and 1.0 are equal. A JSON value that is no list has no
// elements, and whether null has an element is unknown. An index of the column finds the
// records: see [Index].
func Contains(column string, value any) Condition { return compare(cond.Contains, column, value) }

// ContainsAny selects records whose list has at least one of values as an element, as
// [Contains]. Without values it selects nothing.
func ContainsAny(column string, values ...any) Condition {
	return compare(cond.ContainsAny, column, values...)
}

// ContainsAll selects records whose list has all of values as elements, as [Contains]. Without
// values it selects every record with a list.
func ContainsAll(column string, values ...any) Condition {
	return compare(cond.ContainsAll, column, values...)
}

// Regexp selects records whose text column matches a regular expression, in the syntax
// of package regexp. It may match any part of the text; anchor it with ^ and $ to match
// the whole.
func Regexp(column string, value any) Condition { return compare(cond.Regexp, column, value) }

// And selects records that fulfil every condition. Without conditions it selects all
// records.
func And(conditions ...Condition) Condition { return combine(cond.And, conditions) }

// Or selects records that fulfil at least one condition. Without conditions it selects
// nothing.
func Or(conditions ...Condition) Condition { return combine(cond.Or, conditions) }

// Not selects records for which the condition is false. A condition that is neither
// true nor false, because of a null, selects nothing, with or without Not.
func Not(c Condition) Condition { return combine(cond.Not, []Condition{c}) }

func combine(op cond.Op, conditions []Condition) Condition {
	n := cond.Node{Op: op}
	for _, c := range conditions {
		if c == nil {
			return badCondition{fmt.Errorf("%w: a nil Condition in And, Or or Not; leave it out", ErrInvalid)}
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

// ParseWhere reads a condition from JSON, the form in which tools and services exchange
// conditions. All members of an object must be true:
//
//	{"age": 30}                          equal; null asks for nulls
//	{"age": [30, 31]}                    one of them
//	{"age": {"gte": 30, "lt": 40}}       all of: eq ne gt gte lt lte in notIn between like iLike
//	                                     startsWith endsWith contains regexp isNull notNull
//	{"tags": {"contains": "go"}}         its list has this element; containsAny and containsAll
//	                                     take a list of several
//	{"or": [{…}, {…}], "and": […], "not": {…}}
//
// Numbers keep their exact value, times are RFC 3339 text, and bytes are base64.
// ErrInvalid names the path inside the JSON. So does the error for an unknown column,
// or for a value that does not fit; that one is returned by the call that runs the
// query.
func ParseWhere(jsonText []byte) (Condition, error) {
	n, err := cond.Parse(jsonText)
	if err != nil {
		return nil, err
	}
	return condition(n), nil
}

// badCondition is a condition with a mistake in it, which the call that runs it
// returns.
type badCondition struct{ err error }

func (b badCondition) shape(s *query.Spec) { s.Fail(b.err) }
func (b badCondition) node() cond.Node     { return cond.Node{} }
