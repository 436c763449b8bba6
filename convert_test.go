package natsorm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// Two versions of a program: the new one counts in fractions, and knows times.
type meterV1 struct {
	ID      int64  `json:"id" orm:"primaryKey"`
	Name    string `json:"name"`
	Count   int64  `json:"count"`
	Total   uint64 `json:"total"`
	At      string `json:"at,omitempty"`
	Version uint64 `json:"version" orm:"version"`
}

type meterV2 struct {
	ID      int64      `json:"id" orm:"primaryKey"`
	Name    string     `json:"name"`
	Count   float64    `json:"count"`
	Total   float64    `json:"total"`
	At      *time.Time `json:"at,omitempty"`
	Version uint64     `json:"version" orm:"version"`
}

var converting = []natsorm.Alteration{
	natsorm.ConvertColumn("count", natsorm.Float, nil),
	natsorm.ConvertColumn("total", natsorm.Float, nil),
	natsorm.ConvertColumn("at", natsorm.Time, nil),
}

const noon = "2024-01-02T12:00:00+01:00"

// bothKinds runs a test in both layouts, on buckets whose records are written phased, and in batches.
func bothKinds(t *testing.T, test func(t *testing.T, db *natsorm.DB, opts []natsorm.ModelOption)) {
	for name, opts := range map[string][]natsorm.ModelOption{
		"native":    {natsorm.Name("meter")},
		"sequelize": {natsorm.Name("meter"), natsorm.SequelizeLayout()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testbed.Race && name == "sequelize" {
				t.Skip("the other layout takes as long again")
			}
			kinds(t, func(t *testing.T, db *natsorm.DB) { test(t, db, opts) })
		})
	}
}

// While columns are converted, programs of the old and of the new declaration write and read. No
// increment of either is lost.
func TestConvertColumn(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, db *natsorm.DB, opts []natsorm.ModelOption) {
		ctx := within(t)
		n := testsize.Pick(50, 100, 1000)
		old := define[meterV1](t, db, opts...)
		other := define[meterV1](t, another(t, db), opts...)
		newDB := another(t, db)
		all := make([]*meterV1, n)
		for i := range all {
			all[i] = &meterV1{ID: int64(i), Name: fmt.Sprint("m", i), At: noon}
		}
		ok(t, old.BulkCreate(ctx, all))
		var wg sync.WaitGroup
		done := make(chan struct{})
		rounds := make([]int64, 2)
		for w, m := range []*natsorm.Model[meterV1]{old, other} {
			wg.Go(func() {
				for last := false; !last; {
					select {
					case <-done:
						last = true // one more round, after everything
					default:
					}
					for id := range int64(n) {
						testsize.Breathe()
						if _, err := m.Increment(ctx, natsorm.Set{"count": 1, "total": 2}, natsorm.Eq("id", id)); err != nil {
							t.Errorf("an increment: %v", err)
							return
						}
						v, err := m.FindByPK(ctx, id)
						if err != nil || v.At != noon || v.Total != 2*uint64(v.Count) || v.Count < rounds[w] {
							t.Errorf("%+v, %v", v, err)
							return
						}
					}
					rounds[w]++
				}
			})
		}
		var plan natsorm.AlterPlan
		ok(t, newDB.Alter(ctx, "meter", append(converting, natsorm.DryRun(&plan))...))
		for _, c := range plan.Changes {
			if !c.Catalogue || c.Read != n || c.Write != 0 {
				t.Errorf("planned: %+v", c)
			}
		}
		if _, err := natsorm.Define[meterV2](ctx, newDB, opts...); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "ConvertColumn") {
			t.Errorf("the new type before Alter: %v", err)
		}
		reports := map[string]int{}
		ok(t, newDB.Alter(ctx, "meter", append(converting, natsorm.AlterProgress(func(change string, done, total int) {
			if done == n && total == n {
				reports[change]++
			}
		}))...))
		if len(reports) != 3 {
			t.Errorf("progress: %v", reports)
		}
		young := define[meterV2](t, newDB, opts...)
		added := int64(0)
		for range 3 {
			for id := range int64(n) {
				must[int](t)(young.Increment(ctx, natsorm.Set{"count": 1.0, "total": 2}, natsorm.Eq("id", id)))
			}
			added++
		}
		close(done)
		wg.Wait()
		want := float64(rounds[0] + rounds[1] + added)
		for v, err := range young.Each(ctx) {
			ok(t, err)
			if v.Count != want || v.Total != 2*want || v.At == nil || v.At.Format(time.RFC3339) != noon {
				t.Errorf("%+v; there were %v increments", v, want)
			}
		}
		if got := must[int](t)(old.Count(ctx, natsorm.Eq("count", int64(want)), natsorm.Gt("at", "2024-01-02T10:59:59Z"))); got != n {
			t.Errorf("a program of the old type counts %d", got)
		}
		if sum := must[float64](t)(old.Sum(ctx, "count")); sum != want*float64(n) {
			t.Errorf("the sum is %v", sum)
		}
		// A program of the old type can be started again, until its time has ended.
		again := define[meterV1](t, another(t, db), opts...)
		ok(t, again.Save(ctx, &meterV1{ID: 1, Name: "again", Count: 7}))
		ok(t, newDB.Alter(ctx, "meter", natsorm.ForgetType("count")))
		if err := old.Save(ctx, &meterV1{ID: 1}); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "count") {
			t.Errorf("a call of the former type: %v", err)
		}
		if _, err := natsorm.Define[meterV1](ctx, another(t, db), opts...); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "float") {
			t.Errorf("Define of the former type: %v", err)
		}
		if v := must[*meterV2](t)(young.FindByPK(ctx, 1)); v.Count != 7 || v.Name != "again" || v.At != nil {
			t.Errorf("%+v", v)
		}
	})
}

