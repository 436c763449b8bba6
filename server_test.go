package natsorm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestUnreachableServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	ok(t, err)
	t.Cleanup(func() { silent.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	closed.Close()
	for _, addr := range []string{silent.Addr().String(), closed.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{"nats://" + addr, "nats://" + addr}, Bucket: "b"})
		if err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("failed after %v, with 300 ms to go", took)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := natsorm.Open(canceled, natsorm.Config{Bucket: "b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// An older server is told by the version that it announces.
func TestOldServer(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{"2.11.9": true, "2.10.29": true, "1.4.1": true, "weird": true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ok(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":%q,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n", version)
				r := bufio.NewScanner(c)
				for r.Scan() {
					if strings.HasPrefix(r.Text(), "PING") {
						fmt.Fprint(c, "PONG\r\n")
					}
				}
				c.Close()
			}
		}()
		_, err = natsorm.Open(within(t), natsorm.Config{Servers: []string{"nats://" + l.Addr().String()}, Bucket: "b"})
		if old && (!errors.Is(err, natsorm.ErrUnsupportedServer) || !strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "2.12")) {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

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
	t.Cleanup(func() { db.Close() })
	return db
}

func TestCredentialsAndPermissions(t *testing.T) {
	t.Parallel()
	url := guarded(t)
	ctx := within(t)
	cfg := natsorm.Config{Servers: []string{url}, Bucket: "shop", User: "app", Pass: "wrong"}
	if _, err := natsorm.Open(ctx, cfg); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("wrong password: %v", err)
	}
	cfg.Pass = "secret"
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := natsorm.Open(short, cfg); err == nil || !strings.Contains(err.Error(), "shop") {
		t.Errorf("a bucket that may not be created: %v", err)
	}

	// A bucket that another tool made, without what natsorm would switch on:
	// it is used as it is when it may not be upgraded, and upgraded when it may.
	admin, err := nats.Connect(url, nats.UserInfo("admin", "secret"))
	ok(t, err)
	t.Cleanup(admin.Close)
	js := must[jetstream.JetStream](t)(jetstream.New(admin))
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "KV_shop", Subjects: []string{"$KV.shop.>"}, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true, Discard: jetstream.DiscardNew,
	})
	ok(t, err)
	for _, as := range []string{"app", "admin"} {
		cfg.User = as
		db := must[*natsorm.DB](t)(natsorm.Open(ctx, cfg))
		users := define[user](t, db)
		ok(t, users.Truncate(ctx))
		for i := range 20 {
			ok(t, users.Create(ctx, &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)}))
		}
		if as == "admin" { // more than one request reads
			var more []*user
			for i := range 1180 {
				more = append(more, &user{ID: int64(20 + i), Name: "n", Email: fmt.Sprint(20 + i)})
			}
			ok(t, users.BulkCreate(ctx, more))
		}
		must[int](t)(users.Update(ctx, natsorm.Set{"name": "m"}, natsorm.Lt("id", 10)))
		must[int](t)(users.Destroy(ctx, natsorm.In("id", 1, 2)))
		if n := must[int](t)(users.Count(ctx, natsorm.Eq("name", "m"))); n != 8 {
			t.Errorf("as %s: %d by index, want 8", as, n)
		}
		natsormtest.Prove(t, db)
		ok(t, db.Close())
	}
	stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_shop"))
	if c := stream.CachedInfo().Config; !c.AllowDirect || !c.AllowMsgTTL || !c.AllowAtomicPublish || c.MaxMsgsPerSubject != 1 {
		t.Errorf("after the upgrade: %+v", c)
	}
}

