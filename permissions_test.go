package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// documentedUsers are the users of the server configuration in docs/permissions.md.
func documentedUsers(t *testing.T) []*server.User {
	t.Helper()
	page := string(must[[]byte](t)(os.ReadFile("docs/permissions.md")))
	_, after, found := strings.Cut(page, "```\n")
	conf, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("the page has no configuration")
	}
	file := filepath.Join(t.TempDir(), "server.conf")
	ok(t, os.WriteFile(file, []byte(conf), 0o600))
	return must[*server.Options](t)(server.ProcessConfigFile(file)).Users
}

// withUsers starts a server with these users, and one who may do everything.
func withUsers(t *testing.T, users ...*server.User) *testbed.Server {
	t.Helper()
	return testbed.StartServer(t, func(o *server.Options) {
		o.Users = append([]*server.User{{Username: "admin", Password: "secret"}}, users...)
	})
}

func as(srv *testbed.Server, user string) natsorm.Config {
	return natsorm.Config{Servers: []string{srv.URL()}, Bucket: "shop", User: user, Pass: "secret"}
}

// Each user of docs/permissions.md can do what the row says. Everything else fails soon,
// with an error that names the subject.
func TestPermissions(t *testing.T) {
	t.Parallel()
	type item struct {
		ID   int64  `json:"id" orm:"primaryKey,auto"`
		Name string `json:"name" orm:"index"`
		Code string `json:"code" orm:"unique"`
		N    int    `json:"n"`
	}
	type moving struct {
		ID int64 `json:"id" orm:"primaryKey"`
	}
	const (
		read = iota
		write
		maintain
		create
	)
	levels := []string{read: "reader", write: "writer", maintain: "keeper", create: "owner"}
	srv := withUsers(t, documentedUsers(t)...)
	ctx := within(t)
	var file bytes.Buffer
	admin := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, "admin")))
	t.Cleanup(func() { natsormtest.Prove(t, admin); admin.Close() })
	items := define[item](t, admin, natsorm.Name("Item"))
	for i := range 20 {
		ok(t, items.Create(ctx, &item{Name: fmt.Sprint("n", i%3), Code: fmt.Sprint(i)}))
	}
	define[moving](t, admin, natsorm.Name("Moving"))
	for _, name := range levels {
		dropped := define[item](t, admin, natsorm.Name("Dropped"+name))
		ok(t, dropped.Create(ctx, &item{Name: "n", Code: "c"}))
	}
	other := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{srv.URL()}, Bucket: "copy", User: "admin", Pass: "secret"}))
	t.Cleanup(func() { other.Close() })
	copied := define[item](t, other, natsorm.Name("Copied"))
	ok(t, copied.Create(ctx, &item{Name: "copy", Code: "c"}))
	ok(t, other.Backup(ctx, &file))

	for level, name := range levels {
		t.Run(name, func(t *testing.T) {
			db := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, name)))
			defer db.Close()
			items := must[*natsorm.Model[item]](t)(natsorm.Define[item](ctx, db, natsorm.Name("Item")))
			try := func(what string, needs int, f func(ctx context.Context) error) {
				t.Helper()
				began := time.Now()
				err := f(ctx)
				took := time.Since(began)
				if level >= needs {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					return
				}
				if !errors.Is(err, natsorm.ErrPermission) || !strings.Contains(err.Error(), `"$`) || !strings.Contains(err.Error(), "docs/permissions.md") {
					t.Errorf("%s: got %v", what, err)
				}
				if natsorm.SafeToRetry(err) || errors.Is(err, natsorm.ErrUnknownOutcome) {
					t.Errorf("%s: the error says that another try may help: %v", what, err)
				}
				if took > time.Second {
					t.Errorf("%s: refused after %v", what, took)
				}
			}
			reads := map[string]func(ctx context.Context) error{
				"FindByPK": func(ctx context.Context) error { _, err := items.FindByPK(ctx, 1); return err },
				"FindOne":  func(ctx context.Context) error { _, err := items.FindOne(ctx, natsorm.Eq("code", "3")); return err },
				"FindAll":  func(ctx context.Context) error { _, err := items.FindAll(ctx, natsorm.Eq("name", "n1")); return err },
				"scan":     func(ctx context.Context) error { _, err := items.FindAll(ctx); return err },
				"Count":    func(ctx context.Context) error { _, err := items.Count(ctx); return err },
				"Latest":   func(ctx context.Context) error { _, err := items.Latest().FindByPK(ctx, 1); return err },
				"Explain":  func(ctx context.Context) error { _, err := items.Explain(ctx, natsorm.Eq("name", "n1")); return err },
				"Model":    func(ctx context.Context) error { _, err := db.Model(ctx, "Item"); return err },
				"Models":   func(ctx context.Context) error { _, err := db.Models(ctx); return err },
				"Check":    func(ctx context.Context) error { _, err := db.Check(ctx); return err },
				"Backup":   func(ctx context.Context) error { return db.Backup(ctx, &bytes.Buffer{}) },
				"Watch": func(ctx context.Context) error {
					w, err := items.Watch(ctx, natsorm.WithCurrent())
					if err != nil {
						return err
					}
					<-w.Changes()
					w.Stop()
					return w.Err()
				},
				"a transaction that reads": func(ctx context.Context) error {
					return db.Transaction(ctx, func(ctx context.Context) error { _, err := items.FindAll(ctx, natsorm.Eq("name", "n1")); return err })
				},
			}
			for what, f := range reads {
				try(what, read, f)
			}
			code := func(what string) string { return name + " " + what }
			try("Create", write, func(ctx context.Context) error {
				return items.Create(ctx, &item{ID: 50, Name: "new", Code: code("create")})
			})
			try("Create with an automatic key", write, func(ctx context.Context) error { return items.Create(ctx, &item{Name: "new", Code: code("auto")}) })
			try("BulkCreate", write, func(ctx context.Context) error {
				return items.BulkCreate(ctx, []*item{{ID: 51, Name: "new", Code: code("bulk 1")}, {ID: 52, Name: "new", Code: code("bulk 2")}})
			})
			try("Upsert", write, func(ctx context.Context) error {
				_, err := items.Upsert(ctx, &item{ID: 50, Name: "more", Code: code("create")})
				return err
			})
			try("Update", write, func(ctx context.Context) error {
				_, err := items.Update(ctx, natsorm.Set{"name": "n9"}, natsorm.Eq("id", 2))
				return err
			})
			try("Increment", write, func(ctx context.Context) error {
				_, err := items.Increment(ctx, natsorm.Set{"n": 1}, natsorm.Eq("id", 2))
				return err
			})
			try("a transaction that writes", write, func(ctx context.Context) error {
				return db.Transaction(ctx, func(ctx context.Context) error {
					return items.Create(ctx, &item{ID: 53, Name: "new", Code: code("transaction")})
				})
			})
			try("Destroy", write, func(ctx context.Context) error {
				_, err := items.Destroy(ctx, natsorm.In("id", 3, 50, 51, 52, 53))
				return err
			})
			type thing struct {
				ID int64 `json:"id" orm:"primaryKey"`
			}
			try("Define a model", maintain, func(ctx context.Context) error {
				_, err := natsorm.Define[thing](ctx, db, natsorm.Name("Thing"+name))
				return err
			})
			try("Define with another index", maintain, func(ctx context.Context) error {
				_, err := natsorm.Define[item](ctx, db, natsorm.Name("Item"), natsorm.Index("name", "code"))
				return err
			})
			try("Check with Repair", read, func(ctx context.Context) error { _, err := db.Check(ctx, natsorm.Repair()); return err }) // nothing is wrong
			try("Restore", maintain, func(ctx context.Context) error {
				if level > maintain {
					return nil // it is there
				}
				return db.Restore(ctx, bytes.NewReader(file.Bytes()))
			})
			try("ChangeLayout", maintain, func(ctx context.Context) error {
				return db.ChangeLayout(ctx, "Moving", natsorm.Sequelize, natsorm.LayoutAlone())
			})
			try("DropModel", maintain, func(ctx context.Context) error { return db.DropModel(ctx, "Dropped"+name) })
			try("Truncate", write, func(ctx context.Context) error { return items.Truncate(ctx) })
			if level >= write { // for those who come next
				for i := range 20 {
					ok(t, items.Create(ctx, &item{ID: int64(1 + i), Name: fmt.Sprint("n", i%3), Code: fmt.Sprint(i)}))
				}
			}
		})
	}
}