// What one program writes and the other's type does not have is refused when it is written by the
// old one, and when it is read by it; nothing is rounded.
func TestValuesOfOneType(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[meterV1](t, db, natsorm.Name("meter"))
	opened := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "meter"))
	for i := range int64(3) {
		ok(t, old.Create(ctx, &meterV1{ID: i, Name: "a", Count: i, At: noon}))
	}
	pages := []natsorm.Query{natsorm.OrderBy("count", "at"), natsorm.Limit(2)}
	_, cursor, err := old.FindPage(ctx, pages...)
	ok(t, err)
	seen := must[*natsorm.Watcher[meterV1]](t)(old.Watch(ctx))
	defer seen.Stop()
	other := another(t, db)
	ok(t, other.Alter(ctx, "meter", converting...))
	if next := must[[]*meterV1](t)(old.FindAll(ctx, append(pages, natsorm.After(cursor))...)); len(next) != 1 || next[0].ID != 2 {
		t.Errorf("after the cursor there are %+v", next)
	}
	converted := natsorm.ConvertedColumn{Column: "count", From: natsorm.Int, To: natsorm.Float}
	if got := old.Schema().Converted; len(got) != 3 || got[0] != converted {
		t.Errorf("converted: %+v", got)
	}
	young := define[meterV2](t, other, natsorm.Name("meter"))
	at := time.Date(2025, 1, 1, 0, 0, 0, 5, time.UTC)
	ok(t, young.Save(ctx, &meterV2{ID: 1, Name: "b", Count: 5.5, At: &at}))
	ok(t, young.Save(ctx, &meterV2{ID: 2, Name: "b", Count: 1 << 60, Total: 1e3, At: &at}))
	unreadable := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, natsorm.ErrSchema) || errors.Is(err, natsorm.ErrCorrupt) || !strings.Contains(err.Error(), "meter.shard") || !strings.Contains(err.Error(), "column count") ||
			!strings.Contains(err.Error(), "5.5") || !strings.Contains(err.Error(), "declare that") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = old.FindByPK(ctx, 1)
	unreadable("FindByPK", err)
	_, err = opened.FindByPK(ctx, 1)
	unreadable("FindByPK of a Record", err)
	found, err := old.FindAll(ctx, natsorm.OrderBy("id"))
	unreadable("FindAll", err)
	if len(found) != 2 || found[1].Count != 1<<60 || found[1].Total != 1000 || found[1].At != "2025-01-01T00:00:00.000000005Z" {
		t.Errorf("FindAll: %+v", found)
	}
	_, err = old.Increment(ctx, natsorm.Set{"count": 1}, natsorm.Eq("id", 1))
	unreadable("Increment", err)
	streamed := 0
	for v, err := range old.Each(ctx) {
		if streamed++; v == nil {
			unreadable("Each", err)
		}
	}
	if streamed != 3 {
		t.Errorf("%d of 3 records were streamed", streamed)
	}
	if n := must[int](t)(old.Count(ctx, natsorm.Gt("count", 5))); n != 2 {
		t.Errorf("%d are greater", n)
	}
	var change natsorm.Change[meterV1]
	for change = range seen.Changes() {
		if change.After == nil {
			break
		}
	}
	unreadable("Watch", change.Err)
	if r := must[*natsorm.Record](t)(opened.FindByPK(ctx, 2)); (*r)["count"] != int64(1<<60) || (*r)["at"] != "2025-01-01T00:00:00.000000005Z" {
		t.Errorf("%v", *r)
	}
	refused := func(what string, err error, column string) {
		t.Helper()
		var invalid *natsorm.ValidationError
		if !errors.As(err, &invalid) || invalid.Faults[0].Field != column {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("an integer that no float is", old.Create(ctx, &meterV1{ID: 9, Count: 1<<53 + 1}), "count")
	refused("text that is no time", old.Create(ctx, &meterV1{ID: 9, At: "soon"}), "at")
	refused("a Record", opened.Create(ctx, &natsorm.Record{"id": 9, "at": "soon"}), "at")
	_, err = old.Update(ctx, natsorm.Set{"at": "soon"}, natsorm.Eq("id", 2))
	refused("Update", err, "at")
	refused("Transaction", db.Transaction(ctx, func(ctx context.Context) error { return old.Create(ctx, &meterV1{ID: 9, At: "soon"}) }), "at")
	_, err = old.Update(ctx, natsorm.Set{"count": 7.5}, natsorm.Eq("id", 2))
	if !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a fraction, by the old program: %v", err)
	}
	type part struct {
		ID    int64 `json:"id"`
		Count int64 `json:"count"`
	}
	if parts := must[[]part](t)(natsorm.FindAllInto[part](ctx, old, natsorm.Eq("id", 2))); len(parts) != 1 || parts[0].Count != 1<<60 {
		t.Errorf("%+v", parts)
	}
	// The index that could not be kept is declared again.
	type indexed struct {
		ID    int64   `json:"id" orm:"primaryKey"`
		Count float64 `json:"count" orm:"index"`
	}
	define[indexed](t, another(t, db), natsorm.Name("meter"))
	ok(t, old.Create(ctx, &meterV1{ID: 4, Count: 1_000_000}))
	ok(t, young.Create(ctx, &meterV2{ID: 5, Count: 1e6}))
	for _, n := range []int{must[int](t)(old.Count(ctx, natsorm.Eq("count", 1_000_000))), must[int](t)(young.Count(ctx, natsorm.Eq("count", 1e6)))} {
		if n != 2 {
			t.Errorf("%d have the value", n)
		}
	}
	// And a name that changes has its types.
	ok(t, other.Alter(ctx, "meter", natsorm.RenameColumn("count", "number")))
	ok(t, old.Create(ctx, &meterV1{ID: 6, Count: 3}))
	if v := must[*meterV1](t)(old.FindByPK(ctx, 6)); v.Count != 3 {
		t.Errorf("%+v", v)
	}
	_, err = old.FindByPK(ctx, 1)
	unreadable("under another name", err)
	refused("under another name", old.Create(ctx, &meterV1{ID: 9, Count: 1<<53 + 1}), "count")
	ok(t, other.Alter(ctx, "meter", natsorm.DropColumn("at"), natsorm.ForgetType("number"), natsorm.ForgetType("number")))
	if _, err := old.Count(ctx); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "column count") {
		t.Errorf("a former type that has ended, under a former name: %v", err)
	}
}

