package checking_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testsize"
)

// what is a problem in short: its kind, key and record, and whether it is repaired.
func what(problems []checking.Problem) (out []string) {
	for _, p := range problems {
		line := fmt.Sprint(p.Kind, ": ", p.Key)
		if p.Record != p.Key {
			line += " of " + p.Record
		}
		if p.Repaired {
			line += ", repaired"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

var mending = checking.Options{Mend: checking.All}

const (
	ann = "Person.shard_1.1"
	bob = "Person.shard_2.2"
	zoe = "Person.shard_0.1168"
)

// Each way in which a bucket can be wrong is found, and Repair mends it unless a person
// has to decide.
func TestCheckAndRepair(t *testing.T) {
	t.Parallel()
	native := func() schema.Definition { return person(byName, byEmail) }
	for _, c := range []struct {
		name     string
		def      func() schema.Definition
		spoil    func(w *world)
		found    []string
		repaired []string // what a check with Repair says
		decide   func(w *world)
	}{
		{"nothing", native, func(*world) {}, nil, nil, nil},
		{"missing entry", native, func(w *world) { w.remove("Person.index.name.Ann.1") },
			[]string{"missing entry: Person.index.name.Ann.1 of " + ann},
			[]string{"missing entry: Person.index.name.Ann.1 of " + ann + ", repaired"}, nil},
		{"missing claim", native, func(w *world) { w.remove(claim("a@x")) },
			[]string{"missing claim: " + claim("a@x") + " of " + ann},
			[]string{"missing claim: " + claim("a@x") + " of " + ann + ", repaired"}, nil},
		{"claim of a record without the value", native, func(w *world) { w.put(claim("a@x"), "2") },
			[]string{"missing claim: " + claim("a@x") + " of " + ann},
			[]string{"missing claim: " + claim("a@x") + " of " + ann + ", repaired"}, nil},
		{"duplicate value", native, func(w *world) { w.put(bob, doc(2, "Bob", "a@x")) },
			[]string{"duplicate value: " + claim("a@x") + " of " + bob, "stray claim: " + claim("b@x") + " of " + bob},
			[]string{"duplicate value: " + claim("a@x") + " of " + bob, "stray claim: " + claim("b@x") + " of " + bob + ", repaired"},
			func(w *world) { w.save(w.define(w.bucket, person()), doc(2, "Bob", "free@x")) }},
		{"corrupt record", native, func(w *world) { w.put(bob, "{") },
			[]string{"corrupt record: " + bob},
			[]string{"corrupt record: " + bob},
			func(w *world) { w.put(bob, doc(2, "Bob", "b@x")) }},
		{"misplaced key", native, func(w *world) { w.put("Person.shard_5.5", doc(21, "Eve", "e@x")) },
			[]string{"misplaced key: Person.shard_5.5"},
			[]string{"misplaced key: Person.shard_5.5, repaired"}, nil},
		{"misplaced key of a record that is there", native, func(w *world) { w.put("Person.shard_5.5", doc(2, "Eve", "e@x")) },
			[]string{"misplaced key: Person.shard_5.5"},
			[]string{"misplaced key: Person.shard_5.5"},
			func(w *world) { w.remove("Person.shard_5.5") }},
		{"corrupt claim", native, func(w *world) { w.put(claim("a@x"), "nobody?") },
			[]string{"corrupt claim: " + claim("a@x") + " of " + ann, "missing claim: " + claim("a@x") + " of " + ann},
			[]string{"corrupt claim: " + claim("a@x") + " of " + ann + ", repaired", "missing claim: " + claim("a@x") + " of " + ann + ", repaired"}, nil},
		{"stray entry", native, func(w *world) { w.put("Person.index.name.Ann.2", "") },
			[]string{"stray entry: Person.index.name.Ann.2 of " + bob},
			[]string{"stray entry: Person.index.name.Ann.2 of " + bob + ", repaired"}, nil},
		{"entry without its record", native, func(w *world) { w.put("Person.index.name.Eve.77", "") },
			[]string{"stray entry: Person.index.name.Eve.77 of Person.shard_13.77"},
			[]string{"stray entry: Person.index.name.Eve.77 of Person.shard_13.77, repaired"}, nil},
		{"stray claim", native, func(w *world) { w.put(claim("c@x"), "2") },
			[]string{"stray claim: " + claim("c@x") + " of " + bob},
			[]string{"stray claim: " + claim("c@x") + " of " + bob + ", repaired"}, nil},
		{"a record that was written past the model", native, func(w *world) { w.put("Person.shard_3.3", doc(3, "Eve", "e@x")) },
			[]string{"missing claim: " + claim("e@x") + " of Person.shard_3.3", "missing entry: Person.index.name.Eve.3 of Person.shard_3.3"},
			[]string{"missing claim: " + claim("e@x") + " of Person.shard_3.3, repaired", "missing entry: Person.index.name.Eve.3 of Person.shard_3.3, repaired"}, nil},
		{"keys of others", native, func(w *world) {
			w.put("Person.index.of.others", "x")
			w.put("Person.unique.nothing.x", "x")
			w.put("Persons.index.name.Ann.1", "x")
		}, nil, nil, nil},

		{"missing entry of an ordered index", everyKind, func(w *world) { w.remove("Person.index./age." + place(40, 2)) },
			[]string{"missing entry: Person.index./age." + place(40, 2) + " of " + bob},
			[]string{"missing entry: Person.index./age." + place(40, 2) + " of " + bob + ", repaired"}, nil},
		{"missing samples", everyKind, func(w *world) {
			w.remove("Person.index./age/2." + place(-1, sampled))
			w.remove("Person.index.name/age/1.Zoe." + place(-1, sampled))
		},
			[]string{"missing entry: Person.index./age/2." + place(-1, sampled) + " of " + zoe, "missing entry: Person.index.name/age/1.Zoe." + place(-1, sampled) + " of " + zoe},
			[]string{"missing entry: Person.index./age/2." + place(-1, sampled) + " of " + zoe + ", repaired", "missing entry: Person.index.name/age/1.Zoe." + place(-1, sampled) + " of " + zoe + ", repaired"}, nil},
		{"superfluous samples", everyKind, func(w *world) {
			w.put("Person.index./age/1."+place(40, 2), "")               // it is in no sample
			w.put("Person.index./age/1."+place(7, sampled), "")          // it has another value
			w.put("Person.index.name/age/2.Eve."+place(-1, sampled), "") // in the other column
			w.put("Person.index./age/3."+place(-1, sampled), "")         // there is no such level
		},
			[]string{"stray entry: Person.index./age/1." + place(40, 2) + " of " + bob, "stray entry: Person.index./age/1." + place(7, sampled) + " of " + zoe,
				"stray entry: Person.index./age/3." + place(-1, sampled) + " of " + zoe, "stray entry: Person.index.name/age/2.Eve." + place(-1, sampled) + " of " + zoe},
			[]string{"stray entry: Person.index./age/1." + place(40, 2) + " of " + bob + ", repaired", "stray entry: Person.index./age/1." + place(7, sampled) + " of " + zoe + ", repaired",
				"stray entry: Person.index./age/3." + place(-1, sampled) + " of " + zoe + ", repaired", "stray entry: Person.index.name/age/2.Eve." + place(-1, sampled) + " of " + zoe + ", repaired"}, nil},
		{"entries of other values in ordered indexes", everyKind, func(w *world) {
			w.put("Person.index./age."+place(41, 2), "")
			w.put("Person.index.name/age.Ann."+place(40, 2), "")
			w.put("Person.index.name/age."+place(40, 2), "")                            // without the name
			w.put("Person.index./age."+strings.TrimSuffix(place(40, 2), ".2")+".3", "") // the place of another key
		},
			[]string{"stray entry: Person.index./age." + strings.TrimSuffix(place(40, 2), ".2") + ".3 of Person.shard_3.3", "stray entry: Person.index./age." + place(41, 2) + " of " + bob,
				"stray entry: Person.index.name/age.Ann." + place(40, 2) + " of " + bob, "stray entry: Person.index.name/age." + place(40, 2) + " of " + bob},
			[]string{"stray entry: Person.index./age." + strings.TrimSuffix(place(40, 2), ".2") + ".3 of Person.shard_3.3, repaired", "stray entry: Person.index./age." + place(41, 2) + " of " + bob + ", repaired",
				"stray entry: Person.index.name/age.Ann." + place(40, 2) + " of " + bob + ", repaired", "stray entry: Person.index.name/age." + place(40, 2) + " of " + bob + ", repaired"}, nil},
		{"damaged places, which are keys of others", everyKind, func(w *world) {
			w.put("Person.index./age.8.2.8.2", "")                 // no end
			w.put("Person.index./age.8.2.g./.8.0.2./.2", "")       // a character that places do not have
			w.put("Person.index./age.82./.8.0.2./.2", "")          // two in one token
			w.put("Person.index./age/1.8.2.8./.8.0.2./.5.2", "")   // behind the end
			w.put("Person.index.name/age.Bob.8.2.8./.8.0.2.2", "") // one end
		}, nil, nil, nil},
		{"missing claim without letter case", everyKind, func(w *world) { w.remove("Person.unique.login=fold.root") },
			[]string{"missing claim: Person.unique.login=fold.root of " + bob},
			[]string{"missing claim: Person.unique.login=fold.root of " + bob + ", repaired"}, nil},
		{"claims of other values without letter case", everyKind, func(w *world) {
			w.put("Person.unique.login=fold.ROOT", "2") // which is not folded
			w.put("Person.unique.login=fold.other", "2")
		},
			[]string{"stray claim: Person.unique.login=fold.ROOT of " + bob, "stray claim: Person.unique.login=fold.other of " + bob},
			[]string{"stray claim: Person.unique.login=fold.ROOT of " + bob + ", repaired", "stray claim: Person.unique.login=fold.other of " + bob + ", repaired"}, nil},
		{"duplicate value in another letter case", everyKind, func(w *world) {
			w.put("Person.shard_3.3", full(3, "Eve", 1, "rOOt", "x"))
			for _, key := range []string{"name.Eve.3", "/age." + place(1, 3), "name/age.Eve." + place(1, 3), "tags=each.all.3", "tags=each.x.3"} {
				w.put("Person.index."+key, "")
			}
			w.put(claim("e3"), "3")
		},
			[]string{"duplicate value: Person.unique.login=fold.root of Person.shard_3.3"}, []string{"duplicate value: Person.unique.login=fold.root of Person.shard_3.3"},
			func(w *world) { w.save(w.define(w.bucket, everyKind()), full(3, "Eve", 1, "free", "x")) }},
		{"missing and other elements", everyKind, func(w *world) {
			w.remove("Person.index.tags=each.b.2")
			w.put("Person.index.tags=each.c.2", "")
			w.put("Person.index.tags=each.7.2", "") // which is no text in the list
		},
			[]string{"missing entry: Person.index.tags=each.b.2 of " + bob, "stray entry: Person.index.tags=each.7.2 of " + bob, "stray entry: Person.index.tags=each.c.2 of " + bob},
			[]string{"missing entry: Person.index.tags=each.b.2 of " + bob + ", repaired", "stray entry: Person.index.tags=each.7.2 of " + bob + ", repaired", "stray entry: Person.index.tags=each.c.2 of " + bob + ", repaired"}, nil},

		{"missing in a list", listedPerson, func(w *world) { w.put("Person.index.name.Ann", "[7]") },
			[]string{"missing entry: Person.index.name.Ann of " + ann, "stray entry: Person.index.name.Ann of Person.shard_7.7"},
			[]string{"missing entry: Person.index.name.Ann of " + ann + ", repaired", "stray entry: Person.index.name.Ann of Person.shard_7.7, repaired"}, nil},
		{"missing list", listedPerson, func(w *world) { w.remove("Person.index.name.Ann") },
			[]string{"missing entry: Person.index.name.Ann of " + ann},
			[]string{"missing entry: Person.index.name.Ann of " + ann + ", repaired"}, nil},
		{"corrupt list", listedPerson, func(w *world) { w.put("Person.index.name.Ann", "[1") },
			[]string{"corrupt entry: Person.index.name.Ann of "},
			[]string{"corrupt entry: Person.index.name.Ann of , repaired", "missing entry: Person.index.name.Ann of " + ann + ", repaired"}, nil},
	} {
		slices.Sort(c.found)
		slices.Sort(c.repaired)
		for _, renamed := range []bool{false, true} {
			if renamed && c.def().Layout == schema.Sequelize {
				continue // an indexed column of lists cannot be renamed
			}
			t.Run(fmt.Sprint(c.name, ", renamed ", renamed), func(t *testing.T) {
				t.Parallel()
				w := begin(t)
				m := w.define(w.bucket, c.def())
				if len(m.Def.Columns) > 3 {
					w.save(m, full(2, "Bob", 40, "Root", "b"), full(sampled, "Zoe", -1, "zoe", "z"))
				} else {
					w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
				}
				if renamed { // no record has the new names, as if Alter had died before it wrote any
					for _, c := range m.Def.Columns[1:] {
						w.rename(c.Name, c.Name+"_now")
					}
				}
				before := w.content(w.bucket)
				sound := w.lagging()
				c.spoil(w)
				spoilt := w.content(w.bucket)

				report, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{})
				w.must(err)
				if diff := gocmp.Diff(c.found, what(report.Problems)); diff != "" {
					t.Errorf("found: -want +got\n%s", diff)
				}
				behind, err := checking.Check(w.ctx, sound, m.Def, checking.Options{})
				w.must(err)
				if diff := gocmp.Diff(c.found, what(behind.Problems)); diff != "" {
					t.Errorf("found where the scans are behind: -want +got\n%s", diff)
				}
				for _, p := range report.Problems {
					if p.Kind.Harmless() != strings.HasPrefix(string(p.Kind), "stray") {
						t.Errorf("harmless: %+v", p)
					}
				}
				w.same("a check without repair changed something", w.content(w.bucket), spoilt)

				report, err = checking.Check(w.ctx, w.bucket, m.Def, mending)
				w.must(err)
				if diff := gocmp.Diff(c.repaired, what(report.Problems)); diff != "" {
					t.Errorf("repaired: -want +got\n%s", diff)
				}
				if c.decide != nil {
					var left []checking.Problem
					for _, p := range report.Problems {
						if !p.Repaired {
							left = append(left, p)
						}
					}
					report, err = checking.Check(w.ctx, w.bucket, m.Def, mending)
					w.must(err)
					if diff := gocmp.Diff(what(left), what(report.Problems)); diff != "" {
						t.Errorf("left: -want +got\n%s", diff)
					}
					c.decide(w)
				} else if c.name == "misplaced key" {
					if now := w.content(w.bucket); now["Person.shard_5.21"] != doc(21, "Eve", "e@x") || len(now) != len(before)+3 {
						t.Errorf("repaired: %v", now)
					}
				} else if len(c.found) == 0 && len(m.Def.Columns) > 3 {
					w.same("repaired", w.content(w.bucket), spoilt)
				} else if len(c.found) > 0 && !slices.Contains(c.found, "missing claim: "+claim("e@x")+" of Person.shard_3.3") {
					w.same("repaired", w.content(w.bucket), before)
				}
			})
		}
	}
}

// rename gives a column another name in the catalogue, as DB.Alter does before it rewrites records.
func (w *world) rename(from, to string) {
	w.Helper()
	_, changed, err := catalogue.Alter(w.ctx, w.bucket, "Person", func(d *schema.Definition) (bool, error) {
		d.Columns[d.Position(from)].Name = to
		for i, x := range d.Indexes {
			if at := slices.Index(x.Columns, from); at >= 0 {
				d.Indexes[i].Columns[at] = to
			}
		}
		d.Former = append(d.Former, schema.Former{Name: from, Column: to, Since: d.Revision})
		return true, nil
	})
	w.must(err)
	if !changed {
		w.Errorf("%s was not renamed", from)
	}
}

// In an index that is not built to its end nothing is missed, and the report names it. When it is ready,
// what it lacks is found.
func TestCheckOfAnIndexThatIsNotBuilt(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person())
	w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
	for _, state := range []schema.IndexState{schema.Writing, schema.Building, schema.Ready} {
		_, _, err := catalogue.Alter(w.ctx, w.bucket, "Person", func(d *schema.Definition) (bool, error) {
			d.Indexes = []schema.Index{byName, byEmail}
			for i := range d.Indexes {
				d.Indexes[i].State = state
			}
			return true, nil
		})
		w.must(err)
		report, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{})
		w.must(err)
		if state == schema.Ready {
			if report.Wrong() != 4 || len(report.Unbuilt) > 0 {
				t.Errorf("when it is ready: %+v", report)
			}
			continue
		}
		want := []string{"index name (" + string(state) + ")", "unique email (" + string(state) + ")"}
		if len(report.Counts) > 0 || !slices.Equal(report.Unbuilt, want) {
			t.Errorf("%s: %+v", state, report)
		}
	}
	w.repair(m.Def, func(p checking.Problem) bool { return !p.Kind.Harmless() })
}

