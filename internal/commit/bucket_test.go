package commit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/value"
)

// openStore opens a bucket of its own.
func openStore(t testing.TB) store.Store {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := srv.Connect()
	if err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open(context.Background(), nc, bucket.Config{
		Bucket: "commit", Storage: jetstream.MemoryStorage, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); nc.Close(); srv.Close() })
	return s
}

// fixture is a model in a bucket, and what the test looks at in both.
type fixture struct {
	*testing.T
	s store.Store
	l layout.Layout
	w *commit.Writer
}

// newFixture is a model with an index by name and, in the native layout, a unique one by
// email.
func newFixture(t *testing.T, s store.Store, name string) *fixture {
	t.Helper()
	def := &schema.Definition{
		Format: schema.Format, Name: "M", Layout: name, Shards: 16,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}, {Name: "email", Type: value.String}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name")},
	}
	if name == schema.Native {
		def.Indexes = append(def.Indexes, schema.NewIndex(schema.UniqueIndex, "email"))
	}
	l, err := layout.New(def)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, s, l, commit.NewWriter(s, l)}
}

func doc(id int, name, email string) []byte {
	return fmt.Appendf(nil, `{"id":%d,"name":%q,"email":%q}`, id, name, email)
}

func (b *fixture) of(doc []byte) *layout.Footprint {
	b.Helper()
	f, err := b.l.Of(doc)
	if err != nil {
		b.Fatal(err)
	}
	return &f
}

// record writes a record and nothing that goes with it.
func (b *fixture) record(id int, name, email string) *layout.Footprint {
	b.Helper()
	d := doc(id, name, email)
	f := b.of(d)
	b.put(f.Record, string(d))
	return f
}

func (b *fixture) put(key, text string) store.Message {
	b.Helper()
	if err := b.s.Write(context.Background(), store.Op{Key: key, Value: []byte(text)})[0].Err; err != nil {
		b.Fatal(err)
	}
	return b.get(key)
}

func (b *fixture) get(key string) store.Message {
	b.Helper()
	m, err := b.s.GetLatest(context.Background(), key)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// change lets w make doc of a record; nil deletes it.
func change(w *commit.Writer, id int, doc []byte) error {
	_, err := w.Apply(context.Background(), commit.Change{ID: value.OfInt(int64(id)), Next: func(store.Message) (commit.Draft, error) { return commit.Draft{Doc: doc}, nil }})
	return err
}

// holds compares what is in the bucket with a text for each key that is to be there.
func (b *fixture) holds(want map[string]string) {
	b.Helper()
	got := map[string]string{}
	for m, err := range b.s.Scan(context.Background(), "M.>", store.ScanOptions{}) {
		if err != nil {
			b.Fatal(err)
		}
		got[m.Key] = string(m.Value)
	}
	for key, text := range got {
		if w, ok := want[key]; !ok || w != text {
			b.Errorf("%s holds %q", key, text)
		}
	}
	for key, text := range want {
		if _, ok := got[key]; !ok {
			b.Errorf("%s is not there, with %q", key, text)
		}
	}
}

// ways are the ways to write a record.
var ways = map[string]func(store.Store) store.Store{"phased": fault.Phased, "atomic": fault.Atomic, "shared": fault.Shared}

// What is in the bucket after a record was created, changed and deleted.
func TestApply(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for layoutName, want := range map[string][3]map[string]string{
				schema.Native: {
					{"M.shard_1.1": string(doc(1, "Ada", "a")), "M.index.name.Ada.1": "", "M.unique.email.a": "1"},
					{"M.shard_1.1": string(doc(1, "Bea", "b")), "M.index.name.Bea.1": "", "M.unique.email.b": "1"},
					{},
				},
				schema.Sequelize: {
					{"M.shard_1.1": string(doc(1, "Ada", "a")), "M.index.name.Ada": "[1]"},
					{"M.shard_1.1": string(doc(1, "Bea", "b")), "M.index.name.Bea": "[1]"},
					{},
				},
			} {
				s := openStore(t)
				b := newFixture(t, way(s), layoutName)
				for i, d := range [][]byte{doc(1, "Ada", "a"), doc(1, "Bea", "b"), nil} {
					if err := change(b.w, 1, d); err != nil {
						t.Fatal(err)
					}
					b.holds(want[i])
				}
			}
		})
	}
}

