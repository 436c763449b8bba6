package cond

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Op is the operator of a condition: a combination (And, Or, Not) or a comparison.
// Its text is the operator's name in JSON.
type Op string

const (
	And        Op = "and"
	Or         Op = "or"
	Not        Op = "not"
	Eq         Op = "eq"
	Ne         Op = "ne"
	Gt         Op = "gt"
	Gte        Op = "gte"
	Lt         Op = "lt"
	Lte        Op = "lte"
	In         Op = "in"
	NotIn      Op = "notIn"
	Between    Op = "between"
	Like       Op = "like"
	ILike      Op = "iLike"
	StartsWith Op = "startsWith"
	EndsWith   Op = "endsWith"
	Contains   Op = "contains" // of text; of a list it becomes ContainsAny
	Regexp     Op = "regexp"

	ContainsAny Op = "containsAny"
	ContainsAll Op = "containsAll"

	IsNull  Op = "isNull"
	NotNull Op = "notNull"
)

// Node is a condition as a caller wrote it, not yet bound to a model.
type Node struct {
	Op     Op
	Column string // comparisons: the column's name
	Values []any  // comparisons: two for Between, any number for In, NotIn, ContainsAny and ContainsAll, else one or none
	Whole  any    // In of a map's slice: the slice itself, which a JSON column is compared with
	Kids   []Node // And, Or: the parts; Not: the one condition that is negated
	Path   string // conditions in JSON: where this one stands, for errors
	Depth  int    // how many combinations are nested in it, itself included
}

// MaxDepth is how deeply combinations may be nested. The root package checks it, and
// so bounds the recursion of the functions here.
const MaxDepth = 1000

// FromMap is the condition that each column of m equals its value. A slice means
// any of its values, except for a []byte, which is one value. Columns are taken in
// the order of their names, so that equal maps give equal conditions.
func FromMap(m map[string]any) Node {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	out := Node{Op: And}
	for _, name := range names {
		x := m[name]
		kid := Node{Op: Eq, Column: name, Values: []any{x}}
		if rv := reflect.ValueOf(x); rv.Kind() == reflect.Slice && rv.Type().Elem().Kind() != reflect.Uint8 {
			kid.Op, kid.Values, kid.Whole = In, make([]any, rv.Len()), x
			for i := range kid.Values {
				kid.Values[i] = rv.Index(i).Interface()
			}
		}
		out.Kids = append(out.Kids, kid)
	}
	return out
}

// Constant reports whether n selects the same records whatever they hold: every
// one, like Where{} (all is true), or none, like Or() (all is false). A combination
// in which such a part decides, like Or(Where{}, …), is constant too.
func (n Node) Constant() (constant, all bool) {
	count := map[bool]int{} // the constant kids: those that select every record, and none
	for _, k := range n.Kids {
		if c, all := k.Constant(); c {
			count[all]++
		}
	}
	switch n.Op {
	case And:
		return count[false] > 0 || count[true] == len(n.Kids), count[false] == 0
	case Or:
		return count[true] > 0 || count[false] == len(n.Kids), count[true] > 0
	case Not:
		return count[true]+count[false] > 0, count[false] > 0
	default:
		return false, false
	}
}

// Bound is a condition that is bound to a model. It is immutable, so goroutines may
// share it.
type Bound struct {
	Op     Op            // IsNull rather than Eq of null; never Ne, NotIn, NotNull, or Between but of Members (see the package comment)
	Column int           // comparisons: the column's position in the definition
	Values []value.Value // comparisons: of the column's type, never null; of ContainsAny and ContainsAll, as value.Element gives them, each once
	Null   bool          // In, ContainsAny, ContainsAll: null is among the values; other comparisons, until simplified: the value is null
	Fold   bool          // Eq, In: letter case does not matter; the values are folded, and so are those that are compared with them
	Kids   []*Bound      // combinations, and the one comparison that a Not negates

	// Members is the path from the column, of type JSON, to the values that the comparison is about;
	// nil for the column itself. There may be several, where lists are on the way.
	Members []string

	absent value.Value                     // what null or an absent member stands for in this column
	match  func(string) bool               // Like, ILike, StartsWith, EndsWith, Contains, Regexp
	set    func() map[value.Value]struct{} // In with more than manyValues values; nil with fewer
	places map[value.Value]int             // ContainsAny, ContainsAll: the position of each value
}

