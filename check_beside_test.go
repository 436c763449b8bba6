package natsorm_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// churn has an index, a unique index, and an index of a column that is renamed.
type churn struct {
	ID    int64  `json:"id" orm:"primaryKey"`
	Name  string `json:"name" orm:"index"`
	Email string `json:"email" orm:"unique"`
	City  string `json:"city" orm:"index"`
}

// drift is moved between layouts.
type drift struct {
	ID   int64  `json:"id" orm:"primaryKey"`
	Name string `json:"name" orm:"index"`
	City string `json:"city" orm:"index"`
}

// While records are written, and all removed, while an index is dropped, and built again, while a column
// is renamed, and a model is moved to another layout and back, no check reports a problem that is not
// there.
func TestCheckBesideChanges(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("each change waits for a second and a half")
	}
	ctx := within(t)
	srv := serve(t, embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval})
	db, other := natsormtest.Open(t, srv, "test"), natsormtest.Open(t, srv, "test")
	churns, drifts := define[churn](t, db), define[drift](t, db)
	const records = 60
	var stop atomic.Bool
	var writers, checks sync.WaitGroup
	write := func(each func(i int) error) {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := each(i); err != nil && !errors.Is(err, natsorm.ErrNotFound) && !errors.Is(err, natsorm.ErrUnique) {
					t.Error(err)
					return
				}
				testsize.Breathe()
			}
		})
	}
	for k := range 2 {
		write(func(i int) error {
			id := int64(2*(i%records) + k)
			if i%7 == 6 {
				_, err := churns.Destroy(ctx, natsorm.Eq("id", id))
				return err
			}
			_, err := churns.Upsert(ctx, &churn{ID: id, Name: fmt.Sprint("n", i%5), Email: fmt.Sprint(id, "@", i%3), City: fmt.Sprint("c", i%4)})
			return err
		})
		write(func(i int) error {
			id := int64(2*(i%records) + k)
			_, err := drifts.Upsert(ctx, &drift{ID: id, Name: fmt.Sprint("n", i%5), City: fmt.Sprint("c", i%4)})
			return err
		})
	}
	var done atomic.Int64
	checks.Go(func() {
		for !stop.Load() {
			began := time.Now()
			report, err := other.Check(ctx)
			if err != nil || !report.Clean() {
				t.Errorf("a check that began %v ago: %v\n%s", time.Since(began), err, report)
				return
			}
			done.Add(1)
			testsize.Breathe()
		}
	})
	city := "city"
	for round := range testsize.Pick(0, 1, 4) {
		ok(t, db.Alter(ctx, "churn", natsorm.DropIndex("name")))
		define[churn](t, db)
		next := fmt.Sprint("city", round)
		ok(t, db.Alter(ctx, "churn", natsorm.RenameColumn(city, next)))
		city = next
		ok(t, db.ChangeLayout(ctx, "drift", natsorm.Sequelize))
		ok(t, churns.Truncate(ctx))
		many := make([]*churn, 4200) // so many are removed at once
		for i := range many {
			many[i] = &churn{ID: int64(1000 + i), Name: "many", Email: fmt.Sprint("many", i), City: "c"}
		}
		ok(t, churns.BulkCreate(ctx, many))
		ok(t, churns.Truncate(ctx))
		ok(t, db.ChangeLayout(ctx, "drift", natsorm.Native))
	}
	stop.Store(true)
	writers.Wait()
	checks.Wait()
	if done.Load() < 5 {
		t.Errorf("only %d checks", done.Load())
	}
}
