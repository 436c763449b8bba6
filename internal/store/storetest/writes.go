package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// now is a key's message, from the leader.
func (t *test) now(key string) store.Message {
	t.Helper()
	m, err := t.Writer.GetLatest(t.ctx, key)
	t.ok(err)
	return m
}

// unchanged holds a key to a revision.
func (t *test) unchanged(key string, revision uint64) {
	t.Helper()
	if m := t.now(key); m.Revision != revision {
		t.Errorf("%s is at %d, and was at %d", key, m.Revision, revision)
	}
}

// checkedWrites: they are done at the revision that they expect, and at no other.
func checkedWrites(t *test) {
	s, key := t.Store(), t.key("k")
	expect := func(revision uint64, value string) (uint64, error) {
		r := s.Write(t.ctx, store.Op{Key: key, Value: []byte(value), Conditional: true, Expect: revision})[0]
		return r.Revision, r.Err
	}
	_, err := expect(1<<40, "x")
	t.is(err, store.ErrWrongRevision)
	one, err := expect(0, "one")
	t.ok(err)
	_, err = expect(0, "x")
	t.is(err, store.ErrWrongRevision)
	_, err = expect(one+1, "x")
	t.is(err, store.ErrWrongRevision)
	t.unchanged(key, one)
	two, err := expect(one, "two")
	t.ok(err)
	if two <= one {
		t.Errorf("%d follows %d", two, one)
	}
	_, err = expect(one, "x")
	t.is(err, store.ErrWrongRevision)

	t.is(s.Write(t.ctx, store.Op{Key: key, Delete: true, Conditional: true, Expect: one})[0].Err, store.ErrWrongRevision)
	marker := t.writeTo(s, store.Op{Key: key, Delete: true, Conditional: true, Expect: two, Settle: true})
	_, err = expect(0, "x") // a delete marker's revision is one
	t.is(err, store.ErrWrongRevision)
	if _, err = expect(marker, "three"); err != nil {
		t.Error(err)
	}
	if m := t.now(key); string(m.Value) != "three" {
		t.Errorf("%+v", m)
	}
	if store.Transient(store.ErrWrongRevision) {
		t.Error("a wrong revision does not pass")
	}
}

// looseWrites: each is done, unless it is refused, whatever becomes of the others.
func looseWrites(t *test) {
	s := t.Store()
	const n = 1100
	for _, refused := range []int{-1, 7} {
		before, ops := t.now(t.key(0)).Revision, make([]store.Op, n)
		for i := range ops {
			ops[i] = store.Op{Key: t.key(i), Value: fmt.Append(nil, refused, i), Loose: true, Conditional: i == refused, Expect: 1 << 40}
		}
		for i, r := range s.Write(t.ctx, ops...) {
			if i == refused {
				t.is(r.Err, store.ErrWrongRevision)
			} else if r.Err != nil || r.Revision <= before {
				t.Errorf("write %d: %+v", i, r)
			}
		}
		for i := range ops {
			if m := t.now(t.key(i)); i != refused && string(m.Value) != string(ops[i].Value) {
				t.Errorf("%+v, and not %q", m, ops[i].Value)
			}
		}
	}
}

// independentWrites: each has its own result, and its own revision.
func independentWrites(t *test) {
	s := t.Store()
	const n = 1100
	ops := make([]store.Op, n)
	for i := range ops {
		ops[i] = store.Op{Key: t.key(i), Value: fmt.Append(nil, i), Conditional: i%10 == 3, Expect: 1 << 40, Settle: i%2 == 0}
	}
	results := s.Write(t.ctx, ops...)
	if len(results) != n {
		t.Fatalf("%d results of %d writes", len(results), n)
	}
	seen := map[uint64]bool{}
	for i, r := range results {
		if i%10 == 3 {
			t.is(r.Err, store.ErrWrongRevision)
			continue
		}
		t.ok(r.Err)
		if seen[r.Revision] || r.Revision == 0 {
			t.Fatalf("write %d got revision %d", i, r.Revision)
		}
		seen[r.Revision] = true
	}
	found, err := store.GetMany(t.ctx, s, []string{ops[0].Key, ops[3].Key, ops[n-1].Key})
	t.ok(err)
	if found[0].Revision != results[0].Revision || found[1].Revision != 0 || found[2].Revision != results[n-1].Revision {
		t.Errorf("%+v", found)
	}
	if got := s.Write(t.ctx); len(got) != 0 {
		t.Errorf("no writes have results: %v", got)
	}
}

