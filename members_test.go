package natsorm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// Conditions name what is inside of structs, maps and lists of them.
func TestMembers(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type item struct {
		SKU string `json:"sku"`
		N   int    `json:"n"`
	}
	type order struct {
		ID      int64 `json:"id" orm:"primaryKey"`
		Address struct {
			City string  `json:"city"`
			Zip  *string `json:"zip"`
		} `json:"address"`
		Items []item         `json:"items"`
		Extra map[string]any `json:"extra,omitempty"`
		Open  bool           `json:"open" orm:"index"`
	}
	orders := define[order](t, db)
	for i, city := range []string{"Oslo", "Bergen", "Oslo"} {
		o := &order{ID: int64(i), Open: i < 2}
		o.Address.City = city
		if i > 0 {
			o.Address.Zip = ptr("015" + string(rune('0'+i)))
			o.Items = []item{{"x", i}, {"y", 10 * i}}
			o.Extra = map[string]any{"by": "ann", "at": i}
		}
		ok(t, orders.Create(ctx, o))
	}
	for _, c := range []struct {
		q    natsorm.Condition
		want []int64
	}{
		{natsorm.Eq("address.city", "Oslo"), []int64{0, 2}},
		{natsorm.Where{"address.city": []string{"Oslo", "Rome"}, "open": true}, []int64{0}},
		{natsorm.Ne("address.city", "Oslo"), []int64{1}},
		{natsorm.StartsWith("address.zip", "015"), []int64{1, 2}},
		{natsorm.IsNull("address.zip"), []int64{0}},
		{natsorm.Eq("items.sku", "y"), []int64{1, 2}},
		{natsorm.Gt("items.n", 10), []int64{2}},
		{natsorm.Not(natsorm.Gt("items.n", 10)), []int64{1}},
		{natsorm.Between("items.n", 3, 9), nil},
		{natsorm.In("extra.at", 1.0, nil), []int64{0, 1}},
		{must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"extra.by":{"iLike":"ANN"},"items.n":{"lt":2}}`))), []int64{1}},
	} {
		var got []int64
		for _, o := range must[[]*order](t)(orders.FindAll(ctx, c.q, natsorm.OrderBy("id"))) {
			got = append(got, o.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v finds %v, want %v", c.q, got, c.want)
		}
	}
	p := must[natsorm.Plan](t)(orders.Explain(ctx, natsorm.Eq("open", false), natsorm.Eq("address.city", "Oslo")))
	if !strings.Contains(p.String(), `filter open = false and address.city = "Oslo"`) {
		t.Errorf("the plan is\n%s", p)
	}
	if n := must[int](t)(orders.Update(ctx, natsorm.Set{"open": false}, natsorm.Eq("address.city", "Oslo"))); n != 2 {
		t.Errorf("%d were changed", n)
	}
	if n := must[int](t)(orders.Destroy(ctx, natsorm.Eq("items.sku", "x"), natsorm.Eq("address.city", "Bergen"))); n != 1 {
		t.Errorf("%d were destroyed", n)
	}
	for _, c := range []struct {
		q    natsorm.Query
		want string
	}{
		{natsorm.Contains("address.city", "O"), "use eq for an element of a list"},
		{natsorm.Eq("open.x", 1), "order: open: has type bool, and so no member"},
		{natsorm.Eq("adress.city", "x"), "no such column"},
		{natsorm.OrderBy("address.city"), "no such column"},
	} {
		if _, err := orders.FindAll(ctx, c.q); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
	if _, err := orders.Update(ctx, natsorm.Set{"address.city": "x"}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("Set of a member: %v", err)
	}
	if _, err := natsorm.Define[order](ctx, db, natsorm.Index("address.city")); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "address.city") {
		t.Errorf("an index of a member: %v", err)
	}
}
