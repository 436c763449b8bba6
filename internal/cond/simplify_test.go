package cond

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

var simplifyDef = &schema.Definition{Name: "M", Columns: []schema.Column{
	{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "s", Type: value.String}, {Name: "n", Type: value.Int},
	{Name: "u", Type: value.Uint}, {Name: "b", Type: value.Bool}, {Name: "zero", Type: value.Int, ZeroNull: true}, {Name: "f", Type: value.Float},
	{Name: "c", Type: value.String}, {Name: "z", Type: value.String, ZeroNull: true}, {Name: "l", Type: value.JSON},
}, Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex.Folded(), "c"), schema.NewIndex(schema.UniqueIndex.Folded(), "n", "z")}}

func leaf(op Op, column string, values ...any) Node {
	return Node{Op: op, Column: column, Values: values}
}

func group(op Op, kids ...Node) Node { return Node{Op: op, Kids: kids} }

// TestSimplify: what a condition becomes, and what becomes of contradictions.
func TestSimplify(t *testing.T) {
	for _, c := range []struct {
		n    Node
		want string
	}{
		{group(And), "all"},
		{group(Or), "none"},
		{group(Not, group(And)), "none"},
		{group(And, leaf(Eq, "s", "x"), group(And, leaf(Gt, "n", 1), group(And))), `s = "x" and n > 1`},
		{group(Or, leaf(Eq, "s", "x"), group(Or, leaf(Eq, "n", 1), group(Or))), `s = "x" or n = 1`},
		{group(Not, group(Or, leaf(Gt, "n", 1), leaf(Eq, "s", "x"))), `n <= 1 and s != "x"`},
		{group(Not, group(And, leaf(Gte, "n", 1), group(Not, leaf(IsNull, "s")))), `n < 1 or s is null`},
		{group(And, leaf(Eq, "s", "x"), group(Or, leaf(Eq, "n", 1), leaf(In, "n", 2, nil))), `s = "x" and (n = 1 or n in (2, null))`},
		{leaf(Ne, "s", nil), "s is not null"},
		{leaf(In, "s", nil), "s is null"},
		{leaf(NotIn, "s"), "all"},
		{leaf(In, "s"), "none"},
		{leaf(Gt, "n", nil), "none"},
		{group(Not, leaf(Gt, "n", nil)), "none"},
		{leaf(IsNull, "zero"), "none"},
		{leaf(NotNull, "zero"), "all"},
		{group(And, leaf(Eq, "n", 1), leaf(Eq, "n", 2)), "none"},
		{group(And, leaf(Eq, "n", 1), leaf(Ne, "n", 1)), "none"},
		{group(And, leaf(In, "n", 1, 2), leaf(In, "n", 3, 4)), "none"},
		{group(And, leaf(In, "n", 1, nil), leaf(In, "n", 3, nil)), "n in (1, null) and n in (3, null)"},
		{group(And, leaf(Eq, "n", 1), leaf(IsNull, "n")), "none"},
		{group(And, leaf(Gt, "n", 5), leaf(Lt, "n", 6)), "none"},
		{group(And, leaf(Gt, "f", 5), leaf(Lt, "f", 6)), "f > 5 and f < 6"},
		{group(And, leaf(Gt, "f", 5), leaf(Lte, "f", 5)), "none"},
		{group(And, leaf(Gte, "n", 7), leaf(Lte, "n", 3)), "none"},
		{group(And, leaf(Gte, "s", "b"), leaf(Lte, "s", "a")), "none"},
		{group(And, leaf(Lt, "u", 0), leaf(Ne, "u", 4)), "none"},
		{group(And, leaf(Gt, "n", int64(math.MaxInt64)), leaf(Ne, "n", 4)), "none"},
		{group(And, leaf(Gt, "b", true), leaf(NotNull, "b")), "none"},
		{group(And, leaf(Eq, "s", "abc"), leaf(Like, "s", "x%")), "none"},
		{group(And, leaf(In, "s", "abc", "xyz"), leaf(Like, "s", "x%")), `s in ("abc", "xyz") and s like "x%"`},
		{group(Or, group(And, leaf(Gte, "n", 2), leaf(Lte, "n", 1)), leaf(Eq, "s", "x")), `s = "x"`},
		// A column in which letter case does not matter.
		{leaf(Eq, "c", "Straße"), `fold(c) = "strasse"`},
		{leaf(Ne, "c", "X"), `fold(c) != "x"`},
		{leaf(In, "c", "X", nil, "ſ"), `fold(c) in ("x", "s", null)`},
		{leaf(NotIn, "z", "X"), `fold(z) not in ("x")`},
		{leaf(Eq, "c", nil), "c is null"},
		{leaf(In, "c", nil), "c is null"},
		{leaf(Like, "c", "X%"), `c like "X%"`},
		{leaf(Gt, "c", "X"), `c > "X"`},
		{group(And, leaf(Eq, "c", "A"), leaf(Eq, "c", "a")), `fold(c) = "a" and fold(c) = "a"`},
		{group(And, leaf(Eq, "c", "A"), leaf(Ne, "c", "a")), "none"},
		{group(And, leaf(Eq, "c", "A"), leaf(IsNull, "c")), "none"},
		{group(And, leaf(In, "c", "A", "B"), leaf(Eq, "c", "c")), "none"},
		{group(And, leaf(Eq, "c", "abc"), leaf(StartsWith, "c", "AB")), `fold(c) = "abc" and c starts with "AB"`},
		{group(And, leaf(Eq, "c", "a"), leaf(Lt, "c", "B")), `fold(c) = "a" and c < "B"`},
		{group(And, leaf(Eq, "s", "x"), group(Or, group(And, leaf(Gte, "n", 2), leaf(Lte, "n", 1)))), "none"},
	} {
		b, err := Bind(c.n, simplifyDef)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Text(simplifyDef, 0); got != c.want {
			t.Errorf("%+v: %s, want %s", c.n, got, c.want)
		}
	}
}