// A model whose records are being removed, by nobody, is not judged; one that somebody ends is.
func TestCheckOfAPausedModel(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for ten seconds")
	}
	w := begin(t)
	m := w.define(w.bucket, person(byName))
	w.save(m, doc(1, "Ann", "a@x"))
	w.remove("Person.index.name.Ann.1")
	pause := func(e *schema.Emptying) {
		_, _, err := catalogue.Alter(w.ctx, w.bucket, "Person", func(d *schema.Definition) (bool, error) {
			d.Emptying = e
			return true, nil
		})
		w.must(err)
	}
	pause(&schema.Emptying{})
	report, err := checking.Check(w.ctx, w.bucket, m.Def, mending)
	w.must(err)
	if !strings.Contains(report.Paused, "removed") || len(report.Counts) > 0 {
		t.Errorf("paused: %+v", report)
	}
	done := make(chan checking.Report, 1)
	go func() {
		report, err := checking.Check(w.ctx, w.bucket, m.Def, mending)
		if err != nil {
			t.Error(err)
		}
		done <- report
	}()
	pause(nil)
	if report := <-done; report.Paused != "" || report.Counts[checking.MissingEntry].Repaired != 1 {
		t.Errorf("when it goes on: %+v", report)
	}
}

// late is a store in which something happens when the first record of a scan has come.
type late struct {
	store.Store
	once sync.Once
	do   func()
}

