package natsorm_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// domains are the values that random records and conditions are made of: few,
// so that conditions match, and those that are easily taken for one another.
var domains = map[string][]any{
	"bool":  {true, false},
	"int":   {int64(-1), int64(0), int64(1), int64(2), int64(9007199254740992), int64(9007199254740993), int64(math.MinInt64), int64(math.MaxInt64)},
	"uint":  {uint64(0), uint64(1), uint64(7), uint64(math.MaxUint64), uint64(math.MaxUint64 - 1)},
	"float": {-1.5, 0.0, 1.0, 2.5, 1e300, 0.1},
	"decimal": {json.Number("1"), json.Number("1.0"), json.Number("2.50"), json.Number("-3"), json.Number("0.1"), json.Number("1e-1"),
		json.Number("12345678901234567890.1"), json.Number("12345678901234567890.2")},
	"string": {"", "a", "ab", "A", "b%", "é", "a_b", "a.b", "ab\n", "null", "Ab"},
	"folded": {"", "ß", "SS", "ss", "ﬁ", "FI", "İ", "ı", "I", "i", "\u212a", "k", "K", "ſ", "S", "a", "A", "É", "é"},
	"bytes":  {[]byte{}, []byte("a"), []byte{0, 255}},
	"time": {time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2024, 1, 2, 5, 4, 5, 0, time.FixedZone("", 7200)),
		time.Date(2024, 1, 2, 3, 4, 5, 1, time.UTC), time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)},
}

var typeNames = []string{"bool", "int", "uint", "float", "decimal", "string", "bytes", "time"}

// compareGo orders two values of one domain by what they mean in Go.
func compareGo(a, b any) int {
	switch a := a.(type) {
	case nil:
		return cmp.Compare(0, rank(b))
	case bool:
		return cmp.Compare(rank(a), rank(b))
	case int64:
		return cmp.Compare(a, b.(int64))
	case uint64:
		return cmp.Compare(a, b.(uint64))
	case float64:
		return cmp.Compare(a, b.(float64))
	case json.Number:
		x, _ := new(big.Rat).SetString(string(a))
		y, _ := new(big.Rat).SetString(string(b.(json.Number)))
		return x.Cmp(y)
	case string:
		return strings.Compare(a, b.(string))
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case time.Time:
		return a.Compare(b.(time.Time))
	}
	panic(fmt.Sprintf("%T", a))
}

func rank(x any) int {
	switch x {
	case nil:
		return 0
	case false:
		return 1
	default:
		return 2
	}
}

// compareNulls is compareGo with null as the smallest.
func compareNulls(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(boolRank(a != nil), boolRank(b != nil))
	}
	return compareGo(a, b)
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// world is a random schema with random records, stored in several models that
// differ only in their indexes. In every second one letter case does not matter in column f, in which all of
// its models have a folded index, each another one.
type world struct {
	r       *rand.Rand
	columns []natsorm.ColumnSchema
	key     string
	records []natsorm.Record
	models  []*natsorm.Model[natsorm.Record]
	readers []reader // the models, and one of them in memory
	domains map[string][]any

	of natsorm.Type // of the elements that conditions ask of the column list; its lists have others too
}

// reader is what answers queries.
type reader interface {
	natsorm.Reader[natsorm.Record]
	Cursor(last *natsorm.Record, q ...natsorm.Query) (string, error)
}

// elements are what lists are made of.
var elements = []any{"a", "b", "1", "true", "é.", 1, 1.0, 2, -3, uint64(math.MaxUint64), 0.5, true, nil, []int{1}}

// sought are what conditions on lists ask for, by the type that an index is of.
var sought = map[natsorm.Type][]any{
	natsorm.String: {"a", "b", "1", "c", nil},
	natsorm.Int:    {1, 1.0, json.Number("10e-1"), 2, -3, 4, nil},
	natsorm.Uint:   {1, 2, uint64(math.MaxUint64), nil},
	natsorm.Float:  {1, 0.5, json.Number("0.50"), nil},
	natsorm.Bool:   {true, false, nil},
}

