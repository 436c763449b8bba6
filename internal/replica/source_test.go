package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
)

// things has indexes of every kind; a and when are columns in which null stands for zero.
func things(t testing.TB) *schema.Definition {
	def := &schema.Definition{
		Format: schema.Format, Name: "Thing", Layout: schema.Native, Shards: 4, Revision: 1,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true},
			{Name: "a", Type: value.Int, ZeroNull: true},
			{Name: "b", Type: value.String},
			{Name: "c", Type: value.Float},
			{Name: "s", Type: value.String},
			{Name: "when", Type: value.Time, ZeroNull: true},
			{Name: "tags", Type: value.JSON, Holds: schema.List, Elements: value.String},
			{Name: "d", Type: value.Decimal},
			{Name: "plain", Type: value.Int},
			{Name: "flag", Type: value.Int}, // most records have one of its values
		},
	}
	for _, x := range []struct {
		kind    schema.Kind
		columns []string
	}{{schema.PlainIndex, []string{"a"}}, {schema.OrderedIndex, []string{"a", "b"}}, {schema.PlainIndex, []string{"b", "c"}}, {schema.UniqueIndex.Folded(), []string{"s"}}, {schema.OrderedIndex, []string{"when"}}, {schema.OrderedIndex, []string{"d"}}, {schema.PlainIndex, []string{"flag"}}} {
		if err := def.AddIndex(x.kind, x.columns...); err != nil {
			t.Fatal(err)
		}
	}
	def.Indexes = append(def.Indexes, schema.NewIndex(schema.PlainIndex, "tags").Each(value.String))
	return def
}

// random is seeded by NATSORM_SEED, or by the clock.
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

// world is a table and what is asked of it.
type world struct {
	testing.TB
	*rand.Rand
	def   *schema.Definition
	model *records.Model
	table *table
	last  uint64
}

func newWorld(t *testing.T) *world {
	def := things(t)
	m, err := records.New(nil, def)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, Rand: random(t), def: def, model: m, table: &table{model: def.Name}, last: 1}
	w.table.reset()
	w.table.hear(w.document())
	w.table.fill(newContents(newForm(def), map[string]*row.Row{}), w.document())
	return w
}

// document is the model in the catalogue.
func (w *world) document() store.Message {
	raw, err := json.Marshal(w.def)
	if err != nil {
		w.Fatal(err)
	}
	return store.Message{Key: keys.Schema(w.def.Name), Value: raw, Revision: w.def.Revision}
}

func pick[V any](r *rand.Rand, list ...V) V { return list[r.IntN(len(list))] }

var (
	texts = []string{"", "a", "A", "ab", "abc", "Straße", "STRASSE", "ż", "abcdefgh", "abcdefghi", "abcdefgh\x00"}
	times = []time.Time{{}, time.Unix(0, 0).UTC(), time.Unix(1_700_000_000, 5).UTC(), time.Date(2024, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))}
)

// value is a random value of a column, in Go.
func (w *world) value(column string) any {
	switch column {
	case "id":
		return w.IntN(200) - 60
	case "a", "plain":
		return w.IntN(13) - 6
	case "flag":
		return w.IntN(8) / 7
	case "c":
		return float64(w.IntN(9)-4) / 2
	case "when":
		return pick(w.Rand, times...)
	case "d":
		return json.Number(pick(w.Rand, "0", "-1.5", "1e3", "0.10"))
	default:
		return pick(w.Rand, texts...)
	}
}

// change writes or removes one record; now and then it is one that cannot be read, or is at another's key.
func (w *world) change() {
	w.last++
	id := w.value("id").(int)
	m := store.Message{Key: w.model.Layout.RecordKey(value.OfInt(int64(id))), Revision: w.last}
	if w.IntN(6) == 0 {
		m.Deleted = true
		w.table.hear(m)
		return
	}
	doc := map[string]any{"id": id, "other": 1}
	for _, col := range w.def.Columns[1:] {
		switch {
		case col.Name == "tags" && w.IntN(4) > 0:
			list := []any{}
			for range w.IntN(4) {
				list = append(list, pick[any](w.Rand, "x", "y", "z", 1, nil))
			}
			doc["tags"] = list
		case w.IntN(5) == 0: // absent
		case w.IntN(7) == 0 || col.Name == "tags":
			doc[col.Name] = nil
		default:
			doc[col.Name] = w.value(col.Name)
		}
	}
	kind := w.IntN(80)
	if kind == 1 {
		m.Key, doc["id"] = w.model.Layout.RecordKey(value.OfInt(1000)), 2000
	}
	if m.Value, _ = json.Marshal(doc); kind == 0 {
		m.Value = []byte(`{"id":`)
	}
	w.table.hear(m)
}

