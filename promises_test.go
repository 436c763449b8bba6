package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// A time is stored as the instant that it is, or refused.
func TestTimesAreStoredExactly(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	type event struct {
		ID int64     `json:"id" orm:"primaryKey"`
		At time.Time `json:"at" orm:"index"`
	}
	events := define[event](t, natsormtest.New(t))
	amsterdam := time.FixedZone("LMT", 19*60+32) // until 1937
	for i, at := range []time.Time{
		time.Date(1900, 1, 1, 12, 0, 0, 0, amsterdam),
		time.Date(1900, 1, 1, 12, 0, 0, 123, time.FixedZone("", -19*60-32)),
		time.Date(2024, 1, 1, 12, 0, 0, 0, time.FixedZone("", 30*60*60)),
		time.Date(1, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)), // the year 0 in UTC
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2024, 1, 1, 12, 0, 0, 0, time.FixedZone("", 5*3600+1800)),
	} {
		ok(t, events.Create(ctx, &event{ID: int64(i), At: at}))
		found := must[*event](t)(events.FindOne(ctx, natsorm.Eq("at", at)))
		if found.ID != int64(i) || !found.At.Equal(at) {
			t.Errorf("%v is %v when it is read", at, found.At)
		}
		_, _, err := events.FindPage(ctx, natsorm.OrderBy("at"), natsorm.Limit(1))
		ok(t, err)
	}
	for _, at := range []time.Time{
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)), // the year 10000 in UTC
		time.Date(0, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)),        // the year -1
		time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if err := events.Create(ctx, &event{ID: 100, At: at}); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "0 to 9999") {
			t.Errorf("%v: %v", at, err)
		}
	}
}

// fragile panics for some values.
type fragile string

func (f fragile) MarshalJSON() ([]byte, error) {
	if f == "write" {
		panic("it breaks")
	}
	return fmt.Appendf(nil, "%q", string(f)), nil
}

func (f *fragile) UnmarshalJSON(b []byte) error {
	if string(b) == `"read"` {
		panic("it breaks")
	}
	*f = fragile(strings.Trim(string(b), `"`))
	return nil
}

// A panic in a method of a record's field becomes an error that names the record, also
// where natsorm's own goroutines call it. Other records are not affected.
func TestPanicsInMethodsOfRecords(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	type item struct {
		ID int64   `json:"id" orm:"primaryKey"`
		F  fragile `json:"f"`
	}
	db := natsormtest.New(t)
	items := define[item](t, db)
	named := func(what string, err error, kind error, names ...string) {
		t.Helper()
		for _, name := range append(names, "item", "panics", "it breaks") {
			if !errors.Is(err, kind) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v, without %q", what, err, name)
				return
			}
		}
	}
	named("Create", items.Create(ctx, &item{ID: 1, F: "write"}), natsorm.ErrInvalid)
	var bulk *natsorm.BulkError
	err := items.BulkCreate(ctx, []*item{{ID: 1, F: "a"}, {ID: 2, F: "write"}, {ID: 3, F: "b"}})
	named("BulkCreate", err, natsorm.ErrInvalid)
	if !errors.As(err, &bulk) || len(bulk.Faults) != 1 || bulk.Faults[0].Index != 1 {
		t.Errorf("BulkCreate: %v", err)
	}
	w := must[*natsorm.Watcher[item]](t)(items.Watch(ctx))
	defer w.Stop()
	ok(t, items.Create(ctx, &item{ID: 4, F: "read"}))
	named("Watch", (<-w.Changes()).Err, natsorm.ErrCorrupt, "item.shard_4.4")
	_, err = items.FindByPK(ctx, 4)
	named("FindByPK", err, natsorm.ErrCorrupt, "item.shard_4.4")
	_, err = items.FindAll(ctx)
	named("FindAll", err, natsorm.ErrCorrupt, "item.shard_4.4")
	found := 0
	for v, err := range items.Each(ctx) {
		if err != nil {
			named("Each", err, natsorm.ErrCorrupt, "item.shard_4.4")
			continue
		}
		if found++; v.F == "" {
			t.Errorf("found %+v", v)
		}
	}
	if found != 2 {
		t.Errorf("%d others are found", found)
	}
	breaks := fragile("write")
	_, err = items.Update(ctx, natsorm.Set{"f": breaks}, natsorm.All())
	named("Update", err, natsorm.ErrInvalid)
	_, err = items.FindAll(ctx, natsorm.Eq("f", breaks))
	named("a condition", err, natsorm.ErrInvalid)
	_, err = items.FindByPK(ctx, breaks)
	named("a key", err, natsorm.ErrInvalid)
	must[int](t)(items.Destroy(ctx, natsorm.Eq("id", 4)))
	if change := <-w.Changes(); change.Op != natsorm.Deleted {
		t.Errorf("the watch ended: %v, %v", change, w.Err())
	}
	records := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "item"))
	err = records.BulkCreate(ctx, []*natsorm.Record{{"id": 5, "f": breaks}, {"id": 6, "f": "b"}})
	named("BulkCreate of Records", err, natsorm.ErrInvalid)
	must[int](t)(items.Destroy(ctx, natsorm.Eq("id", 6)))
}