func (l *late) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		for m, err := range l.Store.Scan(ctx, pattern, opts) {
			l.once.Do(l.do)
			if !yield(m, err) {
				return
			}
		}
	}
}

// What is wrong is found when it is written once more during the scan, in a model of which not all
// keys are remembered too; and what is right is not.
func TestCheckOfRecordsThatAreWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	for _, known := range []int{1 << 16, 4} {
		t.Run(fmt.Sprint("knowing ", known), func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, person(byName, byEmail))
			const n = 3000
			ops := make([]store.Op, 0, 3*n)
			for i := range n {
				ops = append(ops, store.Op{Key: fmt.Sprint("Person.index.name.n.", i)},
					store.Op{Key: claim(fmt.Sprint(i)), Value: fmt.Append(nil, i)},
					store.Op{Key: m.Layout.RecordKey(id(i)), Value: []byte(doc(i, "n", fmt.Sprint(i)))})
			}
			for _, r := range w.bucket.Write(w.ctx, ops...) {
				w.must(r.Err)
			}
			last := m.Layout.RecordKey(id(n - 1))
			w.remove(fmt.Sprint("Person.index.name.n.", n-1))
			again := &late{Store: w.bucket, do: func() {
				for i := n - 50; i < n; i++ {
					w.put(m.Layout.RecordKey(id(i)), doc(i, "n", fmt.Sprint(i)))
				}
			}}
			report, err := checking.CheckKnowing(w.ctx, again, m.Def, mending, known)
			w.must(err)
			want := []string{fmt.Sprint("missing entry: Person.index.name.n.", n-1, " of ", last, ", repaired")}
			if diff := gocmp.Diff(want, what(report.Problems)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if off := report.Records - n; off < -50 || off > 50 || known > n && off != 0 {
				t.Errorf("%d records are counted, of %d", report.Records, n)
			}
		})
	}
}

