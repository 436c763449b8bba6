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

var memoryRecords = flag.Int("memory", 0, "how many records TestLocalMemory keeps in memory; it is skipped without this")

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// plainMember is a member without indexes.
type plainMember struct {
	ID      int64     `json:"id"      orm:"primaryKey"`
	Name    string    `json:"name"`
	Email   string    `json:"email"`
	City    string    `json:"city"`
	Team    int       `json:"team"`
	Score   float64   `json:"score"`
	Weight  int       `json:"weight"`
	Created time.Time `json:"created"`
}

// TestLocalMemory measures how much memory a Local takes for each record, beside what the structs take. It fails
// where a Local without indexes takes more than twice as much.
//
//	cd bench && go test -v -timeout 20m -run TestLocalMemory -memory 1000000 .
func TestLocalMemory(t *testing.T) {
	n := int64(*memoryRecords)
	if n == 0 {
		t.Skip("needs -memory")
	}
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{})
	check(t, err)
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "memory"})
	check(t, err)
	defer db.Close()
	const chunk = 100_000
	plain, err := natsorm.Define[plainMember](ctx, db)
	check(t, err)
	for from := int64(0); from < n; from += chunk {
		var list []*plainMember
		for i := from; i < min(n, from+chunk); i++ {
			m := memberOf(i)
			list = append(list, &plainMember{m.ID, m.Name, m.Email, m.City, m.Team, m.Score, m.Weight, m.Created})
		}
		check(t, plain.BulkCreate(ctx, list))
	}
	// What goes is measured: the server is in the process too, and its memory changes over time.
	all, err := plain.FindAll(ctx)
	check(t, err)
	with := heap()
	runtime.KeepAlive(all)
	all = nil
	structs := (with - heap()) / uint64(n)
	kept := func(open func() (interface{ Close() error }, error)) (each uint64, loaded time.Duration) {
		start := time.Now()
		l, err := open()
		check(t, err)
		loaded = time.Since(start)
		with := heap()
		check(t, l.Close())
		l = nil
		return (with - heap()) / uint64(n), loaded
	}
	bare, loaded := kept(func() (interface{ Close() error }, error) { return plain.Local(ctx) })
	if bare > 2*structs {
		t.Errorf("a Local takes %d bytes for each record, and the structs %d", bare, structs)
	}
	indexed, err := natsorm.Define[member](ctx, db)
	check(t, err)
	for from := int64(0); from < n; from += chunk {
		var list []*member
		for i := from; i < min(n, from+chunk); i++ {
			list = append(list, memberOf(i))
		}
		check(t, indexed.BulkCreate(ctx, list))
	}
	four, loadedFour := kept(func() (interface{ Close() error }, error) { return indexed.Local(ctx) })
	t.Logf("%d records, bytes for each: structs %d; a Local %d, loaded in %v; with four indexes %d, loaded in %v", n, structs, bare, loaded, four, loadedFour)
}

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
	before := heap()
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
	b.Logf("%d records: Each %v, Local %v; %d bytes of memory for each", scanned, scan, took, (heap()-before)/uint64(n))
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
