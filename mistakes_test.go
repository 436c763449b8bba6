package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// mistake is what a user does wrong, and what the error must say: what is wrong, where, and
// what to do.
type mistake struct {
	name  string
	make  func() error
	kind  error
	words []string // the first says what is wrong, the second where, the third what to do
}

func hold(t *testing.T, mistakes []mistake) {
	t.Helper()
	for _, m := range mistakes {
		err := m.make()
		if err == nil {
			t.Errorf("%s: no error", m.name)
			continue
		}
		if testing.Verbose() {
			t.Logf("%-40s %v", m.name, err)
		}
		if m.kind != nil && !errors.Is(err, m.kind) {
			t.Errorf("%s: is no %v: %v", m.name, m.kind, err)
		}
		if len(m.words) < 3 {
			t.Errorf("%s: only %d words", m.name, len(m.words))
		}
		for _, word := range m.words {
			if len(word) < 2 || word == "natsorm" {
				t.Errorf("%s: %q says nothing", m.name, word)
			}
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: does not say %q: %v", m.name, word, err)
			}
		}
	}
}

// declared is the error of a declaration.
func declared[T any](db *natsorm.DB, opts ...natsorm.ModelOption) func() error {
	return func() error { return second(natsorm.Define[T](context.Background(), db, opts...)) }
}

