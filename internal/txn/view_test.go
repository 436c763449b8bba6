package txn_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/store/storetest"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/value"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// opener opens buckets on a server of its own.
func opener(t *testing.T) func(t testing.TB, name string) *bucket.Bucket {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{})
	ok(t, err)
	t.Cleanup(func() { srv.Close() })
	return func(t testing.TB, name string) *bucket.Bucket {
		t.Helper()
		nc, err := srv.Connect()
		ok(t, err)
		t.Cleanup(nc.Close)
		b, err := bucket.Open(within(t), nc, bucket.Config{Bucket: name, Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)})
		ok(t, err)
		t.Cleanup(b.Close)
		return b
	}
}

// person has an index and a unique one; in the Sequelize layout, two whose entries
// are lists.
func person(t testing.TB, kind string) layout.Layout {
	t.Helper()
	email := schema.NewIndex(schema.UniqueIndex, "email")
	if kind == schema.Sequelize {
		email = schema.NewIndex(schema.PlainIndex, "email")
	}
	def := schema.Definition{
		Format: schema.Format, Name: "Person", Layout: kind, Shards: 4,
		Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}, {Name: "email", Type: value.String}},
		Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name"), email},
	}
	l, err := layout.New(&def)
	ok(t, err)
	return l
}

// set makes a record what it is to be: another one, or with no name, none.
func set(ctx context.Context, w *commit.Writer, id int, name, email string) error {
	_, err := w.Apply(ctx, commit.Change{ID: value.OfInt(int64(id)), Next: func(store.Message) (commit.Draft, error) {
		if name == "" {
			return commit.Draft{}, nil
		}
		return commit.Draft{Doc: fmt.Appendf(nil, `{"id":%d,"name":%q,"email":%q}`, id, name, email)}, nil
	}})
	return err
}

// A view keeps the promises of the port, but for what it refuses.
func TestViewIsAStore(t *testing.T) {
	t.Parallel()
	open := opener(t)
	l := person(t, schema.Native)
	storetest.Run(t, func(t testing.TB) *storetest.Subject {
		b := open(t, "b")
		return &storetest.Subject{
			Store:   func() store.Store { return txn.Begin(b).View(l) },
			Writer:  open(t, "b"),
			Close:   func(s store.Store) { s.(*txn.View).End() },
			Ended:   errs.ErrTxDone,
			Refuses: storetest.Writes | storetest.Read | storetest.Feeds | storetest.Revisions,
			Frozen:  true,
		}
	})
}

// What a view shows after some changes is what the bucket has when they are
// committed, by every way to read, and until then the bucket is as it was.
func TestViewShowsWhatTheCommitWrites(t *testing.T) {
	t.Parallel()
	open := opener(t)
	for _, kind := range []string{schema.Native, schema.Sequelize} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			l, b := person(t, kind), open(t, kind)
			names := []string{"ann", "bob", "eve"}
			change := func(w *commit.Writer) {
				t.Helper()
				id := r.IntN(8)
				name := names[r.IntN(len(names))]
				if r.IntN(4) == 0 {
					name = "" // none
				}
				if err := set(ctx, w, id, name, fmt.Sprint("mail", r.IntN(12))); err != nil && !errors.Is(err, errs.ErrUnique) {
					t.Fatal(err)
				}
			}
			for range 15 {
				for range 5 {
					change(commit.NewWriter(b, l))
				}
				before := shown(t, ctx, b, l)
				tx := txn.Begin(b)
				view := tx.View(l)
				if r.IntN(2) == 0 { // some of it was read before it is changed
					shown(t, ctx, view, l)
				}
				for range 1 + r.IntN(6) {
					change(view.Writer())
				}
				during := shown(t, ctx, view, l)
				if diff := cmp.Diff(before, shown(t, ctx, b, l)); diff != "" {
					t.Fatalf("changed before the commit:\n%s", diff)
				}
				switch err := tx.Commit(ctx); {
				case errors.Is(err, errs.ErrUnique): // that is judged at the commit
					during = before
				case err != nil:
					t.Fatal(err)
				}
				if diff := cmp.Diff(during, shown(t, ctx, b, l)); diff != "" {
					t.Fatalf("shown, and then committed:\n%s", diff)
				}
			}
		})
	}
}

