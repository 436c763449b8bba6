package maintenance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// An index that is declared when there are records already finds all of them. One that
// cannot be read is left out, and Check names it.
func TestDefineBuildsNewIndexes(t *testing.T) {
	t.Parallel()
	for _, code := range []schema.Definition{person(), {}} {
		if code.Name == "" {
			code = listedPerson()
			code.Indexes = nil
		}
		t.Run(code.Layout, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, code)
			for i := range 150 {
				w.save(m, doc(i, fmt.Sprint("n", i%3), fmt.Sprint(i)))
			}
			w.put("Person.shard_1.corrupt", "{")

			code.Indexes = []schema.Index{byName}
			if code.Layout == schema.Native {
				code.Indexes = slices.Clone(everyKind)
			}
			m = w.define(w.bucket, code)
			for _, x := range m.Def.Indexes {
				if x.State != schema.Ready {
					t.Errorf("index %s is %s", x.Name, x.State)
				}
			}
			if ids := w.find(m, "n1"); len(ids) != 50 {
				t.Errorf("the new index finds %v", ids)
			}
			if err := save(w.ctx, m, doc(99, "late", "7")); code.Layout == schema.Native && !errors.Is(err, errs.ErrUnique) {
				t.Errorf("the value of record 7 was taken: %v", err)
			}
			report, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{})
			w.must(err)
			if len(report.Problems) != 1 || report.Problems[0].Kind != checking.CorruptRecord {
				t.Errorf("check says %+v", report.Problems)
			}
			w.remove("Person.shard_1.corrupt")

			before := w.stored()
			w.define(w.bucket, code)
			if now := w.stored(); now != before {
				t.Errorf("the same declaration made of the catalogue\n%s\nit was\n%s", now, before)
			}
		})
	}
}