// A check does not report what was wrong before it, though the replica that serves its
// scans still has it so.
func TestCheckByAReplicaThatIsBehind(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]schema.Definition{"native": person(byName, byEmail), "lists": listedPerson()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, def)
			w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"), doc(3, "Eve", "c@x"))
			w.put(bob, "{")
			w.put("Person.shard_5.5", doc(21, "Eve", "e@x"))
			entry := "Person.index.name.Ann.77"
			if name == "lists" {
				entry = "Person.index.name.broken"
			}
			w.put(entry, "[")
			spoilt := w.lagging()
			w.put(bob, doc(2, "Bob", "b@x"))
			w.remove("Person.shard_5.5")
			w.remove(entry)
			w.must(destroy(w.ctx, m, 3))

			want, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{})
			w.must(err)
			got, err := checking.Check(w.ctx, spoilt, m.Def, checking.Options{})
			w.must(err)
			if diff := gocmp.Diff(want, got); diff != "" || len(got.Problems) != 0 || got.Records != 2 {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// The details say what a person needs to know.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	for i := range 5 {
		w.save(m, doc(i, fmt.Sprint("n", i%2), fmt.Sprint(i)))
	}
	w.put("Person.shard_1.1", `{"id":1,"name":5}`)
	w.put("Person.shard_9.8", doc(8, "misplaced", "8"))
	w.put(claim("2"), "4")
	report, err := checking.Check(w.ctx, w.bucket, m.Def, checking.Options{})
	w.must(err)
	if report.Model != "Person" || report.Records != 6 || report.Entries != 5 || report.Claims != 5 {
		t.Errorf("the report is of %d records, %d entries, %d claims of %s", report.Records, report.Entries, report.Claims, report.Model)
	}
	slices.SortFunc(report.Problems, func(a, b checking.Problem) int { return cmp.Compare(a.Kind, b.Kind) })
	for i, words := range []string{"column name", `primary key 8 belongs at "Person.shard_8.8"`, "the claim is of Person 4"} {
		if i >= len(report.Problems) || !strings.Contains(report.Problems[i].Detail, words) {
			t.Errorf("problem %d does not say %q: %+v", i, words, report.Problems)
		}
	}
	w.put("Person.shard_1.1", doc(1, "n1", "1"))
	w.remove("Person.shard_9.8")
	w.repair(m.Def, func(p checking.Problem) bool { return p.Kind == checking.MissingClaim })
}

