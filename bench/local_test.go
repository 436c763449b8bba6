package bench

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

var localRecords = flag.Int("local", 100_000, "how many records BenchmarkLocal keeps in memory")

// member is a record of BenchmarkLocal.
type member struct {
	ID      int64     `json:"id"      orm:"primaryKey"`
	Name    string    `json:"name"`
	Email   string    `json:"email"   orm:"unique"`
	City    string    `json:"city"    orm:"index"` // ten people each
	Team    int       `json:"team"    orm:"index"` // twenty of them
	Score   float64   `json:"score"   orm:"ordered"`
	Weight  int       `json:"weight"`
	Created time.Time `json:"created"`
}

func memberOf(i int64) *member {
	return &member{ID: i, Name: fmt.Sprint("Person ", i), Email: fmt.Sprintf("p%d@example.com", i), City: fmt.Sprint("City ", i/10), Team: int(i % 20),
		Score: float64(i*7919%1_000_003) / 10, Weight: int(i % 1000), Created: time.Unix(1_700_000_000+i, 0).UTC()}
}

// BenchmarkLocal reads from the memory of the process.
//
//	cd bench && go test -run '^$' -bench BenchmarkLocal -local 100000 .
func BenchmarkLocal(b *testing.B) {
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{})
	check(b, err)
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "local"})
	check(b, err)
	defer db.Close()
	people, err := natsorm.Define[member](ctx, db)
	check(b, err)
	n := int64(*localRecords)
	var list []*member
	for i := range n {
		list = append(list, memberOf(i))
	}
	check(b, people.BulkCreate(ctx, list))
	list = nil
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	start := time.Now()
	scanned := 0
	for _, err := range people.Each(ctx) {
		check(b, err)
		scanned++
	}
	scan := time.Since(start)
	start = time.Now()
	l, err := people.Local(ctx)
	check(b, err)
	took := time.Since(start)
	b.Logf("%d records: Each %v, Local %v; %d bytes of memory for each", scanned, scan, took, (memory()-before)/uint64(n))
	r := int64(0)
	next := func() int64 { r = (r*1664525 + 1013904223) % n; return max(r, -r) }
	run := func(name string, work func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
	want := func(n, want int, err error) {
		check(b, err)
		if n != want {
			b.Fatalf("found %d, not %d", n, want)
		}
	}
	run("ByKey", func() {
		p, err := l.FindByPK(ctx, next())
		check(b, err)
		want(len(p.City[:5]), 5, nil)
	})
	run("ByIndexTen", func() {
		found, err := l.FindAll(ctx, natsorm.Eq("city", fmt.Sprint("City ", next()/10)))
		want(len(found), 10, err)
	})
	run("Unindexed1Percent", func() {
		found, err := l.FindAll(ctx, natsorm.Lt("weight", 10))
		want(len(found), int(n/100), err)
	})
	run("RangeSortLimit20", func() {
		found, err := l.FindAll(ctx, natsorm.Gt("score", float64(next()%50_000)), natsorm.OrderBy("score"), natsorm.Limit(20))
		want(len(found), 20, err)
	})
	run("NewestFirst20", func() {
		found, err := l.FindAll(ctx, natsorm.OrderBy("-score"), natsorm.Limit(20))
		want(len(found), 20, err)
	})
	run("CountByCondition", func() {
		count, err := l.Count(ctx, natsorm.Eq("team", 7))
		want(count, int(n/20), err)
	})
	run("GroupBy", func() {
		groups, err := l.GroupBy(ctx, []string{"team"}, []natsorm.Aggregate{natsorm.CountRecords()})
		want(len(groups), 20, err)
	})
	run("GroupByUnindexed", func() {
		groups, err := l.GroupBy(ctx, []string{"weight"}, []natsorm.Aggregate{natsorm.CountRecords(), natsorm.SumOf("score")})
		want(len(groups), 1000, err)
	})
	run("All", func() {
		found, err := l.FindAll(ctx)
		want(len(found), int(n), err)
	})
}
