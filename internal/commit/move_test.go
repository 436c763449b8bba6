package commit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// unbatched is a bucket that takes no batches.
type unbatched struct{ store.Store }

func (unbatched) Batch(context.Context, store.Batch) (uint64, error) { return 0, store.ErrNoBatches }

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
	s := fault.Phased(unbatched{openStore(t)})
	b := newFixture(t, s, schema.Native)
	const from, to = "M.shard_9.1", "M.shard_1.1"
	rec := b.put(from, string(doc(1, "Ada", "")))
	w := commit.NewWriter(&late{Store: s, key: from}, b.l)
	if err := w.Move(context.Background(), commit.Relocation{Record: rec, To: to}); !errors.Is(err, store.ErrWrongRevision) {
		t.Fatalf("got %v", err)
	}
	if b.get(to).Live() {
		t.Error("an older copy is left at the new key")
	}
	if err := w.Move(context.Background(), commit.Relocation{Record: b.get(from), To: to}); err != nil {
		t.Fatal(err)
	}
	if got := b.get(to); string(got.Value) != string(doc(1, "Bea", "")) || b.get(from).Live() {
		t.Errorf("%s is there", got.Value)
	}
}

// Where the bucket takes batches a record is at one of its two keys, whenever the mover dies, and
// whoever writes it then. Also on buckets whose records are written phased otherwise.
func TestMoverThatCrashes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const n = 300 // more than move together
	at := func(shard, id int) string { return fmt.Sprintf("M.shard_%d.%d", shard, id) }
	for crash := 0; ; crash++ {
		s := fault.Phased(openStore(t))
		b := newFixture(t, s, schema.Native)
		var moves []commit.Relocation
		for id := range n {
			rec := b.put(at(9, id), string(doc(id, "Ada", "")))
			moves = append(moves, commit.Relocation{Record: rec, To: at(1, id)})
		}
		crashing := fault.CrashAfter(s, crash)
		err := commit.NewWriter(crashing, b.l).Move(ctx, moves...)
		if (err != nil) != crashing.Crashed() {
			t.Fatalf("after %d writes: %v", crash, err)
		}
		again := moves[:0]
		for id := range n {
			old, moved := b.get(at(9, id)), b.get(at(1, id))
			if old.Live() == moved.Live() {
				t.Fatalf("after %d writes %d is there: %v at its old key, %v at its new one", crash, id, old.Live(), moved.Live())
			}
			if old.Live() { // somebody who had stalled changes it
				again = append(again, commit.Relocation{Record: b.put(at(9, id), string(doc(id, "Bea", ""))), To: at(1, id)})
			}
		}
		if err := commit.NewWriter(s, b.l).Move(ctx, again...); err != nil {
			t.Fatalf("after %d writes: %v", crash, err)
		}
		for id := range n {
			if b.get(at(9, id)).Live() || !b.get(at(1, id)).Live() {
				t.Fatalf("after %d writes and another move, %d is not at its new key only", crash, id)
			}
		}
		if err == nil {
			if crash < 2 {
				t.Errorf("%d records are moved by %d writes", n, crash)
			}
			return
		}
	}
}

// A record at the new key stays, and the error names both keys.
func TestMoveToATakenKey(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, batches := range map[string]bool{"in batches": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			if !batches {
				s = unbatched{s}
			}
			b := newFixture(t, s, schema.Native)
			var moves []commit.Relocation
			for id := range 3 {
				rec := b.put(fmt.Sprint("M.shard_9.", id), string(doc(id, "Ada", "")))
				moves = append(moves, commit.Relocation{Record: rec, To: fmt.Sprint("M.shard_1.", id)})
			}
			b.put(moves[1].To, string(doc(1, "Bea", "")))
			err := commit.NewWriter(s, b.l).Move(ctx, moves...)
			if !errors.Is(err, errs.ErrExists) || !strings.Contains(err.Error(), moves[1].Record.Key) || !strings.Contains(err.Error(), moves[1].To) {
				t.Errorf("got %v", err)
			}
			if !b.get(moves[1].Record.Key).Live() || string(b.get(moves[1].To).Value) != string(doc(1, "Bea", "")) {
				t.Error("one of the two has gone")
			}
		})
	}
}
