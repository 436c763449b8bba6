package codec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// of is the codec of a struct type.
func of[T any](t testing.TB) codec.Codec {
	t.Helper()
	compiled, err := schema.Compile(reflect.TypeFor[T](), "Thing")
	if err != nil {
		t.Fatal(err)
	}
	return codec.NewStruct(reflect.TypeFor[T](), compiled)
}

func encode(t testing.TB, c codec.Codec, v any) string {
	t.Helper()
	raw, err := c.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func message(doc string, revision uint64) store.Message {
	return store.Message{Key: "Thing.shard_1.1", Value: []byte(doc), Revision: revision}
}

// upper is text that writes itself.
type upper struct{ text string }

func (u upper) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(u.text)), nil }
func (u *upper) UnmarshalText(b []byte) error {
	if len(b) > 9 {
		return errors.New("too long")
	}
	u.text = strings.ToLower(string(b))
	return nil
}

// each has a column of each type, plain and nullable.
type each struct {
	ID      int64          `json:"id" orm:"primaryKey,auto"`
	Bool    bool           `json:"bool"`
	Int     int8           `json:"int"`
	Uint    uint64         `json:"uint"`
	Float   float64        `json:"float"`
	Decimal json.Number    `json:"decimal"`
	Text    string         `json:"text"`
	Bytes   []byte         `json:"bytes"`
	Time    time.Time      `json:"time"`
	List    []string       `json:"list"`
	Map     map[string]int `json:"map"`
	Own     upper          `json:"own"`
	MayBool *bool          `json:"mayBool"`
	MayInt  *int           `json:"mayInt"`
	MayText *string        `json:"mayText"`
	MayTime *time.Time     `json:"mayTime"`
	Absent  *string        `json:"absent,omitempty"`
	Version uint64         `json:"-" orm:"version"`
	Hidden  string         `json:"-" orm:"-"`
}

func ptr[V any](v V) *V { return &v }