// Mistakes in declarations.
func TestMistakesInDeclarations(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	type noKey struct {
		Name string `json:"name"`
	}
	type twoKeys struct {
		A int `json:"a" orm:"primaryKey"`
		B int `json:"b" orm:"primaryKey"`
	}
	type floatKey struct {
		ID float64 `json:"id" orm:"primaryKey"`
	}
	type pointerKey struct {
		ID *int `json:"id" orm:"primaryKey"`
	}
	type unknownOption struct {
		ID int `json:"id" orm:"primaryKey,autoIncrement"`
	}
	type hiddenByJSON struct {
		ID     int    `json:"id" orm:"primaryKey"`
		Secret string `json:"-"`
	}
	type indexedButHidden struct {
		ID     int    `json:"id" orm:"primaryKey"`
		Secret string `json:"-" orm:"index"`
	}
	type badVersion struct {
		ID      int `json:"id" orm:"primaryKey"`
		Version int `json:"version" orm:"version"`
	}
	type badTime struct {
		ID int   `json:"id" orm:"primaryKey"`
		At int64 `json:"at" orm:"createdAt"`
	}
	type channel struct {
		ID int      `json:"id" orm:"primaryKey"`
		C  chan int `json:"c"`
	}
	type sameName struct {
		ID int    `json:"id" orm:"primaryKey"`
		A  string `json:"a"`
		B  string `json:"-" orm:"column:a"`
	}
	type jsonIndex struct {
		ID   int            `json:"id" orm:"primaryKey"`
		Tags map[string]int `json:"tags" orm:"index"`
	}
	type stringOption struct {
		ID int `json:"id,string" orm:"primaryKey"`
	}
	type autoBool struct {
		ID bool `json:"id" orm:"primaryKey,auto"`
	}
	type unexported struct {
		ID int `json:"id" orm:"primaryKey"`
		//lint:ignore U1000 that is the mistake
		name string `orm:"index"`
	}
	type plain struct {
		ID   int    `json:"id" orm:"primaryKey"`
		Name string `json:"name"`
	}
	hold(t, []mistake{
		{"no key", declared[noKey](db), natsorm.ErrSchema, []string{"primary key", "noKey", `orm:"primaryKey"`}},
		{"two keys", declared[twoKeys](db), natsorm.ErrSchema, []string{"2 primary keys", "twoKeys", "exactly one"}},
		{"a float for a key", declared[floatKey](db), natsorm.ErrSchema, []string{"has type float", "floatKey", "use an integer"}},
		{"a pointer for a key", declared[pointerKey](db), natsorm.ErrSchema, []string{"pointer", "ID", "use the type"}},
		{"an option of another ORM", declared[unknownOption](db), natsorm.ErrSchema, []string{"autoIncrement", "ID", "the options are"}},
		{"json:\"-\"", declared[hiddenByJSON](db), natsorm.ErrSchema, []string{"not clear", "Secret", `orm:"-"`}},
		{"json:\"-\" with an index", declared[indexedButHidden](db), natsorm.ErrSchema, []string{"no column", "Secret", "column:name"}},
		{"an int for a version", declared[badVersion](db), natsorm.ErrSchema, []string{"type int", "Version", "use uint64"}},
		{"a number for a time", declared[badTime](db), natsorm.ErrSchema, []string{"int64", "At", "needs type time.Time"}},
		{"a channel", declared[channel](db), natsorm.ErrSchema, []string{"cannot be stored", "field C", `orm:"-"`}},
		{"two columns of one name", declared[sameName](db), natsorm.ErrSchema, []string{"two fields", `"a"`, "another name"}},
		{"an index of a map", declared[jsonIndex](db), natsorm.ErrSchema, []string{"cannot be indexed", "tags", "index another column"}},
		{"the json option string", declared[stringOption](db), natsorm.ErrSchema, []string{"not supported", "ID", "drop it"}},
		{"auto of a bool", declared[autoBool](db), natsorm.ErrSchema, []string{"bool", "ID", "use an integer or a string"}},
		{"a tag on what is not exported", declared[unexported](db), natsorm.ErrSchema, []string{"not exported", "name", "capital letter"}},
		{"no struct", declared[int](db), natsorm.ErrSchema, []string{"not a struct", "int", "DefineRecord"}},
		{"a struct without a name", declared[struct{ ID int }](db), natsorm.ErrSchema, []string{"no name", "struct", "natsorm.Name"}},
		{"a name with a dot", declared[plain](db, natsorm.Name("a.b")), natsorm.ErrSchema, []string{"outside", "a.b", "use others"}},
		{"an index of no column", declared[plain](db, natsorm.Index("nam")), natsorm.ErrSchema, []string{"does not exist", "plain", "the columns are"}},
		{"an index without columns", declared[plain](db, natsorm.Index()), natsorm.ErrSchema, []string{"without columns", "plain", "name at least one"}},
		{"too many shards", declared[plain](db, natsorm.Shards(5000)), natsorm.ErrSchema, []string{"5000", "plain", "4096"}},
		{"another layout's key", declared[plain](db, natsorm.SequelizeLayout(), natsorm.Unique("name")), natsorm.ErrSchema, []string{"no unique values", "plain", "leave it out"}},
		{"a Record", declared[natsorm.Record](db), natsorm.ErrSchema, []string{"no fields", "Record", "DefineRecord"}},
		{"a model that nobody defined", func() error { return second(db.Model(context.Background(), "nobody")) }, natsorm.ErrNotFound, []string{"no model", "nobody", "with Define"}},
	})
}

