package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// items fills a model without indexes.
func items(t *testing.T, db *natsorm.DB, n int, email func(i int) string) *natsorm.Model[builtItem] {
	t.Helper()
	m := define[builtItem](t, db)
	all := make([]*builtItem, n)
	for i := range all {
		all[i] = &builtItem{ID: int64(i), Name: fmt.Sprint("n", i%7), Email: email(i), Tags: []string{"all", fmt.Sprint("t", i%10)}}
	}
	ok(t, m.BulkCreate(within(t), all))
	return m
}

func different(i int) string { return fmt.Sprint("e", i) }

// A build takes no more records in a second than it may, and hardly fewer.
func TestBuildRate(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("works for two seconds")
	}
	db := natsormtest.New(t)
	const records, rate = 3000, 1500
	items(t, db, records, different)
	var first, last time.Time
	begun := -1
	_, err := natsorm.Define[builtItem](within(t), db, natsorm.Index("name"), natsorm.BuildRate(rate), natsorm.BuildProgress(func(done, total int) {
		if total != records {
			t.Errorf("%d of %d", done, total)
		}
		if first.IsZero() {
			first = time.Now()
		}
		last, begun = time.Now(), done
	}))
	ok(t, err)
	if begun != records {
		t.Errorf("the progress ends with %d", begun)
	}
	// The last round begins one round before the rate allows all, and as much may be made up for as
	// was missed in a moment. How exactly a rate is kept, a test of package building says.
	const least = time.Second * (records - rate/20 - rate/5) / rate
	if took := last.Sub(first); took < least {
		t.Errorf("%d records took %v, at %d in a second", records, took, rate)
	}
	if _, err := natsorm.Define[builtItem](within(t), db, natsorm.Index("email"), natsorm.BuildRate(-1)); !errors.Is(err, natsorm.ErrSchema) {
		t.Errorf("a negative rate: %v", err)
	}
}

