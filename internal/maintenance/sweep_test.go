package maintenance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
)

// commits is true of the write that commits a record: checked, and no fence.
func commits(op store.Op) bool {
	return strings.Contains(op.Key, ".shard_") && op.Conditional && op.Fence == 0
}

// A sweep takes what is left of programs that died, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	listed := func() schema.Definition { return listedPerson() }
	native := func() schema.Definition { return person(byName, byEmail) }
	every := func() schema.Definition { return person(everyKind...) }
	for _, c := range []struct {
		name  string
		def   func() schema.Definition
		spoil func(w *world)
		taken checking.Swept
		stays []string
	}{
		{"nothing", native, func(*world) {}, checking.Swept{}, nil},
		{"strays", native, func(w *world) {
			w.put("Person.index.name.Ann.2", "")
			w.put("Person.index.name.Eve.77", "")
			w.put(claim("c@x"), "2")
			w.put(claim("d@x"), "78")
		}, checking.Swept{Entries: 2, Claims: 2}, nil},
		{"strays of every kind", every, func(w *world) {
			ann, zoe := "."+keys.Place(value.OfString("a@x"), value.OfInt(1))+".1", "."+keys.Place(value.OfString("c@x"), value.OfInt(1168))+".1168"
			w.put("Person.index./email/1"+ann, "") // which is in no sample
			w.put("Person.index./email/2"+zoe, "") // whose record is not there
			w.put("Person.index./email"+zoe, "")
			w.put("Person.index.name/email.Bob"+ann, "")
			w.put("Person.unique.email=fold.A_x", "1")
			w.put("Person.index.tags=each.other.1", "")
		}, checking.Swept{Entries: 5, Claims: 1}, nil},
		{"dropped indexes of every kind", native, func(w *world) {
			ann := "." + keys.Place(value.OfString("Ann"), value.OfInt(1)) + ".1"
			w.put("Person.index./name"+ann, "")
			w.put("Person.index./name/1"+ann, "")
			w.put("Person.index./name/2"+ann, "")
			w.put("Person.index.email/name/1.a_x"+ann, "")
			w.put("Person.head./name.37", "")
			w.put("Person.unique.name=fold.ann", "1")
			w.put("Person.index.name=fold.ann.1", "")
			w.put("Person.index.name-email=fold.ann.a_x.1", "")
			w.put("Person.index.tags=each.all.1", "")
		}, checking.Swept{Leftovers: 9}, nil},
		{"strays in lists", listed, func(w *world) {
			w.put("Person.index.name.Ann", "[1,2,7]")
			w.put("Person.index.name.Eve", "[8]")
		}, checking.Swept{Entries: 3}, nil},
		{"a dropped index", native, func(w *world) {
			w.put("Person.index.email.a_x.1", "")
			w.put("Person.index.name-email.Ann.a_x.1", "")
			w.put(keys.Claim("Person", "name", nil)+".Ann", "1")
			w.put("Person.head.email.17", "")
		}, checking.Swept{Leftovers: 4}, nil},
		{"another layout", native, func(w *world) { w.put("Person.index.name.Bob", "[2]") }, checking.Swept{Leftovers: 1}, nil},
		{"another layout than lists", listed, func(w *world) { w.put("Person.index.name.Bob.2", "") }, checking.Swept{Leftovers: 1}, nil},
		{"keys of others", native, func(w *world) {
			w.put("Person.index.of.others", "x")
			w.put("Person.index.email.a_x.1", "with a value")
			w.put("Person.index.name.Bob", "no list")
			w.put("Person.unique.nothing.x", "x")
			w.put("Person.unique.name.Ann", "no owner!")
			w.put("Person.head.nothing.1", "")
			w.put("Persons.index.name.Ann.1", "x")
		}, checking.Swept{}, []string{"Person.index.of.others", "Person.index.email.a_x.1", "Person.index.name.Bob", "Person.unique.nothing.x", "Person.unique.name.Ann", "Person.head.nothing.1", "Persons.index.name.Ann.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, c.def())
			w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
			before := w.content(w.bucket)
			c.spoil(w)
			swept, err := maintenance.Sweep(w.ctx, w.bucket)
			w.must(err)
			if swept != c.taken {
				t.Errorf("taken: %+v, want %+v", swept, c.taken)
			}
			after := w.content(w.bucket)
			for _, key := range c.stays {
				if _, ok := after[key]; !ok {
					t.Errorf("%s was taken", key)
				}
				delete(after, key)
			}
			w.same("after the sweep", after, before)
			if again, err := maintenance.Sweep(w.ctx, w.bucket); err != nil || again != (checking.Swept{}) {
				t.Errorf("the next one has taken %+v, %v", again, err)
			}
		})
	}
}