// A value that does not fit the new type ends the conversion, and is named. Nothing is lost: until it is
// mended, or given up, the column has the type that it had, and what is written fits both.
func TestConvertColumnThatDoesNotFit(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, db *natsorm.DB) {
		ctx := within(t)
		old := define[meterV1](t, db, natsorm.Name("meter"))
		for i := range int64(20) {
			ok(t, old.Create(ctx, &meterV1{ID: i, Name: "a", At: noon}))
		}
		ok(t, old.Create(ctx, &meterV1{ID: 77, Name: "a", At: "soon"}))
		other := another(t, db)
		convert := natsorm.ConvertColumn("at", natsorm.Time, nil)
		fails := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "record 77") || !strings.Contains(err.Error(), `"soon"`) || !strings.Contains(err.Error(), "at:") {
				t.Errorf("%s: %v", what, err)
			}
		}
		fails("a dry run", other.Alter(ctx, "meter", convert, natsorm.DryRun(new(natsorm.AlterPlan))))
		ok(t, old.Create(ctx, &meterV1{ID: 78, Name: "a", At: "later"})) // which has written nothing
		must[int](t)(old.Update(ctx, natsorm.Set{"at": noon}, natsorm.Eq("id", 78)))
		fails("Alter", other.Alter(ctx, "meter", convert))
		check := func() {
			t.Helper()
			if v := must[*meterV1](t)(old.FindOne(ctx, natsorm.Eq("at", "soon"))); v.ID != 77 {
				t.Errorf("%+v", v)
			}
			if _, err := natsorm.Define[meterV2](ctx, another(t, db), natsorm.Name("meter")); !errors.Is(err, natsorm.ErrSchema) {
				t.Errorf("the new type: %v", err)
			}
		}
		check()
		again := define[meterV1](t, another(t, db), natsorm.Name("meter"))
		for _, m := range []*natsorm.Model[meterV1]{old, again} {
			if err := m.Create(ctx, &meterV1{ID: 99, At: "never"}); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "converting") {
				t.Errorf("what does not fit: %v", err)
			}
			if _, err := m.Update(ctx, natsorm.Set{"at": "never"}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrInvalid) {
				t.Errorf("what does not fit: %v", err)
			}
		}
		for what, change := range map[string]natsorm.Alteration{"drop": natsorm.DropColumn("at"), "rename": natsorm.RenameColumn("at", "when"), "forget": natsorm.ForgetType("at")} {
			if err := other.Alter(ctx, "meter", change); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "natsorm.Time, nil") {
				t.Errorf("%s meanwhile: %v", what, err)
			}
		}
		type indexed struct {
			ID int64  `json:"id" orm:"primaryKey"`
			At string `json:"at" orm:"index"`
		}
		if _, err := natsorm.Define[indexed](ctx, another(t, db), natsorm.Name("meter")); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "converted") {
			t.Errorf("an index meanwhile: %v", err)
		}
		// Given up, it is as before.
		ok(t, other.Alter(ctx, "meter", natsorm.ConvertColumn("at", natsorm.String, nil)))
		ok(t, old.Create(ctx, &meterV1{ID: 99, At: "never"}))
		check()
		if err := other.Alter(ctx, "meter", natsorm.ForgetType("at")); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("a column that was not converted: %v", err)
		}
		must[int](t)(old.Destroy(ctx, natsorm.Eq("id", 99)))
		fails("again", other.Alter(ctx, "meter", convert))
		ok(t, other.Alter(ctx, "meter", natsorm.Rewrite(func(r natsorm.Record) error {
			if r["at"] == "soon" {
				r["at"] = noon
			}
			return nil
		}), convert))
		young := define[meterTimes](t, another(t, db), natsorm.Name("meter"))
		if n := must[int](t)(young.Count(ctx, natsorm.Eq("at", must[time.Time](t)(time.Parse(time.RFC3339, noon))))); n != 22 {
			t.Errorf("%d have the time", n)
		}
	})
}

