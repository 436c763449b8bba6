package natsorm_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestRecordLife(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)

	alice := &user{ID: 1, Name: "Alice", Email: "alice@example.com", Age: 30, City: ptr("Oslo")}
	ok(t, users.Create(ctx, alice))
	if err := users.Create(ctx, alice); !errors.Is(err, natsorm.ErrExists) {
		t.Errorf("created twice: %v", err)
	}

	for name, q := range map[string]natsorm.Query{
		"primary key": natsorm.Eq("id", 1), "index": natsorm.Eq("name", "Alice"), "unique": natsorm.Eq("email", "alice@example.com"),
		"nullable index": natsorm.Eq("city", "Oslo"), "other letter case": natsorm.Eq("NAME", "Alice"), "scan": natsorm.Eq("bio", ""),
	} {
		got, err := users.FindOne(ctx, q)
		if diff := cmp.Diff(alice, got); err != nil || diff != "" {
			t.Errorf("by %s: %v %s", name, err, diff)
		}
	}

	n := must[int](t)(users.Update(ctx, natsorm.Set{"name": "Alicia", "city": nil}, natsorm.Where{"id": 1}))
	if n != 1 {
		t.Errorf("updated %d", n)
	}
	if found := must[int](t)(users.Count(ctx, natsorm.Eq("name", "Alice"))); found != 0 {
		t.Errorf("%d still found by the old name", found)
	}
	if found := must[int](t)(users.Count(ctx, natsorm.IsNull("city"))); found != 1 {
		t.Errorf("%d found by the null city", found)
	}

	if n := must[int](t)(users.Destroy(ctx, natsorm.Eq("email", "alice@example.com"))); n != 1 {
		t.Errorf("destroyed %d", n)
	}
	if _, err := users.FindByPK(ctx, 1); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("found after its destruction: %v", err)
	}
	// Its unique value is free again.
	ok(t, users.Create(ctx, &user{ID: 2, Email: "alice@example.com"}))
}

func TestSaveAndUpsert(t *testing.T) {
	t.Parallel()
	type doc struct {
		ID      string    `json:"id" orm:"primaryKey"`
		Text    string    `json:"text" orm:"index"`
		Version uint64    `json:"-" orm:"version"`
		Created time.Time `json:"created" orm:"createdAt"`
		Updated time.Time `json:"updated" orm:"updatedAt"`
	}
	db := natsormtest.New(t)
	docs := define[doc](t, db)
	ctx := within(t)

	if err := docs.Save(ctx, &doc{ID: "a"}); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("saved a record that is not there: %v", err)
	}
	a := &doc{ID: "a", Text: "one"}
	if !must[bool](t)(docs.Upsert(ctx, a)) || a.Version == 0 || a.Created.IsZero() || a.Updated.IsZero() {
		t.Errorf("upsert did not create: %+v", a)
	}
	stale := *a
	a.Text = "two"
	ok(t, docs.Save(ctx, a))
	stale.Text = "three"
	if err := docs.Save(ctx, &stale); !errors.Is(err, natsorm.ErrConflict) {
		t.Errorf("a stale save: %v", err)
	}
	got := must[*doc](t)(docs.FindByPK(ctx, "a"))
	if diff := cmp.Diff(a, got); diff != "" {
		t.Error(diff)
	}
	if must[bool](t)(docs.Upsert(ctx, &doc{ID: "a", Text: "four"})) {
		t.Error("upsert created a record that was there")
	}
	got = must[*doc](t)(docs.FindOne(ctx, natsorm.Eq("text", "four")))
	if !got.Created.Equal(a.Created) || !got.Updated.After(a.Updated) {
		t.Errorf("times %v %v, were %v %v", got.Created, got.Updated, a.Created, a.Updated)
	}
	must[int](t)(docs.Destroy(ctx, natsorm.Eq("id", "a")))
	if err := docs.Save(ctx, got); !errors.Is(err, natsorm.ErrConflict) || !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("saved a destroyed record: %v", err)
	}
}

