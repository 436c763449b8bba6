package bench

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/value"
)

// BenchmarkGroupCommit compares 64 clients' creates, with two indexes each, on a
// server that syncs every write: as natsorm does them, and phased, each by itself.
// Here "raw" is the phased writer, and the ratio how many times faster natsorm is.
func BenchmarkGroupCommit(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[indexedUser](ctx, db)
		check(b, err)
		s, err := bucket.Open(ctx, db.Conn(), bucket.Config{Bucket: "phased", Logger: slog.New(slog.DiscardHandler)})
		check(b, err)
		defer s.Close()
		def, err := maintenance.Define(ctx, fault.Phased(s), schema.Definition{
			Format: schema.Format, Name: "indexedUser", Layout: schema.Native, Shards: 16,
			Columns: []schema.Column{{Name: "id", Type: value.Int, PrimaryKey: true}, {Name: "name", Type: value.String}, {Name: "email", Type: value.String}, {Name: "age", Type: value.Int}, {Name: "city", Type: value.String}},
			Indexes: []schema.Index{schema.NewIndex(schema.PlainIndex, "name"), schema.NewIndex(schema.PlainIndex, "email")},
		}, 16)
		check(b, err)
		phased, err := records.New(fault.Phased(s), def)
		check(b, err)
		var id atomic.Int64
		const clients, turn = 64, 50
		ours := func() {
			if err := users.Create(ctx, indexed(id.Add(1))); err != nil {
				b.Error(err)
			}
		}
		parallel(clients, turn, ours) // it finds out that syncing dominates
		var phasedTime, ourTime time.Duration
		total := 0
		for b.Loop() {
			phasedTime += parallel(clients, turn, func() {
				u := indexed(id.Add(1))
				doc := fmt.Appendf(nil, `{"id":%d,"name":%q,"email":%q,"age":%d,"city":%q}`, u.ID, u.Name, u.Email, u.Age, u.City)
				keys, err := phased.Layout.Of(doc)
				if err == nil {
					err = phased.Write(ctx, records.Target{ID: keys.ID, New: true}, records.Change{Next: func(store.Message) (commit.Draft, error) {
						return commit.Draft{Doc: doc, Keys: &keys}, nil
					}})
				}
				if err != nil {
					b.Error(err)
				}
			})
			ourTime += parallel(clients, turn, ours)
			total += clients * turn
		}
		report(b, phasedTime, ourTime, total)
	}, "synced", "file")
}

// BenchmarkBulkCreate compares BulkCreate of 1,000 records with two indexes with
// creating them by 64 clients; the times are for one record.
func BenchmarkBulkCreate(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[indexedUser](ctx, db)
		check(b, err)
		var id atomic.Int64
		const n = 1000
		var rawTime, ourTime time.Duration
		total := 0
		for b.Loop() {
			start := time.Now()
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range n / 64 {
						if err := users.Create(ctx, indexed(id.Add(1))); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			middle := time.Now()
			all := make([]*indexedUser, n/64*64)
			for i := range all {
				all[i] = indexed(id.Add(1))
			}
			check(b, users.BulkCreate(ctx, all))
			rawTime += middle.Sub(start)
			ourTime += time.Since(middle)
			total += len(all)
		}
		report(b, rawTime, ourTime, total)
	})
}

