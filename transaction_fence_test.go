package natsorm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/natsorm/natsorm"
)

// A Save that changes nothing leaves the record's version, and does not hide that
// its claim may belong to a writer who has not committed yet.
func TestTransactionFencesTheOwnerOfAClaim(t *testing.T) {
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		accounts := define[account](t, db)
		one, two := &account{ID: 1, Number: "1"}, &account{ID: 2, Number: "2"}
		ok(t, accounts.BulkCreate(ctx, []*account{one, two}))
		// A phased writer of 2 has taken the claim of "x", and is about to commit.
		must[uint64](t)(db.KV().Put(ctx, "account.unique.number.x", []byte("2")))
		ok(t, db.Transaction(ctx, func(ctx context.Context) error {
			_, err := accounts.Update(ctx, natsorm.Set{"number": "x"}, natsorm.Eq("id", 1))
			return errors.Join(err, accounts.Save(ctx, two)) // as it is
		}))
		if _, err := db.KV().Update(ctx, "account.shard_2.2", []byte(`{"id":2,"owner":"","number":"x","balance":0}`), two.Version); err == nil {
			t.Error("the other writer could commit: both records have the value")
		}
		ok(t, accounts.Save(ctx, two)) // its version survives the fence
		ok(t, db.Transaction(ctx, func(ctx context.Context) error { return accounts.Save(ctx, two) }))
		ok(t, accounts.Save(ctx, two))
	})
}

// A claim that a writer in flight has put is taken without a fence, when
// the writer's record was touched by the transaction and is as it was.
func TestTransactionFencesWhatItLeaves(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"untouched", "changed back", "created and destroyed"} {
		t.Run(how, func(t *testing.T) {
			ctx := within(t)
			db := onFiles(t)
			accounts := define[account](t, db)
			kv := db.KV()
			key := "account.shard_1.1"
			var base uint64
			if how != "created and destroyed" {
				ok(t, accounts.Create(ctx, &account{ID: 1, Number: "old"}))
				base = must[jetstream.KeyValueEntry](t)(kv.Get(ctx, key)).Revision()
			}
			// A phased writer of record 1 has done its step 2: the claim of "v" is
			// there. Its step 3 is on its way.
			must[uint64](t)(kv.Put(ctx, "account.unique.number.v", []byte("1")))
			ok(t, db.Transaction(ctx, func(ctx context.Context) error {
				switch how {
				case "changed back":
					must[int](t)(accounts.Update(ctx, natsorm.Set{"owner": "x"}, natsorm.Eq("id", 1)))
					must[int](t)(accounts.Update(ctx, natsorm.Set{"owner": ""}, natsorm.Eq("id", 1)))
				case "created and destroyed":
					ok(t, accounts.Create(ctx, &account{ID: 1, Number: "tmp"}))
					must[int](t)(accounts.Destroy(ctx, natsorm.Eq("id", 1)))
				}
				return accounts.Create(ctx, &account{ID: 2, Number: "v"})
			}))
			// Step 3 arrives: a compare-and-set of the record at the revision it was read.
			_, err := kv.Update(ctx, key, []byte(`{"id":1,"owner":"","number":"v","balance":0}`), base)
			t.Logf("the writer's commit: %v", err)
			n := must[[]*account](t)(accounts.FindAll(ctx, natsorm.Like("number", "v%")))
			if len(n) != 1 {
				t.Errorf("%d records have the unique value", len(n))
			}
		})
	}
}