// Without the permission to purge, keys are deleted one by one; without that to write the
// catalogue, Truncate deletes one by one.
func TestRemovalWithoutAPurge(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("deletes thousands of records one by one")
	}
	deny := func(name string, subjects ...string) *server.User {
		return &server.User{Username: name, Password: "secret", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: subjects}}}
	}
	srv := withUsers(t, deny("a", "$JS.API.STREAM.PURGE.>"), deny("b", "$KV.shop._schema.*"))
	ctx := within(t)
	admin := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, "admin")))
	t.Cleanup(func() { natsormtest.Prove(t, admin); admin.Close() })
	accounts := define[account](t, admin)
	for _, user := range []string{"a", "b"} {
		fill(t, accounts, many)
		db := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, user)))
		defer db.Close()
		ok(t, define[account](t, db).Truncate(ctx))
		sameBucket(t, bucket(t, ctx, admin), map[string]string{})
		if user == "a" {
			fill(t, accounts, 20)
			ok(t, db.DropModel(ctx, "account"))
			sameBucket(t, bucket(t, ctx, admin), map[string]string{})
			accounts = define[account](t, admin)
		}
	}
}

// A bucket that is not there is made by those who may.
func TestPermissionToMakeABucket(t *testing.T) {
	t.Parallel()
	srv := withUsers(t, documentedUsers(t)...)
	ctx := within(t)
	for _, user := range []string{"reader", "writer", "keeper", "owner"} {
		began := time.Now()
		db, err := natsorm.Open(ctx, as(srv, user))
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: after %v", user, took)
		}
		if user == "owner" {
			ok(t, err)
			natsormtest.Prove(t, db)
			ok(t, db.Close())
			return
		}
		if !errors.Is(err, natsorm.ErrPermission) || !strings.Contains(err.Error(), "$JS.API.STREAM.CREATE.KV_shop") {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// Without what every program needs, a bucket cannot be opened, and Open says what is
// missing.
func TestPermissionsThatAllNeed(t *testing.T) {
	t.Parallel()
	deny := func(name string, publish, subscribe []string) *server.User {
		p := &server.Permissions{}
		if publish != nil {
			p.Publish = &server.SubjectPermission{Deny: publish}
		}
		if subscribe != nil {
			p.Subscribe = &server.SubjectPermission{Deny: subscribe}
		}
		return &server.User{Username: name, Password: "secret", Permissions: p}
	}
	users := map[string]*server.User{
		"_INBOX.":                     deny("a", nil, []string{"_INBOX.>"}),
		"$KV.shop._schema.*":          deny("b", nil, []string{"$KV.shop.>"}),
		"$JS.API.STREAM.INFO.KV_shop": deny("c", []string{"$JS.API.>"}, nil),
	}
	var all []*server.User
	for _, u := range users {
		all = append(all, u)
	}
	srv := withUsers(t, all...)
	ctx := within(t)
	admin := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, "admin")))
	t.Cleanup(func() { admin.Close() })
	for subject, u := range users {
		began := time.Now()
		_, err := natsorm.Open(ctx, as(srv, u.Username))
		if !errors.Is(err, natsorm.ErrPermission) || !strings.Contains(err.Error(), subject) {
			t.Errorf("without %s: %v", subject, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("without %s: after %v", subject, took)
		}
	}
}

