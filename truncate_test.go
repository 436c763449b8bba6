package natsorm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

func TestTruncate(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	var batch []*user
	for i := range 1500 {
		batch = append(batch, &user{ID: int64(i), Name: "same", Email: fmt.Sprint(i)})
	}
	ok(t, users.BulkCreate(ctx, batch))
	for key, doc := range map[string]string{"user.shard_7.7": "{corrupt", "user.index.name.stray.8": "", "user.unique.email.stray": "12345"} {
		_, err := db.KV().Put(ctx, key, []byte(doc))
		ok(t, err)
	}
	ok(t, users.Truncate(ctx))
	keys, err := db.KV().ListKeysFiltered(ctx, "user.>")
	ok(t, err)
	left := 0
	for key := range keys.Keys() {
		left++
		if left < 5 {
			t.Errorf("left: %s", key)
		}
	}
	ok(t, users.BulkCreate(ctx, batch[:10]))
}

// Truncate leaves nothing, however many records share a value, and whatever is there.
func TestTruncateLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{"native", "sequelize"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			users := defineIn(t, db, layout)
			n := testsize.Pick(150, 600, 3000)
			all := make([]*nodeUser, n)
			for i := range all {
				all[i] = &nodeUser{ID: int64(i), Name: fmt.Sprint("n", i%3), Email: ptr("a@b")}
			}
			ok(t, users.BulkCreate(ctx, all))
			put := func(key, value string) { t.Helper(); must[uint64](t)(db.KV().PutString(ctx, key, value)) }
			put("User.shard_1.corrupt", "{")
			put("User.shard_1.misplaced", `{"id":5}`)
			if layout == "sequelize" {
				ids := make([]int, 2*n)
				for i := range ids {
					ids[i] = i + n/2 // half of them never were
				}
				put("User.index.name.n1", string(must[[]byte](t)(json.Marshal(ids))))
				put("User.index.email.none", `[99999]`)
				put("User.index.email.broken", `[1`)
			}
			// Writers go on meanwhile; in the end they stop.
			var stop atomic.Bool
			var wg sync.WaitGroup
			halt := func() { stop.Store(true); wg.Wait() }
			defer halt() // also where Truncate fails
			for w := range 2 {
				wg.Go(func() {
					for i := int64(0); !stop.Load(); i++ {
						u := &nodeUser{ID: int64(n*100*(w+1)) + i, Name: "n1", Email: ptr("a@b")}
						if err := users.Create(ctx, u); err != nil && !errors.Is(err, natsorm.ErrCorrupt) {
							t.Error(err)
							return
						}
					}
				})
			}
			ok(t, users.Truncate(ctx))
			halt()
			if n := must[int](t)(users.Count(ctx, natsorm.Lt("id", n))); n != 0 {
				t.Errorf("%d are left", n)
			}
			if report := must[natsorm.Report](t)(db.Check(ctx)); !report.Clean() {
				t.Errorf("check says %s", report)
			}
			ok(t, users.Truncate(ctx))
			sameBucket(t, bucket(t, ctx, db), nil)
		})
	}
}
