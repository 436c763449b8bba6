package cond

import (
	"errors"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

var listDef = &schema.Definition{Name: "M", Columns: []schema.Column{
	{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "l", Type: value.JSON}, {Name: "tags", Type: value.JSON, Holds: schema.List, Elements: value.String},
	{Name: "nums", Type: value.JSON, Holds: schema.List, Elements: value.Int}, {Name: "object", Type: value.JSON, Holds: schema.Object}, {Name: "s", Type: value.String},
}}

// TestElements asks, for a value of the column l, whether conditions are true, false or unknown.
func TestElements(t *testing.T) {
	t.Parallel()
	for doc, conditions := range map[string]map[string]truth{
		`["a","b",1.0,true,null,[2],{"c":3}]`: {
			`contains "a"`: yes, `contains "A"`: no, `contains 1`: yes, `contains 1e0`: yes, `contains "1"`: no, `contains true`: yes, `contains "true"`: no, `contains 2`: no,
			`contains null`: unknown, `containsAny ["x","b"]`: yes, `containsAny ["x"]`: no, `containsAny []`: no, `containsAny ["x",null]`: unknown, `containsAny ["a",null]`: yes,
			`containsAny [null]`: unknown, `containsAll ["a",1]`: yes, `containsAll ["a","a"]`: yes, `containsAll ["a","x"]`: no, `containsAll []`: yes, `containsAll ["a",null]`: unknown,
			`containsAll ["x",null]`: no, `containsAll [null]`: unknown,
		},
		`["\u0061\/"]`: {`contains "a/"`: yes},
		`[]`:           {`contains "a"`: no, `containsAny []`: no, `containsAll []`: yes, `containsAll ["a"]`: no, `containsAll [null]`: unknown},
		`null`: {
			`contains "a"`: unknown, `contains null`: unknown, `containsAny ["a"]`: unknown, `containsAny []`: no, `containsAll []`: unknown, `containsAll ["a"]`: unknown,
		},
		`"a"`:     {`contains "a"`: no, `containsAll []`: no, `containsAny []`: no, `contains null`: unknown, `containsAny ["a",null]`: unknown, `containsAll ["a",null]`: no},
		`{"a":1}`: {`contains "a"`: no, `contains 1`: no, `containsAll []`: no},
	} {
		asked := map[string]truth{}
		for text, want := range conditions {
			op, operand, _ := strings.Cut(text, " ")
			asked[`{"l":{"`+op+`":`+operand+`}}`] = want
		}
		checkTruths(t, listDef, doc, asked)
	}
}

func TestElementsText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    Node
		want string
	}{
		{leaf(Contains, "tags", "a"), `tags contains "a"`},
		{leaf(ContainsAny, "tags", "a", "a"), `tags contains "a"`},
		{leaf(ContainsAll, "tags", "a"), `tags contains "a"`},
		{leaf(ContainsAny, "tags", "b", "a"), `tags contains any of ("a", "b")`},
		{leaf(ContainsAll, "l", "b", 1, true), `l contains all of (true, 1, "b")`},
		{leaf(ContainsAll, "l"), `l contains all of ()`},
		{leaf(ContainsAny, "l"), `none`},
		{leaf(Contains, "l", nil), `none`},
		{leaf(ContainsAny, "tags", "a", nil), `tags contains "a"`},
		{leaf(ContainsAll, "tags", "a", nil), `none`},
		{group(Not, leaf(Contains, "tags", "a")), `tags not contains "a"`},
		{group(Not, leaf(ContainsAny, "tags", "a", "b")), `tags not contains any of ("a", "b")`},
		{group(Not, leaf(ContainsAny, "tags", "a", nil)), `none`},
		{group(Not, leaf(ContainsAll, "tags", "a", nil)), `tags not contains "a"`},
		{group(Not, leaf(ContainsAny, "tags")), `all`},
		{leaf(Contains, "s", "a"), `s contains "a"`},
	} {
		b, err := Bind(c.n, listDef)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Canonical(listDef); got != c.want {
			t.Errorf("%+v: %s, want %s", c.n, got, c.want)
		}
	}
}

func TestElementsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    Node
		want string
	}{
		{leaf(Contains, "tags", 1), "M: tags: holds lists of elements of type string; in a condition (contains): 1 (int64) does not fit"},
		{leaf(ContainsAll, "nums", 1, "2"), `M: nums: holds lists of elements of type int; in a condition (containsAll): "2" (string) does not fit`},
		{leaf(ContainsAny, "tags", []string{"a"}), "is a list; ContainsAny and ContainsAll take several values"},
		{leaf(Contains, "l", map[string]int{"a": 1}), "can be no element to look for"},
		{leaf(Contains, "object", "a"), "M: object: holds an object, which has no elements"},
		{leaf(ContainsAny, "s", "a"), "M: s: has type string; containsAny is for columns that hold lists"},
		{leaf(ContainsAll, "id", 1), "M: id: has type int"},
		{leaf(Contains, "id", 1), "M: id: has type int; contains is for columns of type string"},
		{leaf(Like, "tags", "a"), "M: tags: has type json; like is for columns of type string"},
	} {
		if _, err := Bind(c.n, listDef); !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.n, err, c.want)
		}
	}
}