// Base is embedded by a pointer.
type Base struct {
	ID        int64     `json:"id" orm:"primaryKey,auto"`
	CreatedAt time.Time `json:"createdAt" orm:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt" orm:"updatedAt"`
	Version   uint64    `json:"-" orm:"version"`
}

// A write that fails leaves the caller's record as it was, also where its fields are in a
// struct that is embedded by a pointer.
func TestFailedWritesLeaveTheRecord(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	type item struct {
		*Base
		Code string `json:"code" orm:"unique"`
	}
	items := define[item](t, natsormtest.New(t))
	first := &item{Base: &Base{}, Code: "a"}
	ok(t, items.Create(ctx, first))
	if first.ID == 0 || first.CreatedAt.IsZero() || first.Version == 0 {
		t.Errorf("created as %+v", *first.Base)
	}
	second := &item{Base: &Base{}, Code: "a"}
	if err := items.Create(ctx, second); !errors.Is(err, natsorm.ErrUnique) || *second.Base != (Base{}) {
		t.Errorf("%v left %+v", err, *second.Base)
	}
	stale := *first.Base
	must[int](t)(items.Update(ctx, natsorm.Set{"code": "b"}, natsorm.Eq("id", first.ID)))
	if err := items.Save(ctx, first); !errors.Is(err, natsorm.ErrConflict) || *first.Base != stale {
		t.Errorf("%v left %+v, which was %+v", err, *first.Base, stale)
	}
}

// A nil []byte is null, and is found as that.
func TestNilBytesAreFound(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	type blob struct {
		ID   int64  `json:"id" orm:"primaryKey"`
		Data []byte `json:"data" orm:"index"`
	}
	type hash []byte
	blobs := define[blob](t, natsormtest.New(t))
	ok(t, blobs.BulkCreate(ctx, []*blob{{ID: 1}, {ID: 2, Data: []byte{}}, {ID: 3, Data: []byte("x")}}))
	for id, data := range map[int64][]byte{1: nil, 2: {}, 3: []byte("x")} {
		for _, c := range []natsorm.Condition{natsorm.Eq("data", data), natsorm.In("data", data), natsorm.Where{"data": data}, natsorm.Eq("data", hash(data))} {
			if found := must[[]*blob](t)(blobs.FindAll(ctx, c)); len(found) != 1 || found[0].ID != id {
				t.Errorf("%+v finds %d", c, len(found))
			}
		}
	}
}

// Letters that have more than two cases are the same to ILike in all of them.
func TestILikeFolds(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	users := define[user](t, natsormtest.New(t))
	for i, name := range []string{"ΟΔΟΣ", "οδος", "οδοσ", "Straſſe", "STRASSE", "K", "k", "Ǆ", "ǆ"} {
		ok(t, users.Create(ctx, &user{ID: int64(i), Name: name, Email: fmt.Sprint(i)}))
	}
	for pattern, want := range map[string]int{"οδός": 0, "ΟΔΟΣ": 3, "%ς": 3, "strasse": 2, "straſſe": 2, "k": 2, "\u212a": 2, "ǅ": 2} {
		if n := must[int](t)(users.Count(ctx, natsorm.ILike("name", pattern))); n != want {
			t.Errorf("%s: %d are found, not %d", pattern, n, want)
		}
	}
}

// A panic that the function of a transaction recovers from does not end the transaction.
func TestPanicInsideEachInATransaction(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := define[user](t, db)
	ok(t, users.BulkCreate(ctx, []*user{{ID: 1, Email: "1"}, {ID: 2, Email: "2"}}))
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		func() {
			defer func() { _ = recover() }()
			for range users.Each(ctx) {
				panic("in the loop")
			}
		}()
		return users.Create(ctx, &user{ID: 3, Email: "3"})
	}))
	if n := must[int](t)(users.Count(ctx)); n != 3 {
		t.Errorf("%d records", n)
	}
}

// A watch that nobody reads holds a bounded number of bytes, however large the records
// are. It is not parallel, because it looks at the memory of the process.
func TestAWatchThatIsNotReadHoldsLittle(t *testing.T) {
	ctx := within(t)
	type page struct {
		ID   int64  `json:"id" orm:"primaryKey"`
		Text string `json:"text"`
	}
	db := natsormtest.New(t)
	pages := define[page](t, db)
	const records, size = 10, 500_000
	updates := testsize.Pick(100, 200, 2000)
	text := func(i int) string { return strings.Repeat(fmt.Sprint(i%10), size) }
	for i := range records {
		ok(t, pages.Create(ctx, &page{ID: int64(i), Text: text(i)}))
	}
	w := must[*natsorm.Watcher[page]](t)(pages.Watch(ctx))
	defer w.Stop()
	held := func() uint64 {
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		return mem.HeapAlloc
	}
	before := held()
	for i := range updates {
		ok(t, pages.Save(ctx, &page{ID: int64(i % records), Text: text(i + i/records + 1)}))
	}
	after := held()
	// The watch reads ahead by watchBytes and by two requests, and holds the records.
	if most := uint64(40 << 20); after > before+most {
		t.Errorf("it holds %d MB more, after %d MB were written", (after-before)>>20, updates*size>>20)
	}
	seen := map[int64]string{}
	for len(seen) < records || seen[int64((updates-1)%records)] != text(updates-1+(updates-1)/records+1) {
		c, open := <-w.Changes()
		if !open {
			t.Fatal(w.Err())
		}
		seen[c.After.ID] = c.After.Text
	}
}

