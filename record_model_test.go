package natsorm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// track is what the suite stores: every column may be null.
type track struct {
	ID     string       `json:"id" orm:"primaryKey"`
	Album  *string      `json:"album" orm:"index"`
	No     *int64       `json:"no"`
	Plays  *uint64      `json:"plays"`
	Rating *float64     `json:"rating" orm:"index:album_rating"`
	Price  *json.Number `json:"price"`
	Live   *bool        `json:"live"`
	At     *time.Time   `json:"at"`
	Code   *string      `json:"code" orm:"unique"`
}

var tracks = []natsorm.Record{
	{"id": "a", "album": "Blue", "no": int64(1), "plays": uint64(10), "rating": 4.5, "price": json.Number("0.99"), "live": false, "at": day(1), "code": "x1"},
	{"id": "b", "album": "Blue", "no": int64(2), "plays": uint64(math.MaxUint64), "rating": 3.0, "price": json.Number("1.29"), "live": true, "at": day(2), "code": "x2"},
	{"id": "c", "album": "Red", "no": int64(1), "plays": uint64(7), "rating": nil, "price": json.Number("0.990"), "live": nil, "at": day(3), "code": nil},
	{"id": "d", "album": nil, "no": nil, "plays": nil, "rating": 5.0, "price": nil, "live": false, "at": nil, "code": "x4"},
	{"id": "e", "album": "Red", "no": int64(9007199254740993), "plays": uint64(0), "rating": -1.0, "price": json.Number("-5"), "live": true, "at": day(1).In(time.FixedZone("", 3600)), "code": "x5"},
	{"id": "f", "album": "red", "no": int64(-4), "plays": uint64(3), "rating": 3.0, "price": json.Number("12345678901234567890.5"), "live": true, "at": day(4), "code": "x6"},
}

func day(n int) time.Time { return time.Date(2024, 5, n, 12, 0, 0, 0, time.UTC) }

// TestTypedAndRecordModelsBehaveTheSame runs one suite over both kinds.
func TestTypedAndRecordModelsBehaveTheSame(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	t.Run("typed", func(t *testing.T) {
		runSuite(t, define[track](t, db), func(r natsorm.Record) *track {
			var v track
			ok(t, json.Unmarshal(must[[]byte](t)(json.Marshal(r)), &v))
			return &v
		}, func(v *track) string { return v.ID })
	})
	t.Run("record", func(t *testing.T) {
		s := natsorm.Schema{Name: "records", Columns: []natsorm.ColumnSchema{
			{Name: "id", Type: natsorm.String, PrimaryKey: true}, {Name: "album", Type: natsorm.String, Index: true}, {Name: "no", Type: natsorm.Int},
			{Name: "plays", Type: natsorm.Uint}, {Name: "rating", Type: natsorm.Float}, {Name: "price", Type: natsorm.Decimal}, {Name: "live", Type: natsorm.Bool},
			{Name: "at", Type: natsorm.Time}, {Name: "code", Type: natsorm.String, Unique: true},
		}, Indexes: []natsorm.IndexSchema{{Columns: []string{"album", "rating"}}}}
		runSuite(t, must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(within(t), db, s)), func(r natsorm.Record) *natsorm.Record {
			return &r
		}, func(v *natsorm.Record) string { return (*v)["id"].(string) })
	})
}