// sameElement reports whether two elements are equal as JSON values.
func sameElement(a, b any) bool {
	x, okx := new(big.Rat).SetString(fmt.Sprint(a))
	y, oky := new(big.Rat).SetString(fmt.Sprint(b))
	_, textA := a.(string)
	_, textB := b.(string)
	if okx && oky && !textA && !textB {
		return x.Cmp(y) == 0
	}
	return textA == textB && a != nil && fmt.Sprintf("%T %v", a, a) == fmt.Sprintf("%T %v", b, b)
}

// memberCondition is a random condition on members of the column doc, and the same in Go.
func (w *world) memberCondition() (natsorm.Condition, judge) {
	path := []string{"n", "in.n", "gone"}[w.r.IntN(3)]
	var leaves func(x any, path []string) []any
	leaves = func(x any, path []string) (out []any) {
		switch x := x.(type) {
		case []any:
			for _, e := range x {
				out = append(out, leaves(e, path)...)
			}
		case map[string]any:
			if len(path) > 0 {
				return leaves(x[path[0]], path[1:])
			}
		case nil:
		default:
			if len(path) == 0 {
				return []any{x}
			}
		}
		return out
	}
	one := func(f func(x any) bool) judge {
		return func(rec natsorm.Record) truth {
			found := leaves(rec["doc"], strings.Split(path, "."))
			if len(found) == 0 {
				return unknown
			}
			return when(slices.ContainsFunc(found, f))
		}
	}
	number := func(x any) (float64, bool) {
		n, err := strconv.ParseFloat(fmt.Sprint(x), 64)
		_, text := x.(string)
		return n, err == nil && !text
	}
	isNull := func(rec natsorm.Record) truth { return when(len(leaves(rec["doc"], strings.Split(path, "."))) == 0) }
	x, lo := elements[w.r.IntN(7)], w.r.IntN(3)
	switch column := "doc." + path; w.r.IntN(6) {
	case 0:
		return natsorm.Eq(column, x), one(func(y any) bool { return sameElement(x, y) })
	case 1:
		c := one(func(y any) bool { return sameElement(x, y) })
		return natsorm.Ne(column, x), func(rec natsorm.Record) truth { return yes - c(rec) }
	case 2:
		c := one(func(y any) bool { return sameElement("a", y) || sameElement(1, y) })
		return natsorm.In(column, "a", 1, nil), func(rec natsorm.Record) truth { return max(isNull(rec), min(c(rec), when(isNull(rec) == no))) }
	case 3:
		return natsorm.Gte(column, lo), one(func(y any) bool { n, is := number(y); return is && n >= float64(lo) })
	case 4:
		return natsorm.Between(column, lo, lo+1), one(func(y any) bool { n, is := number(y); return is && n >= float64(lo) && n <= float64(lo+1) })
	default:
		return natsorm.IsNull(column), isNull
	}
}

// elementCondition is a random condition on the elements of lists, and the same in Go.
func (w *world) elementCondition() (natsorm.Condition, judge) {
	var values []any
	for range w.r.IntN(4) {
		values = append(values, sought[w.of][w.r.IntN(len(sought[w.of]))])
	}
	has := func(rec natsorm.Record, x any) truth {
		if rec["list"] == nil || x == nil {
			return unknown
		}
		list, _ := rec["list"].([]any)
		return when(slices.ContainsFunc(list, func(e any) bool { return sameElement(e, x) }))
	}
	anyOf := func(rec natsorm.Record) truth {
		out := no
		for _, x := range values {
			out = max(out, has(rec, x))
		}
		return out
	}
	switch w.r.IntN(3) {
	case 0:
		return natsorm.ContainsAny("list", values...), anyOf
	case 1:
		return natsorm.ContainsAll("list", values...), func(rec natsorm.Record) truth {
			out := yes
			if _, is := rec["list"].([]any); rec["list"] == nil {
				out = unknown
			} else if !is && len(values) == 0 { // with values, they decide
				out = no
			}
			for _, x := range values {
				out = min(out, has(rec, x))
			}
			return out
		}
	default:
		values = append(values[:0], sought[w.of][w.r.IntN(len(sought[w.of]))])
		return natsorm.Contains("list", values[0]), anyOf
	}
}

func newWorld(t *testing.T, db *natsorm.DB, r *rand.Rand, n int) *world {
	return newWorldOf(t, db, r, n, 30+r.IntN(80), domains, -1)
}

