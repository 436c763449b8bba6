package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// A model is moved to the other layout and back while two programs write, read, and
// change it in transactions: nobody sees a record missing, or one that is not there.
func TestChangeLayoutOnline(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	defineNode[nodeUser](t, db, natsorm.Name("User"))
	other := must[*natsorm.DB](t)(natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: db.KV().Bucket()}))
	t.Cleanup(func() { other.Close() })
	models := []*natsorm.Model[nodeUser]{defineNode[nodeUser](t, db, natsorm.Name("User")), defineNode[nodeUser](t, other, natsorm.Name("User"))}
	n := testsize.Pick(150, 150, 600) // of which a third has another key in each layout
	all := make([]*nodeUser, n)
	for i := range all {
		all[i] = &nodeUser{ID: int64(i - n/3), Name: fmt.Sprint("n", i%7), Email: ptr(fmt.Sprint("e", i))}
	}
	ok(t, models[0].BulkCreate(ctx, all))

	var stop atomic.Bool
	var calls [4]atomic.Int64
	var wg sync.WaitGroup
	worker := func(kind int, do func(m *natsorm.Model[nodeUser], i int) error) {
		for w, m := range models {
			wg.Go(func() {
				for i := w; !stop.Load(); i += 2 {
					testsize.Breathe() // two layout changes take eight seconds, whatever the load
					if err := do(m, i); err != nil {
						t.Errorf("kind %d: %v", kind, err)
						return
					}
					calls[kind].Add(1)
				}
			})
		}
	}
	id := func(i int) int64 { return int64(i%n - n/3) }
	worker(0, func(m *natsorm.Model[nodeUser], i int) error { // its e-mail never changes
		u, err := m.FindOne(ctx, natsorm.Eq("email", fmt.Sprint("e", i%n)))
		if err == nil && u.ID != id(i) {
			err = fmt.Errorf("found %d", u.ID)
		}
		return err
	})
	worker(1, func(m *natsorm.Model[nodeUser], i int) error {
		n, err := m.Update(ctx, natsorm.Set{"name": fmt.Sprint("n", i%11)}, natsorm.Eq("id", id(i*7)))
		if err == nil && n != 1 {
			err = fmt.Errorf("%d was not there", id(i*7))
		}
		return err
	})
	worker(2, func(m *natsorm.Model[nodeUser], i int) error {
		u := &nodeUser{ID: int64(-100_000 - i), Name: "fresh"}
		if err := m.Create(ctx, u); err != nil {
			return err
		}
		n, err := m.Destroy(ctx, natsorm.Eq("id", u.ID))
		if err == nil && n != 1 {
			err = fmt.Errorf("%d was not there", u.ID)
		}
		return err
	})
	dbs := []*natsorm.DB{db, other}
	worker(3, func(_ *natsorm.Model[nodeUser], i int) error { // two records exchange their names
		return dbs[i%2].Transaction(ctx, func(ctx context.Context) error {
			a, err := models[i%2].FindByPK(ctx, id(i*3))
			if err != nil {
				return err
			}
			b, err := models[i%2].FindByPK(ctx, id(i*5+1))
			if err != nil || a.ID == b.ID {
				return err
			}
			a.Name, b.Name = b.Name, a.Name
			if err := models[i%2].Save(ctx, a); err != nil {
				return err
			}
			return models[i%2].Save(ctx, b)
		})
	})
	for _, to := range []natsorm.Layout{natsorm.Native, natsorm.Sequelize} {
		var steps []natsorm.LayoutStep
		ok(t, db.ChangeLayout(ctx, "User", to, natsorm.LayoutProgress(func(s natsorm.LayoutStep, done, total int) {
			if len(steps) == 0 || steps[len(steps)-1] != s {
				steps = append(steps, s)
			}
		})))
		t.Logf("%v; calls %d %d %d %d", steps, calls[0].Load(), calls[1].Load(), calls[2].Load(), calls[3].Load())
		if got := models[1].Schema().Layout; got != to {
			t.Errorf("the layout is %s", got)
		}
		for key := range bucket(t, ctx, db) {
			if list := strings.HasPrefix(key, "User.index.") && strings.Count(key, ".") == 3; list == (to == natsorm.Native) && strings.HasPrefix(key, "User.index.") {
				t.Errorf("%s is left", key)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	for _, m := range models {
		if got := must[int](t)(m.Count(ctx)); got != n {
			t.Errorf("%d records", got)
		}
	}
	natsormtest.Prove(t, db)
}

// A change of the layout that is broken off goes on, or back; calls wait while it must be.
func TestChangeLayoutBrokenOff(t *testing.T) {
	t.Parallel()
	for _, at := range []natsorm.LayoutStep{natsorm.LayoutCopying, natsorm.LayoutWaiting, natsorm.LayoutCarrying, natsorm.LayoutCleaning} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprint(at, back), func(t *testing.T) {
				t.Parallel()
				ctx := within(t)
				db := natsormtest.New(t)
				users := defineNode[nodeUser](t, db, natsorm.Name("User"))
				for id := range int64(20) {
					ok(t, users.Create(ctx, &nodeUser{ID: id - 10, Name: fmt.Sprint("n", id%3)}))
				}
				want := bucket(t, ctx, db)
				short, cancel := context.WithCancel(ctx)
				err := db.ChangeLayout(short, "User", natsorm.Native, natsorm.LayoutAlone(), natsorm.LayoutProgress(func(s natsorm.LayoutStep, done, _ int) {
					if s == at {
						cancel()
					}
				}))
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v", err)
				}
				if at == natsorm.LayoutWaiting || at == natsorm.LayoutCarrying { // between the layouts
					done, cancel := context.WithCancel(ctx)
					cancel()
					if _, err := users.FindByPK(done, 1); err == nil {
						t.Error("a call did not wait")
					}
				}
				to := natsorm.Native
				if back {
					to = natsorm.Sequelize
				}
				ok(t, db.ChangeLayout(ctx, "User", to, natsorm.LayoutAlone()))
				if found := must[[]*nodeUser](t)(users.FindAll(ctx, natsorm.Eq("name", "n1"))); len(found) != 7 {
					t.Errorf("%d are found", len(found))
				}
				if n := must[int](t)(users.Count(ctx)); n != 20 {
					t.Errorf("%d records", n)
				}
				if !back {
					ok(t, db.ChangeLayout(ctx, "User", natsorm.Sequelize, natsorm.LayoutAlone()))
				}
				got := bucket(t, ctx, db)
				for key := range want {
					if len(got[key]) != len(want[key]) { // ids of a list may be in another order
						t.Errorf("%s is %q, was %q", key, got[key], want[key])
					}
				}
				if len(got) != len(want) {
					t.Errorf("%d keys, were %d: %v", len(got), len(want), got)
				}
			})
		}
	}
}