// BenchmarkTransaction compares a transfer between two accounts, two reads and two
// writes, with the four requests by themselves.
func BenchmarkTransaction(b *testing.B) {
	each(b, func(b *testing.B, db *natsorm.DB, kv jetstream.KeyValue) {
		ctx := context.Background()
		users, err := natsorm.Define[user](ctx, db)
		check(b, err)
		for i := range 100 {
			check(b, users.Create(ctx, sample(int64(i))))
		}
		doc := []byte(`{"id":1000,"name":"User 1000","email":"user1000@example.com","age":10,"city":"Oslo"}`)
		for i := range 100 {
			_, err := kv.Put(ctx, "raw.shard_1."+strconv.Itoa(i), doc)
			check(b, err)
		}
		compare(b, func(i int) {
			for k := range 2 {
				e, err := kv.Get(ctx, "raw.shard_1."+strconv.Itoa((i+k)%100))
				check(b, err)
				_, err = kv.Update(ctx, e.Key(), doc, e.Revision())
				check(b, err)
			}
		}, func(i int) {
			check(b, db.Transaction(ctx, func(ctx context.Context) error {
				for k := range 2 {
					u, err := users.FindByPK(ctx, (i+k)%100)
					if err != nil {
						return err
					}
					u.Age++
					if err := users.Save(ctx, u); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	})
}

// BenchmarkReplicated compares, for one client of a cluster of three servers in
// this process, a create with two indexes with one put, and with its messages in a
// batch by hand; and a read by key with one get, which may be behind.
func BenchmarkReplicated(b *testing.B) {
	db := cluster(b)
	ctx := context.Background()
	users, err := natsorm.Define[indexedUser](ctx, db)
	check(b, err)
	kv := db.KV()
	doc := []byte(`{"id":1000,"name":"User 1000","email":"user1000@example.com","age":10,"city":"Oslo"}`)
	id, raw := 0, 0
	b.Run("create", func(b *testing.B) {
		compare(b, func(i int) {
			_, err := kv.Put(ctx, "raw.shard_1."+strconv.Itoa(i), doc)
			check(b, err)
		}, func(int) {
			id++
			check(b, users.Create(ctx, indexed(int64(id))))
		})
	})
	// The same five messages in a batch by hand, nothing checked but the record: two
	// entries, their heads, the record.
	b.Run("create against a batch", func(b *testing.B) {
		nc, inbox := db.Conn(), db.Conn().NewInbox()
		answers := make(chan *nats.Msg, 1)
		sub, err := nc.ChanSubscribe(inbox, answers)
		check(b, err)
		defer func() { check(b, sub.Unsubscribe()) }()
		compare(b, func(int) {
			raw++
			n := strconv.Itoa(raw)
			subjects := []string{"raw.index.name.User_1=GdAbN2IrAAAAAAAAAAAAAA." + n, "raw.index.email.user1_example_com=GdAbN2IrAAAAAAAAAAAAAA." + n,
				"raw.head.name." + strconv.Itoa(raw%256), "raw.head.email." + strconv.Itoa(raw*7%256), "raw.shard_1.batch" + n}
			for i, subject := range subjects {
				m := &nats.Msg{Subject: "$KV.bench." + subject, Header: nats.Header{"Nats-Batch-Id": {n}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)}}}
				if i == len(subjects)-1 {
					m.Data, m.Reply = doc, inbox
					m.Header["Nats-Batch-Commit"] = []string{"1"}
					m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{"0"}
				}
				check(b, nc.PublishMsg(m))
			}
			if m := <-answers; bytes.Contains(m.Data, []byte("error")) {
				b.Fatalf("%s", m.Data)
			}
		}, func(int) {
			id++
			check(b, users.Create(ctx, indexed(int64(id))))
		})
	})
	b.Run("find", func(b *testing.B) {
		_, err := users.Upsert(ctx, indexed(0))
		check(b, err)
		_, err = kv.Put(ctx, "raw.shard_1.0", doc)
		check(b, err)
		compare(b, func(i int) {
			_, err := kv.Get(ctx, "raw.shard_1.0")
			check(b, err)
		}, func(int) {
			_, err := users.FindByPK(ctx, 0)
			check(b, err)
		})
	})
	b.Run("ten by an index", func(b *testing.B) {
		for i := range int64(10) {
			u := indexed(1e9 + i)
			u.Name = "ten"
			check(b, users.Create(ctx, u))
		}
		compare(b, func(int) {
			_, err := kv.Get(ctx, "raw.shard_1.0")
			check(b, err)
		}, func(int) {
			found, err := users.FindAll(ctx, natsorm.Eq("name", "ten"))
			check(b, err)
			if len(found) != 10 {
				b.Fatal(len(found))
			}
		})
	})
}

// cluster is a bucket with three replicas, on servers in this process.
func cluster(b testing.TB) *natsorm.DB {
	ports, err := testbed.FreePorts(3)
	check(b, err)
	var routes string
	for _, port := range ports {
		routes += fmt.Sprint(",nats://127.0.0.1:", port)
	}
	var servers []*server.Server
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("node", i), Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir(b), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: port}, Routes: server.RoutesFromStr(routes[1:]),
		})
		check(b, err)
		s.Start()
		b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, 5*time.Second)
		db, err := natsorm.Open(try, natsorm.Config{Servers: []string{servers[0].ClientURL()}, Bucket: "bench", Replicas: 3})
		stop()
		if err == nil {
			b.Cleanup(func() { db.Close() })
			return db
		}
		if ctx.Err() != nil {
			b.Fatal(err)
		}
	}
}
