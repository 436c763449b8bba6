package row_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// things has a column of each type, and one that an index folds.
var things = &schema.Definition{
	Format: schema.Format, Name: "Thing", Layout: schema.Native, Shards: 16,
	Columns: []schema.Column{
		{Name: "id", Type: value.Int, PrimaryKey: true},
		{Name: "bool", Type: value.Bool},
		{Name: "uint", Type: value.Uint},
		{Name: "float", Type: value.Float},
		{Name: "decimal", Type: value.Decimal},
		{Name: "text", Type: value.String},
		{Name: "bytes", Type: value.Bytes},
		{Name: "time", Type: value.Time},
		{Name: "json", Type: value.JSON},
		{Name: "na\"me", Type: value.String},
	},
	Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex.Folded(), "text")},
}

var documents = []string{
	`{}`,
	`{"id":1}`,
	`{"id":-9223372036854775808,"bool":true,"uint":18446744073709551615,"float":0.1,"decimal":12345678901234567890.10,"text":"<ż>","bytes":"AP8=","time":"2024-02-29T23:59:59.123456789Z","json":{"a":[1,null,"x"]}}`,
	`{"id":9223372036854775807,"bool":false,"uint":0,"float":-0,"decimal":-1e300,"text":"","bytes":"","time":"0001-01-01T00:00:00Z","json":"x"}`,
	`{"id":null,"bool":null,"uint":null,"float":null,"decimal":null,"text":null,"bytes":null,"time":null,"json":null}`,
	`{"text":"A\u00dfe","time":"2024-02-29T23:59:59.5+01:00","float":1e5,"json":{"b":1,"a":2},"na\"me":"x","n\u0061\"me2":1}`,
	`{"more":{"deep":[1,2]},"id":7,"and":"other","text":"straße"}`,
	`{"na\u0022me":"escaped","float":5e-324,"id":1e3}`,
	`{"float":1.7976931348623157e308,"time":"9999-12-31T23:59:59.999999999Z","decimal":0}`,
	` { "id" : 12 , "text" : "spaces" , "other" : [ 1 , 2 ] } `,
}

// whole are documents that stay as they are.
var whole = []string{``, `{`, `[]`, `null`, `{"id":"one"}`, `{"id":1,"id":1}`, `{"id":1}x`, `{"time":"yesterday"}`, `{"uint":-1}`, `{"id":1.5}`, `{"bytes":"?"}`}

func pack(doc string) *row.Row {
	return row.NewPacker(row.NewShape(things)).Pack("Thing.shard_1.7", []byte(doc), 9, 3, 2)
}

// members are the members of a document with their texts.
func members(t *testing.T, doc []byte) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(doc, &raw); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	out := map[string]string{}
	for name, text := range raw {
		out[name] = string(text)
	}
	return out
}

// A row has what its document has: all members with their texts, and the values of the columns.
func TestRow(t *testing.T) {
	t.Parallel()
	all := make([]int, len(things.Columns))
	for i := range all {
		all[i] = i
	}
	fields := document.NewFields(things, all...)
	for _, doc := range documents {
		r := pack(doc)
		if r.Shape() == nil || r.Key() != "Thing.shard_1.7" || r.Revision != 9 || r.Fence != 3 || r.Schema != 2 {
			t.Fatalf("%s: %+v", doc, r)
		}
		if diff := gocmp.Diff(members(t, []byte(doc)), members(t, r.Document())); diff != "" {
			t.Errorf("%s becomes %s: %s", doc, r.Document(), diff)
		}
		want, err := fields.Read([]byte(doc))
		if err != nil {
			t.Fatal(doc, err)
		}
		got, err := row.NewFields(fields).Read(r, make([]value.Value, len(all)))
		if err != nil {
			t.Fatal(doc, err)
		}
		for i, col := range things.Columns {
			if got.At(i) != want.At(i) {
				t.Errorf("%s: %s is %s, not %s", doc, col.Name, got.At(i).Text(), want.At(i).Text())
			}
			if f := r.Shape().Folded(i); f >= 0 && r.Value(f) != value.Fold(want.At(i)) {
				t.Errorf("%s: %s is folded to %s", doc, col.Name, r.Value(f).Text())
			}
		}
	}
}

