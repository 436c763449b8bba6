package access_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/access"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/internal/value"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// visits is a model with columns of very different selectivity; see visit.
func visits(layout string) *schema.Definition {
	def := &schema.Definition{
		Format: schema.Format, Name: "Visit", Layout: layout, Shards: 16,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true},
			{Name: "user", Type: value.Int},
			{Name: "page", Type: value.Int},
			{Name: "browser", Type: value.Int},
			{Name: "kind", Type: value.String},
			{Name: "country", Type: value.String},
			{Name: "os", Type: value.String},
			{Name: "ticket", Type: value.String},
			{Name: "note", Type: value.String},
		},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "user"), schema.NewIndex(schema.PlainIndex, "page"), schema.NewIndex(schema.PlainIndex, "browser"), schema.NewIndex(schema.PlainIndex, "kind")},
	}
	if layout == schema.Native {
		def.Indexes = append(def.Indexes, schema.NewIndex(schema.PlainIndex, "country", "os"), schema.NewIndex(schema.UniqueIndex, "ticket"))
	}
	return def
}

// many is how many visits there are: 10 of a user, 400 of a page, of which 58 or so are
// with one browser, 1,334 from country A, 3,600 of kind "all" and 400 of kind "rare".
const many = 4000

func visit(id int) string {
	kind := "all"
	if id%10 == 0 {
		kind = "rare"
	}
	return fmt.Sprintf(`{"id":%d,"user":%d,"page":%d,"browser":%d,"kind":%q,"country":%q,"os":"os%d","ticket":"t%d","note":"x"}`,
		id, id/10, id%10, id/7%10, kind, string(rune('A'+id%3)), id/3%10, id)
}

// world is a bucket with visits.
type world struct {
	*testing.T
	ctx    context.Context
	bucket *bucket.Bucket
	layout layout.Layout
	writer *commit.Writer
}

