package codec_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
)

// inMemory is a document as a row.
func inMemory(def *schema.Definition, doc string) *row.Row {
	return row.NewPacker(row.NewShape(def)).Pack("Thing.shard_1.1", []byte(doc), 40, 30, 0)
}

// sameFromRow holds what a codec makes of a row to what it makes of the document.
func sameFromRow(t *testing.T, def *schema.Definition, c codec.Codec, doc string, only []string) {
	t.Helper()
	want, got := c.New(), c.New()
	m := message(doc, 40)
	m.Fence = 30
	var err error
	if only != nil {
		m.Value, err = document.Pick(m.Value, only)
	}
	if err == nil {
		err = c.Decode(m, want)
	}
	rowErr := c.DecodeRow(inMemory(def, doc), only, got)
	if only == nil && (err == nil) != (rowErr == nil) {
		t.Fatalf("%s: the document says %v, the row %v", doc, err, rowErr)
	}
	if err == nil && !reflect.DeepEqual(want, got) {
		t.Fatalf("%s: columns %v of the row are\n%+v, not\n%+v", doc, only, got, want)
	}
}

// defOf is the model that a struct type declares.
func defOf[T any](t testing.TB) *schema.Definition {
	t.Helper()
	compiled, err := schema.Compile(reflect.TypeFor[T](), "Thing")
	if err != nil {
		t.Fatal(err)
	}
	return &compiled.Definition
}

// tagged has fields that can only be read as part of the whole document.
type tagged struct {
	ID   int           `json:"id" orm:"primaryKey"`
	Took time.Duration `json:"took,format:nano"`
}

// kinds has what each does not have: named types, pointers to several things, other names.
type kinds struct {
	Base
	Name    name                `json:"name"`
	Number  *int32              `json:"number"`
	When    *time.Time          `json:"when"`
	Digits  *json.Number        `json:"digits"`
	Raw     json.RawMessage     `json:"raw"`
	Own     *upper              `json:"own"`
	Half    float32             `json:"half"`
	Secret  string              `json:"-" orm:"column:secret"`
	Another string              `json:"public" orm:"column:other"`
	Nested  struct{ A, B *int } `json:"nested"`
	Blob    blob                `json:"blob"`
	Deep    **string            `json:"deep"`
}

type (
	name string
	blob []byte
)

func TestDecodeRow(t *testing.T) {
	t.Parallel()
	docs := []string{
		`{}`, `null`, `{`, `{"id":1}`, `{"id":1,"id":2}`, `{"id":null,"int":null,"time":null,"own":null,"list":null,"raw":null,"number":null,"when":null}`,
		`{"id":-1,"bool":true,"int":127,"uint":18446744073709551615,"float":0.1,"decimal":1.50,"text":"<ż>","bytes":"AP8=","time":"2024-02-29T23:59:59.123456789Z","list":["a",null],"map":{"b":1,"a":2},"own":"ABC","mayInt":5,"unknown":[{}]}`,
		`{"id":1,"int":128}`, `{"id":1,"time":"2024-02-29T23:59:59.5+01:00","text":"a\u00e9","float":-0,"bytes":""}`, `{"id":1,"own":"much too long"}`,
		`{"id":"x","Version":7,"createdAt":"2024-01-01T00:00:00Z","name":"n","number":-5,"when":"2020-01-01T00:00:00+02:00","digits":1e3,"raw":{"b":[1, 2]},"own":"X","half":0.1,"secret":"s","other":"o","public":"p","nested":{"A":1},"blob":"AQID","deep":"d"}`,
		`{"id":"x","when":"2020-01-01T00:00:00Z","digits":12,"raw":"x","nested":null,"blob":null,"deep":null}`,
		`{"id":"x","number":3000000000}`, `{"id":1,"took":5}`,
	}
	for _, doc := range docs {
		sameFromRow(t, defOf[each](t), of[each](t), doc, nil)
		sameFromRow(t, defOf[kinds](t), of[kinds](t), doc, nil)
		sameFromRow(t, defOf[tagged](t), of[tagged](t), doc, nil)
		sameFromRow(t, things, codec.NewRecord[record](things, nil), doc, nil)
		for _, only := range [][]string{{}, {"id"}, {"text", "time", "list"}} {
			sameFromRow(t, defOf[each](t), of[each](t), doc, only)
			sameFromRow(t, things, codec.NewRecord[record](things, nil), doc, only)
		}
	}
	c := of[each](t)
	var v each
	if err := c.DecodeRow(inMemory(defOf[each](t), `{"id":3}`), nil, &v); err != nil || v.Version != 30 {
		t.Errorf("the version is %d, %v", v.Version, err)
	}
	// What the caller changes in a result is not changed in the row.
	r := inMemory(defOf[each](t), `{"id":3,"bytes":"AP8=","list":["a"]}`)
	if err := c.DecodeRow(r, nil, &v); err != nil {
		t.Fatal(err)
	}
	v.Bytes[0], v.List[0] = 'x', "y"
	var again each
	if err := c.DecodeRow(r, nil, &again); err != nil || again.Bytes[0] != 0 || again.List[0] != "a" {
		t.Errorf("changed to %+v, %v", again, err)
	}
}

// A model has other columns, and columns of other types, in another version.
func TestDecodeRowOfAnotherVersion(t *testing.T) {
	t.Parallel()
	def := *defOf[each](t)
	def.Columns = slices.Clone(def.Columns)
	def.Columns[def.Position("int")].Type = "float"
	def.Columns = slices.DeleteFunc(def.Columns, func(c schema.Column) bool { return c.Name == "text" })
	var got each
	if err := of[each](t).DecodeRow(inMemory(&def, `{"id":1,"int":5,"text":"x","bool":true}`), nil, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(each{ID: 1, Int: 5, Text: "x", Bool: true, Version: 30}, got, cmp.AllowUnexported(upper{})); diff != "" {
		t.Error(diff)
	}
}
