package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
}

// purchase is a record with members that are indexed.
type purchase struct {
	ID      int64   `json:"id" orm:"primaryKey"`
	Address *street `json:"address"`
	Items   []struct {
		SKU  string   `json:"sku"`
		N    int      `json:"n"`
		Tags []string `json:"tags,omitempty"`
	} `json:"items"`
	Extra map[string]float64 `json:"extra,omitempty"`
	Any   any                `json:"any,omitempty"`
	When  struct {
		At    time.Time `json:"at"`
		Whole int       `json:"whole,string"`
	} `json:"when"`
	Note string `json:"note"`
}

type street struct {
	Name string  `json:"street"`
	City string  `json:"city"`
	In   *street `json:"in,omitempty"`
}

// The keys of indexes of members, and what the catalogue says of them, as docs/format.md has them.
func TestGoldenMembers(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type User struct {
		ID      int     `json:"id" orm:"primaryKey"`
		Address *street `json:"address"`
	}
	users := define[User](t, db, natsorm.Shards(16), natsorm.Index("address.in.city"))
	ok(t, users.Create(ctx, &User{ID: 1, Address: &street{City: "Oslo", In: &street{City: "St. Hans"}}}))
	ok(t, users.Create(ctx, &User{ID: 2, Address: &street{City: "Oslo"}}))
	if got := entriesOf(t, ctx, db, "User"); !slices.Equal(got, []string{"address=_in=_city=each.St__Hans=noXeQBLwV5WLtLJR9jh9gQ.1"}) {
		t.Errorf("the entries are %v", got)
	}
	const catalogue = `{"format":6,"name":"User","layout":"native","shards":16,"columns":[{"name":"id","type":"int","primaryKey":true},{"name":"address","type":"json"}],` +
		`"indexes":[{"name":"address=_in=_city=each","columns":["address.in.city"],"state":"ready","elements":"string"}]}`
	e, err := db.KV().Get(ctx, "_schema.User")
	ok(t, err)
	if string(e.Value()) != catalogue {
		t.Errorf("the catalogue has\n%s\nwant\n%s", e.Value(), catalogue)
	}
	// What the schema says can be declared.
	s := users.Schema()
	again := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, another(t, db), s))
	if diff := cmp.Diff(s, again.Schema()); diff != "" {
		t.Error(diff)
	}
	if n := must[int](t)(again.Count(ctx, natsorm.Eq("address.in.city", "St. Hans"))); n != 1 {
		t.Errorf("%d are in St. Hans", n)
	}
}

