package natsorm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// nodeUser is a model that a Node service has too.
type nodeUser struct {
	ID    int64    `json:"id" orm:"primaryKey"`
	Name  string   `json:"name" orm:"index"`
	Email *string  `json:"email,omitempty" orm:"index"`
	Score *float64 `json:"score" orm:"index"`
}

func defineNode[T any](t *testing.T, db *natsorm.DB, opts ...natsorm.ModelOption) *natsorm.Model[T] {
	t.Helper()
	return must[*natsorm.Model[T]](t)(natsorm.Define[T](within(t), db, append(opts, natsorm.SequelizeLayout())...))
}

// defineIn defines nodeUser as User in a layout.
func defineIn(t *testing.T, db *natsorm.DB, layout string) *natsorm.Model[nodeUser] {
	t.Helper()
	if layout == "native" {
		return define[nodeUser](t, db, natsorm.Name("User"))
	}
	return defineNode[nodeUser](t, db, natsorm.Name("User"))
}

// The keys and bytes of the Node library's README, and of its source.
func TestSequelizeGolden(t *testing.T) {
	t.Parallel()
	t.Run("numbers", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		db := natsormtest.New(t)
		users := defineNode[nodeUser](t, db, natsorm.Name("User"))
		alice, score := "alice@example.com", 1.5
		for _, u := range []*nodeUser{
			{ID: 123, Name: "Alice", Email: &alice, Score: &score}, {ID: -5, Name: "Zoë 😀", Email: &alice}, {ID: 1<<53 - 1, Name: ""},
		} {
			ok(t, users.Create(ctx, u))
		}
		sameBucket(t, bucket(t, ctx, db), map[string]string{
			"User.shard_11.123":                  `{"id":123,"name":"Alice","email":"alice@example.com","score":1.5}`,
			"User.shard_-5.-5":                   `{"id":-5,"name":"Zoë 😀","email":"alice@example.com","score":null}`,
			"User.shard_15.9007199254740991":     `{"id":9007199254740991,"name":"","score":null}`,
			"User.index.name.Alice":              `[123]`,
			"User.index.name.Zo____":             `[-5]`,
			"User.index.email.alice_example_com": `[123,-5]`,
			"User.index.score.1_5":               `[123]`,
			"User.index.score.null":              `[-5,9007199254740991]`,
		})
		must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 123)))
		must[int](t)(users.Update(ctx, natsorm.Set{"name": "Bo"}, natsorm.Eq("id", -5)))
		sameBucket(t, bucket(t, ctx, db), map[string]string{
			"User.shard_-5.-5":                   `{"id":-5,"name":"Bo","email":"alice@example.com","score":null}`,
			"User.shard_15.9007199254740991":     `{"id":9007199254740991,"name":"","score":null}`,
			"User.index.name.Bo":                 `[-5]`,
			"User.index.email.alice_example_com": `[-5]`,
			"User.index.score.null":              `[-5,9007199254740991]`,
		})
		for _, key := range []string{"User.shard_11.123", "User.index.name.Alice", "User.index.name.Zo____"} {
			last, err := db.KV().History(ctx, key)
			if err != nil || last[len(last)-1].Operation() != jetstream.KeyValueDelete {
				t.Errorf("%s: %v, %v", key, last, err)
			}
		}
		for _, id := range []int64{1 << 53, math.MaxInt64, math.MinInt64} {
			if err := users.Create(ctx, &nodeUser{ID: id}); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "JavaScript") {
				t.Errorf("%d: %v", id, err)
			}
			if _, err := users.FindByPK(ctx, id); !errors.Is(err, natsorm.ErrNotFound) {
				t.Errorf("%d: %v", id, err)
			}
		}
	})
	t.Run("texts", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		type doc struct {
			ID   string         `json:"id" orm:"primaryKey"`
			Yes  bool           `json:"yes" orm:"index"`
			At   time.Time      `json:"at" orm:"index"`
			Tags []any          `json:"tags,omitempty" orm:"index"`
			Any  map[string]any `json:"any,omitempty" orm:"index"`
			N    json.Number    `json:"n,omitempty" orm:"index"`
			Huge uint64         `json:"huge" orm:"index"`
		}
		db := natsormtest.New(t)
		docs := defineNode[doc](t, db, natsorm.Name("Doc"))
		at := time.Date(2024, 5, 6, 7, 8, 9, 123e6, time.UTC)
		ok(t, docs.Create(ctx, &doc{ID: "12", Yes: true, At: at, Tags: []any{"a b", nil, 1.0, []any{}}, Any: map[string]any{"a": 1}, N: "1e21", Huge: math.MaxUint64}))
		ok(t, docs.Create(ctx, &doc{ID: "a", At: at, N: "-0.0000001", Huge: 1 << 60}))
		sameBucket(t, bucket(t, ctx, db), map[string]string{
			"Doc.shard_12.12":                       `{"id":"12","yes":true,"at":"2024-05-06T07:08:09.123Z","tags":["a b",null,1,[]],"any":{"a":1},"n":1e21,"huge":18446744073709551615}`,
			"Doc.shard_NaN.a":                       `{"id":"a","yes":false,"at":"2024-05-06T07:08:09.123Z","n":-0.0000001,"huge":1152921504606846976}`,
			"Doc.index.yes.true":                    `["12"]`,
			"Doc.index.yes.false":                   `["a"]`,
			"Doc.index.at.2024-05-06T07_08_09_123Z": `["12","a"]`,
			"Doc.index.tags.a_b__1_":                `["12"]`,
			"Doc.index.any._object_Object_":         `["12"]`,
			"Doc.index.n.1e_21":                     `["12"]`,
			"Doc.index.n.-1e-7":                     `["a"]`,
			"Doc.index.huge.18446744073709552000":   `["12"]`,
			"Doc.index.huge.1152921504606847000":    `["a"]`,
		})
		for _, id := range []string{"", "a.b", "1.5", ">", "*", "a b", "é", strings.Repeat("x", 1025), "a\x00"} {
			if err := docs.Create(ctx, &doc{ID: id}); !errors.Is(err, natsorm.ErrInvalid) {
				t.Errorf("%.20q: %v", id, err)
			}
			if n, err := docs.Destroy(ctx, natsorm.Eq("id", id)); n != 0 || err != nil {
				t.Errorf("%.20q: %d, %v", id, n, err)
			}
		}
	})
}