// newWorldOf is newWorld with so many records, of values from the domains, in one of the models; -1: in all.
func newWorldOf(t *testing.T, db *natsorm.DB, r *rand.Rand, n, records int, domains map[string][]any, only int) *world {
	w := &world{r: r, key: "id", domains: domains, of: slices.Sorted(maps.Keys(sought))[r.IntN(len(sought))]}
	keyType := []natsorm.Type{natsorm.Int, natsorm.String, natsorm.Uint}[r.IntN(3)]
	texts := []string{"", "a.b", ">", "*", "é", "k"}
	plain := keyType != natsorm.String || r.IntN(2) == 0 // the Sequelize layout takes the keys
	if plain {
		texts = []string{"", "-", "0x", "1e", "a/b=", "k"}
	}
	w.columns = append(w.columns, natsorm.ColumnSchema{Name: "id", Type: keyType, PrimaryKey: true}, natsorm.ColumnSchema{Name: "u", Type: natsorm.Int})
	folds := n%2 == 1
	if folds {
		w.columns = append(w.columns, natsorm.ColumnSchema{Name: "f", Type: natsorm.String})
	}
	for i := range 2 + r.IntN(4) {
		w.columns = append(w.columns, natsorm.ColumnSchema{Name: fmt.Sprint("c", i), Type: natsorm.Type(typeNames[r.IntN(len(typeNames))])})
	}
	for i := range records {
		rec := natsorm.Record{}
		switch keyType {
		case natsorm.Int:
			rec["id"] = int64(i - 5)
		case natsorm.Uint:
			rec["id"] = uint64(i)
		default:
			rec["id"] = texts[i%6] + strconv.Itoa(i/6)
		}
		if r.IntN(4) > 0 {
			rec["u"] = int64(i * 3)
		}
		for _, c := range w.columns[2:] {
			switch d := w.domain(c); r.IntN(5) {
			case 0: // absent
			case 1:
				rec[c.Name] = nil
			default:
				rec[c.Name] = d[r.IntN(len(d))]
			}
		}
		switch r.IntN(6) {
		case 0: // absent
		case 1:
			rec["list"] = []any{nil, "a", map[string]any{"a": 1}}[r.IntN(3)]
		default:
			list := make([]any, r.IntN(5))
			for i := range list {
				list[i] = elements[r.IntN(len(elements))]
			}
			rec["list"] = list
		}
		some := func() any {
			if r.IntN(4) == 0 {
				return []any{elements[r.IntN(len(elements)-1)], elements[r.IntN(len(elements)-1)]}
			}
			return elements[r.IntN(len(elements)-1)]
		}
		switch r.IntN(5) {
		case 0: // absent
		case 1:
			rec["doc"] = []any{map[string]any{"n": some()}, map[string]any{"n": some(), "in": map[string]any{"n": some()}}}
		default:
			rec["doc"] = map[string]any{"n": some(), "in": []any{map[string]any{"n": some()}}}
		}
		w.records = append(w.records, rec)
	}
	column := func() string { return w.columns[1+r.IntN(len(w.columns)-1)].Name }
	variants := [5][]natsorm.IndexSchema{1: {{Columns: []string{"u"}, Unique: true}}}
	for _, c := range w.columns[1:] {
		variants[1] = append(variants[1], natsorm.IndexSchema{Columns: []string{c.Name}})
	}
	variants[1] = variants[1][:1+len(w.columns)-1]
	for _, c := range w.columns {
		variants[4] = append(variants[4], natsorm.IndexSchema{Columns: []string{c.Name}, Ordered: true})
	}
	variants[4] = append(variants[4], natsorm.IndexSchema{Columns: []string{w.columns[2].Name, "u"}, Ordered: true}, natsorm.IndexSchema{Columns: []string{w.columns[3].Name, w.columns[2].Name}, Ordered: true})
	for i := 2; i < 4; i++ {
		seen := map[string]bool{}
		for range 1 + r.IntN(3) {
			var cols []string
			for range 1 + r.IntN(3) {
				if c := column(); !slices.Contains(cols, c) {
					cols = append(cols, c)
				}
			}
			unique := slices.Contains(cols, "u") && r.IntN(2) == 0
			if name := fmt.Sprint(cols, unique); !seen[name] {
				seen[name] = true
				variants[i] = append(variants[i], natsorm.IndexSchema{Columns: cols, Unique: unique})
			}
		}
	}
	// The first model has no index of lists, the second one has, and the others may. Those others have
	// indexes of members.
	columns := append(slices.Clip(w.columns), natsorm.ColumnSchema{Name: "list", Type: natsorm.JSON}, natsorm.ColumnSchema{Name: "doc", Type: natsorm.JSON})
	for i := range variants {
		if i == 1 || i > 1 && r.IntN(2) == 0 {
			variants[i] = append(variants[i], natsorm.IndexSchema{Columns: []string{"list"}, Elements: w.of})
		}
		if i > 1 {
			types := []natsorm.Type{natsorm.String, natsorm.Int, natsorm.Uint, natsorm.Float, natsorm.Decimal, natsorm.Bool}
			for _, path := range []string{"doc.n", "doc.in.n"}[r.IntN(2):] {
				variants[i] = append(variants[i], natsorm.IndexSchema{Columns: []string{path}, Elements: types[r.IntN(len(types))]})
			}
		}
	}
	schemas := make([]natsorm.Schema, len(variants))
	for v, indexes := range variants {
		if folds {
			indexes = append(slices.Clip(indexes), natsorm.IndexSchema{
				Columns: [][]string{{"u", "f"}, {"f"}, {"f", "u"}, {"u", "f"}, {"f"}}[v], Fold: true, Unique: v == 3,
			})
		}
		schemas[v] = natsorm.Schema{Columns: columns, Indexes: indexes, Shards: 1 + r.IntN(5)}
	}
	if plain && !folds {
		schemas = append(schemas, natsorm.Schema{Columns: columns, Indexes: variants[1][1 : len(variants[1])-1], Layout: "sequelize"})
	}
	for v, s := range schemas {
		if only >= 0 && v != only {
			continue
		}
		s.Name = fmt.Sprintf("w%d_%d", n, v)
		m := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(within(t), db, s))
		all := make([]*natsorm.Record, len(w.records))
		for i := range all {
			all[i] = &w.records[i]
		}
		ok(t, m.BulkCreate(within(t), all))
		w.models, w.readers = append(w.models, m), append(w.readers, m)
	}
	local := must[*natsorm.Local[natsorm.Record]](t)(w.models[n%len(w.models)].Local(within(t)))
	t.Cleanup(func() { ok(t, local.Close()) })
	w.readers = append(w.readers, local)
	return w
}

