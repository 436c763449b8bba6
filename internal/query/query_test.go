package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
)

// random is a source of randomness whose seed is printed; NATSORM_SEED repeats a run.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("NATSORM_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("NATSORM_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// decode fails for a document that cannot be read, as a codec does.
func decode(r query.Record) (item, error) {
	var it item
	m := r.Message()
	if err := json.Unmarshal(m.Value, &it); err != nil {
		return it, &errs.CorruptError{Model: "Item", Key: m.Key, Err: err}
	}
	return it, nil
}

// ask is a random query: its Spec, and what plain Go makes of it.
type ask struct {
	spec  query.Spec
	is    func(item) bool
	order []plan.Sort
}

func randomAsk(r *rand.Rand) ask {
	a := ask{spec: query.NewSpec(), is: func(item) bool { return true }}
	for range r.IntN(3) {
		c, was := randomCondition(r, 2), a.is
		a.spec.Conditions = append(a.spec.Conditions, c.node)
		a.is = func(it item) bool { return was(it) && c.is(it) }
	}
	if r.IntN(4) > 0 {
		a.order = randomOrder(r)
		for _, s := range a.order[:len(a.order)-1] {
			name := items.Columns[s.Column].Name
			if s.Desc {
				name = "-" + name
			}
			a.spec.Order = append(a.spec.Order, name)
		}
		if len(a.order) == 1 {
			a.spec.Order = []string{"id"}
		}
	}
	if r.IntN(2) == 0 {
		a.spec.Limit = r.IntN(40)
	}
	if r.IntN(3) == 0 {
		a.spec.Offset = r.IntN(30)
	}
	return a
}

// randomOrder ends with the primary key, as bound orders do.
func randomOrder(r *rand.Rand) (out []plan.Sort) {
	for _, column := range r.Perm(3)[:r.IntN(3)] {
		out = append(out, plan.Sort{Column: column + 1, Desc: r.IntN(2) == 0})
	}
	return append(out, plan.Sort{Column: 0})
}

// whole is the items that a query selects without limit and offset, sorted.
func (a ask) whole(list []item) (out []item) {
	for _, it := range list {
		if !it.bad && a.is(it) {
			out = append(out, it)
		}
	}
	slices.SortFunc(out, func(x, y item) int { return compare(a.order, x, y) })
	return out
}

// page is whole with limit and offset.
func (a ask) page(list []item) []item {
	out := a.whole(list)
	out = out[min(a.spec.Offset, len(out)):]
	if a.spec.Limit >= 0 {
		out = out[:min(a.spec.Limit, len(out))]
	}
	return out
}

func ids(list []item) string {
	var b strings.Builder
	for _, it := range list {
		fmt.Fprint(&b, it.ID, " ")
	}
	return b.String()
}

// sources are the same items in every kind of source.
func sources(r *rand.Rand, list []item, order []plan.Sort) map[string]*memory {
	longer := append(slices.Clone(order), plan.Sort{Column: 3})
	other := append([]plan.Sort{{Column: 2, Desc: true}}, order...)
	out := map[string]*memory{
		"records":                {list: list},
		"keys":                   {list: list, keys: true},
		"rows":                   {list: list, rows: true},
		"rows in order":          sorted(list, order),
		"few rows":               {list: list, rows: true, few: true},
		"few rows in order":      sorted(list, order),
		"small chunks":           {list: list, keys: r.IntN(2) == 0, chunk: 1 + r.IntN(3)},
		"in order":               sorted(list, order),
		"in order, keys":         sorted(list, order),
		"in a longer order":      sorted(list, longer),
		"in the order of others": sorted(list, other),
	}
	out["in order, keys"].keys = true
	out["rows in order"].rows = true
	out["few rows in order"].rows, out["few rows in order"].few = true, true
	return out
}

