package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// member is a model in which letter case does not matter to some indexes.
type member struct {
	ID    int64   `json:"id"    orm:"primaryKey"`
	Email string  `json:"email" orm:"unique,fold"`
	Name  *string `json:"name"  orm:"index,fold"`
	Team  string  `json:"team"  orm:"index:place,fold"`
	Desk  int     `json:"desk"  orm:"index:place,fold"`
	Note  string  `json:"note"`
}

// What the catalogue and the keys have of folded indexes is a durable format: see docs/format.md.
func TestGoldenFoldedIndexes(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type Member member
	members := define[Member](t, db, natsorm.Shards(4), natsorm.Index("email"), natsorm.Fold(natsorm.Unique("team", "email")))
	document := func() string {
		t.Helper()
		e, err := db.KV().Get(ctx, "_schema.Member")
		ok(t, err)
		return string(e.Value())
	}
	const columns = `"name":"Member","layout":"native","shards":4,"columns":[` +
		`{"name":"id","type":"int","primaryKey":true},{"name":"email","type":"string"},{"name":"name","type":"string"},` +
		`{"name":"team","type":"string"},{"name":"desk","type":"int"},{"name":"note","type":"string"}],`
	const want = `{"format":5,` + columns +
		`"indexes":[{"name":"email=fold","columns":["email"],"unique":true,"fold":true,"state":"ready"},` +
		`{"name":"name=fold","columns":["name"],"fold":true,"state":"ready"},` +
		`{"name":"team-desk=fold","columns":["team","desk"],"fold":true,"state":"ready"},` +
		`{"name":"email","columns":["email"],"state":"ready"},` +
		`{"name":"team-email=fold","columns":["team","email"],"unique":true,"fold":true,"state":"ready"}]}`
	if got := document(); got != want {
		t.Errorf("the catalogue has\n%s\nwant\n%s", got, want)
	}
	ok(t, members.Create(ctx, &Member{ID: 7, Email: "Alice", Name: ptr("Straße"), Team: "OPS", Desk: 3}))
	ok(t, members.Create(ctx, &Member{ID: 8, Email: "İK", Team: "ops"}))
	sameBucket(t, bucket(t, ctx, db), map[string]string{
		"Member.shard_3.7":                              `{"id":7,"email":"Alice","name":"Straße","team":"OPS","desk":3,"note":""}`,
		"Member.shard_0.8":                              `{"id":8,"email":"İK","name":null,"team":"ops","desk":0,"note":""}`,
		"Member.unique.email=fold.alice":                "7",
		"Member.unique.email=fold." + foldedIK:          "8",
		"Member.index.email.Alice.7":                    "",
		"Member.index.email." + writtenIK + ".8":        "",
		"Member.index.name=fold.strasse.7":              "",
		"Member.index.name=fold.=null.8":                "",
		"Member.index.team-desk=fold.ops.3.7":           "",
		"Member.index.team-desk=fold.ops.0.8":           "",
		"Member.unique.team-email=fold.ops.alice":       "7",
		"Member.unique.team-email=fold.ops." + foldedIK: "8",
	})
	for _, x := range members.Schema().Indexes { // all of the columns go, and older programs may come back
		ok(t, db.Alter(ctx, "Member", natsorm.DropIndex(x.Columns...)))
	}
	if got := document(); got != `{"format":1,`+strings.TrimSuffix(columns, ",")+"}" {
		t.Errorf("without the indexes the catalogue has\n%s", got)
	}
	if left := bucket(t, ctx, db); len(left) != 2 {
		t.Errorf("left are %v", slices.Sorted(maps.Keys(left)))
	}
}

const (
	foldedIK  = "i_k=t0QwUmxs1ehVM5hRD74W1Q" // "i", a combining dot, "k"
	writtenIK = "_K=YFHaInLEUQ5JFjX84Oslng"
)