// The handler that a connection has for its errors still hears everything, whatever
// number of DBs comes and goes.
func TestPermissionsOnASharedConnection(t *testing.T) {
	t.Parallel()
	srv := withUsers(t, documentedUsers(t)...)
	ctx := within(t)
	admin := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, "admin")))
	t.Cleanup(func() { natsormtest.Prove(t, admin); admin.Close() })
	define[user](t, admin)
	heard := make(chan error, 100)
	nc := must[*nats.Conn](t)(nats.Connect(srv.URL(), nats.UserInfo("reader", "secret"), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { heard <- err })))
	t.Cleanup(nc.Close)
	for range 3 {
		db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "shop"}))
		users := define[user](t, db)
		if err := users.Create(ctx, &user{ID: 1}); !errors.Is(err, natsorm.ErrPermission) {
			t.Errorf("got %v", err)
		}
		ok(t, db.Close())
		ok(t, nc.Publish("$KV.shop.refused", nil))
		ok(t, nc.Publish("$KV.shop.last", nil))
		times := 0
		for err := range heard {
			if strings.Contains(err.Error(), "last") {
				break
			}
			if strings.Contains(err.Error(), "refused") {
				times++
			}
		}
		if times != 1 {
			t.Errorf("the handler heard of one refusal %d times", times)
		}
	}
}