// A value is its record's alone, unless that has given it up, or never had it.
func TestClaims(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t, way(openStore(t)), schema.Native)
			for id, email := range map[int]string{1: "a", 2: "b"} {
				if err := change(b.w, id, doc(id, "Ada", email)); err != nil {
					t.Fatal(err)
				}
			}
			var unique *errs.UniqueError
			if err := change(b.w, 2, doc(2, "Ada", "a")); !errors.As(err, &unique) || unique.Owner != "1" || !slices.Equal(unique.Columns, []string{"email"}) {
				t.Errorf("a value that another record has: %v", err)
			}
			if m := b.get("M.unique.email.b"); string(m.Value) != "2" {
				t.Errorf("the claim that it keeps holds %q", m.Value)
			}
			// A crashed writer's: its record does not hold the value, or is not there.
			b.put("M.unique.email.c", "1")
			b.put("M.unique.email.d", "9")
			before := b.get("M.shard_1.1")
			for _, email := range []string{"c", "d"} {
				if err := change(b.w, 2, doc(2, "Ada", email)); err != nil {
					t.Errorf("%s: %v", email, err)
				}
			}
			if m := b.get("M.shard_1.1"); m.Revision == before.Revision || m.Version() != before.Version() {
				t.Error("the record whose claim was taken was not fenced, or looks changed")
			}
			b.put("M.unique.email.e", "nobody")
			if err := change(b.w, 2, doc(2, "Ada", "e")); !errors.Is(err, errs.ErrCorrupt) {
				t.Errorf("a claim that names nobody: %v", err)
			}
		})
	}
}

// Many records get what they lack in one call; those whose value another has are named,
// with the others done.
// Ensure and EnsureNew leave the same, whatever was there before.
func TestEnsure(t *testing.T) {
	t.Parallel()
	for name, ensure := range map[string]func(*commit.Writer, context.Context, ...*layout.Footprint) ([]commit.Refused, error){
		"Ensure": (*commit.Writer).Ensure, "EnsureNew": (*commit.Writer).EnsureNew,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testEnsure(t, func(w *commit.Writer, records ...*layout.Footprint) ([]commit.Refused, error) {
				return ensure(w, context.Background(), records...)
			})
		})
	}
}

func testEnsure(t *testing.T, ensure func(*commit.Writer, ...*layout.Footprint) ([]commit.Refused, error)) {
	b := newFixture(t, openStore(t), schema.Native)
	records := []*layout.Footprint{b.record(1, "Ada", "a"), b.record(2, "Ada", "b"), b.record(3, "Bea", "a"), b.record(4, "Bea", "x")}
	b.put("M.unique.email.b", "9")    // of a record that is not there
	b.put("M.unique.email.x", "none") // of nobody
	refused, err := ensure(b.w, records...)
	if err != nil {
		t.Fatal(err)
	}
	var unique *errs.UniqueError
	if len(refused) != 2 || refused[0].Record != records[2] || !errors.As(refused[0].Err, &unique) || unique.Owner != "1" || refused[1].Record != records[3] || !errors.Is(refused[1].Err, errs.ErrCorrupt) {
		t.Errorf("refused are %+v", refused)
	}
	want := map[string]string{
		"M.index.name.Ada.1": "", "M.index.name.Ada.2": "", "M.index.name.Bea.3": "", "M.index.name.Bea.4": "",
		"M.unique.email.a": "1", "M.unique.email.b": "2", "M.unique.email.x": "none",
	}
	for i, f := range records {
		want[f.Record] = string(b.get(fmt.Sprintf("M.shard_%d.%d", i+1, i+1)).Value)
	}
	b.holds(want)
	claim := b.get("M.unique.email.a")
	if _, err := ensure(b.w, records[0]); err != nil {
		t.Fatal(err)
	}
	if now := b.get(claim.Key); now.Revision == claim.Revision || string(now.Value) != "1" {
		t.Error("a claim that is there was not written again, so that a writer that is about to take it would succeed")
	}
}

// overtaken is a bucket in which somebody is always faster: before any write, each key that is
// written on a condition is put once more, with the text that it is to have.
type overtaken struct {
	store.Store
	times atomic.Int64 // how often that happens
}

func (o *overtaken) Write(ctx context.Context, ops ...store.Op) []store.Result {
	if o.times.Add(-1) >= 0 {
		for _, op := range ops {
			if op.Conditional {
				o.Store.Write(ctx, store.Op{Key: op.Key, Value: op.Value})
			}
		}
	}
	return o.Store.Write(ctx, ops...)
}

