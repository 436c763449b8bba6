package natsorm_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// On a replicated bucket, programs that are connected to different servers carry out each step
// once, and each sees all of them done when its call returns.
func TestMigrateInACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx := within(t)
	cluster := testbed.StartCluster(t)
	const steps, programs = 4, 6
	var calls [steps]atomic.Int64
	var list []natsorm.Migration
	for i := range steps {
		list = append(list, natsorm.Migration{Name: fmt.Sprint("step-", i), Up: func(ctx context.Context, db *natsorm.DB) error {
			calls[i].Add(1)
			users, err := natsorm.Define[user](ctx, db)
			if err != nil {
				return err
			}
			return users.Create(ctx, &user{ID: int64(i), Email: fmt.Sprint(i)})
		}})
	}
	var dbs []*natsorm.DB
	for i := range programs {
		dbs = append(dbs, openOn(t, ctx, cluster.Nodes[i%len(cluster.Nodes)]))
	}
	var applied atomic.Int64
	var wg sync.WaitGroup
	for _, db := range dbs {
		wg.Go(func() {
			mine, err := db.Migrate(ctx, list...)
			if err != nil {
				t.Error(err)
				return
			}
			applied.Add(int64(len(mine)))
			if got := states(t, db); got != "step-0 done, step-1 done, step-2 done, step-3 done" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	for i := range calls {
		if calls[i].Load() != 1 {
			t.Errorf("step %d was called %d times", i, calls[i].Load())
		}
	}
	if applied.Load() != steps {
		t.Errorf("%d steps were said to be carried out", applied.Load())
	}
	natsormtest.Prove(t, dbs[0])
}
