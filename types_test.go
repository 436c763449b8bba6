package natsorm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// upper writes itself in capitals, by a method of its pointer.
type upper string

func (u *upper) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(string(*u))), nil }

func (u *upper) UnmarshalText(b []byte) error { *u = upper(b); return nil }

// point writes its own JSON, which is a string.
type point struct{ x, y int }

func (p point) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprintf("%d,%d", p.x, p.y)) }

func (p *point) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	_, err := fmt.Sscanf(s, "%d,%d", &p.x, &p.y)
	return err
}

// What a value is found by is what the document holds of it, however its type
// writes itself.
func TestTypesThatWriteThemselves(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID    uuid.UUID   `json:"id" orm:"primaryKey"`
		Up    upper       `json:"up" orm:"index"`
		Point point       `json:"point" orm:"index"`
		Big   *big.Int    `json:"big" orm:"index"`
		F32   float32     `json:"f32" orm:"index"`
		HTML  any         `json:"html"`
		Num   json.Number `json:"num" orm:"unique"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	id := uuid.MustParse("01020304-0506-0708-090a-0b0c0d0e0f10")
	huge, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	ok(t, recs.Create(ctx, &rec{ID: id, Up: "abc", Point: point{1, 2}, Big: huge, F32: 0.1, HTML: "<b>&", Num: "1.50"}))
	for name, q := range map[string]natsorm.Query{
		"uuid": natsorm.Eq("id", id), "uuid text": natsorm.Eq("id", id.String()), "text of a pointer": natsorm.Eq("up", upper("abc")), "its text": natsorm.Eq("up", "ABC"),
		"own JSON": natsorm.Eq("point", point{1, 2}), "big": natsorm.Eq("big", huge), "big text": natsorm.Eq("big", json.Number(huge.String())),
		"float32": natsorm.Eq("f32", float32(0.1)), "float32 as written": natsorm.Eq("f32", 0.1), "HTML": natsorm.Eq("html", "<b>&"), "decimal": natsorm.Eq("num", 1.5),
	} {
		if n, err := recs.Count(ctx, q); n != 1 || err != nil {
			t.Errorf("by %s: %d, %v", name, n, err)
		}
	}
	got := must[*rec](t)(recs.FindByPK(ctx, id))
	if got.Point != (point{1, 2}) || got.Big.Cmp(huge) != 0 || got.Num != "1.50" {
		t.Errorf("%+v", got)
	}
	must[int](t)(recs.Update(ctx, natsorm.Set{"num": 200, "point": point{3, 4}}, natsorm.Eq("id", id)))
	if got = must[*rec](t)(recs.FindOne(ctx, natsorm.Eq("point", point{3, 4}))); got.Num != "200" {
		t.Errorf("a decimal set to 200 is %s", got.Num)
	}
}

// What could be stored and not read back is refused.
func TestWhatCannotBeReadBack(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "M", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "t", Type: natsorm.Time}, {Name: "j", Type: natsorm.JSON}, {Name: "u", Type: natsorm.Uint},
	}}))
	for what, rec := range map[string]natsorm.Record{
		"year 10000":      {"id": 1, "t": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"year -1":         {"id": 1, "t": time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)},
		"year 10000, UTC": {"id": 1, "t": time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -5*3600))},
		"not a number":    {"id": 1, "j": json.Number("01")},
		"duplicate names": {"id": 1, "j": json.RawMessage(`{"a":1,"a":2}`)},
		"not UTF-8":       {"id": 1, "j": map[string]any{"k": "\xff"}},
	} {
		if err := m.Create(ctx, &rec); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ok(t, m.Create(ctx, &natsorm.Record{"id": 1}))
	if _, err := m.Increment(ctx, natsorm.Set{"u": -5}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a negative sum of an unsigned column: %v", err)
	}
	must[*natsorm.Record](t)(m.FindByPK(ctx, 1))

	type Shape interface{ Area() int }
	type Embedded struct {
		ID int   `json:"id" orm:"primaryKey"`
		S  Shape `json:"s"`
	}
	_, err := natsorm.Define[Embedded](ctx, db)
	if !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "S") {
		t.Errorf("an interface with methods: %v", err)
	}
}

// Null is not for a field that cannot hold it.
func TestNullForAPlainField(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &user{ID: 1, Email: "a"}))
	if _, err := users.Update(ctx, natsorm.Set{"email": nil}, natsorm.All()); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "email") {
		t.Errorf("%v", err)
	}
	must[int](t)(users.Update(ctx, natsorm.Set{"city": nil}, natsorm.All()))
}

func TestAutoOfAnotherDeclaration(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "M", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.String, PrimaryKey: true, Auto: true},
	}}))
	type M struct {
		ID uuid.UUID `json:"id" orm:"primaryKey"`
	}
	m := define[M](t, db)
	v := &M{}
	ok(t, m.Create(ctx, v))
	if v.ID == uuid.Nil || v.ID.Version() != 7 {
		t.Errorf("the key is %v", v.ID)
	}
}

// A time that has no RFC 3339 text in UTC would be written and not read back.
func TestTimesBeyondRFC3339AreRefused(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "at", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "at", Type: natsorm.Time},
	}}))
	for _, at := range []string{"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"} {
		if err := m.Create(ctx, &natsorm.Record{"id": 1, "at": at}); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestRecordsThatCannotBeStored(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID    string         `json:"id" orm:"primaryKey"`
		Name  string         `json:"name" orm:"index"`
		F     float64        `json:"f"`
		Any   any            `json:"any"`
		Inner map[string]any `json:"inner"`
		At    time.Time      `json:"at"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for what, c := range map[string]struct {
		v     *rec
		names string
	}{
		"nil":                  {nil, "rec"},
		"key not UTF-8":        {&rec{ID: "\xff"}, "id"},
		"value not UTF-8":      {&rec{ID: "a", Name: "a\xffb"}, "name"},
		"nested not UTF-8":     {&rec{ID: "a", Inner: map[string]any{"x": "\xff"}}, "inner.x"},
		"NaN":                  {&rec{ID: "a", F: math.NaN()}, "f"},
		"infinity":             {&rec{ID: "a", F: math.Inf(-1)}, "f"},
		"a channel":            {&rec{ID: "a", Any: make(chan int)}, "any"},
		"over the payload":     {&rec{ID: "a", Name: strings.Repeat("x", 2<<20)}, "payload"},
		"key over the payload": {&rec{ID: strings.Repeat("x", 2<<20)}, "payload"},
		"year 10000":           {&rec{ID: "a", At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "at"},
	} {
		for call, err := range map[string]error{
			"create": recs.Create(ctx, c.v), "save": recs.Save(ctx, c.v), "bulk": recs.BulkCreate(ctx, []*rec{c.v}),
			"upsert": func() error { _, err := recs.Upsert(ctx, c.v); return err }(),
		} {
			if call == "save" && errors.Is(err, natsorm.ErrNotFound) {
				continue // it did not get as far as its size
			}
			if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), "rec") {
				t.Errorf("%s, %s: %.200v", what, call, err)
			}
		}
	}
	ok(t, recs.Create(ctx, &rec{ID: "there", Name: "x"}))
	for _, set := range []natsorm.Set{{"name": "\xff"}, {"name": strings.Repeat("x", 2<<20)}, {"f": math.NaN()}, {"name": 7}, {"nope": 1}, {"id": "other"}, {"any": make(chan int)}, {}, nil} {
		if n, err := recs.Update(ctx, set, natsorm.Eq("id", "there")); n != 0 || !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("update %.40v: %d, %.200v", set, n, err)
		}
	}
	// Nothing was written: no entry, no record but the one.
	keys, err := db.KV().ListKeysFiltered(ctx, "rec.>")
	ok(t, err)
	n := 0
	for range keys.Keys() {
		n++
	}
	if n != 2 {
		t.Errorf("%d keys, want a record and its entry", n)
	}
}
