package access_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/internal/value"
)

// A record that leaves its place for the end of an order, and one that comes from there, while a page is
// read: the page is that of one moment.
func TestPageOfRecordsThatMove(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Indexes = append(def.Indexes, schema.NewIndex(schema.OrderedIndex, "user"))
	w := begin(t, def, 3000)
	src := w.source()
	q := plan.Query{Order: []plan.Sort{{Column: def.Position("user"), Desc: true}, {Column: def.PrimaryKey()}}, Limit: 5}
	p, err := src.Explain(w.ctx, q)
	w.must(err)
	if p.Path != plan.Range || !p.Sorted || !p.Desc {
		t.Fatalf("the path is %s", p.Path)
	}
	if ids, used := w.findAtOnce(src, q); !slices.Equal(ids, []string{"2990", "2991", "2992", "2993", "2994"}) || planned(used) > 4 {
		t.Fatalf("before: %v, with %d requests", ids, planned(used))
	}
	with := func(id, user int) string {
		return strings.Replace(visit(id), fmt.Sprintf(`"user":%d`, id/10), fmt.Sprintf(`"user":%d`, user), 1)
	}
	after, _ := w.find(&moving{Source: src, move: func() {
		w.change(5, with(5, 299))
		w.change(2992, with(2992, 0))
	}}, q)
	if want := []string{"5", "2990", "2991", "2993", "2994"}; !slices.Equal(after, want) {
		t.Errorf("%v, want %v", after, want)
	}
}

