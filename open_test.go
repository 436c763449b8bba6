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
	closed := fmt.Sprint("127.0.0.1:", testbed.FreePort(t))
	for _, addr := range []string{silent.Addr().String(), closed} {
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

func TestOpenKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { silent.Close() })
	cfg := natsorm.Config{Servers: []string{"nats://" + silent.Addr().String()}, Bucket: "b", NATS: []nats.Option{nil, nats.Timeout(30 * time.Second)}}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	canceled, stop := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, stop)
	for _, ctx := range []context.Context{short, canceled} {
		start := time.Now()
		if _, err := natsorm.Open(ctx, cfg); err == nil {
			t.Error("opened on a server that says nothing")
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("failed after %v", took)
		}
	}
	closed := fmt.Sprint("127.0.0.1:", testbed.FreePort(t))
	cfg = natsorm.Config{Servers: []string{"nats://" + closed}, Bucket: "b", NATS: []nats.Option{nats.RetryOnFailedConnect(true)}}
	short, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := natsorm.Open(short, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a server, retrying: %v", err)
	}
}

func TestWrongConfig(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	for _, cfg := range []natsorm.Config{{}, {Bucket: "a.b"}, {Bucket: "a", Replicas: -1}, {Bucket: "a", Replicas: 9}, {Bucket: "a", History: 65}, {Bucket: "a", Shards: -1}} {
		db := natsormtest.New(t)
		if _, err := natsorm.New(ctx, db.Conn(), cfg); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := natsorm.New(ctx, nil, natsorm.Config{Bucket: "a"}); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("nil connection: %v", err)
	}
}

// A bucket has as many replicas as the documentation says, and no others.
func TestWrongReplicas(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	for _, n := range []int{-1, 2, 4, 6, 7} {
		_, err := natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: "a", Replicas: n})
		if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("Config.Replicas is %d; use 1, 3 or 5", n)) {
			t.Errorf("%d replicas: %v", n, err)
		}
	}
	for _, n := range []int{3, 5} { // on one server
		_, err := natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: "a", Replicas: n})
		if err == nil || errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("Config.Replicas is %d", n)) {
			t.Errorf("%d replicas: %v", n, err)
		}
	}
}