func TestRandomQueries(t *testing.T) {
	t.Parallel()
	r := random(t)
	for range testsize.Pick(20, 50, 200) {
		list := randomItems(r, r.IntN(400))
		a := randomAsk(r)
		q, err := bind(a.spec)
		if err != nil {
			t.Fatal(err)
		}
		total, want := len(a.whole(list)), a.page(list)
		for name, src := range sources(r, list, a.order) {
			var got []item
			for it, err := range query.Select(context.Background(), src, q, r.IntN(2) == 0, decode) {
				if err != nil {
					t.Fatal(name, err)
				}
				got = append(got, it)
			}
			checkPage(t, name, a, list, got, want)

			page, n, unreadable, err := query.SelectAndCount(context.Background(), src, q, decode)
			if err != nil || len(unreadable) > 0 || n != total {
				t.Fatalf("%s: %d in all, %v, %v; want %d", name, n, unreadable, err, total)
			}
			checkPage(t, name, a, list, page, want)

			if n, err := query.Count(context.Background(), src, q); err != nil || n != len(want) {
				t.Fatalf("%s: counted %d, %v; want %d", name, n, err, len(want))
			}
		}
	}
}

// checkPage compares a result with what plain Go makes of the query. Without an order,
// any of the selected items may be on the page.
func checkPage(t *testing.T, source string, a ask, list, got, want []item) {
	t.Helper()
	if a.order != nil {
		if ids(got) != ids(want) {
			t.Fatalf("%s: %+v\ngot  %s\nwant %s", source, a.spec, ids(got), ids(want))
		}
		return
	}
	seen := map[int64]bool{}
	for _, it := range got {
		if seen[it.ID] || !a.is(it) {
			t.Fatalf("%s: %+v: item %d comes twice, or is not selected", source, a.spec, it.ID)
		}
		seen[it.ID] = true
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %+v: %d items; want %d", source, a.spec, len(got), len(want))
	}
}

// A source that promises the order is not read beyond what a limit needs.
func TestPromisedOrderStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	r := random(t)
	list := randomItems(r, 5000)
	order := []plan.Sort{{Column: 2}, {Column: 0}}
	a := ask{spec: query.NewSpec(), order: order, is: func(item) bool { return true }}
	a.spec.Order, a.spec.Limit, a.spec.Offset = []string{"f"}, 10, 5
	q, err := bind(a.spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range []bool{false, true} {
		src := sorted(list, order)
		src.keys = keys
		var got []item
		for it, err := range query.Select(context.Background(), src, q, true, decode) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, it)
		}
		checkPage(t, "in order", a, list, got, a.page(list))
		if n := src.given.Load(); n > 1000 {
			t.Errorf("%d records were given for a page of 15", n)
		}
	}
}

// Pages that follow each other by their cursors are the whole, whatever the source,
// also when records come and go between them.
func TestCursors(t *testing.T) {
	t.Parallel()
	r := random(t)
	for range testsize.Pick(6, 12, 50) {
		list := randomItems(r, 200)
		a := randomAsk(r)
		if a.order == nil {
			continue
		}
		a.spec.Limit, a.spec.Offset = 1+r.IntN(50), 0
		want := a.whole(list)
		for name, src := range sources(r, list, a.order) {
			var got []item
			for after := ""; ; {
				spec := a.spec
				spec.After = after
				q, err := bind(spec)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := query.Count(context.Background(), src, q); err != nil || n != min(a.spec.Limit, len(want)-len(got)) {
					t.Fatalf("%s: %d are behind the cursor, %v", name, n, err)
				}
				page, next, unreadable, err := query.Page(context.Background(), src, q, decode)
				if err != nil || len(unreadable) > 0 {
					t.Fatal(name, err, unreadable)
				}
				if got = append(got, page...); next == "" {
					break
				}
				after = next
			}
			if ids(got) != ids(want) {
				t.Fatalf("%s: %+v\ngot  %s\nwant %s", name, a.spec, ids(got), ids(want))
			}
		}
	}
}

