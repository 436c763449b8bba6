package records_test

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

	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
)

// person has an index, a unique index and one of each with two columns.
func person() schema.Definition {
	return schema.Definition{
		Format: schema.Format, Name: "Person", Layout: schema.Native, Shards: 16,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true},
			{Name: "name", Type: value.String},
			{Name: "email", Type: value.String},
			{Name: "city", Type: value.String},
		},
		Indexes: []schema.Index{
			schema.NewIndex(schema.PlainIndex, "name"), schema.NewIndex(schema.UniqueIndex, "email"),
			schema.NewIndex(schema.PlainIndex, "city", "name"), schema.NewIndex(schema.UniqueIndex, "city", "name"),
		},
	}
}

// listedPerson is person in a layout whose entries are lists.
func listedPerson() schema.Definition {
	def := person()
	def.Layout, def.Indexes = schema.Sequelize, []schema.Index{schema.NewIndex(schema.PlainIndex, "name"), schema.NewIndex(schema.PlainIndex, "email")}
	return def
}

func doc(id int, name, email, city string) []byte {
	return fmt.Appendf(nil, `{"id":%d,"name":%q,"email":%q,"city":%q}`, id, name, email, city)
}

func newServer(t testing.TB) *embedded.Server {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

func openStore(t testing.TB, srv *embedded.Server, name string) *bucket.Bucket {
	t.Helper()
	nc, err := srv.Connect()
	if err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open(context.Background(), nc, bucket.Config{
		Bucket: name, Storage: jetstream.MemoryStorage, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); nc.Close() })
	return s
}

func definePerson(t testing.TB, s store.Store) *model {
	t.Helper()
	return defineAs(t, s, person())
}

func defineAs(t testing.TB, s store.Store, def schema.Definition) *model {
	t.Helper()
	now, err := maintenance.Define(context.Background(), s, def, 16)
	if err != nil {
		t.Fatal(err)
	}
	m, err := records.New(s, now)
	if err != nil {
		t.Fatal(err)
	}
	return &model{m, s}
}

// model is a model in a store, with what is done to it as a whole.
type model struct {
	*records.Model
	store store.Store
}

func (m *model) Check(ctx context.Context, repair bool) (checking.Report, error) {
	o := checking.Options{}
	if repair {
		o.Mend = checking.All
	}
	return checking.Check(ctx, m.store, m.Def, o)
}

func (m *model) Truncate(ctx context.Context) error { return maintenance.Truncate(ctx, m.store, m.Def) }

// kinds are the ways to write a record; others at work on the same bucket may
// use the other one.
var kinds = []struct {
	name        string
	mine, other func(store.Store) store.Store
	def         func() schema.Definition
	left        int // writes of a create before its commit
}{
	{"phased", fault.Phased, fault.Atomic, person, 4},
	{"atomic", fault.Atomic, fault.Phased, person, 0},
	{"all phased", fault.Phased, fault.Phased, person, 4},
	{"shared", fault.Shared, fault.Phased, person, 0},
	{"lists, phased", fault.Phased, fault.Atomic, listedPerson, 2},
	{"lists, atomic", fault.Atomic, fault.Phased, listedPerson, 0},
	{"lists, all phased", fault.Phased, fault.Phased, listedPerson, 2},
	{"lists, shared", fault.Shared, fault.Phased, listedPerson, 0},
}

// on is the model m in another store on the same bucket.
func on(m *model, s store.Store) *model { return &model{m.On(s), s} }

func create(ctx context.Context, m *model, doc []byte) error {
	f, err := m.Layout.Of(doc)
	if err != nil {
		return err
	}
	err = m.Write(ctx, records.Target{ID: f.ID, New: true}, records.Change{Next: func(before store.Message) (commit.Draft, error) {
		if before.Live() {
			return commit.Draft{}, errs.ErrExists
		}
		return commit.Draft{Doc: doc, Keys: &f}, nil
	}})
	return err
}

// modify changes the records of a query; a nil document deletes.
func modify(ctx context.Context, m *model, q plan.Query, next func(before []byte) ([]byte, error)) error {
	_, err := m.Modify(ctx, q, func() records.Change {
		return records.Change{Next: func(before store.Message) (commit.Draft, error) {
			doc, err := next(before.Value)
			return commit.Draft{Doc: doc}, err
		}}
	})
	return err
}

// byID, update and destroy are what the public API makes of such calls.
func byID(m *model, id int) plan.Query { return where(m, "id", id) }

func where(m *model, column string, v any) plan.Query {
	b, err := cond.Bind(cond.FromMap(map[string]any{column: v}), m.Def)
	if err != nil {
		panic(err)
	}
	return plan.Where(b)
}

