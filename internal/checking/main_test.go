package checking_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/value"
)

// A layout change spends nearly all of its time waiting for calls that still use the old layout: many
// tests wait, few work.
func TestMain(m *testing.M) { testbed.MainTogether(m, 12, 6) }

// person has an index and a unique index.
func person(indexes ...schema.Index) schema.Definition {
	return schema.Definition{
		Format: schema.Format, Name: "Person", Layout: schema.Native, Shards: 16,
		Columns: []schema.Column{
			{Name: "id", Type: value.Int, PrimaryKey: true},
			{Name: "name", Type: value.String},
			{Name: "email", Type: value.String},
		},
		Indexes: indexes,
	}
}

var (
	byName  = schema.NewIndex(schema.PlainIndex, "name")
	byEmail = schema.NewIndex(schema.UniqueIndex, "email")
)

// everyKind is person with indexes of the kinds that person does not have: ordered ones of one column and of
// two, a unique one without letter case, and one of the elements of lists.
func everyKind() schema.Definition {
	def := person(byName, byEmail,
		schema.NewIndex(schema.OrderedIndex, "age"), schema.NewIndex(schema.OrderedIndex, "name", "age"),
		schema.NewIndex(schema.UniqueIndex.Folded(), "login"), schema.NewIndex(schema.PlainIndex, "tags").Each(value.String))
	def.Columns = append(def.Columns, schema.Column{Name: "age", Type: value.Int}, schema.Column{Name: "login", Type: value.String}, schema.Column{Name: "tags", Type: value.JSON})
	return def
}

// sampled is the key of a record that is in all samples of ordered indexes.
const sampled = 1168

// full is a document of everyKind.
func full(id int, name string, age int, login, tag string) string {
	return fmt.Sprintf(`{"id":%d,"name":%q,"email":"e%d","age":%d,"login":%q,"tags":["all",%q,7]}`, id, name, id, age, login, tag)
}

// place is the end of an entry's key in an ordered index.
func place(age, id int) string {
	return keys.Place(value.OfInt(int64(age)), value.OfInt(int64(id))) + "." + fmt.Sprint(id)
}

// listedPerson has an index whose entries are lists.
func listedPerson() schema.Definition {
	def := person(byName)
	def.Layout = schema.Sequelize
	return def
}

func doc(id int, name, email string) string {
	return fmt.Sprintf(`{"id":%d,"name":%q,"email":%q}`, id, name, email)
}

func claim(email string) string {
	return keys.Claim("Person", "email", []value.Value{value.OfString(email)})
}

// world is a bucket, and what a test does to it.
type world struct {
	*testing.T
	ctx    context.Context
	server *testbed.Server
	bucket *bucket.Bucket
}

// begin makes an empty bucket on a server of its own. At the end of the test every model
// is sound and no consumer is left.
func begin(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, server: testbed.StartServer(t)}
	w.bucket = w.session("b")
	t.Cleanup(func() {
		if !t.Failed() {
			w.prove(w.bucket)
		}
	})
	return w
}

