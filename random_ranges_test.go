package natsorm_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// wideDomains are values at the edges of what each type can have, and around them.
func wideDomains(r *rand.Rand) map[string][]any {
	out := map[string][]any{"bool": {true, false}}
	for _, i := range []int64{0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 31, 1 << 32, 1 << 53, math.MaxInt64 - 1} {
		out["int"] = append(out["int"], i, i+1, -i, -i-1)
		out["uint"] = append(out["uint"], uint64(i), uint64(i)*2+1)
	}
	out["int"] = append(out["int"], int64(math.MinInt64))
	for _, f := range []float64{0, 1, 1.5, 0.1, 1e-310, math.SmallestNonzeroFloat64, math.MaxFloat64, 1e300, 1 << 53} {
		out["float"] = append(out["float"], f, -f, math.Nextafter(f, 0))
	}
	for _, d := range []string{"0", "1", "1.0", "1.25", "1.205", "99.9", "1e400", "1e-400", "0." + strings.Repeat("3", 50), "0." + strings.Repeat("3", 51), "12345678901234567890.1"} {
		out["decimal"] = append(out["decimal"], json.Number(d), json.Number("-"+d))
	}
	for _, s := range []string{"", "a", "a\x00", "ab", "b", "A", "é", "𝄞", "\U0010FFFF", "%", "a_b", strings.Repeat("a", 31), strings.Repeat("a", 32), strings.Repeat("a", 33), strings.Repeat("a", 32) + "b", strings.Repeat("x", 10_000)} {
		out["string"] = append(out["string"], s)
		out["bytes"] = append(out["bytes"], []byte(s), []byte(s+"\xff"))
	}
	for _, at := range []time.Time{{}, time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0), time.Date(2026, 11, 27, 1, 2, 3, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		for _, ns := range []int{0, 1, 100, 123456789, 999999999} {
			out["time"] = append(out["time"], at.Add(time.Duration(ns)).UTC())
		}
	}
	out["folded"] = domains["folded"]
	for i := range 300 { // and many that are none of these
		out["int"] = append(out["int"], int64(i*7-900))
		out["float"] = append(out["float"], float64(i)/7)
		out["string"] = append(out["string"], fmt.Sprintf("name %d", r.IntN(1000)))
		out["time"] = append(out["time"], time.Date(2026, 1, 1, 0, 0, r.IntN(1e7), 0, time.UTC))
	}
	return out
}