// manyValues is the number of values up to which In compares one after the other.
// With more it looks them up in a set.
const manyValues = 8

// Bind resolves the columns of n in a model's definition and converts its values to
// their types. The result selects the same records as n, in the simplified form
// that the package comment describes. A column that does not exist, a value that
// does not fit, or an operator that the column's type does not have is an
// errs.ErrInvalid that names the model and the column.
func Bind(n Node, def *schema.Definition) (*Bound, error) {
	b, err := bind(n, def)
	if err != nil {
		return nil, err
	}
	return simplify(b), nil
}

// Equals is the condition that columns, by their positions, have these values. With exact, letter
// case matters also where it does not in other conditions.
func Equals(def *schema.Definition, columns []int, values []value.Value, exact bool) *Bound {
	out := &Bound{Op: And}
	for i, at := range columns {
		kid := &Bound{Op: Eq, Column: at, Values: values[i : i+1], absent: def.Columns[at].AbsentMeans()}
		if values[i].IsNull() {
			kid.Op, kid.Values = IsNull, nil
		} else if !exact && def.Folds(at) {
			kid.Fold, kid.Values = true, []value.Value{value.Fold(values[i])}
		}
		out.Kids = append(out.Kids, kid)
	}
	return simplify(out)
}

// Present is the condition that b is true, or b is nil, and that a column is not null.
func Present(b *Bound, def *schema.Definition, column int) *Bound {
	null := &Bound{Op: IsNull, Column: column, absent: def.Columns[column].AbsentMeans()}
	out := &Bound{Op: And, Kids: []*Bound{{Op: Not, Kids: []*Bound{null}}}}
	if b != nil {
		out.Kids = append(out.Kids, b)
	}
	return simplify(out)
}