// startOfACluster says after how long since began, by raw nats.go, servers that start have got so far.
type startOfACluster struct {
	placed time.Duration // they have taken on a stream of three replicas
	made   time.Duration // they have taken on the stream of the bucket
	kept   time.Duration // that one has taken a message, and has not been slow to take one since
}

// watchStart watches until natsorm is done.
func watchStart(t *testing.T, ctx context.Context, urls, bucket string, began time.Time, done <-chan struct{}) (seen startOfACluster) {
	nc, err := nats.Connect(urls, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Error(err)
		return seen
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Error(err)
		return seen
	}
	raw := "raw-" + bucket
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		_ = testbed.Until(ctx, func(ctx context.Context) error {
			_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: raw, Replicas: 3, Storage: jetstream.MemoryStorage})
			return err
		})
	})
	has := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			names := js.StreamNames(ctx)
			for got := range names.Name() {
				if got == name {
					return nil
				}
			}
			return fmt.Errorf("there is no stream %s: %w", name, names.Err())
		}
	}
	put := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "$KV."+bucket+".raw", nil)
		return err
	}
	for _, step := range []struct {
		at  *time.Duration
		ask func(context.Context) error
	}{{&seen.placed, has(raw)}, {&seen.made, has("KV_" + bucket)}, {&seen.kept, put}} {
		if err := testbed.Until(ctx, step.ask); err != nil {
			t.Error(err)
		}
		*step.at = time.Since(began)
	}
	for { // its leader may be lost again, when the last server joins
		select {
		case <-done:
			return seen
		case <-time.After(testbed.Look):
		}
		asked := time.Now()
		if err := testbed.Until(ctx, put); err != nil {
			t.Error(err)
		}
		if gap := time.Since(asked); gap > 500*time.Millisecond {
			seen.kept = time.Since(began)
			t.Logf("%s took no message for %v until %v", bucket, gap, seen.kept)
		}
	}
}

// A program that starts together with the servers of its cluster gets its bucket when they
// have found each other.
func TestOpenWhileAClusterStarts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	c := testbed.StartCluster(t)
	seed := rand.Uint64()
	t.Logf("servers start by seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for run := range testsize.Pick(0, 2, 20) {
		for _, n := range c.Nodes {
			ok(t, n.Kill())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var wg sync.WaitGroup
		latest := time.Duration(0)
		for _, n := range c.Nodes {
			after := time.Duration(random.Int64N(int64(3 * time.Second)))
			latest = max(latest, after)
			wg.Go(func() {
				if err := testbed.Wait(ctx, after); err != nil {
					t.Error(err)
					return
				}
				if err := n.Start(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		began := time.Now()
		var urls []string
		for _, addr := range c.Addrs() {
			urls = append(urls, "nats://"+addr)
		}
		bucket := fmt.Sprint("b", run)
		start, done := make(chan startOfACluster, 1), make(chan struct{})
		wg.Go(func() { start <- watchStart(t, ctx, strings.Join(urls, ","), bucket, began, done) })
		var opened, defined time.Duration
		waits := ctx
		if run%2 == 1 { // as long as it takes
			waits = context.WithoutCancel(ctx)
		}
		db, err := natsorm.Open(waits, natsorm.Config{Servers: urls, Bucket: bucket, Replicas: 3, WaitForServer: true})
		if opened = time.Since(began); err == nil {
			var users *natsorm.Model[user]
			users, err = natsorm.Define[user](ctx, db)
			if defined = time.Since(began); err == nil {
				err = users.Create(ctx, &user{ID: 1})
			}
			db.Close()
		}
		// The servers elect a leader of JetStream, which takes streams on when it knows enough servers,
		// and then one of each stream. How long that takes is theirs.
		const soon = 5 * time.Second
		took := time.Since(began)
		close(done)
		seen := <-start
		t.Logf("run %d: opened after %v, defined after %v, written and closed after %v; the last server started after %v; %+v", run, opened, defined, took, latest, seen)
		if err != nil || seen.made > seen.placed+soon || took > seen.kept+soon {
			t.Errorf("run %d took too long: %v", run, err)
		}
		wg.Wait()
		cancel()
	}
}
