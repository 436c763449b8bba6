package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

// BenchmarkBackup compares a backup of 100,000 records with kv.WatchAll over the same
// keys, which decodes nothing and writes nothing.
func BenchmarkBackup(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		fill(b, db)
		var rawTime, ourTime time.Duration
		keys, size := 0, 0
		for b.Loop() {
			start := time.Now()
			w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
			check(b, err)
			keys = 0
			for e := range w.Updates() {
				if e == nil {
					break
				}
				keys++
			}
			rawTime += time.Since(start)
			check(b, w.Stop())

			start = time.Now()
			var n counter
			check(b, db.Backup(ctx, &n))
			ourTime += time.Since(start)
			size = int(n)
		}
		b.ReportMetric(float64(size)/float64(keys), "B/key")
		report(b, rawTime, ourTime, keys*b.N)
	})
}

// fill creates 100,000 records with two indexes.
func fill(b *testing.B, db *natsorm.DB) {
	ctx := context.Background()
	users, err := natsorm.Define[indexedUser](ctx, db)
	check(b, err)
	all := make([]*indexedUser, 100_000)
	for i := range all {
		all[i] = indexed(int64(i))
	}
	check(b, users.BulkCreate(ctx, all))
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// BenchmarkRestore compares a restore of 100,000 records with the same puts, 1,000 at
// a time.
func BenchmarkRestore(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		fill(b, db)
		var file bytes.Buffer
		check(b, db.Backup(ctx, &file))
		js, err := jetstream.New(db.Conn(), jetstream.WithPublishAsyncMaxPending(1000))
		check(b, err)
		var rawTime, ourTime time.Duration
		keys := 0
		for b.Loop() {
			w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
			check(b, err)
			var all []jetstream.KeyValueEntry
			for e := range w.Updates() {
				if e == nil {
					break
				}
				all = append(all, e)
			}
			check(b, w.Stop())
			keys = len(all)
			start := time.Now()
			for _, e := range all {
				_, err := js.PublishAsync("$KV."+kv.Bucket()+"."+e.Key(), e.Value())
				check(b, err)
			}
			<-js.PublishAsyncComplete()
			rawTime += time.Since(start)

			start = time.Now()
			check(b, db.Restore(ctx, io.NewSectionReader(bytes.NewReader(file.Bytes()), 0, int64(file.Len())), natsorm.DeleteOthers()))
			ourTime += time.Since(start)
		}
		report(b, rawTime, ourTime, keys*b.N)
	}, "memory", "file", "tcp")
}

// BenchmarkBackupMemory is how much the heap grows while 100,000 and 1,000,000 records
// are backed up, the server's part included: it is in this process.
func BenchmarkBackupMemory(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		type plain struct {
			ID   int64  `json:"id" orm:"primaryKey"`
			Name string `json:"name"`
		}
		records, err := natsorm.Define[plain](ctx, db)
		check(b, err)
		for b.Loop() { // once
		}
		for _, n := range []int{100_000, 1_000_000} {
			have, err := records.Count(ctx)
			check(b, err)
			all := make([]*plain, 0, 10_000)
			for id := have; id < n; id++ {
				if all = append(all, &plain{ID: int64(id), Name: "name of a record"}); len(all) == cap(all) || id == n-1 {
					check(b, records.BulkCreate(ctx, all))
					all = all[:0]
				}
			}
			live := func() uint64 {
				runtime.GC()
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				return s.HeapAlloc
			}
			before := live()
			w := sampler{every: 1 << 18, live: live}
			check(b, db.Backup(ctx, &w))
			b.ReportMetric(float64(max(w.most, before)-before)/1e6, fmt.Sprintf("MB-at-%d", n))
		}
	}, "file")
}

// sampler looks at the heap now and then.
type sampler struct {
	every, n int
	live     func() uint64
	most     uint64
}

func (s *sampler) Write(p []byte) (int, error) {
	if s.n += len(p); s.n >= s.every {
		s.n = 0
		s.most = max(s.most, s.live())
	}
	return len(p), nil
}