// A bucket whose atomic publish is off, and may not be switched on, has records but
// no transactions. One whose atomic publish somebody switches off gets it back.
func TestTransactionsNeedBatches(t *testing.T) {
	t.Parallel()
	url := guarded(t)
	ctx := within(t)
	admin, err := nats.Connect(url, nats.UserInfo("admin", "secret"))
	ok(t, err)
	t.Cleanup(admin.Close)
	js := must[jetstream.JetStream](t)(jetstream.New(admin))
	off := jetstream.KeyValueConfig{Bucket: "shop", Storage: jetstream.MemoryStorage}
	_, err = js.CreateKeyValue(ctx, off)
	ok(t, err)
	app := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "shop", User: "app", Pass: "secret"}))
	t.Cleanup(func() { natsormtest.Prove(t, app); app.Close() })
	users := define[user](t, app)
	ok(t, users.BulkCreate(ctx, []*user{{ID: 1, Email: "1"}, {ID: 2, Email: "2"}}))
	for range 2 {
		err = app.Transaction(ctx, func(tx *natsorm.Tx) error { return users.In(tx).Create(ctx, &user{ID: 3, Email: "3"}) })
		if !errors.Is(err, natsorm.ErrUnsupportedServer) || !strings.Contains(err.Error(), "KV_shop") {
			t.Errorf("a transaction without batches: %v", err)
		}
	}
	if p := must[natsorm.Plan](t)(users.Explain(ctx)); p.Writes != natsorm.WritesPhased {
		t.Errorf("records are written %s", p.Writes)
	}
	if n := must[int](t)(users.Count(ctx)); n != 2 {
		t.Errorf("%d records", n)
	}

	mine := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "shop", User: "admin", Pass: "secret"}))
	t.Cleanup(func() { mine.Close() })
	users = define[user](t, mine)
	for i := range 3 {
		conf := must[jetstream.Stream](t)(js.Stream(ctx, "KV_shop")).CachedInfo().Config
		conf.AllowAtomicPublish = false // as a tool does that knows nothing of it
		_, err = js.UpdateStream(ctx, conf)
		ok(t, err)
		if i == 0 {
			ok(t, mine.Transaction(ctx, func(tx *natsorm.Tx) error { return users.In(tx).Create(ctx, &user{ID: 3, Email: "3"}) }))
		} else {
			ok(t, users.Create(ctx, &user{ID: int64(3 + i), Email: fmt.Sprint(3 + i)}))
		}
	}
	if n := must[int](t)(users.Count(ctx)); n != 5 {
		t.Errorf("%d records", n)
	}
}

// A bucket with data in it is adopted: nothing of it changes, and its records
// get their index entries.
func TestExistingBucket(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	nc := must[*nats.Conn](t)(srv.Connect())
	t.Cleanup(nc.Close)
	ctx := within(t)
	js := must[jetstream.JetStream](t)(jetstream.New(nc))
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "old", History: 5, Storage: jetstream.MemoryStorage, Description: "mine"})
	ok(t, err)
	before := map[string]uint64{}
	for i := range 30 {
		// As the Node library writes them, index arrays and all.
		key := fmt.Sprintf("user.shard_%d.%d", i%16, i)
		before[key] = must[uint64](t)(kv.Put(ctx, key, fmt.Appendf(nil, `{"id":%d,"name":"n%d","email":"%d@x","age":%d,"city":null}`, i, i%3, i, i)))
	}
	before["user.index.name.n0"] = must[uint64](t)(kv.Put(ctx, "user.index.name.n0", []byte("[0,3]")))
	before["something.else"] = must[uint64](t)(kv.Put(ctx, "something.else", []byte("hello")))

	db := natsormtest.Open(t, srv, "old")
	users := define[user](t, db)
	for i := range 3 {
		if n := must[int](t)(users.Count(ctx, natsorm.Eq("name", fmt.Sprint("n", i)))); n != 10 {
			t.Errorf("%d records by name, want 10", n)
		}
	}
	if u := must[*user](t)(users.FindOne(ctx, natsorm.Eq("email", "7@x"))); u.ID != 7 {
		t.Errorf("by e-mail: %+v", u)
	}
	for key, revision := range before {
		if e, err := kv.Get(ctx, key); err != nil || e.Revision() != revision {
			t.Errorf("%s has changed: %v", key, err)
		}
	}
	status, err := kv.Status(ctx)
	ok(t, err)
	conf := status.(*jetstream.KeyValueBucketStatus).StreamInfo().Config
	if conf.MaxMsgsPerSubject != 5 || conf.Description != "mine" || !conf.AllowAtomicPublish || !conf.AllowMsgTTL {
		t.Errorf("the bucket's config is %+v", conf)
	}
	must[int](t)(users.Update(ctx, natsorm.Set{"name": "changed"}, natsorm.Lt("id", 5)))
	must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 9)))
	if n := must[int](t)(users.Count(ctx)); n != 29 {
		t.Errorf("%d records, want 29", n)
	}
}

