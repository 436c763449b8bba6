package access_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm/internal/access"
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/usage"
)

// TestEntriesAreCountedWhileTheVersionStands counts until it takes no records any more. When the
// version of the model is not in force any more, records are read again: a purge may have begun.
// So they are by a Source in another store, as that of a transaction is.
func TestEntriesAreCountedWhileTheVersionStands(t *testing.T) {
	t.Parallel()
	w := begin(t, visits(schema.Native), many)
	var replaced atomic.Bool
	src := access.New(w.bucket, w.layout).Trusting(func(context.Context) bool { return !replaced.Load() })
	filter, err := cond.Bind(cond.Node{Op: cond.Eq, Column: "kind", Values: []any{"rare"}}, w.layout.Model())
	w.must(err)
	q := plan.Where(filter)
	// count returns how many keys it has received.
	count := func(src *access.Source) int64 {
		t.Helper()
		var used usage.Usage
		n, err := query.Count(usage.Measured(w.ctx, &used), src, q)
		w.must(err)
		if n != many/10 {
			t.Errorf("counted %d of %d", n, many/10)
		}
		return used.Keys.Load()
	}
	for i := 0; !src.CountsEntries(q); i++ {
		if count(src); i > 20 {
			t.Fatal("entries are not counted")
		}
	}
	if keys := count(src); keys > 10 {
		t.Errorf("a count of entries has received %d keys", keys)
	}
	if keys := count(src.On(w.bucket)); keys < many/10 {
		t.Errorf("a Source in another store has received only %d keys", keys)
	}
	replaced.Store(true)
	if keys := count(src); keys < many/10 {
		t.Errorf("when the version was replaced, a count has received only %d keys", keys)
	}
	replaced.Store(false)
	// A record is written, of another kind: no other one is read.
	_, err = w.bucket.KV().Put(w.ctx, "Visit.shard_1.1", []byte(visit(1)))
	w.must(err)
	if keys := count(src); keys > 20 {
		t.Errorf("beside a write, a count has received %d keys", keys)
	}
}
