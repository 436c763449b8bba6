package bench

import (
	"cmp"
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

const (
	// fewRecords is what TestCheckMemory compares with.
	fewRecords = 10_000

	// inFlight is what a check may take more of a large bucket than of a small one. Two requests
	// are under way, each for up to readsize.Most (8,192) messages, which take about 1 KB each
	// with their headers; as much again is garbage before it is collected; and the size of the
	// heap at a peak varies. It does not depend on the number of records.
	inFlight = 48 << 20
)

// TestCheckMemory asserts that a Check of many records runs in the memory of one of few:
// of a bucket that is sound, and of one in which every record lacks an entry. The server
// has a process of its own, on files.
//
//	go test -v -run CheckMemory -records 1000000 -timeout 2h .
func TestCheckMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a bucket with many records")
	}
	few, fewBroken := checkHeap(t, fewRecords)
	n := cmp.Or(*manyRecords, 100_000)
	many, manyBroken := checkHeap(t, n)
	for name, peak := range map[string][2]uint64{"sound": {few, many}, "every record lacks an entry": {fewBroken, manyBroken}} {
		if most := peak[0]*3/2 + inFlight; peak[1] > most {
			t.Errorf("%s: the check of %d records takes %d MB, that of %d takes %d MB; at most %d MB", name, n, peak[1]>>20, fewRecords, peak[0]>>20, most>>20)
		}
	}
}

// checkHeap is the most that the objects of the client take during a Check of n records:
// when all is well, and when each lacks an entry.
func checkHeap(t *testing.T, n int) (sound, broken uint64) {
	ctx := context.Background()
	url, stop := startServer(t, benchServer{Dir: t.TempDir()})
	defer stop()
	db, err := natsorm.Open(ctx, natsorm.Config{Bucket: "bench", Servers: []string{url}})
	check(t, err)
	defer db.Close()
	orders, err := natsorm.Define[order](ctx, db)
	check(t, err)
	for filled := 0; filled < n; {
		part := make([]*order, min(20_000, n-filled))
		for j := range part {
			part[j] = orderAt(filled+j, n)
		}
		check(t, orders.BulkCreate(ctx, part))
		filled += len(part)
	}
	run := func(what string) (natsorm.ModelReport, uint64) {
		runtime.GC()
		most := watchHeap()
		began := time.Now()
		report, err := db.Check(ctx)
		took, heap := time.Since(began), most()
		check(t, err)
		m := report.Models[0]
		if m.Records != n || m.Claims != n {
			t.Errorf("%s: %d records and %d claims are counted, of %d", what, m.Records, m.Claims, n)
		}
		t.Logf("%d records, %s: %v, %.1f MB", n, what, took.Round(time.Millisecond), float64(heap)/(1<<20))
		return m, heap
	}
	for range 3 { // the first one is slower, and the fastest one tells most
		m, heap := run("sound")
		if len(m.Problems) > 0 || m.Entries != n {
			t.Errorf("%d problems, %d entries", len(m.Problems), m.Entries)
		}
		sound = max(sound, heap)
	}
	js, err := jetstream.New(db.Conn())
	check(t, err)
	stream, err := js.Stream(ctx, "KV_bench")
	check(t, err)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // without one, nats.go has its own
	defer cancel()
	check(t, stream.Purge(ctx, jetstream.WithPurgeSubject("$KV.bench.order.index.>")))
	m, broken := run("every record lacks an entry")
	if found := m.Counts[natsorm.MissingEntry].Found; found != n || len(m.Problems) != 100 {
		t.Errorf("%d entries are missing, %d are found to be, and %d are told", n, found, len(m.Problems))
	}
	return sound, broken
}