// largeValues: MaxValue is what can be written.
func largeValues(t *test) {
	s := t.Store()
	value := bytes.Repeat([]byte("x"), s.Traits().MaxValue+1)
	results := s.Write(t.ctx, store.Op{Key: t.key("small"), Value: []byte("x")}, store.Op{Key: t.key("large"), Value: value})
	for _, r := range results {
		t.is(r.Err, store.ErrTooLarge)
	}
	_, err := s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("small")}, {Key: t.key("large"), Value: value}}})
	t.is(err, store.ErrTooLarge)
	_, err = s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("large"), Value: value}}, Shared: true})
	t.is(err, store.ErrTooLarge)
	t.unchanged(t.key("small"), 0)
	t.unchanged(t.key("large"), 0)
	t.writeTo(s, store.Op{Key: t.key("large"), Value: value[1:]})
	if m := t.now(t.key("large")); len(m.Value) != s.Traits().MaxValue {
		t.Errorf("%d bytes of %d", len(m.Value), s.Traits().MaxValue)
	}
}

// batch: all of it or nothing, with nothing between.
func batch(t *test) {
	s := t.Store()
	old := t.put(t.key("old"), "x")
	first, err := s.Batch(t.ctx, store.Batch{Ops: []store.Op{
		{Key: t.key("a"), Value: []byte("a"), Conditional: true, Settle: true},
		{Key: t.key("b"), Value: []byte("b")},
		{Key: t.key("old"), Delete: true, Conditional: true, Expect: old},
		{Key: t.key("c")},
	}})
	t.ok(err)
	for i, key := range []string{"a", "b", "old", "c"} {
		t.unchanged(t.key(key), first+uint64(i))
	}
	if m := t.now(t.key("old")); !m.Deleted {
		t.Errorf("%+v", m)
	}
	for _, at := range []int{0, 1, 2} { // a condition that does not hold, wherever
		ops := []store.Op{{Key: t.key("d", 0)}, {Key: t.key("d", 1)}, {Key: t.key("d", 2)}}
		ops[at].Conditional, ops[at].Expect = true, first
		_, err := s.Batch(t.ctx, store.Batch{Ops: ops})
		t.is(err, store.ErrWrongRevision)
	}
	if found, err := t.Writer.Read(t.ctx, store.Lookup{Patterns: []string{t.key("d", "*")}}); err != nil || len(found.Messages) != 0 {
		t.Errorf("of refused batches there is %v, %v", found, err)
	}
	const size = 50
	var wg sync.WaitGroup
	for w := range 4 { // at the same time, each in one piece
		wg.Go(func() {
			ops := make([]store.Op, size)
			for i := range ops {
				ops[i] = store.Op{Key: t.key("w", w, i)}
			}
			first, err := s.Batch(t.ctx, store.Batch{Ops: ops})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range ops {
				if m, err := s.GetLatest(t.ctx, ops[i].Key); err != nil || m.Revision != first+uint64(i) {
					t.Errorf("write %d of a batch at %d: %+v, %v", i, first, m, err)
				}
			}
		})
	}
	wg.Wait()
}

// guards: conditions on keys that the batch does not write.
func guards(t *test) {
	s := t.Store()
	held := t.put(t.key("held"), "x")
	under := t.put(t.key("p", 1), "x")
	write := func(guards ...store.Guard) error {
		_, err := s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("free")}, {Key: t.key("checked"), Conditional: true, Expect: t.now(t.key("checked")).Revision}}, Guards: guards})
		return err
	}
	holds := []store.Guard{{Key: t.key("held"), Revision: held}, {Key: t.key("absent")}}
	if !s.Traits().Replicable { // there a pattern guards nothing
		holds = append(holds, store.Guard{Key: t.key("p", "*"), Revision: under}, store.Guard{Key: t.key("none", "*")})
	}
	t.ok(write(holds...))
	for i, g := range holds {
		t.ok(write(g))
		before := t.now(t.key("free")).Revision
		g.Revision++
		t.is(write(g), store.ErrWrongRevision)
		wrong := append(append([]store.Guard{}, holds[:i]...), g)
		t.is(write(append(wrong, holds[i+1:]...)...), store.ErrWrongRevision)
		t.unchanged(t.key("free"), before)
	}
	t.unchanged(t.key("held"), held)
	t.unchanged(t.key("absent"), 0)
}