// Wherever a conversion is broken off, records are right for everybody, and another process
// completes it. Its document is one that an older natsorm refuses, and models without are as before.
func TestConvertColumnBrokenOff(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	for at := range 4 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			old := define[meterV1](t, db, natsorm.Name("meter"))
			const n = 2500
			all := make([]*meterV1, n)
			for i := range all {
				all[i] = &meterV1{ID: int64(i), Count: int64(i), At: noon}
			}
			ok(t, old.BulkCreate(ctx, all))
			short, cancel := context.WithCancel(ctx)
			defer cancel()
			calls := 0
			err := db.Alter(short, "meter", converting[0], natsorm.AlterProgress(func(string, int, int) {
				if calls++; calls == at+1 {
					cancel()
				}
			}))
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			for _, id := range []int64{0, n / 2, n - 1} {
				v := must[*meterV1](t)(old.FindByPK(ctx, id))
				if v.Count != id {
					t.Errorf("%+v", v)
				}
				ok(t, old.Save(ctx, v))
			}
			ok(t, another(t, db).Alter(ctx, "meter", converting[0]))
			young := define[meterV2half](t, another(t, db), natsorm.Name("meter"))
			if sum := must[float64](t)(young.Sum(ctx, "count")); sum != n*(n-1)/2 {
				t.Errorf("the sum is %v", sum)
			}
			var document struct{ Format int }
			ok(t, json.Unmarshal(must[jetstream.KeyValueEntry](t)(db.KV().Get(ctx, "_schema.meter")).Value(), &document))
			if document.Format != 4 {
				t.Errorf("the document has format %d", document.Format)
			}
		})
	}
}

