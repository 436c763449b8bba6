package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// person is a model that is altered.
type person struct {
	ID      int64     `json:"id" orm:"primaryKey"`
	Name    string    `json:"name" orm:"index"`
	Email   string    `json:"email" orm:"unique"`
	Visits  int       `json:"visits"`
	Extra   any       `json:"extra"`
	Secret  string    `json:"secret" orm:"hidden"`
	Version uint64    `json:"version" orm:"version"`
	Updated time.Time `json:"updated" orm:"updatedAt"`
}

func manyPersons(t *testing.T, db *natsorm.DB, n int) *natsorm.Model[person] {
	t.Helper()
	m := define[person](t, db)
	all := make([]*person, n)
	for i := range all {
		all[i] = &person{ID: int64(i), Name: fmt.Sprint("n", i%5), Email: fmt.Sprint("e", i), Extra: map[string]any{"a": i}}
	}
	ok(t, m.BulkCreate(within(t), all))
	return m
}

// shout is a change that can be made again.
func shout(r natsorm.Record) error {
	r["name"] = strings.ToUpper(r["name"].(string))
	return nil
}

// Rewrite changes every record with its entries and claims, and leaves the rest byte for byte.
func TestRewrite(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *natsorm.DB{"in memory": natsormtest.New, "in files": onFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := open(t)
			m := manyPersons(t, db, 300)
			before := must[*person](t)(m.FindByPK(ctx, 7))
			kv := db.KV()
			must[uint64](t)(kv.Put(ctx, "person.shard_7.7", []byte(`{"id":7,"foreign":[1, 2],"name":"n2","visits":1,"email":"e7","extra":{"b": 1,"a":2},"updated":"2020-01-01T00:00:00Z"}`)))
			w := must[*natsorm.Watcher[person]](t)(m.Watch(ctx, natsorm.Eq("id", 7)))
			defer w.Stop()

			var plan natsorm.AlterPlan
			ok(t, db.Alter(ctx, "person", natsorm.Rewrite(shout), natsorm.DryRun(&plan)))
			if len(plan.Changes) != 1 || plan.Changes[0] != (natsorm.PlannedChange{Change: "rewrite", Read: 300, Write: 300}) {
				t.Errorf("the plan is %+v", plan)
			}
			if n := must[int](t)(m.Count(ctx, natsorm.Eq("name", "n2"))); n != 60 {
				t.Errorf("a dry run has changed records: %d", n)
			}
			calls, last := 0, 0
			ok(t, db.Alter(ctx, "person", natsorm.Rewrite(func(r natsorm.Record) error {
				if _, ok := r["secret"]; !ok && r["id"] != int64(7) {
					return errors.New("the hidden column is not there")
				}
				return shout(r)
			}), natsorm.AlterProgress(func(change string, done, total int) { calls, last = calls+1, done })))
			if calls == 0 || last != 300 {
				t.Errorf("%d reports, the last of %d", calls, last)
			}
			if n := must[int](t)(m.Count(ctx, natsorm.Eq("name", "n2"))); n != 0 {
				t.Errorf("%d records are found by the old name", n)
			}
			if n := len(must[[]*person](t)(m.FindAll(ctx, natsorm.Eq("name", "N2")))); n != 60 {
				t.Errorf("%d records are found by the new name", n)
			}
			const want = `{"id":7,"foreign":[1, 2],"name":"N2","visits":1,"email":"e7","extra":{"b": 1,"a":2},"updated":"2020-01-01T00:00:00Z"}`
			if got := bucket(t, ctx, db)["person.shard_7.7"]; got != want {
				t.Errorf("the record is %s", got)
			}
			c := <-w.Changes()
			if c.Op != natsorm.Updated || c.Before.Name != "n2" || c.After.Name != "N2" || fmt.Sprint(c.Columns) != "[name]" {
				t.Errorf("the watch delivers %+v", c)
			}
			if err := m.Save(ctx, before); !errors.Is(err, natsorm.ErrConflict) {
				t.Errorf("a save of the version before: %v", err)
			}
			ok(t, db.Alter(ctx, "person", natsorm.Rewrite(shout), natsorm.DryRun(&plan)))
			if plan.Changes[0].Write != 0 {
				t.Errorf("again it would write %d", plan.Changes[0].Write)
			}
		})
	}
}