// Mistakes in conditions, options and values.
func TestMistakesInCalls(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type tagged struct {
		ID   int      `json:"id" orm:"primaryKey"`
		Tags []string `json:"tags"`
	}
	users, lists := define[user](t, db), define[tagged](t, db)
	ok(t, users.Create(ctx, &user{ID: 1, Email: "taken"}))
	find := func(q ...natsorm.Query) func() error {
		return func() error { return second(users.FindAll(ctx, q...)) }
	}
	set := func(s natsorm.Set, q ...natsorm.Query) func() error {
		return func() error { return second(users.Update(ctx, s, q...)) }
	}
	one := natsorm.Eq("id", 1)
	ok(t, users.Create(ctx, &user{ID: 2, Email: "2"}))
	_, cursor, err := users.FindPage(ctx, natsorm.OrderBy("age"), natsorm.Limit(1))
	ok(t, err)
	inv := natsorm.ErrInvalid
	hold(t, []mistake{
		{"a column that is not there", find(natsorm.Eq("nmae", "x")), inv, []string{"no such column", "nmae", "the columns of user are id, name"}},
		{"a text for a number", find(natsorm.Eq("age", "old")), inv, []string{"old", "age", "int"}},
		{"a fraction for a number", find(natsorm.Eq("age", 1.5)), inv, []string{"1.5", "age", "int"}},
		{"greater than a list", func() error { return second(lists.FindAll(ctx, natsorm.Gt("tags", "x"))) }, inv, []string{"no order", "tags", "use eq"}},
		{"a list equal to a text", func() error { return second(lists.FindAll(ctx, natsorm.Eq("tags", "vip"))) }, inv, []string{"as a whole", "tags", "compare it with a list"}},
		{"like a number", find(natsorm.Like("age", "3%")), inv, []string{"has type int", "age", "columns of type string"}},
		{"a range the wrong way", find(natsorm.Between("age", 9, 1)), inv, []string{"never between 9 and 1", "age", "smaller value comes first"}},
		{"a regular expression", find(natsorm.Regexp("name", "(")), inv, []string{"missing closing )", "name", "regexp"}},
		{"a condition in Where", find(natsorm.Where{"age": natsorm.Gt("age", 3)}), inv, []string{"only compares with values", "age", "use Gte"}},
		{"a nil condition", find(natsorm.And(one, nil)), inv, []string{"nil Condition", "And", "leave it out"}},
		{"a nil query", find(nil), inv, []string{"nil Query", "Query", "leave it out"}},
		{"a negative limit", find(natsorm.Limit(-1)), inv, []string{"negative", "Limit(-1)", "leave it out"}},
		{"a negative offset", find(natsorm.Offset(-1)), inv, []string{"negative", "Offset(-1)", "leave it out"}},
		{"an order of two columns in one", find(natsorm.OrderBy("name, age")), inv, []string{"no such column", "name, age", "one column each"}},
		{"an order without columns", find(natsorm.OrderBy()), inv, []string{"without columns", "OrderBy", "name at least one"}},
		{"a selection of nothing", find(natsorm.Select()), inv, []string{"without columns", "Select", "leave it out"}},
		{"a cursor of another order", find(natsorm.OrderBy("name"), natsorm.After(cursor)), natsorm.ErrCursor, []string{"of another query", "cursor", "must be those"}},
		{"a cursor that is none", find(natsorm.OrderBy("name"), natsorm.After("page2")), natsorm.ErrCursor, []string{"invalid cursor", "page2", "FindPage make them"}},
		{"Analyze of FindAll", find(natsorm.Analyze()), inv, []string{"Analyze is for", "Analyze", "Explain"}},
		{"After of Update", set(natsorm.Set{"age": 1}, one, natsorm.After(cursor)), inv, []string{"After is for", "After", "calls that read records"}},
		{"every record, not said", set(natsorm.Set{"age": 1}), natsorm.ErrMissingWhere, []string{"no condition given", "say which records", "natsorm.All()"}},
		{"nothing to set", set(natsorm.Set{}, one), inv, []string{"nothing to set", "user", "at least one column"}},
		{"the key set", set(natsorm.Set{"id": 2}, one), inv, []string{"primary key", "user: id", "create a record with the new key"}},
		{"null into what is not a pointer", set(natsorm.Set{"age": nil}, one), inv, []string{"cannot be set to null", "age", "set a value"}},
		{"a number that is too large", set(natsorm.Set{"age": uint64(1 << 63)}, one), inv, []string{"9223372036854775808", "age", "int"}},
		{"text that is not UTF-8", func() error { return users.Create(ctx, &user{ID: 3, Name: "\xff", Email: "3"}) }, inv, []string{"invalid UTF-8", "user: name", "cannot be stored"}},
		{"an amount of text", func() error { return second(users.Increment(ctx, natsorm.Set{"name": 1}, one)) }, inv, []string{"type string", "name", "only int, uint, float and decimal"}},
		{"a sum of text", func() error { return second(users.Sum(ctx, "name")) }, inv, []string{"type string", "name", "no sum"}},
		{"a key that is taken", func() error { return users.Create(ctx, &user{ID: 1, Email: "x"}) }, natsorm.ErrExists, []string{"exists", "user 1", "Save or Upsert"}},
		{"a value that is taken", func() error { return users.Create(ctx, &user{ID: 9, Email: "taken"}) }, natsorm.ErrUnique, []string{`"taken" is taken by user 1`, "user.email", "choose another value"}},
		{"a record that is not there", func() error { return second(users.FindByPK(ctx, 99)) }, natsorm.ErrNotFound, []string{"not found", "user 99", "not found"}},
		{"a nil record", func() error { return users.Create(ctx, nil) }, inv, []string{"nil record", "user", "pass a pointer"}},
		{"a nil key", func() error { return second(users.FindByPK(ctx, nil)) }, inv, []string{"is nil", "user: id", "pass a primary key"}},
		//lint:ignore SA1012 that is the mistake
		{"a nil context", func() error { return second(users.FindAll(nil)) }, inv, []string{"nil context", "context", "context.Background()"}},
		{"two results of one name", func() error {
			return second(users.GroupBy(ctx, nil, []natsorm.Aggregate{natsorm.SumOf("age"), natsorm.SumOf("age")}))
		}, inv, []string{"two results", "sum_age", "another name with As"}},
		{"an order of groups", func() error {
			return second(users.GroupBy(ctx, []string{"name"}, nil, natsorm.OrderBy("age")))
		}, inv, []string{"age", "GroupBy", "groups have name"}},
		{"JSON that is none", func() error { return second(natsorm.ParseWhere([]byte(`{"age": `))) }, inv, []string{"JSON", "age", "at"}},
		{"an operator in JSON", func() error { return second(natsorm.ParseWhere([]byte(`{"age": {"above": 3}}`))) }, inv, []string{"above", "age", "the operators are"}},
		{"a column in JSON", func() error {
			c, err := natsorm.ParseWhere([]byte(`{"or": [{"nmae": 1}]}`))
			return errors.Join(err, second(users.FindAll(ctx, c)))
		}, inv, []string{"no such column", "or[0].nmae", "the columns of user are"}},
		{"a field that is none", find(natsorm.Column(func(u *user) *int { return new(int) }).Eq(1)), natsorm.ErrSchema, []string{"does not point to a field", "natsorm_test.user", "Column"}},
		{"a transaction with no function", func() error { return db.Transaction(ctx, nil) }, inv, []string{"nil function", "Transaction", "give it one"}},
		{"a call after the transaction", func() error {
			var inside context.Context
			ok(t, db.Transaction(ctx, func(ctx context.Context) error { inside = ctx; return nil }))
			return users.Create(inside, &user{ID: 4})
		}, natsorm.ErrTxDone, []string{"has ended", "transaction", "start another one"}},
		{"Watch in a transaction", func() error {
			return db.Transaction(ctx, func(ctx context.Context) error { return second(users.Watch(ctx)) })
		}, inv, []string{"not for transactions", "Watch", "natsorm.Outside"}},
		{"another DB's transaction", func() error {
			return natsormtest.New(t).Transaction(ctx, func(ctx context.Context) error { return second(users.FindAll(ctx)) })
		}, inv, []string{"another DB", "FindAll", "natsorm.Outside"}},
		{"a file that is no backup", func() error { return db.Restore(ctx, strings.NewReader("hello")) }, natsorm.ErrBackup, []string{"neither natsorm's file nor", "restore test", "take another copy"}},
		{"a backup that is cut off", func() error {
			var file bytes.Buffer
			ok(t, db.Backup(ctx, &file))
			return db.Restore(ctx, bytes.NewReader(file.Bytes()[:file.Len()-10]))
		}, natsorm.ErrBackup, []string{"damaged", "last line", "take another copy"}},
		{"a record that is too large", func() error {
			return users.Create(ctx, &user{ID: 5, Email: "5", Bio: strings.Repeat("x", 2<<20)})
		}, inv, []string{"takes 2097211 bytes", "user.shard", "MaxPayload"}},
		{"a layout that is none", func() error { return db.ChangeLayout(ctx, "user", "mongo") }, inv, []string{"mongo", "layout", "use natsorm.Native"}},
		{"a DB that is closed", func() error {
			closed := natsormtest.New(t)
			m := define[user](t, closed)
			ok(t, closed.Close())
			return m.Create(ctx, &user{ID: 1})
		}, natsorm.ErrClosed, []string{"closed", "DB", "open another one"}},
	})
}

