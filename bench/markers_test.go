package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/value"
)

// BenchmarkMarkers is a lookup of a value that a few records have and many had: of as
// many entries the delete markers are still there. "Raw" is the lookup of a value that
// nobody had before; the times are for one lookup.
func BenchmarkMarkers(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[indexedUser](ctx, db)
		check(b, err)
		js, err := jetstream.New(db.Conn(), jetstream.WithPublishAsyncMaxPending(1000))
		check(b, err)
		var all []*indexedUser
		for i := range 30_000 {
			all = append(all, indexed(int64(i)))
		}
		check(b, users.BulkCreate(ctx, all))
		id := int64(30_000)
		for _, live := range []int{0, 10} {
			for _, markers := range []int{0, 1_000, 10_000, 100_000} {
				name := fmt.Sprintf("live%dmarkers%d", live, markers)
				for _, n := range []string{name, "clean" + name} {
					for range live {
						id++
						u := indexed(id)
						u.Name = n
						check(b, users.Create(ctx, u))
					}
				}
				for i := range markers {
					_, err := js.PublishMsgAsync(&nats.Msg{
						Subject: "$KV.bench." + keys.Entry("indexedUser", "name", []value.Value{value.OfString(name)}, fmt.Sprint(1_000_000+i)),
						Header:  nats.Header{"KV-Operation": {"DEL"}, "Nats-TTL": {"3600"}},
					})
					check(b, err)
				}
				<-js.PublishAsyncComplete()
				b.Run(fmt.Sprintf("live=%d/markers=%d", live, markers), func(b *testing.B) {
					fresh, err := natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: "bench"}) // which has no statistics
					check(b, err)
					defer fresh.Close()
					users, err := natsorm.Define[indexedUser](ctx, fresh)
					check(b, err)
					find := func(name string) (took time.Duration) {
						start := time.Now()
						found, err := users.FindAll(ctx, natsorm.Eq("name", name))
						check(b, err)
						if len(found) != live {
							b.Fatalf("found %d records", len(found))
						}
						return time.Since(start)
					}
					var raw, ours time.Duration
					n := 0
					for b.Loop() {
						raw += find("clean" + name)
						ours += find(name)
						n++
					}
					report(b, raw, ours, n)
				})
			}
		}
	}, "memory", "file")
}
