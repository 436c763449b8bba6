package exact_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/exact"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// ways are the ways to write a record.
var ways = map[string]func(store.Store) store.Store{"phased": fault.Phased, "atomic": fault.Atomic, "shared": fault.Shared}

// tickets is a model of records that have one of three states, and an index of it.
type tickets struct {
	*testing.T
	ctx    context.Context
	store  store.Store
	layout layout.Layout
	index  *exact.Index
}

var states = []string{"open", "held", "closed for good"}

func openStore(t *testing.T) store.Store {
	t.Helper()
	s, err := bucket.Open(t.Context(), testbed.StartServer(t).Connect(t), bucket.Config{
		Bucket: "b", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// begin makes a model with n records, one after the other in each state.
func begin(t *testing.T, s store.Store, name string, n int) *tickets {
	t.Helper()
	def := &schema.Definition{
		Format: schema.Format, Name: name, Layout: schema.Native, Shards: 4,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "state", Type: value.String}, {Name: "n", Type: value.Int}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "state")},
	}
	l, err := layout.New(def)
	if err != nil {
		t.Fatal(err)
	}
	k := &tickets{T: t, ctx: t.Context(), store: s, layout: l, index: exact.New(l, def.Indexes[0])}
	for i := range n {
		k.must(k.set(k.ctx, s, i, states[i%len(states)]))
	}
	return k
}

func (k *tickets) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// set gives a record a state, through a store; "" removes it.
func (k *tickets) set(ctx context.Context, s store.Store, id int, state string) error {
	_, err := commit.NewWriter(s, k.layout).Apply(ctx, commit.Change{ID: value.OfInt(int64(id)), Next: func(cur store.Message) (commit.Draft, error) {
		if state == "" {
			return commit.Draft{}, nil
		}
		return commit.Draft{Doc: fmt.Appendf(nil, `{"id":%d,"state":%q,"n":%d}`, id, state, cur.Revision)}, nil
	}})
	return err
}

func (k *tickets) prove() bool {
	k.Helper()
	proven, err := k.index.Prove(k.ctx, k.store)
	k.must(err)
	return proven
}

// patterns are those of the entries of each state.
func (k *tickets) patterns() (out []string) {
	for _, s := range states {
		out = append(out, k.layout.Lookup(k.layout.Model().Indexes[0], []value.Value{value.OfString(s)}))
	}
	return out
}

// asks are the ways to ask for the number of records in each state.
func (k *tickets) asks() map[string]exact.Ask {
	patterns := k.patterns()
	entry := func(i int, record string) string { return strings.TrimSuffix(patterns[i], "*") + keys.RecordID(record) }
	return map[string]exact.Ask{
		"counted": {Patterns: patterns, Entry: entry},
		"grouped": {Patterns: patterns, Entry: entry, All: true},
		"listed":  {Patterns: patterns},
	}
}

// count is how many records have each state, by the index; ok is false when it is not trusted.
func (k *tickets) count(ask exact.Ask) (n map[string]int, ok bool) {
	k.Helper()
	a, ok, err := k.index.Count(k.ctx, k.store, ask)
	k.must(err)
	if !ok {
		return nil, false
	}
	n = map[string]int{}
	for i, found := range a.Exact {
		n[states[i]] = found
	}
	for _, m := range a.Suspects {
		n[k.state(m)]++
	}
	return n, true
}

func (k *tickets) state(m store.Message) string {
	for _, s := range states {
		if strings.Contains(string(m.Value), fmt.Sprintf("%q", s)) {
			return s
		}
	}
	k.Fatalf("no state: %s", m.Value)
	return ""
}

// scan is the same by all records.
func (k *tickets) scan() map[string]int {
	k.Helper()
	n := map[string]int{}
	for m, err := range k.store.Scan(k.ctx, keys.Records(k.layout.Model().Name), store.ScanOptions{}) {
		k.must(err)
		n[k.state(m)]++
	}
	return n
}