// What the other layout cannot keep stays as it is.
func TestChangeLayoutRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	define[user](t, db)
	if err := db.ChangeLayout(ctx, "user", natsorm.Sequelize, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "unique") {
		t.Errorf("got %v", err)
	}
	if err := db.ChangeLayout(ctx, "nobody", natsorm.Sequelize, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := db.ChangeLayout(ctx, "*", natsorm.Sequelize, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "character") {
		t.Errorf("a pattern as a name: %v", err)
	}
	type text struct {
		ID   string `json:"id" orm:"primaryKey"`
		Name string `json:"name" orm:"index"`
	}
	texts := define[text](t, db)
	for _, id := range []string{"a", "b", "no key"} {
		ok(t, texts.Create(ctx, &text{ID: id, Name: "n"}))
	}
	want := bucket(t, ctx, db)
	if err := db.ChangeLayout(ctx, "text", natsorm.Sequelize, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "no key") {
		t.Errorf("got %v", err)
	}
	sameBucket(t, bucket(t, ctx, db), want)
	if got := texts.Schema().Layout; got != "native" {
		t.Errorf("the layout is %s", got)
	}
	ok(t, texts.Create(ctx, &text{ID: "c", Name: "n"}))
	if found := must[[]*text](t)(texts.FindAll(ctx, natsorm.Eq("name", "n"))); len(found) != 4 {
		t.Errorf("%d are found", len(found))
	}
}

