package natsorm_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/natsormtest"
)

// visit is a record with columns of very different selectivity.
type visit struct {
	ID      int    `json:"id" orm:"primaryKey"`
	User    int    `json:"user" orm:"index"`               // 10 records each
	Page    int    `json:"page" orm:"index"`               // 600
	Browser int    `json:"browser" orm:"index"`            // 600, not as Page's
	Country string `json:"country" orm:"index:country_os"` // 1,500
	OS      string `json:"os" orm:"index:country_os"`      // 150 in a country
	Kind    string `json:"kind" orm:"index"`               // "all" 5,400, "rare" 600
	Ticket  string `json:"ticket" orm:"unique"`
	Note    string `json:"note"`
}

const visitCount = 6000

func visits(t *testing.T, db *natsorm.DB) *natsorm.Model[visit] {
	m := define[visit](t, db)
	all := make([]*visit, visitCount)
	for i := range all {
		kind := "all"
		if i%10 == 0 {
			kind = "rare"
		}
		all[i] = &visit{ID: i, User: i / 10, Page: i % 10, Browser: i / 7 % 10, Country: string(rune('A' + i%4)), OS: fmt.Sprint("os", i/4%10), Kind: kind, Ticket: fmt.Sprint("t", i), Note: "x"}
	}
	ok(t, m.BulkCreate(within(t), all))
	return m
}

// TestExplainCountsRequests holds what Explain says of a query against what the
// connection sends for it.
func TestExplainCountsRequests(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	nc := must[*nats.Conn](t)(srv.Connect())
	t.Cleanup(nc.Close)
	ctx := within(t)
	db := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: "explain"}))
	m := visits(t, db)
	manyIDs, manyTickets := make([]any, 3000), make([]any, 3000)
	for i := range manyIDs {
		manyIDs[i], manyTickets[i] = i*2, fmt.Sprint("t", i)
	}
	for _, c := range []struct {
		path    string
		results int
		absent  int // keys that are asked for and not there
		q       []natsorm.Query
	}{
		{"primary key", 1, 0, []natsorm.Query{natsorm.Eq("id", 7)}},
		{"primary key", 0, 0, []natsorm.Query{natsorm.Eq("id", 7), natsorm.Eq("note", "y")}},
		{"primary key", 3, 1, []natsorm.Query{natsorm.In("id", 7, 8, 9, 99999)}},
		{"primary key", 3000, 0, []natsorm.Query{natsorm.In("id", manyIDs...)}},
		{"unique index", 1, 0, []natsorm.Query{natsorm.Eq("ticket", "t7")}},
		{"unique index", 0, 0, []natsorm.Query{natsorm.Eq("ticket", "nobody's")}},
		{"unique index", 3000, 0, []natsorm.Query{natsorm.In("ticket", manyTickets...)}},
		{"index", 10, 0, []natsorm.Query{natsorm.Eq("user", 7)}},
		{"index", 0, 0, []natsorm.Query{natsorm.Eq("user", 99999)}},
		{"index", 30, 0, []natsorm.Query{natsorm.In("user", 1, 2, 3)}},
		{"index", 150, 0, []natsorm.Query{natsorm.Eq("country", "A"), natsorm.Eq("os", "os0")}},
		{"index", 1500, 0, []natsorm.Query{natsorm.Eq("country", "A")}},    // by the first column; more than one request can give
		{"index", 0, 0, []natsorm.Query{natsorm.Eq("country", "nowhere")}}, // of an index whose values have many
		{"index", 600, 0, []natsorm.Query{natsorm.Eq("page", 7)}},
		{"index", 1200, 0, []natsorm.Query{natsorm.In("page", 7, 8)}},
		{"intersection", 86, 0, []natsorm.Query{natsorm.Eq("page", 7), natsorm.Eq("browser", 3)}},
		{"union", 613, 0, []natsorm.Query{natsorm.Or(natsorm.Eq("page", 7), natsorm.Eq("user", 1), natsorm.Eq("ticket", "t12"), natsorm.In("id", 13, 20, 21, 22, 23))}},
		{"index", 600, 0, []natsorm.Query{natsorm.Eq("kind", "rare")}},
		{"scan", 5400, 0, []natsorm.Query{natsorm.Eq("kind", "all")}}, // an index of most of the model is not worth it
		{"scan", visitCount, 0, nil},
		{"scan", 0, 0, []natsorm.Query{natsorm.Eq("note", "y")}},
		{"scan", 5, 0, []natsorm.Query{natsorm.Gt("page", 3), natsorm.OrderBy("-ticket"), natsorm.Limit(5)}},
		{"nothing", 0, 0, []natsorm.Query{natsorm.Eq("note", "x"), natsorm.Eq("note", "y")}},
		{"nothing", 0, 0, []natsorm.Query{natsorm.Limit(0)}},
	} {
		p := must[natsorm.Plan](t)(m.Explain(ctx, c.q...))
		if p.Access.Path != c.path {
			t.Errorf("%v\nthe path should be %s", p, c.path)
			continue
		}
		before, looks, used := nc.Stats().OutMsgs, natsorm.CatalogueLooks(db), usage.Usage{}
		found := must[[]*visit](t)(m.FindAll(usage.Measured(ctx, &used), c.q...))
		sent, counted, again := int(nc.Stats().OutMsgs-before)-(natsorm.CatalogueLooks(db)-looks), int(used.Requests.Load()), int(used.Again.Load())
		if sent != counted || sent-again != p.Estimated.Requests {
			t.Errorf("%v\nsent %d requests and counted %d, %d of them again", p, sent, counted, again)
		}
		if len(found) != c.results {
			t.Errorf("%v\nfound %d, want %d", p, len(found), c.results)
		}
		analyzed := must[natsorm.Plan](t)(m.Explain(ctx, append(c.q, natsorm.Analyze())...))
		for analyzed.Actual.Again > 0 { // everything stood still for a second
			analyzed = must[natsorm.Plan](t)(m.Explain(ctx, append(c.q, natsorm.Analyze())...))
		}
		if a := analyzed.Actual; *analyzed.Results != c.results || a.Requests != p.Estimated.Requests || a.Keys != analyzed.Estimated.Keys-c.absent {
			t.Errorf("%v\nmore or less than estimated", analyzed)
		}
	}
	natsormtest.Prove(t, db)
	ok(t, db.Close())
}