// begin makes a bucket with n visits on a server of its own. At the end of the test the
// model is sound and no consumer is left.
func begin(t *testing.T, def *schema.Definition, n int) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx}
	var err error
	w.bucket, err = bucket.Open(ctx, testbed.StartServer(t).Connect(t), bucket.Config{Bucket: "b", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	t.Cleanup(w.bucket.Close)
	w.layout, err = layout.New(def)
	w.must(err)
	w.writer = commit.NewWriter(w.bucket, w.layout)
	t.Cleanup(func() {
		if !t.Failed() {
			w.prove()
		}
	})
	w.fill(n)
	return w
}

// fill writes visits, with their entries and claims, many at a time.
func (w *world) fill(n int) {
	w.Helper()
	lists := map[string][]value.Value{}
	var ops []store.Op
	for id := range n {
		f, err := w.layout.Of([]byte(visit(id)))
		w.must(err)
		ops = append(ops, store.Op{Key: f.Record, Value: []byte(visit(id))})
		for _, c := range f.Claims {
			ops = append(ops, store.Op{Key: c.Key, Value: w.layout.Owner(f.ID)})
		}
		for _, e := range f.Entries {
			if w.layout.Lists() == nil {
				ops = append(ops, store.Op{Key: e})
			} else {
				lists[e] = append(lists[e], f.ID)
			}
		}
	}
	for key, ids := range lists {
		list, err := w.layout.Lists().Join(nil, ids...)
		w.must(err)
		ops = append(ops, store.Op{Key: key, Value: list})
	}
	for chunk := range slices.Chunk(ops, 250) {
		_, err := w.bucket.Batch(w.ctx, store.Batch{Ops: chunk})
		w.must(err)
	}
}

func (w *world) prove() {
	w.Helper()
	report, err := checking.Check(w.ctx, w.bucket, w.layout.Model(), checking.Options{})
	w.must(err)
	for _, p := range report.Problems {
		w.Errorf("in the end: %+v", p)
	}
	status, err := w.bucket.KV().Status(w.ctx)
	w.must(err)
	if n := status.(interface{ StreamInfo() *jetstream.StreamInfo }).StreamInfo().State.Consumers; n != 0 {
		w.Errorf("%d consumers are left", n)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// source is one that knows nothing yet.
func (w *world) source() *access.Source { return access.New(w.bucket, w.layout) }

// where is the query for a condition.
func (w *world) where(node cond.Node) plan.Query {
	w.Helper()
	b, err := cond.Bind(node, w.layout.Model())
	w.must(err)
	return plan.Where(b)
}

func eq(column string, v any) cond.Node {
	return cond.Node{Op: cond.Eq, Column: column, Values: []any{v}}
}

func in(column string, values ...any) cond.Node {
	return cond.Node{Op: cond.In, Column: column, Values: values}
}

func and(kids ...cond.Node) cond.Node { return cond.Node{Op: cond.And, Kids: kids} }
func or(kids ...cond.Node) cond.Node  { return cond.Node{Op: cond.Or, Kids: kids} }

// numbers is n numbers from 0 on, each by some step.
func numbers(n, step int) (out []any) {
	for i := range n {
		out = append(out, i*step)
	}
	return out
}

func tickets(n int) (out []any) {
	for i := range n {
		out = append(out, fmt.Sprint("t", i))
	}
	return out
}

// find is the ids of the records of a query, each of which comes once, and what it took.
func (w *world) find(src query.Source, q plan.Query) (ids []string, used *usage.Usage) {
	w.Helper()
	used = &usage.Usage{}
	seen := map[string]bool{}
	key := func(r query.Record) (string, error) { return r.Key(), nil }
	for key, err := range query.Select(usage.Measured(w.ctx, used), src, q, true, key) {
		w.must(err)
		if seen[key] {
			w.Errorf("%s comes twice", key)
		}
		seen[key] = true
		ids = append(ids, keys.RecordID(key))
	}
	return ids, used
}

// findAtOnce is find, repeated while a request had to be sent again because everything
// stood still for a second: that is counted too, and not what was planned.
func (w *world) findAtOnce(src query.Source, q plan.Query) (ids []string, used *usage.Usage) {
	w.Helper()
	for {
		if ids, used = w.find(src, q); used.Again.Load() == 0 {
			return ids, used
		}
	}
}

// planned is how many requests were sent, without those that were sent again.
func planned(used *usage.Usage) int { return int(used.Requests.Load() - used.Again.Load()) }

// change writes a record.
func (w *world) change(id int, doc string) {
	w.Helper()
	_, err := w.writer.Apply(w.ctx, commit.Change{ID: value.OfInt(int64(id)), Next: func(store.Message) (commit.Draft, error) {
		return commit.Draft{Doc: []byte(doc)}, nil
	}})
	w.must(err)
}

// spoil writes a key past the model.
func (w *world) spoil(key, held string) {
	w.Helper()
	_, err := w.bucket.KV().PutString(w.ctx, key, held)
	w.must(err)
}

// of is the same bucket in another test.
func (w *world) of(t *testing.T) *world {
	out := *w
	out.T = t
	return &out
}

// These only read, so they share the visits.
func TestManyVisits(t *testing.T) {
	t.Parallel()
	w := begin(t, visits(schema.Native), many)
	for name, test := range map[string]func(*world){
		"explain says what is asked": explainSaysWhatIsAsked,
		"plans again when surprised": plansAgainWhenSurprised,
		"large lookups":              largeLookups,
		"statistics are shared":      statisticsAreShared,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(w.of(t))
		})
	}
}

// Each query gets the path that its condition allows, and asks for what Explain says.
func explainSaysWhatIsAsked(w *world) {
	learnt := w.source()
	for _, c := range []struct {
		name    string
		path    plan.Path
		results int
		absent  int // keys that are asked for and not there
		node    cond.Node
		limit   int
	}{
		{"a key", plan.Key, 1, 0, eq("id", 7), -1},
		{"a key that is not there", plan.Key, 0, 1, eq("id", many), -1},
		{"a key, and more", plan.Key, 0, 0, and(eq("id", 7), eq("note", "y")), -1},
		{"many keys", plan.Key, 2000, 0, in("id", numbers(2000, 2)...), -1},
		{"a unique value", plan.Unique, 1, 0, eq("ticket", "t7"), -1},
		{"nobody's unique value", plan.Unique, 0, 0, eq("ticket", "nobody's"), -1},
		{"many unique values", plan.Unique, 2000, 0, in("ticket", tickets(2000)...), -1},
		{"a value", plan.Index, 10, 0, eq("user", 7), -1},
		{"nobody's value", plan.Index, 0, 0, eq("user", 99_999), -1},
		{"three values", plan.Index, 30, 0, in("user", 1, 2, 3), -1},
		{"two columns", plan.Index, 134, 0, and(eq("country", "A"), eq("os", "os0")), -1},
		{"the first of two columns", plan.Index, 1334, 0, eq("country", "A"), -1}, // more than a request gives
		{"a page", plan.Index, 400, 0, eq("page", 7), -1},
		{"three pages", plan.Index, 1200, 0, in("page", 7, 8, 9), -1},
		{"two indexes", plan.Intersect, 57, 0, and(eq("page", 7), eq("browser", 3)), -1},
		{"alternatives", plan.Union, 413, 0, or(eq("page", 7), eq("user", 1), eq("ticket", "t12"), in("id", 13, 20, 21, 22, 23)), -1},
		{"most of the model", plan.Scan, 3600, 0, eq("kind", "all"), -1},
		{"no index", plan.Scan, 0, 0, eq("note", "y"), -1},
		{"everything", plan.Scan, many, 0, and(), -1},
		{"a contradiction", plan.Nothing, 0, 0, and(eq("note", "x"), eq("note", "y")), -1},
		{"none", plan.Nothing, 0, 0, and(), 0},
	} {
		w.Run(c.name, func(t *testing.T) {
			w := w.of(t)
			q := w.where(c.node)
			q.Limit = c.limit
			for name, src := range map[string]*access.Source{"new": w.source(), "learnt": learnt} {
				explained, err := src.Explain(w.ctx, q)
				w.must(err)
				if explained.Path != c.path {
					w.Errorf("a %s source takes path %s, want %s", name, explained.Path, c.path)
					continue
				}
				ids, used := w.findAtOnce(src, q)
				if len(ids) != c.results {
					w.Errorf("a %s source finds %d, want %d", name, len(ids), c.results)
				}
				if got, want := int(used.Requests.Load()), explained.Cost.Requests; got != want {
					w.Errorf("a %s source asks %d times, and Explain says %d", name, got, want)
				}
				if got, want := int(used.Keys.Load()), explained.Cost.Keys-c.absent; got != want {
					w.Errorf("a %s source reads %d keys, and Explain says %d", name, got, want)
				}
			}
		})
	}
}

// The same of lists, which are one key however many records they lead to.
func TestExplainOfLists(t *testing.T) {
	t.Parallel()
	w := begin(t, visits(schema.Sequelize), 2000)
	for _, c := range []struct {
		name    string
		path    plan.Path
		results int
		entries int
		node    cond.Node
	}{
		{"a value", plan.Index, 10, 1, eq("user", 7)},
		{"three pages", plan.Index, 600, 3, in("page", 7, 8, 9)},
		{"two indexes", plan.Intersect, 29, 2, and(eq("page", 7), eq("browser", 3))},
		{"nobody's value", plan.Index, 0, 0, eq("user", 5000)},
	} {
		src := w.source()
		q := w.where(c.node)
		explained, err := src.Explain(w.ctx, q)
		w.must(err)
		ids, used := w.findAtOnce(src, q)
		if explained.Path != c.path || len(ids) != c.results {
			t.Errorf("%s: path %s finds %d", c.name, explained.Path, len(ids))
		}
		if int(used.Keys.Load()) != explained.Cost.Keys || int(used.Requests.Load()) != explained.Cost.Requests {
			t.Errorf("%s: %d keys with %d requests; Explain says %d with %d", c.name, used.Keys.Load(), used.Requests.Load(), explained.Cost.Keys, explained.Cost.Requests)
		}
		if got := int(used.Keys.Load()); got != c.entries+c.results {
			t.Errorf("%s: %d keys were read, want %d lists and their records", c.name, got, c.entries)
		}
	}
}

// A value that has many more entries than was expected is given up for another path, and
// the next query knows it.
func plansAgainWhenSurprised(w *world) {
	for _, node := range []cond.Node{and(eq("kind", "all"), eq("user", 3)), and(eq("user", 3), eq("kind", "all"))} {
		src := w.source()
		q := w.where(node)
		ids, first := w.find(src, q)
		if len(ids) != 9 || first.Keys.Load() > 100 {
			w.Errorf("%d are found, with %d keys", len(ids), first.Keys.Load())
		}
		ids, second := w.find(src, q)
		if len(ids) != 9 || second.Keys.Load() != 20 || planned(second) != 2 {
			w.Errorf("the second time %d are found, with %d keys and %d requests", len(ids), second.Keys.Load(), planned(second))
		}
		if p, err := src.Explain(w.ctx, q); err != nil || p.Path != plan.Index || p.Index.Name != "user" {
			w.Errorf("the plan is by %s %s, %v", p.Path, p.Index.Name, err)
		}
	}

	// Most of the model, found by an index: it is scanned in the end.
	src := w.source()
	ids, used := w.find(src, w.where(eq("kind", "all")))
	if len(ids) != 3600 || used.Keys.Load() > many+100 {
		w.Errorf("%d are found, with %d keys", len(ids), used.Keys.Load())
	}

	// What was read already is not read again for a plan that is a little better.
	src = w.source()
	ids, used = w.find(src, w.where(eq("page", 3)))
	if len(ids) != 400 || used.Keys.Load() > 810 {
		w.Errorf("%d are found, with %d keys", len(ids), used.Keys.Load())
	}
}

// More entries than one request gives are read all, or as far as a limit needs them.
func largeLookups(w *world) {
	for name, node := range map[string]cond.Node{
		"one value":        eq("country", "A"),
		"with more":        and(eq("country", "A"), cond.Node{Op: cond.Gte, Column: "id", Values: []any{0}}),
		"as an union":      or(eq("country", "A"), eq("ticket", "t0")),
		"with a corner":    and(in("country", "A", "nowhere"), eq("note", "x")),
		"as intersection":  and(eq("country", "A"), in("page", numbers(10, 1)...)),
		"by many requests": and(in("user", numbers(400, 1)...), eq("country", "A")),
	} {
		src := w.source()
		for range testsize.Pick(1, 2, 2) { // with nothing known, and with what was learnt
			if ids, _ := w.find(src, w.where(node)); len(ids) != 1334 {
				w.Errorf("%s: %d are found", name, len(ids))
			}
			q := w.where(node)
			q.Limit = 10
			ids, used := w.find(src, q)
			if len(ids) != 10 {
				w.Errorf("%s: %d are found with a limit of 10", name, len(ids))
			}
			if name == "one value" && used.Keys.Load() > 150 {
				w.Errorf("%s: a limit of 10 reads %d keys", name, used.Keys.Load())
			}
			if n, err := query.Count(w.ctx, src, w.where(node)); err != nil || n != 1334 {
				w.Errorf("%s: counted %d, %v", name, n, err)
			}
		}
	}
}

// moving is a source in which something happens before the first records are read, and
// after they were looked up.
type moving struct {
	*access.Source
	once sync.Once
	move func()
}

func (m *moving) Candidates(ctx context.Context, q plan.Query, all bool) (query.Candidates, error) {
	c, err := m.Source.Candidates(ctx, q, all)
	c.Get = m.Get
	return c, err
}

func (m *moving) Get(ctx context.Context, keys []string, each func(int, store.Message)) error {
	m.once.Do(m.move)
	return m.Source.Get(ctx, keys, each)
}

// A value that goes from one record to another between the lookup and the reading of
// the records is found where it is then.
func TestValuesThatMoveAreFound(t *testing.T) {
	t.Parallel()
	with := func(id int, column, v string) string {
		return strings.Replace(visit(id), fmt.Sprintf(`"%s":%s`, column, of(visit(id), column)), fmt.Sprintf(`"%s":%s`, column, v), 1)
	}
	for _, c := range []struct {
		name    string
		def     *schema.Definition
		n       int
		node    cond.Node
		column  string
		results int // of which all but record 1 stay
		path    plan.Path
	}{
		{"a value", visits(schema.Native), 20, eq("user", 0), "user", 10, plan.Index},
		{"a unique value", visits(schema.Native), 20, eq("ticket", "t1"), "ticket", 1, plan.Unique},
		{"a list", visits(schema.Sequelize), 20, eq("user", 0), "user", 10, plan.Index},
		{"alternatives", visits(schema.Native), 20, or(eq("user", 0), eq("ticket", "nobody's")), "user", 10, plan.Union},
		{"two indexes", visits(schema.Native), many, and(eq("page", 1), eq("browser", 0)), "page", 58, plan.Intersect},
		{"more than a request gives", visits(schema.Native), 3300, eq("country", "B"), "country", 1100, plan.Index},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t, c.def, c.n)
			src := w.source()
			p, err := src.Explain(w.ctx, w.where(c.node)) // now it knows how many have a value
			w.must(err)
			if p.Path != c.path {
				t.Errorf("the path is %s", p.Path)
			}
			before, _ := w.find(src, w.where(c.node))
			if len(before) != c.results || !slices.Contains(before, "1") {
				t.Fatalf("before, %d are found: %v", len(before), before)
			}
			other := 12 // has none of these values, and the same browser
			if c.name == "two indexes" {
				other = 70 // browser 0, and page 0
			}
			v, free := of(visit(1), c.column), of(visit(other), c.column)
			move := func() {
				if c.column == "ticket" { // one after the other has it
					w.change(1, with(1, c.column, `"free"`))
					w.change(other, with(other, c.column, v))
					return
				}
				w.change(other, with(other, c.column, v))
				w.change(1, with(1, c.column, free))
			}
			after, _ := w.find(&moving{Source: src, move: move}, w.where(c.node))
			want := slices.DeleteFunc(slices.Clone(before), func(id string) bool { return id == "1" })
			want = append(want, fmt.Sprint(other))
			slices.Sort(want)
			slices.Sort(after)
			if !slices.Equal(after, want) {
				t.Errorf("%d are found, want %d: %v", len(after), len(want), after)
			}
		})
	}
}