// value is a random value of a column, or null.
func (w *world) value(c natsorm.ColumnSchema) any {
	if c.Name == "id" || c.Name == "u" {
		return w.records[w.r.IntN(len(w.records))][c.Name]
	}
	d := w.domain(c)
	return d[w.r.IntN(len(d))]
}

func (w *world) domain(c natsorm.ColumnSchema) []any {
	if c.Name == "f" {
		return w.domains["folded"]
	}
	return w.domains[string(c.Type)]
}

// same reports whether two values of a column are equal to conditions.
func same(c natsorm.ColumnSchema, a, b any) bool {
	if c.Name == "f" {
		return sameSpelling(a.(string), b.(string))
	}
	return compareGo(a, b) == 0
}

type judge func(rec natsorm.Record) truth

// condition is a random condition, and the same in Go.
func (w *world) condition(depth int) (natsorm.Condition, judge) {
	r := w.r
	if depth > 0 && r.IntN(2) == 0 {
		switch n := r.IntN(3); r.IntN(3) {
		case 0:
			conds, judges := w.conditions(n, depth)
			return natsorm.And(conds...), func(rec natsorm.Record) truth {
				out := yes
				for _, j := range judges {
					out = min(out, j(rec))
				}
				return out
			}
		case 1:
			conds, judges := w.conditions(n, depth)
			return natsorm.Or(conds...), func(rec natsorm.Record) truth {
				out := no
				for _, j := range judges {
					out = max(out, j(rec))
				}
				return out
			}
		default:
			c, j := w.condition(depth - 1)
			return natsorm.Not(c), func(rec natsorm.Record) truth { return yes - j(rec) }
		}
	}
	switch r.IntN(8) {
	case 0:
		return w.elementCondition()
	case 1:
		return w.memberCondition()
	}
	c := w.columns[r.IntN(len(w.columns))]
	x, y := w.value(c), w.value(c)
	// known is f of the column's value; without one, or without a value to
	// compare with, nothing is known.
	known := func(x any, f func(v any) bool) judge {
		return func(rec natsorm.Record) truth {
			if x == nil || rec[c.Name] == nil {
				return unknown
			}
			return when(f(rec[c.Name]))
		}
	}
	isNull := func(rec natsorm.Record) truth { return when(rec[c.Name] == nil) }
	in := func(list []any) judge {
		return func(rec natsorm.Record) truth {
			v := rec[c.Name]
			if v == nil {
				switch {
				case slices.Contains(list, nil):
					return yes
				case len(list) == 0:
					return no
				}
				return unknown
			}
			return when(slices.ContainsFunc(list, func(x any) bool { return x != nil && same(c, x, v) }))
		}
	}
	not := func(j judge) judge { return func(rec natsorm.Record) truth { return yes - j(rec) } }
	switch op := r.IntN(16); op {
	case 0, 1, 2, 3:
		if x == nil {
			return natsorm.Eq(c.Name, nil), isNull
		}
		return natsorm.Eq(c.Name, x), known(x, func(v any) bool { return same(c, v, x) })
	case 4:
		if x == nil {
			return natsorm.Ne(c.Name, nil), not(isNull)
		}
		return natsorm.Ne(c.Name, x), known(x, func(v any) bool { return !same(c, v, x) })
	case 5:
		return natsorm.Gt(c.Name, x), known(x, func(v any) bool { return compareGo(v, x) > 0 })
	case 6:
		return natsorm.Gte(c.Name, x), known(x, func(v any) bool { return compareGo(v, x) >= 0 })
	case 7:
		return natsorm.Lt(c.Name, x), known(x, func(v any) bool { return compareGo(v, x) < 0 })
	case 8:
		return natsorm.Lte(c.Name, x), known(x, func(v any) bool { return compareGo(v, x) <= 0 })
	case 9, 10, 11:
		var list []any
		for range r.IntN(12) {
			if v := w.value(c); v != nil || r.IntN(4) == 0 {
				list = append(list, v)
			}
		}
		if op == 11 {
			return natsorm.NotIn(c.Name, list...), not(in(list))
		}
		return natsorm.In(c.Name, list...), in(list)
	case 12:
		if x != nil && y != nil && compareGo(x, y) > 0 {
			x, y = y, x
		}
		lo, hi := known(x, func(v any) bool { return compareGo(v, x) >= 0 }), known(y, func(v any) bool { return compareGo(v, y) <= 0 })
		return natsorm.Between(c.Name, x, y), func(rec natsorm.Record) truth { return min(lo(rec), hi(rec)) }
	case 13:
		return natsorm.IsNull(c.Name), isNull
	case 14:
		return natsorm.NotNull(c.Name), not(isNull)
	}
	if c.Type != natsorm.String || x == nil {
		return natsorm.IsNull(c.Name), isNull
	}
	text := x.(string)
	onText := func(f func(s string) bool) judge {
		return known(x, func(v any) bool { return f(v.(string)) })
	}
	switch r.IntN(6) {
	case 0:
		return natsorm.StartsWith(c.Name, text), onText(func(s string) bool { return strings.HasPrefix(s, text) })
	case 1:
		return natsorm.EndsWith(c.Name, text), onText(func(s string) bool { return strings.HasSuffix(s, text) })
	case 2:
		return natsorm.Contains(c.Name, text), onText(func(s string) bool { return strings.Contains(s, text) })
	case 3:
		re := regexp.MustCompile("^" + regexp.QuoteMeta(text))
		return natsorm.Regexp(c.Name, re.String()), onText(re.MatchString)
	default:
		fold := r.IntN(2) == 0
		flags := "(?s)"
		if fold {
			flags = "(?si)"
		}
		re := regexp.MustCompile(flags + "^" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(text)) + "$")
		if fold {
			return natsorm.ILike(c.Name, text), onText(re.MatchString)
		}
		return natsorm.Like(c.Name, text), onText(re.MatchString)
	}
}

