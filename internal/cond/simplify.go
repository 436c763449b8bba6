package cond

import (
	"math"
	"slices"

	"github.com/natsorm/natsorm/internal/value"
)

// all and none are the conditions that select every record, and no one.
var (
	all  = &Bound{Op: And}
	none = &Bound{Op: Or}
)

// All reports whether b, which Bind made, selects every record.
func (b *Bound) All() bool { return b.Op == And && len(b.Kids) == 0 }

// None reports whether b, which Bind made, is known to select no record.
func (b *Bound) None() bool { return b.Op == Or && len(b.Kids) == 0 }

// simplify brings a condition into the form that plans are made of: And and Or,
// neither inside its own kind, of comparisons or their negations. Nothing in it
// is negated but comparisons, so "unknown" selects as little as "false", and
// what can not be true falls away: all that is left of a contradiction is none.
func simplify(b *Bound) *Bound {
	switch b.Op {
	case And, Or:
		return combine(b.Op, b.Kids, false)
	case Not:
		return negate(b.Kids[0])
	}
	return comparison(b)
}

// negate simplifies the negation of b.
func negate(b *Bound) *Bound {
	switch b.Op {
	case And:
		return combine(Or, b.Kids, true)
	case Or:
		return combine(And, b.Kids, true)
	case Not:
		return simplify(b.Kids[0])
	}
	if op, ok := map[Op]Op{Gt: Lte, Gte: Lt, Lt: Gte, Lte: Gt}[b.Op]; ok {
		c := *b
		c.Op = op
		return comparison(&c)
	}
	switch {
	case b.Op == IsNull && !b.absent.IsNull():
		return all
	case b.Op == In && len(b.Values) == 0 && !b.Null:
		return all
	case b.Op == In && len(b.Values) == 0:
		return negate(&Bound{Op: IsNull, Column: b.Column, absent: b.absent})
	case b.Op != In && b.Null:
		return none
	}
	return &Bound{Op: Not, Kids: []*Bound{b}}
}

// comparison simplifies one comparison.
func comparison(b *Bound) *Bound {
	switch {
	case b.Op == IsNull && !b.absent.IsNull():
		return none // null stands for a value here
	case b.Op == In && len(b.Values) == 0:
		if b.Null {
			return comparison(&Bound{Op: IsNull, Column: b.Column, absent: b.absent})
		}
		return none
	case b.Op != In && b.Op != IsNull && b.Null:
		return none // a comparison with null
	}
	return b
}

// combine simplifies a combination of kids, or of their negations.
func combine(op Op, kids []*Bound, negated bool) *Bound {
	neutral, decides := all, none
	if op == Or {
		neutral, decides = none, all
	}
	out := &Bound{Op: op}
	for _, k := range kids {
		if negated {
			k = negate(k)
		} else {
			k = simplify(k)
		}
		switch {
		case k.Op == decides.Op && len(k.Kids) == 0:
			return decides
		case k.Op == op:
			out.Kids = append(out.Kids, k.Kids...)
		default:
			out.Kids = append(out.Kids, k)
		}
	}
	switch {
	case len(out.Kids) == 0:
		return neutral
	case len(out.Kids) == 1:
		return out.Kids[0]
	case op == And && contradicts(out.Kids):
		return none
	}
	return out
}

// contradicts reports whether the comparisons among conditions that must all be
// true leave a column no value.
func contradicts(conds []*Bound) bool {
	columns := map[int][]*Bound{}
	for _, c := range conds {
		if leaf := c.leaf(); leaf != nil {
			columns[leaf.Column] = append(columns[leaf.Column], c)
		}
	}
	for _, list := range columns {
		if len(list) > 1 && !satisfiable(list) {
			return true
		}
	}
	return false
}

// leaf is the comparison that b is, or is the negation of; nil when b is a
// combination.
func (b *Bound) leaf() *Bound {
	switch {
	case b.Op == And || b.Op == Or:
		return nil
	case b.Op == Not:
		return b.Kids[0]
	}
	return b
}

// holds reports whether a comparison, or the negation of one, is true of v.
func (b *Bound) holds(v value.Value) bool {
	if b.Op == Not {
		return b.Kids[0].test(v) == no
	}
	return b.test(v) == yes
}

// satisfiable reports whether a value, or null, may fulfil all of these
// comparisons with one column. It looks at lists of values and at limits, and
// takes the rest for satisfiable.
func satisfiable(list []*Bound) bool {
	agree := func(v value.Value) bool {
		return !slices.ContainsFunc(list, func(b *Bound) bool { return !b.holds(v) })
	}
	if list[0].leaf().absent.IsNull() && agree(value.Null) {
		return true
	}
	var r limits
	for _, b := range list {
		switch b.Op {
		case Eq, In:
			return slices.ContainsFunc(b.Values, agree)
		case IsNull:
			return false // null does not agree
		case Gt, Gte, Lt, Lte:
			if !r.narrow(b.Op, b.Values[0]) {
				return false
			}
		}
	}
	return true
}

// limits are the lowest and the highest value that comparisons leave.
type limits struct {
	lo, hi         value.Value // null: none
	loOpen, hiOpen bool        // the limit itself is left out
}

// narrow adds a comparison; it reports false when no value is left.
func (r *limits) narrow(op Op, v value.Value) bool {
	open := op == Gt || op == Lt
	lower := op == Gt || op == Gte
	if open {
		switch w, more, discrete := neighbour(v, lower); {
		case discrete && !more:
			return false
		case discrete:
			v, open = w, false
		}
	}
	switch {
	case lower && (r.lo.IsNull() || value.Compare(v, r.lo) > 0 || value.Equal(v, r.lo) && open):
		r.lo, r.loOpen = v, open
	case !lower && (r.hi.IsNull() || value.Compare(v, r.hi) < 0 || value.Equal(v, r.hi) && open):
		r.hi, r.hiOpen = v, open
	}
	if r.lo.IsNull() || r.hi.IsNull() {
		return true
	}
	c := value.Compare(r.lo, r.hi)
	return c < 0 || c == 0 && !r.loOpen && !r.hiOpen
}

// neighbour is the value next to v, above or below it, where there is one:
// discrete is false when the type has none, and more when v is the last one.
func neighbour(v value.Value, above bool) (w value.Value, more, discrete bool) {
	switch v.Type() {
	case value.Bool:
		return value.OfBool(above), v.Bool() != above, true
	case value.Int:
		if above {
			return value.OfInt(v.Int() + 1), v.Int() < math.MaxInt64, true
		}
		return value.OfInt(v.Int() - 1), v.Int() > math.MinInt64, true
	case value.Uint:
		if above {
			return value.OfUint(v.Uint() + 1), v.Uint() < math.MaxUint64, true
		}
		return value.OfUint(v.Uint() - 1), v.Uint() > 0, true
	}
	return value.Null, false, false
}