// agree compares the answers of an index with a scan, while nothing is written. answers is how
// many of the asks it has answered.
func (k *tickets) agree(when string) (answers int) {
	k.Helper()
	want := k.scan()
	for name, ask := range k.asks() {
		got, ok := k.count(ask)
		if !ok {
			continue
		}
		answers++
		for _, s := range states {
			if got[s] != want[s] {
				k.Errorf("%s, %s: %d are %s, and %d were counted", when, name, want[s], s, got[s])
			}
		}
	}
	return answers
}

func (k *tickets) check(mend bool) {
	k.Helper()
	o := checking.Options{}
	if mend {
		o.Mend = checking.All
	}
	report, err := checking.Check(k.ctx, k.store, k.layout.Model(), o)
	k.must(err)
	for _, p := range report.Problems {
		if !p.Kind.Harmless() {
			k.Errorf("%+v", p)
		}
	}
}

// TestCountAfterACrash lets a writer crash after its first write, after its second, and so on.
// What was proven before the crash goes on to be right, and afterwards nothing wrong can be
// proven.
func TestCountAfterACrash(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	changes := map[string]func(k *tickets, s store.Store) error{
		"create": func(k *tickets, s store.Store) error { return k.set(k.ctx, s, 100, states[0]) },
		"update": func(k *tickets, s store.Store) error { return k.set(k.ctx, s, 0, states[1]) },
		"update twice": func(k *tickets, s store.Store) error {
			return errors.Join(k.set(k.ctx, s, 0, states[1]), k.set(k.ctx, s, 0, states[0]))
		},
		"other column": func(k *tickets, s store.Store) error { return k.set(k.ctx, s, 0, states[0]) },
		"remove":       func(k *tickets, s store.Store) error { return k.set(k.ctx, s, 0, "") },
		"remove and create": func(k *tickets, s store.Store) error {
			return errors.Join(k.set(k.ctx, s, 0, ""), k.set(k.ctx, s, 0, states[2]))
		},
	}
	refused, models := 0, 0
	for way, written := range ways {
		for name, change := range changes {
			for step := 0; ; step++ {
				models++
				k := begin(t, s, fmt.Sprintf("T%d", models), 6)
				when := fmt.Sprintf("%s, %s, crashed after %d", way, name, step)
				if !k.prove() {
					t.Fatalf("%s: the index is as it should be, and was not proven", when)
				}
				crashing := fault.CrashAfter(written(s), step)
				err := change(k, crashing)
				if k.agree(when) != len(k.asks()) {
					t.Errorf("%s: there was no answer by the proof from before", when)
				}
				k.index.Forget()
				if !k.prove() {
					refused++
				} else if k.agree(when+", proven again") == 0 {
					t.Errorf("%s: there was no answer by a new proof", when)
				}
				k.check(true)
				if !k.prove() || k.agree(when+", mended") == 0 {
					t.Errorf("%s: the index was mended, and was not proven", when)
				}
				if err == nil {
					break
				}
				if step > 20 {
					t.Fatalf("%s: %v", when, err)
				}
			}
		}
	}
	if refused < 5 {
		t.Errorf("only %d of %d crashes left something superfluous", refused, models)
	}
}

// TestCountBesideALatePut: the building of an index, or a repair, puts the entry of a record as it
// was, long after the record has changed.
func TestCountBesideALatePut(t *testing.T) {
	t.Parallel()
	k := begin(t, openStore(t), "Ticket", 9)
	stale, err := k.layout.Of([]byte(`{"id":0,"state":"open"}`))
	k.must(err)
	ensure := func() {
		t.Helper()
		_, err := commit.NewWriter(k.store, k.layout).Ensure(k.ctx, &stale)
		k.must(err)
	}
	if !k.prove() {
		t.Fatal("not proven")
	}
	k.must(k.set(k.ctx, k.store, 0, "held"))
	ensure()
	if k.agree("put late") != 3 {
		t.Error("there was no answer by the proof from before")
	}
	k.index.Forget()
	if k.prove() {
		t.Error("an index with a superfluous entry was proven")
	}
	k.must(k.set(k.ctx, k.store, 0, "open"))
	ensure() // the record needs it now, and it gets another revision
	if !k.prove() {
		t.Fatal("not proven")
	}
	ensure()
	if k.agree("put again") != 3 {
		t.Error("there was no answer after the entry was put again")
	}
	// Of a record that is not there.
	orphan, err := k.layout.Of([]byte(`{"id":77,"state":"held"}`))
	k.must(err)
	_, err = commit.NewWriter(k.store, k.layout).Ensure(k.ctx, &orphan)
	k.must(err)
	if k.agree("without a record") != 3 {
		t.Error("there was no answer beside an entry without a record")
	}
	k.check(true)
}