// spellings are values of which those of a line are one value to a folded index.
var spellings = [][]string{
	{"ß", "SS", "ss", "ẞ", "Ss"}, {"ﬁ", "FI", "fi"}, {"İ", "i̇"}, {"I", "i"}, {"ı"}, {"\u212a", "k", "K"}, {"ſ", "S", "s"},
	{"Σ", "σ", "ς"}, {""}, {"é", "É"}, {"e\u0301"}, {"10%"}, {"a", "A"}, {"Ꭰ", "ꭰ"}, {"\U00010D50"}, {"\U00010D70"},
}

// sameSpelling reports whether two texts are one value to a folded index; one of them is in spellings.
func sameSpelling(a, b string) bool {
	return slices.ContainsFunc(spellings, func(same []string) bool { return slices.Contains(same, a) && slices.Contains(same, b) })
}

// Conditions of equality ignore letter case where an index does, whatever way the query takes; others do not.
func TestFoldedConditions(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	type word struct {
		ID   int     `json:"id" orm:"primaryKey"`
		Kind int     `json:"kind"`
		Text *string `json:"text"`
		Must string  `json:"must,omitempty"`
	}
	for name, c := range map[string]struct {
		indexes []natsorm.ModelOption
		path    string
	}{
		"by the index":             {[]natsorm.ModelOption{natsorm.Fold(natsorm.Index("text")), natsorm.Fold(natsorm.Index("must"))}, "index"},
		"beside one that does not": {[]natsorm.ModelOption{natsorm.Index("text"), natsorm.Index("must", "text"), natsorm.Fold(natsorm.Index("must", "text")), natsorm.Fold(natsorm.Index("text"))}, "index"},
		"by a scan":                {[]natsorm.ModelOption{natsorm.Fold(natsorm.Index("kind", "text", "must"))}, "scan"},
		"by another index":         {[]natsorm.ModelOption{natsorm.Index("text"), natsorm.Index("must"), natsorm.Fold(natsorm.Index("kind", "text", "must"))}, "scan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			var words []*word
			for _, same := range spellings {
				for _, s := range same {
					words = append(words, &word{ID: len(words), Text: ptr(s), Must: s})
				}
			}
			words = append(words, &word{ID: len(words)})
			m := define[word](t, db, append(c.indexes, natsorm.Name(strings.ReplaceAll(name, " ", "_")))...)
			ok(t, m.BulkCreate(ctx, words))
			found := func(c natsorm.Condition, want func(s string) bool, null bool) {
				t.Helper()
				var ids, wanted []int
				for _, w := range must[[]*word](t)(m.FindAll(ctx, c, natsorm.OrderBy("id"))) {
					ids = append(ids, w.ID)
				}
				for _, w := range words {
					if w.Text == nil && null || w.Text != nil && want(*w.Text) {
						wanted = append(wanted, w.ID)
					}
				}
				if !slices.Equal(ids, wanted) {
					t.Errorf("%+v: %v, want %v", c, ids, wanted)
				}
			}
			for _, w := range words[:len(words)-1] {
				s := *w.Text
				is := func(x string) bool { return sameSpelling(s, x) }
				not := func(x string) bool { return !is(x) }
				found(natsorm.Eq("text", s), is, false)
				found(natsorm.Ne("text", s), not, false)
				found(natsorm.In("text", s, nil), is, true)
				found(natsorm.NotIn("text", s), not, false)
				found(natsorm.NotIn("text", s, nil), not, false)
				found(natsorm.Not(natsorm.Eq("text", s)), not, false)
				found(natsorm.Eq("must", s), is, s == "") // null is the zero there
				found(natsorm.Ne("must", s), not, s != "")
				found(natsorm.StartsWith("text", s), func(x string) bool { return strings.HasPrefix(x, s) }, false)
				found(natsorm.Gt("text", s), func(x string) bool { return x > s }, false)
				found(natsorm.And(natsorm.Eq("text", s), natsorm.StartsWith("must", s)), func(x string) bool { return is(x) && strings.HasPrefix(x, s) }, false)
				found(natsorm.And(natsorm.Eq("text", s), natsorm.StartsWith("text", s)), func(x string) bool { return is(x) && strings.HasPrefix(x, s) }, false)
			}
			many := []any{}
			for i := range 12 { // more than are compared one after the other
				many = append(many, spellings[i][0])
			}
			among := func(x string) bool {
				return slices.ContainsFunc(many, func(y any) bool { return sameSpelling(x, y.(string)) })
			}
			found(natsorm.In("text", many...), among, false)
			found(natsorm.NotIn("text", many...), func(x string) bool { return !among(x) }, false)
			found(natsorm.IsNull("text"), func(string) bool { return false }, true)
			if p := must[natsorm.Plan](t)(m.Explain(ctx, natsorm.Eq("text", "SS"))); p.Access.Path != c.path || !strings.Contains(p.String(), `fold(text) = "ss"`) {
				t.Errorf("the plan is\n%s", p)
			}
			groups := must[[]natsorm.Record](t)(m.GroupBy(ctx, []string{"text"}, []natsorm.Aggregate{natsorm.CountRecords()}))
			if len(groups) != len(words) {
				t.Errorf("%d groups of %d texts", len(groups), len(words))
			}
			ordered := must[[]*word](t)(m.FindAll(ctx, natsorm.In("text", "SS", "fi", "é"), natsorm.OrderBy("text")))
			if !slices.IsSortedFunc(ordered, func(a, b *word) int { return strings.Compare(*a.Text, *b.Text) }) || len(ordered) != 10 {
				t.Errorf("%d in order", len(ordered))
			}
			// Pages go on where they were, whichever way the condition is written.
			page := must[[]*word](t)(m.FindAll(ctx, natsorm.Eq("text", "SS"), natsorm.OrderBy("id"), natsorm.Limit(2)))
			cursor := must[string](t)(m.Cursor(page[1], natsorm.Eq("text", "SS"), natsorm.OrderBy("id")))
			if rest := must[[]*word](t)(m.FindAll(ctx, natsorm.Eq("text", "ß"), natsorm.OrderBy("id"), natsorm.After(cursor))); len(rest) != 3 {
				t.Errorf("%d are left", len(rest))
			}
			if _, err := m.FindAll(ctx, natsorm.Eq("text", "s"), natsorm.OrderBy("id"), natsorm.After(cursor)); !errors.Is(err, natsorm.ErrInvalid) {
				t.Errorf("with another condition: %v", err)
			}
		})
	}
}