// A fence rewrites a record without changing it; a version read before it is
// still the current one.
func TestVersionSurvivesAFence(t *testing.T) {
	t.Parallel()
	type doc struct {
		ID      int     `json:"id" orm:"primaryKey"`
		Text    string  `json:"text" orm:"index"`
		Email   *string `json:"email" orm:"unique"`
		Version uint64  `json:"-" orm:"version"`
	}
	db := onFiles(t)
	docs := define[doc](t, db)
	ctx := within(t)
	a := &doc{ID: 1, Text: "one"}
	ok(t, docs.Create(ctx, a))
	ok(t, docs.Create(ctx, &doc{ID: 2, Email: ptr("taken")}))
	before := a.Version
	// An update that fails on a unique value cleans up behind a fence.
	if _, err := docs.Update(ctx, natsorm.Set{"text": "x", "email": "taken"}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrUnique) {
		t.Fatal(err)
	}
	entry, err := db.KV().Get(ctx, "doc.shard_1.1")
	ok(t, err)
	if entry.Revision() == before {
		t.Fatal("there was no fence")
	}
	a.Text = "two"
	if err := docs.Save(ctx, a); err != nil {
		t.Errorf("a save after a fence: %v", err)
	}
}

func TestUpdateKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	type item struct {
		ID   int    `json:"id" orm:"primaryKey"`
		Name string `json:"name"`
	}
	db := natsormtest.New(t)
	items := define[item](t, db)
	ctx := within(t)
	_, err := db.KV().Put(ctx, "item.shard_1.1", []byte(`{"extra":{"n":9007199254740993},"id":1,"name":"a"}`))
	ok(t, err)
	must[int](t)(items.Update(ctx, natsorm.Set{"name": "b"}, natsorm.Eq("id", 1)))
	ok(t, items.Save(ctx, &item{ID: 1, Name: "c"}))
	got, err := db.KV().Get(ctx, "item.shard_1.1")
	ok(t, err)
	if want := `{"id":1,"name":"c","extra":{"n":9007199254740993}}`; string(got.Value()) != want {
		t.Errorf("the document is %s, want %s", got.Value(), want)
	}
}

func TestIncrement(t *testing.T) {
	t.Parallel()
	type counter struct {
		ID    int     `json:"id" orm:"primaryKey"`
		N     int64   `json:"n" orm:"index"`
		Small int8    `json:"small"`
		U     uint64  `json:"u"`
		F     float64 `json:"f"`
		P     *int    `json:"p"`
		S     string  `json:"s"`
	}
	db := natsormtest.New(t)
	counters := define[counter](t, db)
	ctx := within(t)
	ok(t, counters.Create(ctx, &counter{ID: 1, N: math.MaxInt64 - 1, Small: 126, U: 1, F: 0.5}))
	one := natsorm.Eq("id", 1)
	must[int](t)(counters.Increment(ctx, natsorm.Set{"n": 1, "small": 1, "u": -1, "f": 0.25, "p": 5}, one))
	got := must[*counter](t)(counters.FindOne(ctx, natsorm.Eq("n", int64(math.MaxInt64))))
	if diff := cmp.Diff(&counter{ID: 1, N: math.MaxInt64, Small: 127, U: 0, F: 0.75, P: ptr(5)}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []natsorm.Set{{"n": 1}, {"small": 1}, {"u": -1}, {"s": 1}, {"n": 0.5}, {"n": "x"}, {"n": nil}, {"id": 1}, {"nope": 1}, {}} {
		if _, err := counters.Increment(ctx, bad, one); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("increment %v: %v", bad, err)
		}
	}
	if again := must[*counter](t)(counters.FindByPK(ctx, 1)); cmp.Diff(got, again) != "" {
		t.Errorf("a refused increment changed %v to %v", got, again)
	}
}

