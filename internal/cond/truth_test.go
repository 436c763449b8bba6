package cond

import (
	"testing"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/schema"
)

// checkTruths holds conditions, in JSON, against what they are to be of a record whose second column has the value
// doc. Simplified, a condition selects what it did before, and so does its negation.
func checkTruths(t *testing.T, def *schema.Definition, doc string, conditions map[string]truth) {
	t.Helper()
	vals, err := document.NewFields(def, 1).Read([]byte(`{"` + def.Columns[1].Name + `":` + doc + `}`))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range conditions {
		n, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := bind(n, def)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := raw.eval(vals); got != want {
			t.Errorf("%s of %s: %d, want %d", text, doc, got, want)
		}
		for _, n := range []Node{n, group(Not, n), group(Not, group(Not, n))} {
			raw, err := bind(n, def)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Bind(n, def)
			if err != nil {
				t.Fatal(err)
			}
			if raw.Match(vals) != b.Match(vals) {
				t.Errorf("%s of %s, simplified to %s: %v", text, doc, b.Text(def, 0), b.Match(vals))
			}
		}
	}
}
