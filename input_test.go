package natsorm_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// hostile is text that could break out of a key, or not fit one.
var hostile = []string{
	"", ".", "..", "a.b", "a.b.c", "*", ">", "a.*", "a.>", " ", "a b", "\n", "\r\n", "\x00", "=", "==", "=2E", "%", "/", "\\", `"`,
	"_", "-", "a_b", "a=b", "null", "0", "007", "-5", "+5", "1e3", "18446744073709551616", "é", "e\u0301", "日本", "😀", "$KV", "User.index.name.x.1",
	strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat(".", 43),
	strings.Repeat("x", 10_000), strings.Repeat("é", 5_000), strings.Repeat("> ", 5_000),
}

// Whatever an id or value is, it is of its own record and of no other.
func TestHostileKeysAndValues(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID     string `json:"id" orm:"primaryKey"`
		Name   string `json:"name" orm:"index"`
		Unique string `json:"unique" orm:"unique"`
		N      int    `json:"n"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for i, s := range hostile {
		if err := recs.Create(ctx, &rec{ID: s, Name: s, Unique: s, N: i}); err != nil {
			t.Fatalf("%.40q: %v", s, err)
		}
	}
	for i, s := range hostile {
		byKey, err := recs.FindByPK(ctx, s)
		if err != nil || byKey.N != i || byKey.ID != s {
			t.Errorf("%.40q by key: %+v, %v", s, byKey, err)
		}
		for _, column := range []string{"name", "unique", "id"} {
			found, err := recs.FindAll(ctx, natsorm.Eq(column, s))
			if err != nil || len(found) != 1 || found[0].N != i {
				t.Errorf("%.40q by %s: %d found, %v", s, column, len(found), err)
			}
		}
		if n, err := recs.Update(ctx, natsorm.Set{"n": i + 1000}, natsorm.Eq("id", s)); n != 1 || err != nil {
			t.Errorf("%.40q updated %d, %v", s, n, err)
		}
	}
	if n := must[int](t)(recs.Count(ctx, natsorm.Gte("n", 1000))); n != len(hostile) {
		t.Errorf("%d updated, want %d", n, len(hostile))
	}
	for i, s := range hostile {
		if n, err := recs.Destroy(ctx, natsorm.Eq("id", s)); n != 1 || err != nil {
			t.Errorf("%.40q destroyed %d, %v", s, n, err)
		}
		if n := must[int](t)(recs.Count(ctx)); n != len(hostile)-i-1 {
			t.Fatalf("after destroying %.40q %d are left, want %d", s, n, len(hostile)-i-1)
		}
	}
}

func TestRecordsThatCanNotBeStored(t *testing.T) {
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

func TestCorruptDocuments(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 10 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)}))
	}
	corrupt := map[string]string{
		"user.shard_1.1": `{"id":1,"name":"n","email":"1"`, "user.shard_2.2": `[]`, "user.shard_3.3": ``,
		"user.shard_4.4": `{"id":4,"name":7,"email":"4","age":0}`, "user.shard_5.5": "{\"id\":5,\"name\":\"\xff\"}",
	}
	put := func() {
		for key, doc := range corrupt {
			_, err := db.KV().Put(ctx, key, []byte(doc))
			ok(t, err)
		}
	}
	put()
	for _, q := range [][]natsorm.Query{nil, {natsorm.Eq("name", "n")}, {natsorm.Gte("id", 0)}, {natsorm.Eq("bio", "")}} {
		found, err := users.FindAll(ctx, q...)
		if len(found) != 5 {
			t.Errorf("%v: %d sound records found, want 5", q, len(found))
		}
		for key := range corrupt {
			if !errors.Is(err, natsorm.ErrCorrupt) || !strings.Contains(err.Error(), key) {
				t.Errorf("%v: %s is not named: %v", q, key, err)
			}
		}
	}
	var one *natsorm.CorruptError
	if _, err := users.FindByPK(ctx, 1); !errors.As(err, &one) || one.Key != "user.shard_1.1" || one.Model != "user" {
		t.Errorf("by key: %v", err)
	}
	if u, err := users.FindOne(ctx, natsorm.Eq("name", "n")); err != nil || u == nil {
		t.Errorf("one sound record: %v", err)
	}
	if _, err := users.Update(ctx, natsorm.Set{"age": 1}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrCorrupt) {
		t.Errorf("update: %v", err)
	}
	report := must[natsorm.Report](t)(db.Check(ctx))
	n := 0
	for _, p := range report.Models[0].Problems {
		if p.Kind == natsorm.CorruptRecord {
			n++
		}
	}
	if n != len(corrupt) || report.Clean() {
		t.Errorf("check names %d corrupt records:\n%s", n, report)
	}
	for i := range 5 {
		if n, err := users.Destroy(ctx, natsorm.Eq("id", i+1)); n != 1 || err != nil {
			t.Errorf("destroy %d: %d, %v", i+1, n, err)
		}
	}
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
}

func TestNilContextAndClosedDB(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	closed := natsormtest.New(t)
	gone := define[user](t, closed)
	t.Cleanup(func() {}) // natsormtest proves before this test's Close below would run
	ctx := within(t)

	calls := func(m *natsorm.Model[user], db *natsorm.DB, nilCtx bool) map[string]error {
		c := ctx
		if nilCtx {
			c = nil
		}
		u := &user{ID: 1}
		out := map[string]error{
			"Create": m.Create(c, u), "Save": m.Save(c, u), "BulkCreate": m.BulkCreate(c, []*user{u}), "Truncate": m.Truncate(c),
		}
		_, out["Upsert"] = m.Upsert(c, u)
		_, out["Update"] = m.Update(c, natsorm.Set{"age": 1}, natsorm.All())
		_, out["Increment"] = m.Increment(c, natsorm.Set{"age": 1}, natsorm.All())
		_, out["Destroy"] = m.Destroy(c, natsorm.All())
		_, out["FindByPK"] = m.FindByPK(c, 1)
		_, out["FindOne"] = m.FindOne(c)
		_, out["FindAll"] = m.FindAll(c)
		_, out["Count"] = m.Count(c)
		_, out["Watch"] = m.Watch(c)
		_, out["Model"] = db.Model(c, "user")
		_, out["Models"] = db.Models(c)
		_, out["Check"] = db.Check(c)
		_, out["Define"] = natsorm.Define[user](c, db)
		_, out["DefineRecord"] = natsorm.DefineRecord(c, db, natsorm.Schema{})
		for _, err := range m.Each(c) {
			out["Each"] = err
		}
		return out
	}
	for call, err := range calls(users, db, true) {
		if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "context") {
			t.Errorf("%s with a nil context: %v", call, err)
		}
	}
	second := must[*natsorm.DB](t)(natsorm.New(ctx, closed.Conn(), natsorm.Config{Bucket: "test"}))
	users2 := define[user](t, second)
	ok(t, second.Close())
	ok(t, second.Close())
	for call, err := range calls(users2, second, false) {
		if !errors.Is(err, natsorm.ErrClosed) {
			t.Errorf("%s after Close: %v", call, err)
		}
	}
	ok(t, gone.Create(ctx, &user{ID: 1})) // the other DB on the connection is not concerned
}

func TestSchemasThatAreWrong(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	def := func(err error, names string) {
		t.Helper()
		if !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), names) {
			t.Errorf("got %v, want ErrSchema naming %q", err, names)
		}
	}
	type NoKey struct {
		ID int `json:"id"`
	}
	_, err := natsorm.Define[NoKey](ctx, db)
	def(err, "primaryKey")
	type TwoKeys struct {
		A int `json:"a" orm:"primaryKey"`
		B int `json:"b" orm:"primaryKey"`
	}
	_, err = natsorm.Define[TwoKeys](ctx, db)
	def(err, "2 primary keys")
	type unexported struct {
		ID   int    `json:"id" orm:"primaryKey"`
		name string `orm:"index"`
	}
	_ = unexported{}.name
	_, err = natsorm.Define[unexported](ctx, db)
	def(err, "name")
	type Chan struct {
		ID int      `json:"id" orm:"primaryKey"`
		C  chan int `json:"c"`
	}
	_, err = natsorm.Define[Chan](ctx, db)
	def(err, "C")
	type Nested struct {
		ID int                 `json:"id" orm:"primaryKey"`
		C  []map[string]func() `json:"c"`
	}
	_, err = natsorm.Define[Nested](ctx, db)
	def(err, "C")
	type FloatKey struct {
		ID float64 `json:"id" orm:"primaryKey"`
	}
	_, err = natsorm.Define[FloatKey](ctx, db)
	def(err, "float")
	type Typo struct {
		ID int `json:"id" orm:"primarykey"`
	}
	_, err = natsorm.Define[Typo](ctx, db)
	def(err, "primarykey")
	type MapIndex struct {
		ID int            `json:"id" orm:"primaryKey"`
		M  map[string]int `json:"m" orm:"index"`
	}
	_, err = natsorm.Define[MapIndex](ctx, db)
	def(err, "m")
	type Dotted struct {
		ID int    `json:"id" orm:"primaryKey"`
		A  string `json:"a.b" orm:"index"`
	}
	_, err = natsorm.Define[Dotted](ctx, db)
	def(err, "a.b")
	type Clash struct {
		ID int    `json:"id" orm:"primaryKey"`
		A  string `json:"B"`
		B  string
	}
	_, err = natsorm.Define[Clash](ctx, db)
	def(err, "B")
	_, err = natsorm.Define[int](ctx, db)
	def(err, "int")
	_, err = natsorm.Define[natsorm.Record](ctx, db)
	def(err, "DefineRecord")
	_, err = natsorm.Define[user](ctx, db, natsorm.Name("a.b"))
	def(err, "a.b")
	_, err = natsorm.Define[user](ctx, db, natsorm.Name("_mine"))
	def(err, "_mine")
	_, err = natsorm.Define[user](ctx, db, natsorm.Shards(-1))
	def(err, "shards")
	_, err = natsorm.Define[user](ctx, db, natsorm.Index("nope"))
	def(err, "nope")
	_, err = natsorm.Define[user](ctx, db, natsorm.Unique())
	def(err, "without columns")
	if schemas := must[[]natsorm.Schema](t)(db.Models(ctx)); len(schemas) != 0 {
		t.Errorf("a wrong schema is in the catalogue: %+v", schemas)
	}
}

func TestWrongConfig(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	for _, cfg := range []natsorm.Config{{}, {Bucket: "a.b"}, {Bucket: "a", Replicas: -1}, {Bucket: "a", Replicas: 9}, {Bucket: "a", History: 65}, {Bucket: "a", Shards: -1}} {
		db := natsormtest.New(t)
		if _, err := natsorm.New(ctx, db.Conn(), cfg); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := natsorm.New(ctx, nil, natsorm.Config{Bucket: "a"}); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("nil connection: %v", err)
	}
}
