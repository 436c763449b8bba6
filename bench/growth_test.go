package bench

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/natsorm/natsorm"
)

// growthSizes are the numbers of records that BenchmarkGrowthTable goes through.
var growthSizes = flag.String("growth.sizes", "10000,100000", "numbers of records of BenchmarkGrowthTable, with commas between them")

// order is a record with three keys: itself, an index entry and a claim.
type order struct {
	ID    int64  `json:"id" orm:"primaryKey"`
	Ref   string `json:"ref" orm:"unique"`
	State string `json:"state" orm:"index"` // a tenth of all are "open", 20 each have one of the others
	Total int    `json:"total"`
	Note  string `json:"note"`
}

func orderAt(i, n int) *order {
	state := "open"
	if i%10 != 0 {
		state = "s" + strconv.Itoa(i%max(1, n/20))
	}
	return &order{ID: int64(i), Ref: "order-" + strconv.Itoa(i), State: state, Total: i * 7919 % n, Note: "some words about it"}
}

// BenchmarkGrowthTable measures how the time of each operation grows with the number of
// records, in files: it fills a bucket with ever more records, and prints a table with the
// time of each operation at each size, and the factor from one size to the next. Beside it
// is the most memory that the client held meanwhile; the server has a process of its own,
// and is started again after the bucket was filled. Beside natsorm's operations are the
// same by hand: kv.Watch over the records, consumers, direct gets.
//
//	go test -run xxx -bench GrowthTable -benchtime 1x -timeout 3h -growth.sizes 10000,100000,1000000,3000000 .
func BenchmarkGrowthTable(b *testing.B) {
	for b.Loop() {
		growth(b)
	}
}

