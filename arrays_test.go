package natsorm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// article is a record with lists.
type article struct {
	ID     int64     `json:"id" orm:"primaryKey"`
	Tags   []string  `json:"tags" orm:"index"`
	Scores []int64   `json:"scores,omitempty" orm:"index"`
	Flags  []bool    `json:"flags,omitempty"`
	Ratios []float64 `json:"ratios,omitempty"`
	Title  string    `json:"title"`
}

// entriesOf are the keys of a model's index entries in a bucket.
func entriesOf(t *testing.T, ctx context.Context, db *natsorm.DB, model string) (out []string) {
	t.Helper()
	for key := range bucket(t, ctx, db) {
		if rest, ok := strings.CutPrefix(key, model+".index."); ok {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out
}

// articleIDs are the keys of the articles that a query finds, in order.
func articleIDs(t *testing.T, ctx context.Context, m *natsorm.Model[article], q ...natsorm.Query) (out []int64) {
	t.Helper()
	for _, a := range must[[]*article](t)(m.FindAll(ctx, q...)) {
		out = append(out, a.ID)
	}
	slices.Sort(out)
	return out
}

// planned is the plan of a program that does not know yet how small the model is.
func planned[T any](t *testing.T, db *natsorm.DB, q ...natsorm.Query) natsorm.Plan {
	t.Helper()
	return must[natsorm.Plan](t)(define[T](t, another(t, db)).Explain(within(t), q...))
}

// The keys of an index of lists, and what the catalogue says of it, as docs/format.md has them.
func TestGoldenArrays(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type User struct {
		ID   int      `json:"id" orm:"primaryKey"`
		Tags []string `json:"tags" orm:"index"`
	}
	users := define[User](t, db, natsorm.Shards(16))
	ok(t, users.Create(ctx, &User{ID: 1, Tags: []string{"nats", "go", "go", "a.b", ""}}))
	ok(t, users.Create(ctx, &User{ID: 2}))
	want := map[string]string{
		"User.shard_1.1":                                    `{"id":1,"tags":["nats","go","go","a.b",""]}`,
		"User.shard_2.2":                                    `{"id":2,"tags":null}`,
		"User.index.tags=each.go.1":                         "",
		"User.index.tags=each.nats.1":                       "",
		"User.index.tags=each.a_b=LnM23I66h-9HLfVow1SCqw.1": "",
		"User.index.tags=each.=47DEQpj8HBSa-_TImW-5JA.1":    "",
	}
	if diff := cmp.Diff(want, bucket(t, ctx, db)); diff != "" {
		t.Error(diff)
	}
	const catalogue = `{"format":5,"name":"User","layout":"native","shards":16,"columns":[{"name":"id","type":"int","primaryKey":true},{"name":"tags","type":"json"}],` +
		`"indexes":[{"name":"tags=each","columns":["tags"],"state":"ready","elements":"string"}]}`
	e, err := db.KV().Get(ctx, "_schema.User")
	ok(t, err)
	if string(e.Value()) != catalogue {
		t.Errorf("the catalogue has\n%s\nwant\n%s", e.Value(), catalogue)
	}
	s := users.Schema()
	if x := s.Indexes[0]; x.Elements != natsorm.String || s.Columns[1].Elements != natsorm.String || !s.Columns[1].Index {
		t.Errorf("%+v", s)
	}
	// What it says can be declared.
	again := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, another(t, db), s))
	if diff := cmp.Diff(s, again.Schema()); diff != "" {
		t.Error(diff)
	}
	if n := must[int](t)(again.Count(ctx, natsorm.Contains("tags", "go"))); n != 1 {
		t.Errorf("%d have go", n)
	}
}