// mend removes the records that could not be taken apart.
func (w *world) mend() {
	var bad []string
	w.table.trees.whole.Scan(func(e entry) bool {
		bad = append(bad, e.key)
		return true
	})
	for _, key := range bad {
		w.last++
		w.table.hear(store.Message{Key: key, Revision: w.last, Deleted: true})
	}
}

// condition is a random condition.
func (w *world) condition(depth int) cond.Node {
	column := w.def.Columns[w.IntN(len(w.def.Columns))].Name
	if depth == 2 && w.IntN(8) == 0 {
		n := cond.Node{Op: cond.Or}
		for range 2 + w.IntN(2) {
			of := pick(w.Rand, "id", "a", "s", "d")
			n.Kids = append(n.Kids, cond.Node{Op: cond.Eq, Column: of, Values: []any{w.value(of)}})
		}
		return n
	}
	if depth > 0 && w.IntN(3) == 0 {
		n := cond.Node{Op: pick(w.Rand, cond.And, cond.And, cond.Or, cond.Not)}
		n.Kids = append(n.Kids, w.condition(depth-1))
		for n.Op != cond.Not && w.IntN(3) > 0 {
			n.Kids = append(n.Kids, w.condition(depth-1))
		}
		return n
	}
	if column == "tags" {
		n := cond.Node{Op: pick(w.Rand, cond.ContainsAny, cond.ContainsAll, cond.IsNull, cond.NotNull), Column: column}
		if n.Op == cond.ContainsAny || n.Op == cond.ContainsAll {
			for range 1 + w.IntN(2) {
				n.Values = append(n.Values, pick[any](w.Rand, "x", "y", "z"))
			}
		}
		return n
	}
	n := cond.Node{Column: column, Op: pick(w.Rand, cond.Eq, cond.Eq, cond.Ne, cond.Gt, cond.Gte, cond.Lt, cond.Lte, cond.In, cond.NotIn, cond.IsNull, cond.NotNull)}
	if (column == "b" || column == "s") && w.IntN(3) == 0 {
		n.Op = pick(w.Rand, cond.StartsWith, cond.Like)
	}
	switch n.Op {
	case cond.IsNull, cond.NotNull:
	case cond.Like:
		n.Values = []any{pick(w.Rand, "a%", "%a", "ab_%", "%")}
	case cond.In, cond.NotIn:
		for range w.IntN(4) {
			n.Values = append(n.Values, w.value(column))
		}
		if w.IntN(4) == 0 {
			n.Values = append(n.Values, nil)
		}
	default:
		n.Values = []any{w.value(column)}
	}
	return n
}

// ask is a random query.
func (w *world) ask() (plan.Query, query.Spec) {
	s := query.NewSpec()
	if w.IntN(5) > 0 {
		s.Conditions = []cond.Node{w.condition(2)}
	}
	for w.IntN(2) == 0 {
		if name := w.def.Columns[w.IntN(len(w.def.Columns))].Name; name != "tags" {
			s.Order = append(s.Order, pick(w.Rand, "", "-")+name)
		}
	}
	if w.IntN(4) == 0 {
		s.Order = pick(w.Rand, []string{"a", "b"}, []string{"-a", "-b"}, []string{"b", "c"}, []string{"-b", "-c"}, []string{"-d"}, []string{"-id"}, []string{"when"}, []string{"-flag"})
	}
	if w.IntN(2) == 0 {
		s.Limit = w.IntN(20)
	}
	if w.IntN(3) == 0 {
		s.Offset = w.IntN(5)
	}
	q, err := query.Bind(w.def, &s, query.ForRead)
	if err != nil {
		w.Fatal(err)
	}
	return q, s
}

// found are the keys of what a query selects, and how many errors there are of records that cannot be read.
func (w *world) found(src query.Source, q plan.Query) (found []string, unreadable int) {
	for key, err := range query.Select(context.Background(), src, q, w.IntN(2) == 0, func(r query.Record) (string, error) { return r.Key(), nil }) {
		if err != nil {
			unreadable++
		} else {
			found = append(found, key)
		}
	}
	return found, unreadable
}

