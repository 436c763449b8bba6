package natsorm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
func TestWhatCanNotBeReadBack(t *testing.T) {
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

// Null is not for a field that can not hold it.
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

// A condition that selects everything, however it says so, needs All.
func TestConstantConditions(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 3 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Email: fmt.Sprint(i), Age: 50}))
	}
	one := natsorm.Eq("id", 1)
	for _, q := range []natsorm.Condition{natsorm.Or(natsorm.Where{}, one), natsorm.Not(natsorm.Or()), natsorm.Or(natsorm.And(), one), natsorm.Not(natsorm.And(natsorm.Or(), one))} {
		if _, err := users.Destroy(ctx, q); !errors.Is(err, natsorm.ErrMissingWhere) {
			t.Errorf("%+v: %v", q, err)
		}
		if n := must[int](t)(users.Count(ctx, q)); n != 3 {
			t.Errorf("%+v selects %d", q, n)
		}
	}
	if n := must[int](t)(users.Count(ctx, natsorm.Not(natsorm.Between("age", nil, 10)))); n != 3 {
		t.Errorf("not between null and 10: %d", n)
	}
	if n := must[int](t)(users.Destroy(ctx, natsorm.And(natsorm.Where{}, one))); n != 1 {
		t.Errorf("destroyed %d", n)
	}
}

// The creation time is of the call that created the record, whoever else tried.
func TestUpsertsRaceForTheCreation(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID   int       `json:"id" orm:"primaryKey"`
		Who  int       `json:"who"`
		Made time.Time `json:"made" orm:"createdAt"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for round := range 50 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var made time.Time
		for who := range 4 {
			wg.Go(func() {
				v := &rec{ID: round, Who: who}
				created, err := recs.Upsert(ctx, v)
				if err != nil {
					t.Error(err)
				}
				if created {
					mu.Lock()
					defer mu.Unlock()
					made = v.Made
				}
			})
		}
		wg.Wait()
		got := must[*rec](t)(recs.FindByPK(ctx, round))
		if !got.Made.Equal(made) {
			t.Fatalf("round %d: made at %v, the creator says %v", round, got.Made, made)
		}
	}
	// A create that fails leaves its record as it was.
	v, before := &rec{ID: 1}, rec{ID: 1}
	if err := recs.Create(ctx, v); !errors.Is(err, natsorm.ErrExists) || cmp.Diff(before, *v) != "" {
		t.Errorf("%v left %+v", err, *v)
	}
}

func TestCorruptIsNotTheCallersFault(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID int    `json:"id" orm:"primaryKey"`
		A  int    `json:"a"`
		S  string `json:"s"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for i, doc := range []string{"garbage", `{"id":1,"a":"x"}`} {
		_, err := db.KV().Put(ctx, fmt.Sprintf("rec.shard_%d.%d", i, i), []byte(doc))
		ok(t, err)
	}
	for id, calls := range []map[string]error{{"save": recs.Save(ctx, &rec{ID: 0})}, {}} {
		_, calls["update"] = recs.Update(ctx, natsorm.Set{"s": "y"}, natsorm.Eq("id", id))
		_, calls["increment"] = recs.Increment(ctx, natsorm.Set{"a": 1}, natsorm.Eq("id", id))
		_, calls["find"] = recs.FindByPK(ctx, id)
		for call, err := range calls {
			var corrupt *natsorm.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Key != fmt.Sprintf("rec.shard_%d.%d", id, id) {
				t.Errorf("%s of record %d: %v", call, id, err)
			}
		}
		if n := must[int](t)(recs.Destroy(ctx, natsorm.In("id", id))); n != 1 {
			t.Errorf("destroyed %d", n)
		}
	}
}