// A user who may write one model only does so undisturbed beside what is refused, also
// where both would share a batch, and a transaction over both changes nothing.
func TestPermissionToWriteOneModel(t *testing.T) {
	t.Parallel()
	for _, storage := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
		t.Run(storage.String(), func(t *testing.T) {
			t.Parallel()
			var users []*server.User
			for _, u := range documentedUsers(t) {
				if u.Username == "reader" {
					u.Permissions.Publish.Allow = append(u.Permissions.Publish.Allow, "$KV.shop.Mine.>", "$KV.shop._settle.>", "$KV.shop._guard")
					users = append(users, u)
				}
			}
			srv := withUsers(t, users...)
			ctx := within(t)
			cfg := as(srv, "admin")
			cfg.Storage = storage
			admin := must[*natsorm.DB](t)(natsorm.Open(ctx, cfg))
			t.Cleanup(func() { natsormtest.Prove(t, admin); admin.Close() })
			define[user](t, admin, natsorm.Name("Mine"))
			define[user](t, admin, natsorm.Name("Theirs"))
			db := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, "reader")))
			t.Cleanup(func() { db.Close() })
			mine, theirs := define[user](t, db, natsorm.Name("Mine")), define[user](t, db, natsorm.Name("Theirs"))
			record := func(i int) *user { return &user{ID: int64(i), Name: "n", Email: fmt.Sprint(i)} }
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					for round := range 5 {
						id := i*5 + round
						if err := mine.Create(ctx, record(id)); err != nil {
							t.Errorf("its own model: %v", err)
						}
						if err := theirs.Create(ctx, record(id)); !errors.Is(err, natsorm.ErrPermission) || !strings.Contains(err.Error(), "$KV.shop.Theirs.") {
							t.Errorf("another model: %v", err)
						}
					}
				})
			}
			wg.Wait()
			for i := range 5 { // whichever of the two comes last in the batch
				both := []*natsorm.Model[user]{mine, theirs}
				err := db.Transaction(ctx, func(ctx context.Context) error {
					if err := both[i%2].Create(ctx, record(1000+i)); err != nil {
						return err
					}
					return both[1-i%2].Create(ctx, record(1000+i))
				})
				if !errors.Is(err, natsorm.ErrPermission) || natsorm.SafeToRetry(err) {
					t.Errorf("a transaction over both: %v", err)
				}
			}
			if n := must[int](t)(mine.Count(ctx)); n != 64*5 {
				t.Errorf("%d records of its own", n)
			}
			if n := must[int](t)(theirs.Count(ctx)); n != 0 {
				t.Errorf("%d records of another model", n)
			}
		})
	}
}