// A value that half the model has is avoided once it has been seen, and a
// limit reads little of it.
func TestPlansLearn(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	m := visits(t, db)
	ctx := within(t)
	must[[]*visit](t)(m.FindAll(ctx, natsorm.Eq("kind", "all"), natsorm.Eq("page", 3)))
	p := must[natsorm.Plan](t)(m.Explain(ctx, natsorm.Eq("kind", "all"), natsorm.Eq("user", 3), natsorm.Analyze()))
	if p.Access.Path != "index" || p.Access.Columns[0] != "user" || p.Actual.Keys > 40 {
		t.Errorf("%v\nshould take the index of user", p)
	}
	for _, q := range [][]natsorm.Query{{natsorm.Eq("kind", "all")}, {natsorm.Lt("page", 5)}, {natsorm.Eq("country", "A")}, {}} {
		p := must[natsorm.Plan](t)(m.Explain(ctx, append(q, natsorm.Limit(10), natsorm.Analyze())...))
		if *p.Results != 10 || p.Actual.Keys > 150 {
			t.Errorf("%v\na limit of 10 reads more than 150 keys", p)
		}
	}
}

func TestPlanPrintsAsATree(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 20 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: fmt.Sprint("n", i%2), Email: fmt.Sprint(i), Age: i}))
	}
	p := must[natsorm.Plan](t)(users.Explain(ctx, natsorm.Or(natsorm.Eq("name", "n1"), natsorm.In("id", 1, 2, 3)), natsorm.Gt("age", 2),
		natsorm.OrderBy("-age"), natsorm.Limit(3), natsorm.Offset(1)))
	got, _, _ := strings.Cut(p.String(), ", 2 requests")
	want := `user: order by -age, id, offset 1, limit 3
└─ filter (name = "n1" or id in (1, 2, 3)) and age > 2
   └─ union: 10 entries, 11 records
      ├─ index (name) "n1": 10 entries, 10 records
      └─ primary key (id) 1 | 2 | 3: 3 records
estimated: 21 keys`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestREADMEPlan prints the plan that the README shows; bytes and times are its
// machine's.
func TestREADMEPlan(t *testing.T) {
	t.Parallel()
	readme := string(must[[]byte](t)(os.ReadFile("README.md")))
	_, block, _ := strings.Cut(readme, "```\nUser: order by")
	block, _, found := strings.Cut(block, "```")
	if !found {
		t.Fatal("the README shows no plan")
	}
	type User struct {
		ID   int64  `json:"id" orm:"primaryKey"`
		Age  int    `json:"age"`
		City string `json:"city" orm:"index"`
	}
	db := natsormtest.New(t)
	users := define[User](t, db, natsorm.Name("User"))
	ctx := within(t)
	all := make([]*User, 6000)
	for i := range all {
		all[i] = &User{ID: int64(i), Age: i / 10 % 80, City: []string{"Oslo", "Rome", "Paris", "Berlin", "Madrid", "Wien", "Bern", "Prag", "Riga", "Lima"}[i%10]}
	}
	ok(t, users.BulkCreate(ctx, all))
	plan := must[natsorm.Plan](t)(users.Explain(ctx, natsorm.Eq("city", "Oslo"), natsorm.Gt("age", 30), natsorm.OrderBy("-age"), natsorm.Limit(10), natsorm.Analyze()))
	varies := regexp.MustCompile(`[0-9.]+ (k?B|ms)`)
	if got, want := varies.ReplaceAllString(plan.String(), "#"), varies.ReplaceAllString(strings.TrimSpace("User: order by"+block), "#"); got != want {
		t.Errorf("the README shows\n%s\nit is\n%s", want, got)
	}
}