// Entries come and go with elements, however a record is written, and every path finds the
// same records.
func TestArrays(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		articles := define[article](t, db)
		ok(t, articles.Create(ctx, &article{ID: 1, Tags: []string{"go", "nats", "go"}, Scores: []int64{1, 2}, Flags: []bool{true}, Ratios: []float64{0.1, 2}}))
		ok(t, articles.BulkCreate(ctx, []*article{{ID: 2, Tags: []string{"nats", "db"}, Scores: []int64{2, -3}}, {ID: 3, Tags: []string{}}, {ID: 4}}))
		expect := func(want ...string) {
			t.Helper()
			slices.Sort(want)
			if got := entriesOf(t, ctx, db, "article"); !slices.Equal(got, want) {
				t.Errorf("the entries are %v, want %v", got, want)
			}
		}
		expect("tags=each.go.1", "tags=each.nats.1", "scores=each.1.1", "scores=each.2.1", "tags=each.nats.2", "tags=each.db.2", "scores=each.2.2", "scores=each.-3.2")
		for _, c := range []struct {
			path string
			q    natsorm.Condition
			want []int64
		}{
			{"index", natsorm.Contains("tags", "nats"), []int64{1, 2}},
			{"index", natsorm.Contains("scores", 2.0), []int64{1, 2}},
			{"index", natsorm.Contains("scores", json.Number("2.0")), []int64{1, 2}},
			{"index", natsorm.Contains("tags", "none"), nil},
			{"index", natsorm.ContainsAny("tags", "go", "db", "none"), []int64{1, 2}},
			{"index", natsorm.ContainsAll("tags", "nats", "db"), []int64{2}},
			{"index", natsorm.And(natsorm.Contains("tags", "nats"), natsorm.Contains("scores", -3)), []int64{2}},
			{"union", natsorm.Or(natsorm.Contains("tags", "go"), natsorm.Contains("scores", -3)), []int64{1, 2}},
			{"nothing", natsorm.ContainsAny("tags"), nil},
			{"nothing", natsorm.Contains("tags", nil), nil},
			{"nothing", natsorm.Not(natsorm.Contains("tags", nil)), nil},
			{"scan", natsorm.ContainsAll("tags"), []int64{1, 2, 3}},
			{"scan", natsorm.Not(natsorm.Contains("tags", "go")), []int64{2, 3}},
			{"scan", natsorm.Contains("flags", true), []int64{1}},
			{"scan", natsorm.Contains("ratios", 0.1), []int64{1}},
			{"scan", natsorm.Contains("ratios", 2), []int64{1}},
			{"scan", natsorm.Contains("title", ""), []int64{1, 2, 3, 4}},
			{"scan", natsorm.Eq("tags", []string{"nats", "db"}), []int64{2}},
		} {
			if got := articleIDs(t, ctx, articles, c.q); !slices.Equal(got, c.want) {
				t.Errorf("%+v finds %v, want %v", c.q, got, c.want)
			}
			if p := planned[article](t, db, c.q); p.Access.Path != c.path {
				t.Errorf("%+v: %s", c.q, p)
			}
		}
		p := planned[article](t, db, natsorm.ContainsAny("tags", "go", "db"))
		if text := p.String(); !strings.Contains(text, `filter tags contains any of ("go", "db")`) || !strings.Contains(text, `index (tags) "go" | "db": 2 entries`) {
			t.Errorf("the plan is\n%s", text)
		}
		where := must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"tags":{"containsAll":["go","nats"]},"scores":{"contains":1.0}}`)))
		if got := articleIDs(t, ctx, articles, where); !slices.Equal(got, []int64{1}) {
			t.Errorf("the condition in JSON finds %v", got)
		}

		must[int](t)(articles.Update(ctx, natsorm.Set{"tags": []string{"nats", "new"}}, natsorm.Contains("tags", "go")))
		must[int](t)(articles.Update(ctx, natsorm.Set{"title": "x"}, natsorm.Contains("tags", "db")))
		ok(t, articles.Save(ctx, &article{ID: 3, Tags: []string{"db"}}))
		must[int](t)(articles.Update(ctx, natsorm.Set{"tags": nil}, natsorm.Eq("id", 2)))
		expect("tags=each.new.1", "tags=each.nats.1", "scores=each.1.1", "scores=each.2.1", "scores=each.2.2", "scores=each.-3.2", "tags=each.db.3")
		must[int](t)(articles.Destroy(ctx, natsorm.ContainsAny("scores", 1, -3)))
		expect("tags=each.db.3")
	})
}

// What is not of an index's type has no entry, and is found all the same.
func TestArraysOfOtherElements(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	s := natsorm.Schema{Name: "Doc", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "list", Type: natsorm.JSON, Index: true, Elements: natsorm.Int},
	}}
	docs := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, s))
	for i, raw := range []string{`[1]`, `[1.0,"1",true]`, `["1"]`, `[1.5,null,[1]]`, `"1"`, `{"1":1}`, `null`, `[9223372036854775808]`} {
		ok(t, docs.Create(ctx, &natsorm.Record{"id": i, "list": json.RawMessage(raw)}))
	}
	if got := entriesOf(t, ctx, db, "Doc"); !slices.Equal(got, []string{"list=each.1.0", "list=each.1.1"}) {
		t.Errorf("the entries are %v", got)
	}
	// A program that does not say what the elements are may ask for any.
	s.Columns = []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "list", Type: natsorm.JSON}}
	free := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, another(t, db), s))
	for _, c := range []struct {
		path string
		q    natsorm.Condition
		want string
	}{
		{"index", natsorm.Contains("list", 1), "0 1"}, {"index", natsorm.Contains("list", 1.0), "0 1"}, {"scan", natsorm.Contains("list", "1"), "1 2"},
		{"scan", natsorm.Contains("list", true), "1"}, {"scan", natsorm.Contains("list", 1.5), "3"}, {"scan", natsorm.Contains("list", uint64(1<<63)), "7"},
		{"scan", natsorm.ContainsAny("list", 1, "1"), "0 1 2"}, {"index", natsorm.ContainsAll("list", 1, "1"), "1"}, {"scan", natsorm.Not(natsorm.Contains("list", 1)), "2 3 4 5 7"},
	} {
		got := ids(deref(must[[]*natsorm.Record](t)(free.FindAll(ctx, c.q, natsorm.OrderBy("id")))))
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v finds %v, want %s", c.q, got, c.want)
		}
		unread := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, another(t, db), s))
		if p := must[natsorm.Plan](t)(unread.Explain(ctx, c.q)); p.Access.Path != c.path {
			t.Errorf("%+v: %s", c.q, p)
		}
	}
	if _, err := docs.Count(ctx, natsorm.Contains("list", "1")); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "Doc: list: holds lists of elements of type int") {
		t.Errorf("of a program that says what they are: %v", err)
	}
}

func TestArraysRefused(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	column := func(typ natsorm.Type, change func(*natsorm.ColumnSchema)) []natsorm.ColumnSchema {
		c := natsorm.ColumnSchema{Name: "tags", Type: typ}
		change(&c)
		return []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}, c, {Name: "n", Type: natsorm.Int}}
	}
	tags := column(natsorm.JSON, func(c *natsorm.ColumnSchema) { c.Elements = natsorm.String })
	for what, c := range map[string]struct {
		s    natsorm.Schema
		want string
	}{
		"no elements":      {natsorm.Schema{Columns: column(natsorm.JSON, func(c *natsorm.ColumnSchema) { c.Index = true })}, "Elements says which"},
		"no list":          {natsorm.Schema{Columns: column(natsorm.String, func(c *natsorm.ColumnSchema) { c.Elements = natsorm.String })}, "column tags has type string, and so no Elements"},
		"elements of time": {natsorm.Schema{Columns: column(natsorm.JSON, func(c *natsorm.ColumnSchema) { c.Elements = natsorm.Time })}, `elements of type "time" cannot be looked for`},
		"unique":           {natsorm.Schema{Columns: tags, Indexes: []natsorm.IndexSchema{{Columns: []string{"tags"}, Unique: true}}}, "use an index that is not unique"},
		"compound":         {natsorm.Schema{Columns: tags, Indexes: []natsorm.IndexSchema{{Columns: []string{"n", "tags"}}}}, "give it an index of its own"},
		"a list of them":   {natsorm.Schema{Columns: tags, Indexes: []natsorm.IndexSchema{{Columns: []string{"n", "tags"}, Elements: natsorm.Int}}}, "Elements is for an index of one column"},
		"Sequelize":        {natsorm.Schema{Columns: tags, Layout: natsorm.Sequelize}, "the Sequelize layout has no indexes of the elements of lists"},
	} {
		c.s.Name = "M"
		if _, err := natsorm.DefineRecord(ctx, db, c.s); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	articles := define[article](t, db)
	for _, c := range []struct {
		q    natsorm.Condition
		want string
	}{
		{natsorm.Contains("tags", 1), "article: tags: holds lists of elements of type string"},
		{natsorm.ContainsAll("scores", 1, 1.5), "article: scores: holds lists of elements of type int"},
		{natsorm.ContainsAny("tags", []string{"a"}), "ContainsAny and ContainsAll take several values"},
		{natsorm.ContainsAny("title", "a"), "containsAny is for columns that hold lists"},
		{natsorm.Eq("tags", "a"), "compare it with a list"},
		{natsorm.Like("tags", "a"), "like is for columns of type string"},
	} {
		if _, err := articles.Count(ctx, c.q); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
	type other struct {
		ID   int64   `json:"id" orm:"primaryKey"`
		Tags []int64 `json:"tags" orm:"index"`
	}
	if _, err := natsorm.Define[other](ctx, db, natsorm.Name("article")); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), `index tags is of elements of type "string" in the catalogue and "int" in the code`) {
		t.Errorf("other elements: %v", err)
	}
	if err := db.ChangeLayout(ctx, "article", natsorm.Sequelize); err == nil {
		t.Error("the Sequelize layout takes an index of lists")
	}
}

// A record may have as many different elements as the limit says, and no more; one that was there
// before the index keeps what it has.
func TestArraysLimit(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		type plain struct {
			ID   int64    `json:"id" orm:"primaryKey"`
			Tags []string `json:"tags"`
			N    int      `json:"n"`
		}
		many := func(n, from int) (out []string) {
			for i := range n {
				out = append(out, "t"+strconv.Itoa(from+i))
			}
			return out
		}
		before := define[plain](t, db, natsorm.Name("M"))
		ok(t, before.Create(ctx, &plain{ID: 1, Tags: many(1000, 0)}))
		after := define[plain](t, db, natsorm.Name("M"), natsorm.Index("tags"))
		count := func(tag string, want int) {
			t.Helper()
			q := natsorm.Contains("tags", tag)
			if n := must[int](t)(after.Count(ctx, q)); n != want {
				t.Errorf("%d have %s, want %d", n, tag, want)
			}
			if p := must[natsorm.Plan](t)(after.Explain(ctx, q)); p.Access.Path != "index" {
				t.Errorf("the plan is\n%s", p)
			}
		}
		count("t999", 1)
		must[int](t)(after.Update(ctx, natsorm.Set{"n": 7}, natsorm.Eq("id", 1)))
		ok(t, after.Save(ctx, &plain{ID: 1, Tags: many(1000, 0), N: 8}))
		tooMany := func(err error) {
			t.Helper()
			if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "M: tags: has more than 256 different elements") {
				t.Errorf("refused with %v", err)
			}
		}
		tooMany(after.Save(ctx, &plain{ID: 1, Tags: many(1001, 0)}))
		tooMany(after.Create(ctx, &plain{ID: 2, Tags: many(257, 0)}))
		tooMany(db.Transaction(ctx, func(ctx context.Context) error { return after.Create(ctx, &plain{ID: 2, Tags: many(257, 0)}) }))
		ok(t, after.Create(ctx, &plain{ID: 2, Tags: append(many(256, 0), many(256, 0)...)}))
		count("t255", 2)
		ok(t, after.Save(ctx, &plain{ID: 2, Tags: many(256, 5000)}))
		ok(t, db.Transaction(ctx, func(ctx context.Context) error { return after.Save(ctx, &plain{ID: 2, Tags: many(256, 300)}) }))
		count("t300", 2)
		ok(t, after.Save(ctx, &plain{ID: 1, Tags: many(200, 0)})) // which takes 800 out
		count("t300", 1)
		must[int](t)(after.Destroy(ctx, natsorm.Contains("tags", "t0")))
		count("t0", 0)
	})
}

// Many writers add and remove tags of the same records, while others look.
func TestArraysConcurrently(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		articles := define[article](t, db)
		const records, tags = 10, 8
		for i := range records {
			ok(t, articles.Create(ctx, &article{ID: int64(i)}))
		}
		var wg sync.WaitGroup
		for w := range 50 {
			wg.Go(func() {
				for i := range testsize.Pick(4, 8, 40) {
					id, tag := int64((w+i)%records), "t"+strconv.Itoa((w*7+i)%tags)
					err := db.Transaction(ctx, func(ctx context.Context) error {
						a, err := articles.FindByPK(ctx, id)
						if err != nil {
							return err
						}
						if at := slices.Index(a.Tags, tag); at >= 0 {
							a.Tags = slices.Delete(a.Tags, at, at+1)
						} else {
							a.Tags = append(a.Tags, tag, tag)
						}
						return articles.Save(ctx, a)
					})
					if err != nil {
						t.Error(err)
						return
					}
					for _, a := range must[[]*article](t)(articles.FindAll(ctx, natsorm.Contains("tags", tag))) {
						if !slices.Contains(a.Tags, tag) {
							t.Errorf("%v was found by %s", a, tag)
						}
					}
				}
			})
		}
		wg.Wait()
		all := must[[]*article](t)(articles.FindAll(ctx))
		for i := range tags {
			tag := "t" + strconv.Itoa(i)
			var want []int64
			for _, a := range all {
				if slices.Contains(a.Tags, tag) {
					want = append(want, a.ID)
				}
			}
			slices.Sort(want)
			if got := articleIDs(t, ctx, articles, natsorm.Contains("tags", tag)); !slices.Equal(got, want) {
				t.Errorf("%s: the index has %v, the records %v", tag, got, want)
			}
		}
	})
}

// A transaction sees its own elements, and what it has looked for does not come behind its back.
func TestArraysInTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		articles := define[article](t, db)
		ok(t, articles.Create(ctx, &article{ID: 1, Tags: []string{"a", "b"}}))
		ok(t, articles.Create(ctx, &article{ID: 2, Tags: []string{"b"}}))
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			must[int](t)(articles.Update(ctx, natsorm.Set{"tags": []string{"c"}}, natsorm.Contains("tags", "a")))
			ok(t, articles.Create(ctx, &article{ID: 3, Tags: []string{"b", "c", "c"}}))
			for tag, want := range map[string][]int64{"a": nil, "b": {2, 3}, "c": {1, 3}} {
				if got := articleIDs(t, ctx, articles, natsorm.Contains("tags", tag)); !slices.Equal(got, want) {
					t.Errorf("inside, %s finds %v", tag, got)
				}
				if got := articleIDs(t, natsorm.Outside(ctx), articles, natsorm.Contains("tags", tag)); slices.Contains(got, 3) {
					t.Errorf("outside, %s finds %v", tag, got)
				}
			}
			return nil
		}))
		arrayPhantoms(t, ctx, []*natsorm.DB{db})
	})
}

// arrayPhantoms races two transactions that each create the first record with a tag, if there is
// none.
func arrayPhantoms(t *testing.T, ctx context.Context, dbs []*natsorm.DB) {
	articles := models[article](t, dbs)
	for round := range testsize.Pick(4, 8, 20) {
		tag := fmt.Sprint("round", round)
		race(t, ctx, dbs, func(ctx context.Context, i int, looked func()) error {
			m := articles[i%len(articles)]
			n, err := m.Count(ctx, natsorm.ContainsAll("tags", tag, "x"))
			if err != nil {
				return err
			}
			looked()
			if n > 0 {
				return nil
			}
			return m.Create(ctx, &article{ID: int64(100 + 2*round + i), Tags: []string{"x", tag, "y"}})
		})
		if n := must[int](t)(articles[0].Latest().Count(ctx, natsorm.Contains("tags", tag))); n != 1 {
			t.Fatalf("round %d: %d records", round, n)
		}
	}
}

// An index of lists is built over records that are there, beside a program that does not know it,
// renamed with its column, repaired, swept, backed up, dropped and built again.
func TestArraysWhileTheSchemaChanges(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type plain struct {
		ID   int64    `json:"id" orm:"primaryKey"`
		Tags []string `json:"tags"`
	}
	old := define[plain](t, db, natsorm.Name("article"))
	n := testsize.Pick(300, 1000, 5000)
	var list []*plain
	for i := range n {
		list = append(list, &plain{ID: int64(i), Tags: []string{"all", "t" + strconv.Itoa(i%10), "u" + strconv.Itoa(i)}})
	}
	ok(t, old.BulkCreate(ctx, list))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // a program that has not heard of the index
		defer close(stopped)
		for i := n; i < 3*n; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := old.Create(ctx, &plain{ID: int64(i), Tags: []string{"all", "late"}}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	beside := another(t, db)
	articles := define[article](t, beside)
	close(stop)
	<-stopped
	total := must[int](t)(articles.Count(ctx))
	if found := must[int](t)(articles.Count(ctx, natsorm.Contains("tags", "all"))); found != total {
		t.Errorf("the index leads to %d of %d records", found, total)
	}
	if found := must[int](t)(articles.Count(ctx, natsorm.Contains("tags", "late"))); found != total-n {
		t.Errorf("the index leads to %d of %d late records", found, total-n)
	}
	if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() {
		t.Error(report)
	}

	// What is missing is put back, what is too much is taken.
	ok(t, db.KV().Purge(ctx, "article.index.tags=each.t3.3"))
	must[uint64](t)(db.KV().PutString(ctx, "article.index.tags=each.stray.3", ""))
	report := must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	counts := report.Models[0].Counts
	if counts[natsorm.MissingEntry].Repaired != 1 || counts[natsorm.StrayEntry].Repaired != 1 {
		t.Errorf("the report is\n%s", report)
	}
	must[uint64](t)(db.KV().PutString(ctx, "article.index.tags=each.stray.3", ""))
	must[uint64](t)(db.KV().PutString(ctx, "article.index.title=each.x.3", ""))
	must[uint64](t)(db.KV().PutString(ctx, "article.index.tags-title=each.x.3", "")) // which no index has
	if swept := must[natsorm.Swept](t)(db.Sweep(ctx)); swept != (natsorm.Swept{Entries: 1, Leftovers: 1}) {
		t.Errorf("swept: %+v", swept)
	}
	ok(t, db.KV().Purge(ctx, "article.index.tags-title=each.x.3"))

	// A backup brings it back.
	want := bucket(t, ctx, db)
	file := backedUp(t, ctx, db)
	must[int](t)(articles.Update(ctx, natsorm.Set{"tags": []string{"gone"}}, natsorm.Lt("id", 20)))
	ok(t, db.Restore(ctx, bytes.NewReader(file)))
	sameBucket(t, bucket(t, ctx, db), want)
	if found := must[int](t)(articles.Count(ctx, natsorm.Contains("tags", "all"))); found != total {
		t.Errorf("after Restore the index leads to %d of %d records", found, total)
	}
	elsewhere := natsormtest.New(t)
	ok(t, elsewhere.Restore(ctx, bytes.NewReader(file)))
	if found := must[int](t)(define[article](t, elsewhere).Count(ctx, natsorm.Contains("tags", "t3"))); found != n/10 {
		t.Errorf("elsewhere the index leads to %d records", found)
	}

	// The index stays with its column under another name.
	ok(t, db.Alter(ctx, "article", natsorm.RenameColumn("tags", "labels")))
	type renamed struct {
		ID     int64    `json:"id" orm:"primaryKey"`
		Labels []string `json:"labels" orm:"index"`
	}
	labels := define[renamed](t, another(t, db), natsorm.Name("article"))
	ok(t, labels.Create(ctx, &renamed{ID: -1, Labels: []string{"all", "new"}}))
	if p := must[natsorm.Plan](t)(labels.Explain(ctx, natsorm.Contains("labels", "new"))); p.Access.Path != "index" {
		t.Errorf("the plan is\n%s", p)
	}
	for column, q := range map[string]func(natsorm.Condition) (int, error){
		"tags": func(c natsorm.Condition) (int, error) { return articles.Count(ctx, c) }, "labels": func(c natsorm.Condition) (int, error) { return labels.Count(ctx, c) },
	} {
		if found := must[int](t)(q(natsorm.Contains(column, "all"))); found != total+1 {
			t.Errorf("by %s the index leads to %d of %d records", column, found, total+1)
		}
	}
	ok(t, db.Alter(ctx, "article", natsorm.DropIndex("labels")))
	for _, e := range entriesOf(t, ctx, db, "article") {
		t.Errorf("after DropIndex there is %s", e)
	}
	if found := must[int](t)(labels.Count(ctx, natsorm.Contains("labels", "all"))); found != total+1 {
		t.Errorf("without the index %d of %d records are found", found, total+1)
	}
	e, err := db.KV().Get(ctx, "_schema.article")
	ok(t, err)
	if !bytes.HasPrefix(e.Value(), []byte(`{"format":5`)) { // scores has one still
		t.Errorf("the catalogue has %s", e.Value())
	}
	again := define[renamed](t, another(t, db), natsorm.Name("article"))
	if found := must[int](t)(again.Count(ctx, natsorm.Contains("labels", "all"))); found != total+1 {
		t.Errorf("built again, the index leads to %d of %d records", found, total+1)
	}
}
