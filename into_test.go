package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// people makes some users.
func people(t *testing.T) *natsorm.Model[user] {
	users := define[user](t, natsormtest.New(t))
	for i := range 20 {
		u := &user{ID: int64(i), Name: fmt.Sprint("n", i%4), Email: fmt.Sprint(i), Age: 20 + i}
		if i%5 != 0 {
			u.City = ptr([]string{"Oslo", "Rome"}[i%2])
		}
		ok(t, users.Create(t.Context(), u))
	}
	return users
}

func TestExists(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := people(t)
	for what, c := range map[string]struct {
		q    []natsorm.Query
		want bool
	}{
		"any":           {nil, true},
		"by key":        {[]natsorm.Query{natsorm.Eq("id", 3)}, true},
		"no such key":   {[]natsorm.Query{natsorm.Eq("id", 99)}, false},
		"by index":      {[]natsorm.Query{natsorm.Eq("name", "n1"), natsorm.Gt("age", 30)}, true},
		"none by index": {[]natsorm.Query{natsorm.Eq("name", "n1"), natsorm.Gt("age", 90)}, false},
		"scan":          {[]natsorm.Query{natsorm.Eq("bio", "")}, true},
		"offset":        {[]natsorm.Query{natsorm.Eq("name", "n1"), natsorm.Offset(5)}, false},
		"limit 0":       {[]natsorm.Query{natsorm.Limit(0)}, false},
		"ordered":       {[]natsorm.Query{natsorm.Eq("name", "n2"), natsorm.OrderBy("age")}, true},
	} {
		if got, err := users.Exists(ctx, c.q...); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	if _, err := users.Exists(ctx, natsorm.Eq("nothing", 1)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("no such column: %v", err)
	}
	must[int](t)(users.Destroy(ctx, natsorm.All()))
	if got := must[bool](t)(users.Exists(ctx)); got {
		t.Error("there is one after all were destroyed")
	}
}

func TestFindAllInto(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := people(t)
	type row struct {
		Name string  `json:"name"`
		Town *string `json:"-" orm:"column:city"`
	}
	rows := must[[]row](t)(natsorm.FindAllInto[row](ctx, users, natsorm.Lt("age", 23), natsorm.OrderBy("age")))
	want := []row{{Name: "n0"}, {"n1", ptr("Rome")}, {"n2", ptr("Oslo")}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("%+v", rows)
	}
	if rows := must[[]row](t)(natsorm.FindAllInto[row](ctx, users, natsorm.Eq("id", 99))); rows == nil || len(rows) != 0 {
		t.Errorf("none are %#v", rows)
	}
	ok(t, users.Create(ctx, &user{ID: 50, Email: "50", Name: "in"}))
	type wrong struct {
		Name int `json:"name"`
	}
	type unknown struct {
		Colour string `json:"colour"`
	}
	type cased struct {
		Name string // the column is called name
	}
	type narrow struct {
		Age int8 `json:"age"`
	}
	ok(t, users.Create(ctx, &user{ID: 60, Email: "60", Age: 300}))
	for what, c := range map[string]struct {
		err  error
		want error
		text string
	}{
		"none":   {second(natsorm.FindAllInto[struct{}](ctx, users)), natsorm.ErrSchema, "no fields"},
		"narrow": {second(natsorm.FindAllInto[narrow](ctx, users)), natsorm.ErrInvalid, "age"},
		"type":   {second(natsorm.FindAllInto[wrong](ctx, users)), natsorm.ErrInvalid, "has type string, but type int"},
		"column": {second(natsorm.FindAllInto[unknown](ctx, users)), natsorm.ErrInvalid, "colour"},
		"case":   {second(natsorm.FindAllInto[cased](ctx, users)), natsorm.ErrInvalid, "is called name"},
		"Select": {second(natsorm.FindAllInto[row](ctx, users, natsorm.Select("name"))), natsorm.ErrInvalid, "Select"},
		"struct": {second(natsorm.FindAllInto[int](ctx, users)), natsorm.ErrSchema, "int"},
	} {
		if !errors.Is(c.err, c.want) || errors.Is(c.err, natsorm.ErrCorrupt) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
}

// A record that cannot be read is left out, and named. A version is the record's, or none
// for what the same transaction has written.
func TestFindAllIntoOfOthers(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	cases := define[supportCase](t, db)
	v := &supportCase{ID: 1, Ref: "A"}
	ok(t, cases.Create(ctx, v))
	type row struct {
		Ref     string `json:"ref"`
		Version uint64 `json:"-" orm:"version"`
	}
	rows := must[[]row](t)(natsorm.FindAllInto[row](ctx, cases))
	if len(rows) != 1 || rows[0] != (row{"A", v.Version}) {
		t.Errorf("%+v", rows)
	}
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		must[int](t)(cases.Update(ctx, natsorm.Set{"ref": "B"}, natsorm.Eq("id", 1)))
		rows, err := natsorm.FindAllInto[row](ctx, cases)
		if len(rows) != 1 || rows[0] != (row{"B", 0}) {
			t.Errorf("in a transaction: %+v", rows)
		}
		return err
	}))
	must[uint64](t)(db.KV().PutString(ctx, "supportCase.shard_2.2", "{"))
	rows, err := natsorm.FindAllInto[row](ctx, cases)
	if len(rows) != 1 || !errors.Is(err, natsorm.ErrCorrupt) || !strings.Contains(err.Error(), "supportCase.shard_2.2") {
		t.Errorf("%+v, %v", rows, err)
	}
	must[int](t)(cases.Destroy(ctx, natsorm.Eq("id", 2)))
}