// Two who take the claims of the same records at the same time both have them: a record is not in
// its own way. And what is another's is refused, however many claims are.
func TestEnsureBesideAnother(t *testing.T) {
	t.Parallel()
	for times := range 4 {
		s := openStore(t)
		b := newFixture(t, s, schema.Native)
		var records, others []*layout.Footprint
		for i := range 20 {
			records = append(records, b.record(i, "n", fmt.Sprint("e", i)))
			others = append(others, b.record(100+i, "n", fmt.Sprint("e", i)))
		}
		faster := &overtaken{Store: s}
		faster.times.Store(int64(times))
		w := commit.NewWriter(faster, b.l)
		refused, err := w.EnsureNew(context.Background(), records...)
		if err != nil || len(refused) != 0 {
			t.Errorf("overtaken %d times: %v, %d are refused, the first because of %+v", times, err, len(refused), refused)
		}
		refused, err = b.w.EnsureNew(context.Background(), others...)
		if err != nil || len(refused) != len(others) {
			t.Fatalf("%v, %d are refused", err, len(refused))
		}
		for i, r := range refused {
			var unique *errs.UniqueError
			if !errors.As(r.Err, &unique) || unique.Owner != fmt.Sprint(i) || unique.Value != fmt.Sprint("e", i) || r.Record != others[i] || r.Claim.Key != others[i].Claims[0].Key {
				t.Errorf("%+v", r)
			}
		}
	}
}

// Lists are written once for all records of a call, whatever is in them.
func TestEnsureLists(t *testing.T) {
	t.Parallel()
	b := newFixture(t, openStore(t), schema.Sequelize)
	list := b.put("M.index.name.Ada", "[7,2]")
	refused, err := b.w.Ensure(context.Background(), b.of(doc(1, "Ada", "")), b.of(doc(2, "Ada", "")), b.of(doc(3, "Bea", "")), b.of(doc(4, "Ada", "")))
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	b.holds(map[string]string{"M.index.name.Ada": "[7,2,1,4]", "M.index.name.Bea": "[3]"})
	if m := b.get(list.Key); m.Revision > list.Revision+2 {
		t.Errorf("two lists took %d writes", m.Revision-list.Revision)
	}
}

// Records go out of an entry that do not hold its value, behind a fence; one that was
// changed meanwhile stays, and an entry that was written meanwhile is not touched.
func TestSweep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, c := range map[string]struct {
		layout, entry, text string
		again               bool // an entry that has changed is worth another look
	}{
		"entry": {schema.Native, "M.index.name.Bob.1", "", false},
		"claim": {schema.Native, "M.unique.email.z", "1", false},
		"list":  {schema.Sequelize, "M.index.name.Bob", "[1]", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t, openStore(t), c.layout)
			f := b.record(1, "Ada", "a")
			old := b.get(f.Record)
			entry := b.put(c.entry, c.text)
			b.put(f.Record, string(old.Value)) // somebody is at work on it
			if swept, again, err := b.w.Sweep(ctx, entry, old); len(swept) > 0 || again || err != nil {
				t.Errorf("of a record that has changed: %v, %v, %v", swept, again, err)
			}
			rec := b.get(f.Record)
			stale := entry
			entry = b.put(c.entry, c.text)
			if swept, again, err := b.w.Sweep(ctx, stale, rec); len(swept) > 0 || again != c.again || err != nil {
				t.Errorf("of an entry that has changed: %v, %v, %v", swept, again, err)
			}
			if m := b.get(f.Record); m.Revision == rec.Revision || m.Version() != rec.Version() {
				t.Error("the record was not fenced, or looks changed")
			}
			rec = b.get(f.Record)
			if swept, _, err := b.w.Sweep(ctx, entry, rec); len(swept) != 1 || err != nil {
				t.Errorf("%v, %v", swept, err)
			}
			b.holds(map[string]string{f.Record: string(rec.Value)})
		})
	}
}

// A list keeps the records that it is not about to lose.
func TestSweepKeepsOthers(t *testing.T) {
	t.Parallel()
	b := newFixture(t, openStore(t), schema.Sequelize)
	list := b.put("M.index.name.Bob", `[3,1,"x",2]`)
	gone := b.get(b.l.RecordKey(value.OfInt(1)))
	gone.Key = b.l.RecordKey(value.OfInt(1))
	changed := b.get(b.record(2, "Ada", "").Record)
	b.put(changed.Key, string(changed.Value))
	swept, _, err := b.w.Sweep(context.Background(), list, gone, changed)
	if err != nil || len(swept) != 1 || swept[0].Key != gone.Key {
		t.Errorf("%v, %v", swept, err)
	}
	if m := b.get(list.Key); string(m.Value) != `[3,"x",2]` {
		t.Errorf("the list holds %s", m.Value)
	}
}