// Conditions ignore letter case from the declaration on, while the index is being built.
func TestFoldedIndexThatIsBeingBuilt(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	m := items(t, db, 200, different)
	building, built := make(chan struct{}), make(chan error, 1)
	began := sync.OnceFunc(func() { close(building) })
	go func() {
		_, err := natsorm.Define[builtItem](ctx, db, natsorm.Fold(natsorm.Index("name")), natsorm.BuildRate(100), natsorm.BuildProgress(func(int, int) { began() }))
		built <- err
	}()
	<-building
	other := another(t, db)
	ok(t, other.PauseBuild(ctx, "builtItem"))
	beside := define[builtItem](t, other)
	if x := beside.Schema().Indexes[0]; x.State == natsorm.IndexReady || !x.Fold {
		t.Errorf("the index is %+v", x)
	}
	want := must[int](t)(m.Count(ctx, natsorm.Eq("name", "n1")))
	if n := must[int](t)(beside.Count(ctx, natsorm.Eq("name", "N1"))); n != want || n == 0 {
		t.Errorf("%d are found while the index is built, of %d", n, want)
	}
	ok(t, other.ResumeBuild(ctx, "builtItem"))
	ok(t, <-built)
	if n := must[int](t)(m.Count(ctx, natsorm.Eq("name", "N1"))); n != want {
		t.Errorf("%d are found by the index, of %d", n, want)
	}
}