// Whatever a sweep takes of a writer that has stalled between its entries and its record, and
// however often, the writer does what it was to do.
func TestSweepBesideAStalledWriter(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]schema.Definition{"native": person(byName, byEmail), "lists": listedPerson()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, def)
			w.save(m, doc(1, "Ann", "a@x"))
			for _, text := range []string{doc(2, "Bob", "b@x"), doc(1, "Eve", "e@x")} { // a create and an update
				stalling := fault.StallBefore(fault.Phased(w.session("b")), commits)
				done := make(chan error, 1)
				go func() { done <- save(w.ctx, m.On(stalling), text) }()
				<-stalling.Stalled()
				swept, err := maintenance.Sweep(w.ctx, w.bucket)
				w.must(err)
				if swept.Entries != 1 || name == "native" && swept.Claims != 1 {
					t.Errorf("taken of the writer: %+v", swept)
				}
				stalling.Resume()
				w.must(<-done)
			}
			for name, id := range map[string]string{"Bob": "2", "Eve": "1"} {
				if ids := w.find(m, name); len(ids) != 1 || ids[0] != id {
					t.Errorf("%s is %v", name, ids)
				}
			}
		})
	}
}

// The one who sweeps may stall too, before it takes what it has seen: what was put again
// meanwhile stays.
func TestStalledSweep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		stalls func(store.Op) bool
	}{
		{"before the fence", func(op store.Op) bool { return strings.Contains(op.Key, ".shard_") }},
		{"behind the fence", func(op store.Op) bool { return op.Key == "Person.index.name.Eve.1" }},
		{"before it takes a claim", func(op store.Op) bool { return op.Key == claim("e@x") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, person(byName, byEmail))
			w.save(m, doc(1, "Ann", "a@x"))
			w.put("Person.index.name.Eve.1", "")
			w.put(claim("e@x"), "1")
			stalling := fault.StallBefore(w.session("b"), c.stalls)
			done := make(chan error, 1)
			go func() {
				_, err := maintenance.Sweep(w.ctx, stalling)
				done <- err
			}()
			<-stalling.Stalled()
			w.must(save(w.ctx, m.On(fault.Phased(w.bucket)), doc(1, "Eve", "e@x")))
			stalling.Resume()
			w.must(<-done)
			if ids := w.find(m, "Eve"); len(ids) != 1 {
				t.Errorf("Eve is %v", ids)
			}
		})
	}
}

// An index that was dropped is declared again while a sweep is about to take what was left of it.
func TestSweepBesideADefine(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName))
	for i := range 20 {
		w.save(m, doc(i, "n", fmt.Sprint(i)))
		w.put(claim(fmt.Sprint(i)), fmt.Sprint(i))
	}
	stalling := fault.StallBefore(w.session("b"), func(op store.Op) bool { return op.Delete && strings.HasPrefix(op.Key, "Person.unique.") })
	done := make(chan error, 1)
	go func() {
		_, err := maintenance.Sweep(w.ctx, stalling)
		done <- err
	}()
	<-stalling.Stalled()
	w.define(w.bucket, person(byName, byEmail))
	stalling.Resume()
	w.must(<-done) // begin proves that no claim is missing
}

// What a model that was dropped has got late is taken, and what one of its name has is not.
func TestSweepOfADroppedModel(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	w.save(m, doc(1, "Ann", "a@x"))
	w.must(maintenance.Drop(w.ctx, w.bucket, "Person"))
	w.must(save(w.ctx, m, doc(2, "Bob", "b@x"))) // by one who knows nothing, and dies
	swept, err := maintenance.Sweep(w.ctx, w.bucket)
	w.must(err)
	if swept.Leftovers != 3 {
		t.Errorf("taken: %+v", swept)
	}
	if again, err := maintenance.Sweep(w.ctx, w.bucket); err != nil || again != (checking.Swept{}) {
		t.Errorf("the next one has taken %+v, %v", again, err)
	}
	m = w.define(w.bucket, person(byName, byEmail))
	w.save(m, doc(3, "Eve", "e@x"))
	if again, err := maintenance.Sweep(w.ctx, w.bucket); err != nil || again != (checking.Swept{}) {
		t.Errorf("of the new one it has taken %+v, %v", again, err)
	}
}

