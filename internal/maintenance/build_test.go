package maintenance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/building"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// marking is a build in rounds of 20 records, each of which is marked.
var marking = building.Options{Rate: 400, MarkEvery: time.Nanosecond}

// people are records of a model without indexes.
func (w *world) people(n int) {
	w.Helper()
	m := w.define(w.bucket, person())
	for i := range n {
		w.save(m, doc(i, fmt.Sprint("n", i%3), fmt.Sprint(i)))
	}
}

// mark is what the bucket has of builds.
func (w *world) mark() (catalogue.Build, bool) {
	w.Helper()
	b, _, err := catalogue.ReadBuild(w.ctx, w.bucket, "Person")
	w.must(err)
	return b, b.Format > 0
}

// A program dies again and again in a build, each time long before it could do all of it. Each
// one goes on where the one before had come to.
func TestBuildGoesOnAtItsMark(t *testing.T) {
	t.Parallel()
	w := begin(t)
	const records, budget = 100, 330 // of 700 entries and claims, and marks
	w.people(records)
	last := 0
	for try := 1; ; try++ {
		if try > 10 {
			t.Fatal("the build does not come to its end")
		}
		first := -1
		o := marking
		o.Progress = func(done, total int) {
			if first < 0 {
				first = done
			}
			if total < records || done > total {
				t.Errorf("%d of %d", done, total)
			}
		}
		crashing := fault.CrashAfter(w.bucket, budget)
		_, err := maintenance.DefineWith(w.ctx, crashing, person(everyKind...), 16, o)
		if first != last {
			t.Errorf("try %d begins with %d records, the one before had marked %d", try, first, last)
		}
		if !crashing.Crashed() {
			w.must(err)
			if try < 3 {
				t.Errorf("the build took %d programs", try)
			}
			break
		}
		b, there := w.mark()
		if !there || b.Mark == nil || b.Mark.Done <= last {
			t.Fatalf("after try %d, %v: the mark is %+v", try, err, b.Mark)
		}
		last = b.Mark.Done
		if x := w.define(w.bucket, person()).Def.Indexes; len(x) != len(everyKind) || x[0].State != schema.Building {
			t.Errorf("after try %d the catalogue has %+v", try, x)
		}
	}
	if _, there := w.mark(); there {
		t.Error("the mark is left")
	}
	m := w.define(w.bucket, person())
	if n := len(w.find(m, "n1")); n != records/3 {
		t.Errorf("%d are found", n)
	}
	if err := save(w.ctx, m, doc(records, "n", "7")); !errors.Is(err, errs.ErrUnique) {
		t.Errorf("a unique value was taken: %v", err)
	}
}

// What a mark says of another bucket, another declaration, or a model that was emptied, moved or
// dropped since, counts for nothing. One of this very build does.
func TestBuildTrustsOnlyItsMark(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*catalogue.Mark){
		"bucket":      func(m *catalogue.Mark) { m.Bucket = m.Bucket.Add(time.Nanosecond) },
		"declaration": func(m *catalogue.Mark) { m.Indexes[0].Declared-- },
		"kind":        func(m *catalogue.Mark) { m.Indexes[0].Unique = true },
		"index":       func(m *catalogue.Mark) { m.Indexes[0].Name = "email" },
		"no index":    func(m *catalogue.Mark) { m.Indexes = nil },
		"born":        func(m *catalogue.Mark) { m.Born++ },
		"placed":      func(m *catalogue.Mark) { m.Placed++ },
		"emptied":     func(m *catalogue.Mark) { m.Emptied++ },
		"layout":      func(m *catalogue.Mark) { m.Layout = schema.Sequelize },
		"right":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			w.people(30)
			def, revision, err := catalogue.Load(w.ctx, w.bucket, "Person")
			w.must(err)
			x := byName
			x.Declared = revision
			mark := catalogue.NewMark(w.bucket, def, []schema.Index{x})
			mark.UpTo = math.MaxInt64
			if wrong != nil {
				wrong(&mark)
			}
			_, err = catalogue.WriteBuild(w.ctx, w.bucket, "Person", catalogue.Build{Mark: &mark}, 0)
			w.must(err)
			m := w.define(w.bucket, person(byName))
			n := len(w.find(m, "n1"))
			if _, there := w.mark(); there {
				t.Error("the mark is left")
			}
			if wrong != nil && n != 10 || wrong == nil && n != 0 {
				t.Errorf("%d records are found", n)
			}
			w.repair(m.Def, func(p checking.Problem) bool { return wrong == nil && p.Kind == checking.MissingEntry })
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"{", `{"format":2,"paused":true,"mark":{"upTo":9}}`} {
			w := begin(t)
			w.people(3)
			w.put(keys.Build("Person"), text)
			if n := len(w.find(w.define(w.bucket, person(byName)), "n1")); n != 1 {
				t.Errorf("%s: %d are found", text, n)
			}
		}
	})
}