// Of those who create the same value at the same time, each in letters of its own, one does.
func TestFoldedValuesAreUnique(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, db *natsorm.DB) {
		ctx := within(t)
		members := define[member](t, db)
		forms := []string{"Strasse@x", "STRASSE@X", "straße@x", "Straße@x", "sTRASSE@x"}
		var created, refused atomic.Int32
		together(50, func(i int) {
			v := &member{ID: int64(i), Email: forms[i%len(forms)]}
			err := members.Create(ctx, v)
			var taken *natsorm.UniqueError
			switch {
			case err == nil:
				created.Add(1)
			case errors.As(err, &taken) && taken.Value == v.Email && slices.Equal(taken.Columns, []string{"email"}) && !taken.Undeclared:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
		all := must[[]*member](t)(members.FindAll(ctx))
		if created.Load() != 1 || refused.Load() != 49 || len(all) != 1 {
			t.Fatalf("%d were created, %d refused, there are %d", created.Load(), refused.Load(), len(all))
		}
		one := all[0]
		if !slices.Contains(forms, one.Email) {
			t.Errorf("what was written became %q", one.Email)
		}
		// The record may change how its own value is written, and the old one is the same value still.
		for _, form := range append(forms, "other", "Straße@x") {
			one.Email = form
			ok(t, members.Save(ctx, one))
			if got := must[*member](t)(members.FindOne(ctx, natsorm.Eq("email", strings.ToUpper(form)))); got.Email != form {
				t.Errorf("%q is stored as %q", form, got.Email)
			}
			if err := members.Create(ctx, &member{ID: 99, Email: strings.ToUpper(form)}); !errors.Is(err, natsorm.ErrUnique) {
				t.Errorf("beside %q: %v", form, err)
			}
		}
		if n := must[int](t)(members.Update(ctx, natsorm.Set{"email": "STRASSE@x"}, natsorm.Eq("email", "straße@X"))); n != 1 {
			t.Errorf("%d were updated", n)
		}
		ok(t, members.Create(ctx, &member{ID: 99, Email: "other"}))
		if _, err := members.Update(ctx, natsorm.Set{"email": "OTHER"}, natsorm.Eq("id", one.ID)); !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("to another's value: %v", err)
		}
		if err := members.BulkCreate(ctx, []*member{{ID: 101, Email: "ab"}, {ID: 102, Email: "AB"}}); !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("two in one call: %v", err)
		}
		if n := must[int](t)(members.Destroy(ctx, natsorm.Eq("email", "oTHER"))); n != 1 {
			t.Errorf("%d were destroyed", n)
		}
		ok(t, members.Create(ctx, &member{ID: 100, Email: "Other"}))
	})
}

