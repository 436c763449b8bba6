package cond

import (
	"errors"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

var parseDef = &schema.Definition{Name: "M", Columns: []schema.Column{
	{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}, {Name: "age", Type: value.Int}, {Name: "at", Type: value.Time}, {Name: "raw", Type: value.Bytes},
	{Name: "tags", Type: value.JSON},
}}

func TestParse(t *testing.T) {
	fields := document.NewFields(parseDef, 0, 1, 2, 3, 4, 5)
	doc, err := fields.Read([]byte(`{"id":9007199254740993,"name":"Ann","age":30,"at":"2024-01-02T03:04:05Z","raw":"aGk=","tags":["go",1]}`))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`{}`: true, `{"age":30}`: true, `{"age":30.0}`: true, `{"age":null}`: false, `{"age":[29,30]}`: true, `{"age":[]}`: false,
		`{"age":{"gte":30,"lt":31}}`: true, `{"age":{"gte":30,"lt":30}}`: false, `{"age":{"between":[30,40]}}`: true, `{"AGE":{"GTE":30}}`: true,
		`{"id":9007199254740993}`: true, `{"id":9007199254740992}`: false,
		`{"or":[{"name":"Bob"},{"name":{"like":"A%"}}]}`: true, `{"or":[]}`: false, `{"and":[{"age":30},{"name":"Bob"}]}`: false, `{"not":{"name":"Bob"}}`: true,
		`{"age":{"isNull":true}}`: false, `{"age":{"isNull":false}}`: true, `{"age":{"notNull":true}}`: true, `{"name":{"in":["x","Ann"]}}`: true, `{"name":{"notIn":["Ann"]}}`: false,
		`{"at":{"lte":"2024-01-02T05:04:05+02:00"}}`: true, `{"raw":"aGk="}`: true, `{"name":{"iLike":"ann"}}`: true, `{"name":{"regexp":"^A"}}`: true,
		`{"tags":{"contains":"go"}}`: true, `{"tags":{"CONTAINSANY":["x",1.0]}}`: true, `{"tags":{"containsAll":["go",2]}}`: false, `{"not":{"tags":{"contains":"x"}}}`: true,
	} {
		n, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		b, err := Bind(n, parseDef)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := b.Match(doc); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
}

func TestParseNamesThePath(t *testing.T) {
	for text, names := range map[string]string{
		``: "the top", `[]`: "the top", `7`: "the top", `{"a":1}{}`: "the top", `{"age":`: "age", `{"age":1,"age":2}`: "the top",
		`{"or":{"age":1}}`: "or", `{"or":[{"age":1},7]}`: "or[1]", `{"or":[{"name":{"likes":"x"}}]}`: "or[0].name.likes", `{"age":{}}`: "age",
		`{"age":{"between":[1]}}`: "age.between", `{"age":{"in":7}}`: "age.in", `{"tags":{"containsAny":"a"}}`: "tags.containsAny", `{"or":[{"tags":{"contains":["a"]}}]}`: "or[0].tags.contains", `{"age":{"isNull":1}}`: "age.isNull",
		`{"not":[]}`: "not", `{"and":[{"or":[{"nope":1}]}]}`: "and[0].or[0].nope", `{"or":[{"age":{"gt":"x"}}]}`: "or[0].age.gt", `{"name":{"regexp":"("}}`: "name.regexp",
		strings.Repeat(`{"not":`, 200) + "{}" + strings.Repeat("}", 200): "not.not",
	} {
		n, err := Parse([]byte(text))
		if err == nil {
			_, err = Bind(n, parseDef)
		}
		if !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), "at "+names) {
			t.Errorf("%.60s: %v; want the path %s", text, err, names)
		}
	}
}

// FuzzParse: whatever the text, it is a condition or an error, and a condition
// can be held against a model and asked of a document.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"age":{"gte":30},"or":[{"name":"Oslo"},{"name":{"like":"A%"}}]}`, `{"not":{"raw":"aGk="}}`, `{"at":{"between":["2024-01-02T03:04:05Z",null]}}`, `{"and":[[]]}`, `{"tags":{"contains":"a","containsAny":["b",1.0,null],"containsAll":[]}}`, `{"tags.a":1,"not":{"tags.a.b":{"between":[1,2.0]}}}`} {
		f.Add([]byte(s))
	}
	fields := document.NewFields(parseDef, 0, 1, 2, 3, 4, 5)
	doc, err := fields.Read([]byte(`{"id":1,"name":"Ann","tags":["a",1]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := Parse(text)
		if err != nil {
			if !errors.Is(err, errs.ErrInvalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if b, err := Bind(n, parseDef); err == nil {
			b.Match(doc)
			n.Constant()
		}
	})
}
