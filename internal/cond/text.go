package cond

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// operatorText is how Text writes each comparison. In, IsNull and "not equal" have
// forms of their own.
var operatorText = map[Op]string{
	Eq: "=", Gt: ">", Gte: ">=", Lt: "<", Lte: "<=", Like: "like", ILike: "ilike",
	StartsWith: "starts with", EndsWith: "ends with", Contains: "contains", ContainsAny: "contains", Regexp: "matches",
}

// Text is b written much like SQL. Conditions that select different records have
// different texts, unless values were left out: when most is positive, lists show
// only their first most values.
func (b *Bound) Text(def *schema.Definition, most int) string {
	t := texter{def: def, most: most}
	t.write(b, "")
	return t.String()
}

// Canonical is Text with the parts of combinations and the values of lists in a fixed
// order, so that conditions that differ only in order have the same text.
func (b *Bound) Canonical(def *schema.Definition) string {
	return b.canonical(def).Text(def, 0)
}

// canonical is a copy of b with its parts in the order of their texts, and the values
// of lists in ascending order.
func (b *Bound) canonical(def *schema.Definition) *Bound {
	c := *b
	c.Kids = make([]*Bound, len(b.Kids))
	texts := map[*Bound]string{}
	for i, k := range b.Kids {
		c.Kids[i] = k.canonical(def)
		texts[c.Kids[i]] = c.Kids[i].Text(def, 0)
	}
	slices.SortFunc(c.Kids, func(x, y *Bound) int { return strings.Compare(texts[x], texts[y]) })
	switch {
	case b.Op == In && b.Members == nil:
		c.Values = slices.SortedFunc(slices.Values(b.Values), value.Compare)
	case b.Op == In, b.Op == ContainsAny, b.Op == ContainsAll: // they may be of several types
		c.Values = slices.SortedFunc(slices.Values(b.Values), func(v, w value.Value) int {
			return cmp.Or(strings.Compare(string(v.Type()), string(w.Type())), strings.Compare(v.Text(), w.Text()))
		})
	}
	return &c
}

// texter builds the text of a condition.
type texter struct {
	strings.Builder
	def  *schema.Definition
	most int // values to show of a list; 0 or less shows all
}

// write adds b. inside is the combination that it stands in, "" for none; a
// combination inside another gets brackets.
func (t *texter) write(b *Bound, inside Op) {
	switch {
	case b.All():
		t.WriteString("all")
	case b.None():
		t.WriteString("none")
	case b.Op == And || b.Op == Or:
		if inside != "" {
			t.WriteByte('(')
		}
		for i, k := range b.Kids {
			if i > 0 {
				t.WriteString(" " + string(b.Op) + " ")
			}
			t.write(k, b.Op)
		}
		if inside != "" {
			t.WriteByte(')')
		}
	case b.Op == Not:
		t.comparison(b.Kids[0], true)
	default:
		t.comparison(b, false)
	}
}

// comparison adds b, or its negation: != and "is not null" where there is such a form,
// else "not" before the operator.
func (t *texter) comparison(b *Bound, negated bool) {
	column := ColumnText(t.def.Columns[b.Column].Name)
	for _, m := range b.Members {
		column += "." + ColumnText(m)
	}
	if b.Fold {
		column = "fold(" + column + ")"
	}
	t.WriteString(column + " ")
	switch {
	case b.Op == IsNull && negated:
		t.WriteString("is not null")
	case b.Op == IsNull:
		t.WriteString("is null")
	case b.Op == In:
		if negated {
			t.WriteString("not ")
		}
		t.WriteString("in (")
		t.list(b)
		t.WriteByte(')')
	case b.Op == ContainsAll || b.Op == ContainsAny && len(b.Values) != 1:
		if negated {
			t.WriteString("not ")
		}
		t.WriteString(map[Op]string{ContainsAny: "contains any of (", ContainsAll: "contains all of ("}[b.Op])
		t.list(b)
		t.WriteByte(')')
	case b.Op == Between:
		if negated {
			t.WriteString("not ")
		}
		t.WriteString("between " + ValueText(b.Values[0]) + " and " + ValueText(b.Values[1]))
	case b.Op == Eq && negated:
		t.WriteString("!= " + ValueText(b.Values[0]))
	default:
		if negated {
			t.WriteString("not ")
		}
		t.WriteString(operatorText[b.Op] + " " + ValueText(b.Values[0]))
	}
}

// list adds the values of an In, null last.
func (t *texter) list(b *Bound) {
	shown := b.Values
	if t.most > 0 && len(shown) > t.most {
		shown = shown[:t.most]
	}
	for i, v := range shown {
		if i > 0 {
			t.WriteString(", ")
		}
		t.WriteString(ValueText(v))
	}
	if left := len(b.Values) - len(shown); left > 0 {
		t.WriteString(", … " + strconv.Itoa(left) + " more")
	}
	if b.Null {
		if len(shown) > 0 {
			t.WriteString(", ")
		}
		t.WriteString("null")
	}
}

// ColumnText is a column's name as Text writes it: quoted where it is not a plain
// word, or is a word that Text uses itself.
func ColumnText(name string) string {
	if keys.CheckName(name) == nil && !slices.Contains([]string{"all", "none", "and", "or", "not"}, name) {
		return name
	}
	return strconv.Quote(name)
}

// ValueText is v as Text writes it: the JSON that a document holds for it.
func ValueText(v value.Value) string { return string(v.AppendJSON(nil)) }
