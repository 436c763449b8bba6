package document

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

var def = &schema.Definition{Columns: []schema.Column{
	{Name: "id", Type: value.Int}, {Name: "name", Type: value.String}, {Name: `q"é`, Type: value.Bool}, {Name: "at", Type: value.Time},
}}

func TestRead(t *testing.T) {
	f := NewFields(def, 1, 0, 1, 2)
	vals, err := f.Read([]byte(`{"x":{"id":7},"name":"A\u0041","id":12.0,"q\"\u00e9":true,"rest":[}`))
	if err != nil { // the rest is not read
		t.Fatal(err)
	}
	if vals.At(0).Int() != 12 || vals.At(1).Str() != "AA" || !vals.At(2).Bool() {
		t.Errorf("%+v", vals)
	}
	vals, err = f.Read([]byte(`{"name":null}`))
	if err != nil || !vals.At(0).IsNull() || !vals.At(1).IsNull() {
		t.Errorf("%+v, %v", vals, err)
	}
	for _, bad := range []string{"", " ", "null", "[]", "7", "{", `{"id"`, `{"id":}`, `{"id":1`, `{"id":1}{}`, `{"id":"1"}`, `{"id":1.5}`, `{"id":1e400}`, "{\"name\":\"\xff\"}", `{"id":1,"id":2}`} {
		if _, err := f.Read([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestPatch(t *testing.T) {
	for _, c := range []struct {
		doc  string
		set  []Member
		want string
	}{
		{`{}`, []Member{{"a", []byte("1")}}, `{"a":1}`},
		{` { "a" : 1 , "b" : [ 1, 2 ] } `, []Member{{"a", []byte("2")}}, `{"a":2,"b":[ 1, 2 ]}`},
		{`{"b":9007199254740993,"a":1.50}`, []Member{{"c", []byte(`"x"`)}, {"b", []byte("null")}}, `{"b":null,"a":1.50,"c":"x"}`},
		{`{"\u0061":1}`, []Member{{"a", []byte("2")}}, `{"\u0061":2}`},
		{`{"a":1}`, nil, `{"a":1}`},
	} {
		got, err := Patch([]byte(c.doc), c.set)
		if err != nil || string(got) != c.want {
			t.Errorf("%s with %v: %s, %v; want %s", c.doc, c.set, got, err, c.want)
		}
	}
}

func TestAdopt(t *testing.T) {
	known := func(name string) bool { return name == "a" || name == "b" }
	got, err := Adopt([]byte(`{"a":1,"y":2}`), []byte(`{"a":0,"b":0,"x":{"deep":1},"y":0,"z":null}`), known)
	if want := `{"a":1,"y":2,"x":{"deep":1},"z":null}`; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestDiff(t *testing.T) {
	got := Diff([]byte(`{"a":1,"b":2,"gone":3}`), []byte(`{"new":1,"b":2,"a":2}`))
	if diff := cmp.Diff([]string{"new", "a", "gone"}, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzPatch: a patched document is what patching the decoded one gives.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[1,2,null]},"d":"\u0000"}`), "a")
	f.Add([]byte(`{"":1}`), "")
	f.Add([]byte(`{`), "x")
	f.Fuzz(func(t *testing.T, doc []byte, name string) {
		quoted, err := Quote(name)
		got, perr := Patch(doc, []Member{{Name: name, Raw: []byte("true")}})
		if perr != nil {
			return
		}
		if err != nil && !strings.Contains(string(doc), name) {
			t.Fatalf("the name %q was written", name)
		}
		_ = quoted
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q gives %q: %v", doc, got, err)
		}
		if err := json.Unmarshal(doc, &before); err != nil {
			t.Fatalf("%q was patched and is %v", doc, err)
		}
		before[name] = json.RawMessage("true")
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%q gives %q", doc, got)
		}
	})
}

// FuzzRead: reading never panics, and agrees with encoding/json on what it
// takes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"id":1,"name":"x","at":"2024-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":-0,"name":null}`))
	f.Add([]byte(`[{"id":1}]`))
	fields := NewFields(def, 0, 1, 2, 3)
	f.Fuzz(func(t *testing.T, doc []byte) {
		vals, err := fields.Read(doc)
		if err != nil || !json.Valid(doc) {
			return
		}
		var std struct {
			Name *string `json:"name"`
		}
		dec := json.NewDecoder(strings.NewReader(string(doc)))
		if err := dec.Decode(&std); err != nil {
			return // another letter case, or a type that it minds
		}
		if got := vals.At(1); !got.IsNull() && (std.Name == nil || *std.Name != got.Str()) {
			var exact map[string]json.RawMessage
			if json.Unmarshal(doc, &exact) == nil {
				var s string
				if json.Unmarshal(exact["name"], &s) != nil || s != got.Str() {
					t.Errorf("%q: name is %q", doc, got.Str())
				}
			}
		}
	})
}