// meterTimes is of a time when only the time was converted, and meterV2half when only the count was.
type meterTimes struct {
	ID   int64      `json:"id" orm:"primaryKey"`
	Name string     `json:"name"`
	At   *time.Time `json:"at"`
}

type meterV2half struct {
	ID    int64   `json:"id" orm:"primaryKey"`
	Count float64 `json:"count"`
	At    string  `json:"at"`
}

// A program converts a column and stands still, in the wait for others or in the middle of its pass. Another
// one gives it up, writes what does not fit, and begins again: the first does not end what it has not looked at.
func TestConvertColumnThatStandsStill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("several changes of a schema, with their waits")
	}
	for _, at := range []int{0, 1000, 2500} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			old := define[meterV1](t, db, natsorm.Name("meter"))
			const n = 2500
			all := make([]*meterV1, n)
			for i := range all {
				all[i] = &meterV1{ID: int64(i), At: noon}
			}
			ok(t, old.BulkCreate(ctx, all))
			second := another(t, db)
			convert := natsorm.ConvertColumn("at", natsorm.Time, nil)
			stood := false
			err := db.Alter(ctx, "meter", convert, natsorm.AlterProgress(func(_ string, done, _ int) {
				if stood || done != at {
					return
				}
				stood = true
				ok(t, second.Alter(ctx, "meter", natsorm.ConvertColumn("at", natsorm.String, nil)))
				ok(t, old.Save(ctx, &meterV1{ID: 5, At: "soon"}))
				if err := second.Alter(ctx, "meter", convert); !errors.Is(err, natsorm.ErrInvalid) {
					t.Errorf("the other one: %v", err)
				}
			}))
			if at > 0 && !errors.Is(err, natsorm.ErrConflict) || at == 0 && !errors.Is(err, natsorm.ErrInvalid) || !stood {
				t.Errorf("the first: %v", err)
			}
			if v := must[*meterV1](t)(old.FindByPK(ctx, 5)); v.At != "soon" {
				t.Errorf("%+v", v)
			}
			ok(t, old.Save(ctx, &meterV1{ID: 5, At: noon}))
			ok(t, second.Alter(ctx, "meter", convert))
			ok(t, db.Alter(ctx, "meter", convert)) // which is done
		})
	}
}