func update(ctx context.Context, m *model, p plan.Query, column, v string) error {
	return modify(ctx, m, p, func(doc []byte) ([]byte, error) {
		return document.Patch(doc, []document.Member{{Name: column, Raw: fmt.Appendf(nil, "%q", v)}})
	})
}

func destroy(ctx context.Context, m *model, p plan.Query) error {
	return modify(ctx, m, p, func([]byte) ([]byte, error) { return nil, nil })
}

// hasUnique reports whether the model has unique values.
func hasUnique(m *model) bool { return m.Def.Index("email", true) >= 0 }

// sound proves the two invariants from outside: every record that a scan sees
// is found by each of its values, and no unique value is held twice.
func sound(t *testing.T, m *model, when string) {
	t.Helper()
	ctx := context.Background()
	emails := map[string]string{}
	for e, err := range query.Records(ctx, m.Source(), plan.Where(nil)) {
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		fields := document.NewFields(m.Def, 1, 2)
		vals, err := fields.Read(e.Value)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for position, column := range map[int]string{1: "name", 2: "email"} {
			q := where(m, column, vals.At(position).Str())
			p := plan.Make(m.Def, q, plan.Stats{})
			if p.Path != plan.Index && p.Path != plan.Unique {
				t.Fatalf("%s is found by path %v", column, p.Path)
			}
			found := false
			for hit, err := range query.Records(ctx, m.Source(), q) {
				found = found || err == nil && hit.Key == e.Key
			}
			if !found {
				t.Errorf("%s: the lookup by %s misses %s", when, column, e.Value)
			}
		}
		email := vals.At(2).Str()
		if other, taken := emails[email]; taken && hasUnique(m) {
			t.Errorf("%s: %s and %s both have the e-mail %q", when, other, e.Key, email)
		}
		emails[email] = e.Key
	}
	report, err := m.Check(ctx, false)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, f := range report.Problems {
		if !f.Kind.Harmless() {
			t.Errorf("%s: %+v", when, f)
		}
	}
}

// TestCrashAfterEveryStep lets a process crash after its first write, after
// its second, and so on until it gets through. After each crash readers and
// other writers must be able to go on as if it had finished, or never begun.
func TestCrashAfterEveryStep(t *testing.T) {
	t.Parallel()
	scenarios := []struct {
		name string
		run  func(ctx context.Context, m *model) error
	}{
		{"create", func(ctx context.Context, m *model) error {
			return create(ctx, m, doc(1, "Ann", "ann@x", "Oslo"))
		}},
		{"create whose value a crashed writer holds", func(ctx context.Context, m *model) error {
			return create(ctx, m, doc(1, "Ann", "orphan@x", "Oslo"))
		}},
		{"create that loses a unique value", func(ctx context.Context, m *model) error {
			return create(ctx, m, doc(1, "Ann", "bob@x", "Oslo"))
		}},
		{"create that finds the record there", func(ctx context.Context, m *model) error {
			return create(ctx, m, doc(2, "Ann", "ann@x", "Oslo"))
		}},
		{"update of an indexed value", func(ctx context.Context, m *model) error {
			return update(ctx, m, byID(m, 2), "name", "Robert")
		}},
		{"update of a unique value", func(ctx context.Context, m *model) error {
			return update(ctx, m, byID(m, 2), "email", "robert@x")
		}},
		{"update of a value and back", func(ctx context.Context, m *model) error {
			if err := update(ctx, m, byID(m, 2), "email", "robert@x"); err != nil {
				return err
			}
			return update(ctx, m, byID(m, 2), "email", "bob@x")
		}},
		{"update of many", func(ctx context.Context, m *model) error {
			return update(ctx, m, where(m, "name", "Bob"), "city", "Rome")
		}},
		{"destroy", func(ctx context.Context, m *model) error { return destroy(ctx, m, byID(m, 2)) }},
		{"destroy and create again", func(ctx context.Context, m *model) error {
			if err := destroy(ctx, m, byID(m, 2)); err != nil {
				return err
			}
			return create(ctx, m, doc(2, "Bea", "bob@x", "Bergen"))
		}},
		{"truncate", func(ctx context.Context, m *model) error { return m.Truncate(ctx) }},
	}
	srv := newServer(t)
	for n, sc := range scenarios {
		for k, kind := range kinds {
			if testing.Short() && strings.HasSuffix(kind.name, "all phased") {
				continue // the same writer beside another kind of others is enough
			}
			t.Run(sc.name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				crashAfterEveryStep(t, srv, fmt.Sprintf("crash_%d_%d", n, k), kind.mine, kind.other, kind.def, sc.run)
			})
		}
	}
}