// of is the JSON of a member of a visit.
func of(doc, column string) string {
	_, rest, _ := strings.Cut(doc, fmt.Sprintf(`"%s":`, column))
	end := strings.IndexAny(rest, ",}")
	return rest[:end]
}

// Of several lookups, one that is made already may miss a record that leaves one that is
// still to be made. It is among those that were written since.
func TestRecordsThatMoveBetweenLookups(t *testing.T) {
	t.Parallel()
	const most = 1500 // in two requests
	last := fmt.Sprint(most - 1)
	w := begin(t, visits(schema.Native), most)
	c, err := w.source().Candidates(w.ctx, w.where(in("user", numbers(most/10, 1)...)), true)
	w.must(err)
	if c.Lookups == nil {
		t.Fatal("nothing was looked up")
	}
	times := map[string]int{}
	first := true
	for b, err := range c.Chunks {
		w.must(err)
		for _, key := range b.Keys {
			times[keys.RecordID(key)]++
		}
		if first && len(b.Keys) > 0 {
			if times[last] > 0 {
				t.Fatal("the last lookup was made first")
			}
			first = false
			w.change(most-1, strings.Replace(visit(most-1), fmt.Sprintf(`"user":%d`, most/10-1), `"user":0`, 1))
		}
	}
	if !c.Lookups.Several() {
		t.Error("there was one lookup")
	}
	written, err := c.Lookups.Written(w.ctx)
	w.must(err)
	if len(written) != 1 || keys.RecordID(written[0].Key) != last || times[last] > 0 {
		t.Errorf("%v were written, and record %s was a candidate %d times", written, last, times[last])
	}
	if len(times) != most-1 {
		t.Errorf("%d candidates, want %d", len(times), most-1)
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("record %s was a candidate %d times", id, n)
		}
	}
}

