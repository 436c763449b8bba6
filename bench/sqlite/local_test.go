// Package sqlite measures a Local beside GORM on SQLite, in one run: in memory, and in a file with a
// write-ahead log. It is a module of its own because SQLite needs a C compiler.
//
//	cd bench/sqlite && go test -v -timeout 20m .
//
// It takes the median of many calls of each kind, with one caller. It fails where an answer differs, and where a
// Local is not faster than both. -records sets how many records there are.
package sqlite

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

var records = flag.Int("records", 100_000, "how many records there are")

// Person is a record of the tests, the same for both.
type Person struct {
	ID      int64     `json:"id"      orm:"primaryKey"`
	Name    string    `json:"name"`
	Email   string    `json:"email"   orm:"unique"  gorm:"uniqueIndex"`
	City    string    `json:"city"    orm:"index"   gorm:"index"` // ten people each
	Team    int       `json:"team"    orm:"index"   gorm:"index"` // twenty of them
	Score   float64   `json:"score"   orm:"ordered" gorm:"index"`
	Weight  int       `json:"weight"` // a thousand of them
	Created time.Time `json:"created"`
}

func person(i int64) *Person {
	return &Person{ID: i + 1, Name: fmt.Sprint("Person ", i), Email: fmt.Sprintf("p%d@example.com", i), City: fmt.Sprint("City ", i/10), Team: int(i % 20),
		Score: float64(i*7919%1_000_003) / 10, Weight: int(i % 1000), Created: time.Unix(1_700_000_000+i, 0).UTC()}
}

// asked is what both are asked: each returns a number that says what it found. i is a random number.
type asked struct {
	name  string
	local func(ctx context.Context, l *natsorm.Local[Person], i int64) (int, error)
	gorm  func(db *gorm.DB, i int64) (int, error)
}

var questions = []asked{
	{"by key", func(ctx context.Context, l *natsorm.Local[Person], i int64) (int, error) {
		p, err := l.FindByPK(ctx, i+1)
		if err != nil {
			return 0, err
		}
		return p.Weight, nil
	}, func(db *gorm.DB, i int64) (int, error) {
		var p Person
		err := db.First(&p, i+1).Error
		return p.Weight, err
	}},
	{"ten by an index", func(ctx context.Context, l *natsorm.Local[Person], i int64) (int, error) {
		return sum(l.FindAll(ctx, natsorm.Eq("city", fmt.Sprint("City ", i/10))))
	}, func(db *gorm.DB, i int64) (int, error) {
		return sumOf(db.Where("city = ?", fmt.Sprint("City ", i/10)))
	}},
	{"a condition without an index, 1 %", func(ctx context.Context, l *natsorm.Local[Person], _ int64) (int, error) {
		return sum(l.FindAll(ctx, natsorm.Lt("weight", 10)))
	}, func(db *gorm.DB, _ int64) (int, error) { return sumOf(db.Where("weight < ?", 10)) }},
	{"a range, sorted, the first 20", func(ctx context.Context, l *natsorm.Local[Person], i int64) (int, error) {
		return sum(l.FindAll(ctx, natsorm.Gt("score", float64(i)/2), natsorm.OrderBy("score"), natsorm.Limit(20)))
	}, func(db *gorm.DB, i int64) (int, error) {
		return sumOf(db.Where("score > ?", float64(i)/2).Order("score, id").Limit(20))
	}},
	{"count by a condition, 5 %", func(ctx context.Context, l *natsorm.Local[Person], i int64) (int, error) {
		return l.Count(ctx, natsorm.Eq("team", i%20))
	}, func(db *gorm.DB, i int64) (int, error) {
		var n int64
		err := db.Model(&Person{}).Where("team = ?", i%20).Count(&n).Error
		return int(n), err
	}},
	{"count in groups, by an index", func(ctx context.Context, l *natsorm.Local[Person], _ int64) (int, error) {
		return groups(l.GroupBy(ctx, []string{"team"}, []natsorm.Aggregate{natsorm.CountRecords()}))
	}, func(db *gorm.DB, _ int64) (int, error) { return groupsOf(db, "team") }},
	{"count in groups, without an index", func(ctx context.Context, l *natsorm.Local[Person], _ int64) (int, error) {
		return groups(l.GroupBy(ctx, []string{"weight"}, []natsorm.Aggregate{natsorm.CountRecords()}))
	}, func(db *gorm.DB, _ int64) (int, error) { return groupsOf(db, "weight") }},
}

func sum(found []*Person, err error) (n int, _ error) {
	for _, p := range found {
		n += p.Weight + 1
	}
	return n, err
}

func sumOf(q *gorm.DB) (int, error) {
	var found []*Person
	err := q.Find(&found).Error
	return sum(found, err)
}

func groups(found []natsorm.Record, err error) (n int, _ error) {
	for i, g := range found {
		n += (i + 1) * int(g["count"].(int64))
	}
	return n, err
}

