package natsorm_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestTypedColumns(t *testing.T) {
	t.Parallel()
	type Base struct {
		ID int `json:"id" orm:"primaryKey"`
	}
	type Extra struct {
		Note string `json:"note"`
	}
	type rec struct {
		Base
		*Extra
		Name   string  `json:"name" orm:"index"`
		City   *string `json:"city"`
		Hidden int     `json:"-" orm:"-"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	for i, city := range []*string{nil, ptr("Oslo"), ptr("Rome")} {
		ok(t, recs.Create(ctx, &rec{Base: Base{i}, Extra: &Extra{Note: "n"}, Name: string(rune('a' + i)), City: city}))
	}
	id := natsorm.Column(func(r *rec) *int { return &r.ID })
	name := natsorm.Column(func(r *rec) *string { return &r.Name })
	city := natsorm.Column(func(r *rec) **string { return &r.City })
	note := natsorm.Column(func(r *rec) *string { return &r.Note })
	if id.Name() != "id" || name.Name() != "name" || city.Name() != "city" || note.Name() != "note" {
		t.Errorf("%q %q %q %q", id.Name(), name.Name(), city.Name(), note.Name())
	}
	for i, c := range []struct {
		q    natsorm.Query
		want int
	}{
		{id.Eq(1), 1}, {id.Gte(1), 2}, {id.Between(0, 1), 2}, {id.In(0, 2, 5), 2}, {name.Eq("b"), 1}, {name.StartsWith("c"), 1}, {city.IsNull(), 1}, {city.Eq(nil), 1},
		{city.Eq(ptr("Oslo")), 1}, {note.Ne("x"), 3}, {natsorm.And(id.Lt(2), natsorm.Not(name.In("a"))), 1},
	} {
		if got := must[int](t)(recs.Count(ctx, c.q)); got != c.want {
			t.Errorf("case %d: %d, want %d", i, got, c.want)
		}
	}
	if v := must[*rec](t)(recs.FindOne(ctx, name.Desc())); v.ID != 2 {
		t.Errorf("the last name is of %d", v.ID)
	}
	if v := must[*rec](t)(recs.FindOne(ctx, city.Asc(), name.Desc())); v.ID != 0 {
		t.Errorf("the first city is of %d", v.ID)
	}
	for what, q := range map[string]natsorm.Query{
		"order":              natsorm.Column(func(r *rec) *int { return &r.Hidden }).Desc(),
		"no column":          natsorm.Column(func(r *rec) *int { return &r.Hidden }).Eq(1),
		"elsewhere":          natsorm.Column(func(*rec) *int { return new(int) }).Eq(1),
		"nil":                natsorm.Column(func(*rec) *int { return nil }).Eq(1),
		"no function":        natsorm.Column[rec, int](nil).Eq(1),
		"panics":             natsorm.Column(func(*rec) *int { panic("no") }).Eq(1),
		"inside an And":      natsorm.And(id.Eq(1), natsorm.Column(func(*rec) *int { return nil }).Eq(1)),
		"not a struct":       natsorm.Column(func(i *int) *int { return i }).Eq(1),
		"a struct's part":    natsorm.Column(func(r *rec) *Base { return &r.Base }).IsNull(),
		"without primaryKey": natsorm.Column(func(r *struct{ c chan int }) *chan int { return &r.c }).IsNull(),
	} {
		if _, err := recs.FindAll(ctx, q); !errors.Is(err, natsorm.ErrSchema) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// JSON says the same.
	where := must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"id":{"gte":1},"or":[{"name":"b"},{"city":null}]}`)))
	if n := must[int](t)(recs.Count(ctx, where)); n != 1 {
		t.Errorf("%d by JSON", n)
	}
	if _, err := natsorm.ParseWhere([]byte(`{"id":{"near":1}}`)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// The conditions on elements are those of the functions of the same names, for named types of slices too.
func TestElementColumn(t *testing.T) {
	t.Parallel()
	type labels []string
	type rec struct {
		ID   int     `json:"id" orm:"primaryKey"`
		Tags labels  `json:"tags" orm:"index"`
		Nums []int64 `json:"nums"`
	}
	recs := define[rec](t, natsormtest.New(t))
	ctx := within(t)
	for i := range 10 {
		ok(t, recs.Create(ctx, &rec{i, labels{"all", fmt.Sprint("t", i%2)}, []int64{int64(i), int64(i + 1)}}))
	}
	tags, nums := natsorm.Elements(func(r *rec) *labels { return &r.Tags }), natsorm.Elements(func(r *rec) *[]int64 { return &r.Nums })
	for what, c := range map[string]struct {
		typed, named natsorm.Condition
		want         int
	}{
		"Contains":    {tags.Contains("t1"), natsorm.Contains("tags", "t1"), 5},
		"ContainsAny": {nums.ContainsAny(3, 7), natsorm.ContainsAny("nums", 3, 7), 4},
		"ContainsAll": {nums.ContainsAll(3, 4), natsorm.ContainsAll("nums", 3, 4), 1},
		"of none":     {tags.ContainsAny(), natsorm.ContainsAny("tags"), 0},
	} {
		typed, named := must[int](t)(recs.Count(ctx, c.typed)), must[int](t)(recs.Count(ctx, c.named))
		if typed != c.want || named != c.want {
			t.Errorf("%s: %d by the column, %d by its name, want %d", what, typed, named, c.want)
		}
	}
	if tags.Name() != "tags" {
		t.Errorf("the column is %q", tags.Name())
	}
	other := []string{}
	if _, err := recs.Count(ctx, natsorm.Elements(func(*rec) *[]string { return &other }).Contains("x")); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("no column: %v", err)
	}
}