// Mistakes in how a bucket is reached, and what can be wrong with it.
func TestMistakesInConnecting(t *testing.T) {
	t.Parallel()
	plain := testbed.StartServer(t).URL()
	withoutJetStream := testbed.StartServer(t, func(o *server.Options) { o.JetStream = false }).URL()
	guarded := guarded(t)
	silent := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { silent.Close() })
	gone := fmt.Sprint("nats://127.0.0.1:", testbed.FreePort(t))
	open := func(cfg natsorm.Config) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if cfg.Bucket == "" {
				cfg.Bucket = "b"
			}
			db, err := natsorm.Open(ctx, cfg)
			if err == nil {
				db.Close()
			}
			return err
		}
	}
	nc := testbed.StartServer(t).Connect(t)
	js := must[jetstream.JetStream](t)(jetstream.New(nc))
	forgets := must[jetstream.KeyValue](t)(js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "forgets", TTL: time.Hour}))
	hold(t, []mistake{
		{"no bucket", func() error { return second(natsorm.New(t.Context(), nc, natsorm.Config{})) }, natsorm.ErrInvalid, []string{"is empty", "Config.Bucket", "name the bucket"}},
		{"a bucket with a dot", open(natsorm.Config{Servers: []string{plain}, Bucket: "a.b"}), natsorm.ErrInvalid, []string{"a.b", "Config.Bucket", "letters"}},
		{"too many replicas", open(natsorm.Config{Servers: []string{plain}, Replicas: 9}), natsorm.ErrInvalid, []string{"is 9", "Config.Replicas", "use 1, 3 or 5"}},
		{"replicas on one server", open(natsorm.Config{Servers: []string{plain}, Replicas: 3}), nil, []string{"replicas", "Config.Replicas is 3", "takes a cluster"}},
		{"a history that is too long", open(natsorm.Config{Servers: []string{plain}, History: 65}), natsorm.ErrInvalid, []string{"65", "Config.History", "64"}},
		{"postgres", open(natsorm.Config{Servers: []string{"postgres://localhost/app"}}), natsorm.ErrInvalid, []string{"postgres", "Config.Servers", "nats://"}},
		{"nobody there", open(natsorm.Config{Servers: []string{gone}}), nats.ErrNoServers, []string{"no servers available", gone, "WaitForServer"}},
		{"a server that says nothing", open(natsorm.Config{Servers: []string{"nats://" + silent.Addr().String()}, NATS: []nats.Option{nats.Timeout(100 * time.Millisecond)}}), nil, []string{"timeout", silent.Addr().String(), "is nats-server running there"}},
		{"a wrong password", open(natsorm.Config{Servers: []string{guarded}, User: "app", Pass: "guess"}), nats.ErrAuthorization, []string{"Authorization Violation", guarded, "Config.User"}},
		{"no password", open(natsorm.Config{Servers: []string{guarded}}), nats.ErrAuthorization, []string{"Authorization Violation", guarded, "Config.User"}},
		{"tls of a server without", open(natsorm.Config{Servers: []string{strings.Replace(plain, "nats://", "tls://", 1)}}), nil, []string{"secure connection not available", "tls://", "nats://"}},
		{"no JetStream", open(natsorm.Config{Servers: []string{withoutJetStream}}), nil, []string{"JetStream is off", "this server", "nats-server -js"}},
		{"a bucket that forgets", func() error { return second(natsorm.New(t.Context(), nc, natsorm.Config{Bucket: forgets.Bucket()})) }, natsorm.ErrUnsupportedBucket, []string{"max_age", "KV_forgets", "set"}},
		{"a nil connection", func() error { return second(natsorm.New(t.Context(), nil, natsorm.Config{Bucket: "b"})) }, natsorm.ErrInvalid, []string{"nil", "New", "connection"}},
		{"a nil DB", func() error { var db *natsorm.DB; return second(db.Models(t.Context())) }, natsorm.ErrInvalid, []string{"nil DB", "Models", "the error that Open returned"}},
		{"a Model of nowhere", func() error { var m natsorm.Model[user]; return m.Create(t.Context(), &user{}) }, natsorm.ErrInvalid, []string{"Define did not return", "Create", "look at the error"}},
		{"an embedded payload", func() error { return second(embedded.Start(embedded.Config{MaxPayload: 1 << 30})) }, nil, []string{"Config.MaxPayload", "embedded", "use 1 to"}},
	})
}