// A migration that died while calls waited goes on with what was written before that
// and after its copying: nobody misses it when calls go on.
func TestChangeLayoutGoesOnWithWhatWasWritten(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := defineNode[nodeUser](t, db, natsorm.Name("User"))
	for id := range int64(5) {
		ok(t, users.Create(ctx, &nodeUser{ID: id, Name: "old"}))
	}
	short, cancel := context.WithCancel(ctx)
	wrote := false
	err := db.ChangeLayout(short, "User", natsorm.Native, natsorm.LayoutAlone(), natsorm.LayoutProgress(func(s natsorm.LayoutStep, done, total int) {
		switch {
		case s == natsorm.LayoutCopying && done == total && !wrote:
			wrote = true
			must[int](t)(users.Update(ctx, natsorm.Set{"name": "late"}, natsorm.Eq("id", 3)))
		case s == natsorm.LayoutWaiting:
			cancel()
		}
	}))
	if !errors.Is(err, context.Canceled) || !wrote {
		t.Fatalf("got %v", err)
	}
	looked := false
	ok(t, db.ChangeLayout(ctx, "User", natsorm.Native, natsorm.LayoutAlone(), natsorm.LayoutProgress(func(s natsorm.LayoutStep, _, _ int) {
		if s != natsorm.LayoutCleaning || looked {
			return
		}
		looked = true // before the check at the end, which would mend it
		native := define[nodeUser](t, db, natsorm.Name("User"))
		if found := must[[]*nodeUser](t)(native.FindAll(ctx, natsorm.Eq("name", "late"))); len(found) != 1 {
			t.Errorf("%d are found", len(found))
		}
	})))
	if !looked {
		t.Error("there was no clean-up")
	}
}

// A model that has come to the native layout gets the indexes that the Sequelize layout refuses, of the same columns.
func TestChangeLayoutThenIndexesOfOtherKinds(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type post struct {
		ID    int64   `json:"id" orm:"primaryKey"`
		Title string  `json:"title" orm:"index"`
		Score float64 `json:"score" orm:"index"`
		Tags  []any   `json:"tags" orm:"index"` // each list as one text, as the Node library has it
	}
	old := defineNode[post](t, db)
	const n = 300
	all := make([]*post, n)
	for i := range all {
		all[i] = &post{ID: int64(i), Title: fmt.Sprint("Title ", i%3), Score: float64(i*7%n) / 4, Tags: []any{"all", fmt.Sprint("t", i%10)}}
	}
	ok(t, old.BulkCreate(ctx, all))
	if err := db.ChangeLayout(ctx, "post", natsorm.Native, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "tags") {
		t.Errorf("with an index of whole lists: %v", err)
	}
	ok(t, db.Alter(ctx, "post", natsorm.DropIndex("tags")))
	ok(t, db.ChangeLayout(ctx, "post", natsorm.Native, natsorm.LayoutAlone()))
	type indexed struct {
		ID    int64    `json:"id" orm:"primaryKey"`
		Title string   `json:"title" orm:"index,fold,ordered:best"`
		Score float64  `json:"score" orm:"ordered,ordered:best"`
		Tags  []string `json:"tags" orm:"index"`
	}
	posts := define[indexed](t, another(t, db), natsorm.Name("post"))
	for what, c := range map[string]struct {
		q    []natsorm.Query
		path string
		want int
	}{
		"a range":             {[]natsorm.Query{natsorm.Between("score", 1, 2.25)}, "ordered index", 6},
		"a range of one text": {[]natsorm.Query{natsorm.Eq("title", "Title 1"), natsorm.OrderBy("-score"), natsorm.Limit(7)}, "", 7},
		"letter case":         {[]natsorm.Query{natsorm.Eq("title", "TITLE 2")}, "", n / 3},
		"an element":          {[]natsorm.Query{natsorm.Contains("tags", "t4")}, "index", n / 10},
	} {
		found := must[[]*indexed](t)(posts.FindAll(ctx, c.q...))
		if p := must[natsorm.Plan](t)(posts.Explain(ctx, c.q...)); len(found) != c.want || c.path != "" && p.Access.Path != c.path {
			t.Errorf("%s: %d are found, want %d, by\n%s", what, len(found), c.want, p)
		}
	}
	// And back only without them.
	if err := db.ChangeLayout(ctx, "post", natsorm.Sequelize, natsorm.LayoutAlone()); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("back with indexes that the layout does not have: %v", err)
	}
}
