package records_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
)

// person has indexes of every kind: plain and unique ones of one column and of two, ordered ones of one column and of
// two, a unique one without letter case, and one of the elements of lists.
func person() schema.Definition {
	return schema.Definition{
		Format: schema.Format, Name: "Person", Layout: schema.Native, Shards: 16,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true},
			{Name: "name", Type: value.String},
			{Name: "email", Type: value.String},
			{Name: "city", Type: value.String},
			{Name: "age", Type: value.Int},
			{Name: "login", Type: value.String},
			{Name: "tags", Type: value.JSON, Holds: schema.List},
		},
		Indexes: []schema.Index{
			schema.NewIndex(schema.PlainIndex, "name"), schema.NewIndex(schema.UniqueIndex, "email"),
			schema.NewIndex(schema.PlainIndex, "city", "name"), schema.NewIndex(schema.UniqueIndex, "city", "name"),
			schema.NewIndex(schema.OrderedIndex, "age"), schema.NewIndex(schema.OrderedIndex, "city", "age"),
			schema.NewIndex(schema.UniqueIndex.Folded(), "login"), schema.NewIndex(schema.PlainIndex, "tags").Each(value.String),
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
	return docOf(id, name, email, city, fmt.Sprint("Login", id))
}

func docOf(id int, name, email, city, login string) []byte {
	return fmt.Appendf(nil, `{"id":%d,"name":%q,"email":%q,"city":%q,"age":%d,"login":%q,"tags":["all","t%d","all",7]}`, id, name, email, city, id*7%13-3, login, id%3)
}