// Who writes while an index is built maintains it already.
func TestDefineBesideWriters(t *testing.T) {
	t.Parallel()
	w := begin(t)
	plain := w.define(w.bucket, person())
	for i := range 300 {
		w.save(plain, doc(i, fmt.Sprint("n", i%3), fmt.Sprint(i)))
	}
	other := w.session("b")
	// The writers know the declaration from before the index is built, so they come in
	// when it is in the catalogue: the build waits for them there.
	stalling := fault.StallBefore(w.bucket, func(op store.Op) bool { return strings.HasPrefix(op.Key, "Person.index.") })
	built := make(chan error, 1)
	go func() {
		_, err := maintenance.Define(w.ctx, stalling, person(everyKind...), 16)
		built <- err
	}()
	<-stalling.Stalled()
	building := person(everyKind...)
	building.Indexes = slices.Clone(building.Indexes)
	for i := range building.Indexes {
		building.Indexes[i].State = schema.Building
	}
	late := w.model(other, building)
	var wg sync.WaitGroup
	for k := range 3 {
		wg.Go(func() {
			for i := k; i < 300; i += 3 {
				err := save(w.ctx, late, doc(i, fmt.Sprint("new", i%3), fmt.Sprint(i)))
				if i%10 == 0 {
					err = destroy(w.ctx, late, i)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	stalling.Resume()
	wg.Wait()
	w.must(<-built)
	m := w.define(w.bucket, person(everyKind...))
	if n := len(w.find(m, "n1")) + len(w.find(m, "new1")); n != 90 {
		t.Errorf("%d records are found", n)
	}
	w.repair(m.Def, func(p checking.Problem) bool { return p.Kind.Harmless() })
}

// Records that share a value do not allow a unique index. It is taken out, with what was
// declared together with it, and the model is as it was.
func TestDefineTakesOutWhatRecordsDoNotAllow(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person())
	for i := range 30 {
		w.save(m, doc(i, "n", fmt.Sprint("e", i%15)))
	}
	_, err := maintenance.Define(w.ctx, w.bucket, person(byName, byEmail), 16)
	w.refused(err, errs.ErrSchema, "Person cannot be made unique", "30 of its records share 15 values", `email "e3" of 3, 18`)
	if n := strings.Count(err.Error(), `email "e`); n != 10 {
		t.Errorf("the error names %d values:\n%v", n, err)
	}
	var same *errs.DuplicatesError
	if !errors.As(err, &same) || same.Model != "Person" || same.TotalGroups != 15 || same.TotalRecords != 30 || len(same.Groups) != 15 {
		t.Fatalf("%+v", same)
	}
	for _, g := range same.Groups {
		var n int
		if _, err := fmt.Sscanf(g.Value, "e%d", &n); err != nil || !slices.Equal(g.Columns, []string{"email"}) || !slices.Equal(g.Keys, []string{fmt.Sprint(n), fmt.Sprint(n + 15)}) {
			t.Errorf("%v: %+v", err, g)
		}
	}
	if def := w.stored(); strings.Contains(def, "email-") || strings.Contains(def, `"unique"`) || strings.Contains(def, "building") {
		t.Errorf("the catalogue still has the index: %s", def)
	}
	w.save(m, doc(100, "n", "e1")) // as before

	for i := range 30 {
		w.save(m, doc(i, "n", fmt.Sprint("e", i)))
	}
	w.must(destroy(w.ctx, m, 100))
	m = w.define(w.bucket, person(byName, byEmail))
	if n := len(w.find(m, "n")); n != 30 {
		t.Errorf("%d are found", n)
	}
	if err := save(w.ctx, m, doc(100, "n", "e1")); !errors.Is(err, errs.ErrUnique) {
		t.Errorf("a unique value was taken: %v", err)
	}
	w.repair(m.Def, func(p checking.Problem) bool { return p.Kind.Harmless() })
}

// Two processes that declare at the same time agree.
func TestDefineByTwoProcesses(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person())
	for i := range 40 {
		w.save(m, doc(i, fmt.Sprint("n", i%4), fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for i := range 6 {
		s := w.session("b")
		code := [][]schema.Index{{byName}, {byEmail}, {byEmail, byName}}[i%3]
		wg.Go(func() {
			def, err := maintenance.Define(w.ctx, s, person(code...), 16)
			if err != nil {
				t.Error(err)
				return
			}
			for _, x := range code {
				if at := def.Index(x.Name, x.Unique); at < 0 || def.Indexes[at].State != schema.Ready {
					t.Errorf("one that declared %s has %+v", x.Name, def.Indexes)
				}
			}
		})
	}
	wg.Wait()
	m = w.define(w.bucket, person())
	if len(m.Def.Indexes) != 2 {
		t.Errorf("the catalogue has %+v", m.Def.Indexes)
	}
	if n := len(w.find(m, "n1")); n != 10 {
		t.Errorf("%d are found", n)
	}
}

// A process that has built an index finds that another has taken it out, because of a
// record that came meanwhile: it begins again, and finds the same.
func TestDefineWhatAnotherTakesOut(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person())
	w.save(m, doc(1, "Ann", "a@x"))
	ready := func(op store.Op) bool {
		return op.Key == keys.Schema("Person") && !bytes.Contains(op.Value, []byte(`"building"`))
	}
	stalling := fault.StallBefore(w.bucket, ready)
	first := make(chan error, 1)
	go func() {
		_, err := maintenance.Define(w.ctx, stalling, person(byEmail), 16)
		first <- err
	}()
	<-stalling.Stalled()
	w.put("Person.shard_2.2", doc(2, "Bob", "a@x")) // by a program that does not know the index
	_, err := maintenance.Define(w.ctx, w.session("b"), person(byEmail), 16)
	w.refused(err, errs.ErrSchema, "cannot be made unique")
	stalling.Resume()
	w.refused(<-first, errs.ErrSchema, "cannot be made unique")
	if def := w.stored(); strings.Contains(def, `"indexes"`) {
		t.Errorf("the catalogue has %s", def)
	}
}

// A process that dies while it builds leaves the index to the next one.
func TestDefineAfterACrash(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person())
	for i := range 3 {
		w.save(m, doc(i, "n", fmt.Sprint(i)))
	}
	for n := 0; ; n++ {
		crashing := fault.CrashAfter(w.bucket, n)
		_, err := maintenance.Define(w.ctx, crashing, person(everyKind...), 16)
		if !crashing.Crashed() {
			w.must(err)
			break
		}
		if !errors.Is(err, fault.ErrCrashed) {
			t.Fatalf("the process crashed with %v", err)
		}
		want := schema.Building
		if n == 1 {
			want = schema.Writing
		}
		if now := w.define(w.bucket, person()); n > 0 && (len(now.Def.Indexes) != len(everyKind) || now.Def.Indexes[0].State != want) {
			t.Fatalf("after %d writes the catalogue has %+v", n, now.Def.Indexes)
		}
	}
	if n := len(w.find(w.define(w.bucket, person()), "n")); n != 3 {
		t.Errorf("%d are found", n)
	}
}

// Two declarations that contradict each other: the first one holds.
func TestDefineRefuses(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.define(w.bucket, person(byName))
	before := w.stored()
	for name, change := range map[string]func(*schema.Definition){
		"shards": func(d *schema.Definition) { d.Shards = 8 },
		"layout": func(d *schema.Definition) { d.Layout = schema.Sequelize },
		"type":   func(d *schema.Definition) { d.Columns[1].Type = "int" },
		"column": func(d *schema.Definition) { d.Indexes = []schema.Index{schema.NewIndex(schema.PlainIndex, "nowhere")} },
	} {
		code := person(byName)
		change(&code)
		if _, err := maintenance.Define(w.ctx, w.bucket, code, 16); !errors.Is(err, errs.ErrSchema) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if now := w.stored(); now != before {
		t.Errorf("the catalogue has %s", now)
	}
	ended, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := maintenance.Define(ended, w.bucket, person(byEmail), 16); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}