// FindOrCreate and OnConflict find the record whose value differs in letter case.
func TestFoldedIdentities(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, db *natsorm.DB) {
		ctx := within(t)
		type guest struct {
			ID    int64  `json:"id" orm:"primaryKey,auto"`
			Email string `json:"email" orm:"unique,fold"`
			Badge string `json:"badge" orm:"unique"`
			Desk  string `json:"desk" orm:"unique:place"`
			Floor int    `json:"floor" orm:"unique:place"`
			Note  string `json:"note"`
		}
		type visitor struct {
			ID    int64  `json:"id" orm:"primaryKey,auto"`
			Email string `json:"email" orm:"unique,fold"`
		}
		visitors := define[visitor](t, db)
		ids := make([]int64, 40)
		var created atomic.Int32
		together(len(ids), func(i int) {
			email := []string{"Ann", "ANN", "ann", "aNN"}[i%4]
			v, made, err := &visitor{Email: email}, false, error(nil)
			if i%2 == 0 {
				v, made, err = visitors.FindOrCreate(ctx, natsorm.Where{"email": email}, nil)
			} else {
				made, err = visitors.Upsert(ctx, v, natsorm.OnConflict("email"))
			}
			if err != nil {
				t.Error(err)
				return
			}
			if ids[i] = v.ID; made {
				created.Add(1)
			}
		})
		if all := must[[]*visitor](t)(visitors.FindAll(ctx)); len(all) != 1 || created.Load() != 1 || slices.ContainsFunc(ids, func(id int64) bool { return id != all[0].ID }) {
			t.Fatalf("%d records, %d created, %v", len(all), created.Load(), ids)
		}
		guests := define[guest](t, db, natsorm.Unique("email"), natsorm.Fold(natsorm.Index("badge")))
		ok(t, guests.Create(ctx, &guest{Email: "Ann", Badge: "b1", Desk: "d"}))
		if v, made, err := guests.FindOrCreate(ctx, natsorm.Where{"email": "aNN"}, nil); err != nil || made || v.Email != "Ann" {
			t.Errorf("%+v, %v, %v", v, made, err)
		}
		if made, err := guests.Upsert(ctx, &guest{Email: "ANN", Badge: "b1", Desk: "d"}, natsorm.OnConflict("email")); err != nil || made {
			t.Errorf("on conflict: %v, %v", made, err)
		}
		if _, _, err := guests.FindOrCreate(ctx, natsorm.Where{"email": "ANN", "note": "n"}, nil); !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("with another note: %v", err)
		}
		// Of a unique value that only another index folds, several records may be equal.
		ok(t, guests.Create(ctx, &guest{Email: "bob", Badge: "B1", Desk: "D"}))
		if n := must[int](t)(guests.Count(ctx, natsorm.Eq("badge", "b1"))); n != 2 {
			t.Errorf("%d have the badge", n)
		}
		if _, _, err := guests.FindOrCreate(ctx, natsorm.Where{"badge": "b1"}, nil); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "only for OnConflict") {
			t.Errorf("by what is not one record's: %v", err)
		}
		v := &guest{Email: "carl", Badge: "B1", Desk: "D", Note: "by badge"}
		if made, err := guests.Upsert(ctx, v, natsorm.OnConflict("badge")); err != nil || made {
			t.Errorf("on conflict with an exact value: %v, %v", made, err)
		}
		if got := must[*guest](t)(guests.FindOne(ctx, natsorm.Eq("email", "CARL"))); got.ID != v.ID || got.Badge != "B1" {
			t.Errorf("%+v", got)
		}
		w := &guest{Email: "dora", Badge: "b2", Desk: "D", Floor: 0, Note: "by place"}
		if made, err := guests.Upsert(ctx, w, natsorm.OnConflict("desk", "floor")); err != nil || made || w.ID != v.ID {
			t.Errorf("by a place: %v, %v, %+v", made, err, w)
		}
		if n := must[int](t)(guests.Count(ctx)); n != 2 {
			t.Errorf("there are %d", n)
		}
	})
}

// A folded unique index over values that differ only in letter case is refused, and they are listed.
func TestFoldedDuplicatesAreListed(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	texts := []string{"Ann", "ann", "Bob", "ANN", "ß", "ss", "carl", ""}
	m := items(t, db, len(texts), func(i int) string { return texts[i] })
	_, err := natsorm.Define[builtItem](ctx, db, natsorm.Fold(natsorm.Unique("email")))
	var same *natsorm.DuplicatesError
	if !errors.As(err, &same) || !errors.Is(err, natsorm.ErrSchema) {
		t.Fatal(err)
	}
	var groups [][]string
	for _, g := range same.Groups {
		groups = append(groups, append([]string{strings.ToLower(g.Value)}, g.Keys...))
	}
	slices.SortFunc(groups, func(a, b []string) int { return strings.Compare(a[1], b[1]) })
	groups[1][0] = strings.ReplaceAll(groups[1][0], "ß", "ss") // the value is that of either
	if diff := cmp.Diff([][]string{{"ann", "0", "1", "3"}, {"ss", "4", "5"}}, groups); diff != "" {
		t.Error(diff)
	}
	if s := must[[]natsorm.Schema](t)(db.Models(ctx))[0]; len(s.Indexes) != 0 {
		t.Errorf("the catalogue has %+v", s.Indexes)
	}
	if n := must[int](t)(m.Count(ctx, natsorm.Eq("email", "ann"))); n != 1 {
		t.Errorf("without the index %d are found", n)
	}
	for id, to := range map[int]string{1: "a1", 3: "a3", 5: "s5"} {
		must[int](t)(m.Update(ctx, natsorm.Set{"email": to}, natsorm.Eq("id", id)))
	}
	again := define[builtItem](t, db, natsorm.Fold(natsorm.Unique("email")))
	if n := must[int](t)(again.Count(ctx, natsorm.Eq("email", "ANN"))); n != 1 {
		t.Errorf("%d are found", n)
	}
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair())) // what the first build took are strays now
}