func TestCursorsOfChangingRecords(t *testing.T) {
	t.Parallel()
	r := random(t)
	stay := randomItems(r, 300)
	spec := query.NewSpec()
	spec.Order, spec.Limit = []string{"-n", "text"}, 17
	seen := map[int64]int{}
	for after := ""; ; {
		spec.After = after
		q, err := bind(spec)
		if err != nil {
			t.Fatal(err)
		}
		come := randomItems(r, 100) // others each time
		for i := range come {
			come[i].ID += 10_000
		}
		page, next, _, err := query.Page(context.Background(), &memory{list: append(come, stay...)}, q, decode)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page {
			seen[it.ID]++
		}
		if after = next; next == "" {
			break
		}
	}
	for _, it := range stay {
		if seen[it.ID] != 1 {
			t.Errorf("item %d was on %d pages", it.ID, seen[it.ID])
		}
	}
}

func TestCursorOfAnotherQuery(t *testing.T) {
	t.Parallel()
	spec := query.NewSpec()
	spec.Order = []string{"n"}
	q, err := bind(spec)
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := query.MakeCursor(items, q, item{ID: 1}.message(1).Value, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*query.Spec){
		"direction": func(s *query.Spec) { s.Order = []string{"-n"} },
		"column":    func(s *query.Spec) { s.Order = []string{"n", "text"} },
		"condition": func(s *query.Spec) {
			s.Conditions = []cond.Node{{Op: cond.Eq, Column: "n", Values: []any{1}}}
		},
		"text":  func(s *query.Spec) { s.After = "x" + s.After },
		"short": func(s *query.Spec) { s.After = s.After[:5] },
	} {
		other := spec
		other.After = cursor
		change(&other)
		if _, err := bind(other); !errors.Is(err, query.ErrCursor) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := query.MakeCursor(items, q, item{ID: 1}.message(1).Value, []string{"id"}); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a cursor without the order's column: %v", err)
	}
	if _, err := query.MakeCursor(items, plan.Query{}, nil, nil); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a cursor without an order: %v", err)
	}
}

// A value that goes from record to record while they are read is found all the same,
// and no record comes twice.
func TestValuesThatChangeTheirRecord(t *testing.T) {
	t.Parallel()
	r := random(t)
	spec := query.NewSpec()
	spec.Conditions = []cond.Node{{Op: cond.Eq, Column: "n", Values: []any{1}}}
	for i := range 500 {
		spec.Order = nil
		if i%2 == 0 {
			spec.Order = []string{"text"}
		}
		q, err := bind(spec)
		if err != nil {
			t.Fatal(err)
		}
		src := newPassing(r, 1+r.IntN(20), r.IntN(10))
		seen := map[int64]bool{}
		for it, err := range query.Select(context.Background(), src, q, true, decode) {
			if err != nil {
				t.Fatal(err)
			}
			if seen[it.ID] {
				t.Fatalf("item %d comes twice", it.ID)
			}
			seen[it.ID] = true
		}
		if len(seen) == 0 {
			t.Fatalf("run %d: one has the value at every instant, and none was found", i)
		}
	}
}