// session is another process with a bucket of the server.
func (w *world) session(name string) *bucket.Bucket {
	w.Helper()
	b, err := bucket.Open(w.ctx, w.server.Connect(w.T, nats.Timeout(30*time.Second)), bucket.Config{Bucket: name, Storage: jetstream.MemoryStorage, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.Cleanup(b.Close)
	return b
}

// lagging is the bucket with a replica that serves scans as the bucket is now.
func (w *world) lagging() store.Store {
	w.Helper()
	l, err := fault.NewLagging(w.ctx, w.bucket)
	w.must(err)
	return l
}

// prove fails the test when a model of the bucket has a problem, or a consumer is left.
func (w *world) prove(b *bucket.Bucket) {
	w.Helper()
	reports, _, err := checking.CheckAll(w.ctx, b, checking.Options{})
	w.must(err)
	for _, r := range reports {
		for _, p := range r.Problems {
			w.Errorf("in the end: %+v", p)
		}
	}
	status, err := b.KV().Status(w.ctx)
	w.must(err)
	if n := status.(interface{ StreamInfo() *jetstream.StreamInfo }).StreamInfo().State.Consumers; n != 0 {
		w.Errorf("%d consumers are left", n)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) define(s store.Store, code schema.Definition) *records.Model {
	w.Helper()
	def, err := maintenance.Define(w.ctx, s, code, 16)
	w.must(err)
	return w.model(s, *def)
}

// save writes a record as a program does.
func save(ctx context.Context, m *records.Model, text string) error {
	f, err := m.Layout.Of([]byte(text))
	if err != nil {
		return err
	}
	return m.Write(ctx, records.Target{ID: f.ID}, records.Change{Next: func(store.Message) (commit.Draft, error) {
		return commit.Draft{Doc: []byte(text), Keys: &f}, nil
	}})
}

func (w *world) save(m *records.Model, docs ...string) {
	w.Helper()
	for _, d := range docs {
		w.must(save(w.ctx, m, d))
	}
}

func destroy(ctx context.Context, m *records.Model, id int) error {
	return m.Write(ctx, records.Target{ID: value.OfInt(int64(id))}, records.Change{Next: func(before store.Message) (commit.Draft, error) {
		if !before.Live() {
			return commit.Draft{}, commit.ErrLeave
		}
		return commit.Draft{}, nil
	}})
}

// put and remove are plain writes, past the model.
func (w *world) put(key, value string) {
	w.Helper()
	_, err := w.bucket.KV().PutString(w.ctx, key, value)
	w.must(err)
}

func (w *world) remove(key string) {
	w.Helper()
	w.must(w.bucket.KV().Delete(w.ctx, key))
}

// placed depends on how many writes there were before.
var placed = regexp.MustCompile(`,"placed":\d+`)

// content is every live key of a bucket but passing ones. Ids in lists are in any order,
// so of lists only the length is told.
func (w *world) content(b *bucket.Bucket) map[string]string {
	w.Helper()
	list, err := b.KV().ListKeys(w.ctx)
	w.must(err)
	out := map[string]string{}
	for key := range list.Keys() {
		if keys.Passing(key) {
			continue
		}
		m, err := b.Get(w.ctx, key)
		w.must(err)
		m.Value = placed.ReplaceAll(m.Value, nil)
		if out[key] = string(m.Value); strings.HasPrefix(out[key], "[") {
			out[key] = fmt.Sprint("a list of ", len(m.Value), " bytes")
		}
	}
	return out
}

func (w *world) same(what string, got, want map[string]string) {
	w.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("%s: -want +got\n%s", what, diff)
	}
}

// refused fails the test unless err is of a kind and says these words.
func (w *world) refused(err, kind error, words ...string) {
	w.Helper()
	if err == nil {
		w.Fatalf("nothing was refused; want %v", kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			w.Errorf("%v\ndoes not say %q", err, word)
		}
	}
	if !errors.Is(err, kind) {
		w.Errorf("%v\nis not %v", err, kind)
	}
}

// model is a model as a process has it that read or declared it before.
func (w *world) model(s store.Store, def schema.Definition) *records.Model {
	w.Helper()
	m, err := records.New(s, &def)
	w.must(err)
	return m
}

// repair lets Check repair what is left, all of which must be expected.
func (w *world) repair(def *schema.Definition, expected func(checking.Problem) bool) {
	w.Helper()
	report, err := checking.Check(w.ctx, w.bucket, def, checking.Options{Mend: checking.All})
	w.must(err)
	for _, p := range report.Problems {
		if !expected(p) || !p.Repaired {
			w.Errorf("%+v", p)
		}
	}
}

// id is a primary key.
func id(i int) value.Value { return value.OfInt(int64(i)) }
