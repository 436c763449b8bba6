package commit_test

import (
	"context"
	"errors"
	"testing"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// late is a bucket in which a record is written again just before it is deleted at its key.
type late struct {
	store.Store
	key  string
	done bool
}

func (l *late) Write(ctx context.Context, ops ...store.Op) []store.Result {
	if ops[0].Key == l.key && ops[0].Delete && !l.done {
		l.done = true
		l.Store.Write(ctx, store.Op{Key: l.key, Value: doc(1, "Bea", "")})
	}
	return l.Store.Write(ctx, ops...)
}

// A record that is written while it is moved, by one who had stalled, stays at its key, and its
// older copy is not in the way of the next move.
func TestMoveOfARecordThatChanges(t *testing.T) {
	t.Parallel()
	s := fault.Phased(openStore(t))
	b := newFixture(t, s, schema.Native)
	const from, to = "M.shard_9.1", "M.shard_1.1"
	rec := b.put(from, string(doc(1, "Ada", "")))
	w := commit.NewWriter(&late{Store: s, key: from}, b.l)
	if err := w.Move(context.Background(), rec, to); !errors.Is(err, store.ErrWrongRevision) {
		t.Fatalf("got %v", err)
	}
	if b.get(to).Live() {
		t.Error("an older copy is left at the new key")
	}
	if err := w.Move(context.Background(), b.get(from), to); err != nil {
		t.Fatal(err)
	}
	if got := b.get(to); string(got.Value) != string(doc(1, "Bea", "")) || b.get(from).Live() {
		t.Errorf("%s is there", got.Value)
	}
}