// A bucket, an account and a server that have no room, and a bucket that is gone.
func TestMistakesOfOperators(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	limited := testbed.StartServer(t, func(o *server.Options) { o.JetStreamMaxMemory, o.JetStreamMaxStore = 64<<10, 64<<10 })
	nc := limited.Connect(t)
	full := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "b"}))
	t.Cleanup(func() { full.Close() })
	users := define[user](t, full)

	small := testbed.StartServer(t).Connect(t)
	js := must[jetstream.JetStream](t)(jetstream.New(small))
	must[jetstream.KeyValue](t)(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "small", MaxValueSize: 2000, History: 1}))
	values := must[*natsorm.DB](t)(natsorm.New(ctx, small, natsorm.Config{Bucket: "small"}))
	t.Cleanup(func() { values.Close() })
	short := define[user](t, values)

	dropped := must[*natsorm.DB](t)(natsorm.New(ctx, small, natsorm.Config{Bucket: "dropped"}))
	t.Cleanup(func() { dropped.Close() })
	lost := define[user](t, dropped)
	ok(t, lost.Create(ctx, &user{ID: 1}))
	ok(t, js.DeleteKeyValue(ctx, "dropped"))

	conf := filepath.Join(t.TempDir(), "server.conf")
	ok(t, os.WriteFile(conf, []byte(`accounts { app { jetstream: {max_mem: 65536, max_file: 65536, max_streams: 1}, users: [{user: app, password: secret}] } }`), 0o600))
	parsed := must[*server.Options](t)(server.ProcessConfigFile(conf))
	account := testbed.StartServer(t, func(o *server.Options) { o.Accounts, o.Users = parsed.Accounts, parsed.Users })
	scant := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{account.URL()}, Bucket: "scant", User: "app", Pass: "secret"}))
	t.Cleanup(func() { scant.Close() })
	few := define[user](t, scant)

	hold(t, []mistake{
		{"an account without room", func() error {
			for i := range int64(100) {
				if err := few.Create(ctx, &user{ID: i, Email: fmt.Sprint(i), Bio: strings.Repeat("x", 4000)}); err != nil {
					return err
				}
			}
			return nil
		}, natsorm.ErrFull, []string{"the account has no room left", "KV_scant", "raise the account's limits"}},
		{"an account without room for a bucket", func() error {
			return second(natsorm.Open(ctx, natsorm.Config{Servers: []string{account.URL()}, Bucket: "another", User: "app", Pass: "secret"}))
		}, natsorm.ErrFull, []string{"no more streams", "KV_another", "raise its limit"}},
		{"a server without room", func() error {
			for i := range int64(100) {
				if err := users.Create(ctx, &user{ID: i, Email: fmt.Sprint(i), Bio: strings.Repeat("x", 4000)}); err != nil {
					return err
				}
			}
			return nil
		}, natsorm.ErrFull, []string{"no room left", "KV_b", "raise it"}},
		{"a value that is too large for the bucket", func() error {
			return short.Create(ctx, &user{ID: 1, Bio: strings.Repeat("x", 4000)})
		}, natsorm.ErrInvalid, []string{"limits leave 1488", "user.shard", "max_msg_size"}},
		{"a bucket that is gone, read", func() error { return second(lost.FindByPK(ctx, 1)) }, nil, []string{"is gone", "KV_dropped", "natsorm.Open makes it anew"}},
		{"a bucket that is gone, written", func() error { return lost.Create(ctx, &user{ID: 2, Email: "2"}) }, nil, []string{"is gone", "KV_dropped", "natsorm.Open makes it anew"}},
	})
}