func TestRandomGroups(t *testing.T) {
	t.Parallel()
	r := random(t)
	aggregates := []query.Aggregate{
		{Function: query.CountRecords}, {Function: query.Sum, Column: "n"}, {Function: query.Avg, Column: "f", Name: "mean", Named: true},
		{Function: query.Min, Column: "n"}, {Function: query.Max, Column: "id"},
	}
	for range 100 {
		list := randomItems(r, r.IntN(300))
		spec := query.NewSpec()
		c := randomCondition(r, 1)
		spec.Conditions = []cond.Node{c.node}
		spec.Order = []string{"-count", "text"}
		spec.Offset = r.IntN(3)
		if r.IntN(2) == 0 {
			spec.Limit = r.IntN(6)
		}
		want := naiveGroups(list, c.is)
		want = want[min(spec.Offset, len(want)):]
		if spec.Limit >= 0 {
			want = want[:min(spec.Limit, len(want))]
		}
		q, err := query.Bind(items, &spec, query.ForGroups)
		if err != nil {
			t.Fatal(err)
		}
		grouping, err := query.BindGroups(items, []string{"text"}, aggregates, spec)
		if err != nil {
			t.Fatal(err)
		}
		if names := strings.Join(grouping.Names, " "); names != "text count sum_n mean min_n max_id" {
			t.Fatal(names)
		}
		for name, src := range sources(r, list, []plan.Sort{{Column: 0}}) {
			groups, err := query.GroupBy(context.Background(), src, q, grouping)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range groups {
				got = append(got, groupText(g.By[0].Str(), g.Results[0].Count, g.Results[1].Float, g.Results[2].Float, g.Results[3].Value, g.Results[4].Value))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%s:\ngot  %v\nwant %v", name, got, want)
			}
		}
	}
}

func groupText(text string, count int, sum, mean float64, least, most value.Value) string {
	return fmt.Sprintf("%s: %d %.3f %.3f %s %s", text, count, sum, mean, least.Text(), most.Text())
}