// A document that is none, or does not fit, is given back byte for byte, and says the same as before.
func TestRowOfAnythingElse(t *testing.T) {
	t.Parallel()
	fields := document.NewFields(things, 0, 2, 6, 7)
	for _, doc := range whole {
		r := pack(doc)
		if r.Shape() != nil || string(r.Document()) != doc || r.Key() != "Thing.shard_1.7" {
			t.Errorf("%q: %+v", doc, r)
		}
		_, want := fields.Read([]byte(doc))
		_, got := row.NewFields(fields).Read(r, make([]value.Value, 4))
		if (got == nil) != (want == nil) || want != nil && got.Error() != want.Error() {
			t.Errorf("%q: %v, not %v", doc, got, want)
		}
	}
}

// A column that the shape does not have, or has with another type, is read from the document.
func TestFieldsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	later := *things
	later.Columns = slices.Clone(things.Columns)
	later.Columns[0].Type = value.Float
	later.Columns = append(later.Columns, schema.Column{Name: "more", Type: value.JSON})
	fields := document.NewFields(&later, 0, 10)
	got, err := row.NewFields(fields).Read(pack(documents[6]), make([]value.Value, 2))
	if err != nil || got.At(0) != value.OfFloat(7) || got.At(10) != value.OfJSON(`{"deep":[1,2]}`) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestPicked(t *testing.T) {
	t.Parallel()
	r := pack(documents[6])
	for _, c := range []struct {
		pick []int
		rest bool
		want string
	}{
		{nil, false, `{}`}, {nil, true, `{"more":{"deep":[1,2]},"and":"other"}`},
		{[]int{0, 1}, false, `{"id":7}`}, {[]int{5}, true, `{"text":"straße","more":{"deep":[1,2]},"and":"other"}`},
	} {
		if got := r.Picked(func(i int) bool { return slices.Contains(c.pick, i) }, c.rest); string(got) != c.want {
			t.Errorf("%v, %v: %s", c.pick, c.rest, got)
		}
	}
}

// Rows are in the order of their values, and the numbers of Rank agree with it.
func TestOrder(t *testing.T) {
	t.Parallel()
	at := func(text string) value.Value {
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return value.OfTime(when)
	}
	decimal := func(text string) value.Value { v, _ := value.OfDecimal(text); return v }
	for column, ordered := range map[string][]value.Value{
		"id":      {value.Null, value.OfInt(math.MinInt64), value.OfInt(-1), value.OfInt(0), value.OfInt(1), value.OfInt(math.MaxInt64)},
		"bool":    {value.Null, value.OfBool(false), value.OfBool(true)},
		"uint":    {value.Null, value.OfUint(0), value.OfUint(1), value.OfUint(math.MaxUint64)},
		"float":   {value.Null, value.OfFloat(-math.MaxFloat64), value.OfFloat(-1), value.OfFloat(-5e-324), value.OfFloat(0), value.OfFloat(5e-324), value.OfFloat(1), value.OfFloat(math.MaxFloat64)},
		"decimal": {value.Null, decimal("-1e300"), decimal("-2"), decimal("0"), decimal("0.1"), decimal("1e300")},
		"text":    {value.Null, value.OfString(""), value.OfString("\x00"), value.OfString("a"), value.OfString("a\x00"), value.OfString("abcdefgh"), value.OfString("abcdefgh\x00"), value.OfString("abcdefghi"), value.OfString("ż")},
		"bytes":   {value.Null, value.OfBytes(nil), value.OfBytes([]byte{0}), value.OfBytes([]byte{255})},
		"time":    {value.Null, at("0000-01-01T00:00:00Z"), at("0001-01-01T00:00:00Z"), at("1969-12-31T23:59:59.999999999Z"), at("1970-01-01T00:00:00Z"), at("1970-01-01T00:00:00.000000001Z"), at("1970-01-01T00:00:00.5Z"), at("9999-12-31T23:59:59.999999999Z")},
	} {
		i := things.Position(column)
		shape := row.NewShape(things)
		p, order := row.NewPacker(shape), row.NewOrder(shape, i)
		var rows []*row.Row
		var items []row.Item // before, the row, and after, for each value
		for _, v := range ordered {
			doc := append(append([]byte(`{"`+column+`":`), v.AppendJSON(nil)...), '}')
			r := p.Pack("", doc, 1, 0, 0)
			if r.Shape() == nil || r.Value(i) != v {
				t.Errorf("%s: %s is %s in a row", column, v.Text(), r.Value(i).Text())
			}
			rows = append(rows, r)
			items = append(items, order.Pivot([]value.Value{v}, false), order.Item(r), order.Pivot([]value.Value{v}, true))
		}
		for a := range rows {
			for b := range rows {
				want := cmp.Compare(a, b)
				if got := rows[a].Compare(rows[b], i); got != want {
					t.Errorf("%s: %s and %s: %d", column, ordered[a].Text(), ordered[b].Text(), got)
				}
				if rank := cmp.Compare(rows[a].Rank(i), rows[b].Rank(i)); rank != 0 && rank != want {
					t.Errorf("%s: the ranks of %s and %s: %d", column, ordered[a].Text(), ordered[b].Text(), rank)
				}
			}
		}
		for a := range items {
			for b := range items {
				if order.Compare(items[a], items[b]) != cmp.Compare(a, b) || order.Less(items[a], items[b]) != (a < b) {
					t.Errorf("%s: places %d and %d are in another order", column, a, b)
				}
			}
		}
	}
}

