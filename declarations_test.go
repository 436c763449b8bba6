package natsorm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// secretive is stored under names of its own, and keeps a secret.
type secretive struct {
	ID      int64    `json:"id" orm:"primaryKey"`
	Nick    string   `json:"nick" orm:"column:nickname,index"`
	Hash    string   `json:"-" orm:"column:passwordHash,hidden,index"`
	Draft   string   `json:"draft" orm:"-"`
	Cache   chan int `json:"-" orm:"-"`
	Version uint64   `json:"version" orm:"version"`
}

// A field may have a column under another name than JSON shows, be hidden from tools, or
// not be stored at all; and the version reaches through JSON.
func TestFieldsWithColumnsOfTheirOwn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[secretive](t, db, natsorm.Name("Account"))
	ok(t, accounts.Create(ctx, &secretive{ID: 1, Nick: "ann", Hash: "$2a$", Draft: "a draft"}))
	stored := bucket(t, ctx, db)["Account.shard_1.1"]
	if stored != `{"id":1,"nickname":"ann","passwordHash":"$2a$"}` {
		t.Errorf("stored as %s", stored)
	}
	for _, where := range []natsorm.Condition{natsorm.Eq("nickname", "ann"), natsorm.Eq("passwordHash", "$2a$")} {
		found := must[*secretive](t)(accounts.FindOne(ctx, where))
		if found.Nick != "ann" || found.Hash != "$2a$" || found.Draft != "" || found.Version == 0 {
			t.Errorf("found %+v", found)
		}
		if p := must[natsorm.Plan](t)(accounts.Explain(ctx, where)); p.Access.Path != "index" {
			t.Errorf("%+v takes the path %s", where, p.Access.Path)
		}
	}

	// A client that has read the record before another wrote it does not overwrite that.
	text := must[[]byte](t)(json.Marshal(must[*secretive](t)(accounts.FindByPK(ctx, 1))))
	if strings.Contains(string(text), "2a") || !strings.Contains(string(text), `"version":`) {
		t.Errorf("shown as %s", text)
	}
	must[int](t)(accounts.Update(ctx, natsorm.Set{"nickname": "bob"}, natsorm.Eq("id", 1)))
	var sent secretive
	ok(t, json.Unmarshal(text, &sent))
	if err := accounts.Save(ctx, &sent); !errors.Is(err, natsorm.ErrConflict) {
		t.Errorf("a stale version was saved: %v", err)
	}

	// Tools do not see the hidden column, and leave it as it is.
	for _, where := range []string{`{"passwordHash":{"startsWith":"$2a$"}}`, `{"or":[{"passwordHash":"$2a$"}]}`, `{"not":{"PASSWORDHASH":null}}`} {
		_, err := accounts.FindAll(ctx, must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(where))))
		if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "no such column") || strings.Contains(err.Error(), "Hash,") || strings.Contains(err.Error(), ", passwordHash") {
			t.Errorf("%s: %v", where, err)
		}
	}
	tool := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "Account"))
	rec := must[*natsorm.Record](t)(tool.FindByPK(ctx, 1))
	if _, there := (*rec)["passwordHash"]; there || (*rec)["nickname"] != "bob" {
		t.Errorf("a tool sees %v", *rec)
	}
	(*rec)["nickname"] = "carl"
	ok(t, tool.Save(ctx, rec))
	if found := must[*secretive](t)(accounts.FindOne(ctx, natsorm.Eq("passwordHash", "$2a$"))); found.Nick != "carl" {
		t.Errorf("found %+v", found)
	}
	(*rec)["passwordHash"] = "mine"
	if err := tool.Save(ctx, rec); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "hidden") {
		t.Errorf("a tool wrote the hidden column: %v", err)
	}

	// A program that declares it without a Go type sees it.
	mine := must[*natsorm.Model[natsorm.Record]](t)(natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "Account", Columns: []natsorm.ColumnSchema{
		{Name: "id", Type: natsorm.Int, PrimaryKey: true}, {Name: "passwordHash", Type: natsorm.String, Hidden: true},
	}}))
	if rec := must[*natsorm.Record](t)(mine.FindByPK(ctx, 1)); (*rec)["passwordHash"] != "$2a$" {
		t.Errorf("it sees %v", *rec)
	}

	// What another program has stored under the name of a field that is not stored, is not
	// read into it.
	must[uint64](t)(db.KV().Put(ctx, "Account.shard_2.2", []byte(`{"id":2,"nickname":"dan","passwordHash":"","draft":"theirs","version":7,"nick":"theirs"}`)))
	found := must[*secretive](t)(accounts.FindByPK(ctx, 2))
	if found.Draft != "" || found.Nick != "dan" || found.Version == 7 {
		t.Errorf("found %+v", found)
	}
	found.Nick = "eve"
	ok(t, accounts.Save(ctx, found))
	if stored := bucket(t, ctx, db)["Account.shard_2.2"]; stored != `{"id":2,"nickname":"eve","passwordHash":"","draft":"theirs","version":7,"nick":"theirs"}` {
		t.Errorf("stored as %s", stored)
	}
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
}

