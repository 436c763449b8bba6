package cond

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

var memberDef = &schema.Definition{Name: "M", Columns: []schema.Column{
	{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "at", Type: value.JSON}, {Name: "name", Type: value.String}, {Name: "dot.ted", Type: value.String},
	{Name: "secret", Type: value.JSON, Hidden: true},
}}

// TestMembers asks, for a value of the column at, whether conditions are true, false or unknown.
func TestMembers(t *testing.T) {
	t.Parallel()
	for doc, conditions := range map[string]map[string]truth{
		`{"city":"Oslo","zip":150.0,"in":{"deep":true},"none":null,"list":["a","b",3,null],"empty":[],"items":[{"sku":"x","n":1},{"sku":"y","n":9},{"n":5}]}`: {
			`{"at.city":"Oslo"}`: yes, `{"at.city":"oslo"}`: no, `{"AT.city":"Oslo"}`: yes, `{"at.City":"Oslo"}`: unknown, `{"at.city":{"ne":"Bergen"}}`: yes,
			`{"at.zip":150}`: yes, `{"at.zip":"150"}`: no, `{"at.zip":{"gt":149.5,"lte":150}}`: yes, `{"at.zip":{"gt":"1"}}`: no, `{"at.zip":{"between":[1,150]}}`: yes,
			`{"at.in.deep":true}`: yes, `{"at.in":true}`: no, `{"at.in":{"isNull":true}}`: no, `{"at.in.deep.er":1}`: unknown,
			`{"at.none":{"isNull":true}}`: yes, `{"at.gone":null}`: yes, `{"at.none":1}`: unknown, `{"at.gone":{"ne":1}}`: unknown, `{"at.gone":[1,null]}`: yes, `{"at.gone":{"in":[]}}`: no,
			`{"at.city":["Bergen","Oslo",1,2,3,4,5,6,7,8]}`: yes, `{"at.city":{"notIn":["Bergen"]}}`: yes, `{"at.city":["Bergen",null]}`: no,
			`{"at.city":{"startsWith":"Os"}}`: yes, `{"at.city":{"endsWith":"lo"}}`: yes, `{"at.city":{"like":"O_l%"}}`: yes, `{"at.city":{"iLike":"OSL%"}}`: yes,
			`{"at.city":{"regexp":"^O"}}`: yes, `{"at.zip":{"like":"%"}}`: no, `{"at.gone":{"like":"%"}}`: unknown,
			`{"at.list":"b"}`: yes, `{"at.list":3.0}`: yes, `{"at.list":"c"}`: no, `{"at.list":{"ne":"b"}}`: no, `{"at.list":{"isNull":true}}`: no,
			`{"at.empty":{"isNull":true}}`: yes, `{"at.empty":1}`: unknown,
			`{"at.items.sku":"y"}`: yes, `{"at.items.sku":"z"}`: no, `{"at.items.n":{"gt":8}}`: yes, `{"not":{"at.items.n":{"gt":8}}}`: no, `{"not":{"at.items.n":{"gt":9}}}`: yes,
			`{"at.items.n":{"between":[2,4]}}`: no, `{"at.items.n":{"gte":2,"lte":4}}`: yes, `{"at.items.n":{"between":[5,5]}}`: yes, `{"at.items.sku":{"notNull":true}}`: yes,
			`{"at.items.n":{"eq":1},"and":[{"at.items.n":9}]}`: yes,
		},
		`null`:      {`{"at.city":"Oslo"}`: unknown, `{"at.city":{"isNull":true}}`: yes},
		`"x"`:       {`{"at.city":"Oslo"}`: unknown, `{"at.city":null}`: yes},
		`[{"a":1}]`: {`{"at.a":1}`: yes},
	} {
		checkTruths(t, memberDef, doc, conditions)
	}
}

func TestMembersText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    Node
		want string
	}{
		{leaf(Eq, "at.city", "Oslo"), `at.city = "Oslo"`},
		{leaf(NotIn, "at.a b.c", "x", 1, nil), `at."a b".c not in (1, "x", null)`},
		{leaf(Between, "at.n", 1, 2), `at.n between 1 and 2`},
		{group(Not, leaf(Between, "at.n", 1, 2)), `at.n not between 1 and 2`},
		{group(Not, leaf(Gt, "at.n", 1)), `at.n not > 1`},
		{group(And, leaf(Eq, "at.n", 1), leaf(Eq, "at.n", 2)), `at.n = 1 and at.n = 2`},
		{leaf(In, "at.n", nil), `at.n is null`},
		{leaf(NotIn, "at.n", nil), `at.n is not null`},
		{leaf(Gt, "at.n", nil), `none`},
		{leaf(Eq, "dot.ted", "x"), `"dot.ted" = "x"`},
		{FromMap(map[string]any{"at.n": []int{1, 2}}), `at.n in (1, 2)`},
	} {
		b, err := Bind(c.n, memberDef)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Canonical(memberDef); got != c.want {
			t.Errorf("%+v: %s, want %s", c.n, got, c.want)
		}
	}
}

func TestMembersRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    Node
		want string
	}{
		{leaf(Eq, "name.first", "x"), `M: name: has type string, and so no member "first"`},
		{leaf(Eq, "at..x", 1), "names an empty member"},
		{leaf(Eq, "at.", 1), "names an empty member"},
		{leaf(Eq, "gone.x", 1), "no such column"},
		{Node{Op: Eq, Column: "secret.x", Values: []any{1}, Path: "secret.x"}, "no such column"},
		{leaf(Eq, "at.x", time.Now()), "a time has several texts"},
		{leaf(Eq, "at.x", []int{1}), "M: at.x: in a condition (eq): [1] is a list"},
		{leaf(Eq, "at.x", map[string]int{"a": 1}), "can be no element"},
		{leaf(Like, "at.x", 1), "in a condition (like): 1 is no text"},
		{leaf(Contains, "at.x", "a"), "use eq for an element of a list, or like for text"},
		{leaf(ContainsAny, "at.x", "a"), "use in"},
		{leaf(ContainsAll, "at.x", "a"), "use eq for each, with and"},
		{leaf(Between, "at.x", 1, "2"), "of two types"},
		{leaf(Between, "at.x", 2, 1), "the smaller value comes first"},
		{leaf(Between, "at.x", nil, 1), "null is neither"},
	} {
		if _, err := Bind(c.n, memberDef); !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.n, err, c.want)
		}
	}
}