// A sweep ends what a program that died has begun.
func TestSweepEndsADropIndex(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	w.save(m, doc(1, "Ann", "a@x"))
	crashing := fault.CrashAfter(w.bucket, 1)
	if _, _, err := maintenance.DropIndex(w.ctx, crashing, "Person", "", []string{"name"}); !errors.Is(err, fault.ErrCrashed) {
		t.Fatalf("the drop ended with %v", err)
	}
	_, err := maintenance.Sweep(w.ctx, w.bucket)
	w.must(err)
	if strings.Contains(w.stored(), "dropping") {
		t.Errorf("it is still being dropped: %s", w.stored())
	}
	for key := range w.content(w.bucket) {
		if strings.HasPrefix(key, "Person.index.") {
			t.Errorf("%s is left", key)
		}
	}
}

// A sweep takes nothing of a bucket that is being restored, where entries come before records.
func TestSweepBesideARestore(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	for i := range 30 {
		w.save(m, doc(i, "n", fmt.Sprint(i)))
	}
	var file bytes.Buffer
	w.must(maintenance.Backup(w.ctx, w.bucket, "b", &file))
	target := w.session("target")
	held := fault.StallBefore(target, func(op store.Op) bool { return strings.Contains(op.Key, ".shard_") })
	done := make(chan error, 1)
	go func() { done <- maintenance.Restore(w.ctx, held, bytes.NewReader(file.Bytes()), false) }()
	<-held.Stalled()
	w.put2(target, "Person.index.name.n.5", "") // the part of the restore that has come through
	_, err := maintenance.Sweep(w.ctx, w.session("target"))
	w.refused(err, errs.ErrConflict, "being restored", "Restore again")
	held.Resume()
	w.must(<-done)
	w.prove(target)
	if _, err := maintenance.Sweep(w.ctx, target); err != nil {
		t.Errorf("after the restore: %v", err)
	}
}

// put2 is put into another bucket.
func (w *world) put2(s store.Store, key, value string) {
	w.Helper()
	w.must(s.Write(w.ctx, store.Op{Key: key, Value: []byte(value)})[0].Err)
}

// Several programs sweep beside writers that die, and one of them sweeps at a time.
func TestSweepers(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	var sweepers []*maintenance.Sweeper
	ctx, stop := context.WithCancel(w.ctx)
	var ended sync.WaitGroup
	for range 3 {
		s := maintenance.QuickSweeper(w.session("b"), 50*time.Millisecond, slog.New(slog.DiscardHandler))
		sweepers = append(sweepers, s)
		ended.Go(func() { s.Run(ctx) })
	}
	var dead atomic.Int64
	var writers sync.WaitGroup
	for k := range 3 {
		writers.Go(func() {
			for i := range testsize.Pick(20, 60, 600) {
				id := k*1000 + i%20
				text := doc(id, fmt.Sprint("n", i%7), fmt.Sprint(id, "@", i))
				if i%5 == 4 { // after its entry and its claim, and before its record
					if err := save(w.ctx, m.On(fault.CrashAfter(fault.Phased(w.bucket), 2)), text); err == nil {
						t.Error("a crashed writer was told that it is done")
					}
					dead.Add(1)
					continue
				}
				if err := save(w.ctx, m.On(fault.Phased(w.bucket)), text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	total := func() (all checking.Swept) {
		for _, s := range sweepers {
			all.Add(s.Swept())
		}
		return all
	}
	w.must(testbed.Until(w.ctx, func(ctx context.Context) error {
		report, err := checking.Check(ctx, w.bucket, m.Def, checking.Options{})
		if err == nil && len(report.Counts) > 0 {
			err = fmt.Errorf("%v are left", report.Counts)
		}
		return err
	}))
	stop()
	ended.Wait()
	if all := total(); all.Entries == 0 || all.Claims == 0 {
		t.Errorf("%d writers have died, and %+v was swept", dead.Load(), all)
	}
}