func TestAutomaticKeys(t *testing.T) {
	t.Parallel()
	type number struct {
		ID   int32  `json:"id" orm:"primaryKey,auto"`
		Name string `json:"name" orm:"unique"`
	}
	type text struct {
		ID string `json:"id" orm:"primaryKey,auto"`
	}
	db := natsormtest.New(t)
	numbers, texts := define[number](t, db), define[text](t, db)
	ctx := within(t)

	// Keys that were given are in the way of the first 50 automatic ones.
	for i := range 50 {
		ok(t, numbers.Create(ctx, &number{ID: int32(i + 1), Name: fmt.Sprint("given ", i)}))
	}
	batch := make([]*number, 300)
	for i := range batch {
		batch[i] = &number{Name: fmt.Sprint("auto ", i)}
	}
	ok(t, numbers.BulkCreate(ctx, batch))
	seen := map[int32]bool{}
	for _, n := range batch {
		if n.ID <= 50 || seen[n.ID] {
			t.Fatalf("automatic key %d", n.ID)
		}
		seen[n.ID] = true
	}
	// A refused record does not keep a key that it did not get.
	refused := &number{Name: "auto 7"}
	if err := numbers.Create(ctx, refused); !errors.Is(err, natsorm.ErrUnique) || refused.ID != 0 {
		t.Errorf("refused with key %d: %v", refused.ID, err)
	}

	var ids []string
	for range 5 {
		v := &text{}
		ok(t, texts.Create(ctx, v))
		ids = append(ids, v.ID)
	}
	if !slices.IsSorted(ids) || len(ids[0]) != 36 || ids[0][14] != '7' {
		t.Errorf("not UUIDv7 in order: %v", ids)
	}
}

func TestBulkCreateNamesWhatFailed(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	batch := []*user{{ID: 1, Email: "a"}, nil, {ID: 1, Email: "b"}, {ID: 2, Email: "c"}, {ID: 3, Email: "c"}}
	err := users.BulkCreate(ctx, batch)
	var bulk *natsorm.BulkError
	if !errors.As(err, &bulk) || bulk.Total != 5 || len(bulk.Faults) != 3 || !slices.IsSortedFunc(bulk.Faults, func(a, b natsorm.BulkFault) int { return a.Index - b.Index }) {
		t.Fatalf("%v: %+v", err, bulk)
	}
	for _, target := range []error{natsorm.ErrInvalid, natsorm.ErrExists, natsorm.ErrUnique} {
		if !errors.Is(err, target) {
			t.Errorf("%v is not among the faults", target)
		}
	}
	if n := must[int](t)(users.Count(ctx)); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	ok(t, users.BulkCreate(ctx, nil))
}

func TestManyRecordsOfOneValue(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	const n = 3000 // past what one request returns
	batch := make([]*user, n)
	for i := range batch {
		batch[i] = &user{ID: int64(i), Name: "same", Email: fmt.Sprint(i), Age: i % 2}
	}
	ok(t, users.BulkCreate(ctx, batch))
	if got := must[int](t)(users.Count(ctx, natsorm.Eq("name", "same"))); got != n {
		t.Errorf("%d by index, want %d", got, n)
	}
	if got := must[int](t)(users.Update(ctx, natsorm.Set{"name": "other"}, natsorm.Where{"name": "same", "age": 1})); got != n/2 {
		t.Errorf("%d updated, want %d", got, n/2)
	}
	if got := must[int](t)(users.Count(ctx, natsorm.Eq("name", "other"))); got != n/2 {
		t.Errorf("%d by index, want %d", got, n/2)
	}
	if got := must[int](t)(users.Destroy(ctx, natsorm.Gte("id", n/2))); got != n/2 {
		t.Errorf("%d destroyed, want %d", got, n/2)
	}
	var ids []any
	for i := range 2000 {
		ids = append(ids, i)
	}
	if got := must[int](t)(users.Count(ctx, natsorm.In("id", ids...))); got != n/2 {
		t.Errorf("%d by keys, want %d", got, n/2)
	}
}

func TestWhereIsMissing(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &user{ID: 1}))
	for _, q := range [][]natsorm.Query{nil, {natsorm.Where{}}, {natsorm.And()}, {natsorm.Or()}, {natsorm.And(natsorm.Where{}, natsorm.Or())}} {
		if _, err := users.Destroy(ctx, q...); !errors.Is(err, natsorm.ErrMissingWhere) {
			t.Errorf("destroy %v: %v", q, err)
		}
		if _, err := users.Update(ctx, natsorm.Set{"age": 1}, q...); !errors.Is(err, natsorm.ErrMissingWhere) {
			t.Errorf("update %v: %v", q, err)
		}
	}
	if n := must[int](t)(users.Destroy(ctx, natsorm.All())); n != 1 {
		t.Errorf("All destroyed %d", n)
	}
}

