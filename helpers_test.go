package natsorm_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// user is the record of most tests.
type user struct {
	ID    int64   `json:"id"    orm:"primaryKey"`
	Name  string  `json:"name"  orm:"index"`
	Email string  `json:"email" orm:"unique"`
	Age   int     `json:"age"   orm:"index"`
	City  *string `json:"city"  orm:"index"`
	Bio   string  `json:"bio,omitempty"`
}

// Most tests wait for schemas to change; those of the long form work.
func TestMain(m *testing.M) {
	flag.Parse()
	testbed.MainTogether(m, testsize.Pick(12, 12, 5), 2)
}

// serve starts a server, which ends with the test.
func serve(t testing.TB, cfg embedded.Config) *embedded.Server {
	t.Helper()
	srv := must[*embedded.Server](t)(embedded.Start(cfg))
	t.Cleanup(func() { srv.Close() })
	return srv
}

// onFiles is a database whose server keeps it in files, where records are written
// phased; natsormtest.New is in memory, where they are written in batches.
func onFiles(t testing.TB) *natsorm.DB {
	t.Helper()
	return natsormtest.Open(t, serve(t, embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}), "test")
}

// within is a context for one test, which has a deadline so that nothing hangs.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testsize.Pick(5*time.Minute, 5*time.Minute, 10*time.Minute))
	t.Cleanup(cancel)
	return ctx
}

func define[T any](t testing.TB, db *natsorm.DB, opts ...natsorm.ModelOption) *natsorm.Model[T] {
	t.Helper()
	m, err := natsorm.Define[T](within(t), db, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// guarded is a server with users: app may do everything but change streams.
func guarded(t *testing.T) string {
	t.Helper()
	return testbed.StartServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "secret"},
			{Username: "app", Password: "secret", Permissions: &server.Permissions{Publish: &server.SubjectPermission{
				Deny: []string{"$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.DELETE.>"},
			}}},
		}
	}).URL()
}

// withoutDirectGet opens a bucket that has batches, and no direct gets and no
// message TTLs, with an account that may not change it.
func withoutDirectGet(t *testing.T, ctx context.Context) *natsorm.DB {
	t.Helper()
	return restricted(t, ctx, jetstream.StreamConfig{AllowAtomicPublish: true})
}

// withoutBatches opens one that has direct gets, and no batches.
func withoutBatches(t *testing.T, ctx context.Context) *natsorm.DB {
	t.Helper()
	return restricted(t, ctx, jetstream.StreamConfig{AllowDirect: true})
}

func restricted(t *testing.T, ctx context.Context, cfg jetstream.StreamConfig) *natsorm.DB {
	t.Helper()
	url := guarded(t)
	admin := must[*nats.Conn](t)(nats.Connect(url, nats.UserInfo("admin", "secret")))
	t.Cleanup(admin.Close)
	js := must[jetstream.JetStream](t)(jetstream.New(admin))
	cfg.Name, cfg.Subjects, cfg.MaxMsgsPerSubject = "KV_shop", []string{"$KV.shop.>"}, 1
	cfg.AllowRollup, cfg.DenyDelete, cfg.Discard, cfg.Storage = true, true, jetstream.DiscardNew, jetstream.MemoryStorage
	must[jetstream.Stream](t)(js.CreateStream(ctx, cfg))
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "shop", User: "app", Pass: "secret"}))
	t.Cleanup(func() { natsormtest.Prove(t, db); db.Close() })
	return db
}

// bucket is every live key of db's bucket but the catalogue's and natsorm's own.
func bucket(t *testing.T, ctx context.Context, db *natsorm.DB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, key := range must[[]string](t)(db.KV().Keys(ctx)) {
		if key[0] == '_' {
			continue
		}
		e, err := db.KV().Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // somebody has just deleted it
		}
		ok(t, err)
		out[key] = string(e.Value())
	}
	return out
}

func sameBucket(t *testing.T, got, want map[string]string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[key]; !ok || v != want[key] {
			t.Errorf("%s is %q (%v), want %q", key, v, ok, want[key])
		}
	}
	for key, v := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s is there: %q", key, v)
		}
	}
}

// another is a second DB on the bucket of db, as another program has.
func another(t testing.TB, db *natsorm.DB) *natsorm.DB {
	t.Helper()
	second := must[*natsorm.DB](t)(natsorm.New(within(t), db.Conn(), natsorm.Config{Bucket: db.KV().Bucket()}))
	t.Cleanup(func() { second.Close() })
	return second
}