// sampled is the key of a record that is in all samples of ordered indexes.
const sampled = 1168

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
	early       bool // entries and claims are written before the commit
}{
	{"phased", fault.Phased, fault.Atomic, person, true},
	{"atomic", fault.Atomic, fault.Phased, person, false},
	{"all phased", fault.Phased, fault.Phased, person, true},
	{"shared", fault.Shared, fault.Phased, person, false},
	{"lists, phased", fault.Phased, fault.Atomic, listedPerson, true},
	{"lists, atomic", fault.Atomic, fault.Phased, listedPerson, false},
	{"lists, all phased", fault.Phased, fault.Phased, listedPerson, true},
	{"lists, shared", fault.Shared, fault.Phased, listedPerson, false},
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

func where(m *model, column string, v any) plan.Query { return is(m, equal(column, v)) }

func equal(column string, v any) cond.Node {
	return cond.Node{Op: cond.Eq, Column: column, Values: []any{v}}
}

// is is the query for records that fulfil all of these conditions.
func is(m *model, all ...cond.Node) plan.Query {
	b, err := cond.Bind(cond.Node{Op: cond.And, Kids: all}, m.Def)
	if err != nil {
		panic(err)
	}
	return plan.Where(b)
}

func update(ctx context.Context, m *model, p plan.Query, column, v string) error {
	return set(ctx, m, p, column, fmt.Sprintf("%q", v))
}

// set gives a column of records a value, in JSON.
func set(ctx context.Context, m *model, p plan.Query, column, raw string) error {
	return modify(ctx, m, p, func(doc []byte) ([]byte, error) {
		return document.Patch(doc, []document.Member{{Name: column, Raw: []byte(raw)}})
	})
}

func destroy(ctx context.Context, m *model, p plan.Query) error {
	return modify(ctx, m, p, func([]byte) ([]byte, error) { return nil, nil })
}

// hasUnique reports whether the model has unique values.
func hasUnique(m *model) bool { return m.Def.Index("email", true) >= 0 }

// row is a record as a scan sees it.
type row struct {
	Key                      string `json:"-"`
	ID                       int
	Age                      *int
	Name, Email, City, Login string
	Tags                     []any
}

// scan is all records, as they are.
func scan(t *testing.T, m *model, when string) (rows []row) {
	t.Helper()
	for e, err := range query.Records(context.Background(), m.Source(), plan.Where(nil)) {
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		r := row{Key: e.Key}
		if err := json.Unmarshal(e.Value, &r); err != nil {
			t.Fatalf("%s: %s: %v", when, e.Value, err)
		}
		rows = append(rows, r)
	}
	return rows
}

// sound proves the two invariants from outside: each lookup finds exactly those records that a scan sees
// with its values, in its order, and no unique value is held twice.
func sound(t *testing.T, m *model, when string) {
	t.Helper()
	ctx := context.Background()
	rows := scan(t, m, when)
	asked := map[string]bool{}
	found := func(what string, q plan.Query, paths []plan.Path, truth func(row) bool) {
		t.Helper()
		if asked[what] {
			return
		}
		asked[what] = true
		if p := plan.Make(m.Def, q, plan.Stats{}); !slices.Contains(paths, p.Path) {
			t.Fatalf("%s: %s is found by path %v", when, what, p.Path)
		}
		var got, want []string
		for hit, err := range query.Records(ctx, m.Source(), q) {
			if err != nil {
				t.Fatalf("%s: the lookup by %s: %v", when, what, err)
			}
			got = append(got, hit.Key)
		}
		for _, r := range rows {
			if truth(r) {
				want = append(want, r.Key)
			}
		}
		if len(q.Order) == 0 {
			slices.Sort(got)
			slices.Sort(want)
		} else {
			want = want[:min(len(want), q.Limit)]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the lookup by %s finds %v, and there are %v", when, what, got, want)
		}
	}
	equals, ranges, elements := []plan.Path{plan.Index, plan.Unique}, []plan.Path{plan.Range}, []plan.Path{plan.Index}
	if m.Def.Layout == schema.Sequelize { // which has no such indexes
		ranges, elements = []plan.Path{plan.Scan}, []plan.Path{plan.Scan}
	}
	held := map[string]string{} // by the unique value, its record
	for _, r := range rows {
		found("name "+r.Name, where(m, "name", r.Name), equals, func(s row) bool { return s.Name == r.Name })
		found("email "+r.Email, where(m, "email", r.Email), equals, func(s row) bool { return s.Email == r.Email })
		for _, tag := range r.Tags {
			if tag, ok := tag.(string); ok {
				found("tag "+tag, is(m, cond.Node{Op: cond.Contains, Column: "tags", Values: []any{tag}}), elements, func(s row) bool { return slices.Contains(s.Tags, any(tag)) })
			}
		}
		middle := 0
		if r.Age != nil {
			middle = *r.Age
		}
		near := cond.Node{Op: cond.Between, Column: "age", Values: []any{middle - 2, middle + 1}}
		isNear := func(s row) bool { return s.Age != nil && *s.Age >= middle-2 && *s.Age <= middle+1 }
		found(fmt.Sprint("age near ", middle), is(m, near), ranges, isNear)
		if ranges[0] == plan.Range {
			found(fmt.Sprint("age near ", middle, " in ", r.City), is(m, equal("city", r.City), near), []plan.Path{plan.Range, plan.Index}, func(s row) bool { return s.City == r.City && isNear(s) })
			found("login "+r.Login, where(m, "login", strings.ToUpper(r.Login)), equals, func(s row) bool { return strings.EqualFold(s.Login, r.Login) })
			for _, value := range []string{"email " + r.Email, "login " + strings.ToLower(r.Login), "city and name " + r.City + " " + r.Name} {
				if other, taken := held[value]; taken {
					t.Errorf("%s: %s and %s both have the %s", when, other, r.Key, value)
				}
				held[value] = r.Key
			}
		}
	}
	age, id := m.Def.Position("age"), m.Def.PrimaryKey()
	for _, desc := range []bool{false, true} {
		sort := []plan.Sort{{Column: age, Desc: desc}, {Column: id}}
		slices.SortFunc(rows, func(a, b row) int {
			if desc {
				a.Age, b.Age = b.Age, a.Age
			}
			by := 0
			switch {
			case a.Age == nil && b.Age == nil:
			case a.Age == nil:
				by = -1
			case b.Age == nil:
				by = 1
			default:
				by = cmp.Compare(*a.Age, *b.Age)
			}
			return cmp.Or(by, cmp.Compare(a.ID, b.ID))
		})
		found(fmt.Sprint("the order of age, desc ", desc), plan.Query{Order: sort, Limit: 3}, ranges, func(row) bool { return true })
		in := is(m, equal("city", "Oslo"))
		in.Order, in.Limit = sort, 3
		found(fmt.Sprint("the order of age in Oslo, desc ", desc), in, []plan.Path{plan.Range, plan.Index, plan.Scan}, func(s row) bool { return s.City == "Oslo" })
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
	type scenario struct {
		name string
		run  func(ctx context.Context, m *model) error
	}
	scenarios := []scenario{
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
	// Those of indexes that only the native layout has.
	kept := len(scenarios)
	scenarios = append(scenarios, []scenario{
		{"create of a record in every sample", func(ctx context.Context, m *model) error {
			return create(ctx, m, doc(8559, "Ann", "ann@x", "Oslo"))
		}},
		{"create that loses a value without letter case", func(ctx context.Context, m *model) error {
			return create(ctx, m, docOf(1, "Ann", "ann@x", "Oslo", "LOGIN2"))
		}},
		{"update of a value without letter case", func(ctx context.Context, m *model) error {
			if err := update(ctx, m, byID(m, 2), "login", "LOGIN2"); err != nil { // the same one
				return err
			}
			return update(ctx, m, byID(m, 2), "login", "LOGIN9") // which a crashed writer holds
		}},
		{"update of an ordered value", func(ctx context.Context, m *model) error {
			return set(ctx, m, byID(m, sampled), "age", "-1000")
		}},
		{"update of an ordered value and its city", func(ctx context.Context, m *model) error {
			return modify(ctx, m, byID(m, sampled), func(doc []byte) ([]byte, error) {
				return document.Patch(doc, []document.Member{{Name: "age", Raw: []byte("null")}, {Name: "city", Raw: []byte(`"Oslo"`)}})
			})
		}},
		{"update of a list", func(ctx context.Context, m *model) error {
			return set(ctx, m, byID(m, 2), "tags", `["new","t2","a.b",null]`)
		}},
	}...)
	srv := newServer(t)
	for n, sc := range scenarios {
		for k, kind := range kinds {
			if (testing.Short() || testbed.Race) && strings.HasSuffix(kind.name, "all phased") {
				continue // the same writer beside another kind of others is enough
			}
			if n >= kept && (strings.HasPrefix(kind.name, "lists") || testsize.Pick(true, true, false) && kind.name == "all phased") {
				continue
			}
			t.Run(sc.name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				crashAfterEveryStep(t, srv, fmt.Sprintf("crash_%d_%d", n, k), kind.mine, kind.other, kind.def, sc.run)
			})
		}
	}
}

// abreast is how many crashes of one scenario are looked at together: after each, others wait for the crashed writer.
const abreast = 8

func crashAfterEveryStep(t *testing.T, srv *embedded.Server, bucket string, mine, other func(store.Store) store.Store, def func() schema.Definition, run func(context.Context, *model) error) {
	const most = 200
	var ended atomic.Bool // there are no more steps
	for from := 0; !ended.Load() && !t.Failed(); from += abreast {
		if from >= most {
			t.Fatalf("still crashing after %d writes", from)
		}
		t.Run("from", func(t *testing.T) {
			for steps := from; steps < from+abreast; steps++ {
				t.Run(fmt.Sprint(steps), func(t *testing.T) {
					t.Parallel()
					s := openStore(t, srv, fmt.Sprint(bucket, "_", steps))
					defer s.Close()
					if !crashAfter(t, s, steps, mine, other, def, run) {
						ended.Store(true)
					}
				})
			}
		})
	}
}

// crashAfter crashes the scenario after a number of steps. It reports false when the scenario ended before.
func crashAfter(t *testing.T, s store.Store, steps int, mine, other func(store.Store) store.Store, def func() schema.Definition, run func(context.Context, *model) error) bool {
	m := defineAs(t, other(s), def())
	prepare(t, m, s)
	crashing := fault.CrashAfter(mine(s), steps)
	err := run(context.Background(), on(m, crashing))
	if !crashing.Crashed() {
		if steps == 0 {
			t.Fatal("the scenario wrote nothing")
		}
		if err != nil && !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrExists) {
			t.Fatal(err)
		}
		sound(t, m, "without a crash")
		return false
	}
	when := fmt.Sprintf("crash after write %d", steps)
	sound(t, m, when)
	goOn(t, m, when)
	mend(t, m, when)
	return true
}

// prepare is the bucket before each crash: two records with one name, and the
// claim and entry of a writer that crashed before them.
func prepare(t *testing.T, m *model, s store.Store) {
	t.Helper()
	ctx := context.Background()
	for _, d := range [][]byte{doc(2, "Bob", "bob@x", "Oslo"), doc(3, "Bob", "other@x", "Bergen"), doc(sampled, "Zoe", "zoe@x", "Rome")} {
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
	for i, value := range []string{"ann@x", "bob@x", "robert@x", "orphan@x", "login1", "Login2", "LOGIN9"} {
		held := hasUnique(m) && slices.ContainsFunc(scan(t, m, when), func(r row) bool { return r.Email == value || strings.EqualFold(r.Login, value) })
		d := doc(100+i, "Next", value, fmt.Sprint("city ", i))
		if !strings.Contains(value, "@") {
			d = docOf(100+i, "Next", fmt.Sprint("next", i), fmt.Sprint("city ", i), value)
		}
		err := create(ctx, m, d)
		if held && !errors.Is(err, errs.ErrUnique) || !held && err != nil {
			t.Errorf("%s: take %s, held %v: %v", when, value, held, err)
		}
	}
	for _, id := range []int{1, 2, 3, sampled} {
		if err := update(ctx, m, byID(m, id), "name", fmt.Sprint("changed ", id)); err != nil {
			t.Errorf("%s: change %d: %v", when, id, err)
		}
		if err := set(ctx, m, byID(m, id), "age", fmt.Sprint(id%2)); err != nil {
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
	id := []int{r.IntN(20), r.IntN(20), 145, sampled}[r.IntN(4)]
	name, email, city := fmt.Sprint("n", r.IntN(4)), fmt.Sprint("e", r.IntN(15)), fmt.Sprint("c", r.IntN(10))
	login := []string{"Login", "LOGIN"}[r.IntN(2)] + fmt.Sprint(r.IntN(20))
	switch r.IntN(8) {
	case 0, 1:
		return create(ctx, m, docOf(id, name, email, city, login))
	case 2:
		return update(ctx, m, byID(m, id), "name", name)
	case 3:
		return update(ctx, m, byID(m, id), "email", email)
	case 4:
		return update(ctx, m, byID(m, id), "login", login)
	case 5:
		return set(ctx, m, byID(m, id), "age", fmt.Sprint(r.IntN(600)-300))
	case 6:
		return set(ctx, m, byID(m, id), "tags", fmt.Sprintf(`["all","r%d","r%d"]`, r.IntN(5), r.IntN(5)))
	default:
		return destroy(ctx, m, byID(m, id))
	}
}