func runSuite[T any](t *testing.T, m *natsorm.Model[T], make func(natsorm.Record) *T, id func(*T) string) {
	ctx := within(t)
	for _, r := range tracks {
		ok(t, m.Create(ctx, make(r)))
	}
	ids := func(found []*T) string {
		out := ""
		for _, v := range found {
			out += id(v)
		}
		return out
	}
	byID := natsorm.OrderBy("id")

	for _, c := range []struct {
		want string // ids, by id
		q    natsorm.Query
	}{
		{"abcdef", natsorm.And()},
		{"ab", natsorm.Eq("album", "Blue")},
		{"ab", natsorm.Where{"ALBUM": "Blue"}}, // letter case of a column is forgiven
		{"d", natsorm.Eq("album", nil)},
		{"cef", natsorm.Ne("album", "Blue")},
		{"abcef", natsorm.Ne("album", nil)},
		{"cf", natsorm.Or(natsorm.Eq("code", "x6"), natsorm.And(natsorm.Eq("album", "Red"), natsorm.IsNull("rating")))},
		{"e", natsorm.Eq("no", 9007199254740993)},
		{"", natsorm.Eq("no", 9007199254740992)},
		{"b", natsorm.Gt("plays", uint64(math.MaxUint64-1))},
		{"bf", natsorm.Eq("rating", 3)},
		{"bf", natsorm.In("rating", 3.0, 7)},
		{"ac", natsorm.Eq("price", json.Number("99e-2"))},
		{"f", natsorm.Gt("price", json.Number("12345678901234567890.4"))},
		{"bef", natsorm.Eq("live", true)},
		{"ad", natsorm.Eq("live", false)},
		{"ae", natsorm.Eq("at", day(1).In(time.FixedZone("", -7200)))},
		{"bcf", natsorm.Gt("at", "2024-05-01T14:00:00+02:00")},
		{"ab", natsorm.And(natsorm.Eq("album", "Blue"), natsorm.In("rating", 3, 4.5))},
		{"cef", natsorm.ILike("album", "r_d")},
		{"ce", natsorm.Like("album", "R%")},
		{"", natsorm.And(natsorm.Eq("album", "Blue"), natsorm.Eq("album", "Red"))},
		{"ac", natsorm.In("id", "c", "a", "nobody", "a")},
		{"abdef", natsorm.Not(natsorm.Eq("id", "c"))},
		{"be", must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"or":[{"no":9007199254740993},{"code":"x2"}],"live":true}`)))},
	} {
		if got := ids(must[[]*T](t)(m.FindAll(ctx, c.q, byID))); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
		if n := must[int](t)(m.Count(ctx, c.q)); n != len(c.want) {
			t.Errorf("%+v: counted %d of %d", c.q, n, len(c.want))
		}
	}

	for _, c := range []struct {
		want string
		q    []natsorm.Query
	}{
		{"dabcef", []natsorm.Query{natsorm.OrderBy("album")}}, // null first, text by bytes
		{"fecbad", []natsorm.Query{natsorm.OrderBy("-album", "-id")}},
		{"dfacbe", []natsorm.Query{natsorm.OrderBy("no")}},
		{"ebacfd", []natsorm.Query{natsorm.OrderBy("-no")}},
		{"deacb", []natsorm.Query{natsorm.OrderBy("price", "-code"), natsorm.Limit(5)}},
		{"daebcf", []natsorm.Query{natsorm.OrderBy("at")}},
		{"ba", []natsorm.Query{natsorm.OrderBy("-plays"), natsorm.Limit(2)}},
		{"cf", []natsorm.Query{natsorm.OrderBy("-plays"), natsorm.Offset(2), natsorm.Limit(2)}},
		{"", []natsorm.Query{byID, natsorm.Offset(6)}},
		{"", []natsorm.Query{byID, natsorm.Limit(0)}},
		{"ef", []natsorm.Query{byID, natsorm.Offset(4), natsorm.Limit(100)}},
		{"bf", []natsorm.Query{natsorm.Eq("rating", 3), natsorm.OrderBy("album"), natsorm.OrderBy("no"), natsorm.OrderBy("-id"), natsorm.Not(natsorm.Eq("id", "zz"))}},
	} {
		if got := ids(must[[]*T](t)(m.FindAll(ctx, c.q...))); got != c.want {
			t.Errorf("ordered %s, want %s", got, c.want)
		}
		var streamed []*T
		for v, err := range m.Each(ctx, c.q...) {
			ok(t, err)
			streamed = append(streamed, v)
		}
		if got := ids(streamed); got != c.want {
			t.Errorf("streamed %s, want %s", got, c.want)
		}
		v, err := m.FindOne(ctx, c.q...)
		if c.want == "" && !errors.Is(err, natsorm.ErrNotFound) || c.want != "" && (err != nil || id(v) != c.want[:1]) {
			t.Errorf("FindOne of %s: %v, %v", c.want, v, err)
		}
	}

	page, total, err := m.FindAndCountAll(ctx, natsorm.NotNull("album"), byID, natsorm.Limit(2), natsorm.Offset(1))
	if err != nil || ids(page) != "bc" || total != 5 {
		t.Errorf("FindAndCountAll: %s of %d, %v", ids(page), total, err)
	}
	page, total, err = m.FindAndCountAll(ctx, natsorm.NotNull("album"), natsorm.Limit(2))
	if err != nil || len(page) != 2 || total != 5 {
		t.Errorf("FindAndCountAll without an order: %d of %d, %v", len(page), total, err)
	}
	if page, total, err = m.FindAndCountAll(ctx, natsorm.Limit(0)); err != nil || len(page) != 0 || total != 6 {
		t.Errorf("FindAndCountAll of none: %d of %d, %v", len(page), total, err)
	}

	// Values come in the types that Records have, whatever the model's.
	for _, c := range []struct {
		column    string
		low, high any
	}{
		{"no", int64(-4), int64(9007199254740993)},
		{"plays", uint64(0), uint64(math.MaxUint64)},
		{"rating", -1.0, 5.0},
		{"price", json.Number("-5"), json.Number("12345678901234567890.5")},
		{"live", false, true},
		{"at", day(1), day(4)},
		{"album", "Blue", "red"},
		{"id", "a", "f"},
	} {
		low, high := must[any](t)(m.Min(ctx, c.column)), must[any](t)(m.Max(ctx, c.column))
		if !cmp.Equal(low, c.low) || !cmp.Equal(high, c.high) {
			t.Errorf("%s from %#v to %#v, want %#v to %#v", c.column, low, high, c.low, c.high)
		}
	}
	if v := must[any](t)(m.Min(ctx, "no", natsorm.Eq("id", "d"))); v != nil {
		t.Errorf("the least of nothing is %v", v)
	}
	if sum := must[float64](t)(m.Sum(ctx, "no", natsorm.Ne("id", "f"))); sum != 9007199254740993+4 {
		t.Errorf("sum %f", sum)
	}
	if sum := must[float64](t)(m.Sum(ctx, "price", natsorm.Ne("id", "f"))); sum != -1.73 {
		t.Errorf("sum of decimals %v", sum)
	}
	if sum := must[float64](t)(m.Sum(ctx, "no", natsorm.Eq("id", "nobody"))); sum != 0 {
		t.Errorf("sum of nothing %v", sum)
	}
	if avg := must[float64](t)(m.Avg(ctx, "rating")); avg != 14.5/5 {
		t.Errorf("mean %v", avg)
	}
	if avg := must[float64](t)(m.Avg(ctx, "rating", natsorm.Eq("id", "c"))); !math.IsNaN(avg) {
		t.Errorf("mean of nothing %v", avg)
	}
	if sum := must[float64](t)(m.Sum(ctx, "rating", natsorm.OrderBy("-rating"), natsorm.Limit(2))); sum != 9.5 {
		t.Errorf("sum of the best two %v", sum)
	}
	groups := must[[]natsorm.Record](t)(m.GroupBy(ctx, []string{"album"}, []natsorm.Aggregate{natsorm.CountRecords(), natsorm.SumOf("rating"), natsorm.AvgOf("no").As("mean"), natsorm.MaxOf("at")}))
	want := []natsorm.Record{
		{"album": nil, "count": int64(1), "sum_rating": 5.0, "mean": nil, "max_at": nil},
		{"album": "Blue", "count": int64(2), "sum_rating": 7.5, "mean": 1.5, "max_at": day(2)},
		{"album": "Red", "count": int64(2), "sum_rating": -1.0, "mean": 4503599627370497.0, "max_at": day(3)},
		{"album": "red", "count": int64(1), "sum_rating": 3.0, "mean": -4.0, "max_at": day(4)},
	}
	if diff := cmp.Diff(want, groups); diff != "" {
		t.Error(diff)
	}
	groups = must[[]natsorm.Record](t)(m.GroupBy(ctx, []string{"album", "live"}, []natsorm.Aggregate{natsorm.CountRecords().As("n")}, natsorm.OrderBy("-n", "album"), natsorm.Limit(2), natsorm.Offset(1), natsorm.NotNull("live")))
	want = []natsorm.Record{{"album": "Blue", "live": false, "n": int64(1)}, {"album": "Blue", "live": true, "n": int64(1)}}
	if diff := cmp.Diff(want, groups); diff != "" {
		t.Error(diff)
	}
	groups = must[[]natsorm.Record](t)(m.GroupBy(ctx, nil, []natsorm.Aggregate{natsorm.CountRecords(), natsorm.MinOf("no")}, natsorm.Eq("id", "nobody")))
	if diff := cmp.Diff([]natsorm.Record{{"count": int64(0), "min_no": nil}}, groups); diff != "" {
		t.Error(diff)
	}
	if groups = must[[]natsorm.Record](t)(m.GroupBy(ctx, []string{"live"}, nil)); len(groups) != 3 {
		t.Errorf("distinct values %v", groups)
	}

	// FindPage, whatever is selected.
	walked := ""
	for cursor, n := "", 0; n < 10; n++ {
		page, next, err := m.FindPage(ctx, natsorm.OrderBy("-rating", "id"), natsorm.Select("id"), natsorm.Limit(2), natsorm.After(cursor))
		ok(t, err)
		walked += ids(page) + " "
		if cursor = next; next == "" {
			break
		}
	}
	if walked != "da bf ec " {
		t.Errorf("pages %q", walked)
	}

	// Select: the columns that are asked for, and nothing else.
	for _, v := range must[[]*T](t)(m.FindAll(ctx, natsorm.Select("id", "no"), natsorm.Select("live"), natsorm.Eq("album", "Blue"), natsorm.OrderBy("-rating"))) {
		full := must[*T](t)(m.FindByPK(ctx, id(v)))
		var a, b natsorm.Record
		ok(t, json.Unmarshal(must[[]byte](t)(json.Marshal(v)), &a))
		ok(t, json.Unmarshal(must[[]byte](t)(json.Marshal(full)), &b))
		for name, x := range b {
			if slices.Contains([]string{"id", "no", "live"}, name) != (a[name] != nil) || a[name] != nil && a[name] != x {
				t.Errorf("Select: %s is %v of %v", name, a[name], x)
			}
		}
	}

	// What reads can say, changes can.
	if n := must[int](t)(m.Update(ctx, natsorm.Set{"no": 77}, natsorm.NotNull("at"), natsorm.OrderBy("-at"), natsorm.Limit(2))); n != 2 {
		t.Errorf("updated %d", n)
	}
	if got := ids(must[[]*T](t)(m.FindAll(ctx, natsorm.Eq("no", 77), byID))); got != "cf" {
		t.Errorf("updated %s", got)
	}
	if n := must[int](t)(m.Destroy(ctx, natsorm.All(), byID, natsorm.Offset(1), natsorm.Limit(2))); n != 2 {
		t.Errorf("destroyed %d", n)
	}
	if got := ids(must[[]*T](t)(m.FindAll(ctx, byID))); got != "adef" {
		t.Errorf("left %s", got)
	}
	pagesSurviveChanges(t, m, make, id)
}

// pagesSurviveChanges pages while records come and go before, at and after the
// cursor: those that stay are seen once.
func pagesSurviveChanges[T any](t *testing.T, m *natsorm.Model[T], make func(natsorm.Record) *T, id func(*T) string) {
	ctx := within(t)
	ok(t, m.Truncate(ctx))
	for i := range 40 {
		ok(t, m.Create(ctx, make(natsorm.Record{"id": fmt.Sprintf("s%02d", i), "no": int64(i / 3), "album": "stays"})))
	}
	q := []natsorm.Query{natsorm.OrderBy("-no"), natsorm.Or(natsorm.Eq("album", "stays"), natsorm.Eq("album", "goes"))}
	seen := map[string]int{}
	var last *T
	for cursor, n := "", 0; ; n++ {
		page := must[[]*T](t)(m.FindAll(ctx, append(q, natsorm.Limit(5), natsorm.After(cursor))...))
		if len(page) == 0 {
			break
		}
		for i, v := range page {
			if seen[id(v)]++; last != nil && i == 0 && id(last) == id(v) {
				t.Errorf("page %d begins with the last one of the page before", n)
			}
		}
		last = page[len(page)-1]
		cursor = must[string](t)(m.Cursor(last, q...))
		for j := range 3 { // some before the cursor, some behind it
			ok(t, m.Create(ctx, make(natsorm.Record{"id": fmt.Sprintf("g%d_%d", n, j), "no": int64(j * 7), "album": "goes"})))
		}
		if id(last)[0] == 'g' {
			must[int](t)(m.Destroy(ctx, natsorm.Eq("id", id(last))))
		}
	}
	for i := range 40 {
		if name := fmt.Sprintf("s%02d", i); seen[name] != 1 {
			t.Errorf("%s was seen %d times", name, seen[name])
		}
	}
}

func TestRecordsWithoutAType(t *testing.T) {
	t.Parallel()
	type Typed struct {
		ID   uint64          `json:"id" orm:"primaryKey"`
		S    *string         `json:"s" orm:"index"`
		F    float64         `json:"f"`
		B    bool            `json:"b"`
		T    time.Time       `json:"t"`
		Raw  []byte          `json:"raw"`
		D    json.Number     `json:"d" orm:"index"`
		J    json.RawMessage `json:"j"`
		Made time.Time       `json:"made" orm:"createdAt"`
	}
	db := natsormtest.New(t)
	typed := define[Typed](t, db)
	ctx := within(t)
	m := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "Typed"))
	at := time.Date(2024, 1, 2, 3, 4, 5, 6000, time.UTC)
	rec := natsorm.Record{
		"id": uint64(1) << 63, "s": "x", "f": 2, "b": true, "t": at, "raw": []byte("hi"), "d": json.Number("1.50"), "j": map[string]any{"n": json.Number("9007199254740993")},
	}
	ok(t, m.Create(ctx, &rec))
	got := must[*natsorm.Record](t)(m.FindOne(ctx, natsorm.Eq("s", "x")))
	made := (*got)["made"].(time.Time)
	want := natsorm.Record{
		"id": uint64(1) << 63, "s": "x", "f": 2.0, "b": true, "t": at, "raw": []byte("hi"), "d": json.Number("1.50"), "j": map[string]any{"n": json.Number("9007199254740993")}, "made": made,
	}
	if diff := cmp.Diff(want, *got); diff != "" || made.IsZero() {
		t.Error(diff)
	}
	v := must[*Typed](t)(typed.FindByPK(ctx, uint64(1)<<63))
	if *v.S != "x" || v.F != 2 || !v.T.Equal(at) || v.D != "1.50" || !v.Made.Equal(made) {
		t.Errorf("%+v", v)
	}
	for _, d := range []any{1.5, "1.5", json.Number("15e-1")} {
		if n := must[int](t)(m.Count(ctx, natsorm.Eq("d", d))); n != 1 {
			t.Errorf("%d found by the decimal %v", n, d)
		}
	}
	for what, bad := range map[string]natsorm.Record{
		"unknown column": {"id": 1, "nope": 1}, "wrong type": {"id": 1, "f": "x"}, "no key": {"s": "x"}, "null key": {"id": nil}, "negative key": {"id": -1}, "letter case": {"ID": 1}, "nil": nil,
	} {
		if err := m.Create(ctx, &bad); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := db.Model(ctx, "Nope"); !errors.Is(err, natsorm.ErrNotFound) || !strings.Contains(err.Error(), "Nope") {
		t.Errorf("an unknown model: %v", err)
	}
	names := ""
	for _, s := range must[[]natsorm.Schema](t)(db.Models(ctx)) {
		names += s.Name + " "
	}
	if names != "Typed " {
		t.Errorf("models %q", names)
	}
}