// Where letter case cannot be ignored, the declaration is refused, and the error says what to do.
func TestFoldIsRefused(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type node struct {
		ID   int    `json:"id" orm:"primaryKey"`
		Name string `json:"name" orm:"index,fold"`
		Age  int    `json:"age"`
	}
	type plain struct {
		ID   int    `json:"id" orm:"primaryKey"`
		Name string `json:"name"`
		Age  int    `json:"age"`
	}
	record := func(columns []natsorm.ColumnSchema, indexes ...natsorm.IndexSchema) error {
		columns = append([]natsorm.ColumnSchema{{Name: "id", Type: natsorm.String, PrimaryKey: true}}, columns...)
		_, err := natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "r", Columns: columns, Indexes: indexes})
		return err
	}
	_, sequelize := natsorm.Define[node](ctx, db, natsorm.SequelizeLayout())
	_, number := natsorm.Define[plain](ctx, db, natsorm.Fold(natsorm.Index("age")))
	_, other := natsorm.Define[plain](ctx, db, natsorm.Fold(natsorm.Strict()))
	_, none := natsorm.Define[plain](ctx, db, natsorm.Fold(nil))
	for want, err := range map[string]error{
		"in the Sequelize layout letter case always matters":    sequelize,
		"no column of it is of type string":                     number,
		"folded index without columns":                          other,
		"folded index without columns; name":                    none,
		"set Index or Unique too":                               record([]natsorm.ColumnSchema{{Name: "a", Type: natsorm.String, Fold: true}}),
		"folded unique of a: no column of it is of type string": record([]natsorm.ColumnSchema{{Name: "a", Type: natsorm.Time, Fold: true, Unique: true}}),
		"folded index of id: id is the primary key":             record(nil, natsorm.IndexSchema{Columns: []string{"id"}, Fold: true}),
	} {
		if !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	define[node](t, db)
	if err := db.ChangeLayout(ctx, "node", natsorm.Sequelize, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "folded index of name") {
		t.Errorf("to the Sequelize layout: %v", err)
	}
	ok(t, db.Alter(ctx, "node", natsorm.DropIndex("name")))
	ok(t, db.ChangeLayout(ctx, "node", natsorm.Sequelize, natsorm.LayoutAlone()))
}