// A write of a program that has not heard of the conversion comes late: one that does not fit is taken back
// before anybody is told that it is done, and one that fits stays.
func TestLateWritesOfAConversion(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("waits of changes of a schema")
	}
	for name, cfg := range map[string]embedded.Config{"in memory": {Port: -1}, "in files": {Port: -1, Dir: "x", Sync: embedded.SyncInterval}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if cfg.Dir != "" {
				cfg.Dir = t.TempDir()
			}
			ctx := within(t)
			srv := serve(t, cfg)
			db := natsormtest.Open(t, srv, "test")
			proxy := testbed.StartLossyProxy(t, srv.URL())
			nc := must[*nats.Conn](t)(nats.Connect(proxy.URL()))
			t.Cleanup(nc.Close)
			slow := must[*natsorm.DB](t)(natsorm.New(ctx, nc, natsorm.Config{Bucket: db.KV().Bucket()}))
			t.Cleanup(func() { slow.Close() })
			old := define[meterV1](t, slow, natsorm.Name("meter"))
			for i := range int64(3) {
				ok(t, old.Create(ctx, &meterV1{ID: i, Name: "a", At: noon}))
			}
			proxy.Delay(6 * time.Second)
			before := nc.Stats().OutMsgs
			var wg sync.WaitGroup
			errsOf := make([]error, 4)
			for i, v := range []*meterV1{{ID: 1, Name: "b", At: "soon"}, {ID: 2, Name: "b", At: noon}} {
				wg.Go(func() { errsOf[i] = old.Save(ctx, v) })
			}
			for i, v := range []*meterV1{{ID: 10, At: "soon"}, {ID: 11, At: noon}} {
				wg.Go(func() { errsOf[2+i] = old.Create(ctx, v) })
			}
			ok(t, testbed.Until(ctx, func(context.Context) error {
				if got := nc.Stats().OutMsgs - before; got < 4 {
					return fmt.Errorf("%d messages", got)
				}
				return nil
			}))
			ok(t, another(t, db).Alter(ctx, "meter", natsorm.ConvertColumn("at", natsorm.Time, nil)))
			proxy.Delay(0)
			wg.Wait()
			for i, err := range errsOf {
				if i%2 == 0 && !errors.Is(err, natsorm.ErrInvalid) || i%2 == 1 && err != nil {
					t.Errorf("write %d: %v", i, err)
				}
			}
			m := define[meterTimes](t, another(t, db), natsorm.Name("meter"))
			names := map[int64]string{}
			for _, v := range must[[]*meterTimes](t)(m.FindAll(ctx)) {
				names[v.ID] = v.Name
			}
			if want := map[int64]string{0: "a", 1: "a", 2: "b", 11: ""}; fmt.Sprint(names) != fmt.Sprint(want) {
				t.Errorf("there are %v, not %v", names, want)
			}
		})
	}
}

