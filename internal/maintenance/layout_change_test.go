package maintenance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
)

// in is person in a layout, with an index that both layouts can keep.
func in(layout string) schema.Definition {
	def := person(byName)
	def.Layout = layout
	return def
}

func other(layout string) string {
	if layout == schema.Native {
		return schema.Sequelize
	}
	return schema.Native
}

// settle puts the records of these tests into a bucket: some have another key in each
// layout. It returns what the bucket holds.
func settle(w *world, b store.Store, layout string) *records.Model {
	w.Helper()
	m := w.define(b, in(layout))
	for i := range 24 {
		w.save(m, doc(i-8, fmt.Sprint("n", i%3), fmt.Sprint(i)))
	}
	return m
}

// alone is how long a change waits where no other program has to hear of it.
const alone = time.Millisecond

// settled is what a bucket holds with these records in a layout.
func settled(w *world, layout string) map[string]string {
	w.Helper()
	b := w.session("settled-" + layout)
	settle(w, b, layout)
	return w.content(b)
}

// A model that has moved is, key by key, one that was always there.
func TestChangeLayout(t *testing.T) {
	t.Parallel()
	for _, from := range []string{schema.Native, schema.Sequelize} {
		t.Run("from "+from, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			settle(w, w.bucket, from)
			// What nobody can read is not moved, and not lost.
			w.put("Person.shard_0.broken", "{")
			var steps []maintenance.Step
			change := maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: other(from), Progress: func(s maintenance.Step, done, total int) {
				if len(steps) == 0 || steps[len(steps)-1] != s {
					steps = append(steps, s)
				}
				if done > total {
					t.Errorf("%s: %d of %d are done", s, done, total)
				}
			}}
			w.refused(change.Run(w.ctx), errs.ErrCorrupt, "has the "+other(from)+" layout now", "Person.shard_0.broken")
			want := []maintenance.Step{maintenance.Copying, maintenance.Waiting, maintenance.Carrying, maintenance.Waiting, maintenance.Cleaning, maintenance.Checking}
			if !slices.Equal(steps, want) {
				t.Errorf("the steps were %v", steps)
			}
			if got := w.content(w.bucket)["Person.shard_0.broken"]; got != "{" {
				t.Errorf("the record that nobody can read is %q now", got)
			}
			w.remove("Person.shard_0.broken")
			want2 := settled(w, other(from))
			w.same("moved", w.content(w.bucket), want2)
			m := w.define(w.bucket, in(other(from)))
			if ids := w.find(m, "n1"); len(ids) != 8 {
				t.Errorf("%v are found", ids)
			}

			// Where it is already, a change only checks, and mends what it finds.
			w.put("Person.index.name.n1"+strings.Repeat(".777", strings.Count(other(from), "native")), strings.Repeat("[777]", strings.Count(other(from), "sequelize")))
			w.must(change.Run(w.ctx))
			w.same("checked", w.content(w.bucket), want2)
		})
	}
}

// What is written while entries are copied is carried over, also what moves to another
// key.
func TestChangeLayoutCarriesOver(t *testing.T) {
	t.Parallel()
	w := begin(t)
	old := settle(w, w.bucket, schema.Sequelize)
	var write, look sync.Once
	looked := false
	change := maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: schema.Native, Progress: func(s maintenance.Step, done, total int) {
		if s == maintenance.Copying && done == total { // all entries are copied, and programs go on
			write.Do(func() {
				w.save(old, doc(3, "late", "3"), doc(-3, "late", "-3"), doc(100, "late", "100"), doc(-100, "late", "-100"))
				w.must(destroy(w.ctx, old, 5))
				w.must(destroy(w.ctx, old, -5))
			})
		}
		if s == maintenance.Cleaning { // programs use the new layout, and nothing was mended yet
			look.Do(func() {
				looked = true
				m := w.define(w.bucket, in(schema.Native))
				ids := w.find(m, "late")
				slices.Sort(ids)
				if !slices.Equal(ids, []string{"-100", "-3", "100", "3"}) {
					t.Errorf("found %v", ids)
				}
				for _, name := range []string{"n0", "n1", "n2"} {
					if ids := w.find(m, name); slices.Contains(ids, "5") || slices.Contains(ids, "-5") {
						t.Errorf("found by %s: %v", name, ids)
					}
				}
			})
		}
	}}
	w.must(change.Run(w.ctx))
	if !looked {
		t.Error("there was no cleaning up")
	}
}

// A change that is broken off at any step goes on, or back.
func TestChangeLayoutBrokenOff(t *testing.T) {
	t.Parallel()
	for _, at := range []maintenance.Step{maintenance.Copying, maintenance.Waiting, maintenance.Carrying, maintenance.Cleaning} {
		for _, back := range []bool{true, false} {
			t.Run(fmt.Sprint(at, ", back ", back), func(t *testing.T) {
				t.Parallel()
				w := begin(t)
				settle(w, w.bucket, schema.Sequelize)
				ctx, cancel := context.WithCancel(w.ctx)
				defer cancel()
				err := (&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: schema.Native, Progress: func(s maintenance.Step, _, _ int) {
					if s == at {
						cancel()
					}
				}}).Run(ctx)
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("it was broken off with %v", err)
				}
				paused := strings.Contains(w.stored(), `"paused":true`)
				if want := at == maintenance.Waiting || at == maintenance.Carrying; paused != want {
					t.Errorf("calls wait: %v", paused)
				}
				to := schema.Native
				if back {
					to = schema.Sequelize
				}
				w.must((&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: to, Progress: func(s maintenance.Step, _, _ int) {
					if s == maintenance.Copying && paused {
						t.Error("calls were let go on while some records have moved")
					}
				}}).Run(w.ctx))
				w.same("in the end", w.content(w.bucket), settled(w, to))
			})
		}
	}
}

