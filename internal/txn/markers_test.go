package txn_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/txn"
)

// A record moves from one value to another after a transaction has looked up the second
// value and before it looks up the first, and the delete marker of the old entry is gone:
// the transaction must not see the record nowhere.
func TestATransactionOutlivesMarkers(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	b := opener(t)(t, "markers")
	write := func(ops ...store.Op) {
		for _, r := range b.Write(ctx, ops...) {
			ok(t, r.Err)
		}
	}
	write(store.Op{Key: "User.index.name.old.1"}, store.Op{Key: "User.index.name.new.2"})
	tx := txn.Begin(b)
	if found, err := tx.Read(ctx, "User.index.name.new.*"); err != nil || len(found) != 1 {
		t.Fatalf("found %v, %v", found, err)
	}
	write(store.Op{Key: "User.index.name.new.1"}, store.Op{Key: "User.index.name.old.1", Delete: true, Purge: true, Brief: true})
	expire(t, b.KV(), "User.index.name.old.1")
	tx.Age(store.BriefFor) // which is how long the marker stays
	if found, err := tx.Read(ctx, "User.index.name.old.*"); !errors.Is(err, txn.ErrConflict) {
		t.Errorf("found %v, %v", found, err)
	}
}

// A long transaction whose reads are unchanged goes on, at a later instant.
func TestALongTransactionGoesOn(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	b := opener(t)(t, "long")
	for _, r := range b.Write(ctx, store.Op{Key: "User.index.name.a.1"}, store.Op{Key: "User.index.name.b.2"}) {
		ok(t, r.Err)
	}
	tx := txn.Begin(b)
	for _, pattern := range []string{"User.index.name.a.*", "User.index.name.b.*", "User.index.name.c.*", "User.index.name.a.*"} {
		tx.Age(store.BriefFor)
		if _, err := tx.Read(ctx, pattern); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

// expire removes a delete marker, as the server does in time.
func expire(t *testing.T, kv jetstream.KeyValue, key string) {
	t.Helper()
	e, err := kv.History(within(t), key)
	ok(t, err)
	if len(e) != 1 || e[0].Operation() == jetstream.KeyValuePut {
		t.Fatalf("the marker is %v", e)
	}
	ok(t, kv.PurgeDeletes(within(t), jetstream.DeleteMarkersOlderThan(-1)))
	if e, err := kv.History(within(t), key); err == nil {
		t.Fatalf("the marker stays: %v", e)
	}
}