// A value goes from one record to another between the lookup and the reading, and on to a
// third one while the lookup is made again. Whatever else is written meanwhile, it is found
// with few requests.
func TestRecordsThatMoveAfterALookup(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{schema.Native, schema.Sequelize} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := begin(t, visits(kind), 300)
			c, err := w.source().Candidates(w.ctx, w.where(eq("user", 7)), true)
			w.must(err)
			move := func(id, from, to int) {
				w.change(id, strings.Replace(visit(id), fmt.Sprintf(`"user":%d`, from), fmt.Sprintf(`"user":%d`, to), 1))
			}
			move(200, 20, 7) // it gets the value
			for id := 100; id < 150; id++ {
				w.change(id, strings.Replace(visit(id), `"note":"x"`, `"note":"y"`, 1))
			}
			var used usage.Usage
			found, err := c.Lookups.Written(usage.Measured(w.ctx, &used))
			w.must(err)
			ids := map[string]bool{}
			for _, m := range found {
				ids[keys.RecordID(m.Key)] = true
			}
			for id := 70; id < 80; id++ {
				if !ids[fmt.Sprint(id)] {
					t.Errorf("record %d has the value, and is not looked at", id)
				}
			}
			if !ids["200"] || len(ids) != 11 {
				t.Errorf("%d records are looked at, the one that got the value: %v", len(ids), ids["200"])
			}
			if n := used.Requests.Load() - used.Again.Load(); n > 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// A model that is known to be small is read with one request. Where delete markers are
// in its way, that is tried once.
func TestSmallModels(t *testing.T) {
	t.Parallel()
	w := begin(t, visits(schema.Native), 300)
	src := w.source()
	all := w.where(and())
	requests := func(src *access.Source) int {
		t.Helper()
		ids, used := w.find(src, all)
		if len(ids) != 50 {
			t.Errorf("%d are found", len(ids))
		}
		return planned(used)
	}
	w.drop(50, 300)
	scan := requests(src) // nothing is known
	if scan < 4 {
		t.Errorf("a scan took %d requests", scan)
	}
	if n := requests(src); n != 1 {
		t.Errorf("%d requests for what is known to be small", n)
	}
	if p, err := src.Explain(w.ctx, all); err != nil || !p.OneRequest() {
		t.Errorf("the plan is %+v, %v", p, err)
	}

	w.fill(1200)
	w.drop(50, 1200)
	scan = requests(w.source())
	for i, want := range []int{scan + 1, scan, scan} { // refused, and not tried again
		if n := requests(src); n != want {
			t.Errorf("query %d among delete markers took %d requests, want %d", i, n, want)
		}
	}
}

// drop deletes visits with their entries and claims, many at a time.
func (w *world) drop(from, to int) {
	w.Helper()
	var ops []store.Op
	for id := from; id < to; id++ {
		f, err := w.layout.Of([]byte(visit(id)))
		w.must(err)
		ops = append(ops, store.Op{Key: f.Record, Delete: true})
		for key := range f.IndexKeys() {
			ops = append(ops, store.Op{Key: key, Delete: true})
		}
	}
	for chunk := range slices.Chunk(ops, 250) {
		_, err := w.bucket.Batch(w.ctx, store.Batch{Ops: chunk})
		w.must(err)
	}
}

// What one handle of a model learns, one in another store knows too.
func statisticsAreShared(w *world) {
	src := w.source()
	inside := src.On(w.bucket)
	q := w.where(and(eq("kind", "all"), eq("page", 3)))
	if _, err := src.Explain(w.ctx, q); err != nil {
		w.Fatal(err)
	}
	p, err := inside.Explain(w.ctx, q)
	w.must(err)
	ids, used := w.find(inside, q)
	if p.Path != plan.Index || p.Index.Name != "page" || len(ids) != 400 || int(used.Keys.Load()) != p.Cost.Keys {
		w.Errorf("by %s %s %d are found with %d keys, want %d", p.Path, p.Index.Name, len(ids), used.Keys.Load(), p.Cost.Keys)
	}
	if p.Lookups[0].Matches != 400 {
		w.Errorf("page 3 is taken to have %d records", p.Lookups[0].Matches)
	}
}

// What a lookup cannot read is an error that names the key; what others lead to comes.
func TestCorruptEntries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		def  *schema.Definition
		key  string
		held string
		node cond.Node
		ids  []string
	}{
		{visits(schema.Native), "Visit.unique.ticket.t2", "?", in("ticket", "t1", "t2", "t3"), []string{"1", "3"}},
		{visits(schema.Sequelize), "Visit.index.user.0", "[1", in("user", 0, 1), []string{"10", "11", "12", "13", "14", "15", "16", "17", "18", "19"}},
	} {
		t.Run(c.def.Layout, func(t *testing.T) {
			t.Parallel()
			w := begin(t, c.def, 30)
			before, err := w.bucket.Get(w.ctx, c.key)
			w.must(err)
			w.spoil(c.key, c.held)
			var ids []string
			corrupt := 0
			for m, err := range query.Records(w.ctx, w.source(), w.where(c.node)) {
				if err == nil {
					ids = append(ids, keys.RecordID(m.Key))
					continue
				}
				var which *errs.CorruptError
				if !errors.As(err, &which) || which.Key != c.key || which.Model != "Visit" {
					t.Fatalf("got %v", err)
				}
				corrupt++
			}
			slices.Sort(ids)
			if corrupt != 1 || !slices.Equal(ids, c.ids) {
				t.Errorf("%d errors, and %v", corrupt, ids)
			}
			w.spoil(c.key, string(before.Value))
		})
	}
}

