package checking_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/testsize"
)

// tiring is a store that ends a context after some reads.
type tiring struct {
	store.Store
	left int
	end  func()
}

func (s *tiring) GetEach(ctx context.Context, keys []string, each func(int, store.Message)) error {
	if s.left--; s.left < 0 {
		s.end()
		return context.Canceled
	}
	return s.Store.GetEach(ctx, keys, each)
}

// A check that is cut short again and again, and goes on in another process each time, tells
// every problem once, and a repair mends all of them.
func TestCheckGoesOn(t *testing.T) {
	t.Parallel()
	for _, mend := range []checking.Mend{checking.Nothing, checking.All} {
		t.Run(fmt.Sprint("mend ", mend), func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, person(byName, byEmail))
			pet := person(byName)
			pet.Name = "Animal"
			w.define(w.bucket, pet)
			const n = 700 // more than are judged together, and more than are read together
			ops := make([]store.Op, 0, 2*n)
			for i := range n {
				ops = append(ops, store.Op{Key: m.Layout.RecordKey(id(i)), Value: []byte(doc(i, "n", fmt.Sprint(i)))})
				ops = append(ops, store.Op{Key: fmt.Sprint("Person.index.name.x.", i)})
			}
			ops = append(ops, store.Op{Key: "Person.shard_0.broken", Value: []byte("{")}, store.Op{Key: "Animal.shard_1.1", Value: []byte("{")})
			for _, r := range w.bucket.Write(w.ctx, ops...) {
				w.must(r.Err)
			}
			told := map[checking.Problem]int{}
			o := checking.Options{Mend: mend, Each: func(_ string, p checking.Problem) {
				p.Detail = ""
				told[p]++
			}}
			var at *checking.Place
			rounds := 0
			for reads := 1; ; reads += testsize.Pick(6, 2, 1) {
				rounds++
				ctx, cancel := context.WithCancel(w.ctx)
				var err error
				o.From = at
				var reports []checking.Report
				if reports, at, err = checking.CheckAll(ctx, &tiring{w.session("b"), reads, cancel}, o); err == nil {
					cancel()
					if len(reports) == 0 || at != nil {
						t.Errorf("at the end there are %d reports, and the place %+v", len(reports), at)
					}
					break
				}
				cancel()
				if !errors.Is(err, context.Canceled) || at == nil {
					t.Fatalf("it was cut short with %v, at %+v", err, at)
				}
				token := at.Token("bucket")
				if at, err = checking.ParsePlace(token, "bucket"); err != nil || at == nil {
					t.Fatal(err)
				}
			}
			kinds, begun := map[checking.ProblemKind]int{}, 0
			for p, times := range told {
				again := p
				again.Repaired = true
				switch {
				case times != 1:
					t.Errorf("%+v was told %d times", p, times)
				case mend == checking.Nothing && p.Repaired:
					t.Errorf("%+v", p)
				case mend == checking.All && !p.Repaired && p.Kind != checking.CorruptRecord:
					begun++ // its repair was cut short
					if told[again] > 0 {
						continue
					}
				}
				kinds[p.Kind]++
			}
			if begun > 3*260 { // one part of each kind
				t.Errorf("%d problems are told as not repaired", begun)
			}
			want := map[checking.ProblemKind]int{checking.MissingEntry: n, checking.MissingClaim: n, checking.StrayEntry: n, checking.CorruptRecord: 2}
			if diff := gocmp.Diff(want, kinds); diff != "" || rounds < 3 {
				t.Errorf("in %d rounds: -want +got\n%s", rounds, diff)
			}
			w.remove("Person.shard_0.broken")
			w.remove("Animal.shard_1.1")
			w.repair(m.Def, func(p checking.Problem) bool { return mend == checking.Nothing })
		})
	}
}

// A place that is not one of the bucket as it is now is refused.
func TestPlacesOfOthers(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName))
	at := checking.Place{Model: "Person", Layout: m.Def.Layout, Shards: m.Def.Shards, Born: m.Def.Born, Pass: 4, At: 7}
	token := at.Token("b of 1999")
	back, err := checking.ParsePlace(token, "b of 1999")
	if err != nil || *back != at {
		t.Fatalf("%+v, %v", back, err)
	}
	for what, text := range map[string]string{
		"nothing": "", "no token": "hello!", "cut off": token[:len(token)-1], "altered": token[:20] + "A" + token[21:],
		"short": "AAAA",
	} {
		if text == token {
			continue
		}
		_, err := checking.ParsePlace(text, "b of 1999")
		w.refused(err, errs.ErrInvalid, "begin a new one")
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	_, err = checking.ParsePlace(token, "b of 2000")
	w.refused(err, errs.ErrInvalid, "another bucket")
	for _, change := range []func(*checking.Place){
		func(p *checking.Place) { p.Model = "Nobody" },
		func(p *checking.Place) { p.Layout = "sequelize" },
		func(p *checking.Place) { p.Shards++ },
		func(p *checking.Place) { p.Born++ },
	} {
		other := at
		change(&other)
		reports, stays, err := checking.CheckAll(w.ctx, w.bucket, checking.Options{From: &other})
		w.refused(err, errs.ErrInvalid, "begin a new one")
		if len(reports) > 0 || stays == nil {
			t.Errorf("%+v: %v, %v", other, reports, stays)
		}
	}
}

// A report has so many examples of each kind, and counts all; Each gets every problem.
func TestReportsAreSmall(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	n := 3000
	var ops []store.Op
	for i := range n {
		ops = append(ops, store.Op{Key: m.Layout.RecordKey(id(i)), Value: []byte(doc(i, "n", fmt.Sprint(i)))})
	}
	for _, r := range w.bucket.Write(w.ctx, ops...) {
		w.must(r.Err)
	}
	for _, examples := range []int{0, 7} {
		told := 0
		var steps []string
		report, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{
			Examples: examples,
			Each:     func(model string, p checking.Problem) { told++ },
			Progress: func(model, step string, done, total int) {
				if model != "Person" || done > total || done == total && step == "records" && done != n {
					t.Errorf("%s: %s, %d of %d", model, step, done, total)
				}
				if len(steps) == 0 || steps[len(steps)-1] != step {
					steps = append(steps, step)
				}
			},
		})
		w.must(err)
		kept := examples
		if kept == 0 {
			kept = checking.Examples
		}
		want := map[checking.ProblemKind]checking.Found{checking.MissingEntry: {Found: n}, checking.MissingClaim: {Found: n}}
		if diff := gocmp.Diff(want, report.Counts); diff != "" || len(report.Problems) != 2*kept || told != 2*n || report.Wrong() != 2*n {
			t.Errorf("%d examples, %d told, %d wrong; -want +got\n%s", len(report.Problems), told, report.Wrong(), diff)
		}
		if want := []string{"records", "index entries", "unique values", "records that do not agree", "index entries that do not agree", "unique values that do not agree"}; !slices.Equal(steps, want) {
			t.Errorf("the steps are %q", steps)
		}
	}
	report, err := checking.Check(w.ctx, w.bucket, m.Def, mending)
	w.must(err)
	for kind, n := range maps.All(report.Counts) {
		if n.Found != n.Repaired || n.Found != 3000 {
			t.Errorf("%s: %+v", kind, n)
		}
	}
	if report.Wrong() != 0 || len(report.Problems) != 2*checking.Examples {
		t.Errorf("%d are wrong, %d examples", report.Wrong(), len(report.Problems))
	}
}