func groupsOf(db *gorm.DB, column string) (n int, _ error) {
	var found []struct{ Count int }
	err := db.Model(&Person{}).Select("count(*) as count").Group(column).Order(column).Find(&found).Error
	for i, g := range found {
		n += (i + 1) * g.Count
	}
	return n, err
}

// median is the median time of a call, of batches of calls, and what the first calls found.
func median(t *testing.T, ask func(i int64) (int, error)) (time.Duration, int) {
	t.Helper()
	n, total, calls := int64(*records), 0, int64(0)
	var took []time.Duration
	for start := time.Now(); len(took) < 5 || len(took) < 500 && time.Since(start) < time.Second; {
		batch := 0
		began := time.Now()
		for ; batch == 0 || time.Since(began) < 100*time.Microsecond; batch++ {
			found, err := ask(calls * 7919 % n)
			if err != nil {
				t.Fatal(err)
			}
			if calls < 5 {
				total += found
			}
			calls++
		}
		took = append(took, time.Since(began)/time.Duration(batch))
	}
	slices.Sort(took)
	return took[len(took)/2], total
}

func open(t *testing.T, name, dsn string, list []*Person) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(sqlite.Open(dsn), &gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true, PrepareStmt: true})
	if err != nil {
		t.Fatal(name, err)
	}
	if err := db.AutoMigrate(&Person{}); err != nil {
		t.Fatal(name, err)
	}
	if err := db.CreateInBatches(list, 1000).Error; err != nil {
		t.Fatal(name, err)
	}
	if err := db.Exec("ANALYZE").Error; err != nil {
		t.Fatal(name, err)
	}
	t.Cleanup(func() {
		if sql, err := db.DB(); err == nil {
			sql.Close()
		}
	})
	return db
}

func TestLocalBesideSQLite(t *testing.T) {
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "people"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	people, err := natsorm.Define[Person](ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	var list []*Person
	for i := range int64(*records) {
		list = append(list, person(i))
	}
	if err := people.BulkCreate(ctx, list); err != nil {
		t.Fatal(err)
	}
	memory := open(t, "in memory", "file:people?mode=memory&cache=shared", list)
	file := open(t, "in a file", "file:"+filepath.Join(t.TempDir(), "people.db")+"?_journal_mode=WAL&_synchronous=NORMAL", list)
	list = nil
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, scanned := heap(), 0
	start := time.Now()
	for _, err := range people.Each(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		scanned++
	}
	scan := time.Since(start)
	start = time.Now()
	l, err := people.Local(ctx)
	if err != nil {
		t.Fatal(err)
	}
	load := time.Since(start)
	t.Logf("%d records: Each %v, Local %v; %d bytes of memory each", scanned, scan, load, (heap()-before)/uint64(*records))

	out := &table{t: t}
	fmt.Fprintln(out, "\tLocal\tSQLite in memory\tin a file\ttimes as fast\t")
	for _, q := range questions {
		mine, found := median(t, func(i int64) (int, error) { return q.local(ctx, l, i) })
		theirs, same := median(t, func(i int64) (int, error) { return q.gorm(memory, i) })
		filed, again := median(t, func(i int64) (int, error) { return q.gorm(file, i) })
		least := min(theirs, filed)
		ratio := float64(least) / float64(mine)
		fmt.Fprintf(out, "%s\t%v\t%v\t%v\t%.1f\t\n", q.name, mine, theirs, filed, ratio)
		if found != same || found != again {
			t.Errorf("%s: found %d, SQLite %d and %d", q.name, found, same, again)
		}
		if ratio < 1 {
			t.Errorf("%s: %.1f times as fast as SQLite", q.name, ratio)
		}
	}
	latest, _ := median(t, func(i int64) (int, error) { return questions[0].local(ctx, l.Latest(), i) })
	fmt.Fprintf(out, "by key, Latest\t%v\t\t\t\t\n", latest)
	one, many := readers(t, l, 1), readers(t, l, 64)
	fmt.Fprintf(out, "lookups a second, 1 and 64 readers\t%.0f\t%.0f\t\t\t\n", one, many)
	out.flush()
}

// readers is how many records so many readers find by their keys in a second.
func readers(t *testing.T, l *natsorm.Local[Person], n int) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for r := range n {
		wg.Go(func() {
			for i := int64(r); time.Since(start) < time.Second; i += 64 {
				if _, err := l.FindByPK(context.Background(), i%int64(*records)+1); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// table is written to the test's log when it is flushed.
type table struct {
	t    *testing.T
	text []byte
}

func (o *table) Write(b []byte) (int, error) {
	o.text = append(o.text, b...)
	return len(b), nil
}

func (o *table) flush() {
	var aligned lines
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', tabwriter.AlignRight)
	w.Write(o.text)
	w.Flush()
	o.t.Logf("\n%s", aligned)
}

type lines []byte

func (l *lines) Write(b []byte) (int, error) {
	*l = append(*l, b...)
	return len(b), nil
}
