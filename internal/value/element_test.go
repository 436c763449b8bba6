package value

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestElementOf(t *testing.T) {
	t.Parallel()
	type city string
	for _, c := range []struct {
		x    any
		typ  Type
		want string // type and text, or a part of the error
	}{
		{"a", "", "string a"}, {city("a"), String, "string a"}, {"1", "", "string 1"}, {`a"\é`, String, `string a"\é`},
		{1, "", "decimal 1"}, {1.0, "", "decimal 1"}, {json.Number("1.0"), "", "decimal 1"}, {uint64(1 << 63), "", "decimal 9223372036854775808"},
		{1.0, Int, "decimal 1"}, {float32(0.1), Float, "decimal 1e-1"}, {json.RawMessage("1e0"), Int, "decimal 1"}, {true, "", "bool true"},
		{nil, "", " null"}, {(*string)(nil), String, " null"}, {json.RawMessage("null"), Int, " null"},
		{"1", Int, "does not fit"}, {1, String, "does not fit"}, {1.5, Int, "does not fit"}, {uint64(1 << 63), Int, "does not fit"},
		{[]string{"a"}, String, "is a list; ContainsAny and ContainsAll take several"}, {[]any{1}, "", "is a list"},
		{map[string]int{}, "", "can be no element"}, {json.RawMessage(`["a"]`), "", "can be no element"}, {time.Now(), "", "several texts"},
		{json.Number("1e2000000"), "", "does not fit"},
	} {
		v, err := ElementOf(c.x, c.typ)
		got := string(v.Type()) + " " + v.Text()
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%v of %q: %s, want %s", c.x, c.typ, got, c.want)
		}
	}
}

func TestAs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{ // as string, int, uint, float, decimal, bool
		`"1"`: "1 - - - - -", `1.0`: "- 1 1 1 1 -", `-1`: "- -1 - -1 -1 -", `0.10`: "- - - 0.1 1e-1 -", `true`: "- - - - - true",
		`1e400`: "- - - - 1e400 -", `18446744073709551615`: "- - 18446744073709551615 1.8446744073709552e+19 18446744073709551615 -",
		`null`: "- - - - - -", `[1]`: "- - - - - -", `{"a":1}`: "- - - - - -",
	} {
		var got []string
		for _, typ := range ElementTypes {
			if v, ok := Element(raw).As(typ); ok {
				got = append(got, v.Text())
			} else {
				got = append(got, "-")
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", raw, got, want)
		}
	}
}

// FuzzElements: the elements of a list are those that encoding/json finds, and each of them is
// equal to itself only in one way.
func FuzzElements(f *testing.F) {
	for _, s := range []string{`[]`, `["a","b\"]","\\"]`, `[1,1.0,[2,{"a":[3,"]"]}],null,true]`, `{"a":[1]}`, `"[1]"`, ` [ 1 , "é😀" ] `, `[[],{},""]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := FromJSON(raw, JSON)
		if err != nil || !json.Valid(raw) {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil != !v.IsList() && !v.IsNull() {
			t.Fatalf("%q is a list: %v, %v", raw, v.IsList(), err)
		}
		got := slices.Collect(v.Elements())
		if len(got) != len(want) {
			t.Fatalf("%q has %d elements, %d were found", raw, len(want), len(got))
		}
		for i, e := range got {
			w, err := FromJSON(want[i], JSON)
			if err != nil || !w.IsNull() && w.Text() != e || w.IsNull() && e != "null" {
				t.Errorf("%q: element %d is %q, not %q (%v)", raw, i, e, want[i], err)
			}
			if e := Element(e); !e.IsNull() {
				if again := Element(string(e.AppendJSON(nil))); again != e {
					t.Errorf("%q is %v and then %v", want[i], e, again)
				}
			}
		}
	})
}