// A page is as cheap where a value is that most records have as elsewhere, and after any place.
func TestPagesOfOneValue(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Indexes = append(def.Indexes, schema.NewIndex(schema.OrderedIndex, "kind"))
	w := begin(t, def, many)
	src := w.source()
	for _, desc := range []bool{false, true} {
		q := plan.Query{Order: []plan.Sort{{Column: def.Position("kind"), Desc: desc}, {Column: def.PrimaryKey()}}, Limit: 20}
		var got []string
		for len(got) < many {
			ids, used := w.findAtOnce(src, q)
			if n := int(used.Keys.Load()); n > 700 || len(ids) != 20 {
				t.Fatalf("%d keys were read for %d records after %d", n, len(ids), len(got))
			}
			got = append(got, ids...)
			last := got[len(got)-1]
			var id int64
			_, err := fmt.Sscan(last, &id)
			w.must(err)
			kind := "all"
			if id%10 == 0 {
				kind = "rare"
			}
			q.After = []value.Value{value.OfString(kind), value.OfInt(id)}
		}
		want := make([]string, 0, many)
		for _, rare := range []bool{desc, !desc} {
			for id := range many {
				if (id%10 == 0) == rare {
					want = append(want, fmt.Sprint(id))
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("desc %t: %d records in another order", desc, len(got))
		}
	}
}

// An order begins, and ends, with parts of an index in which few records are, or none. They are
// found to be so with one request, however many they are.
func TestPagesBesideEmptyParts(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Columns[def.Position("user")].ZeroNull = true // null, and 0, which has 10 visits, are a part of their own
	def.Indexes = append(def.Indexes, schema.NewIndex(schema.OrderedIndex, "user"), schema.NewIndex(schema.OrderedIndex, "page"))
	w := begin(t, def, many)
	user, page, id := def.Position("user"), def.Position("page"), def.PrimaryKey()
	at := func(column, n int, desc bool) plan.Query {
		return plan.Query{Order: []plan.Sort{{Column: column, Desc: desc}, {Column: id}}, Limit: n}
	}
	for _, c := range []struct {
		name     string
		query    plan.Query
		first    []string
		requests int
	}{
		// The samples of all parts; the entries of those that have none; a level of samples; entries;
		// records, of each of the two; and two for what was written.
		{"ascending", at(user, 12, false), []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}, 8},
		{"descending", at(user, 3, true), []string{"3990", "3991", "3992"}, 5},
		{"null first", plan.Query{Order: []plan.Sort{{Column: page}, {Column: id}}, Limit: 3}, []string{"0", "10", "20"}, 7},
	} {
		src := w.source()
		if ids, used := w.findAtOnce(src, c.query); !slices.Equal(ids, c.first) || planned(used) > c.requests {
			t.Errorf("%s: %v, with %d requests of at most %d", c.name, ids, planned(used), c.requests)
		}
	}
	// A page that is longer than all there is reads both ends.
	src := w.source()
	q := at(user, 5000, true)
	q.Filter = &cond.Bound{Op: cond.Lte, Column: user, Values: []value.Value{value.OfInt(20)}}
	if ids, used := w.findAtOnce(src, q); len(ids) != 210 || ids[0] != "200" || ids[209] != "9" || planned(used) > 6 {
		t.Errorf("%d records, with %d requests", len(ids), planned(used))
	}
}

// A long list of values takes requests by how many entries it has, not one for each value: also when nothing
// is known of it, in another branch of the condition, and in order.
func TestLongListsOfAnOrderedIndex(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Indexes = []schema.Index{schema.NewIndex(schema.OrderedIndex, "user"), schema.NewIndex(schema.OrderedIndex, "page")}
	w := begin(t, def, many)
	user, page := def.Position("user"), def.Position("page")
	in := &cond.Bound{Op: cond.In, Column: user}
	for n := range 200 {
		in.Values = append(in.Values, value.OfInt(int64(2*n)))
	}
	most := &cond.Bound{Op: cond.In, Column: user} // it takes several requests, of as many values each
	for n := range 800 {
		most.Values = append(most.Values, value.OfInt(int64(n)))
	}
	either := &cond.Bound{Op: cond.Or, Kids: []*cond.Bound{in, {Op: cond.Eq, Column: page, Values: []value.Value{value.OfInt(3)}}}}
	order := []plan.Sort{{Column: user, Desc: true}, {Column: def.PrimaryKey()}}
	for _, c := range []struct {
		name              string
		query             plan.Query
		records, requests int
	}{
		{"all", plan.Where(in), 2000, 20}, // 2 to 4 for the entries, and 8 for the records
		{"all that there are", plan.Where(most), 4000, 30},
		{"or another", plan.Where(either), 2200, 24},
		{"the first", plan.Query{Filter: in, Order: order, Limit: 20}, 20, 8},
		{"any", plan.Query{Filter: in, Limit: 20}, 20, 8},
	} {
		if ids, used := w.findAtOnce(w.source(), c.query); len(ids) != c.records || planned(used) > c.requests {
			t.Errorf("%s: %d records, with %d requests of at most %d", c.name, len(ids), planned(used), c.requests)
		}
	}
}

// A range and another index, or two ranges, are intersected where that is cheaper, and Explain says so; also where
// one of them is more than a request gives.
func TestRangesAreIntersected(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Indexes = []schema.Index{
		schema.NewIndex(schema.OrderedIndex, "user"), schema.NewIndex(schema.OrderedIndex, "os", "page"),
		schema.NewIndex(schema.PlainIndex, "browser"), schema.NewIndex(schema.OrderedIndex, "kind"),
	}
	w := begin(t, def, many)
	atLeast := func(column string, n any) cond.Node { return cond.Node{Op: cond.Gte, Column: column, Values: []any{n}} }
	for _, c := range []struct {
		name string
		node cond.Node
		path plan.Path
		want func(id int) bool
	}{
		{"with a value of another index", and(atLeast("user", 350), eq("browser", 3)), plan.Intersect, func(id int) bool { return id/10 >= 350 && id/7%10 == 3 }},
		{"with another range", and(atLeast("user", 360), in("os", "os0", "os1", "os2", "os3", "os4", "os5", "os6", "os7", "os8", "os9"), eq("page", 9)), plan.Intersect, func(id int) bool { return id/10 >= 360 && id%10 == 9 }},
		{"of many entries", and(atLeast("user", 250), eq("browser", 3)), plan.Index, func(id int) bool { return id/10 >= 250 && id/7%10 == 3 }},
		{"which one has few of", and(atLeast("user", 398), eq("browser", 3)), plan.Range, func(id int) bool { return id/10 >= 398 && id/7%10 == 3 }},
		{"of nothing", and(atLeast("user", 1000), eq("browser", 3)), plan.Range, func(int) bool { return false }},
		{"of one column", and(atLeast("user", 350), cond.Node{Op: cond.Lt, Column: "user", Values: []any{360}}), plan.Range, func(id int) bool { return id/10 >= 350 && id/10 < 360 }},
	} {
		src := w.source()
		_, err := src.Count(w.ctx) // then it is known how small a part of the model a range is
		w.must(err)
		q := w.where(c.node)
		var want []string
		for id := range many {
			if c.want(id) {
				want = append(want, fmt.Sprint(id))
			}
		}
		for range 2 { // the second time more is known
			ids, _ := w.findAtOnce(src, q)
			slices.Sort(ids)
			if slices.Sort(want); !slices.Equal(ids, want) {
				t.Errorf("%s: %d records, want %d", c.name, len(ids), len(want))
			}
		}
		p, err := src.Explain(w.ctx, q)
		w.must(err)
		if p.Path != c.path {
			t.Errorf("%s: %s, %v", c.name, p.Path, p.Cost)
		}
	}
}

// Explain says what a range takes, and what the samples took that it is planned by. Of a page it says about
// what it takes: nobody knows what is between two samples.
func TestExplainOfRanges(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Indexes = []schema.Index{schema.NewIndex(schema.OrderedIndex, "user")}
	w := begin(t, def, many)
	order := []plan.Sort{{Column: def.Position("user"), Desc: true}, {Column: def.PrimaryKey()}}
	page := plan.Query{Order: order, Limit: 20}
	below := w.where(cond.Node{Op: cond.Lt, Column: "user", Values: []any{300}})
	below.Order, below.Limit = order, 20
	for _, c := range []struct {
		name    string
		query   plan.Query
		samples bool // they are needed, and not known
		about   bool
	}{
		{"a few", w.where(cond.Node{Op: cond.Lt, Column: "user", Values: []any{30}}), true, false},
		{"many", w.where(cond.Node{Op: cond.Gte, Column: "user", Values: []any{300}}), true, true},
		{"a page", page, false, true},
		{"a page of a part", below, true, true},
	} {
		src := w.source()
		_, err := src.Count(w.ctx)
		w.must(err)
		var used usage.Usage
		p, err := src.Explain(usage.Measured(w.ctx, &used), c.query)
		w.must(err)
		if n := p.Samples.Requests; (n > 0) != c.samples || n > int(used.Requests.Load()) || (n > 0) != (p.Samples.Keys > 0) {
			t.Errorf("%s: samples took %+v of %d requests", c.name, p.Samples, used.Requests.Load())
		}
		again, err := src.Explain(w.ctx, c.query)
		w.must(err)
		if again.Samples.Requests > 0 || again.Path != plan.Range {
			t.Errorf("%s: once more, by %s, samples took %+v", c.name, again.Path, again.Samples)
		}
		_, now := w.findAtOnce(src, c.query)
		requests, read := planned(now)-again.Cost.Requests, float64(now.Keys.Load())/float64(again.Cost.Keys)
		if !c.about && (requests != 0 || read != 1) || max(requests, -requests) > 2 || read > 2.5 || read < 0.4 {
			t.Errorf("%s: %d requests and %d keys, and Explain says %d and %d", c.name, planned(now), now.Keys.Load(), again.Cost.Requests, again.Cost.Keys)
		}
	}
}

// A range in which no value can be asks for nothing, and finds nothing: once samples were asked for without
// a pattern.
func TestRangesOfNothing(t *testing.T) {
	t.Parallel()
	def := visits(schema.Native)
	def.Columns[def.Position("user")].ZeroNull = true
	def.Indexes = []schema.Index{schema.NewIndex(schema.OrderedIndex, "user"), schema.NewIndex(schema.OrderedIndex, "kind"), schema.NewIndex(schema.PlainIndex, "page")}
	w := begin(t, def, 600)
	between := func(column string, from, to any) cond.Node {
		return and(cond.Node{Op: cond.Gt, Column: column, Values: []any{from}}, cond.Node{Op: cond.Lt, Column: column, Values: []any{to}})
	}
	null := cond.Node{Op: cond.IsNull, Column: "user"}
	for name, n := range map[string]cond.Node{
		"between a value and a smaller one": between("user", 9, 3),
		"between two texts":                 between("kind", "b", "a"),
		"between a value and itself":        between("user", 9, 9),
		"null where there is none":          null,
		"of one prefix and after it":        and(cond.Node{Op: cond.StartsWith, Column: "kind", Values: []any{"a"}}, cond.Node{Op: cond.Gt, Column: "kind", Values: []any{"b"}}),
		"and another index":                 and(between("user", 9, 3), eq("page", 3)),
		"and null":                          and(null, eq("page", 3)),
	} {
		for _, desc := range []bool{false, true} {
			q := w.where(n)
			if desc {
				q.Order, q.Limit = []plan.Sort{{Column: def.Position("user"), Desc: true}, {Column: def.PrimaryKey()}}, 20
			}
			if ids, _ := w.find(w.source(), q); len(ids) > 0 {
				t.Errorf("%s: %v", name, ids)
			}
			_, err := w.source().Explain(w.ctx, q)
			w.must(err)
		}
	}
}