func TestStructRoundTrip(t *testing.T) {
	t.Parallel()
	c := of[each](t)
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	for name, c2 := range map[string]struct {
		v    each
		json string
	}{
		"zero": {each{}, `{"id":0,"bool":false,"int":0,"uint":0,"float":0,"decimal":0,"text":"","bytes":null,"time":"0001-01-01T00:00:00Z","list":null,"map":null,"own":"","mayBool":null,"mayInt":null,"mayText":null,"mayTime":null}`},
		"largest": {each{
			ID: math.MaxInt64, Bool: true, Int: -128, Uint: math.MaxUint64, Float: math.MaxFloat64, Decimal: "123456789012345678901234567890.5", Text: "<żółć & \u2028>", Bytes: []byte{0, 255},
			Time: at, List: []string{"a", ""}, Map: map[string]int{"k": 1}, Own: upper{"abc"}, MayBool: ptr(false), MayInt: ptr(0), MayText: ptr(""), MayTime: &at, Absent: ptr("here"),
		}, `{"id":9223372036854775807,"bool":true,"int":-128,"uint":18446744073709551615,"float":1.7976931348623157e+308,"decimal":123456789012345678901234567890.5,"text":"<żółć & ` + "\u2028" + `>","bytes":"AP8=","time":"2024-02-29T23:59:59.123456789Z","list":["a",""],"map":{"k":1},"own":"ABC","mayBool":false,"mayInt":0,"mayText":"","mayTime":"2024-02-29T23:59:59.123456789Z","absent":"here"}`},
	} {
		doc := encode(t, c, &c2.v)
		if doc != c2.json {
			t.Errorf("%s is\n%s\nwant\n%s", name, doc, c2.json)
		}
		var got each
		if err := c.Decode(message(doc, 17), &got); err != nil {
			t.Fatal(name, err)
		}
		want := c2.v
		want.Version = 17
		if want.Decimal == "" {
			want.Decimal = "0"
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(upper{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// A version is the revision that wrote the value, also of a fence that repeats it.
func TestVersion(t *testing.T) {
	t.Parallel()
	c := of[each](t)
	var v each
	m := message(`{"id":1}`, 40)
	m.Fence = 30
	if err := c.Decode(m, &v); err != nil || c.Version(&v) != 30 || v.Version != 30 {
		t.Errorf("the version of a fenced record is %d, %v", c.Version(&v), err)
	}
	c.SetVersion(&v, codec.Partial)
	if c.Version(&v) != codec.Partial {
		t.Errorf("the version is %d", c.Version(&v))
	}
	w := c.Clone(&v).(*each)
	c.SetVersion(w, 50)
	if w.Text = "other"; v.Version != codec.Partial || v.Text != "" || w.Version != 50 {
		t.Errorf("a change of the copy changed the original: %+v", v)
	}
	if doc := encode(t, c, w); strings.Contains(doc, "50") || strings.Contains(strings.ToLower(doc), "version") {
		t.Errorf("the version is in the document: %s", doc)
	}
	type versionless struct {
		ID int `json:"id" orm:"primaryKey"`
	}
	none := of[versionless](t)
	none.SetVersion(&versionless{}, 7)
	if n := none.Version(&versionless{}); n != 0 {
		t.Errorf("a type without a version has %d", n)
	}
}

func TestWrites(t *testing.T) {
	t.Parallel()
	c := of[each](t)
	for column, want := range map[string]bool{"id": true, "absent": true, "Text": false, "Version": false, "Hidden": false, "other": false} {
		if c.Writes(column) != want {
			t.Errorf("writes %s: %v", column, !want)
		}
	}
}

type base struct {
	ID int16 `json:"id" orm:"primaryKey"`
}

// Base is embedded by pointer, so it is exported.
type Base struct {
	ID        string    `json:"id" orm:"primaryKey"`
	Version   uint64    `json:"-" orm:"version"`
	CreatedAt time.Time `json:"createdAt" orm:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt" orm:"updatedAt"`
}

// key holds a codec's keys to what SetKey gives them.
func key[T any](t *testing.T, id value.Value, want string) {
	t.Helper()
	c, v := of[T](t), new(T)
	if !c.ZeroKey(v) {
		t.Errorf("%T: the key is not zero", *v)
	}
	err := c.SetKey(v, id)
	if want == "" {
		if !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), "Thing: id: ") || !strings.Contains(err.Error(), id.Text()) {
			t.Errorf("%T: key %s: %v", *v, id.Text(), err)
		}
		return
	}
	if err != nil {
		t.Errorf("%T: key %s: %v", *v, id.Text(), err)
	}
	if doc := encode(t, c, v); doc != want || c.ZeroKey(v) {
		t.Errorf("%T: with key %s it is %s", *v, id.Text(), doc)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	type narrow struct {
		ID int8 `json:"id" orm:"primaryKey"`
	}
	type wide struct {
		ID int64 `json:"id" orm:"primaryKey"`
	}
	type small struct {
		ID uint8 `json:"id" orm:"primaryKey"`
	}
	type unsigned struct {
		ID uint64 `json:"id" orm:"primaryKey"`
	}
	type text struct {
		ID string `json:"id" orm:"primaryKey"`
	}
	type named string
	type alias struct {
		ID named `json:"id" orm:"primaryKey"`
	}
	type own struct {
		ID upper `json:"id" orm:"primaryKey"`
	}
	type embedded struct{ base }
	key[narrow](t, value.OfInt(127), `{"id":127}`)
	key[narrow](t, value.OfInt(128), "")
	key[wide](t, value.OfInt(math.MaxInt64), `{"id":9223372036854775807}`)
	key[small](t, value.OfUint(255), `{"id":255}`)
	key[small](t, value.OfUint(256), "")
	key[unsigned](t, value.OfUint(math.MaxUint64), `{"id":18446744073709551615}`)
	key[text](t, value.OfString("a b"), `{"id":"a b"}`)
	key[alias](t, value.OfString("x"), `{"id":"x"}`)
	key[own](t, value.OfString("abc"), `{"id":"ABC"}`)
	key[own](t, value.OfString("much too long"), "")
	key[embedded](t, value.OfInt(7), `{"id":7}`)
	key[embedded](t, value.OfInt(40_000), "")
	key[text](t, value.OfInt(5), "")
	key[wide](t, value.OfString("5"), "")
}

// Fields behind an embedded pointer that is nil are not there.
func TestEmbeddedPointers(t *testing.T) {
	t.Parallel()
	type thing struct {
		*Base
		Name string `json:"name"`
	}
	c := of[thing](t)
	var v thing
	if c.ZeroKey(&v) || c.NeedsCreated(&v) || c.Version(&v) != 0 {
		t.Error("a nil pointer has a key, a time of creation or a version")
	}
	c.SetVersion(&v, 5)
	c.Stamp(&v, time.Now(), time.Now())
	if err := c.SetKey(&v, value.OfString("x")); !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), "nil pointer") || v.Base != nil {
		t.Errorf("the key of a nil pointer was set: %v", err)
	}
	v.Base = &Base{}
	if !c.ZeroKey(&v) || !c.NeedsCreated(&v) {
		t.Error("an empty value has a key or a time of creation")
	}
	var got thing
	if err := c.Decode(message(`{"id":"x","name":"n"}`, 3), &got); err != nil || got.Base == nil || got.ID != "x" || c.Version(&got) != 3 {
		t.Errorf("read %+v, %v", got, err)
	}
}

// The time of creation is set once, that of the update always.
func TestStamps(t *testing.T) {
	t.Parallel()
	c := of[Base](t)
	first, second := time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()
	var v Base
	if !c.NeedsCreated(&v) {
		t.Error("a new value needs no time of creation")
	}
	c.Stamp(&v, first, first)
	if c.NeedsCreated(&v) {
		t.Error("it still needs one")
	}
	c.Stamp(&v, second, second)
	if !v.CreatedAt.Equal(first) || !v.UpdatedAt.Equal(second) {
		t.Errorf("created %v, updated %v", v.CreatedAt, v.UpdatedAt)
	}
	type plain struct {
		ID int `json:"id" orm:"primaryKey"`
	}
	if c := of[plain](t); c.NeedsCreated(&plain{}) {
		t.Error("a type without stamps needs one")
	} else {
		c.Stamp(&plain{}, first, first)
	}
}

// What cannot be stored, or read back, says which field it is.
func TestStructErrorsNameTheField(t *testing.T) {
	t.Parallel()
	type inner struct {
		Rates []float64 `json:"rates"`
	}
	type thing struct {
		ID    int            `json:"id" orm:"primaryKey"`
		Text  string         `json:"text"`
		Inner inner          `json:"inner"`
		Any   map[string]any `json:"any"`
	}
	c := of[thing](t)
	for want, v := range map[string]thing{
		"text: cannot be stored as JSON: invalid UTF-8":   {Text: "\xff"},
		"inner.rates.1: cannot be stored as JSON:":        {Inner: inner{[]float64{1, math.NaN()}}},
		"any.of.deep: cannot be stored as JSON:":          {Any: map[string]any{"of": map[string]any{"deep": func() {}}}},
		"natsorm: invalid Thing: any.a: cannot be stored": {Any: map[string]any{"a": make(chan int)}},
	} {
		if _, err := c.Encode(&v); !errors.Is(err, errs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	for doc, want := range map[string]string{
		`{"id":"one"}`:            "/id",
		`{"inner":{"rates":[{}]}`: "/inner/rates/0",
		`{"id":1,"id":2}`:         "duplicate",
		`{"id":1.5}`:              "/id",
		`{"id":1`:                 "unexpected EOF",
		``:                        "EOF",
		`[1]`:                     "array",
		"{\"text\":\"\xff\"}":     "UTF-8",
	} {
		var v thing
		err := c.Decode(message(doc, 3), &v)
		var corrupt *errs.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Key != "Thing.shard_1.1" || corrupt.Model != "Thing" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\ndoes not say %q", doc, err, want)
		}
	}
}

func TestMisfit(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	if field, problem := codec.Misfit(other); field != "" || problem != other {
		t.Errorf("another error is of field %q: %v", field, problem)
	}
	var v struct {
		A struct {
			B []int `json:"b"`
		} `json:"a"`
	}
	unmarshal := value.Unmarshaler(reflect.TypeOf(v))
	err := unmarshal([]byte(`{"a":{"b":[1,"x"]}}`), &v)
	if field, problem := codec.Misfit(fmt.Errorf("read: %w", err)); field != "a.b.1" || problem == nil {
		t.Errorf("the misfit is %q: %v", field, problem)
	}
	err = unmarshal([]byte(`{"a":{"b":[1,}}`), &v)
	if field, problem := codec.Misfit(err); field != "a.b" || problem == nil || strings.Contains(problem.Error(), "a.b") {
		t.Errorf("the syntax error is under %q: %v", field, problem)
	}
}

// What can be read is what is written again.
func FuzzStruct(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"id":1}`, `{"id":-1,"decimal":1e5,"time":"2024-02-29T23:59:59.5+01:00"}`, `{"bytes":"AP8=","list":[null],"map":{"":1}}`, `{"own":"x","mayInt":null,"unknown":[{}]}`, `{"int":128}`, "{\"text\":\"\\ud800\"}", `[`} {
		f.Add([]byte(seed))
	}
	c, def := of[each](f), defOf[each](f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		sameFromRow(t, def, c, string(doc), nil)
		var v, again each
		if err := c.Decode(message(string(doc), 5), &v); err != nil {
			if !errors.Is(err, errs.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if v.Version != 5 {
			t.Fatalf("the version is %d", v.Version)
		}
		out, err := c.Encode(&v)
		if err != nil { // a year beyond 9999, as the document may have by its zone
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