// Where a replica scans, its values may be old: the scan gives keys, and the records are
// read by servers that are not behind.
func TestScansOfReplicas(t *testing.T) {
	t.Parallel()
	w := begin(t, visits(schema.Native), 600)
	replicas, err := fault.NewBehind(w.ctx, w.bucket)
	w.must(err)
	src := w.source().On(replicas)
	for _, limit := range []int{-1, 7} {
		q := w.where(eq("note", "x"))
		q.Limit = limit
		c, err := src.Candidates(w.ctx, q, limit < 0)
		w.must(err)
		given := 0
		for b, err := range c.Chunks {
			w.must(err)
			if given += len(b.Keys); len(b.Records) > 0 {
				t.Fatalf("%d records are given without being read", len(b.Records))
			}
		}
		if given != 600 {
			t.Errorf("%d keys are given", given)
		}
		if ids, _ := w.find(src, q); len(ids) != 600 && len(ids) != limit {
			t.Errorf("%d are found", len(ids))
		}
	}
}

// An entry is left over when its writer has died. What it leads to is read, and dropped.
func TestEntriesWithoutTheirRecord(t *testing.T) {
	t.Parallel()
	w := begin(t, visits(schema.Native), 30)
	stray := []string{"Visit.index.user.0.777", "Visit.index.user.0.25", "Visit.unique.ticket.none"}
	for i, held := range []string{"", "", "4"} {
		w.spoil(stray[i], held)
	}
	if ids, used := w.find(w.source(), w.where(eq("user", 0))); len(ids) != 10 || used.Keys.Load() != 12+11 { // 777 is not there
		t.Errorf("%v are found, with %d keys", ids, used.Keys.Load())
	}
	if ids, _ := w.find(w.source(), w.where(eq("ticket", "none"))); len(ids) != 0 {
		t.Errorf("%v are found by the claim of nobody", ids)
	}
	if n, err := query.Count(w.ctx, w.source(), w.where(eq("user", 0))); err != nil || n != 10 {
		t.Errorf("counted %d, %v", n, err)
	}
	for _, key := range stray {
		w.must(w.bucket.KV().Delete(w.ctx, key))
	}
}
