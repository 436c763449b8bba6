package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

type thing struct {
	ID    int     `json:"id" orm:"primaryKey"`
	Name  *string `json:"name" orm:"index,index:both"`
	N     *int    `json:"n" orm:"index:both,index:np"`
	Plain *string `json:"plain" orm:"index:np"`
	Code  *string `json:"code" orm:"unique"`
}

// asked is a condition together with what it means, said once more in Go.
type asked struct {
	cond natsorm.Condition
	want func(*thing) truth
}

// truth is SQL's: a comparison with null is neither true nor false.
type truth int

const (
	no truth = iota
	unknown
	yes
)

func when(b bool) truth {
	if b {
		return yes
	}
	return no
}

func stringColumn(r *rand.Rand) (string, func(*thing) *string) {
	switch r.IntN(3) {
	case 0:
		return "name", func(t *thing) *string { return t.Name }
	case 1:
		return "plain", func(t *thing) *string { return t.Plain }
	default:
		return "code", func(t *thing) *string { return t.Code }
	}
}

var texts = []string{"", "a", "A", "ab", "a_b", "a.b", "a@b", "b%", "null", "=null", "ß", "日本", "a*", ">"}

func randomCondition(r *rand.Rand, depth int) asked {
	if depth > 0 && r.IntN(3) == 0 {
		a, b := randomCondition(r, depth-1), randomCondition(r, depth-1)
		switch r.IntN(3) {
		case 0:
			return asked{natsorm.And(a.cond, b.cond), func(t *thing) truth { return min(a.want(t), b.want(t)) }}
		case 1:
			return asked{natsorm.Or(a.cond, b.cond), func(t *thing) truth { return max(a.want(t), b.want(t)) }}
		default:
			return asked{natsorm.Not(a.cond), func(t *thing) truth { return yes - a.want(t) }}
		}
	}
	if r.IntN(3) == 0 {
		return numberCondition(r)
	}
	column, get := stringColumn(r)
	x, y := texts[r.IntN(len(texts))], texts[r.IntN(len(texts))]
	on := func(f func(string) bool) func(*thing) truth {
		return func(t *thing) truth {
			if s := get(t); s != nil {
				return when(f(*s))
			}
			return unknown
		}
	}
	switch r.IntN(17) {
	case 0, 1, 2, 3:
		return asked{natsorm.Eq(column, x), on(func(s string) bool { return s == x })}
	case 4:
		return asked{natsorm.Ne(column, x), on(func(s string) bool { return s != x })}
	case 5:
		return asked{natsorm.Gt(column, x), on(func(s string) bool { return s > x })}
	case 6:
		return asked{natsorm.Lte(column, &x), on(func(s string) bool { return s <= x })}
	case 7, 8:
		return asked{natsorm.In(column, x, y), on(func(s string) bool { return s == x || s == y })}
	case 9:
		return asked{natsorm.NotIn(column, x, y), on(func(s string) bool { return s != x && s != y })}
	case 10:
		return asked{natsorm.Eq(column, nil), func(t *thing) truth { return when(get(t) == nil) }}
	case 11:
		return asked{natsorm.In(column, nil, x), func(t *thing) truth { return when(get(t) == nil || *get(t) == x) }}
	case 12:
		return asked{natsorm.NotNull(column), func(t *thing) truth { return when(get(t) != nil) }}
	case 13:
		return asked{natsorm.StartsWith(column, x), on(func(s string) bool { return strings.HasPrefix(s, x) })}
	case 14:
		return asked{natsorm.Contains(column, x), on(func(s string) bool { return strings.Contains(s, x) })}
	case 15:
		re := regexp.MustCompile("^(?s:" + strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(x)) + ")$")
		return asked{natsorm.Like(column, x), on(re.MatchString)}
	default:
		return asked{natsorm.Where{column: []string{x, y}}, on(func(s string) bool { return s == x || s == y })}
	}
}