// Whatever is asked of a table, it answers what looking at every document does, whichever index it takes.
func TestRandomQueries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	paths := map[string]int{}
	for range testsize.Pick(10, 25, 200) {
		for range w.IntN(120) {
			w.change()
		}
		if w.IntN(4) > 0 {
			w.mend()
		}
		now := w.table.snapshot()
		again := &Snapshot{form: now.form, Def: now.Def, trees: newContents(now.form, w.table.rows).trees} // loaded at once
		for range 40 {
			q, spec := w.ask()
			naive := &Source{snapshot: now, model: w.model}
			for _, s := range []*Snapshot{now, again} {
				src := s.Source(w.model)
				if src.view == nil {
					t.Fatal("the table has no view")
				}
				p := src.Plan(q)
				name := p.Path.String()
				if p.Sorted {
					name += fmt.Sprint(" in order ", p.Desc)
				}
				paths[name]++
				w.compare(src, naive, q, spec, fmt.Sprintf("%+v by %s: %+v", spec, name, p.Access))
			}
		}
		if len(w.table.rows) != now.Len() {
			t.Fatalf("there are %d rows, and %d in the snapshot", len(w.table.rows), now.Len())
		}
	}
	for _, name := range []string{"scan", "primary key", "index", "ordered index", "union", "nothing", "index in order true", "index in order false", "ordered index in order true", "ordered index in order false"} {
		if paths[name] == 0 {
			t.Errorf("no query was answered by %s: %v", name, paths)
		}
	}
}

// compare holds a source to one that looks at all documents.
func (w *world) compare(src, naive query.Source, q plan.Query, spec query.Spec, what string) {
	w.Helper()
	ctx := context.Background()
	got, bad := w.found(src, q)
	whole := q
	if len(q.Order) == 0 {
		whole.Limit, whole.Offset = -1, 0
	}
	want, wantBad := w.found(naive, whole)
	switch {
	case len(q.Order) > 0:
		if !slices.Equal(got, want) || q.Limit < 0 && bad != wantBad && src.(*Source).Plan(q).Path == plan.Scan {
			w.Fatalf("%s:\nfound %q and %d unreadable,\nwant  %q and %d", what, got, bad, want, wantBad)
		}
	default:
		n := query.Counts(q, len(want))
		slices.Sort(got)
		if len(slices.Compact(slices.Clone(got))) != n || len(got) != n || slices.ContainsFunc(got, func(key string) bool { return !slices.Contains(want, key) }) {
			w.Fatalf("%s:\nfound %q,\nwant %d of %q", what, got, n, want)
		}
	}
	count, err := query.Count(ctx, src, q)
	wantCount, wantErr := query.Count(ctx, naive, q)
	if err == nil && wantErr == nil && count != wantCount {
		w.Fatalf("%s: counted %d, not %d", what, count, wantCount)
	}
	if len(q.Order) > 0 && q.Limit > 0 {
		w.pages(src, q, spec, what)
	}
	columns := pick(w.Rand, []string{"a"}, []string{"b"}, []string{"b", "a"}, []string{"plain"}, []string{"c", "b"})
	g, err := query.BindGroups(w.def, columns, []query.Aggregate{{Function: query.CountRecords}}, query.NewSpec())
	if err != nil {
		w.Fatal(err)
	}
	all := plan.Where(pick(w.Rand, nil, q.Filter))
	groups, err := query.GroupBy(ctx, src, all, g)
	wantGroups, wantErr := query.GroupBy(ctx, naive, all, g)
	if (err == nil) == (wantErr == nil) && !reflect.DeepEqual(groups, wantGroups) {
		w.Fatalf("%s: the groups by %v are\n%v, not\n%v", what, columns, groups, wantGroups)
	}
	if len(q.Order) == 0 && (q.Limit >= 0 || q.Offset > 0) {
		return // any records may be those
	}
	f, column := pick(w.Rand, query.Min, query.Max, query.Sum), pick(w.Rand, "a", "c", "d")
	r, err := query.Total(ctx, src, q, f, column)
	wantTotal, wantErr := query.Total(ctx, naive, q, f, column)
	if err == nil && wantErr == nil && (r.Of(f) != wantTotal.Of(f)) {
		w.Fatalf("%s: %s of %s is %v, not %v", what, f, column, r.Of(f).Text(), wantTotal.Of(f).Text())
	}
}

// pages reads a query page by page, each behind a cursor.
func (w *world) pages(src query.Source, q plan.Query, spec query.Spec, what string) {
	w.Helper()
	key := func(r query.Record) (string, error) { return r.Key(), nil }
	whole := q
	whole.Limit, whole.Offset = -1, 0
	want, _ := w.found(src, whole)
	q.Offset = 0
	var got []string
	for range len(want) + 1 {
		page, next, _, err := query.Page(context.Background(), src, q, key)
		if err != nil {
			w.Fatalf("%s: %v", what, err)
		}
		if got = append(got, page...); next == "" {
			break
		}
		s := spec
		s.After, s.Offset = next, 0
		after, err := query.Bind(w.def, &s, query.ForRead)
		if err != nil {
			w.Fatal(err)
		}
		q.After = after.After
	}
	if !slices.Equal(got, want) {
		w.Fatalf("%s: the pages are\n%q, not\n%q", what, got, want)
	}
}