// shown is everything of the model that a store shows, by way to read and key.
func shown(t *testing.T, ctx context.Context, s store.Store, l layout.Layout) map[string]string {
	t.Helper()
	out := map[string]string{}
	show := func(how string, found []store.Message) {
		t.Helper()
		for _, m := range found {
			how, v := how+" "+m.Key, string(m.Value)
			if list, ok := strings.CutPrefix(v, "["); ok { // whose order means nothing
				ids := strings.Split(strings.TrimSuffix(list, "]"), ",")
				slices.Sort(ids)
				v = fmt.Sprint(ids)
			}
			if other, twice := out[how]; twice { // two records with one unique value, before the commit
				v = other + " and " + v
			}
			out[how] = v
		}
	}
	collect := func(messages func(func(store.Message, error) bool)) (found []store.Message) {
		t.Helper()
		for m, err := range messages {
			ok(t, err)
			found = append(found, m)
		}
		return found
	}
	records := keys.Records(l.Model().Name)
	show("scan", collect(s.Scan(ctx, records, store.ScanOptions{})))
	n, err := s.Count(ctx, records, store.Exactly)
	ok(t, err)
	out["count"] = fmt.Sprint(n)
	var recordKeys, lookups []string
	for id := range 8 {
		recordKeys = append(recordKeys, l.RecordKey(value.OfInt(int64(id))))
	}
	for _, x := range l.Model().Indexes {
		for _, v := range []string{"ann", "bob", "eve"} {
			lookups = append(lookups, l.Lookup(x, []value.Value{value.OfString(v)}))
		}
		for i := range 12 {
			lookups = append(lookups, l.Lookup(x, []value.Value{value.OfString(fmt.Sprint("mail", i))}))
		}
	}
	many, err := store.GetMany(ctx, s, recordKeys)
	ok(t, err)
	for i, m := range many {
		one, err := s.Get(ctx, recordKeys[i])
		ok(t, err)
		if one.Revision != m.Revision || one.Live() != m.Live() {
			t.Fatalf("%+v by Get, and %+v by GetMany", one, m)
		}
		if m.Live() {
			show("get", []store.Message{m})
		}
	}
	for _, pattern := range lookups {
		found, err := s.Read(ctx, store.Lookup{Patterns: []string{pattern}})
		ok(t, err)
		show("lookup", found.Messages)
	}
	found, err := s.Read(ctx, store.Lookup{Patterns: lookups})
	ok(t, err)
	show("one lookup", found.Messages)
	show("match", collect(store.Match(ctx, s, append([]string{records}, lookups...)...)))
	return out
}

// Whatever is read through a view is guarded: the commit is refused when others have
// written it since, and not for what is none of its business.
func TestViewGuardsWhatIsRead(t *testing.T) {
	t.Parallel()
	open := opener(t)
	l := person(t, schema.Native)
	const many = 1100 // more than one request reads
	key := func(id int) string { return l.RecordKey(value.OfInt(int64(id))) }
	records := keys.Records("Person")
	byName := func(name string) string {
		return l.Lookup(l.Model().Indexes[0], []value.Value{value.OfString(name)})
	}
	drain := func(messages func(func(store.Message, error) bool)) error {
		for _, err := range messages {
			if err != nil {
				return err
			}
		}
		return nil
	}
	type change struct {
		id   int
		name string // "" deletes
	}
	overwrite, remove, create, rename := change{1, "ann"}, change{1, ""}, change{50, "zoe"}, change{2, "ann"}
	for _, c := range []struct {
		name   string
		read   func(ctx context.Context, v *txn.View) error
		guards []change // that make the commit conflict
		others []change // that do not
		whole  bool     // on a replicated bucket everything does
		large  bool
	}{
		{name: "nothing", read: func(context.Context, *txn.View) error { return nil }, others: []change{overwrite, remove, create}},
		{name: "Get", read: func(ctx context.Context, v *txn.View) error { _, err := v.Get(ctx, key(1)); return err }, guards: []change{overwrite, remove}, others: []change{create, rename}},
		{name: "Get of none", read: func(ctx context.Context, v *txn.View) error { _, err := v.Get(ctx, key(50)); return err }, guards: []change{create}, others: []change{overwrite, rename}},
		{name: "GetLatest", read: func(ctx context.Context, v *txn.View) error { _, err := v.GetLatest(ctx, key(1)); return err }, guards: []change{overwrite, remove}, others: []change{create}},
		{name: "GetMany", read: func(ctx context.Context, v *txn.View) error {
			_, err := store.GetMany(ctx, v, []string{key(3), key(1), key(50)})
			return err
		}, guards: []change{overwrite, remove, create}, others: []change{rename}},
		{name: "GetEach", read: func(ctx context.Context, v *txn.View) error {
			return v.GetEach(ctx, []string{key(3), key(1)}, func(int, store.Message) {})
		}, guards: []change{overwrite, remove}, others: []change{create}},
		{name: "Read", read: func(ctx context.Context, v *txn.View) error {
			_, err := v.Read(ctx, store.Lookup{Patterns: []string{byName("ann")}})
			return err
		}, guards: []change{{50, "ann"}, rename}, others: []change{create, {2, "zoe"}}},
		{name: "Match", read: func(ctx context.Context, v *txn.View) error {
			return drain(store.Match(ctx, v, byName("ann"), byName("zoe")))
		}, guards: []change{{50, "ann"}, create}, others: []change{{2, "eve"}}},
		{name: "Scan", read: func(ctx context.Context, v *txn.View) error {
			return drain(v.Scan(ctx, records, store.ScanOptions{}))
		}, guards: []change{overwrite, remove, create}, whole: true},
		{name: "Scan of many", read: func(ctx context.Context, v *txn.View) error {
			return drain(v.Scan(ctx, records, store.ScanOptions{}))
		}, guards: []change{overwrite, remove, {5000, "zoe"}}, whole: true, large: true},
		{name: "Count", read: func(ctx context.Context, v *txn.View) error {
			_, err := v.Count(ctx, records, store.Exactly)
			return err
		}, guards: []change{remove, create}, whole: true},
		{name: "Count about", read: func(ctx context.Context, v *txn.View) error { _, err := v.Count(ctx, records, store.About); return err }, others: []change{overwrite, remove, create}},
		{name: "after a write of its own", read: func(ctx context.Context, v *txn.View) error {
			if err := set(ctx, v.Writer(), 1, "eve", "mail1"); err != nil {
				return err
			}
			_, err := v.Get(ctx, key(1))
			return err
		}, guards: []change{overwrite, remove}, others: []change{create}},
	} {
		for _, replicated := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", replicated=", replicated), func(t *testing.T) {
				t.Parallel()
				ctx := within(t)
				b := open(t, fmt.Sprintf("guards-%x", t.Name()))
				var s store.Store = b
				if replicated { // one that says so, on one server
					behind, err := fault.NewBehind(ctx, b)
					ok(t, err)
					s = behind
				}
				for id := 1; id <= 3; id++ {
					ok(t, set(ctx, commit.NewWriter(s, l), id, "bob", fmt.Sprint("mail", id)))
				}
				if c.large {
					var ops []store.Op
					for id := 100; id < 100+many; id++ {
						ops = append(ops, store.Op{Key: key(id), Value: fmt.Appendf(nil, `{"id":%d}`, id)})
					}
					for _, r := range s.Write(ctx, ops...) {
						ok(t, r.Err)
					}
				}
				attempt := func(others change) error {
					t.Helper()
					tx := txn.Begin(s)
					ok(t, c.read(ctx, tx.View(l)))
					ok(t, set(ctx, commit.NewWriter(s, l), others.id, others.name, fmt.Sprint("mail", others.id)))
					ok(t, set(ctx, tx.View(l).Writer(), 77, "joe", "mail77"))
					err := tx.Commit(ctx)
					// As it was, for the next one.
					for id, name := range map[int]string{others.id: map[bool]string{true: "bob"}[others.id <= 3], 77: ""} {
						ok(t, set(ctx, commit.NewWriter(s, l), id, name, fmt.Sprint("mail", id)))
					}
					return err
				}
				for _, others := range c.guards {
					if err := attempt(others); !errors.Is(err, errs.ErrConflict) {
						t.Errorf("%+v, which was read, was written by others, and the commit says %v", others, err)
					}
				}
				for _, others := range c.others {
					if err := attempt(others); (err != nil) != (replicated && c.whole) {
						t.Errorf("%+v, which was not read, was written by others, and the commit says %v", others, err)
					}
				}
			})
		}
	}
}