func numberCondition(r *rand.Rand) asked {
	x := r.IntN(5)
	on := func(f func(int) bool) func(*thing) truth {
		return func(t *thing) truth {
			if t.N == nil {
				return unknown
			}
			return when(f(*t.N))
		}
	}
	switch r.IntN(6) {
	case 0, 1:
		return asked{natsorm.Eq("n", x), on(func(n int) bool { return n == x })}
	case 2:
		return asked{natsorm.Between("n", x-1, int64(x)), on(func(n int) bool { return n >= x-1 && n <= x })}
	case 3:
		return asked{natsorm.Lt("n", float64(x)), on(func(n int) bool { return n < x })}
	case 4:
		return asked{natsorm.In("id", x, x*7), func(t *thing) truth { return when(t.ID == x || t.ID == x*7) }}
	default:
		// Both columns of the compound index.
		s := texts[r.IntN(len(texts))]
		return asked{natsorm.Where{"name": s, "n": x}, func(t *thing) truth {
			a, b := unknown, unknown
			if t.Name != nil {
				a = when(*t.Name == s)
			}
			if t.N != nil {
				b = when(*t.N == x)
			}
			return min(a, b)
		}}
	}
}

// TestQueriesAgreeWithAFilter compares FindAll, whatever path it takes, with
// the same condition said in Go.
func TestQueriesAgreeWithAFilter(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	db := natsormtest.New(t)
	things := define[thing](t, db)
	ctx := within(t)
	text := func() *string {
		if i := r.IntN(len(texts) + 2); i < len(texts) {
			return &texts[i]
		}
		return nil
	}
	var all []*thing
	for i := range 200 {
		v := &thing{ID: i, Name: text(), Plain: text()}
		if i < len(texts) {
			v.Code = &texts[i]
		}
		if n := r.IntN(6); n < 5 {
			v.N = &n
		}
		all = append(all, v)
	}
	ok(t, things.BulkCreate(ctx, all))

	for range testsize.Pick(150, 1000, 3000) {
		a := randomCondition(r, 3)
		var want []int
		for _, v := range all {
			if a.want(v) == yes {
				want = append(want, v.ID)
			}
		}
		found := must[[]*thing](t)(things.FindAll(ctx, a.cond))
		var got []int
		for _, v := range found {
			got = append(got, v.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v\n got %v\nwant %v", a.cond, got, want)
		}
	}
}

func TestConditionsThatDoNotFit(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID   int       `json:"id" orm:"primaryKey"`
		Name string    `json:"name" orm:"index"`
		At   time.Time `json:"at"`
		U    uint8     `json:"u"`
		F    float64   `json:"f"`
		Tags []string  `json:"tags"`
		Foo  int       `json:"foo"`
		FOO  int       `json:"FOO"`
	}
	db := natsormtest.New(t)
	recs := define[rec](t, db)
	ctx := within(t)
	nan := 0.0
	nan /= nan
	for _, c := range []struct {
		q     natsorm.Query
		names string
	}{
		{natsorm.Eq("nope", 1), "nope"},
		{natsorm.Eq("foO", 1), "foO"},
		{natsorm.Eq("id", "1"), "id"},
		{natsorm.Eq("id", 1.5), "id"},
		{natsorm.Eq("id", uint64(1)<<63), "id"},
		{natsorm.Eq("u", -1), "u"},
		{natsorm.Eq("name", 7), "name"},
		{natsorm.Eq("name", "\xff"), "name"},
		{natsorm.Eq("f", nan), "f"},
		{natsorm.Eq("at", "yesterday"), "at"},
		{natsorm.Eq("at", 7), "at"},
		{natsorm.Like("id", "1%"), "id"},
		{natsorm.Like("name", `a\`), "name"},
		{natsorm.Regexp("name", "("), "name"},
		{natsorm.Gt("tags", 1), "tags"},
		{natsorm.Where{"id": struct{}{}}, "id"},
		{natsorm.And(natsorm.Eq("id", 1), natsorm.Not(natsorm.Eq("nope", 1))), "nope"},
		{natsorm.Not(nil), "nil"},
		{natsorm.And(natsorm.Or(natsorm.Eq("id", 1), nil)), "nil"},
		{nil, "nil"},
		{natsorm.Columns("name"), "Watch"},
	} {
		_, err := recs.FindAll(ctx, c.q)
		if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%+v: %v", c.q, err)
		}
		if _, err := recs.Count(ctx, c.q); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("count %+v: %v", c.q, err)
		}
		if _, err := recs.Destroy(ctx, c.q); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("destroy %+v: %v", c.q, err)
		}
	}
	for _, id := range []any{"x", nil, 1.5, []int{1}, (*int)(nil)} {
		if _, err := recs.FindByPK(ctx, id); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("FindByPK(%v): %v", id, err)
		}
	}
}

// A condition is a value: two goroutines may build on the same one.
func TestQueriesAreValues(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 10 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: fmt.Sprint("n", i%2), Email: fmt.Sprint(i), Age: i}))
	}
	base := natsorm.Eq("name", "n1")
	young, old := natsorm.And(base, natsorm.Lt("age", 5)), natsorm.And(base, natsorm.Gte("age", 5))
	for range 3 {
		if n := must[int](t)(users.Count(ctx, young)); n != 2 {
			t.Errorf("young %d", n)
		}
		if n := must[int](t)(users.Count(ctx, old)); n != 3 {
			t.Errorf("old %d", n)
		}
		if n := must[int](t)(users.Count(ctx, base)); n != 5 {
			t.Errorf("base %d", n)
		}
	}
}

func TestQueryOptionsThatDoNotFit(t *testing.T) {
	t.Parallel()
	type rec struct {
		ID      int64    `json:"id" orm:"primaryKey"`
		Name    string   `json:"name"`
		Tags    []string `json:"tags"`
		Version uint64   `json:"-" orm:"version"`
	}
	db := natsormtest.New(t)
	recs, others := define[rec](t, db), define[rec](t, db, natsorm.Name("others"))
	ctx := within(t)
	v := &rec{ID: 1, Name: "Ann"}
	ok(t, recs.Create(ctx, v))
	byName := natsorm.OrderBy("name")
	cursor := must[string](t)(recs.Cursor(v, byName))
	call := func(_ any, err error) error { return err }
	second := func(_ any, _ string, err error) error { return err }
	find := func(q ...natsorm.Query) error { return call(recs.FindAll(ctx, q...)) }
	for _, c := range []struct {
		err   error
		names string
	}{
		{find(natsorm.Limit(-1)), "Limit(-1)"},
		{find(natsorm.Offset(-3)), "Offset(-3)"},
		{find(natsorm.OrderBy("nope")), "nope"},
		{find(natsorm.OrderBy("-nope")), "nope"},
		{find(natsorm.OrderBy()), "OrderBy"},
		{find(natsorm.OrderBy("tags")), "tags"},
		{find(natsorm.Select()), "Select"},
		{find(natsorm.Select("name", "nope")), "nope"},
		{find(natsorm.Like("id", "1%")), "id"},
		{find(natsorm.Analyze()), "Explain"},
		{find(natsorm.After(cursor)), "OrderBy"},
		{find(byName, natsorm.After("nonsense")), "cursor"},
		{find(byName, natsorm.After("????")), "cursor"},
		{find(byName, natsorm.After("AQ")), "cursor"},
		{find(byName, natsorm.After("Zm9yIGFub3RoZXI")), "version"},
		{find(byName, natsorm.After(cursor[:len(cursor)-4])), "cursor"},
		{find(natsorm.OrderBy("-name"), natsorm.After(cursor)), "another query"},
		{find(byName, natsorm.Eq("name", "x"), natsorm.After(cursor)), "another query"},
		{call(others.FindAll(ctx, byName, natsorm.After(cursor))), "another query"},
		{call(recs.Cursor(v)), "OrderBy"},
		{second(recs.FindPage(ctx, natsorm.Limit(1))), "OrderBy"},
		{second(recs.FindPage(ctx, byName)), "Limit"},
		{second(recs.FindPage(ctx, byName, natsorm.Limit(0))), "Limit"},
		{call(recs.Cursor(&rec{Version: math.MaxUint64}, byName)), "Select"},
		{find(natsorm.OrderBy("name DESC")), "descends"},
		{find(natsorm.Where{"name": natsorm.Eq("name", "x")}), "ParseWhere"},
		{find(natsorm.Or(natsorm.Where{"id": map[string]any{"gte": 5}})), "ParseWhere"},
		{call(recs.GroupBy(ctx, nil, []natsorm.Aggregate{natsorm.CountRecords().As("")})), "As"},
		{call(recs.Cursor(nil, byName)), "nil"},
		{call(recs.Cursor(v, byName, natsorm.Select("id"))), "name"},
		{call(recs.Count(ctx, natsorm.Limit(-1))), "Limit(-1)"},
		{call(recs.Count(ctx, natsorm.Select("id"))), "Select"},
		{call(recs.Sum(ctx, "name")), "name"},
		{call(recs.Avg(ctx, "nope")), "nope"},
		{call(recs.Min(ctx, "tags")), "tags"},
		{call(recs.Max(ctx, "nope")), "nope"},
		{call(recs.GroupBy(ctx, []string{"nope"}, nil)), "nope"},
		{call(recs.GroupBy(ctx, nil, []natsorm.Aggregate{natsorm.SumOf("name")})), "name"},
		{call(recs.GroupBy(ctx, nil, []natsorm.Aggregate{{}})), "Aggregate"},
		{call(recs.GroupBy(ctx, nil, []natsorm.Aggregate{natsorm.CountRecords(), natsorm.CountRecords()})), "count"},
		{call(recs.GroupBy(ctx, []string{"name"}, nil, natsorm.OrderBy("id"))), "id"},
		{call(recs.GroupBy(ctx, []string{"name"}, nil, byName, natsorm.After(cursor))), "After"},
		{call(recs.Watch(ctx, natsorm.Limit(1))), "Watch"},
		{call(recs.Watch(ctx, natsorm.Select("name"))), "Select"},
		{call(recs.Destroy(ctx, natsorm.All(), natsorm.Select("name"))), "Select"},
		{call(recs.Explain(ctx, natsorm.OrderBy("nope"))), "nope"},
	} {
		if !errors.Is(c.err, natsorm.ErrInvalid) || c.err != nil && !strings.Contains(c.err.Error(), c.names) {
			t.Errorf("%v; it must be ErrInvalid and name %q", c.err, c.names)
		}
	}
	if err := call(recs.Destroy(ctx, natsorm.Limit(1))); !errors.Is(err, natsorm.ErrMissingWhere) {
		t.Errorf("Destroy with just a limit: %v", err)
	}

	if _, err := recs.FindAll(ctx, byName, natsorm.After("nonsense")); !errors.Is(err, natsorm.ErrCursor) {
		t.Errorf("nonsense: %v", err)
	}
	in := func(names ...any) []natsorm.Query {
		return []natsorm.Query{byName, natsorm.In("name", names...), natsorm.Gte("id", 0)}
	}
	same := must[string](t)(recs.Cursor(v, in("a", "b")...))
	if _, err := recs.FindAll(ctx, byName, natsorm.After(same), natsorm.And(natsorm.Gte("id", 0), natsorm.In("name", "b", "a"))); err != nil {
		t.Errorf("conditions in another order: %v", err)
	}

	// A partial record cannot be saved over the whole one.
	part := must[*rec](t)(recs.FindOne(ctx, natsorm.Select("id")))
	if err := recs.Save(ctx, part); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "Select") {
		t.Errorf("Save of a partial record: %v", err)
	}
	if v := must[*rec](t)(recs.FindByPK(ctx, 1)); v.Name != "Ann" {
		t.Errorf("%+v", v)
	}
}

// Hostile conditions cost no more than reading them.
func TestHostileConditions(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	deep := natsorm.Eq("age", 1)
	for range 1_000_000 {
		deep = natsorm.Not(deep)
	}
	if _, err := users.FindAll(ctx, deep); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a million deep: %v", err)
	}
	a, b := make([]any, 40_000), make([]any, 40_000)
	for i := range a {
		a[i], b[i] = i, i+20_000
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Second) // it took minutes by comparing each with each
	defer cancel()
	if _, err := users.FindAll(short, natsorm.In("age", a...), natsorm.In("age", b...)); err != nil {
		t.Errorf("two long lists: %v", err)
	}
	if _, err := users.FindAll(ctx, natsorm.OrderBy(strings.Repeat("x", 1_000_000))); err == nil || len(err.Error()) > 1000 {
		t.Errorf("a long name: %.100v", err)
	}
}

// A condition that selects everything, however it says so, needs All.
func TestConstantConditions(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	for i := range 3 {
		ok(t, users.Create(ctx, &user{ID: int64(i), Email: fmt.Sprint(i), Age: 50}))
	}
	one := natsorm.Eq("id", 1)
	for _, q := range []natsorm.Condition{natsorm.Or(natsorm.Where{}, one), natsorm.Not(natsorm.Or()), natsorm.Or(natsorm.And(), one), natsorm.Not(natsorm.And(natsorm.Or(), one))} {
		if _, err := users.Destroy(ctx, q); !errors.Is(err, natsorm.ErrMissingWhere) {
			t.Errorf("%+v: %v", q, err)
		}
		if n := must[int](t)(users.Count(ctx, q)); n != 3 {
			t.Errorf("%+v selects %d", q, n)
		}
	}
	if n := must[int](t)(users.Count(ctx, natsorm.Not(natsorm.Between("age", nil, 10)))); n != 3 {
		t.Errorf("not between null and 10: %d", n)
	}
	if n := must[int](t)(users.Destroy(ctx, natsorm.And(natsorm.Where{}, one))); n != 1 {
		t.Errorf("destroyed %d", n)
	}
}