// What writers are in the middle of is no problem, and Repair takes nothing from them.
func TestCheckBesideWriters(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]schema.Definition{"native": person(byName, byEmail), "lists": listedPerson()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := begin(t)
			m := w.define(w.bucket, def)
			for i := range 40 {
				w.save(m, doc(i, fmt.Sprint("n", i%4), fmt.Sprint(i)))
			}
			var stop atomic.Bool
			var writes atomic.Int64
			var wg sync.WaitGroup
			for k, way := range []func(store.Store) store.Store{fault.Phased, fault.Atomic, fault.Shared, fault.Phased} {
				mine := m.On(way(w.bucket))
				wg.Go(func() {
					for i := k; !stop.Load(); i += 4 {
						id := i % 40
						err := save(w.ctx, mine, doc(id, fmt.Sprint("n", i%7), fmt.Sprint(id+40*(i%3))))
						if i%11 == 0 {
							err = errors.Join(err, destroy(w.ctx, mine, id))
						}
						if err != nil {
							t.Error(err)
							return
						}
						writes.Add(1)
					}
				})
			}
			rounds := testsize.Pick(5, 10, 60)
			for round := range rounds {
				o := checking.Options{}
				if round%2 == 1 {
					o = mending
				}
				known := 1 << 16
				if round%4 > 1 {
					known = 8 // as of a model with very many records
				}
				report, err := checking.CheckKnowing(w.ctx, w.session("b"), m.Def, o, known)
				w.must(err)
				for _, p := range report.Problems {
					if !p.Kind.Harmless() {
						t.Errorf("round %d: %+v", round, p)
					}
				}
			}
			stop.Store(true)
			wg.Wait()
			if int(writes.Load()) < rounds {
				t.Errorf("only %d writes in %d rounds", writes.Load(), rounds)
			}
			w.repair(m.Def, func(p checking.Problem) bool { return p.Kind.Harmless() })
		})
	}
}