// Of records that all are to go, each goes with its entries, or without those that
// records share.
func TestDiscard(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]map[string]string{
		schema.Native:    {"M.index.name.x.3": ""},
		schema.Sequelize: {"M.index.name.Ada": "[1,2]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t, openStore(t), name)
			for id := 1; id <= 2; id++ {
				if err := change(b.w, id, doc(id, "Ada", fmt.Sprint(id))); err != nil {
					t.Fatal(err)
				}
			}
			if name == schema.Native {
				b.put("M.index.name.x.3", "")
			}
			for _, rec := range []store.Message{b.get("M.shard_1.1"), b.get("M.shard_2.2"), b.put("M.shard_3.3", "{"), b.put("M.shard_4.4", `{"id":5}`)} {
				b.put(rec.Key, string(rec.Value)) // it was changed since it was read
				if was, err := b.w.Discard(context.Background(), rec); !was || err != nil {
					t.Errorf("%s: %v, %v", rec.Key, was, err)
				}
			}
			b.holds(left)
		})
	}
}

// replicated is a bucket that says that it has replicas, and notes the keys that are
// written, in the order of requests.
type replicated struct {
	store.Store
	mu     sync.Mutex
	writes [][]string
}

func (r *replicated) Traits() store.Traits {
	t := r.Store.Traits()
	t.Replicable = true
	return t
}

func (r *replicated) note(ops []store.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []string
	for _, op := range ops {
		if !op.Delete {
			keys = append(keys, op.Key)
		}
	}
	if len(keys) > 0 {
		r.writes = append(r.writes, keys)
	}
}

func (r *replicated) Write(ctx context.Context, ops ...store.Op) []store.Result {
	r.note(ops)
	return r.Store.Write(ctx, ops...)
}

func (r *replicated) Batch(ctx context.Context, b store.Batch) (uint64, error) {
	r.note(b.Ops)
	return r.Store.Batch(ctx, b)
}

// Heads come after their entries and before the record, whoever writes them.
func TestEntriesThenHeads(t *testing.T) {
	t.Parallel()
	update := func(b *fixture) error { return change(b.w, 1, doc(1, "Bea", "b")) }
	for name, c := range map[string]struct {
		way  func(store.Store) store.Store
		do   func(b *fixture) error
		want []string // by their kinds, a request each
	}{
		"phased": {fault.Phased, update, []string{"index unique", "head", "shard_1"}},
		"atomic": {fault.Atomic, update, []string{"index head unique shard_1"}},
		"repair": {fault.Phased, func(b *fixture) error {
			_, err := b.w.Ensure(context.Background(), b.of(doc(1, "Bea", "b")), b.of(doc(2, "Bea", "c")))
			return err
		}, []string{"index index", "head", "unique unique"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &replicated{Store: c.way(openStore(t))}
			b := newFixture(t, r, schema.Native)
			b.record(1, "Ada", "a")
			r.writes = nil
			if err := c.do(b); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, keys := range r.writes {
				var kinds []string
				for _, key := range keys {
					kinds = append(kinds, strings.Split(key, ".")[1])
				}
				got = append(got, strings.Join(kinds, " "))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Writers of one process that share a list do not make each other start again for
// long: every record is in it in the end.
func TestManyJoinAList(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t, way(openStore(t)), schema.Sequelize)
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			const n = 40
			for id := range n {
				wg.Go(func() {
					_, err := b.w.Apply(ctx, commit.Change{ID: value.OfInt(int64(id)), Next: func(store.Message) (commit.Draft, error) { return commit.Draft{Doc: doc(id, "Ada", "")}, nil }})
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			list := b.get("M.index.name.Ada")
			if to, err := b.l.Pointers(nil, list.Key, list.Value); err != nil || len(to) != n {
				t.Errorf("%d records are in %s, %v", len(to), list.Value, err)
			}
		})
	}
}

// Plans of one transaction become one batch: each list is written once.
func TestOpsOfSeveralPlans(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		schema.Native:    "+M.index.name.Ada.1 +M.unique.email.a +M.shard_1.1 +M.index.name.Ada.2 +M.unique.email.b +M.shard_2.2",
		schema.Sequelize: "+M.index.name.Ada +M.shard_1.1 +M.shard_2.2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t, openStore(t), name)
			var plans []*commit.Plan
			for id, email := range []string{"a", "b"} {
				d := doc(id+1, "Ada", email)
				f := b.of(d)
				plans = append(plans, b.w.MakePlan(store.Message{Key: f.Record}, nil, f, d, b.l.Owner(f.ID)))
			}
			ops, err := b.w.Ops(context.Background(), plans, func(string) uint64 { return 0 }, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, op := range ops {
				got = append(got, "+"+op.Key)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s, want %s", strings.Join(got, " "), want)
			}
			if _, err := b.s.Batch(context.Background(), store.Batch{Ops: ops}); err != nil {
				t.Error(err)
			}
		})
	}
}