func crashAfterEveryStep(t *testing.T, srv *embedded.Server, bucket string, mine, other func(store.Store) store.Store, def func() schema.Definition, run func(context.Context, *model) error) {
	const most = 200
	for steps := 0; ; steps++ {
		if steps == most {
			t.Fatalf("still crashing after %d writes", most)
		}
		s := openStore(t, srv, fmt.Sprint(bucket, "_", steps))
		m := defineAs(t, other(s), def())
		prepare(t, m, s)

		crashing := fault.CrashAfter(mine(s), steps)
		err := run(context.Background(), on(m, crashing))
		when := fmt.Sprintf("crash after write %d", steps)
		if !crashing.Crashed() {
			if steps == 0 {
				t.Fatal("the scenario wrote nothing")
			}
			if err != nil && !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrExists) {
				t.Fatal(err)
			}
			sound(t, m, "without a crash")
			s.Close()
			t.Logf("%d crashes", steps)
			return
		}
		sound(t, m, when)
		goOn(t, m, when)
		mend(t, m, when)
		s.Close()
	}
}

// prepare is the bucket before each crash: two records with one name, and the
// claim and entry of a writer that crashed before them.
func prepare(t *testing.T, m *model, s store.Store) {
	t.Helper()
	ctx := context.Background()
	for _, d := range [][]byte{doc(2, "Bob", "bob@x", "Oslo"), doc(3, "Bob", "other@x", "Bergen")} {
		if err := create(ctx, m, d); err != nil {
			t.Fatal(err)
		}
	}
	orphan := doc(9, "Orphan", "orphan@x", "Oslo")
	f, err := m.Layout.Of(orphan)
	if err != nil {
		t.Fatal(err)
	}
	if err := create(ctx, on(m, fault.CrashAfter(fault.Phased(s), len(f.Entries)+len(f.Claims))), orphan); !errors.Is(err, fault.ErrCrashed) {
		t.Fatalf("the orphan's writer: %v", err)
	}
}

// goOn is what other processes do after the crash: every value can be taken by
// a record unless a committed one holds it, and every record can be changed.
func goOn(t *testing.T, m *model, when string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i, email := range []string{"ann@x", "bob@x", "robert@x", "orphan@x"} {
		held := false
		for e, err := range query.Records(ctx, m.Source(), plan.Where(nil)) {
			if err != nil {
				t.Fatal(err)
			}
			f, err := m.Layout.Of(e.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range f.Claims {
				held = held || c.Text == email
			}
		}
		err := create(ctx, m, doc(100+i, "Next", email, fmt.Sprint("city ", i)))
		if held && !errors.Is(err, errs.ErrUnique) || !held && err != nil {
			t.Errorf("%s: take %s, held %v: %v", when, email, held, err)
		}
	}
	for id := 1; id <= 3; id++ {
		if err := update(ctx, m, byID(m, id), "name", fmt.Sprint("changed ", id)); err != nil {
			t.Errorf("%s: change %d: %v", when, id, err)
		}
	}
	sound(t, m, when+", after others went on")
}

// mend lets Check repair what is left, after which nothing is.
func mend(t *testing.T, m *model, when string) {
	t.Helper()
	ctx := context.Background()
	if _, err := m.Check(ctx, true); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	report, err := m.Check(ctx, false)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, f := range report.Problems {
		t.Errorf("%s: not repaired: %+v", when, f)
	}
}

// TestCrashingProcesses runs many processes at once, each of which crashes
// somewhere and is replaced by the next.
func TestCrashingProcesses(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]schema.Definition{"native": person(), "lists": listedPerson()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crashingProcesses(t, def)
		})
	}
}

func crashingProcesses(t *testing.T, def schema.Definition) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := openStore(t, newServer(t), "crashing")
	m := defineAs(t, s, def)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	const slots = 12
	lives := testsize.Pick(10, 25, 40)
	var wg sync.WaitGroup
	for slot := range slots {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(slot)))
			for range lives {
				crashing := fault.CrashAfter(kinds[slot%len(kinds)].mine(s), r.IntN(60))
				mine := on(m, crashing)
				for !crashing.Crashed() {
					if err := randomWrite(ctx, mine, r); err != nil && !errors.Is(err, fault.ErrCrashed) && !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrExists) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	sound(t, m, "at the end")
	mend(t, m, "at the end")
}

func randomWrite(ctx context.Context, m *model, r *rand.Rand) error {
	id := r.IntN(20)
	name, email, city := fmt.Sprint("n", r.IntN(4)), fmt.Sprint("e", r.IntN(15)), fmt.Sprint("c", r.IntN(10))
	switch r.IntN(5) {
	case 0, 1:
		return create(ctx, m, doc(id, name, email, city))
	case 2:
		return update(ctx, m, byID(m, id), "name", name)
	case 3:
		return update(ctx, m, byID(m, id), "email", email)
	default:
		return destroy(ctx, m, byID(m, id))
	}
}
