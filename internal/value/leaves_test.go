package value

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// leavesOf is Leaves for what encoding/json makes of a document.
func leavesOf(x any, path []string) (out []string) {
	switch x := x.(type) {
	case []any:
		for _, e := range x {
			out = append(out, leavesOf(e, path)...)
		}
	case map[string]any:
		if len(path) == 0 {
			return []string{"json"}
		}
		if e, has := x[path[0]]; has {
			return leavesOf(e, path[1:])
		}
	case nil:
	default:
		if len(path) == 0 {
			raw, _ := Marshal(x)
			e := Element(string(raw))
			return []string{string(e.Type()) + e.Text()}
		}
	}
	return out
}

// FuzzLeaves: a path leads to what it leads to in the decoded document.
func FuzzLeaves(f *testing.F) {
	for _, s := range []string{`{"a":{"b":[1,{"b":2}],"a":"x"}}`, `[{"a":[{"b":1},{"b":[2,"}"]}]},{"a":null}]`, `{"\u0061":{"b\"":{},"b":{"c":1}}}`, `{"a":[],"b":1}`, `7`, `{"a":{"b":{"a":[[true],null]}}}`} {
		f.Add([]byte(s), "a.b")
		f.Add([]byte(s), "a")
		f.Add([]byte(s), "a.b.a")
	}
	f.Fuzz(func(t *testing.T, raw []byte, path string) {
		v, err := FromJSON(raw, JSON)
		var x any
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		dec.UseNumber()
		if err != nil || !json.Valid(raw) || dec.Decode(&x) != nil {
			return
		}
		members := strings.Split(path, ".")
		var got []string
		for leaf := range v.Leaves(members) {
			if leaf.Type() == JSON {
				got = append(got, "json")
				continue
			}
			got = append(got, string(leaf.Type())+leaf.Text())
		}
		want := slices.DeleteFunc(leavesOf(x, members), func(s string) bool { return s == "null" }) // a number that no decimal is
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s of %q: %q, want %q", path, raw, got, want)
		}
	})
}