// What is done with indexes is done with folded ones: they are renamed, checked, repaired, swept, saved and
// restored, declared from what the catalogue says, and dropped.
func TestFoldedIndexesLive(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	members := define[member](t, db, natsorm.Index("name"))
	for i := range 30 {
		ok(t, members.Create(ctx, &member{ID: int64(i), Email: fmt.Sprint("E", i), Name: ptr([]string{"Ann", "ANN", "bob"}[i%3]), Team: "Ops", Desk: i % 2}))
	}
	found := func(m *natsorm.Model[member], conds ...natsorm.Query) int {
		t.Helper()
		return must[int](t)(m.Count(ctx, conds...))
	}
	intact := bucket(t, ctx, db)

	// Another program declares what the catalogue says, and nothing is new.
	other := another(t, db)
	s := members.Schema()
	records := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, other, s, natsorm.Strict()))
	if diff := cmp.Diff(s, records.Schema()); diff != "" {
		t.Error(diff)
	}
	if c := s.Columns[1]; !c.Unique || !c.Fold || c.Index {
		t.Errorf("%+v", c)
	}
	if c := s.Columns[2]; !c.Index || c.Fold { // it has both, and the other one says it
		t.Errorf("%+v", c)
	}

	// What is missing, what is too much and what is left over.
	kv := db.KV()
	ok(t, kv.Delete(ctx, "member.index.name=fold.ann.0"))
	ok(t, kv.Delete(ctx, "member.unique.email=fold.e1"))
	for key, text := range map[string]string{
		"member.index.name=fold.eve.1": "", "member.index.team-desk=fold.Ops.0.0": "", "member.unique.email=fold.nobody": "77",
		"member.index.email=fold.e2.2": "", "member.unique.name-email=fold.x.y": "3", "member.head.note=fold.3": "",
		"member.index.other=fold.e2.2": "", "member.index.email=folded.e2.2": "", // not natsorm's
	} {
		must[uint64](t)(kv.PutString(ctx, key, text))
	}
	intact["member.index.other=fold.e2.2"], intact["member.index.email=folded.e2.2"] = "", ""
	if swept, want := must[natsorm.Swept](t)(db.Sweep(ctx)), (natsorm.Swept{Entries: 2, Claims: 1, Leftovers: 3}); swept != want {
		t.Errorf("swept %+v, want %+v", swept, want)
	}
	report := must[natsorm.Report](t)(db.Check(ctx))
	kinds := map[natsorm.ProblemKind]int{}
	for _, p := range report.Models[0].Problems {
		kinds[p.Kind]++
	}
	if diff := cmp.Diff(map[natsorm.ProblemKind]int{natsorm.MissingEntry: 1, natsorm.MissingClaim: 1}, kinds); diff != "" {
		t.Errorf("%s\n%s", diff, report)
	}
	if repaired := must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair())); !repaired.Clean() {
		t.Errorf("%s", repaired)
	}
	sameBucket(t, bucket(t, ctx, db), intact)

	// A backup has them, and gives them back.
	file := backedUp(t, ctx, db)
	elsewhere := natsormtest.New(t)
	ok(t, elsewhere.Restore(ctx, bytes.NewReader(file)))
	sameBucket(t, bucket(t, ctx, elsewhere), intact)
	restored := define[member](t, elsewhere)
	if n := found(restored, natsorm.Eq("name", "aNN")); n != 20 {
		t.Errorf("%d are found in the restored bucket", n)
	}
	if err := restored.Create(ctx, &member{ID: 99, Email: "e3"}); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("in the restored bucket: %v", err)
	}

	// A column has another name, and its index has the name that it had.
	ok(t, db.Alter(ctx, "member", natsorm.RenameColumn("email", "mail"), natsorm.RenameColumn("team", "group")))
	if got := bucket(t, ctx, db); got["member.unique.email=fold.e4"] != "4" {
		t.Error("the claims are gone")
	}
	type renamed struct {
		ID    int64   `json:"id"    orm:"primaryKey"`
		Mail  string  `json:"mail"  orm:"unique,fold"`
		Name  *string `json:"name"  orm:"index,fold"`
		Group string  `json:"group" orm:"index:place,fold"`
		Desk  int     `json:"desk"  orm:"index:place,fold"`
	}
	now := define[renamed](t, another(t, db), natsorm.Name("member"))
	if n := must[int](t)(now.Count(ctx, natsorm.Eq("group", "OPS"), natsorm.Eq("desk", 1))); n != 15 {
		t.Errorf("%d are found by the new name", n)
	}
	if n := found(members, natsorm.Eq("email", "e7")); n != 1 {
		t.Errorf("%d are found by the old name", n)
	}
	var taken *natsorm.UniqueError
	if err := members.Create(ctx, &member{ID: 99, Email: "e3"}); !errors.As(err, &taken) || taken.Columns[0] != "email" || taken.Undeclared {
		t.Errorf("by the old name: %v", err)
	}

	// All indexes of the columns go.
	ok(t, db.Alter(ctx, "member", natsorm.DropIndex("mail"), natsorm.DropIndex("name")))
	for key := range bucket(t, ctx, db) {
		if strings.Contains(key, ".email=fold.") || strings.Contains(key, ".name") {
			t.Errorf("%s is left", key)
		}
	}
	if n := found(members, natsorm.Eq("name", "ann")); n != 0 {
		t.Errorf("without the index %d are found", n)
	}
	if n := found(members, natsorm.Eq("team", "OPS")); n != 30 {
		t.Errorf("with the other index %d are found", n)
	}
	ok(t, members.Create(ctx, &member{ID: 99, Email: "e3"}))
}