// abandon leaves a build of byName at a mark, and returns it.
func (w *world) abandon() catalogue.Mark {
	w.Helper()
	crashing := fault.CrashAfter(w.bucket, 50)
	if _, err := maintenance.DefineWith(w.ctx, crashing, person(byName), 16, marking); !errors.Is(err, fault.ErrCrashed) {
		w.Fatal(err)
	}
	b, _ := w.mark()
	if b.Mark == nil {
		w.Fatal("no mark")
	}
	return *b.Mark
}

// A mark goes with the entries that it tells of, and an index that is declared again is built from the
// start, also when a builder that is late writes its mark once more.
func TestMarkGoesWithTheEntries(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(w *world) error{
		"drop index": func(w *world) error {
			_, _, err := maintenance.DropIndex(w.ctx, w.bucket, "Person", "", []string{"name"})
			return err
		},
		"empty":  func(w *world) error { return maintenance.Empty(w.ctx, w.bucket, "Person") },
		"drop":   func(w *world) error { return maintenance.Drop(w.ctx, w.bucket, "Person") },
		"layout": func(w *world) error { return w.toSequelize() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			w.people(60)
			mark := w.abandon()
			w.must(remove(w))
			if b, there := w.mark(); there {
				t.Errorf("there is %+v", b.Mark)
			}
			mark.UpTo = math.MaxInt64
			_, revision, err := catalogue.ReadBuild(w.ctx, w.bucket, "Person")
			w.must(err)
			_, err = catalogue.WriteBuild(w.ctx, w.bucket, "Person", catalogue.Build{Mark: &mark}, revision)
			w.must(err)
			code := person(byName)
			if name == "layout" {
				code.Layout = schema.Sequelize
			}
			m := w.define(w.bucket, code)
			w.save(m, doc(1000, "n1", "late"))
			report, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{})
			w.must(err)
			for _, p := range report.Problems {
				if !p.Kind.Harmless() {
					t.Errorf("%+v", p)
				}
			}
			want := 1
			if name == "drop index" || name == "layout" {
				want += 20
			}
			if n := len(w.find(m, "n1")); n != want {
				t.Errorf("%d are found, not %d", n, want)
			}
			w.repair(m.Def, func(p checking.Problem) bool { return p.Kind.Harmless() })
		})
	}
}

func (w *world) toSequelize() error {
	c := &maintenance.LayoutChange{Store: w.bucket, Model: "Person", To: schema.Sequelize, Grace: time.Millisecond}
	return c.Run(w.ctx)
}

// A build that is paused waits, in whatever program, until it is resumed; one whose time ends
// meanwhile says why.
func TestPausedBuild(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.people(60)
	if err := catalogue.Pause(w.ctx, w.bucket, "Person"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("nothing is being built: %v", err)
	}
	other := w.session("b")
	paused, began := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	done := 0
	now := func() int { mu.Lock(); defer mu.Unlock(); return done }
	o := marking
	o.Rate = 200 // rounds of ten
	o.Progress = func(n, _ int) {
		mu.Lock()
		defer mu.Unlock()
		if done = n; n == 20 {
			close(began)
		}
	}
	o.Paused = sync.OnceFunc(func() { close(paused) })
	built := make(chan error, 1)
	go func() {
		_, err := maintenance.DefineWith(w.ctx, w.session("b"), person(byName), 16, o)
		built <- err
	}()
	<-began
	w.must(catalogue.Pause(w.ctx, other, "Person"))
	<-paused
	stopped := now()
	if stopped >= 60 {
		t.Fatal("it was paused too late")
	}
	short, cancel := context.WithCancel(w.ctx)
	defer cancel()
	_, err := maintenance.DefineWith(short, other, person(byName), 16, building.Options{Paused: cancel})
	w.refused(err, context.Canceled, "build the indexes of Person", "paused", "DB.ResumeBuild")
	if b, _ := w.mark(); !b.Paused || b.Mark == nil || b.Mark.Done > stopped {
		t.Errorf("%d are done, and there is %+v, %+v", stopped, b, b.Mark)
	}
	if n := now(); n != stopped {
		t.Errorf("%d are done, %d when it was paused", n, stopped)
	}
	select {
	case err := <-built:
		t.Fatalf("the build has ended: %v", err)
	default:
	}
	w.must(catalogue.Resume(w.ctx, other, "Person"))
	w.must(catalogue.Resume(w.ctx, other, "Person"))
	w.must(<-built)
	if _, there := w.mark(); there {
		t.Error("the pause is left")
	}
	if n := len(w.find(w.define(w.bucket, person(byName)), "n1")); n != 20 {
		t.Errorf("%d are found", n)
	}
}

