// Package cond is conditions: what a caller writes, held against a model's
// columns once, and then asked of many documents. It is pure.
//
// Null is as in SQL: a comparison with it is neither true nor false, and a
// record is selected only when its condition is true. The one exception makes
// Go read naturally: Eq(col, nil) means IsNull(col), Ne(col, nil) NotNull(col),
// and a nil among the values of In and NotIn stands for null.
package cond

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Op is what a condition asks.
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
	Contains   Op = "contains"
	Regexp     Op = "regexp"
	IsNull     Op = "isNull"
	NotNull    Op = "notNull"
)

// Node is a condition as a caller wrote it, not yet held against a model.
type Node struct {
	Op     Op
	Column string // of a comparison
	Values []any  // of a comparison
	Kids   []Node // of And, Or, Not
	Path   string // where in its JSON it stands, for messages
	Depth  int    // of the combinations in it
}

// MaxDepth bounds how deeply conditions are nested.
const MaxDepth = 1000

// FromMap is the conjunction of equalities that a map of column to value says.
// A slice means any of its values, except for a []byte.
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
			kid.Op, kid.Values = In, make([]any, rv.Len())
			for i := range kid.Values {
				kid.Values[i] = rv.Index(i).Interface()
			}
		}
		out.Kids = append(out.Kids, kid)
	}
	return out
}

// Constant reports whether n selects the same whatever a record holds, and
// what: every record, like Where{}, or none, like Or(). A combination in which
// such a part decides, like Or(Where{}, …), is constant too.
func (n Node) Constant() (constant, all bool) {
	count := map[bool]int{}
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

// Bound is a condition held against a model. It is immutable.
type Bound struct {
	Op     Op            // IsNull rather than Eq of null; never Ne, NotIn, NotNull or Between, which are made of others
	Column int           // position in the definition, of a comparison
	Values []value.Value // not null, of the column's type
	Null   bool          // In: null is among the values
	Kids   []*Bound

	absent value.Value // what null or an absent member stands for
	match  func(string) bool
	set    func() map[value.Value]struct{} // In: the values, when they are many
}

// manyValues is from when on In looks values up instead of comparing each.
const manyValues = 8

// Bind holds n against a model: columns exist, values fit their types. What it
// returns selects the same records, in the form that Simplify gives.
func Bind(n Node, def *schema.Definition) (*Bound, error) {
	b, err := bind(n, def)
	if err != nil {
		return nil, err
	}
	return simplify(b), nil
}

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
	if n.Op == Between {
		lo, hi := n, n
		lo.Op, lo.Values = Gte, n.Values[:1]
		hi.Op, hi.Values = Lte, n.Values[1:]
		return bind(Node{Op: And, Kids: []Node{lo, hi}}, def)
	}
	pos, err := def.Resolve(n.Column)
	if err != nil {
		return nil, n.located(err)
	}
	col := def.Columns[pos]
	fault := func(format string, args ...any) error {
		return n.located(errs.Invalidf(def.Name, col.Name, format, args...))
	}
	b := &Bound{Op: n.Op, Column: pos, absent: col.AbsentMeans()}
	for _, x := range n.Values {
		v, err := value.Coerce(x, col.Type)
		switch {
		case err != nil:
			return nil, fault("in a condition (%s): %v", n.Op, err)
		case v.IsNull():
			b.Null = true
		default:
			b.Values = append(b.Values, v)
		}
	}
	switch n.Op {
	case Eq, Ne:
		b.Op = Eq
		if b.Null {
			b.Op, b.Null = IsNull, false
		}
	case In, NotIn:
		b.Op = In
		if len(b.Values) > manyValues {
			b.set = sync.OnceValue(func() map[value.Value]struct{} { // a plan by keys does without
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
		if !col.Type.Ordered() {
			return nil, fault("has type %s, which has no order for %s", col.Type, n.Op)
		}
	case Like, ILike, StartsWith, EndsWith, Contains, Regexp:
		if col.Type != value.String {
			return nil, fault("has type %s; %s is for columns of type string", col.Type, n.Op)
		}
		if !b.Null {
			if b.match, err = matcher(n.Op, b.Values[0].Str()); err != nil {
				return nil, fault("%v", err)
			}
		}
	default:
		return nil, fmt.Errorf("%w: unknown condition %q", errs.ErrInvalid, n.Op)
	}
	switch n.Op {
	case Ne, NotIn, NotNull:
		return &Bound{Op: Not, Kids: []*Bound{b}}, nil
	}
	return b, nil
}

// located adds to an error where in its JSON the condition stands.
func (n Node) located(err error) error {
	if n.Path == "" {
		return err
	}
	return fmt.Errorf("%w (at %s of the condition in JSON)", err, n.Path)
}

// Columns adds the positions of the columns that b looks at to set.
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

// Match reports whether b is true of a document.
func (b *Bound) Match(doc document.Values) bool { return b.eval(doc) == yes }

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
	if v.IsNull() {
		v = b.absent
	}
	return b.test(v)
}

// test evaluates a comparison with v, for which null stands for itself.
func (b *Bound) test(v value.Value) truth {
	switch {
	case b.Op == IsNull:
		return truthOf(v.IsNull())
	case b.Op == In && v.IsNull():
		if b.Null {
			return yes
		}
		if len(b.Values) == 0 {
			return no
		}
		return unknown
	case b.set != nil:
		_, ok := b.set()[v]
		return truthOf(ok)
	case b.Op == In:
		return truthOf(slices.ContainsFunc(b.Values, func(w value.Value) bool { return value.Equal(v, w) }))
	case v.IsNull() || b.Null:
		return unknown
	case b.match != nil:
		return truthOf(b.match(v.Str()))
	}
	switch c := value.Compare(v, b.Values[0]); b.Op {
	case Eq:
		return truthOf(c == 0)
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

func matcher(op Op, text string) (func(string) bool, error) {
	switch op {
	case Like:
		return likePattern(text)
	case ILike:
		like, err := likePattern(strings.ToLower(text))
		if err != nil {
			return nil, err
		}
		return func(s string) bool { return like(strings.ToLower(s)) }, nil
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
