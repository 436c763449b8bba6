package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

func eq(column string, x any) cond.Node {
	return cond.Node{Op: cond.Eq, Column: column, Values: []any{x}}
}

func in(column string, xs ...any) cond.Node {
	return cond.Node{Op: cond.In, Column: column, Values: xs}
}

func node(op cond.Op, kids ...cond.Node) cond.Node { return cond.Node{Op: op, Kids: kids} }

// text is a plan in one line.
func text(p Plan) string {
	list := func(vals []value.Value) string {
		out := make([]string, len(vals))
		for i, v := range vals {
			out[i] = v.Text()
		}
		return strings.Join(out, ",")
	}
	switch p.Path {
	case Scan:
		return "scan"
	case Nothing:
		return "nothing"
	case Key:
		return "key " + list(p.Keys)
	case Union:
		var branches []string
		for _, b := range p.Either {
			branches = append(branches, text(b))
		}
		return "union (" + strings.Join(branches, ") (") + ")"
	}
	var lookups []string
	for _, vals := range p.Values {
		lookups = append(lookups, list(vals))
	}
	return fmt.Sprintf("%s %s %s", p.Index.Kind(), p.Index.Name, strings.Join(lookups, " | "))
}

// A query in, a path out: no answer would be wrong by another path, only slow.
func TestPaths(t *testing.T) {
	building := schema.NewIndex(false, "late")
	building.State = schema.Building
	def := &schema.Definition{
		Name: "M", Shards: 16,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "a", Type: value.String}, {Name: "b", Type: value.Int}, {Name: "u", Type: value.String},
			{Name: "late", Type: value.Int}, {Name: "zero", Type: value.Int, ZeroNull: true}, {Name: "free", Type: value.Int}, {Name: "c", Type: value.Int},
		},
		Indexes: []schema.Index{schema.NewIndex(false, "a"), schema.NewIndex(false, "b"), schema.NewIndex(false, "a", "b"), schema.NewIndex(false, "c", "b", "a"), schema.NewIndex(true, "u"), schema.NewIndex(true, "u", "b"), building, schema.NewIndex(false, "zero")},
	}
	many := make([]any, 5000)
	for i := range many {
		many[i] = i
	}
	for _, c := range []struct {
		n    cond.Node
		want string
	}{
		{eq("id", 7), "key 7"},
		{in("id", 3, 1, 3), "key 3,1"},
		{node(cond.And, eq("a", "x"), in("id", 1, 2), in("id", 2, 3)), "key 2"},
		{node(cond.And, eq("id", 1), eq("id", 2)), "nothing"},
		{eq("id", nil), "nothing"},
		{eq("a", "x"), "index a x"},
		{eq("a", nil), "index a null"},
		{in("a", "x", "y", nil), "index a x | y | null"},
		{in("a"), "nothing"},
		{node(cond.And, eq("a", "x"), eq("b", 1)), "index a-b x,1"},
		{node(cond.And, in("a", "x", "y"), in("b", 1, 2)), "index a-b x,1 | x,2 | y,1 | y,2"},
		{node(cond.And, eq("a", "x"), eq("u", "k")), "unique u k"},
		{node(cond.And, eq("u", "k"), eq("b", 1)), "unique u-b k,1"},
		{eq("u", nil), "scan"}, // a claim does not find nulls
		{node(cond.And, in("u", "k", nil), eq("a", "x")), "index a x"},
		{eq("late", 1), "scan"},
		{eq("free", 1), "scan"},
		{eq("zero", 0), "index zero 0 | null"},
		{eq("zero", 1), "index zero 1"},
		{eq("zero", nil), "nothing"},
		{node(cond.Or, eq("a", "x"), eq("a", "y")), "union (index a x) (index a y)"},
		{node(cond.Or, eq("a", "x"), node(cond.Or, eq("id", 1), eq("u", "k"))), "union (index a x) (key 1) (unique u k)"},
		{node(cond.Or, eq("a", "x"), eq("free", 1)), "scan"},
		{node(cond.Or, eq("a", "x"), node(cond.And, eq("free", 1), eq("b", 2))), "union (index a x) (index b 2)"},
		{node(cond.And, eq("free", 1), node(cond.Or, eq("a", "x"), eq("id", 1))), "union (index a x) (key 1)"},
		{node(cond.And, eq("b", 1), node(cond.Or, eq("a", "x"), eq("id", 1))), "index b 1"},
		{node(cond.Or, eq("a", "x"), eq("id", nil)), "index a x"},
		{node(cond.Or, in("a"), eq("id", nil)), "nothing"},
		{node(cond.Or), "nothing"},
		{node(cond.Or, in("b", many[:3000]...), in("b", many[2000:]...)), "scan"},
		{eq("c", 1), "index c-b-a 1"},
		{node(cond.And, eq("c", 1), in("b", 2, 3)), "index c-b-a 1,2 | 1,3"},
		{node(cond.And, eq("c", 1), eq("a", "x")), "index a x"},
		{node(cond.Not, eq("a", "x")), "scan"},
		{in("b", many...), "scan"},
		{node(cond.And), "scan"},
	} {
		b, err := cond.Bind(c.n, def)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(Make(def, b)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.n, got, c.want)
		}
	}
	if got := text(Make(def, nil)); got != "scan" {
		t.Errorf("no condition: %q", got)
	}
}
