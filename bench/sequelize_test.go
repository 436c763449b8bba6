package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

// listedUser has one index, of a thousand values.
type listedUser struct {
	ID   int64  `json:"id" orm:"primaryKey"`
	Name string `json:"name" orm:"index"`
}

// BenchmarkSequelizeCreate compares a create with what the Node library does by plain
// calls, and loses ids with: put the record, get the list, put the list.
func BenchmarkSequelizeCreate(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[listedUser](ctx, db, natsorm.SequelizeLayout())
		check(b, err)
		compare(b, func(i int) {
			_, err := kv.Put(ctx, fmt.Sprintf("raw.shard_%d.%d", i%16, i), fmt.Appendf(nil, `{"id":%d,"name":"n%d"}`, i, i%1000))
			check(b, err)
			key := "raw.index.name.n" + strconv.Itoa(i%1000)
			var ids []int
			if e, err := kv.Get(ctx, key); !errors.Is(err, jetstream.ErrKeyNotFound) {
				check(b, err)
				check(b, json.Unmarshal(e.Value(), &ids))
			}
			raw, err := json.Marshal(append(ids, i))
			check(b, err)
			_, err = kv.Put(ctx, key, raw)
			check(b, err)
		}, func(i int) {
			check(b, users.Create(ctx, &listedUser{ID: int64(i), Name: "n" + strconv.Itoa(i%1000)}))
		})
	})
}

// BenchmarkChangeLayout moves 100,000 records with two indexes to the other layout and back;
// two seconds of each wait are for the handles. It has no raw counterpart.
func BenchmarkChangeLayout(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		fill(b, db)
		for b.Loop() {
			for _, to := range []natsorm.Layout{natsorm.Sequelize, natsorm.Native} {
				start, waits := time.Now(), 0
				check(b, db.ChangeLayout(ctx, "indexedUser", to, natsorm.LayoutProgress(func(s natsorm.LayoutStep, _, _ int) {
					if s == natsorm.LayoutWaiting {
						waits++
					}
				})))
				took := time.Since(start) - time.Duration(waits)*2*time.Second
				b.ReportMetric(float64(took.Microseconds())/100_000, "µs-a-record-to-"+string(to))
			}
		}
	}, "memory", "file")
}