// What cannot be converted is refused, and says what to do.
func TestConvertColumnRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	type thing struct {
		ID      int64     `json:"id" orm:"primaryKey"`
		Name    string    `json:"name" orm:"index"`
		Size    int64     `json:"size"`
		Score   float64   `json:"score"`
		Old     int64     `json:"old"`
		Created time.Time `json:"created" orm:"createdAt"`
	}
	m := define[thing](t, db)
	ok(t, m.Create(ctx, &thing{ID: 1, Name: "n", Size: 5}))
	ok(t, db.Alter(ctx, "thing", natsorm.RenameColumn("old", "older")))
	half := func(x any) (any, error) { return float64(x.(int64)) / 2, nil }
	for name, c := range map[string]struct {
		model  string
		change natsorm.Alteration
		want   error
		text   string
	}{
		"of nobody":              {"nobody", natsorm.ConvertColumn("size", natsorm.Float, nil), natsorm.ErrNotFound, "nobody"},
		"no column":              {"thing", natsorm.ConvertColumn("nothing", natsorm.Float, nil), natsorm.ErrInvalid, "the columns of thing are"},
		"the key":                {"thing", natsorm.ConvertColumn("id", natsorm.Float, nil), natsorm.ErrInvalid, "primary key"},
		"a role":                 {"thing", natsorm.ConvertColumn("created", natsorm.String, nil), natsorm.ErrInvalid, "created"},
		"an index":               {"thing", natsorm.ConvertColumn("name", natsorm.Time, nil), natsorm.ErrInvalid, "DropIndex"},
		"no type":                {"thing", natsorm.ConvertColumn("size", "number", nil), natsorm.ErrInvalid, "the types are"},
		"a narrower type":        {"thing", natsorm.ConvertColumn("score", natsorm.Int, nil), natsorm.ErrInvalid, "Rewrite"},
		"a type not so":          {"thing", natsorm.ConvertColumn("size", natsorm.String, nil), natsorm.ErrInvalid, "float or decimal"},
		"a function":             {"thing", natsorm.ConvertColumn("size", natsorm.Float, half), natsorm.ErrInvalid, "fill it with Rewrite, then DropColumn this one"},
		"a former name":          {"thing", natsorm.ConvertColumn("old", natsorm.Float, nil), natsorm.ErrInvalid, "older"},
		"forget what is no type": {"thing", natsorm.ForgetType("size"), natsorm.ErrInvalid, "converted"},
	} {
		for _, dry := range []bool{true, false} {
			changes := []natsorm.Alteration{c.change}
			if dry {
				changes = append(changes, natsorm.DryRun(new(natsorm.AlterPlan)))
			}
			if err := db.Alter(ctx, c.model, changes...); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// Two programs convert the same column differently, at once and one after the other.
	var plan natsorm.AlterPlan
	other := another(t, db)
	ok(t, db.Alter(ctx, "thing", natsorm.ConvertColumn("size", natsorm.Float, nil), natsorm.AlterProgress(func(_ string, done, _ int) {
		if err := other.Alter(ctx, "thing", natsorm.ConvertColumn("size", natsorm.Decimal, nil)); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "size") {
			t.Errorf("at once, after %d: %v", done, err)
		}
	})))
	if err := other.Alter(ctx, "thing", natsorm.ConvertColumn("size", natsorm.Decimal, nil)); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "float") {
		t.Errorf("afterwards: %v", err)
	}
	ok(t, other.Alter(ctx, "thing", natsorm.ConvertColumn("size", natsorm.Float, nil), natsorm.ConvertColumn("older", natsorm.Decimal, nil), natsorm.DryRun(&plan)))
	if plan.Changes[0].Catalogue || !plan.Changes[1].Catalogue || plan.Changes[1].Read != 1 {
		t.Errorf("planned: %+v", plan)
	}
	ok(t, other.Alter(ctx, "thing", natsorm.ConvertColumn("older", natsorm.Decimal, nil)))
	ok(t, m.Save(ctx, &thing{ID: 1, Name: "n", Old: 1<<62 + 1, Created: time.Now()}))
	if v := must[*thing](t)(m.FindByPK(ctx, 1)); v.Old != 1<<62+1 {
		t.Errorf("%+v", v)
	}
	// A catalogue of a newer format.
	must[uint64](t)(db.KV().Put(ctx, "_schema.future", []byte(`{"format":99,"name":"future","layout":"native","shards":1,"columns":[{"name":"id","type":"int","primaryKey":true},{"name":"x","type":"int"}]}`)))
	if err := db.Alter(ctx, "future", natsorm.ConvertColumn("x", natsorm.Float, nil)); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("a newer catalogue: %v", err)
	}
	ok(t, db.KV().Delete(ctx, "_schema.future"))
}

// A stream that began before a conversion goes on through it. Only a value that its program's type does not
// have is an error, of that record.
func TestEachDuringAConversion(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("the waits of a change")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	old := define[meterV1](t, db, natsorm.Name("meter"))
	const n = 3000
	all := make([]*meterV1, n)
	for i := range all {
		all[i] = &meterV1{ID: int64(i), Name: "a", Count: 5}
	}
	ok(t, old.BulkCreate(ctx, all))
	other := another(t, db)
	seen, refused := 0, 0
	for v, err := range old.Each(ctx, natsorm.Eq("name", "a")) {
		switch {
		case errors.Is(err, natsorm.ErrSchema) && strings.Contains(err.Error(), "column count") && strings.Contains(err.Error(), "5.5"):
			refused++
		case err != nil || v.Count != 5:
			t.Fatalf("%+v, %v", v, err)
		}
		if seen++; seen == 1 {
			ok(t, other.Alter(ctx, "meter", converting[0]))
			young := define[meterV2half](t, other, natsorm.Name("meter"))
			if changed := must[int](t)(young.Update(ctx, natsorm.Set{"count": 5.5}, natsorm.Gte("id", n-500))); changed != 500 {
				t.Errorf("%d were changed", changed)
			}
		}
	}
	if seen != n || refused == 0 || refused > 500 {
		t.Errorf("%d of %d were seen, and %d refused", seen, n, refused)
	}
}