// TestCountWhileAWriterStands: a phased writer stops before its commit, and before it removes the
// old entry. Counts in between are right, also by a proof that was made meanwhile, if it could be.
func TestCountWhileAWriterStands(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	for i, before := range []func(k *tickets) func(store.Op) bool{
		func(k *tickets) func(store.Op) bool {
			return func(op store.Op) bool { return op.Key == k.layout.RecordKey(value.OfInt(0)) }
		},
		func(k *tickets) func(store.Op) bool { return func(op store.Op) bool { return op.Delete } },
	} {
		k := begin(t, s, fmt.Sprint("T", i), 9)
		if !k.prove() {
			t.Fatal("not proven")
		}
		stalling := fault.StallBefore(fault.Phased(s), before(k))
		done := make(chan error)
		go func() { done <- k.set(k.ctx, stalling, 0, "held") }()
		<-stalling.Stalled()
		if k.agree("beside a writer that stands") != 3 {
			t.Error("there was no answer")
		}
		k.index.Forget()
		if k.prove() {
			t.Error("the index was proven while there is an entry too many")
		}
		stalling.Resume()
		k.must(<-done)
		if !k.prove() || k.agree("when it has gone on") != 3 {
			t.Error("there was no answer when it had gone on")
		}
		k.check(false)
	}
}

// TestCountsBesideWriters: records change their states all the time, in every way, and some
// writers die. Those of one group change between two states, those of another one come and go, and
// some stay. At every moment each number is between bounds, and those in the first two states
// together are always the same.
func TestCountsBesideWriters(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const n = 60 // 0 to 19 change, 20 to 39 come and go, and the others stay
	k := begin(t, openStore(t), "Ticket", 0)
	for i := range n {
		k.must(k.set(k.ctx, k.store, i, states[[]int{0, 2, 1}[i/20]]))
	}
	if !k.prove() {
		t.Fatal("not proven")
	}
	stop, halt := context.WithTimeout(k.ctx, testsize.Pick(500*time.Millisecond, 2*time.Second, 10*time.Second))
	defer halt()
	answers := map[string]int{}
	for round := uint64(0); stop.Err() == nil; round++ {
		var wg sync.WaitGroup
		for i, written := range []func(store.Store) store.Store{fault.Phased, fault.Atomic, fault.Shared} {
			r := rand.New(rand.NewPCG(seed+uint64(i), round))
			wg.Go(func() {
				s := written(k.store)
				if r.IntN(10) == 0 {
					s = fault.CrashAfter(s, r.IntN(4))
				}
				id, state := r.IntN(40), states[r.IntN(2)]
				if id >= 20 {
					state = []string{"", states[2]}[r.IntN(2)]
				}
				if err := k.set(k.ctx, s, id, state); err != nil && !errors.Is(err, fault.ErrCrashed) {
					t.Error(err)
				}
			})
		}
		for name, ask := range k.asks() {
			got, ok := k.count(ask)
			if !ok {
				continue
			}
			answers[name]++
			if got["open"]+got["held"] != 40 || got["held"] < 20 || got[states[2]] > 20 {
				t.Errorf("%s: %v", name, got)
			}
		}
		wg.Wait()
	}
	t.Logf("answers: %v", answers)
	for name := range k.asks() {
		if answers[name] == 0 {
			t.Errorf("%s: there was no answer beside writers", name)
		}
	}
	k.agree("in the end")
	k.check(true)
	k.index.Forget()
	if !k.prove() || k.agree("mended") != 3 {
		t.Error("the index was mended, and was not proven")
	}
}

