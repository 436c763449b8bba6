package cond

import (
	"fmt"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Conditions on members inside of a JSON column: address.city. A list on the way is looked into, so
// items.sku is about the sku of each item, and tags.x about each x. A comparison is true when it
// is true of one of the values that the path leads to. Where there is none but null, the path
// is null, as a column is. Values are compared as elements of lists are (value.Element); those of
// other types are not equal, and neither greater nor less.

// memberColumn stands for the type of such a value, which each document decides.
var memberColumn = schema.Column{Type: value.JSON}

// resolve is the column that a comparison is about, and the members below it: none, unless the
// name is no column's, and begins with that of a JSON column and a dot.
func resolve(n Node, def *schema.Definition) (pos int, members []string, err error) {
	pos, err = def.Resolve(n.Column)
	name, rest, dotted := strings.Cut(n.Column, ".")
	if err == nil || !dotted {
		return pos, nil, err
	}
	at, e := def.Resolve(name)
	switch {
	case e != nil || def.Columns[at].Hidden && n.Path != "":
		return pos, nil, err // which knows nothing of hidden columns
	case def.Columns[at].Type != value.JSON:
		return pos, nil, errs.Invalidf(def.Name, def.Called(at, name), "has type %s, and so no member %.40q; only a column of type json has members", def.Columns[at].Type, rest)
	}
	members = strings.Split(rest, ".")
	for _, m := range members {
		if m == "" {
			return pos, nil, errs.Invalidf(def.Name, def.Called(at, name), "%.60q names an empty member; write the names of members with a dot between two of them", n.Column)
		}
	}
	return at, members, nil
}

// unfit says why an operator is not one for members; "" if it is.
func unfit(op Op) string {
	switch op {
	case Contains:
		return "is inside of a JSON column, where it is not known whether contains is about text or lists; use eq for an element of a list, or like for text"
	case ContainsAny:
		return "is inside of a JSON column, where each element of a list is compared by itself; use in"
	case ContainsAll:
		return "is inside of a JSON column, where each element of a list is compared by itself; use eq for each, with and"
	}
	return ""
}

// coerce is a value to compare a column of type t with, or members below it.
func coerce(x any, t value.Type, members []string) (value.Value, error) {
	if members == nil {
		return value.Coerce(x, t)
	}
	return value.ElementOf(x, "")
}

// disordered says what is wrong with the ends of a Between of members.
func (b *Bound) disordered() string {
	switch {
	case b.Null:
		return "in a condition (between): null is neither a smallest nor a largest value; use gte or lte for one limit"
	case b.Values[0].Type() != b.Values[1].Type():
		return fmt.Sprintf("is never between %s and %s, which are of two types", ValueText(b.Values[0]), ValueText(b.Values[1]))
	case value.Compare(b.Values[0], b.Values[1]) > 0:
		return fmt.Sprintf("is never between %s and %s; the smaller value comes first", ValueText(b.Values[0]), ValueText(b.Values[1]))
	}
	return ""
}

// inside evaluates a comparison of members in a column that has the value v.
func (b *Bound) inside(v value.Value) truth {
	out, found := no, false
	for leaf := range v.Leaves(b.Members) {
		found = true
		switch {
		case b.match != nil && leaf.Type() != value.String:
		case b.Op != In && b.Op != IsNull && b.match == nil && !b.Null && leaf.Type() != b.Values[0].Type():
		default:
			out = max(out, b.test(leaf))
		}
		if out == yes || b.Op == IsNull {
			return out
		}
	}
	if !found {
		return b.test(value.Null)
	}
	return out
}