// TestSimplifyKeepsTheMeaning compares conditions before and after.
func TestSimplifyKeepsTheMeaning(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	number := func() any { return r.IntN(4) }
	text := func() any { return []string{"", "a", "ab", "b", "A", "aB", "ſ", "S"}[r.IntN(8)] }
	var random func(depth int) Node
	random = func(depth int) Node {
		if depth > 0 && r.IntN(2) == 0 {
			n := Node{Op: []Op{And, Or, Not}[r.IntN(3)]}
			kids := r.IntN(4)
			if n.Op == Not {
				kids = 1
			}
			for range kids {
				n.Kids = append(n.Kids, random(depth-1))
			}
			return n
		}
		column, x := []string{"s", "c", "z"}[r.IntN(3)], text
		ops := []Op{Eq, Ne, Gt, Gte, Lt, Lte, In, NotIn, Between, IsNull, NotNull, Like, StartsWith}
		if r.IntN(3) > 0 {
			column, x = []string{"n", "u", "zero", "f"}[r.IntN(4)], number
			ops = ops[:11]
		}
		if r.IntN(6) == 0 {
			column, ops = "l", []Op{Contains, ContainsAny, ContainsAll, IsNull, NotNull}
		}
		n := Node{Op: ops[r.IntN(len(ops))], Column: column}
		switch n.Op {
		case ContainsAny, ContainsAll:
			for range r.IntN(3) {
				n.Values = append(n.Values, number())
			}
			if r.IntN(4) == 0 {
				n.Values = append(n.Values, nil)
			}
		case In, NotIn:
			for range r.IntN(12) {
				n.Values = append(n.Values, x())
			}
			if r.IntN(4) == 0 {
				n.Values = append(n.Values, nil)
			}
		case Between:
			n.Values = []any{x(), x()}
			if fmt.Sprint(n.Values[0]) > fmt.Sprint(n.Values[1]) { // numbers have one digit
				slices.Reverse(n.Values)
			}
		case IsNull, NotNull:
		default:
			n.Values = []any{x()}
			if r.IntN(10) == 0 {
				n.Values[0] = nil
			}
		}
		return n
	}
	fields := document.NewFields(simplifyDef, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	var docs []document.Values
	for range 200 {
		doc := `{"id":1`
		for _, name := range []string{"n", "u", "zero", "f"} {
			if r.IntN(4) > 0 {
				doc += fmt.Sprintf(`,%q:%d`, name, number())
			}
		}
		for _, name := range []string{"s", "c", "z"} {
			if r.IntN(4) > 0 {
				doc += fmt.Sprintf(`,%q:%q`, name, text())
			}
		}
		if r.IntN(4) > 0 {
			doc += `,"l":` + []string{"[]", "[0,1]", "[1,2,3]", "[0,1,2,3,null]", "7", "null"}[r.IntN(6)]
		}
		vals, err := fields.Read([]byte(doc + "}"))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, vals)
	}
	nones := 0
	for range 20_000 {
		n := random(3)
		raw, err := bind(n, simplifyDef)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Bind(n, simplifyDef)
		if err != nil {
			t.Fatal(err)
		}
		if b.None() {
			nones++
		}
		for _, d := range docs[:20+r.IntN(100)] {
			if raw.Match(d) != b.Match(d) {
				t.Fatalf("%+v is %v of %+v, simplified to %s it is not", n, raw.Match(d), d, b.Text(simplifyDef, 0))
			}
		}
	}
	if nones == 0 {
		t.Error("no contradiction was found")
	}
}