// TestRandomRanges asks a model in which every column has an ordered index for ranges, prefixes, sorted
// pages and what follows a cursor, and compares the answers, and their order, with Go's. NATSORM_SEED
// repeats a run.
func TestRandomRanges(t *testing.T) {
	t.Parallel()
	worlds, cases, records := testsize.Pick(2, 3, 3), testsize.Pick(150, 150, 400), testsize.Pick(1500, 1500, 2500)
	if testbed.Race {
		worlds, cases, records = 1, 150, 1500
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("NATSORM_SEED"); s != "" {
		seed = must[uint64](t)(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("seed %d", seed)
	paths := pathCounts{}
	db := natsormtest.New(t)
	t.Run("world", func(t *testing.T) {
		for n := range worlds {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				w := newWorldOf(t, db, r, n, records, wideDomains(r), 4) // with ordered indexes
				for range cases {
					w.checkRange(t, &paths)
					if t.Failed() {
						t.Fatalf("NATSORM_SEED=%d, world %d", seed, n)
					}
				}
			})
		}
	})
	t.Logf("paths %v", paths.n)
	for _, path := range []string{"ordered index", "ordered index, sorted"} {
		if paths.n[path] == 0 {
			t.Errorf("no query took the path %s", path)
		}
	}
}

// checkRange asks one random query that an ordered index can answer.
func (w *world) checkRange(t *testing.T, paths *pathCounts) {
	r := w.r
	column := w.columns[r.IntN(len(w.columns))]
	of := &world{r: r, columns: []natsorm.ColumnSchema{column}, records: w.records, domains: w.domains, of: w.of}
	cond, matches := natsorm.And(), func(natsorm.Record) truth { return yes }
	for range r.IntN(3) {
		c, j := of.condition(0)
		if r.IntN(4) == 0 {
			c, j = w.condition(1)
		}
		before := matches
		cond, matches = natsorm.And(cond, c), func(rec natsorm.Record) truth { return min(before(rec), j(rec)) }
	}
	if r.IntN(3) == 0 { // what Ordered(first, second) is for
		at := 2 + r.IntN(2)
		first, x := w.columns[at], w.value(w.columns[at])
		column = w.columns[[]int{1, 2}[at-2]]
		before := matches
		cond = natsorm.And(cond, natsorm.Eq(first.Name, x))
		matches = func(rec natsorm.Record) truth {
			if rec[first.Name] == nil {
				return min(before(rec), unknown)
			}
			return min(before(rec), when(same(first, rec[first.Name], x)))
		}
	}
	desc := r.IntN(2) == 0
	name := column.Name
	if desc {
		name = "-" + name
	}
	compare := func(a, b natsorm.Record) int {
		c := compareNulls(a[column.Name], b[column.Name])
		if desc {
			c = -c
		}
		if c == 0 {
			c = compareGo(a["id"], b["id"])
		}
		return c
	}
	var want []natsorm.Record
	for _, rec := range w.records {
		if matches(rec) == yes {
			want = append(want, rec)
		}
	}
	slices.SortFunc(want, compare)
	whole := ids(want)
	ctx := within(t)
	m := w.models[0]
	fail := func(what string, got, want any) {
		t.Errorf("%s of %+v by %s: got %v, want %v", what, cond, name, got, want)
	}
	order, limit, offset := natsorm.OrderBy(name), 1+r.IntN(40), 0
	if r.IntN(4) == 0 {
		offset = r.IntN(len(w.records))
	}
	page := whole[min(offset, len(whole)):]
	page = page[:min(limit, len(page))]
	if got := ids(deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond, order, natsorm.Limit(limit), natsorm.Offset(offset))))); !slices.Equal(got, page) {
		fail(fmt.Sprintf("page %d+%d", offset, limit), got, page)
		return
	}
	switch r.IntN(6) {
	case 0:
		found := ids(deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond))))
		if slices.Sort(found); !slices.Equal(found, slices.Sorted(slices.Values(whole))) {
			fail("all", len(found), len(whole))
		}
	case 1:
		at := r.IntN(len(whole) + 1)
		if at == len(whole) {
			return
		}
		cursor := must[string](t)(m.Cursor(&want[at], cond, order))
		rest := whole[at+1:]
		rest = rest[:min(limit, len(rest))]
		if got := ids(deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond, order, natsorm.Limit(limit), natsorm.After(cursor))))); !slices.Equal(got, rest) {
			fail(fmt.Sprintf("%d after %d", limit, at), got, rest)
		}
	case 2:
		if n := must[int](t)(m.Count(ctx, cond)); n != len(whole) {
			fail("count", n, len(whole))
		}
	case 3, 4:
		var least, most any
		for _, rec := range want {
			v := rec[column.Name]
			if least == nil || v != nil && compareGo(v, least) < 0 {
				least = v
			}
			if v != nil && (most == nil || compareGo(v, most) > 0) {
				most = v
			}
		}
		if got := must[any](t)(m.Min(ctx, column.Name, cond)); compareNulls(got, least) != 0 {
			fail("the smallest", got, least)
		}
		if got := must[any](t)(m.Max(ctx, column.Name, cond)); compareNulls(got, most) != 0 {
			fail("the largest", got, most)
		}
	default:
		p := must[natsorm.Plan](t)(m.Explain(ctx, cond, order, natsorm.Limit(limit)))
		path := p.Access.Path
		if p.Access.Sorted {
			path += ", sorted"
		}
		paths.add(path)
	}
}
