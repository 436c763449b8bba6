package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// changes: what was written after a revision, in order.
func changes(t *test) {
	t.put(t.key("n", 1), "one")
	t.put(t.key("n", 2), "two")
	s := t.reader()
	start, err := s.Revision(t.ctx, store.Acknowledged)
	t.ok(err)
	t.put(t.key("n", 2), "two again")
	t.put(t.key("n", 3), "three")
	t.put(t.key("other"), "x")
	t.put(t.key("n", 4), "x")
	end := t.remove(t.key("n", 4))
	found, err := s.Changes(t.ctx, t.key("n", "*"), start)
	t.ok(err)
	since, err := store.Since(t.ctx, s, t.key("n", "*"), start)
	t.ok(err)
	if t.Frozen {
		if start != 0 || len(found)+len(since) != 0 {
			t.Errorf("one state of the bucket changed since %d: %v, %v", start, found, since)
		}
		return
	}
	if !slices.IsSortedFunc(found, func(a, b store.Message) int { return int(a.Revision) - int(b.Revision) }) {
		t.Errorf("in another order than they were written: %v", found)
	}
	last := map[string]store.Message{}
	for _, m := range found {
		if m.Revision <= start {
			t.Errorf("%+v is from before %d", m, start)
		}
		last[m.Key] = m
	}
	t.expect("changes", last, map[string]string{t.key("n", 2): "two again", t.key("n", 3): "three", t.key("n", 4): deleted})
	t.expect("since", t.byKey(since), map[string]string{t.key("n", 2): "two again", t.key("n", 3): "three"})
	if found, err = s.Changes(t.ctx, t.key("n", "*"), end); err != nil || len(found) != 0 {
		t.Errorf("after the last one: %v, %v", found, err)
	}
	t.fill(600, "many")
	if found, err = s.Changes(t.ctx, t.key("many", "*"), end); err != nil || len(t.byKey(found)) != 600 {
		t.Errorf("%d of 600, %v", len(found), err)
	}
}

// last: the last revision under a pattern, from the leader.
func last(t *test) {
	s := t.Store()
	check := func(want uint64) {
		t.Helper()
		got, err := s.Last(t.ctx, t.key("n", "*"))
		t.ok(err)
		if got != want {
			t.Errorf("the last revision is %d, not %d", got, want)
		}
	}
	check(0)
	one := t.put(t.key("n", 1), "x")
	t.put(t.key("other"), "x")
	check(one)
	check(one)
	check(func() uint64 { r := t.remove(t.key("n", 1)); t.put(t.key("other"), "y"); return r }())
}

// revisions: at or above what was acknowledged, and reads that follow are as new.
func revisions(t *test) {
	s := t.Store()
	for i := range 10 {
		for name, certainty := range map[string]store.Certainty{"Acknowledged": store.Acknowledged, "Whole": store.Whole} {
			key := t.key(name, i)
			acknowledged := t.put(key, "x")
			got, err := s.Revision(t.ctx, certainty)
			t.ok(err)
			if got < acknowledged {
				t.Fatalf("%s is %d, after %d was acknowledged", name, got, acknowledged)
			}
			if m, err := s.Get(t.ctx, key); err != nil || m.Revision != acknowledged {
				t.Fatalf("after %s: %+v, %v, want revision %d", name, m, err, acknowledged)
			}
		}
	}
}

// session: what a store has written it sees, in every way to read.
func session(t *test) {
	s := t.Store()
	for i := range 20 {
		key := t.key("n", i)
		revision := t.writeTo(s, store.Op{Key: key, Value: fmt.Append(nil, i)})
		sees := func(how string, m store.Message) {
			t.Helper()
			if m.Key != key || m.Revision != revision {
				t.Fatalf("%s does not see %s at %d: %+v", how, key, revision, m)
			}
		}
		m, err := s.Get(t.ctx, key)
		t.ok(err)
		sees("Get", m)
		m, err = s.GetLatest(t.ctx, key)
		t.ok(err)
		sees("GetLatest", m)
		many, err := store.GetMany(t.ctx, s, []string{t.key("n", 0), key})
		t.ok(err)
		sees("GetMany", many[1])
		found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("n", "*")}})
		t.ok(err)
		sees("Lookup", t.byKey(found.Messages)[key])
		if t.Refuses&Read == 0 {
			found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{key}, Exact: true})
			t.ok(err)
			sees("Read", t.byKey(found.Messages)[key])
		}
		if i%10 == 0 {
			sees("Scan", t.scan(s, t.key("n", "*"), store.ScanOptions{})[key])
			n, err := s.Count(t.ctx, t.key("n", "*"), store.Exactly)
			t.ok(err)
			if n != i+1 {
				t.Fatalf("Count sees %d of %d", n, i+1)
			}
			since, err := store.Since(t.ctx, s, t.key("n", "*"), revision-1)
			t.ok(err)
			sees("Since", t.byKey(since)[key])
		}
		t.writeTo(s, store.Op{Key: t.key("gone"), Value: []byte("x")}, store.Op{Key: t.key("gone"), Delete: true})
		if m, err = s.Get(t.ctx, t.key("gone")); err != nil || m.Live() {
			t.Fatalf("Get sees what was deleted: %+v, %v", m, err)
		}
	}
}

