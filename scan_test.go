package natsorm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// A record that is there from before a scan until after it is seen exactly
// once, however often it is rewritten meanwhile.
func TestScanSeesEveryRecordOnce(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	type item struct {
		ID int `json:"id" orm:"primaryKey"`
		N  int `json:"n"`
	}
	items := define[item](t, db)
	ctx := within(t)
	const n = 4000
	batch := make([]*item, n)
	for i := range batch {
		batch[i] = &item{ID: i}
	}
	ok(t, items.BulkCreate(ctx, batch))

	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			for i := 0; writing.Err() == nil; i++ {
				// Half of the writes go to a few hot records.
				id := r.IntN(n)
				if i%2 == 0 {
					id = r.IntN(8)
				}
				if _, err := items.Upsert(ctx, &item{ID: id, N: i}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	duration := testsize.Pick(time.Second, 2*time.Second, 6*time.Second)
	scans := 0
	for end := time.Now().Add(duration); time.Now().Before(end); scans++ {
		seen := make([]int, n)
		for v, err := range items.Each(ctx) {
			ok(t, err)
			seen[v.ID]++
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("scan %d saw record %d %d times", scans, id, times)
			}
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d scans", scans)
}

// With a history, a destroyed record must not come back when its delete marker
// goes.
func TestDestroyedRecordStaysAwayWithHistory(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	ctx := within(t)
	for _, history := range []uint8{1, 5} {
		bucket := fmt.Sprint("history", history)
		db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: bucket, History: history}))
		users := define[user](t, db)
		ok(t, users.Create(ctx, &user{ID: 1, Name: "a", Email: "e"}))
		must[int](t)(users.Update(ctx, natsorm.Set{"name": "b"}, natsorm.Eq("id", 1)))
		must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 1)))
		js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
		stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_"+bucket))
		for key, expires := range map[string]bool{"user.shard_1.1": history == 1, "user.index.name.b.1": true, "user.unique.email.e": true} {
			msg, err := stream.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+key)
			ok(t, err)
			if msg.Header.Get("KV-Operation") == "" || (msg.Header.Get("Nats-TTL") != "") != expires {
				t.Errorf("history %d: the marker of %s has headers %v", history, key, msg.Header)
			}
		}
		natsormtest.Prove(t, db)
		ok(t, db.Close())
	}
}