// A build ends beside writers that create records faster than it may take them: theirs have entries.
func TestBuildBesideFasterWriters(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	const records, rate, writers = 60, 60, 4
	m := items(t, db, records, different)
	ctx, cancel := context.WithTimeout(within(t), time.Minute)
	defer cancel()
	var next atomic.Int64
	next.Store(records)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				testsize.Breathe()
				id := next.Add(1)
				if err := m.Create(ctx, &builtItem{ID: id, Name: "late", Email: different(int(id))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	named, err := natsorm.Define[builtItem](ctx, db, natsorm.Index("name"), natsorm.BuildRate(rate))
	close(stop)
	wg.Wait()
	ok(t, err)
	if n, late := must[int](t)(named.Count(ctx, natsorm.Eq("name", "late"))), int(next.Load())-records; n != late {
		t.Errorf("%d of %d are found", n, late)
	}
}

// While an index is built, others see how far it has come, and can pause it.
func TestBuildIsSeenAndPaused(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	const records = 400
	items(t, db, records, different)
	for _, err := range []error{db.PauseBuild(within(t), "builtItem"), db.PauseBuild(within(t), "nobody"), db.ResumeBuild(within(t), "nobody")} {
		if !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("nothing is being built: %v", err)
		}
	}
	ok(t, db.ResumeBuild(within(t), "builtItem"))
	err := db.Transaction(within(t), func(ctx context.Context) error { return db.PauseBuild(ctx, "builtItem") })
	if !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("in a transaction: %v", err)
	}

	building, built := make(chan struct{}), make(chan error, 1)
	began := false
	go func() {
		_, err := natsorm.Define[builtItem](within(t), db, natsorm.Index("name"), natsorm.Ordered("email"), natsorm.Index("tags"), natsorm.BuildRate(400), natsorm.BuildProgress(func(done, _ int) {
			if done > 0 && !began {
				began = true
				close(building)
			}
		}))
		built <- err
	}()
	<-building
	other := must[*natsorm.DB](t)(natsorm.New(within(t), db.Conn(), natsorm.Config{Bucket: "test"}))
	defer other.Close()
	ok(t, other.PauseBuild(within(t), "builtItem"))
	index := func(s natsorm.Schema) natsorm.IndexSchema {
		i := slices.IndexFunc(s.Indexes, func(x natsorm.IndexSchema) bool { return x.Columns[0] == "name" })
		if i < 0 {
			t.Fatalf("%+v", s)
		}
		return s.Indexes[i]
	}
	paused := func(x natsorm.IndexSchema) error {
		if x.State != natsorm.IndexBuilding || !x.Paused {
			return fmt.Errorf("%+v", x)
		}
		return nil
	}
	all := must[[]natsorm.Schema](t)(other.Models(within(t)))
	if err := paused(index(all[0])); err != nil {
		t.Error(err)
	}
	m := must[*natsorm.Model[natsorm.Record]](t)(other.Model(within(t), "builtItem"))
	if err := paused(index(m.Schema())); err != nil {
		t.Error(err)
	}
	if n := must[int](t)(m.Count(within(t), natsorm.Eq("name", "n1"))); n != 57 {
		t.Errorf("%d are counted without the index", n)
	}
	short, cancel := context.WithTimeout(within(t), 300*time.Millisecond)
	defer cancel()
	if _, err := natsorm.Define[builtItem](short, other, natsorm.Index("name"), natsorm.Ordered("email"), natsorm.Index("tags")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a Define beside a paused build: %v", err)
	}
	ok(t, other.ResumeBuild(within(t), "builtItem"))
	ok(t, testbed.Until(within(t), func(ctx context.Context) error { // the handle looks while it is used
		if _, err := m.FindByPK(ctx, 1); err != nil {
			return err
		}
		x := index(m.Schema())
		if x.State == natsorm.IndexReady {
			return nil
		}
		if x.Paused || x.Done == 0 || x.Done > x.Total || x.Total != records {
			return fmt.Errorf("%+v", x)
		}
		return nil
	}))
	ok(t, <-built)
	if x := index(must[[]natsorm.Schema](t)(db.Models(within(t)))[0]); x.State != natsorm.IndexReady || x.Paused || x.Done != 0 || x.Total != 0 {
		t.Errorf("in the end %+v", x)
	}
	for _, q := range []struct {
		path string
		c    natsorm.Condition
		want int
	}{
		{"ordered index", natsorm.Between("email", "e10", "e199"), 110}, // as texts: e10, e100 to e109, e11, ...
		{"index", natsorm.Contains("tags", "t7"), records / 10},
	} {
		n, p := must[int](t)(m.Count(within(t), q.c)), must[natsorm.Plan](t)(m.Explain(within(t), q.c))
		if n != q.want || p.Access.Path != q.path {
			t.Errorf("%d are counted, want %d, by\n%s", n, q.want, p)
		}
	}
}

// The error of a unique index that records do not allow lists every group of them.
func TestDuplicatesAreListed(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	m := items(t, db, 40, func(i int) string { return fmt.Sprint("e", i%13) })
	_, err := natsorm.Define[builtItem](within(t), db, natsorm.Unique("email"), natsorm.Unique("name"))
	var same *natsorm.DuplicatesError
	if !errors.As(err, &same) || !errors.Is(err, natsorm.ErrSchema) {
		t.Fatal(err)
	}
	if same.Model != "builtItem" || same.TotalGroups != 20 || same.TotalRecords != 80 || len(same.Groups) != 20 {
		t.Errorf("%+v", same)
	}
	for _, g := range same.Groups {
		every, first := 13, 0
		if g.Columns[0] == "name" {
			every = 7
		}
		if _, err := fmt.Sscan(g.Value[1:], &first); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := first; i < 40; i += every {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(g.Keys, want) {
			t.Errorf("%+v, want %v", g, want)
		}
	}
	s := must[[]natsorm.Schema](t)(db.Models(within(t)))[0]
	if len(s.Indexes) != 0 {
		t.Errorf("the catalogue has %+v", s.Indexes)
	}
	_, err = m.Update(within(t), natsorm.Set{"email": "e1"}, natsorm.Eq("id", 0))
	ok(t, err)
	report := must[natsorm.Report](t)(db.Check(within(t), natsorm.Repair())) // the claims that it took are strays now
	if len(report.Models) != 1 {
		t.Errorf("%v", report)
	}
}