// looking is a store in which something happens before a key is looked at once more.
type looking struct {
	store.Store
	key  string
	once sync.Once
	do   func()
}

func (l *looking) GetEach(ctx context.Context, keys []string, each func(int, store.Message)) error {
	if slices.Contains(keys, l.key) {
		l.once.Do(l.do)
	}
	return l.Store.GetEach(ctx, keys, each)
}

// What changes between a scan and the second look is no problem.
func TestCheckOfWhatChanges(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"))
	for _, c := range []struct {
		name, key string
		spoil, do func()
	}{
		{"a record that gives up the entry that it lacks", "Person.index.name.Ann.1",
			func() { w.remove("Person.index.name.Ann.1") },
			func() { w.save(m, doc(1, "Bea", "a@x")) }},
		{"an entry that a writer puts again", "Person.index.name.Eve.2",
			func() { w.put("Person.index.name.Eve.2", "") },
			func() { w.put("Person.index.name.Eve.2", "") }},
		{"a claim that a writer takes again", claim("e@x"),
			func() { w.put(claim("e@x"), "2") },
			func() { w.put(claim("e@x"), "2") }},
	} {
		c.spoil()
		looked := false
		report, err := checking.Check(w.ctx, &looking{Store: w.bucket, key: c.key, do: func() { looked = true; c.do() }}, m.Def, mending)
		w.must(err)
		if !looked {
			t.Errorf("%s: nobody looked again", c.name)
		}
		if len(report.Problems) != 0 {
			t.Errorf("%s: %+v", c.name, report.Problems)
		}
		w.repair(m.Def, func(p checking.Problem) bool { return p.Kind.Harmless() }) // the writers have died
	}
}