// A transaction finds what it wrote itself in other letters, and one that others made untrue begins again.
func TestFoldedIndexesInTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		members := define[member](t, db)
		ok(t, members.Create(ctx, &member{ID: 1, Email: "Ann", Name: ptr("Ann"), Team: "Ops"}))
		tries := 0
		ok(t, db.Transaction(ctx, func(tx context.Context) error {
			tries++
			n, err := members.Count(tx, natsorm.Eq("name", "ANN"))
			if err != nil {
				return err
			}
			if tries == 1 { // outside of it
				if err := members.Create(ctx, &member{ID: 2, Email: "Bob", Name: ptr("aNN")}); err != nil {
					return err
				}
			}
			if err := members.Create(tx, &member{ID: 10, Email: fmt.Sprint("N", n), Name: ptr("Carl")}); err != nil {
				return err
			}
			if v, err := members.FindOne(tx, natsorm.Eq("name", "cARL"), natsorm.Eq("email", fmt.Sprint("n", n))); err != nil || v == nil || v.ID != 10 {
				return fmt.Errorf("its own record: %v, %w", v, err)
			}
			if _, err := members.Update(tx, natsorm.Set{"email": "ANN"}, natsorm.Eq("email", "ann")); err != nil {
				return err
			}
			return nil
		}))
		if v := must[*member](t)(members.FindOne(ctx, natsorm.Eq("id", 10))); tries != 2 || v.Email != "N2" {
			t.Errorf("after %d tries it is %+v", tries, v)
		}
		if v := must[*member](t)(members.FindOne(ctx, natsorm.Eq("email", "ann"))); v.Email != "ANN" {
			t.Errorf("%+v", v)
		}
		err := db.Transaction(ctx, func(tx context.Context) error {
			return errors.Join(members.Create(tx, &member{ID: 20, Email: "Dora"}), members.Create(tx, &member{ID: 21, Email: "DORA"}))
		})
		if !errors.Is(err, natsorm.ErrUnique) {
			t.Errorf("one value twice: %v", err)
		}
		// Two transactions cannot take one value in different letters.
		var won atomic.Int32
		together(8, func(i int) {
			err := db.Transaction(ctx, func(tx context.Context) error {
				n, err := members.Count(tx, natsorm.Eq("team", []string{"new", "NEW", "New"}[i%3]))
				if err != nil || n > 0 {
					return errors.Join(err, errStop)
				}
				return members.Create(tx, &member{ID: int64(100 + i), Email: fmt.Sprint("t", i), Team: "nEW"})
			})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, errStop):
				t.Error(err)
			}
		})
		if n := must[int](t)(members.Count(ctx, natsorm.Eq("team", "new"))); n != 1 || won.Load() != 1 {
			t.Errorf("%d are in the team, %d transactions won", n, won.Load())
		}
	})
}

var errStop = errors.New("there is one")