func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	srv := must[*embedded.Server](t)(embedded.Start(embedded.Config{}))
	db := must[*natsorm.DB](t)(srv.Open(within(t), natsorm.Config{Bucket: "b"}))
	users := define[user](t, db)
	ok(t, users.Create(within(t), &user{ID: 1}))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(within(t)))
	ok(t, srv.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := users.Create(ctx, &user{ID: 2}); err == nil {
		t.Error("created on a server that is gone")
	}
	if _, err := users.FindByPK(ctx, 1); err == nil || errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("found on a server that is gone: %v", err)
	}
	ok(t, db.Close())
	if _, open := <-w.Changes(); open {
		t.Error("a change from a server that is gone")
	}
}

// A DB and its watches live through a restart of the server.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := embedded.Config{Dir: dir, Port: -1}
	srv := must[*embedded.Server](t)(embedded.Start(cfg))
	if _, err := embedded.Start(cfg); !errors.Is(err, embedded.ErrDirInUse) {
		t.Errorf("a second server in the directory: %v", err)
	}
	url := srv.URL()
	fmt.Sscanf(url[strings.LastIndexByte(url, ':')+1:], "%d", &cfg.Port)
	ctx := within(t)
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{
		Servers: []string{url}, Bucket: "b", NATS: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)},
	}))
	users := define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "1"}))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))

	ok(t, srv.Close())
	srv = must[*embedded.Server](t)(embedded.Start(cfg))
	t.Cleanup(func() { srv.Close() })

	for { // until the connection is back
		_, err := users.Update(ctx, natsorm.Set{"name": "Bea"}, natsorm.Eq("id", 1))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	expect(t, w, userName, "updated from Ann/0 to Bea/0 name")
	must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 1)))
	expect(t, w, userName, "deleted from Bea/0")
	w.Stop()
	natsormtest.Prove(t, db)
	ok(t, db.Close())
}

// The bucket is deleted and made anew under a watch: it says that it lost its
// place, and what there is now.
func TestWatchResyncs(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "1"}))
	ok(t, users.Create(ctx, &user{ID: 2, Name: "Bob", Email: "2"}))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
	js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
	stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_test"))
	conf := stream.CachedInfo().Config
	ok(t, js.DeleteStream(ctx, "KV_test"))
	_, err := js.CreateStream(ctx, conf)
	ok(t, err)
	users = define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 2, Name: "Bea", Email: "2"}))
	ok(t, users.Create(ctx, &user{ID: 3, Name: "Cid", Email: "3"}))

	ok(t, users.Create(ctx, &user{ID: 4, Name: "Dee", Email: "4"}))

	// When exactly it notices is open; what it says must add up.
	state := map[int64]string{1: "Ann", 2: "Bob"}
	resynced := false
	for state[4] == "" || !resynced {
		select {
		case c, open := <-w.Changes():
			if !open {
				t.Fatalf("the watch ended: %v", w.Err())
			}
			resynced = resynced || c.Op == natsorm.Resynced
			if c.Before != nil {
				if state[c.Before.ID] != c.Before.Name {
					t.Errorf("%v of %s, which was %q", c.Op, c.Before.Name, state[c.Before.ID])
				}
				delete(state, c.Before.ID)
			}
			if c.After != nil {
				state[c.After.ID] = c.After.Name
			}
		case <-ctx.Done():
			t.Fatalf("resynced %v, state %v", resynced, state)
		}
	}
	w.Stop()
	if diff := cmp.Diff(map[int64]string{2: "Bea", 3: "Cid", 4: "Dee"}, state); diff != "" {
		t.Error(diff)
	}
}