// Two programs build at the same time, and one of them pauses for long in the middle of a round: the other
// ends the build, and the first one finds that.
func TestBuildThatAnotherEnds(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.people(80)
	stalling := fault.StallBefore(w.session("b"), func(op store.Op) bool { return strings.HasPrefix(op.Key, "Person.index.name.n1") })
	built := make(chan error, 1)
	go func() {
		_, err := maintenance.DefineWith(w.ctx, stalling, person(byName), 16, marking)
		built <- err
	}()
	<-stalling.Stalled()
	_, err := maintenance.DefineWith(w.ctx, w.bucket, person(byName), 16, marking)
	w.must(err)
	before := w.content(w.bucket)
	start, err := w.bucket.Revision(w.ctx, store.Acknowledged)
	w.must(err)
	stalling.Resume()
	w.must(<-built)
	w.same("after the late one", w.content(w.bucket), before)
	end, err := w.bucket.Revision(w.ctx, store.Acknowledged)
	w.must(err)
	if end-start > 40 {
		t.Errorf("the late one has written %d messages more, of the 80 entries", end-start)
	}
}

// A build that has met duplicates marks nothing more, so that the one after a crash finds all of them.
func TestBuildFindsAllDuplicatesAfterACrash(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person())
	for i := range 60 {
		w.save(m, doc(i, "n", fmt.Sprint("e", i%50))) // ten values twice, the second time in the last round
	}
	w.save(m, doc(100, "n", "e1"))
	for i := range 40 {
		w.save(m, doc(200+i, "n", fmt.Sprint("f", i)))
	}
	crashing := fault.CrashAfter(w.bucket, 75)
	_, err := maintenance.DefineWith(w.ctx, crashing, person(byEmail), 16, marking)
	if !errors.Is(err, fault.ErrCrashed) {
		t.Fatal(err)
	}
	if b, _ := w.mark(); b.Mark != nil && b.Mark.Done > 40 {
		t.Errorf("the mark is beyond the duplicates: %+v", b.Mark)
	}
	_, err = maintenance.DefineWith(w.ctx, w.bucket, person(byEmail), 16, marking)
	var same *errs.DuplicatesError
	if !errors.As(err, &same) || same.TotalGroups != 10 || same.TotalRecords != 21 {
		t.Fatalf("%v", err)
	}
	if i := slices.IndexFunc(same.Groups, func(g errs.DuplicateGroup) bool { return g.Value == "e1" }); i < 0 || !slices.Equal(same.Groups[i].Keys, []string{"1", "51", "100"}) {
		t.Errorf("%+v", same.Groups)
	}
	if _, there := w.mark(); there {
		t.Error("the mark is left")
	}
}

// denying is a bucket in which a user may not write under a key.
type denying struct {
	store.Store
	key string
}

func (d denying) Write(ctx context.Context, ops ...store.Op) []store.Result {
	for _, op := range ops {
		if op.Key == d.key {
			return []store.Result{{Err: errs.ErrPermission}}
		}
	}
	return d.Store.Write(ctx, ops...)
}

// A user who may not mark a build builds all the same.
func TestBuildWithoutMarks(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.people(60)
	_, err := maintenance.DefineWith(w.ctx, denying{w.bucket, keys.Build("Person")}, person(byName), 16, marking)
	w.must(err)
	if _, there := w.mark(); there {
		t.Error("there is a mark")
	}
	if n := len(w.find(w.define(w.bucket, person(byName)), "n1")); n != 20 {
		t.Errorf("%d are found", n)
	}
}

// The bytes of what a build leaves in the bucket are fixed.
func TestGoldenBuild(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	b := catalogue.Build{Format: 1, Paused: true, Mark: &catalogue.Mark{Bucket: made, Born: 2, Placed: 3, Emptied: 4, Layout: "native", UpTo: 70, Done: 10, Total: 20,
		Indexes: []catalogue.MarkIndex{{Name: "name"}, {Name: "email", Unique: true, Declared: 5}}}}
	raw, err := json.Marshal(b)
	if want := `{"format":1,"paused":true,"mark":{"bucket":"2026-01-02T03:04:05.000000006Z","born":2,"placed":3,"emptied":4,"layout":"native","indexes":[{"name":"name"},{"name":"email","unique":true,"declared":5}],"upTo":70,"done":10,"total":20}}`; string(raw) != want || err != nil {
		t.Errorf("%s, %v; want\n%s", raw, err, want)
	}
	if keys.Build("User") != "_build.User" {
		t.Error(keys.Build("User"))
	}
}