// naiveGroups are groups by text, those with most records first.
func naiveGroups(list []item, is func(item) bool) (out []string) {
	groups := map[string][]item{}
	for _, it := range list {
		if is(it) {
			groups[it.Text] = append(groups[it.Text], it)
		}
	}
	var texts []string
	for text := range groups {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		if d := len(groups[b]) - len(groups[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, text := range texts {
		var sum, floats float64
		var n int
		least, most := value.Null, int64(math.MinInt64)
		for _, it := range groups[text] {
			if it.N != nil {
				sum += float64(*it.N)
				if least.IsNull() || *it.N < least.Int() {
					least = value.OfInt(*it.N)
				}
			}
			if it.F != nil {
				floats += *it.F
				n++
			}
			most = max(most, it.ID)
		}
		out = append(out, groupText(text, len(groups[text]), sum, floats/float64(n), least, value.OfInt(most)))
	}
	return out
}

// One group of nothing, and totals.
func TestTotals(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	seven := int64(7)
	src := &memory{list: []item{{ID: 1, N: &seven}, {ID: 2}, {ID: 3, N: &seven}}}
	q := plan.Where(nil)
	if r, err := query.Total(ctx, src, q, query.Sum, "n"); err != nil || r.Float != 14 {
		t.Error(r, err)
	}
	if r, err := query.Total(ctx, &memory{}, q, query.Avg, "n"); err != nil || !math.IsNaN(r.Float) {
		t.Error(r, err)
	}
	if _, err := query.Total(ctx, src, q, query.Sum, "text"); !errors.Is(err, errs.ErrInvalid) {
		t.Error(err)
	}
	if r, err := query.Total(ctx, src, q, query.Max, "text"); err != nil || r.Value.Str() != "" {
		t.Error(r, err)
	}
}

// Records that cannot be read are named, come last where there is an order, and hide
// none of the others.
func TestUnreadableRecords(t *testing.T) {
	t.Parallel()
	r := random(t)
	for range 50 {
		list := randomItems(r, 100)
		bad := 1 + r.IntN(4)
		for _, i := range r.Perm(len(list))[:bad] {
			list[i].bad = true
		}
		a := ask{spec: query.NewSpec(), is: func(item) bool { return true }, order: []plan.Sort{{Column: 1}, {Column: 0}}}
		a.spec.Order = []string{"n"}
		q, err := bind(a.spec)
		if err != nil {
			t.Fatal(err)
		}
		want := a.whole(list)
		src := &memory{list: list, keys: r.IntN(2) == 0, rows: r.IntN(2) == 0}
		var got []item
		unreadable := 0
		for it, err := range query.Select(context.Background(), src, q, true, decode) {
			switch {
			case errors.Is(err, errs.ErrCorrupt):
				unreadable++
			case err != nil:
				t.Fatal(err)
			case unreadable > 0:
				t.Fatal("a record comes after one that cannot be read")
			default:
				got = append(got, it)
			}
		}
		if unreadable != bad || ids(got) != ids(want) {
			t.Fatalf("%d unreadable; want %d\ngot  %s\nwant %s", unreadable, bad, ids(got), ids(want))
		}
		page, n, errors, err := query.SelectAndCount(context.Background(), src, q, decode)
		if err != nil || len(errors) != bad || n != len(want) || ids(page) != ids(want) {
			t.Fatal(n, errors, err)
		}
	}
}

// Sums are exact: they are rounded once, in the end, whatever order the terms come in.
func TestSumsAreRoundedOnce(t *testing.T) {
	t.Parallel()
	var list []item
	add := func(f float64) { list = append(list, item{ID: int64(len(list)), F: &f}) }
	add(-1.5)
	for range 1 << 15 {
		add(1 << 39)
	}
	add(3)
	for name, src := range map[string]*memory{"records": {list: list}, "rows": {list: list, rows: true, few: true}} {
		r, err := query.Total(context.Background(), src, plan.Where(nil), query.Sum, "f")
		if err != nil || r.Float != 1<<54 { // and 1.5 more, which is less than half of what follows
			t.Errorf("%s: the sum is %v, %v", name, r.Float, err)
		}
	}
}

// Breaking off ends what is under way; an error of the source ends the stream.
func TestBreakingOff(t *testing.T) {
	t.Parallel()
	r := random(t)
	src := &memory{list: randomItems(r, 2000), keys: true}
	n := 0
	for _, err := range query.Select(context.Background(), src, plan.Where(nil), false, decode) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			break
		}
	}
	if given := src.given.Load(); given > 500 {
		t.Errorf("%d were given to a caller who took 3", given)
	}
	broken := failing{src}
	var last error
	for _, err := range query.Select(context.Background(), broken, plan.Where(nil), true, decode) {
		if last != nil {
			t.Fatal("the stream goes on after an error")
		}
		last = err
	}
	if !errors.Is(last, errBroken) {
		t.Error(last)
	}
}

var errBroken = errors.New("broken")

// failing is a source that reads no records.
type failing struct{ *memory }

func (f failing) Candidates(ctx context.Context, q plan.Query, all bool) (query.Candidates, error) {
	c, err := f.memory.Candidates(ctx, q, all)
	c.Get = func(context.Context, []string, func(int, store.Message)) error { return errBroken }
	return c, err
}

// What a query says is held against its use and its model.
func TestBinding(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec query.Spec
		use  query.Use
		want error
	}{
		"change without condition": {query.Spec{Limit: -1}, query.ForChange, errs.ErrMissingWhere},
		"change of all":            {query.Spec{Limit: -1, All: true}, query.ForChange, nil},
		"cursor for groups":        {query.Spec{Limit: -1, After: "x"}, query.ForGroups, errs.ErrInvalid},
		"cursor without order":     {query.Spec{Limit: -1, After: "x"}, query.ForRead, errs.ErrInvalid},
		"order for a watch":        {query.Spec{Limit: -1, Order: []string{"n"}}, query.ForWatch, errs.ErrInvalid},
		"unknown column":           {query.Spec{Limit: -1, Order: []string{"x"}}, query.ForRead, errs.ErrInvalid},
		"first mistake":            {query.Spec{Limit: -1, Err: errBroken}, query.ForRead, errBroken},
	} {
		if _, err := query.Bind(items, &c.spec, c.use); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	spec := query.NewSpec()
	spec.Select, spec.Order = []string{"TEXT"}, []string{"-N", "n"}
	q, err := bind(spec)
	if err != nil || spec.Select[0] != "text" || !slices.Equal(q.Order, []plan.Sort{{Column: 1, Desc: true}, {Column: 0}}) {
		t.Errorf("%v, %v, %v", spec.Select, q.Order, err)
	}
}