func TestGroupByInto(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := people(t)
	type total struct {
		City    *string  `json:"city"`
		Count   int      `json:"count"`
		Sum     int64    `json:"sum_age"`
		Average *float64 `json:"mean"`
		Oldest  int      `json:"max_age"`
	}
	aggs := []natsorm.Aggregate{natsorm.CountRecords(), natsorm.SumOf("age"), natsorm.AvgOf("age").As("mean"), natsorm.MaxOf("age")}
	got := must[[]total](t)(natsorm.GroupByInto[total](ctx, users, []string{"city"}, aggs, natsorm.Having(natsorm.Gt("count", 4)), natsorm.OrderBy("-sum_age")))
	records := must[[]natsorm.Record](t)(users.GroupBy(ctx, []string{"city"}, aggs, natsorm.Having(natsorm.Gt("count", 4)), natsorm.OrderBy("-sum_age")))
	if len(got) != 2 || len(records) != 2 {
		t.Fatalf("%d groups and %d", len(got), len(records))
	}
	for i, g := range got {
		if r := records[i]; *g.City != r["city"] || int64(g.Count) != r["count"] || float64(g.Sum) != r["sum_age"] || *g.Average != r["mean"] || int64(g.Oldest) != r["max_age"] {
			t.Errorf("%+v is not %v", g, r)
		}
	}
	for _, age := range []int{1_000_000, 5_000_001, 1 << 40} { // what JSON writes with an exponent
		ok(t, users.Create(ctx, &user{ID: int64(age), Email: fmt.Sprint(age), City: ptr("Bern"), Age: age}))
		var want int64
		for _, u := range must[[]*user](t)(users.FindAll(ctx, natsorm.Eq("city", "Bern"))) {
			want += int64(u.Age)
		}
		sums := must[[]struct {
			Sum int64 `json:"sum_age"`
		}](t)(natsorm.GroupByInto[struct {
			Sum int64 `json:"sum_age"`
		}](ctx, users, nil, aggs[1:2], natsorm.Eq("city", "Bern")))
		if len(sums) != 1 || sums[0].Sum != want {
			t.Errorf("%+v, want %d", sums, want)
		}
	}
	type few struct {
		City *string `json:"city"`
	}
	type text struct {
		Count string `json:"count"`
	}
	type whole struct {
		Mean int `json:"avg_age"`
	}
	for what, c := range map[string]struct {
		err  error
		text string
	}{
		"a result without a field": {second(natsorm.GroupByInto[few](ctx, users, []string{"city"}, aggs)), "sum_age"},
		"a field without a result": {second(natsorm.GroupByInto[total](ctx, users, []string{"city"}, aggs[:1])), "mean"},
		"another type":             {second(natsorm.GroupByInto[text](ctx, users, nil, aggs[:1])), "count"},
		"a mean that is not whole": {second(natsorm.GroupByInto[whole](ctx, users, nil, []natsorm.Aggregate{natsorm.AvgOf("age")})), "avg_age"},
	} {
		if !errors.Is(c.err, natsorm.ErrInvalid) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
}

func TestHaving(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := people(t)
	aggs := []natsorm.Aggregate{natsorm.CountRecords(), natsorm.SumOf("age"), natsorm.AvgOf("age"), natsorm.MinOf("name"), natsorm.MaxOf("age").As("oldest")}
	all := must[[]natsorm.Record](t)(users.GroupBy(ctx, []string{"name"}, aggs))
	for what, c := range map[string]struct {
		having []natsorm.Condition
		keep   func(natsorm.Record) bool
	}{
		"a result": {[]natsorm.Condition{natsorm.Gt("sum_age", 150)}, func(r natsorm.Record) bool { return r["sum_age"].(float64) > 150 }},
		"a column": {[]natsorm.Condition{natsorm.In("name", "n1", "n2")}, func(r natsorm.Record) bool { return r["name"] == "n1" || r["name"] == "n2" }},
		"both": {[]natsorm.Condition{natsorm.Ne("name", "n3"), natsorm.Or(natsorm.Gte("oldest", 38), natsorm.Lt("avg_age", 29))}, func(r natsorm.Record) bool {
			return r["name"] != "n3" && (r["oldest"].(int64) >= 38 || r["avg_age"].(float64) < 29)
		}},
		"text":    {[]natsorm.Condition{natsorm.Like("min_name", "n%")}, func(natsorm.Record) bool { return true }},
		"where":   {[]natsorm.Condition{natsorm.Where{"count": 5}}, func(natsorm.Record) bool { return true }},
		"nothing": {[]natsorm.Condition{natsorm.Gt("count", 5)}, func(natsorm.Record) bool { return false }},
	} {
		got := must[[]natsorm.Record](t)(users.GroupBy(ctx, []string{"name"}, aggs, natsorm.Having(c.having...)))
		want := slices.DeleteFunc(slices.Clone(all), func(r natsorm.Record) bool { return !c.keep(r) })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	page := must[[]natsorm.Record](t)(users.GroupBy(ctx, []string{"name"}, aggs, natsorm.Having(natsorm.Gt("sum_age", 0)), natsorm.OrderBy("-name"), natsorm.Limit(1), natsorm.Offset(1)))
	if len(page) != 1 || page[0]["name"] != "n2" {
		t.Errorf("a page of groups: %v", page)
	}
	// The mean of no values is null.
	none := must[[]natsorm.Record](t)(users.GroupBy(ctx, nil, []natsorm.Aggregate{natsorm.AvgOf("age")}, natsorm.Eq("id", 99), natsorm.Having(natsorm.IsNull("avg_age"))))
	if len(none) != 1 {
		t.Errorf("%v", none)
	}
	for what, err := range map[string]error{
		"unknown": second(users.GroupBy(ctx, nil, aggs, natsorm.Having(natsorm.Gt("age", 5)))),
		"empty":   second(users.GroupBy(ctx, nil, aggs, natsorm.Having())),
		"nil":     second(users.GroupBy(ctx, nil, aggs, natsorm.Having(nil))),
		"type":    second(users.GroupBy(ctx, nil, aggs, natsorm.Having(natsorm.Gt("count", "many")))),
		"FindAll": second(users.FindAll(ctx, natsorm.Having(natsorm.Gt("age", 5)))),
	} {
		if !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Assignments to typed columns, with the mistakes that only a call can return.
func TestAssign(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := people(t)
	age := natsorm.Column(func(u *user) *int { return &u.Age })
	city := natsorm.Column(func(u *user) *string { return u.City })
	bad := natsorm.Column(func(u *user) *int { return new(int) })
	must[int](t)(users.Update(ctx, natsorm.Assign(age.Set(31), city.Set("Bern")), natsorm.Eq("id", 7)))
	if u := must[*user](t)(users.FindByPK(ctx, 7)); u.Age != 31 || *u.City != "Bern" {
		t.Errorf("%+v", u)
	}
	must[int](t)(users.Increment(ctx, natsorm.Assign(age.Set(2)), natsorm.Eq("id", 7)))
	u := must[*user](t)(users.UpdateOne(ctx, natsorm.Assign(city.Set("Bonn")), natsorm.Eq("id", 7)))
	if u.Age != 33 || *u.City != "Bonn" {
		t.Errorf("%+v", u)
	}
	for what, c := range map[string]struct {
		set  natsorm.Set
		want error
	}{
		"no column": {natsorm.Assign(bad.Set(1)), natsorm.ErrSchema},
		"twice":     {natsorm.Assign(age.Set(1), age.Set(2)), natsorm.ErrInvalid},
		"both":      {natsorm.Assign(bad.Set(1), age.Set(1), age.Set(2), bad.Set(3)), natsorm.ErrSchema},
		"nothing":   {natsorm.Assign(), natsorm.ErrInvalid},
	} {
		if _, err := users.Update(ctx, c.set, natsorm.Eq("id", 7)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := users.Increment(ctx, c.set, natsorm.Eq("id", 7)); !errors.Is(err, c.want) {
			t.Errorf("%s of Increment: %v", what, err)
		}
		if _, err := users.UpdateOne(ctx, c.set, natsorm.Eq("id", 7)); !errors.Is(err, c.want) {
			t.Errorf("%s of UpdateOne: %v", what, err)
		}
	}
}