// bind is Bind without the simplification. It already reduces the operators: Between
// to an And of two limits, and Ne, NotIn and NotNull to a Not.
func bind(n Node, def *schema.Definition) (*Bound, error) {
	switch n.Op {
	case And, Or, Not:
		b := &Bound{Op: n.Op}
		for _, k := range n.Kids {
			kid, err := bind(k, def)
			if err != nil {
				return nil, err
			}
			b.Kids = append(b.Kids, kid)
		}
		return b, nil
	}
	pos, members, err := resolve(n, def)
	if err != nil {
		return nil, n.located(err)
	}
	if n.Op == Between && members == nil {
		lo, hi := n, n
		lo.Op, lo.Values = Gte, n.Values[:1]
		hi.Op, hi.Values = Lte, n.Values[1:]
		b, err := bind(Node{Op: And, Kids: []Node{lo, hi}}, def)
		if err != nil {
			return nil, err
		}
		least, most := b.Kids[0], b.Kids[1]
		if !least.Null && !most.Null && value.Compare(least.Values[0], most.Values[0]) > 0 {
			return nil, n.located(errs.Invalidf(def.Name, def.Columns[least.Column].Name, "is never between %s and %s; the smaller value comes first", ValueText(least.Values[0]), ValueText(most.Values[0])))
		}
		return b, nil
	}
	col := def.Columns[pos]
	if col.Hidden && n.Path != "" { // a tool's condition: to be told that it is hidden would be a hint
		return nil, n.located(def.NoColumn(n.Column))
	}
	if col.Type == value.JSON && n.Whole != nil && members == nil {
		n.Op, n.Values = Eq, []any{n.Whole}
	}
	invalid := func(format string, args ...any) error {
		called := n.Column
		if members == nil {
			called = def.Called(pos, n.Column)
		}
		return n.located(errs.Invalidf(def.Name, called, format, args...))
	}
	if members != nil {
		if problem := unfit(n.Op); problem != "" {
			return nil, invalid("%s", problem)
		}
		col = memberColumn
	}
	if n.Op == ContainsAny || n.Op == ContainsAll || n.Op == Contains && col.Type == value.JSON {
		b, err := elements(n, col, pos)
		if err != nil {
			return nil, invalid("%v", err)
		}
		return b, nil
	}
	switch n.Op {
	case Gt, Gte, Lt, Lte:
		if !col.Type.Ordered() && members == nil {
			return nil, invalid("has type %s, which has no order, so %s cannot be used; use eq, ne, in or isNull", col.Type, n.Op)
		}
	case Like, ILike, StartsWith, EndsWith, Contains, Regexp:
		if col.Type != value.String && members == nil {
			return nil, invalid("has type %s; %s is for columns of type string", col.Type, n.Op)
		}
	}
	b := &Bound{Op: n.Op, Column: pos, Members: members, absent: col.AbsentMeans()}
	for _, x := range n.Values {
		v, err := coerce(x, col.Type, members)
		switch {
		case err != nil:
			return nil, invalid("in a condition (%s): %v", n.Op, err)
		case v.IsNull():
			b.Null = true
		default:
			b.Values = append(b.Values, v)
		}
		if problem := misshapen(col, v); problem != "" {
			return nil, invalid("%s", problem)
		}
	}
	switch n.Op {
	case Eq, Ne, In, NotIn:
		if b.Fold = def.Folds(pos); b.Fold {
			for i, v := range b.Values {
				b.Values[i] = value.Fold(v)
			}
		}
	}
	switch n.Op {
	case Eq, Ne:
		b.Op = Eq
		if b.Null {
			b.Op, b.Null, b.Fold = IsNull, false, false
		}
	case In, NotIn:
		b.Op = In
		if len(b.Values) > manyValues {
			// Made when it is first needed: a plan that reads records by these very
			// keys never tests them.
			b.set = sync.OnceValue(func() map[value.Value]struct{} {
				set := make(map[value.Value]struct{}, len(b.Values))
				for _, v := range b.Values {
					set[v] = struct{}{}
				}
				return set
			})
		}
	case IsNull, NotNull:
		b.Op = IsNull
	case Gt, Gte, Lt, Lte:
	case Between: // of members: a limit by itself may be true of another one of several values
		if problem := b.disordered(); problem != "" {
			return nil, invalid("%s", problem)
		}
	case Like, ILike, StartsWith, EndsWith, Contains, Regexp:
		if !b.Null && b.Values[0].Type() != value.String {
			return nil, invalid("in a condition (%s): %s is no text", n.Op, ValueText(b.Values[0]))
		}
		if !b.Null {
			if b.match, err = matcher(n.Op, b.Values[0].Str()); err != nil {
				return nil, invalid("%v", err)
			}
		}
	default:
		return nil, fmt.Errorf("%w: unknown operator %q; the operators are and, or, not, %s", errs.ErrInvalid, n.Op, operatorNames())
	}
	switch n.Op {
	case Ne, NotIn, NotNull:
		return &Bound{Op: Not, Kids: []*Bound{b}}, nil
	}
	return b, nil
}

// misshapen says why a JSON column can never equal a value; "" if it can.
func misshapen(col schema.Column, v value.Value) string {
	if v.Type() != value.JSON {
		return ""
	}
	switch first := v.Str()[0]; {
	case col.Holds == schema.List && first != '[':
		return fmt.Sprintf("holds a list, and is compared as a whole, so it is never %s; compare it with a list", v.Str())
	case col.Holds == schema.Object && first != '{':
		return fmt.Sprintf("holds an object, and is compared as a whole, so it is never %s; compare it with an object", v.Str())
	}
	return ""
}