// Rows with the same values are in the order of the columns that follow, and then of their keys.
func TestOrderOfSeveralColumns(t *testing.T) {
	t.Parallel()
	shape := row.NewShape(things)
	p, text, id := row.NewPacker(shape), things.Position("text"), things.Position("id")
	order := row.NewOrder(shape, shape.Folded(text), id)
	at := func(key, doc string) row.Item { return order.Item(p.Pack(key, []byte(doc), 1, 0, 0)) }
	s, n := value.OfString("straße"), value.OfInt(1)
	items := []row.Item{
		at("a", `{"id":9}`),
		at("a", `{"text":"A","id":1}`), at("b", `{"text":"a","id":1}`), at("a", `{"text":"a","id":2}`),
		order.Pivot([]value.Value{value.Fold(s)}, false), order.Pivot([]value.Value{value.Fold(s), n}, false), at("c", `{"text":"STRASSE","id":1}`), at("d", `{"text":"Straße","id":1}`),
		order.Pivot([]value.Value{value.Fold(s), n}, true), order.Pivot([]value.Value{value.Fold(s)}, true),
	}
	for a := range items {
		for b := range items {
			if order.Compare(items[a], items[b]) != cmp.Compare(a, b) {
				t.Errorf("places %d and %d are in another order", a, b)
			}
		}
	}
	if !order.Equal(items[1].Row, items[2].Row, 2) || order.Equal(items[1].Row, items[3].Row, 2) || !order.Equal(items[1].Row, items[3].Row, 1) {
		t.Error("equal is something else")
	}
}

// What a row gives back is the document, or says the same.
func FuzzRow(f *testing.F) {
	for _, doc := range slices.Concat(documents, whole) {
		f.Add([]byte(doc))
	}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	fields := document.NewFields(things, all...)
	p := row.NewPacker(row.NewShape(things))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r := p.Pack("k", bytes.Clone(doc), 1, 0, 0)
		if r.Shape() == nil {
			if !bytes.Equal(r.Document(), doc) {
				t.Fatalf("%s becomes %s", doc, r.Document())
			}
			return
		}
		want, err := fields.Read(doc)
		if err != nil {
			t.Fatalf("%s was taken apart, and %v", doc, err)
		}
		again, err := fields.Read(r.Document())
		if err != nil {
			t.Fatalf("%s becomes %s: %v", doc, r.Document(), err)
		}
		if extra := document.Diff(doc, r.Document()); !json.Valid(doc) || len(extra) > 0 && !spaced(doc) {
			t.Fatalf("%s becomes %s, with other %q", doc, r.Document(), extra)
		}
		for i := range all {
			if r.Value(i) != want.At(i) || again.At(i) != want.At(i) {
				t.Fatalf("%s: column %d is %s", doc, i, r.Value(i).Text())
			}
		}
	})
}

// spaced reports whether a document has spaces, which may be lost.
func spaced(doc []byte) bool { return bytes.ContainsAny(doc, " \t\r\n") }