func TestTypesSurvive(t *testing.T) {
	t.Parallel()
	type inner struct {
		A int      `json:"a"`
		B []string `json:"b"`
	}
	type Base struct {
		ID int64 `json:"id" orm:"primaryKey"`
	}
	type kinds struct {
		Base
		I64  int64             `json:"i64" orm:"index"`
		U64  uint64            `json:"u64" orm:"index"`
		F    float64           `json:"f" orm:"index"`
		S    string            `json:"s" orm:"index"`
		B    bool              `json:"b" orm:"index"`
		T    time.Time         `json:"t" orm:"index"`
		PT   *time.Time        `json:"pt"`
		Raw  []byte            `json:"raw" orm:"index"`
		M    map[string]int    `json:"m"`
		In   inner             `json:"in"`
		Omit string            `json:"omit,omitempty" orm:"index"`
		Any  any               `json:"any"`
		Tags map[string]string `json:"tags,omitempty"`
	}
	db := natsormtest.New(t)
	m := define[kinds](t, db)
	ctx := within(t)
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	want := &kinds{
		Base: Base{ID: -5}, I64: math.MinInt64, U64: math.MaxUint64, F: 1e300, S: "<&>\u2028 \"日本\"\x00", B: true, T: at, PT: &at,
		Raw: []byte{0, 255}, M: map[string]int{"x": 1}, In: inner{A: 9007199254740993, B: []string{"q"}}, Any: "v",
	}
	ok(t, m.Create(ctx, want))
	for name, q := range map[string]natsorm.Query{
		"i64": natsorm.Eq("i64", int64(math.MinInt64)), "u64": natsorm.Eq("u64", uint64(math.MaxUint64)), "f": natsorm.Eq("f", 1e300),
		"s": natsorm.Eq("s", want.S), "b": natsorm.Eq("b", true), "t": natsorm.Eq("t", at.In(time.FixedZone("", 3600))),
		"t as text": natsorm.Eq("t", at.Format(time.RFC3339Nano)), "raw": natsorm.Eq("raw", []byte{0, 255}), "omit": natsorm.Eq("omit", ""),
		"id": natsorm.Eq("id", -5.0), "pt": natsorm.Lt("pt", at.Add(1)),
	} {
		got, err := m.FindOne(ctx, q)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("by %s: %v %s", name, err, diff)
		}
	}
}

// omitempty leaves a zero out of the document; by its value the record is
// found all the same, by index and by scan.
func TestZeroThatIsLeftOut(t *testing.T) {
	t.Parallel()
	type item struct {
		ID    int    `json:"id" orm:"primaryKey"`
		Price int    `json:"price,omitempty" orm:"index"`
		Stock int    `json:"stock,omitempty"`
		Code  string `json:"code,omitempty" orm:"unique"`
	}
	db := natsormtest.New(t)
	items := define[item](t, db)
	ctx := within(t)
	for i := range 4 {
		ok(t, items.Create(ctx, &item{ID: i, Price: i % 2, Stock: i % 2}))
	}
	for _, c := range []struct {
		q    natsorm.Query
		want int
	}{
		{natsorm.Eq("price", 0), 2}, {natsorm.In("price", 0, 1), 4}, {natsorm.Eq("stock", 0), 2}, {natsorm.Lt("stock", 1), 2},
		{natsorm.IsNull("price"), 0}, {natsorm.NotNull("stock"), 4}, {natsorm.Eq("code", ""), 4}, {natsorm.Ne("price", 1), 2},
	} {
		if got := must[int](t)(items.Count(ctx, c.q)); got != c.want {
			t.Errorf("%v: %d, want %d", c.q, got, c.want)
		}
	}
}

// What Select left out must not be written as zeros, by Upsert either.
func TestUpsertOfAPartialRecord(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID      int    `json:"id" orm:"primaryKey"`
		Note    string `json:"note"`
		Version uint64 `json:"-" orm:"version"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	ok(t, recs.Create(ctx, &rec{ID: 1, Note: "kept"}))
	part := must[*rec](t)(recs.FindOne(ctx, natsorm.Select("id")))
	if _, err := recs.Upsert(ctx, part); !errors.Is(err, natsorm.ErrConflict) {
		t.Errorf("Upsert of a partial record: %v", err)
	}
	if err := recs.Create(ctx, part); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("Create of a partial record: %v", err)
	}
	if v := must[*rec](t)(recs.FindByPK(ctx, 1)); v.Note != "kept" {
		t.Errorf("%+v", v)
	}
}