func (w *world) conditions(n, depth int) (conds []natsorm.Condition, judges []judge) {
	for range n {
		c, j := w.condition(depth - 1)
		conds, judges = append(conds, c), append(judges, j)
	}
	return conds, judges
}

// order is a random OrderBy, and the same in Go: the primary key decides last.
func (w *world) order() (natsorm.Query, func(a, b natsorm.Record) int) {
	var names []string
	for range 1 + w.r.IntN(3) {
		name := w.columns[w.r.IntN(len(w.columns))].Name
		if w.r.IntN(2) == 0 {
			name = "-" + name
		}
		names = append(names, name)
	}
	return natsorm.OrderBy(names...), func(a, b natsorm.Record) int {
		for _, name := range append(names, "id") {
			column, desc := strings.CutPrefix(name, "-")
			if c := compareNulls(a[column], b[column]); c != 0 {
				if desc {
					return -c
				}
				return c
			}
		}
		return 0
	}
}

func ids(records []natsorm.Record) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = fmt.Sprint(r["id"])
	}
	return out
}

func deref(records []*natsorm.Record) []natsorm.Record {
	out := make([]natsorm.Record, len(records))
	for i, r := range records {
		out[i] = *r
	}
	return out
}

// TestRandomQueries makes random schemas, records and conditions, and compares
// what models with different indexes, and so by different access paths, answer
// with a filter, a sort and sums in Go. NATSORM_SEED repeats a run.
func TestRandomQueries(t *testing.T) {
	t.Parallel()
	worlds, perWorld := testsize.Pick(4, 8, 50), testsize.Pick(250, 500, 2000) // long: 100,000 cases
	if testbed.Race {                                                          // which makes each of them twenty times as long, and finds no other races in more
		worlds = min(worlds, 4)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("NATSORM_SEED"); s != "" {
		seed = must[uint64](t)(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("seed %d", seed)
	paths := pathCounts{}
	db := natsormtest.New(t)
	t.Run("world", func(t *testing.T) { // ends when all of them have
		for n := range worlds {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, db, rand.New(rand.NewPCG(seed, uint64(n))), n)
				for done := 0; done < perWorld; done += len(w.readers) {
					w.check(t, &paths)
					if t.Failed() {
						t.Fatalf("NATSORM_SEED=%d, world %d", seed, n)
					}
				}
			})
		}
	})
	t.Logf("%d cases; of a sample, paths %v", worlds*perWorld, paths.n)
	for _, path := range []string{"scan", "primary key", "unique index", "index", "union", "nothing"} {
		if paths.n[path] == 0 {
			t.Errorf("no query took the path %s", path)
		}
	}
}