// An index of members finds the records that a scan finds, whatever is on the path, and lives as other
// indexes do.
func TestIndexesOfMembers(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		options := []natsorm.ModelOption{natsorm.Index("address.city"), natsorm.Index("ITEMS.sku"), natsorm.Index("items.n"), natsorm.Index("items.tags"), natsorm.Index("extra.x")}
		m := define[purchase](t, db)
		for i := range 12 {
			p := &purchase{ID: int64(i), Note: fmt.Sprint("note ", i)}
			if i%3 > 0 {
				p.Address = &street{City: []string{"", "Oslo", "Bergen"}[i%3]}
			}
			for n := range i % 4 {
				p.Items = append(p.Items, struct {
					SKU  string   `json:"sku"`
					N    int      `json:"n"`
					Tags []string `json:"tags,omitempty"`
				}{fmt.Sprint("sku ", n), i, []string{"a", fmt.Sprint(n)}})
			}
			if i == 7 {
				p.Extra = map[string]float64{"x": 0.5}
			}
			ok(t, m.Create(ctx, p))
		}
		// Other programs may write what the Go type would not.
		raw := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, m.Schema()))
		ok(t, raw.Create(ctx, &natsorm.Record{"id": 12, "address": []any{map[string]any{"city": 7}, map[string]any{"city": "Oslo"}, map[string]any{"city": "Rome"}}, "items": "none"}))
		queries := []natsorm.Condition{
			natsorm.Eq("address.city", "Oslo"), natsorm.In("address.city", "Oslo", "Bergen"), natsorm.Eq("address.city", 7), natsorm.Eq("address.city", ""),
			natsorm.Eq("items.sku", "sku 1"), natsorm.Where{"items.sku": "sku 0", "address.city": "Oslo"},
			natsorm.And(natsorm.Eq("items.tags", "a"), natsorm.Eq("items.tags", "2")), natsorm.Eq("items.n", 5.0), natsorm.In("items.n", 5, 6, 7),
			natsorm.Or(natsorm.Eq("extra.x", 0.5), natsorm.Eq("items.n", 9)), natsorm.Eq("address", nil), natsorm.IsNull("address.city"), natsorm.In("address.city", "Oslo", nil),
		}
		paths := []string{"index", "index", "scan", "index", "index", "index", "index", "index", "index", "union", "scan", "scan", "scan"}
		find := func(q natsorm.Query) (ids []int64) {
			t.Helper()
			for _, r := range must[[]*natsorm.Record](t)(raw.FindAll(ctx, q, natsorm.OrderBy("id"), natsorm.Select("id"))) {
				ids = append(ids, (*r)["id"].(int64))
			}
			return ids
		}
		var before [][]int64
		for _, q := range queries {
			before = append(before, find(q))
		}
		if !slices.Equal(before[0], []int64{1, 4, 7, 10, 12}) || !slices.Equal(before[2], []int64{12}) {
			t.Errorf("without indexes %v and %v are found", before[0], before[2])
		}
		m = define[purchase](t, db, options...) // built over what is there
		same := func(when string) {
			t.Helper()
			for i, q := range queries {
				if got := find(q); !slices.Equal(got, before[i]) {
					t.Errorf("%s: %+v finds %v, want %v", when, q, got, before[i])
				}
				plan := must[natsorm.Plan](t)(must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, another(t, db), m.Schema())).Explain(ctx, q))
				if path := plan.Access.Path; path != paths[i] && path != "intersect" {
					t.Errorf("%s: %+v: %s", when, q, plan)
				}
			}
		}
		same("built")
		// Entries follow the records, also through a transaction that reads what it has written.
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			ok(t, m.Create(ctx, &purchase{ID: 20, Address: &street{City: "Oslo"}}))
			if n := must[int](t)(m.Count(ctx, natsorm.Eq("address.city", "Oslo"))); n != 6 {
				t.Errorf("%d within the transaction", n)
			}
			_, err := m.Update(ctx, natsorm.Set{"address": &street{City: "Rome"}}, natsorm.Eq("id", 20))
			return err
		}))
		if n := must[int](t)(m.Count(ctx, natsorm.Eq("address.city", "Rome"))); n != 2 {
			t.Errorf("%d are in Rome", n)
		}
		must[int](t)(m.Destroy(ctx, natsorm.Eq("id", 20)))
		same("written")
		// A renamed column takes its indexes along, and a dropped index leaves nothing.
		ok(t, db.Alter(ctx, "purchase", natsorm.RenameColumn("address", "place")))
		if n := must[int](t)(raw.Count(ctx, natsorm.Eq("place.city", "Oslo"))); n != 5 {
			t.Errorf("%d are in Oslo after the renaming", n)
		}
		if p := must[natsorm.Plan](t)(raw.Explain(ctx, natsorm.Eq("place.city", "Oslo"))); len(p.Access.Lookups) != 1 || !strings.Contains(p.String(), "place.city") {
			t.Errorf("after the renaming: %s", p)
		}
		if err := db.Alter(ctx, "purchase", natsorm.DropColumn("place")); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "place.city") {
			t.Errorf("dropped a column with an index of its members: %v", err)
		}
		ok(t, db.Alter(ctx, "purchase", natsorm.DropIndex("PLACE.city")))
		for _, e := range entriesOf(t, ctx, db, "purchase") {
			if strings.HasPrefix(e, "address=_city") {
				t.Errorf("%s is left", e)
			}
		}
		// What comes late to the index that is gone is swept, and so is what no record needs in one that is there.
		for _, e := range []string{"address=_city=each.Oslo.1", "address=_in=_city=each.Oslo.1", "items=_sku=each.sku_9.1"} {
			must[uint64](t)(db.KV().PutString(ctx, "purchase.index."+e, ""))
		}
		if swept := must[natsorm.Swept](t)(db.Sweep(ctx)); swept != (natsorm.Swept{Entries: 1, Leftovers: 2}) {
			t.Errorf("%+v was swept", swept)
		}
	})
}