func growth(b *testing.B) {
	ctx := context.Background()
	var sizes []int
	for _, text := range strings.Split(*growthSizes, ",") {
		n, err := strconv.Atoi(text)
		check(b, err)
		sizes = append(sizes, n)
	}
	folder := dir(b)
	serve := func() (stop func(), db *natsorm.DB, orders *natsorm.Model[order]) {
		url, end := startServer(b, benchServer{Dir: folder})
		db, err := natsorm.Open(ctx, natsorm.Config{Bucket: "bench", Servers: []string{url}})
		check(b, err)
		orders, err = natsorm.Define[order](ctx, db)
		check(b, err)
		return func() { db.Close(); end() }, db, orders
	}
	type measured struct {
		took time.Duration
		heap uint64 // the most that the client's objects took
	}
	times := make([]map[string]measured, len(sizes))
	var names []string
	filled := 0
	for i, n := range sizes {
		times[i] = map[string]measured{}
		stop, db, orders := serve()
		start := time.Now()
		for filled < n {
			part := make([]*order, min(50_000, n-filled))
			for j := range part {
				part[j] = orderAt(filled+j, sizes[len(sizes)-1])
			}
			check(b, orders.BulkCreate(ctx, part))
			filled += len(part)
		}
		b.Logf("%d records are there after %v", n, time.Since(start).Round(time.Second))
		stop()
		stop, db, orders = serve()
		run := func(name string, f func() error) {
			runtime.GC()
			most := watchHeap()
			start := time.Now()
			check(b, f())
			took := time.Since(start)
			if times[i][name] = (measured{took, most()}); i == 0 {
				names = append(names, name)
			}
		}
		times10 := func(f func(i int) error) func() error { // the mean of ten is what counts
			return func() error {
				for i := range 10 {
					if err := f(i); err != nil {
						return err
					}
				}
				return nil
			}
		}
		r := rand.New(rand.NewPCG(1, uint64(i)))
		records := func(want int) func() error {
			return func() error {
				got := 0
				for _, err := range orders.Each(ctx) {
					if err != nil {
						return err
					}
					if got++; got == want {
						return nil
					}
				}
				if want == 0 && got != n {
					return fmt.Errorf("%d records, want %d", got, n)
				}
				return nil
			}
		}
		find := func(want int, q ...natsorm.Query) func() error {
			return func() error {
				found, err := orders.FindAll(ctx, q...)
				if err == nil && len(found) != want {
					err = fmt.Errorf("%d records are found, want %d", len(found), want)
				}
				return err
			}
		}
		js, err := jetstream.New(db.Conn())
		check(b, err)
		stream, err := js.Stream(ctx, "KV_bench")
		check(b, err)
		run("first find by key after the start", func() error { _, err := orders.FindByPK(ctx, r.IntN(n)); return err })
		run("first lookup after the start", find(1, natsorm.Eq("ref", "order-5")))
		run("ten finds by key", times10(func(int) error { _, err := orders.FindByPK(ctx, r.IntN(n)); return err }))
		run("ten lookups of a unique value", times10(func(int) error {
			_, err := orders.FindOne(ctx, natsorm.Eq("ref", "order-"+strconv.Itoa(r.IntN(n))))
			return err
		}))
		run("ten lookups of few records", times10(func(int) error {
			_, err := orders.FindAll(ctx, natsorm.Eq("state", orderAt(1+r.IntN(n/10)*10, sizes[len(sizes)-1]).State))
			return err
		}))
		run("ten creates", times10(func(j int) error {
			o := orderAt(1_000_000_000+i*10+j, n)
			if err := orders.Create(ctx, o); err != nil {
				return err
			}
			_, err := orders.Destroy(ctx, natsorm.Eq("id", o.ID))
			return err
		}))
		run("Each, the first ten", records(10))
		run("Each", records(0))
		run("count", func() error { _, err := orders.Count(ctx); return err })
		run("count again", func() error { _, err := orders.Count(ctx); return err })
		run("hot value", find(n/10, natsorm.Eq("state", "open")))
		run("hot value, the first ten", find(10, natsorm.Eq("state", "open"), natsorm.Limit(10)))
		run("order and limit", find(10, natsorm.OrderBy("total"), natsorm.Limit(10)))
		run("group", func() error {
			_, err := orders.GroupBy(ctx, []string{"note"}, []natsorm.Aggregate{natsorm.SumOf("total")})
			return err
		})
		run("Check", func() error { _, err := db.Check(ctx); return err })
		run("backup", func() error { var c counter; return db.Backup(ctx, &c) })
		run("by hand: kv.Watch of the records", func() error {
			w, err := db.KV().Watch(ctx, "order.*.*", jetstream.IgnoreDeletes())
			if err != nil {
				return err
			}
			defer w.Stop()
			for e := range w.Updates() {
				if e == nil {
					break
				}
			}
			return nil
		})
		run("by hand: ten lookups of few records", times10(func(int) error {
			return lookUp(ctx, js, "KV_bench", "KV_bench", "$KV.bench.", orderAt(1+r.IntN(n/10)*10, sizes[len(sizes)-1]).State)
		}))
		for _, c := range [][2]string{{"records", "order.*.*"}, {"one shard", "order.shard_3.*"}, {"hot value", "order.index.state.open.*"}, {"all keys", ">"}} {
			run("by hand: a consumer, "+c[0], func() error { return consume(ctx, stream, "$KV.bench."+c[1]) })
		}
		stop()
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, name := range append([]string{""}, names...) {
		fmt.Fprintf(out, "%s\t", name)
		for i, n := range sizes {
			now := times[i][name]
			switch {
			case name == "":
				fmt.Fprintf(out, "%d\t", n)
			case i == 0:
				fmt.Fprintf(out, "%v, %d MB\t", now.took.Round(10*time.Microsecond), now.heap>>20)
			default:
				fmt.Fprintf(out, "%v (x %.1f), %d MB\t", now.took.Round(10*time.Microsecond), float64(now.took)/float64(times[i-1][name].took), now.heap>>20)
			}
		}
		fmt.Fprintln(out)
	}
	check(b, out.Flush())
	b.ReportMetric(0, "ns/op")
}

// consume reads the last message of each key under a subject with a pull consumer.
func consume(ctx context.Context, stream jetstream.Stream, subject string) error {
	c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
	})
	if err != nil {
		return err
	}
	defer stream.DeleteConsumer(ctx, c.CachedInfo().Name)
	for left := c.CachedInfo().NumPending; left > 0; {
		part, err := c.FetchNoWait(8192)
		if err != nil {
			return err
		}
		for m := range part.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			left = meta.NumPending
		}
		if part.Error() != nil {
			return part.Error()
		}
	}
	return nil
}

// lookUp gets the entries of a value from one stream, and the records that they name from
// another, with direct gets. Their subjects begin with prefix.
func lookUp(ctx context.Context, js jetstream.JetStream, index, stream, prefix, state string) error {
	entries, err := jetstreamext.GetLastMsgsFor(ctx, js, index, []string{prefix + "order.index.state." + state + ".*"})
	if err != nil {
		return err
	}
	var subjects []string
	for m, err := range entries {
		if err != nil {
			return err
		}
		id := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
		n, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		subjects = append(subjects, fmt.Sprintf("%sorder.shard_%d.%s", prefix, n%16, id))
	}
	records, err := jetstreamext.GetLastMsgsFor(ctx, js, stream, subjects)
	if err != nil {
		return err
	}
	for _, err := range records {
		if err != nil {
			return err
		}
	}
	return nil
}

// watchHeap notes the most memory that objects take from now on, until most is called.
func watchHeap() (most func() uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		highest := uint64(0)
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			metrics.Read(sample)
			highest = max(highest, sample[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				result <- highest
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-result
	}
}