// pathCounts is how often each access path was taken.
type pathCounts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *pathCounts) add(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[path]++
}

// check asks one random query of every model.
func (w *world) check(t *testing.T, paths *pathCounts) {
	cond, matches := w.condition(3)
	equality := func() (natsorm.Condition, judge) {
		for {
			c := w.columns[w.r.IntN(len(w.columns))]
			if x := w.value(c); x != nil {
				return natsorm.Eq(c.Name, x), func(rec natsorm.Record) truth {
					if rec[c.Name] == nil {
						return unknown
					}
					return when(same(c, rec[c.Name], x))
				}
			}
		}
	}
	rest, restMatches := cond, matches
	switch w.r.IntN(7) { // most random conditions leave an index nothing to do
	case 0, 1, 2:
		a, isA := equality()
		cond, matches = natsorm.And(a, rest), func(rec natsorm.Record) truth { return min(isA(rec), restMatches(rec)) }
	case 4:
		a, isA := w.elementCondition()
		b, isB := w.elementCondition()
		cond, matches = natsorm.And(a, b), func(rec natsorm.Record) truth { return min(isA(rec), isB(rec)) }
	case 3:
		a, isA := equality()
		b, isB := equality()
		if w.r.IntN(2) == 0 {
			b, isB = w.elementCondition()
		}
		cond, matches = natsorm.Or(a, b), func(rec natsorm.Record) truth { return max(isA(rec), isB(rec)) }
	}
	order, compare := w.order()
	var want []natsorm.Record
	for _, rec := range w.records {
		if matches(rec) == yes {
			want = append(want, rec)
		}
	}
	slices.SortFunc(want, compare)
	whole := ids(want)
	anyOrder := slices.Sorted(slices.Values(whole))
	limit, offset := w.r.IntN(len(w.records)), w.r.IntN(5)
	page := whole[min(offset, len(whole)):]
	page = page[:min(limit, len(page))]
	ctx := within(t)
	for v, m := range w.readers {
		fail := func(what string, got, want any) {
			t.Errorf("model %d, %s of %+v: got %v, want %v", v, what, cond, got, want)
		}
		found := ids(deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond))))
		slices.Sort(found)
		if !slices.Equal(found, anyOrder) {
			fail("FindAll", found, anyOrder)
			return
		}
		switch w.r.IntN(12) {
		case 0:
			got := ids(deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond, order, natsorm.Limit(limit), natsorm.Offset(offset)))))
			if !slices.Equal(got, page) {
				fail(fmt.Sprintf("page %d+%d", offset, limit), got, page)
			}
		case 1:
			got, total, err := m.FindAndCountAll(ctx, order, natsorm.Offset(offset), cond, natsorm.Limit(limit))
			ok(t, err)
			if total != len(whole) || !slices.Equal(ids(deref(got)), page) {
				fail("FindAndCountAll", fmt.Sprint(total, ids(deref(got))), fmt.Sprint(len(whole), page))
			}
		case 2:
			if n := must[int](t)(m.Count(ctx, cond)); n != len(whole) {
				fail("Count", n, len(whole))
			}
		case 3: // page by page
			var got []string
			for cursor := ""; ; {
				next := deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond, order, natsorm.Limit(1+len(whole)/3), natsorm.After(cursor))))
				if len(next) == 0 {
					break
				}
				got = append(got, ids(next)...)
				cursor = must[string](t)(m.Cursor(&next[len(next)-1], cond, order))
			}
			if !slices.Equal(got, whole) {
				fail("pages", got, whole)
			}
		case 4:
			got := ids(deref(must[[]*natsorm.Record](t)(m.FindAll(ctx, cond, natsorm.Limit(limit)))))
			if len(got) != min(limit, len(whole)) {
				fail("FindAll with a limit", len(got), min(limit, len(whole)))
			}
		case 5:
			w.checkGroups(t, m, cond, want, fail)
		case 6, 7, 8, 9:
			p := must[natsorm.Plan](t)(m.Explain(ctx, cond, natsorm.Analyze()))
			paths.add(p.Access.Path)
			if p.Access.Path != "scan" && !p.Local && p.Estimated.Requests != p.Actual.Requests-p.Actual.Again {
				fail("requests by "+p.String(), p.Actual.Requests, p.Estimated.Requests)
			}
			if p.Local && p.Actual.Requests > 0 {
				fail("requests in memory", p.Actual.Requests, 0)
			}
		}
	}
}