// The reads of a transaction agree: what it reads later is of the same state as what
// it has read, or its run ends there.
func TestViewReadsAgree(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	l, b := person(t, schema.Native), opener(t)(t, "agree")
	put := func(keys ...string) {
		t.Helper()
		var ops []store.Op
		for _, key := range keys {
			ops = append(ops, store.Op{Key: key, Value: []byte("x")})
		}
		_, err := b.Batch(ctx, store.Batch{Ops: ops})
		ok(t, err)
	}
	put("t.a.1", "t.b.1", "t.c.1")

	v := txn.Begin(b).View(l)
	a, err := v.Get(ctx, "t.a.1")
	ok(t, err)
	put("t.c.1") // none of what it read
	if _, err := v.Get(ctx, "t.c.1"); err != nil {
		t.Errorf("others changed what it had not read: %v", err)
	}
	put("t.a.1", "t.b.1")
	again, err := v.Get(ctx, "t.a.1")
	ok(t, err)
	if again.Revision != a.Revision {
		t.Errorf("%s was at %d, and is at %d", a.Key, a.Revision, again.Revision)
	}
	for name, read := range map[string]func(v *txn.View) error{
		"Get":   func(v *txn.View) error { _, err := v.Get(ctx, "t.b.1"); return err },
		"Read":  func(v *txn.View) error { _, err := v.Read(ctx, store.Lookup{Patterns: []string{"t.b.*"}}); return err },
		"Count": func(v *txn.View) error { _, err := v.Count(ctx, "t.>", store.Exactly); return err },
	} {
		v := txn.Begin(b).View(l)
		_, err := v.Get(ctx, "t.a.1")
		ok(t, err)
		put("t.a.1", "t.b.1")
		if err := read(v); !errors.Is(err, errs.ErrConflict) {
			t.Errorf("%s shows another state than what was read before: %v", name, err)
		}
		if _, err := v.Get(ctx, "t.a.1"); !errors.Is(err, errs.ErrConflict) {
			t.Errorf("after %s the run goes on: %v", name, err)
		}
	}
}