// Types of two packages that have one name are two models. They must be told apart.
func TestTwoTypesOfOneName(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	first := func() error {
		type User struct {
			ID    int64  `json:"id" orm:"primaryKey"`
			Email string `json:"email"`
		}
		_, err := natsorm.Define[User](ctx, db)
		return err
	}
	ok(t, first())
	ok(t, first())
	second := func(opts ...natsorm.ModelOption) error {
		type User struct {
			ID   int64 `json:"id" orm:"primaryKey"`
			Cent int64 `json:"cent"`
		}
		_, err := natsorm.Define[User](ctx, db, opts...)
		return err
	}
	if err := second(); !errors.Is(err, natsorm.ErrSchema) || strings.Count(err.Error(), "natsorm_test.User") != 2 || !strings.Contains(err.Error(), "natsorm.Name") {
		t.Errorf("got %v", err)
	}
	ok(t, second(natsorm.Name("BillingUser")))
	ok(t, second(natsorm.Name("User"))) // which says that it is meant
	same := func() error {
		type User struct {
			ID    int64  `json:"id" orm:"primaryKey"`
			Email string `json:"email"`
		}
		_, err := natsorm.Define[User](ctx, db)
		return err
	}
	ok(t, same())
}

// lines is a log that may be read while others write it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// An index that the code no longer declares stays in the catalogue. The Logger is told of
// it once; Strict refuses it; and the error of a unique one says where it comes from.
func TestUndeclaredIndexes(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	before := natsormtest.New(t)
	type old struct {
		ID    int64  `json:"id" orm:"primaryKey"`
		Email string `json:"email" orm:"unique"`
		City  string `json:"city" orm:"index"`
	}
	type now struct {
		ID    int64  `json:"id" orm:"primaryKey"`
		Email string `json:"email"`
		City  string `json:"city" orm:"index"`
	}
	ok(t, define[old](t, before, natsorm.Name("User")).Create(ctx, &old{ID: 1, Email: "a"}))
	var log lines
	db := must[*natsorm.DB](t)(natsorm.New(ctx, before.Conn(), natsorm.Config{Bucket: before.KV().Bucket(), Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	t.Cleanup(func() { db.Close() })
	if _, err := natsorm.Define[now](ctx, db, natsorm.Name("User"), natsorm.Strict()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "unique email") {
		t.Errorf("strictly: %v", err)
	}
	users := define[now](t, db, natsorm.Name("User"))
	define[now](t, db, natsorm.Name("User"))
	if log.count("unique email") != 1 || log.count("index city") != 0 {
		t.Errorf("the log has %s", log.text.String())
	}
	var taken *natsorm.UniqueError
	calls := map[string]func() error{
		"Create":     func() error { return users.Create(ctx, &now{ID: 2, Email: "a"}) },
		"BulkCreate": func() error { return users.BulkCreate(ctx, []*now{{ID: 2, Email: "a"}}) },
		"in a transaction": func() error {
			return db.Transaction(ctx, func(ctx context.Context) error { return users.Create(ctx, &now{ID: 2, Email: "a"}) })
		},
	}
	for what, call := range calls {
		if err := call(); !errors.As(err, &taken) || !taken.Undeclared || !strings.Contains(err.Error(), "does not declare") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := define[old](t, before, natsorm.Name("User"), natsorm.Strict()).Create(ctx, &old{ID: 2, Email: "a"}); !errors.As(err, &taken) || taken.Undeclared {
		t.Errorf("where it is declared: %v", err)
	}
	if _, err := natsorm.DefineRecord(ctx, db, natsorm.Schema{Name: "User", Columns: []natsorm.ColumnSchema{{Name: "id", Type: natsorm.Int, PrimaryKey: true}}}, natsorm.Strict()); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "column email") {
		t.Errorf("a record: %v", err)
	}
}

// A condition on a JSON column compares the whole value, however it is written; one that
// can never hold is refused.
func TestConditionsOnJSONColumns(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type address struct {
		Street string `json:"street"`
		City   string `json:"city"`
	}
	type doc struct {
		ID      int64          `json:"id" orm:"primaryKey"`
		Tags    []string       `json:"tags"`
		Address address        `json:"address"`
		Extra   map[string]any `json:"extra"`
		Any     any            `json:"any"`
	}
	docs := define[doc](t, db)
	ok(t, docs.Create(ctx, &doc{ID: 1, Tags: []string{"vip", "new"}, Address: address{"Main", "Oslo"}, Extra: map[string]any{"a": 1, "b": 2}, Any: "x"}))
	for text, c := range map[string]natsorm.Condition{
		"Eq of a list":               natsorm.Eq("tags", []string{"vip", "new"}),
		"Where with a list":          natsorm.Where{"tags": []string{"vip", "new"}},
		"In of lists":                natsorm.In("tags", []string{"vip"}, []string{"vip", "new"}),
		"Eq of a struct":             natsorm.Eq("address", address{"Main", "Oslo"}),
		"members in another order":   natsorm.Eq("address", map[string]any{"city": "Oslo", "street": "Main"}),
		"Eq of JSON":                 natsorm.Eq("extra", json.RawMessage(`{"b": 2, "a": 1}`)),
		"Contains":                   natsorm.Contains("tags", "vip"),
		"Eq of a member":             natsorm.Eq("address.city", "Oslo"),
		"Where with any JSON column": natsorm.Where{"any": "x"},
		"ParseWhere":                 must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"address":{"eq":{"city":"Oslo","street":"Main"}}}`))),
	} {
		if found := must[[]*doc](t)(docs.FindAll(ctx, c)); len(found) != 1 {
			t.Errorf("%s: %d are found", text, len(found))
		}
	}
	for text, c := range map[string]natsorm.Condition{
		"Eq of an element":      natsorm.Eq("tags", "vip"),
		"Ne of an element":      natsorm.Ne("tags", "vip"),
		"In of elements":        natsorm.In("tags", "vip", "new"),
		"Eq of another kind":    natsorm.Eq("address", "Oslo"),
		"Gt":                    natsorm.Gt("tags", []string{"a"}),
		"Contains of a number":  natsorm.Contains("tags", 1),
		"Contains of a struct":  natsorm.Contains("address", "Oslo"),
		"ParseWhere of element": must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"tags":"vip"}`))),
	} {
		if _, err := docs.FindAll(ctx, c); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A range whose limits are the wrong way round is a mistake.
func TestBetweenTheWrongWayRound(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := define[user](t, natsormtest.New(t))
	for _, c := range []natsorm.Condition{
		natsorm.Between("age", 9, 1), natsorm.Not(natsorm.Between("name", "b", "a")), must[natsorm.Condition](t)(natsorm.ParseWhere([]byte(`{"age":{"between":[9,1]}}`))),
	} {
		if _, err := users.FindAll(ctx, c); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "the smaller value comes first") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []natsorm.Condition{natsorm.Between("age", 1, 1), natsorm.Between("age", 1, nil)} {
		if _, err := users.FindAll(ctx, c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A typed column may be a field that is a pointer, and then compares with what that
// points to.
func TestColumnOfAPointer(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := define[user](t, natsormtest.New(t))
	ok(t, users.Create(ctx, &user{ID: 1, City: ptr("Oslo"), Email: "1"}))
	ok(t, users.Create(ctx, &user{ID: 2, Email: "2"}))
	city := natsorm.Column(func(u *user) *string { return u.City })
	if city.Name() != "city" {
		t.Fatalf("it is called %q", city.Name())
	}
	found := must[[]*user](t)(users.FindAll(ctx, city.Eq("Oslo")))
	if len(found) != 1 || found[0].ID != 1 {
		t.Errorf("%d are found", len(found))
	}
	if n := must[int](t)(users.Count(ctx, city.IsNull())); n != 1 {
		t.Errorf("%d have none", n)
	}
}

// What a DB may have done to the catalogue itself, its next call looks at, and does not wait to hear of.
func TestOwnDeclarationsAreKnown(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	const times = 30 // far more often than what is known is renewed meanwhile
	looks := natsorm.CatalogueLooks(db)
	began := time.Now()
	for range times {
		ok(t, db.ChangeLayout(ctx, "account", natsorm.Native)) // which it has
		if _, err := accounts.FindByPK(ctx, 1); !errors.Is(err, natsorm.ErrNotFound) {
			t.Error(err)
		}
	}
	if n := natsorm.CatalogueLooks(db) - looks; n < times {
		t.Errorf("it has looked %d times in %v", n, time.Since(began))
	}
}
