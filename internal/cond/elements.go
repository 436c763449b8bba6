package cond

import (
	"fmt"

	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Conditions on the elements of lists: ContainsAny is the Or of whether the list has each of some
// values, and ContainsAll the And. Whether a list has null is unknown, and so is whether null
// has anything; but ContainsAny of no values is false even then, as In is. A value that is no
// list has nothing. An element that is null is equal to nothing.

// elements binds such a condition to a column, at its position.
func elements(n Node, col schema.Column, pos int) (*Bound, error) {
	switch {
	case col.Type != value.JSON:
		return nil, fmt.Errorf("has type %s; %s is for columns that hold lists", col.Type, n.Op)
	case col.Holds == schema.Object:
		return nil, fmt.Errorf("holds an object, which has no elements; %s is for columns that hold lists", n.Op)
	}
	b := &Bound{Op: n.Op, Column: pos, absent: col.AbsentMeans(), places: map[value.Value]int{}}
	if n.Op == Contains {
		b.Op = ContainsAny
	}
	for _, x := range n.Values {
		v, err := value.ElementOf(x, col.Elements)
		if err != nil && col.Elements != "" {
			return nil, fmt.Errorf("holds lists of elements of type %s; in a condition (%s): %w", col.Elements, n.Op, err)
		}
		if err != nil {
			return nil, fmt.Errorf("in a condition (%s): %w", n.Op, err)
		}
		if v.IsNull() {
			b.Null = true
			continue
		}
		if _, twice := b.places[v]; !twice {
			b.places[v] = len(b.Values)
			b.Values = append(b.Values, v)
		}
	}
	return b, nil
}

// has evaluates ContainsAny and ContainsAll for a column that has the value v.
func (b *Bound) has(v value.Value) truth {
	if v.IsNull() {
		if b.Op == ContainsAny && len(b.Values) == 0 && !b.Null {
			return no
		}
		return unknown
	}
	found := 0
	seen := make([]bool, len(b.Values))
	for raw := range v.Elements() {
		at, wanted := b.places[value.Element(raw)]
		if !wanted || seen[at] {
			continue
		}
		seen[at] = true
		if found++; b.Op == ContainsAny {
			return yes
		}
	}
	switch {
	case found < len(b.Values) && b.Op == ContainsAll:
		return no
	case b.Null:
		return unknown
	}
	return truthOf(b.Op == ContainsAll && v.IsList())
}

// elementary is the simplified form of ContainsAny or ContainsAll, or of its negation. There
// unknown may be read as no, so null among the values goes.
func (b *Bound) elementary(negated bool) *Bound {
	if b.Null && (len(b.Values) == 0 || negated == (b.Op == ContainsAny)) {
		return none // it is never true: at best it is unknown
	}
	c := *b
	c.Null = false
	switch {
	case len(c.Values) == 1:
		c.Op = ContainsAny
	case len(c.Values) == 0 && c.Op == ContainsAny && negated:
		return all
	case len(c.Values) == 0 && c.Op == ContainsAny:
		return none
	}
	if negated {
		return &Bound{Op: Not, Kids: []*Bound{&c}}
	}
	return &c
}
