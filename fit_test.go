package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// A bucket in which messages go or do not come by a setting of its stream is refused, by
// name: before anything is written, and when the setting appears later.
func TestBucketsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for setting, change := range map[string]func(c *jetstream.StreamConfig){
		"max_age 1h0m0s":          func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Hour, time.Minute },
		"max_bytes 1000000":       func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1_000_000, jetstream.DiscardOld },
		"max_msgs 1000":           func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1_000, jetstream.DiscardOld },
		"discard_new_per_subject": func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true },
		`retention "interest"`:    func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"no_ack":                  func(c *jetstream.StreamConfig) { c.NoAck = true },
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			refused := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, natsorm.ErrUnsupportedBucket) || !strings.Contains(err.Error(), setting) {
					t.Errorf("%s: %v", what, err)
				}
			}
			nc := testbed.StartServer(t).Connect(t)
			js := must[jetstream.JetStream](t)(jetstream.New(nc))
			conf := jetstream.StreamConfig{
				Name: "KV_old", Subjects: []string{"$KV.old.>"}, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true, AllowDirect: true,
				AllowMsgTTL: true, AllowAtomicPublish: true, Discard: jetstream.DiscardNew, Storage: jetstream.MemoryStorage,
			}
			change(&conf)
			if conf.NoAck {
				conf.AllowAtomicPublish = false // the server does not allow both
			}
			must[jetstream.Stream](t)(js.CreateStream(ctx, conf))
			_, err := natsorm.New(ctx, nc, natsorm.Config{Bucket: "old"})
			refused("New", err)

			db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "new", Storage: jetstream.MemoryStorage}))
			t.Cleanup(func() { db.Close() })
			users := define[user](t, db)
			ok(t, users.Create(ctx, &user{ID: 1}))
			conf = must[jetstream.Stream](t)(js.Stream(ctx, "KV_new")).CachedInfo().Config
			change(&conf)
			if conf.NoAck {
				conf.AllowAtomicPublish = false
			}
			_, err = js.UpdateStream(ctx, conf)
			ok(t, err)
			_, err = natsorm.Define[user](ctx, db)
			refused("Define", err)
			_, err = db.Check(ctx)
			refused("Check", err)
		})
	}
}

// A limit that refuses what is new, and a TTL of messages, are no reason to refuse a
// bucket.
func TestBucketsThatFit(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	nc := testbed.StartServer(t).Connect(t)
	js := must[jetstream.JetStream](t)(jetstream.New(nc))
	must[jetstream.KeyValue](t)(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "limited", MaxBytes: 1_000_000, History: 5, LimitMarkerTTL: time.Minute}))
	db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "limited"}))
	t.Cleanup(func() { natsormtest.Prove(t, db); db.Close() })
	ok(t, define[user](t, db).Create(ctx, &user{ID: 1}))
}

// laterServer is a server that is not there yet, and how to start it. Its address is known
// before.
func laterServer(t *testing.T) (url string, start func()) {
	t.Helper()
	port := testbed.FreePort(t)
	return fmt.Sprintf("nats://127.0.0.1:%d", port), func() { testbed.StartServer(t, func(o *server.Options) { o.Port = port }) }
}

// A program that starts before its server waits for it, if it says so.
func TestServerThatComesLater(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(c *natsorm.Config){
		"WaitForServer": func(c *natsorm.Config) { c.WaitForServer = true },
		"RetryOnFailedConnect": func(c *natsorm.Config) {
			c.NATS = []nats.Option{nats.RetryOnFailedConnect(true), nats.ReconnectWait(50 * time.Millisecond)}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			url, start := laterServer(t)
			cfg := natsorm.Config{Servers: []string{url}, Bucket: "b"}
			if _, err := natsorm.Open(within(t), cfg); !errors.Is(err, nats.ErrNoServers) {
				t.Errorf("without waiting: %v", err)
			}
			change(&cfg)
			short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := natsorm.Open(short, cfg); err == nil {
				t.Error("opened without a server")
			}
			started := make(chan struct{})
			time.AfterFunc(300*time.Millisecond, func() { defer close(started); start() }) // most often while Open waits
			defer func() { <-started }()
			db := must[*natsorm.DB](t)(natsorm.Open(within(t), cfg))
			defer db.Close()
			ok(t, define[user](t, db).Create(t.Context(), &user{ID: 1}))
		})
	}
}

// Errors of connecting say what to do.
func TestErrorsOfOpening(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	plain := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false })
	guarded := withUsers(t)
	account := server.NewAccount("none")
	accounts := testbed.StartServer(t, func(o *server.Options) {
		o.Accounts = []*server.Account{account}
		o.Users = []*server.User{{Username: "u", Password: "p", Account: account}}
	})
	for text, c := range map[string]struct {
		cfg  natsorm.Config
		want string
	}{
		"JetStream is off":   {natsorm.Config{Servers: []string{plain.URL()}}, "nats-server -js"},
		"not in the account": {natsorm.Config{Servers: []string{accounts.URL()}, User: "u", Pass: "p"}, "jetstream: enabled to this account"},
		"wrong password":     {natsorm.Config{Servers: []string{guarded.URL()}, User: "admin", Pass: "x"}, "Config.User and Pass"},
		"no password":        {natsorm.Config{Servers: []string{guarded.URL()}}, "Config.User and Pass"},
		"another database":   {natsorm.Config{Servers: []string{"postgres://localhost:5432/x"}}, "postgres://"},
		"HTTP":               {natsorm.Config{Servers: []string{"http://localhost:8222"}}, "http://"},
		"TLS":                {natsorm.Config{Servers: []string{guarded.URL()}, User: "admin", Pass: "secret", NATS: []nats.Option{nats.Secure()}}, "the server has no TLS"},
		"nobody":             {natsorm.Config{Servers: []string{"nats://127.0.0.1:1"}}, "is nats-server running there"},
	} {
		c.cfg.Bucket = "shop"
		began := time.Now()
		_, err := natsorm.Open(ctx, c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", text, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: after %v", text, took)
		}
	}
}