// guardOfEverything: Batch.After is refused after any other write.
func guardOfEverything(t *test) {
	s := t.Store()
	for {
		at, err := t.Writer.Revision(t.ctx, store.Whole)
		t.ok(err)
		first, err := s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("k")}}, After: &at})
		if errors.Is(err, store.ErrWrongRevision) {
			continue // others work on this bucket
		}
		t.ok(err)
		if first != at+1 {
			t.Errorf("%d follows %d", first, at)
		}
		_, err = s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("l")}}, After: &at})
		t.is(err, store.ErrWrongRevision)
		t.unchanged(t.key("l"), 0)
		return
	}
}

// batchLimits: what is too large is refused before anything is written.
func batchLimits(t *test) {
	s := t.Store()
	ops := make([]store.Op, store.MaxBatch+1)
	for i := range ops {
		ops[i] = store.Op{Key: t.key("n", i), Conditional: true}
	}
	_, err := s.Batch(t.ctx, store.Batch{Ops: ops})
	t.is(err, store.ErrBatchTooLarge)
	ops = ops[:store.MaxBatch]
	_, err = s.Batch(t.ctx, store.Batch{Ops: ops, Guards: []store.Guard{{Key: t.key("guarded")}}}) // takes a message
	t.is(err, store.ErrBatchTooLarge)
	t.unchanged(ops[0].Key, 0)
	_, err = s.Batch(t.ctx, store.Batch{Ops: ops})
	t.ok(err)

	value := bytes.Repeat([]byte("x"), s.Traits().MaxValue)
	large := make([]store.Op, store.MaxBatchBytes/len(value)+1)
	for i := range large {
		large[i] = store.Op{Key: t.key("large", i), Value: value}
	}
	_, err = s.Batch(t.ctx, store.Batch{Ops: large})
	t.is(err, store.ErrBatchTooLarge)
	t.unchanged(large[0].Key, 0)
}

// share: calls at the same time, of which only those fail whose conditions do not
// hold.
func share(t *test) {
	s := t.Store()
	taken := t.put(t.key("taken"), "x")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			bad := i%4 == 3
			ops := []store.Op{
				{Key: t.key("head")}, // bumped by all of them
				{Key: t.key("claim", i), Value: []byte("x"), Conditional: true},
				{Key: t.key("record", i), Value: []byte("x"), Conditional: true, Settle: true},
			}
			if bad {
				ops[1] = store.Op{Key: t.key("taken"), Value: []byte("y"), Conditional: true, Expect: taken + 1}
			}
			revision, err := s.Batch(t.ctx, store.Batch{Ops: ops, Shared: true})
			revision += uint64(len(ops) - 1) // that of the last op
			if bad {
				if !errors.Is(err, store.ErrWrongRevision) {
					t.Errorf("share %d: %v", i, err)
				}
				revision = 0
			} else if err != nil {
				t.Errorf("share %d: %v", i, err)
			}
			if m, err := s.GetLatest(t.ctx, t.key("record", i)); err != nil || m.Revision != revision {
				t.Errorf("share %d at %d: %+v, %v", i, revision, m, err)
			}
		})
	}
	wg.Wait()
	t.unchanged(t.key("taken"), taken)
}

// ways: how a change is written.
func ways(t *test) {
	s := t.Store()
	if w := s.Traits().Writes; w != store.Phased && w != store.Atomic {
		t.Errorf("a change that comes alone is written %d", w)
	}
	for _, many := range []bool{false, true} {
		w, end := s.BeginChange(many)
		if w != store.Phased && w != store.Atomic && w != store.Shared {
			t.Errorf("a change is written %d", w)
		}
		end()
	}
	if s.Traits().MaxValue <= 0 {
		t.Errorf("values of %d bytes", s.Traits().MaxValue)
	}
	if s.Traits().Replicable != t.Writer.Traits().Replicable {
		t.Error("replicated, or not")
	}
}