// checkGroups compares aggregates by a column with Go's.
func (w *world) checkGroups(t *testing.T, m reader, cond natsorm.Condition, want []natsorm.Record, fail func(string, any, any)) {
	by := w.columns[1+w.r.IntN(len(w.columns)-1)].Name
	groups := must[[]natsorm.Record](t)(m.GroupBy(within(t), []string{by}, []natsorm.Aggregate{natsorm.CountRecords(), natsorm.SumOf("u"), natsorm.MaxOf("u").As("top"), natsorm.MinOf("id")}, cond))
	total := 0
	for i, g := range groups {
		if i > 0 && compareNulls(groups[i-1][by], g[by]) >= 0 {
			fail("the order of groups", groups[i-1][by], g[by])
		}
		n, sum := int64(0), 0.0
		var top, least any
		for _, rec := range want {
			if compareNulls(rec[by], g[by]) != 0 {
				continue
			}
			n++
			if u, ok := rec["u"].(int64); ok {
				sum += float64(u)
			}
			if compareNulls(rec["u"], top) > 0 {
				top = rec["u"]
			}
			if least == nil || compareGo(rec["id"], least) < 0 {
				least = rec["id"]
			}
		}
		total += int(n)
		if g["count"] != n || g["sum_u"] != sum || g["top"] != top || g["min_id"] != least {
			fail("group "+fmt.Sprint(g[by]), g, fmt.Sprint(n, sum, top, least))
		}
	}
	if total != len(want) {
		fail("records in groups", total, len(want))
	}
}