// TestQuietAnswers: an index that is asked for an answer only when nothing was written gives none
// otherwise.
func TestQuietAnswers(t *testing.T) {
	t.Parallel()
	k := begin(t, openStore(t), "Ticket", 9)
	if !k.prove() {
		t.Fatal("not proven")
	}
	ask := k.asks()["counted"]
	ask.Quiet = true
	if n, ok := k.count(ask); !ok || n["open"] != 3 {
		t.Errorf("%v, %v", n, ok)
	}
	k.must(k.set(k.ctx, k.store, 0, "held"))
	if n, ok := k.count(ask); ok {
		t.Errorf("%v after a write", n)
	}
	if k.agree("beside a write") != 3 {
		t.Error("the proof was given up")
	}
	if n, ok := k.count(ask); !ok || n["open"] != 2 {
		t.Errorf("%v, %v when what was written is known", n, ok)
	}
	k.check(false)
}

// TestWhereEntriesProveNothing: the kinds of indexes, and of models, that are not asked.
func TestWhereEntriesProveNothing(t *testing.T) {
	t.Parallel()
	def := func(change func(d *schema.Definition, x *schema.Index)) (layout.Layout, schema.Index) {
		d := &schema.Definition{
			Format: schema.Format, Name: "M", Layout: schema.Native, Shards: 1,
			Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "a", Type: value.String}, {Name: "list", Type: value.JSON, Holds: schema.List}},
		}
		x := schema.NewIndex(schema.PlainIndex, "a")
		change(d, &x)
		d.Indexes = []schema.Index{x}
		l, err := layout.New(d)
		if err != nil {
			t.Fatal(err)
		}
		return l, x
	}
	for name, c := range map[string]struct {
		applies bool
		change  func(d *schema.Definition, x *schema.Index)
	}{
		"plain":   {true, func(*schema.Definition, *schema.Index) {}},
		"ordered": {true, func(_ *schema.Definition, x *schema.Index) { *x = schema.NewIndex(schema.OrderedIndex, "a") }},
		"folded":  {true, func(_ *schema.Definition, x *schema.Index) { *x = schema.NewIndex(schema.PlainIndex.Folded(), "a") }},
		"unique":  {false, func(_ *schema.Definition, x *schema.Index) { *x = schema.NewIndex(schema.UniqueIndex, "a") }},
		"elements": {false, func(_ *schema.Definition, x *schema.Index) {
			*x = schema.NewIndex(schema.PlainIndex, "list").Each(value.String)
		}},
		"lists":             {false, func(d *schema.Definition, _ *schema.Index) { d.Layout = schema.Sequelize }},
		"building":          {false, func(_ *schema.Definition, x *schema.Index) { x.State = schema.Building }},
		"declared later":    {false, func(_ *schema.Definition, x *schema.Index) { x.Declared = 7 }},
		"emptied":           {false, func(d *schema.Definition, _ *schema.Index) { d.Emptied = 7 }},
		"moved":             {false, func(d *schema.Definition, _ *schema.Index) { d.Placed = 7 }},
		"defined once more": {false, func(d *schema.Definition, _ *schema.Index) { d.Born = 7 }},
	} {
		if l, x := def(c.change); exact.Applies(l, x) != c.applies {
			t.Errorf("%s: applies %v", name, !c.applies)
		}
	}
}

// TestReplicasProveNothing: a bucket that is behind one server now may get others.
func TestReplicasProveNothing(t *testing.T) {
	t.Parallel()
	k := begin(t, openStore(t), "Ticket", 6)
	if !k.prove() {
		t.Fatal("not proven")
	}
	behind, err := fault.NewBehind(k.ctx, k.store)
	k.must(err)
	k.store = behind
	if k.agree("with replicas") != 0 || k.index.Proven() || k.prove() {
		t.Error("an index was trusted on a bucket that has replicas")
	}
}
