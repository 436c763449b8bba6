package codec_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

type record map[string]any

// things has a column of each type.
var things = &schema.Definition{
	Format: schema.Format, Name: "Thing", Layout: schema.Native, Shards: 16,
	Columns: []schema.Column{
		{Name: "id", Type: value.Int, PrimaryKey: true, Auto: true},
		{Name: "bool", Type: value.Bool},
		{Name: "uint", Type: value.Uint},
		{Name: "float", Type: value.Float},
		{Name: "decimal", Type: value.Decimal},
		{Name: "text", Type: value.String},
		{Name: "bytes", Type: value.Bytes},
		{Name: "time", Type: value.Time},
		{Name: "json", Type: value.JSON},
		{Name: "made", Type: value.Time, Role: schema.CreatedAt},
		{Name: "changed", Type: value.Time, Role: schema.UpdatedAt},
	},
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	c := codec.NewRecord[record](things, nil)
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	for name, c2 := range map[string]struct {
		v    record
		json string
		back record // nil: as v
	}{
		"nothing": {record{}, `{}`, nil},
		"nulls":   {record{"id": nil, "json": nil, "time": nil}, `{"id":null,"time":null,"json":null}`, nil},
		"each type": {
			record{"id": int64(math.MinInt64), "bool": true, "uint": uint64(math.MaxUint64), "float": 0.1, "decimal": json.Number("12345678901234567890.10"), "text": "<ż>", "bytes": []byte{0, 255}, "time": at,
				"json": map[string]any{"a": []any{json.Number("1"), nil, "x"}}},
			`{"id":-9223372036854775808,"bool":true,"uint":18446744073709551615,"float":0.1,"decimal":12345678901234567890.10,"text":"<ż>","bytes":"AP8=","time":"2024-02-29T23:59:59.123456789Z","json":{"a":[1,null,"x"]}}`, nil},
		"other Go types": {
			record{"id": 7, "uint": int8(3), "float": 2, "decimal": "1.50", "text": ptr("p"), "json": struct{ A int }{1}},
			`{"id":7,"uint":3,"float":2,"decimal":1.50,"text":"p","json":{"A":1}}`,
			record{"id": int64(7), "uint": uint64(3), "float": 2.0, "decimal": json.Number("1.50"), "text": "p", "json": map[string]any{"A": json.Number("1")}}},
	} {
		doc := encode(t, c, &c2.v)
		if doc != c2.json {
			t.Errorf("%s is\n%s\nwant\n%s", name, doc, c2.json)
		}
		var got record
		if err := c.Decode(message(doc, 9), &got); err != nil {
			t.Fatal(name, err)
		}
		want := c2.back
		if want == nil {
			want = c2.v
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// Members that the model does not have are not read.
func TestRecordReadsColumnsOnly(t *testing.T) {
	t.Parallel()
	c := codec.NewRecord[record](things, nil)
	got := record{"text": "before"}
	if err := c.Decode(message(`{"id":1,"more":2,"Text":"x"}`, 3), &got); err != nil || !cmp.Equal(got, record{"id": int64(1)}) {
		t.Errorf("read %v, %v", got, err)
	}
}

// Everything that is wrong with a record is said at once, with its fields.
func TestRecordErrorsNameTheFields(t *testing.T) {
	t.Parallel()
	c := codec.NewRecord[record](things, nil)
	_, err := c.Encode(&record{"id": "one", "uint": -1, "text": "\xff", "Bool": true, "nowhere": 1})
	var invalid *errs.ValidationError
	if !errors.As(err, &invalid) || !errors.Is(err, errs.ErrInvalid) || invalid.Model != "Thing" {
		t.Fatalf("got %v", err)
	}
	got := map[string]string{}
	for _, f := range invalid.Faults {
		got[f.Field] = f.Problem
	}
	for field, words := range map[string]string{"id": "int", "uint": "-1", "text": "UTF-8", "Bool": "other letter case", "nowhere": "no such column"} {
		if !strings.Contains(got[field], words) {
			t.Errorf("%s: %q does not say %q", field, got[field], words)
		}
	}
	if len(invalid.Faults) != 5 {
		t.Errorf("the faults are %v", invalid.Faults)
	}
	for doc, words := range map[string]string{`{"id":"x"}`: "column id", `{"time":"yesterday"}`: "column time", `null`: "object", `[]`: "", `{"id":1,"id":2}`: "duplicate", `{`: "EOF"} {
		var v record
		err := c.Decode(message(doc, 3), &v)
		if !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), `"Thing.shard_1.1"`) || v != nil {
			t.Errorf("%s: %v, %v", doc, v, err)
		}
	}
}

func TestRecordKeysAndStamps(t *testing.T) {
	t.Parallel()
	c := codec.NewRecord[record](things, nil)
	for _, zero := range []record{nil, {}, {"id": nil}, {"id": 0}, {"id": int64(0)}, {"id": uint8(0)}} {
		if !c.ZeroKey(&zero) {
			t.Errorf("%v has a key", zero)
		}
	}
	for _, v := range []record{{"id": 1}, {"id": "wrong"}} {
		if c.ZeroKey(&v) {
			t.Errorf("%v has no key", v)
		}
	}
	var none record
	v := c.Clone(&none).(*record) // a nil map takes no key
	if err := c.SetKey(v, value.OfInt(5)); err != nil || (*v)["id"] != int64(5) || none != nil {
		t.Errorf("the key is %v, %v", (*v)["id"], err)
	}
	w := c.Clone(v).(*record)
	(*w)["text"] = "other"
	if _, ok := (*v)["text"]; ok {
		t.Error("a change of the copy changed the original")
	}

	first, second := time.Unix(1, 0), time.Unix(2, 0)
	for _, missing := range []record{{}, {"made": nil}, {"made": time.Time{}}} {
		if !c.NeedsCreated(&missing) {
			t.Errorf("%v needs no time of creation", missing)
		}
		c.Stamp(&missing, first, second)
		if missing["made"] != first || missing["changed"] != second || c.NeedsCreated(&missing) {
			t.Errorf("stamped %v", missing)
		}
		c.Stamp(&missing, second, first)
		if missing["made"] != first || missing["changed"] != first {
			t.Errorf("stamped again %v", missing)
		}
	}
	given := record{"made": "2020-01-01T00:00:00Z"}
	if c.NeedsCreated(&given) {
		t.Error("a time that was given as text is none")
	}
	c.SetVersion(&given, 5)
	if c.Version(&given) != 0 || !c.Writes("text") || c.Writes("Text") {
		t.Error("a record has a version, or not the model's columns")
	}
	if c := codec.NewRecord[record](&schema.Definition{Columns: things.Columns[:2]}, nil); c.NeedsCreated(&record{}) {
		t.Error("a model without stamps needs one")
	}
}

func FuzzRecord(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"id":1e3}`, `{"decimal":1e-5,"time":"2024-02-29T23:59:59.5+01:00","bytes":"AP8="}`, `{"json":{"a":[1.0,{"b":null}]}}`, `{"json":null,"text":"\u0000"}`, `{"uint":-0}`, `{"float":-0.0}`, "{\"text\":\"\\ud800\"}", `{"id":1}x`} {
		f.Add([]byte(seed))
	}
	c := codec.NewRecord[record](things, nil)
	f.Fuzz(func(t *testing.T, doc []byte) {
		var v, again record
		if err := c.Decode(message(string(doc), 5), &v); err != nil {
			if !errors.Is(err, errs.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		out, err := c.Encode(&v)
		if err != nil {
			if !errors.Is(err, errs.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if err := c.Decode(message(string(out), 5), &again); err != nil {
			t.Fatalf("%s was written, and cannot be read: %v", out, err)
		}
		if once, twice := string(out), encode(t, c, &again); once != twice {
			t.Fatalf("%s becomes %s", once, twice)
		}
	})
}