// otherSessions: what others have written is seen after Revision has asked for it.
func otherSessions(t *test) {
	for i := range 10 {
		for name, raise := range map[string]func(store.Store) error{
			"CatchUp": func(s store.Store) error { return store.CatchUp(t.ctx, s) },
			"Agreed":  func(s store.Store) error { _, err := s.Revision(t.ctx, store.Agreed); return err },
		} {
			key := t.key(name, i)
			revision := t.put(key, "x")
			s := t.Store()
			t.ok(raise(s))
			m, err := s.Get(t.ctx, key)
			t.ok(err)
			found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key(name, "*")}})
			t.ok(err)
			if m.Revision != revision || len(found.Messages) != i+1 {
				t.Fatalf("after %s: %+v, and %d of %d keys", name, m, len(found.Messages), i+1)
			}
		}
	}
}

// feed: what is there, CaughtUp once, and then every change in order.
func feed(t *test) {
	s := t.reader()
	for i := range 3 {
		t.put(t.key("n", i), fmt.Sprint(i))
	}
	t.remove(t.key("n", 2))
	t.put(t.key("other"), "x")
	t.ok(store.CatchUp(t.ctx, s))
	f, err := s.Feed(t.ctx, store.FeedOptions{Pattern: t.key("n", "*")})
	t.ok(err)
	defer f.Close()
	var at uint64
	state := map[string]store.Message{}
	next := func() store.Event {
		t.Helper()
		ev, err := f.Next(t.ctx)
		t.ok(err)
		if ev.Kind == store.Changed {
			if ev.Message.Revision <= at {
				t.Fatalf("%+v comes after %d", ev.Message, at)
			}
			if ev.Message.Time.IsZero() {
				t.Fatalf("%+v has no time", ev.Message)
			}
			at = ev.Message.Revision
			state[ev.Message.Key] = ev.Message
		}
		return ev
	}
	for ev := next(); ev.Kind != store.CaughtUp; ev = next() {
		if ev.Kind != store.Changed {
			t.Fatalf("%+v before CaughtUp", ev)
		}
	}
	if m, ok := state[t.key("n", 2)]; ok && !m.Deleted {
		t.Errorf("deleted before: %+v", m)
	}
	delete(state, t.key("n", 2)) // its delete marker may come, or not
	t.expect("caught up", state, map[string]string{t.key("n", 0): "0", t.key("n", 1): "1"})

	t.put(t.key("other"), "y")
	t.put(t.key("n", 0), "changed")
	t.remove(t.key("n", 1))
	end := t.put(t.key("n", 3), "new")
	for at < end {
		if ev := next(); ev.Kind != store.Changed {
			t.Fatalf("%+v after CaughtUp", ev)
		}
	}
	t.expect("changed", state, map[string]string{t.key("n", 0): "changed", t.key("n", 1): deleted, t.key("n", 3): "new"})

	original := t.now(t.key("n", 3))
	t.write(store.Op{Key: original.Key, Value: original.Value, Fence: original.Revision, Conditional: true, Expect: original.Revision})
	if ev := next(); ev.Message.Fence != original.Revision || ev.Message.Version() != original.Revision {
		t.Errorf("a fence: %+v", ev)
	}

	ended, cancel := context.WithCancel(t.ctx)
	cancel()
	if _, err := f.Next(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with an ended context: %v", err)
	}

	empty, err := s.Feed(t.ctx, store.FeedOptions{Pattern: t.key("none", "*")})
	t.ok(err)
	defer empty.Close()
	if ev, err := empty.Next(t.ctx); err != nil || ev.Kind != store.CaughtUp {
		t.Errorf("a feed of nothing begins with %+v, %v", ev, err)
	}
}