// What cannot be an index of members is refused, and the error says what can.
func TestMistakesWithIndexesOfMembers(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	for _, c := range []struct {
		option natsorm.ModelOption
		want   string
	}{
		{natsorm.Index("gone.city"), `column "gone" does not exist`},
		{natsorm.Index("note.city"), "has type string, and so no members"},
		{natsorm.Index("address.town"), "no field that is called town in JSON"},
		{natsorm.Index("address.city.x"), "has no member x"},
		{natsorm.Index("address"), "cannot be indexed"},
		{natsorm.Index("address.in"), "cannot be looked for inside of a column"},
		{natsorm.Index("any.x"), "what x has is not known"},
		{natsorm.Index("when.at"), "type time.Time cannot be looked for"},
		{natsorm.Index("when.whole"), `json option "string"`},
		{natsorm.Index("extra._x"), "begins with _"},
		{natsorm.Index("address.city", "note"), "give address.city an index of its own"},
		{natsorm.Unique("address.city"), "none of unique, ordered and folded"},
		{natsorm.Ordered("address.city"), "none of unique, ordered and folded"},
	} {
		if _, err := natsorm.Define[purchase](ctx, db, c.option); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "purchase") {
			t.Errorf("want %q: %v", c.want, err)
		}
	}
	s := natsorm.Schema{Name: "Loose", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "doc", Type: natsorm.JSON}}}
	for _, c := range []struct {
		layout natsorm.Layout
		list   []natsorm.IndexSchema
		want   string
	}{
		{"", []natsorm.IndexSchema{{Columns: []string{"doc.a"}}}, "say it in IndexSchema.Elements"},
		{"", []natsorm.IndexSchema{{Columns: []string{"doc.a"}, Elements: natsorm.Time}}, "elements of type"},
		{"", []natsorm.IndexSchema{{Columns: []string{"doc."}, Elements: natsorm.Int}}, "empty name"},
		{"", []natsorm.IndexSchema{{Columns: []string{"doc.a"}, Elements: natsorm.Int}, {Columns: []string{"doc.a"}, Elements: natsorm.String}}, "elements of type int, and of type string"},
		{"sequelize", []natsorm.IndexSchema{{Columns: []string{"doc.a"}, Elements: natsorm.Int}}, "Sequelize layout"},
	} {
		s.Layout, s.Indexes = c.layout, c.list
		if _, err := natsorm.DefineRecord(ctx, db, s); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q: %v", c.want, err)
		}
	}
	s.Layout, s.Indexes = "", []natsorm.IndexSchema{{Columns: []string{"doc.a"}, Elements: natsorm.Int}}
	must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s))
	if _, err := natsorm.DefineRecord(ctx, db, s, natsorm.SequelizeLayout()); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("the Sequelize layout took an index of members: %v", err)
	}
	m := define[purchase](t, another(t, db), natsorm.Index("items.n"))
	p := &purchase{ID: 1}
	for i := range 257 {
		p.Items = append(p.Items, struct {
			SKU  string   `json:"sku"`
			N    int      `json:"n"`
			Tags []string `json:"tags,omitempty"`
		}{N: i})
	}
	if err := m.Create(ctx, p); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "items.n") {
		t.Errorf("257 values were taken: %v", err)
	}
}