// located adds to err where the condition stands in its JSON, if it came from JSON.
func (n Node) located(err error) error {
	if n.Path == "" {
		return err
	}
	return fmt.Errorf("%w (at %s of the condition in JSON)", err, n.Path)
}

// Columns returns set with the positions of the columns that b tests added, each once.
func (b *Bound) Columns(set []int) []int {
	switch b.Op {
	case And, Or, Not:
		for _, k := range b.Kids {
			set = k.Columns(set)
		}
		return set
	}
	if !slices.Contains(set, b.Column) {
		set = append(set, b.Column)
	}
	return set
}

// Match reports whether b is true of a document. It needs the columns that Columns
// gives, and panics when one was not read.
func (b *Bound) Match(doc document.Values) bool { return b.eval(doc) == yes }

// truth is the outcome of a condition. The order of its values matters: And is the
// least of its parts, Or the greatest, and Not is the distance from yes.
type truth int8

const (
	no truth = iota
	unknown
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (b *Bound) eval(doc document.Values) truth {
	switch b.Op {
	case And:
		out := yes
		for _, k := range b.Kids {
			out = min(out, k.eval(doc))
		}
		return out
	case Or:
		out := no
		for _, k := range b.Kids {
			out = max(out, k.eval(doc))
		}
		return out
	case Not:
		return yes - b.Kids[0].eval(doc)
	}
	v := doc.At(b.Column)
	if b.Members != nil {
		return b.inside(v)
	}
	if v.IsNull() {
		v = b.absent
	}
	return b.test(v)
}

// test evaluates a comparison for a column that has the value v. When v is null it
// is meant as null: eval has already replaced it where null stands for a zero.
func (b *Bound) test(v value.Value) truth {
	if b.Fold {
		v = value.Fold(v)
	}
	switch { // the order of the cases matters: each relies on those before it
	case b.Op == IsNull:
		return truthOf(v.IsNull())
	case b.Op == In && v.IsNull():
		if b.Null {
			return yes
		}
		if len(b.Values) == 0 {
			return no // nothing is in an empty list, not even null
		}
		return unknown
	case b.set != nil:
		_, ok := b.set()[v]
		return truthOf(ok)
	case b.Op == In:
		return truthOf(slices.ContainsFunc(b.Values, func(w value.Value) bool { return value.Equal(v, w) }))
	case b.Op == ContainsAny || b.Op == ContainsAll:
		return b.has(v)
	case v.IsNull() || b.Null: // a comparison of null, or with it
		return unknown
	case b.match != nil:
		return truthOf(b.match(v.Str()))
	}
	switch c := value.Compare(v, b.Values[0]); b.Op {
	case Eq:
		return truthOf(c == 0)
	case Between:
		return truthOf(c >= 0 && value.Compare(v, b.Values[1]) <= 0)
	case Gt:
		return truthOf(c > 0)
	case Gte:
		return truthOf(c >= 0)
	case Lt:
		return truthOf(c < 0)
	default: // Lte
		return truthOf(c <= 0)
	}
}

// fold replaces each letter by one that stands for all its cases. Some letters have three:
// σ, ς and Σ; k, K and the sign of kelvin.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			if 'a' <= r && r <= 'z' {
				r -= 'a' - 'A'
			}
			return r
		}
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, s)
}

// matcher compiles the text of an operator on strings. It fails for a pattern or a
// regular expression that is not valid.
func matcher(op Op, text string) (func(string) bool, error) {
	switch op {
	case Like:
		return likePattern(text)
	case ILike:
		like, err := likePattern(fold(text))
		if err != nil {
			return nil, err
		}
		return func(s string) bool { return like(fold(s)) }, nil
	case StartsWith:
		return func(s string) bool { return strings.HasPrefix(s, text) }, nil
	case EndsWith:
		return func(s string) bool { return strings.HasSuffix(s, text) }, nil
	case Contains:
		return func(s string) bool { return strings.Contains(s, text) }, nil
	default:
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
}