// 200 creators of one e-mail are all in the list; then all give it up.
func TestSequelizeConcurrentCreates(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"one process", "four processes", "without batches"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			dbs := []*natsorm.DB{natsormtest.New(t)}
			switch kind {
			case "four processes":
				for range 3 {
					db := must[*natsorm.DB](t)(natsorm.New(ctx, dbs[0].Conn(), natsorm.Config{Bucket: dbs[0].KV().Bucket()}))
					t.Cleanup(func() { db.Close() })
					dbs = append(dbs, db)
				}
			case "without batches":
				dbs[0] = withoutBatches(t, ctx)
			}
			var users []*natsorm.Model[nodeUser]
			for _, db := range dbs {
				users = append(users, defineNode[nodeUser](t, db, natsorm.Name("User")))
			}
			const n = 200
			email := "alice@example.com"
			each := func(do func(m *natsorm.Model[nodeUser], id int64) error) {
				var wg sync.WaitGroup
				for i := range n {
					wg.Go(func() {
						if err := do(users[i%len(users)], int64(i)); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			each(func(m *natsorm.Model[nodeUser], id int64) error {
				return m.Create(ctx, &nodeUser{ID: id, Name: fmt.Sprint("n", id), Email: &email})
			})
			var ids []int64
			ok(t, json.Unmarshal([]byte(bucket(t, ctx, dbs[0])["User.index.email.alice_example_com"]), &ids))
			slices.Sort(ids)
			if len(ids) != n || ids[0] != 0 || ids[n-1] != n-1 {
				t.Errorf("%d ids: %v", len(ids), ids)
			}
			if found := must[[]*nodeUser](t)(users[0].FindAll(ctx, natsorm.Eq("email", email))); len(found) != n {
				t.Errorf("%d are found", len(found))
			}
			each(func(m *natsorm.Model[nodeUser], id int64) error {
				if id%2 == 0 {
					_, err := m.Destroy(ctx, natsorm.Eq("id", id))
					return err
				}
				_, err := m.Update(ctx, natsorm.Set{"email": "b@example.com"}, natsorm.Eq("id", id))
				return err
			})
			have := bucket(t, ctx, dbs[0])
			if _, ok := have["User.index.email.alice_example_com"]; ok {
				t.Errorf("the list is left: %s", have["User.index.email.alice_example_com"])
			}
			natsormtest.Prove(t, dbs[0])
		})
	}
}

// What a Node service writes, by its plain puts, is found, or found wanting.
func TestSequelizeBesideNode(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := defineNode[nodeUser](t, db, natsorm.Name("User"))
	put := func(key, value string) { t.Helper(); must[uint64](t)(db.KV().PutString(ctx, key, value)) }
	put("User.shard_1.1", `{"id":1,"name":"Ann","email":"a@b","score":2,"extra":{"x":[1]}}`)
	put("User.shard_2.2", `{"name":"Ann","id":2,"email":"a_b","score":1e0}`)
	put("User.shard_3.3", `{"id":3,"name":"Cy"}`)
	put("User.index.name.Ann", ` [1, 2 ,99,"x",3,2]`) // stale ids, of other types, twice, and white space
	put("User.index.email.a_b", `[1,2]`)
	put("User.index.score.2", `[1]`)
	find := func(want int, q ...natsorm.Query) {
		t.Helper()
		users := defineNode[nodeUser](t, db, natsorm.Name("User")) // it does not know that a scan is cheap
		if found := must[[]*nodeUser](t)(users.FindAll(ctx, q...)); len(found) != want {
			t.Errorf("%d are found, want %d", len(found), want)
		}
		if n := must[int](t)(users.Count(ctx, q...)); n != want {
			t.Errorf("%d are counted, want %d", n, want)
		}
	}
	find(3)
	find(2, natsorm.Eq("name", "Ann"))
	find(1, natsorm.Eq("email", "a@b"))
	find(1, natsorm.Eq("email", "a_b"))
	find(1, natsorm.Eq("score", 2))
	find(1, natsorm.IsNull("email")) // absent, and in no list
	find(1, natsorm.Gt("score", 1))
	find(2, natsorm.In("email", "a_b", "a@b"))
	find(0, natsorm.Eq("name", ""))

	// Node's record without an entry is found by a scan, and mended.
	find(1, natsorm.Contains("name", "C"))
	find(0, natsorm.Eq("name", "Cy"))
	report := must[natsorm.Report](t)(db.Check(ctx))
	kinds := map[natsorm.ProblemKind]int{}
	for _, p := range report.Models[0].Problems {
		kinds[p.Kind]++
	}
	// Missing: 2's score and 3's name; stray: 99 and 3 in the names.
	if kinds[natsorm.MissingEntry] != 2 || kinds[natsorm.StrayEntry] != 2 || len(kinds) != 2 {
		t.Errorf("check says %v:\n%s", kinds, report)
	}
	report = must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	t.Logf("%s", report)
	find(1, natsorm.Eq("name", "Cy"))
	have := bucket(t, ctx, db)
	if got := have["User.index.name.Ann"]; got != `[1,2,"x",2]` {
		t.Errorf("the list is %s", got)
	}
	// A change keeps what Node stored beside.
	must[int](t)(users.Update(ctx, natsorm.Set{"name": "Bo"}, natsorm.Eq("id", 1)))
	have = bucket(t, ctx, db)
	if got := have["User.shard_1.1"]; got != `{"id":1,"name":"Bo","email":"a@b","score":2,"extra":{"x":[1]}}` {
		t.Errorf("the record is %s", got)
	}
	if got := have["User.index.name.Bo"]; got != `[1]` {
		t.Errorf("the list is %s", got)
	}
	// A list that cannot be read names itself, and is made anew.
	put("User.index.name.Ann", `[2,`)
	users = defineNode[nodeUser](t, db, natsorm.Name("User"))
	if _, err := users.FindAll(ctx, natsorm.Eq("name", "Ann")); !errors.Is(err, natsorm.ErrCorrupt) || !strings.Contains(err.Error(), "User.index.name.Ann") {
		t.Errorf("got %v", err)
	}
	if err := users.Create(ctx, &nodeUser{ID: 7, Name: "Ann"}); !errors.Is(err, natsorm.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if report := must[natsorm.Report](t)(db.Check(ctx)); report.Clean() || report.Models[0].Problems[0].Kind != natsorm.CorruptEntry {
		t.Errorf("check says %s", report)
	}
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	find(1, natsorm.Eq("name", "Ann"))
}

// What the layout cannot keep is refused with the reason.
func TestSequelizeRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type other struct {
		Key string `json:"key" orm:"primaryKey"`
	}
	_, err := natsorm.Define[other](ctx, db, natsorm.SequelizeLayout())
	for _, c := range []struct {
		err  error
		says string
	}{
		{err, "id"},
		{second(natsorm.Define[nodeUser](ctx, db, natsorm.SequelizeLayout(), natsorm.Unique("name"))), "unique"},
		{second(natsorm.Define[nodeUser](ctx, db, natsorm.SequelizeLayout(), natsorm.Index("name", "email"))), "several columns"},
		{second(natsorm.Define[nodeUser](ctx, db, natsorm.SequelizeLayout(), natsorm.Ordered("name"))), "ordered index of name"},
		{second(natsorm.Define[struct {
			ID   int64    `json:"id" orm:"primaryKey"`
			Tags []string `json:"tags" orm:"index"`
		}](ctx, db, natsorm.Name("Post"), natsorm.SequelizeLayout())), "Post: index of field tags"},
		{second(natsorm.Define[struct {
			ID   int64   `json:"id" orm:"primaryKey"`
			Sums []int64 `json:"sums"`
		}](ctx, db, natsorm.Name("Post"), natsorm.SequelizeLayout(), natsorm.Index("sums"))), "Post: index of field sums"},
		{second(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "Post", Layout: natsorm.Sequelize, Columns: []natsorm.ColumnSchema{
			{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "tags", Type: natsorm.JSON, Index: true, Elements: natsorm.String},
		}})), "Post: index of field tags"},
	} {
		if !errors.Is(c.err, natsorm.ErrSchema) || !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("got %v", c.err)
		}
	}
	defineNode[nodeUser](t, db)
	if _, err := natsorm.Define[nodeUser](ctx, db); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "layout") {
		t.Errorf("got %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// A list that is full says so before anything is written.
func TestSequelizeListTooLong(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"batches", "without batches", "transaction"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			if kind == "without batches" {
				db = withoutBatches(t, ctx)
			}
			users := defineNode[nodeUser](t, db, natsorm.Name("User"))
			long := []byte{'['}
			for i := 0; len(long) < 1<<20-530; i++ {
				long = fmt.Appendf(long, "%d,", i)
			}
			long[len(long)-1] = ']'
			must[uint64](t)(db.KV().Put(ctx, "User.index.email.a_b", long))
			email := "a@b"
			u := &nodeUser{ID: 1e15, Name: "Ann", Email: &email}
			err := error(nil)
			if kind == "transaction" {
				err = db.Transaction(ctx, func(ctx context.Context) error { return users.Create(ctx, u) })
			} else {
				err = users.Create(ctx, u)
			}
			if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), `"a@b"`) || !strings.Contains(err.Error(), "native layout") || !strings.Contains(err.Error(), "email") {
				t.Errorf("got %v", err)
			}
			if have := bucket(t, ctx, db); len(have) != 1 {
				t.Errorf("something was written: %v", slices.Collect(maps.Keys(have)))
			}
			ok(t, db.KV().Delete(ctx, "User.index.email.a_b"))
		})
	}
}