// refusals: what a store does not do it refuses, as invalid.
func refusals(t *test) {
	s := t.Store()
	refused := map[Calls][]error{}
	note := func(c Calls, err error) { refused[c] = append(refused[c], err) }
	if t.Refuses&Writes != 0 {
		for _, r := range s.Write(t.ctx, store.Op{Key: t.key(1)}, store.Op{Key: t.key(2)}) {
			note(Writes, r.Err)
		}
		_, err := s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key(3)}}})
		note(Writes, err)
		_, err = s.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key(4)}}, Shared: true})
		note(Writes, err)
	}
	if t.Refuses&Read != 0 {
		_, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("*")}, Exact: true})
		note(Read, err)
	}
	if t.Refuses&Feeds != 0 {
		_, err := s.Feed(t.ctx, store.FeedOptions{Pattern: t.key("*")})
		note(Feeds, err)
	}
	if t.Refuses&Revisions != 0 {
		_, err := s.Last(t.ctx, t.key("*"))
		note(Revisions, err)
		_, err = s.Revision(t.ctx, store.Whole)
		note(Revisions, err)
	}
	for c, all := range refused {
		for _, err := range all {
			if !errors.Is(err, errs.ErrInvalid) || store.Transient(err) {
				t.Errorf("call %b is refused with %v", c, err)
			}
		}
	}
	if found := t.scan(t.reader(), t.key("*"), store.ScanOptions{}); len(found) != 0 {
		t.Errorf("what was refused was written: %v", found)
	}
}

// after is a store that sees what was written and purged up to now, as it sees a write that follows.
func (t *test) after() store.Store {
	t.Helper()
	t.put(t.key("after"), "done")
	return t.reader()
}

// purge: what was written up to a revision goes, with its markers, and nothing else.
func purge(t *test) {
	p, ok := t.Store().(store.Purger)
	if !ok {
		return
	}
	var s store.Store = p
	t.put(t.key("a", 1), "old")
	t.put(t.key("a", 2), "old")
	gone := t.remove(t.key("a", 2))
	t.put(t.key("b", 1), "beside")
	n, err := s.Count(t.ctx, t.key("a", "*"), store.Exactly)
	t.ok(err)
	if n != 1 {
		t.Errorf("%d keys", n)
	}
	upTo := t.put(t.key("a", 3), "the last one")
	t.put(t.key("a", 4), "new")
	t.ok(p.Purge(t.ctx, t.key("a", "*"), upTo))
	t.ok(p.Purge(t.ctx, t.key("a", "*"), upTo))
	t.ok(p.Purge(t.ctx, t.key("a", "*"), 0))
	t.ok(p.Purge(t.ctx, t.key("none", ">"), upTo))
	s = t.after()
	t.expect("the rest", t.scan(s, t.key("a", "*"), store.ScanOptions{After: upTo}), map[string]string{t.key("a", 4): "new"})
	t.expect("what is beside it", t.scan(s, t.key("b", "*"), store.ScanOptions{}), map[string]string{t.key("b", 1): "beside"})
	for _, key := range []string{t.key("a", 1), t.key("a", 2), t.key("a", 3)} {
		if m := t.now(key); m.Revision != 0 {
			t.Errorf("%s is at revision %d", key, m.Revision)
		}
	}
	count := func(after uint64) {
		t.Helper()
		n, err := store.CountAfter(t.ctx, s, t.key("a", "*"), after)
		t.ok(err)
		if n != 1 {
			t.Errorf("%d keys", n)
		}
		for n = 0; n != 1; { // a replica that is behind comes to it
			n, err = s.Count(t.ctx, t.key("a", "*"), store.About)
			t.ok(err)
		}
	}
	count(upTo)
	changes, err := s.Changes(t.ctx, t.key("a", "*"), gone)
	t.ok(err)
	if len(changes) != 1 || changes[0].Key != t.key("a", 4) {
		t.Errorf("changes: %v", changes)
	}
	last, err := s.Last(t.ctx, t.key("a", "*"))
	t.ok(err)
	t.ok(p.Purge(t.ctx, t.key("a", "*"), last)) // also the session's own last write
	s = t.after()
	if found := t.scan(s, t.key("a", "*"), store.ScanOptions{After: last}); len(found) != 0 {
		t.Errorf("%v are left", found)
	}
	t.write(store.Op{Key: t.key("a", 1), Value: []byte("again"), Conditional: true})
	s = t.reader()
	count(last)
}