// feedAfter: what was written later comes, in order, and nothing else; it tells batches.
func feedAfter(t *test) {
	s := t.reader()
	t.put(t.key("n", 0), "before")
	after := t.put(t.key("n", 1), "one")
	f, err := s.Feed(t.ctx, store.FeedOptions{Pattern: t.key("n", "*"), After: after})
	t.ok(err)
	defer f.Close()
	want := map[string]bool{} // the keys, and whether they are in a batch that goes on
	want[t.key("n", 2)] = false
	t.put(t.key("n", 2), "two")
	if t.Writer.Traits().Writes != store.Phased {
		_, err = t.Writer.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("n", 3)}, {Key: t.key("beside")}, {Key: t.key("n", 4)}, {Key: t.key("n", 5)}}})
		t.ok(err)
		want[t.key("n", 3)], want[t.key("n", 4)], want[t.key("n", 5)] = true, true, false
	}
	for at := after; len(want) > 0; {
		ev, err := f.Next(t.ctx)
		t.ok(err)
		m := ev.Message
		batched, ok := want[m.Key]
		if ev.Kind != store.Changed || m.Revision <= at || !ok || m.Batched != batched {
			t.Fatalf("after %d comes %+v; %v are left", at, ev, want)
		}
		delete(want, m.Key)
		at = m.Revision
	}
}

// calls makes every call of the port that takes a request, whatever the kind of the
// bucket, and gives its error to each.
func (t *test) calls(ctx context.Context, s store.Store, each func(name string, err error)) {
	key := t.key("k")
	pattern := t.key("*")
	_, err := s.Get(ctx, key)
	each("Get", err)
	_, err = s.GetLatest(ctx, key)
	each("GetLatest", err)
	_, err = store.GetMany(ctx, s, []string{key, t.key("l")})
	each("GetMany", err)
	each("GetEach", s.GetEach(ctx, []string{key, t.key("l")}, func(int, store.Message) {}))
	_, err = s.Read(ctx, store.Lookup{Patterns: []string{pattern}})
	each("Lookup", err)
	_, err = t.collect(store.Match(ctx, s, pattern))
	each("Match", err)
	_, err = t.collect(s.Scan(ctx, pattern, store.ScanOptions{}))
	each("Scan", err)
	_, err = s.Count(ctx, pattern, store.Exactly)
	each("Count", err)
	_, err = s.Count(ctx, pattern, store.About)
	each("Size", err)
	if t.Refuses&Read == 0 {
		_, err = s.Read(ctx, store.Lookup{Patterns: []string{pattern}, Exact: true})
		each("Read", err)
	}
	if !t.Frozen {
		_, err = s.Changes(ctx, pattern, 0)
		each("Changes", err)
		_, err = store.Since(ctx, s, pattern, 0)
		each("Since", err)
		_, err = s.Revision(ctx, store.Acknowledged)
		each("Revision", err)
	}
	if t.Refuses&Revisions == 0 {
		_, err = s.Last(ctx, pattern)
		each("Last", err)
		_, err = s.Revision(ctx, store.Whole)
		each("Whole", err)
	}
	if t.Refuses&Feeds == 0 {
		f, err := s.Feed(ctx, store.FeedOptions{Pattern: pattern})
		if err == nil {
			f.Close()
		}
		each("Feed", err)
	}
	if s.Traits().Replicable {
		each("CatchUp", store.CatchUp(ctx, s))
		_, err = s.Revision(ctx, store.Agreed)
		each("Agreed", err)
	}
	if t.Refuses&Writes == 0 {
		each("Write", s.Write(ctx, store.Op{Key: key})[0].Err)
		_, err = s.Batch(ctx, store.Batch{Ops: []store.Op{{Key: key}}})
		each("Batch", err)
		_, err = s.Batch(ctx, store.Batch{Ops: []store.Op{{Key: key}}, Shared: true})
		each("Share", err)
	}
}

// endedContext: every call says so, and nothing is written.
func endedContext(t *test) {
	ended, cancel := context.WithCancel(t.ctx)
	cancel()
	t.calls(ended, t.Store(), func(name string, err error) {
		if !errors.Is(err, context.Canceled) || !store.Transient(err) {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.unchanged(t.key("k"), 0)
}

// closed: every call says so.
func closed(t *test) {
	s := t.Store()
	var waiting chan error
	if t.Refuses&Feeds == 0 {
		f, err := s.Feed(t.ctx, store.FeedOptions{Pattern: t.key("*")})
		t.ok(err)
		defer f.Close()
		ev, err := f.Next(t.ctx)
		t.ok(err)
		if ev.Kind != store.CaughtUp {
			t.Fatalf("%+v", ev)
		}
		waiting = make(chan error, 1)
		go func() {
			_, err := f.Next(t.ctx)
			waiting <- err
		}()
	}
	t.Close(s)
	if waiting != nil {
		t.is(<-waiting, t.Ended)
	}
	t.calls(t.ctx, s, func(name string, err error) {
		if !errors.Is(err, t.Ended) {
			t.Errorf("%s: %v, want %v", name, err, t.Ended)
		}
	})
}