// A repair that dies leaves nothing worse than it was, and the next one finishes.
func TestRepairAfterACrash(t *testing.T) {
	t.Parallel()
	w := begin(t)
	m := w.define(w.bucket, person(byName, byEmail))
	w.save(m, doc(1, "Ann", "a@x"), doc(2, "Bob", "b@x"), doc(3, "Cid", "c@x"))
	want := w.content(w.bucket)
	for n := 0; ; n++ {
		w.remove("Person.index.name.Ann.1")
		w.remove(claim("b@x"))
		w.put("Person.index.name.Nobody.3", "")
		w.put(claim("free@x"), "3")
		w.put(claim("c@x"), "?")
		crashing := fault.CrashAfter(w.bucket, n)
		if _, err := checking.Check(w.ctx, crashing, m.Def, mending); !crashing.Crashed() {
			w.must(err)
			if n < 5 {
				t.Errorf("five things were repaired with %d writes", n)
			}
			break
		}
		if _, err := checking.Check(w.ctx, w.bucket, m.Def, mending); err != nil {
			t.Fatal(err)
		}
		w.same(fmt.Sprint("after a crash after write ", n), w.content(w.bucket), want)
	}
	w.same("without a crash", w.content(w.bucket), want)
}

func TestCheckAll(t *testing.T) {
	t.Parallel()
	w := begin(t)
	pet := person(byName)
	pet.Name = "Animal"
	w.define(w.bucket, person(byName, byEmail))
	w.define(w.bucket, pet)
	w.put("Animal.shard_1.1", doc(1, "Rex", ""))
	reports, _, err := checking.CheckAll(w.ctx, w.bucket, mending)
	w.must(err)
	if len(reports) != 2 || reports[0].Model != "Animal" || reports[1].Model != "Person" {
		t.Fatalf("the reports are %+v", reports)
	}
	if p := what(reports[0].Problems); !slices.Equal(p, []string{"missing entry: Animal.index.name.Rex.1 of Animal.shard_1.1, repaired"}) {
		t.Errorf("Animal has %v", p)
	}
	w.put("_schema.Other", "{")
	if _, _, err := checking.CheckAll(w.ctx, w.bucket, checking.Options{}); !errors.Is(err, errs.ErrSchema) || !strings.Contains(err.Error(), "_schema.Other") {
		t.Errorf("a catalogue that cannot be read: %v", err)
	}
	w.remove("_schema.Other")
}

// The writer of a record who did not know an index gives it its entry when it has its answer. A check
// waits for that, also where the writer knew the very document before the index.
func TestCheckWaitsForWritersOfTheSchemaBefore(t *testing.T) {
	t.Parallel()
	w := begin(t)
	w.define(w.bucket, person())
	old := w.define(w.bucket, person(byName)) // from here on records say by which document they are written
	def := w.define(w.bucket, person(byName, schema.NewIndex(schema.PlainIndex, "email"))).Def
	w.save(old, doc(1, "Alice", "a@x"))
	l, err := layout.New(def)
	w.must(err)
	f, err := l.Of([]byte(doc(1, "Alice", "a@x")))
	w.must(err)
	mended := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { // the answer takes as long
		_, err := commit.NewWriter(w.bucket, l).Ensure(w.ctx, &f)
		mended <- err
	})
	report, err := checking.Check(w.ctx, w.bucket, def, checking.Options{})
	w.must(err)
	for _, p := range report.Problems {
		t.Errorf("found: %+v", p)
	}
	w.must(<-mended)
}
