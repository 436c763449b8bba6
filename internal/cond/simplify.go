package cond

import (
	"math"
	"slices"

	"github.com/natsorm/natsorm/internal/value"
)

// all is the condition that selects every record: an And without parts. none is the
// one that selects no record: an Or without parts.
var (
	all  = &Bound{Op: And}
	none = &Bound{Op: Or}
)

// All reports whether b, which Bind returned, selects every record.
func (b *Bound) All() bool { return b.Op == And && len(b.Kids) == 0 }

// None reports whether b, which Bind returned, is known to select no record. It may
// miss some conditions that cannot be true.
func (b *Bound) None() bool { return b.Op == Or && len(b.Kids) == 0 }

// simplify brings b into the form that the package comment describes, and that plans
// are made from. Negations move down to the comparisons:
//
//	not (a and b)     (not a) or (not b)
//	not (a or b)      (not a) and (not b)
//	not (x > 3)       x <= 3
//	a and (b and c)   a and b and c
//	a and none        none
//	x > 3 and x < 3   none
//
// Once only comparisons are negated, "unknown" selects as little as "no", and a part
// that cannot be true is none.
func simplify(b *Bound) *Bound {
	switch b.Op {
	case And, Or:
		return combine(b.Op, b.Kids, false)
	case Not:
		return negate(b.Kids[0])
	}
	return comparison(b)
}

// negate is the simplified form of "not b".
func negate(b *Bound) *Bound {
	switch b.Op {
	case And:
		return combine(Or, b.Kids, true)
	case Or:
		return combine(And, b.Kids, true)
	case Not:
		return simplify(b.Kids[0])
	}
	// The opposite limit is unknown for null just as b is, so it is the same as a Not.
	// Not so where several values are compared, of which one is enough.
	if op, ok := map[Op]Op{Gt: Lte, Gte: Lt, Lt: Gte, Lte: Gt}[b.Op]; ok && b.Members == nil {
		c := *b
		c.Op = op
		return comparison(&c)
	}
	switch {
	case b.Op == ContainsAny || b.Op == ContainsAll:
		return b.elementary(true)
	case b.Op == IsNull && !b.absent.IsNull():
		return all // nothing in this column is null
	case b.Op == In && len(b.Values) == 0 && !b.Null:
		return all // nothing is in an empty list, so all are outside
	case b.Op == In && len(b.Values) == 0: // the list holds only null
		return negate(&Bound{Op: IsNull, Column: b.Column, Members: b.Members, absent: b.absent})
	case b.Op != In && b.Null:
		return none // a comparison with null is unknown, and so is its negation
	}
	return &Bound{Op: Not, Kids: []*Bound{b}}
}

// comparison is the simplified form of one comparison.
func comparison(b *Bound) *Bound {
	switch {
	case b.Op == ContainsAny || b.Op == ContainsAll:
		return b.elementary(false)
	case b.Op == IsNull && !b.absent.IsNull():
		return none // nothing in this column is null
	case b.Op == In && len(b.Values) == 0:
		if b.Null {
			// The list holds only null.
			return comparison(&Bound{Op: IsNull, Column: b.Column, Members: b.Members, absent: b.absent})
		}
		return none
	case b.Op != In && b.Op != IsNull && b.Null:
		return none // a comparison with null is unknown
	}
	return b
}

// combine is the simplified And or Or of kids, or of their negations.
func combine(op Op, kids []*Bound, negated bool) *Bound {
	// A part that is neutral changes nothing, and one that decides is the result.
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
		case k.Op == op: // the same kind, or the neutral part, which has no kids
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

// contradicts reports whether conds, which must all be true, leave some column no
// value that it could have.
func contradicts(conds []*Bound) bool {
	columns := map[int][]*Bound{}
	for _, c := range conds {
		if leaf := c.leaf(); leaf != nil && leaf.Members == nil {
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

// leaf is the comparison in b: b itself, or what it negates. It is nil when b is an
// And or an Or.
func (b *Bound) leaf() *Bound {
	switch {
	case b.Op == And || b.Op == Or:
		return nil
	case b.Op == Not:
		return b.Kids[0]
	}
	return b
}

// holds reports whether b, a comparison or the negation of one, is true of v.
func (b *Bound) holds(v value.Value) bool {
	if b.Op == Not {
		return b.Kids[0].test(v) == no
	}
	return b.test(v) == yes
}

// satisfiable reports whether some value, or null, may fulfil all of these comparisons
// with one column. It tries null, then every value of a list, and otherwise narrows
// the limits. What it does not judge, such as patterns, it takes for satisfiable.
func satisfiable(list []*Bound) bool {
	agree := func(v value.Value) bool {
		return !slices.ContainsFunc(list, func(b *Bound) bool { return !b.holds(v) })
	}
	// Of a folded value nobody knows how it is written, so only some comparisons can be asked of it.
	agreeFolded := func(v value.Value) bool {
		return !slices.ContainsFunc(list, func(b *Bound) bool {
			leaf := b.leaf()
			return (leaf.Fold || leaf.Op == IsNull) && !b.holds(v)
		})
	}
	// list[0].leaf() is any of the comparisons: they are all of one column.
	if list[0].leaf().absent.IsNull() && agree(value.Null) {
		return true
	}
	var r limits
	for _, b := range list {
		switch b.Op {
		case Eq, In:
			if b.Fold {
				agree = agreeFolded
			}
			return slices.ContainsFunc(b.Values, agree) // only these values are possible
		case IsNull:
			return false // only null is possible, and it was tried above
		case Gt, Gte, Lt, Lte:
			if !r.narrow(b.Op, b.Values[0]) {
				return false
			}
		}
	}
	return true
}

// limits are the lowest and the highest value that comparisons allow.
type limits struct {
	lo, hi         value.Value // null: no limit on this side
	loOpen, hiOpen bool        // the limit itself is not allowed
}

// narrow adds the comparison op with v, and reports whether a value is left. Where
// values have neighbours, an open limit is first made a closed one (> 3 is >= 4),
// so that x > 3 and x < 4 leaves no integer.
func (r *limits) narrow(op Op, v value.Value) bool {
	open := op == Gt || op == Lt
	lower := op == Gt || op == Gte
	if open {
		switch w, more, discrete := neighbour(v, lower); {
		case discrete && !more:
			return false // such as > the largest integer
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

// neighbour is the value w next to v, above or below it. discrete is false when values
// of the type have no neighbours, as text has none; more is false when v is the last
// value in that direction, and then w means nothing.
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
