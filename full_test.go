package natsorm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// tiny is a record whose document is smaller than the headers of a delete marker.
type tiny struct {
	ID int64 `json:"id" orm:"primaryKey"`
}

// limit sets the limits of a bucket, -1 for none.
func limit(t *testing.T, db *natsorm.DB, set func(cfg *jetstream.StreamConfig, now jetstream.StreamState)) {
	t.Helper()
	js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
	stream := must[jetstream.Stream](t)(js.Stream(within(t), "KV_"+db.KV().Bucket()))
	cfg := stream.CachedInfo().Config
	set(&cfg, stream.CachedInfo().State)
	must[jetstream.Stream](t)(js.UpdateStream(within(t), cfg))
}

// A bucket that has not a byte left says so, and can be emptied: its records become
// smaller, are destroyed one by one and all together, watchers see it, and unique values
// are free again.
func TestAFullBucketCanBeEmptied(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"memory", "files"} {
		for _, limited := range []string{"max_bytes", "max_msgs"} {
			t.Run(storage+" "+limited, func(t *testing.T) {
				t.Parallel()
				ctx := within(t)
				var db *natsorm.DB
				if storage == "memory" {
					db = natsormtest.New(t)
				} else {
					db = onFiles(t)
				}
				users, tinies := define[user](t, db), define[tiny](t, db)
				for i := range int64(30) {
					ok(t, users.Create(ctx, &user{ID: i, Name: "n", Email: fmt.Sprint("e", i), Bio: strings.Repeat("x", int(i))}))
					ok(t, tinies.Create(ctx, &tiny{ID: i}))
				}
				watch := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
				defer watch.Stop()
				limit(t, db, func(cfg *jetstream.StreamConfig, now jetstream.StreamState) {
					if limited == "max_bytes" {
						cfg.MaxBytes = int64(now.Bytes)
					} else {
						cfg.MaxMsgs = int64(now.Msgs)
					}
				})

				err := users.Create(ctx, &user{ID: 99, Name: "n", Email: "e99"})
				if !errors.Is(err, natsorm.ErrFull) || !strings.Contains(err.Error(), "KV_test has reached its "+limited) {
					t.Errorf("a create in a full bucket: %v", err)
				}
				smaller := must[*user](t)(users.FindByPK(ctx, 29))
				smaller.Bio = ""
				ok(t, users.Save(ctx, smaller))
				// A tiny record is smaller than its marker.
				tooTiny := func(err error) bool { return limited == "max_bytes" && errors.Is(err, natsorm.ErrFull) }
				if n, err := tinies.Destroy(ctx, natsorm.Eq("id", 3)); (n != 1 || err != nil) && !tooTiny(err) {
					t.Errorf("destroyed %d tiny records, %v", n, err)
				}
				if n, err := users.Destroy(ctx, natsorm.Lt("id", 20)); n != 20 || err != nil {
					t.Errorf("destroyed %d users, %v", n, err)
				}
				// Where the entries of the records are smaller than their markers, they stay, which is
				// harmless, and a repair says what to do.
				unlimited := func(cfg *jetstream.StreamConfig, _ jetstream.StreamState) { cfg.MaxBytes, cfg.MaxMsgs = -1, -1 }
				tinyErr := tinies.Truncate(ctx)
				if tinyErr != nil && !tooTiny(tinyErr) {
					t.Error(tinyErr)
				}
				if err := users.Truncate(ctx); errors.Is(err, natsorm.ErrFull) && storage == "files" && limited == "max_bytes" {
					limit(t, db, unlimited)
					ok(t, users.Truncate(ctx))
				} else if err != nil {
					t.Error(err)
				}
				if n := must[int](t)(users.Count(ctx)); n != 0 {
					t.Errorf("%d users are left", n)
				}
				if tinyErr != nil {
					limit(t, db, unlimited)
					ok(t, tinies.Truncate(ctx))
				}
				for _, m := range must[natsorm.Report](t)(db.Check(ctx)).Models {
					if m.Records+m.Entries+m.Claims+len(m.Problems) != 0 {
						t.Errorf("left: %+v", m)
					}
				}

				limit(t, db, unlimited)
				ok(t, users.Create(ctx, &user{ID: 100, Name: "n", Email: "e7"}))
				deleted := map[int64]bool{}
				for c := range watch.Changes() {
					if c.Op == natsorm.Deleted {
						deleted[c.Before.ID] = true
					}
					if c.Op == natsorm.Created && c.After.ID == 100 {
						break
					}
				}
				if len(deleted) != 30 {
					t.Errorf("a watcher saw %d deletions", len(deleted))
				}
			})
		}
	}
}