// A process that dies after any of its writes leaves what another one can finish.
func TestChangeLayoutAfterACrash(t *testing.T) {
	t.Parallel()
	const writes = 42 // a little more than a whole change makes
	for n := 0; n < writes; n += testsize.Pick(6, 1, 1) {
		t.Run(fmt.Sprint("write ", n), func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			settle(w, w.bucket, schema.Native)
			crashing := fault.CrashAfter(w.bucket, n)
			err := (&maintenance.LayoutChange{Grace: alone, Store: crashing, Model: "Person", To: schema.Sequelize}).Run(w.ctx)
			if !crashing.Crashed() {
				w.must(err)
				return
			}
			if !errors.Is(err, fault.ErrCrashed) {
				t.Fatalf("it crashed with %v", err)
			}
			w.must((&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: schema.Sequelize}).Run(w.ctx))
			w.same("in the end", w.content(w.bucket), settled(w, schema.Sequelize))
		})
	}
}

// What the new layout cannot keep stays as it is.
func TestChangeLayoutRefuses(t *testing.T) {
	t.Parallel()
	t.Run("model", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		w.define(w.bucket, person(byEmail))
		before := w.content(w.bucket)
		run := func(model, to string) error {
			return (&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: model, To: to}).Run(w.ctx)
		}
		w.refused(run("Person", schema.Sequelize), errs.ErrSchema, "unique email")
		w.refused(run("Person", "newer"), errs.ErrSchema, `"newer"`)
		w.refused(run("Nobody", schema.Sequelize), errs.ErrNotFound, `"Nobody"`)
		w.same("after the refusals", w.content(w.bucket), before)
	})
	t.Run("record", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		text := in(schema.Native)
		text.Columns[0].Type = "string"
		m := w.define(w.bucket, text)
		w.save(m, `{"id":"a","name":"n"}`, `{"id":"no key","name":"n"}`, `{"id":"z","name":"n"}`)
		before := w.content(w.bucket)
		err := (&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: schema.Sequelize}).Run(w.ctx)
		w.refused(err, errs.ErrInvalid, "Person no key cannot be moved")
		w.same("after the refusal", w.content(w.bucket), before)
	})
	t.Run("another change", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		settle(w, w.bucket, schema.Native)
		var once sync.Once
		err := (&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: schema.Sequelize, Progress: func(s maintenance.Step, _, _ int) {
			once.Do(func() {
				w.must((&maintenance.LayoutChange{Grace: alone, Store: w.session("b"), Model: "Person", To: schema.Native}).Run(w.ctx))
			})
		}}).Run(w.ctx)
		w.refused(err, errs.ErrConflict, "another program has moved Person")
		if def := w.stored(); strings.Contains(def, "moving") {
			t.Errorf("the catalogue has %s", def)
		}
		w.same("in the end", w.content(w.bucket), settled(w, schema.Native))
	})
}

// What others declare meanwhile is taken along, and never leaves calls waiting. While calls wait, so
// does a declaration.
func TestChangeLayoutBesideDeclarations(t *testing.T) {
	t.Parallel()
	for _, at := range []maintenance.Step{maintenance.Copying, maintenance.Waiting, maintenance.Carrying, maintenance.Cleaning} {
		for _, what := range []string{"column", "index"} {
			t.Run(fmt.Sprint(what, " while ", at), func(t *testing.T) {
				t.Parallel()
				w := begin(t)
				settle(w, w.bucket, schema.Native)
				more := in(schema.Native)
				if at == maintenance.Cleaning {
					more.Layout = schema.Sequelize
				}
				if what == "column" {
					more.Columns = append(slices.Clone(more.Columns), schema.Column{Name: "age", Type: "int"})
				} else {
					more.Indexes = append(slices.Clone(more.Indexes), schema.NewIndex(schema.PlainIndex, "email"))
				}
				theirs := w.session("b")
				declared := make(chan error, 1)
				var once sync.Once
				w.must((&maintenance.LayoutChange{Grace: alone, Store: w.bucket, Model: "Person", To: schema.Sequelize, Progress: func(s maintenance.Step, _, _ int) {
					if s != at {
						return
					}
					once.Do(func() {
						go func() {
							_, err := maintenance.Define(w.ctx, theirs, more, 16)
							declared <- err
						}()
						if at == maintenance.Copying { // so that the document has changed before it goes on
							w.must(testbed.Until(w.ctx, func(context.Context) error {
								if def := w.stored(); !strings.Contains(def, `"age"`) && !strings.Contains(def, `"writing"`) {
									return fmt.Errorf("the catalogue has %s", def)
								}
								return nil
							}))
						}
					})
				}}).Run(w.ctx))
				switch err := <-declared; {
				case at == maintenance.Waiting || at == maintenance.Carrying: // it has waited, and then the model had the other layout
					w.refused(err, errs.ErrSchema, "ChangeLayout")
				default:
					w.must(err)
				}
				if def := w.stored(); strings.Contains(def, "moving") || !strings.Contains(def, schema.Sequelize) {
					t.Errorf("the catalogue has %s", def)
				}
				// All is found in the layout that the model has, by the index that came meanwhile too.
				now := in(schema.Sequelize)
				now.Columns, now.Indexes = more.Columns, more.Indexes
				m := w.define(w.bucket, now)
				if ids := w.find(m, "n1"); len(ids) != 8 {
					t.Errorf("%v are found", ids)
				}
			})
		}
	}
}