// An error names the record, and what was not rewritten is when Alter is called again.
func TestRewriteRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	m := manyPersons(t, db, 20)
	alter := func(f func(natsorm.Record) error) error { return db.Alter(ctx, "person", natsorm.Rewrite(f)) }
	at := func(id int64, do func(natsorm.Record) error) func(natsorm.Record) error {
		return func(r natsorm.Record) error {
			if r["id"] == id {
				return do(r)
			}
			return nil
		}
	}
	sentinel := errors.New("no")
	for name, test := range map[string]struct {
		f    func(natsorm.Record) error
		want error
		text string
	}{
		"its own error": {at(3, func(natsorm.Record) error { return sentinel }), sentinel, "record 3"},
		"panic":         {at(4, func(natsorm.Record) error { panic("oh") }), natsorm.ErrInvalid, "record 4"},
		"key":           {at(5, func(r natsorm.Record) error { r["id"] = int64(99); return nil }), natsorm.ErrInvalid, "primary key"},
		"no key":        {at(5, func(r natsorm.Record) error { delete(r, "id"); return nil }), natsorm.ErrInvalid, "primary key"},
		"type":          {at(6, func(r natsorm.Record) error { r["visits"] = "many"; return nil }), natsorm.ErrInvalid, "record 6"},
		"no column":     {at(6, func(r natsorm.Record) error { r["nobody"] = 1; return nil }), natsorm.ErrInvalid, "nobody"},
		"taken":         {at(7, func(r natsorm.Record) error { r["email"] = "e8"; return nil }), natsorm.ErrUnique, "record 7"},
		"nil":           {nil, natsorm.ErrInvalid, "nil function"},
	} {
		if err := alter(test.f); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := db.Alter(ctx, "person"); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("nothing: %v", err)
	}
	if err := db.Alter(ctx, "nobody", natsorm.Rewrite(shout)); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	err := db.Transaction(ctx, func(ctx context.Context) error { return db.Alter(ctx, "person", natsorm.Rewrite(shout)) })
	if !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("in a transaction: %v", err)
	}
	must[uint64](t)(db.KV().Put(ctx, "person.shard_9.9", []byte(`{"id":9,"name":`)))
	if err := alter(shout); !errors.Is(err, natsorm.ErrCorrupt) || !strings.Contains(err.Error(), "shard_9.9") {
		t.Errorf("corrupt: %v", err)
	}
	must[int](t)(m.Destroy(ctx, natsorm.Eq("id", 9)))
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	ok(t, alter(shout))
	if n := must[int](t)(m.Count(ctx, natsorm.StartsWith("name", "N"))); n != 19 {
		t.Errorf("%d were rewritten", n)
	}
}

// While records are rewritten, again and again, in both layouts and from one to the other,
// nobody's write is lost, and each pass reaches each record.
func TestRewriteBesideWriters(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("keeps the processors busy while a schema changes")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	other := another(t, db)
	n := testsize.Pick(100, 200, 1000)
	mine := defineNode[nodeUser](t, db, natsorm.Name("User"))
	models := []*natsorm.Model[nodeUser]{mine, defineNode[nodeUser](t, other, natsorm.Name("User"))}
	all := make([]*nodeUser, n)
	for i := range all {
		all[i] = &nodeUser{ID: int64(i - n/3), Name: "a", Email: ptr("0")}
	}
	ok(t, mine.BulkCreate(ctx, all))
	var stop atomic.Bool
	var wg sync.WaitGroup
	wrote := make([]int, n)
	for w, m := range models {
		wg.Go(func() {
			for i := w; !stop.Load(); i += 2 {
				wrote[i%n]++
				_, err := m.Update(ctx, natsorm.Set{"email": fmt.Sprint(wrote[i%n])}, natsorm.Eq("id", i%n-n/3))
				if err != nil {
					t.Error(err)
					return
				}
				testsize.Breathe()
			}
		})
	}
	round := 0
	pass := func() {
		round++
		name := fmt.Sprint("round ", round)
		ok(t, db.Alter(ctx, "User", natsorm.Rewrite(func(r natsorm.Record) error { r["name"] = name; return nil })))
		if got := len(must[[]*nodeUser](t)(mine.FindAll(ctx, natsorm.Eq("name", name)))); got != n {
			t.Errorf("%s reached %d of %d", name, got, n)
		}
	}
	for range 3 {
		pass()
	}
	moved := make(chan error)
	go func() { moved <- db.ChangeLayout(ctx, "User", natsorm.Native) }()
	for done := false; !done; {
		select {
		case err := <-moved:
			ok(t, err)
			done = true
		default:
			pass()
		}
	}
	pass()
	stop.Store(true)
	wg.Wait()
	for _, u := range must[[]*nodeUser](t)(mine.FindAll(ctx)) {
		if i := int(u.ID) + n/3; *u.Email != fmt.Sprint(wrote[i]) {
			t.Errorf("%d has %s, and %d was written", u.ID, *u.Email, wrote[i])
		}
	}
}

// A pass that is broken off goes on in another process.
func TestRewriteBrokenOff(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	m := manyPersons(t, db, 2000)
	short, cancel := context.WithCancel(ctx)
	err := db.Alter(short, "person", natsorm.Rewrite(func(r natsorm.Record) error {
		if r["id"].(int64) == 1500 {
			cancel()
		}
		return shout(r)
	}))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	ok(t, another(t, db).Alter(ctx, "person", natsorm.Rewrite(shout)))
	if n := must[int](t)(m.Count(ctx, natsorm.StartsWith("name", "N"))); n != 2000 {
		t.Errorf("%d were rewritten", n)
	}
}
