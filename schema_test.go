package natsorm_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// What the catalogue holds is a durable format: see docs/format.md.
func TestGoldenCatalogue(t *testing.T) {
	t.Parallel()
	type Order struct {
		ID      string    `json:"id" orm:"primaryKey,auto"`
		City    string    `json:"city" orm:"index:place"`
		Zip     *int      `json:"zip" orm:"index:place,unique:spot"`
		Street  string    `json:"street" orm:"unique:spot"`
		At      time.Time `json:"at" orm:"createdAt"`
		Changed time.Time `json:"changed" orm:"updatedAt"`
		Rest    []string  `json:"rest"`
		Version uint64    `json:"-" orm:"version"`
	}
	db := natsormtest.New(t)
	define[Order](t, db, natsorm.Shards(4), natsorm.Unique("city"))
	e, err := db.KV().Get(within(t), "_schema.Order")
	ok(t, err)
	const want = `{"format":1,"name":"Order","layout":"native","shards":4,"columns":[` +
		`{"name":"id","type":"string","primaryKey":true,"auto":true},{"name":"city","type":"string"},{"name":"zip","type":"int"},` +
		`{"name":"street","type":"string"},{"name":"at","type":"time","role":"createdAt"},{"name":"changed","type":"time","role":"updatedAt"},{"name":"rest","type":"json"}],` +
		`"indexes":[{"name":"city-zip","columns":["city","zip"],"state":"ready"},` +
		`{"name":"zip-street","columns":["zip","street"],"unique":true,"state":"ready"},` +
		`{"name":"city","columns":["city"],"unique":true,"state":"ready"}]}`
	if string(e.Value()) != want {
		t.Errorf("the catalogue has\n%s\nwant\n%s", e.Value(), want)
	}
}

// Every key of a record's life, and every value, as docs/format.md has them.
func TestGoldenBucket(t *testing.T) {
	t.Parallel()
	type User struct {
		ID    int     `json:"id" orm:"primaryKey,auto"`
		Name  string  `json:"name" orm:"index,index:both"`
		Email string  `json:"email" orm:"unique"`
		City  *string `json:"city" orm:"index:both"`
	}
	db := natsormtest.New(t)
	users := define[User](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &User{Name: "Alice", Email: "alice@example.com"}))
	ok(t, users.Create(ctx, &User{ID: -5, Name: "Zoë <>&", Email: "x", City: ptr("a.b")}))
	want := map[string]string{
		"User.shard_1.1":          `{"id":1,"name":"Alice","email":"alice@example.com","city":null}`,
		"User.shard_11.-5":        `{"id":-5,"name":"Zoë <>&","email":"x","city":"a.b"}`,
		"User.index.name.Alice.1": "",
		"User.index.name.Zo_____=URkfZJCOhMTCepRd--MELg.-5":                                 "",
		"User.index.name-city.Alice.=null.1":                                                "",
		"User.index.name-city.Zo_____=URkfZJCOhMTCepRd--MELg.a_b=LnM23I66h-9HLfVow1SCqw.-5": "",
		"User.unique.email.alice_example_com=_42YGfwOEr8NJIkuRZh-JA":                        "1",
		"User.unique.email.x": "-5",
		"_sequence.User":      "101",
	}
	keys, err := db.KV().ListKeys(ctx)
	ok(t, err)
	got := map[string]string{}
	for key := range keys.Keys() {
		if key == "_schema.User" {
			continue
		}
		e, err := db.KV().Get(ctx, key)
		ok(t, err)
		got[key] = string(e.Value())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	base := natsorm.Schema{Name: "M", Shards: 8, Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "a", Type: natsorm.String, Index: true}, {Name: "b", Type: natsorm.Int},
	}}
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, base))
	ok(t, m.Create(ctx, &natsorm.Record{"id": 1, "a": "x", "b": 2}))
	before, err := db.KV().Get(ctx, "_schema.M")
	ok(t, err)
	for what, change := range map[string]func(*natsorm.Schema){
		"type":   func(s *natsorm.Schema) { s.Columns[2].Type = natsorm.String },
		"shards": func(s *natsorm.Schema) { s.Shards = 16 },
		"primary key": func(s *natsorm.Schema) {
			s.Columns[0].PrimaryKey, s.Columns[2].PrimaryKey = false, true
		},
	} {
		s := base
		s.Columns = append([]natsorm.ColumnSchema(nil), base.Columns...)
		change(&s)
		if _, err := natsorm.DefineRecord(ctx, db, s); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "M") {
			t.Errorf("%s: %v", what, err)
		}
	}
	after, err := db.KV().Get(ctx, "_schema.M")
	ok(t, err)
	if before.Revision() != after.Revision() {
		t.Error("a contradiction changed the catalogue")
	}
	// Saying nothing of shards and indexes takes the catalogue's.
	s := natsorm.Schema{Name: "M", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}}}
	m = must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s))
	if got := m.Schema(); got.Shards != 8 || len(got.Columns) != 3 || !got.Columns[1].Index {
		t.Errorf("%+v", got)
	}
	newer := strings.Replace(string(after.Value()), `"format":1`, `"format":99`, 1)
	_, err = db.KV().Put(ctx, "_schema.M", []byte(newer))
	ok(t, err)
	if _, err := natsorm.DefineRecord(ctx, db, base); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer format: %v", err)
	}
	_, err = db.KV().Put(ctx, "_schema.M", after.Value())
	ok(t, err)
}

// An index that is declared later is built from the records that are there,
// also while others write, and whoever has the older declaration still keeps
// what the catalogue asked for when it was read.
func TestIndexesDeclaredLater(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	plain := natsorm.Schema{Name: "M", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "a", Type: natsorm.String}, {Name: "u", Type: natsorm.String},
	}}
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, plain))
	const n = 1200
	var batch []*natsorm.Record
	for i := range n {
		batch = append(batch, &natsorm.Record{"id": i, "a": fmt.Sprint(i % 3), "u": fmt.Sprint(i)})
	}
	ok(t, m.BulkCreate(ctx, batch))

	type M struct {
		ID int    `json:"id" orm:"primaryKey"`
		A  string `json:"a" orm:"index"`
	}
	var wg sync.WaitGroup
	models := make([]*natsorm.Model[M], 4)
	for i := range models { // four processes start at once, and write at once
		wg.Go(func() {
			if _, err := natsorm.DefineRecord(ctx, db, plain, natsorm.Unique("u")); err != nil {
				t.Error(err)
			}
			typed, err := natsorm.Define[M](ctx, db)
			if err != nil {
				t.Error(err)
				return
			}
			models[i] = typed
			if _, err := typed.Update(ctx, natsorm.Set{"a": fmt.Sprint("new ", i)}, natsorm.Eq("id", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		if got := must[int](t)(models[i].Count(ctx, natsorm.Eq("a", fmt.Sprint("new ", i)))); got != 1 {
			t.Errorf("%d changed by process %d", got, i)
		}
	}
	if got := must[int](t)(models[0].Count(ctx, natsorm.Eq("a", "1"))); got != n/3-1 {
		t.Errorf("%d by the new index, want %d", got, n/3-1)
	}
	// M has no field u; what it saves keeps it, and its unique claim.
	one := must[*M](t)(models[0].FindByPK(ctx, 10))
	one.A = "saved"
	ok(t, models[0].Save(ctx, one))
	all := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "M"))
	if err := all.Create(ctx, &natsorm.Record{"id": n, "u": "10"}); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("u of a saved record was taken: %v", err)
	}
}

func TestUniqueIndexOverDuplicates(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	s := natsorm.Schema{Name: "M", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.String, PrimaryKey: true}, {Name: "u", Type: natsorm.String}}}
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s))
	for _, id := range []string{"a", "b", "c"} {
		ok(t, m.Create(ctx, &natsorm.Record{"id": id, "u": "same"}))
	}
	_, err := natsorm.DefineRecord(ctx, db, s, natsorm.Unique("u"))
	if !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), `u "same" of a, b, c.`) || !strings.Contains(err.Error(), "3 of its records share 1 value:") {
		t.Errorf("a unique index over duplicates: %v", err)
	}
	// The model goes on without it, and what is left of it stops nobody.
	m = must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s))
	ok(t, m.Create(ctx, &natsorm.Record{"id": "e", "u": "same"}))
	if n := must[int](t)(m.Count(ctx, natsorm.Eq("u", "same"))); n != 4 {
		t.Errorf("%d found, want 4", n)
	}
	must[int](t)(m.Destroy(ctx, natsorm.In("id", "b", "c", "e")))
	m = must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s, natsorm.Unique("u")))
	if err := m.Create(ctx, &natsorm.Record{"id": "d", "u": "same"}); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("after the build: %v", err)
	}
	// A value that only the failed build had claimed, for a record that is gone.
	must[int](t)(m.Destroy(ctx, natsorm.Eq("id", "a")))
	ok(t, m.Create(ctx, &natsorm.Record{"id": "d", "u": "same"}))
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

// Several processes of a new release start at once, with a unique index that
// the records do not allow. None of them may take it for built, whatever the
// others are doing to the catalogue.
func TestUniqueIndexOverDuplicatesByManyProcesses(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx := within(t)
	s := natsorm.Schema{Name: "M", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "u", Type: natsorm.String}}}
	m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s))
	var batch []*natsorm.Record
	for i := range 200 {
		batch = append(batch, &natsorm.Record{"id": i, "u": fmt.Sprint(i)})
	}
	batch = append(batch, &natsorm.Record{"id": 1000, "u": "7"})
	ok(t, m.BulkCreate(ctx, batch))
	for range testsize.Pick(2, 4, 10) {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, err := natsorm.DefineRecord(ctx, db, s, natsorm.Unique("u")); !errors.Is(err, natsorm.ErrSchema) {
					t.Errorf("a unique index over duplicates: %v", err)
				}
			})
		}
		wg.Wait()
	}
	if got := must[[]natsorm.Schema](t)(db.Models(ctx)); got[0].Columns[1].Unique {
		t.Error("the index is in the catalogue")
	}
	// Once the duplicate is gone, all of them get it.
	must[int](t)(m.Destroy(ctx, natsorm.Eq("id", 1000)))
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			m, err := natsorm.DefineRecord(ctx, db, s, natsorm.Unique("u"))
			if err != nil {
				t.Error(err)
				return
			}
			if err := m.Create(ctx, &natsorm.Record{"id": 2000 + i, "u": "7"}); !errors.Is(err, natsorm.ErrUnique) {
				t.Errorf("process %d took a value: %v", i, err)
			}
		})
	}
	wg.Wait()
}
