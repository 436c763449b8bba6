package storetest

import (
	"fmt"
	"sync"

	"github.com/natsorm/natsorm/internal/store"
)

// get: live, deleted and absent keys, from any server and from the leader.
func get(t *test) {
	live, gone, purged, absent := t.key("live"), t.key("gone"), t.key("purged"), t.key("absent")
	t.put(live, "old")
	revision := t.put(live, "new")
	t.put(gone, "x")
	marker := t.remove(gone)
	t.put(purged, "x")
	t.write(store.Op{Key: purged, Delete: true, Purge: true})
	s := t.reader()
	for name, get := range map[string]func(key string) (store.Message, error){
		"Get":       func(key string) (store.Message, error) { return s.Get(t.ctx, key) },
		"GetLatest": func(key string) (store.Message, error) { return s.GetLatest(t.ctx, key) },
	} {
		m, err := get(live)
		t.ok(err)
		if m.Key != live || string(m.Value) != "new" || m.Revision != revision || m.Deleted || !m.Live() || m.Version() != revision {
			t.Errorf("%s of a live key at %d: %+v", name, revision, m)
		}
		m, err = get(gone)
		t.ok(err)
		if m.Key != gone || m.Revision != marker || !m.Deleted || m.Live() {
			t.Errorf("%s of a deleted key at %d: %+v", name, marker, m)
		}
		m, err = get(purged)
		t.ok(err)
		if m.Key != purged || m.Revision == 0 || !m.Deleted || m.Live() {
			t.Errorf("%s of a purged key: %+v", name, m)
		}
		m, err = get(absent)
		t.ok(err)
		if m.Key != absent || m.Revision != 0 || m.Deleted || m.Live() {
			t.Errorf("%s of an absent key: %+v", name, m)
		}
	}
}

// getMany: in the order of the keys, some of them absent or twice, and more than a
// request takes.
func getMany(t *test) {
	keys := t.fill(1100, "n")
	t.remove(keys[7])
	ask := append([]string{keys[3], t.key("absent"), keys[3]}, keys...)
	s := t.reader()
	found, err := store.GetMany(t.ctx, s, ask)
	t.ok(err)
	if len(found) != len(ask) {
		t.Fatalf("%d messages of %d keys", len(found), len(ask))
	}
	check := func(i int, m store.Message) {
		var n int
		switch fmt.Sscan(string(m.Value), &n); {
		case m.Key != ask[i]:
			t.Fatalf("message %d is of %s, not of %s", i, m.Key, ask[i])
		case ask[i] == keys[7] && !m.Deleted, ask[i] == t.key("absent") && m.Revision != 0:
			t.Fatalf("%s: %+v", ask[i], m)
		case m.Live() && keys[n] != m.Key:
			t.Fatalf("%s has the value %s", m.Key, m.Value)
		}
	}
	for i, m := range found {
		check(i, m)
	}

	s = t.reader()
	came := map[int]bool{}
	var one sync.Mutex
	t.ok(s.GetEach(t.ctx, ask, func(i int, m store.Message) {
		if !one.TryLock() {
			t.Error("each is called while it runs")
			return
		}
		defer one.Unlock()
		check(i, m)
		came[i] = true
	}))
	for i, key := range ask {
		if !came[i] && key != t.key("absent") {
			t.Fatalf("%s, at %d, did not come", key, i)
		}
	}
	if found, err := store.GetMany(t.ctx, s, nil); err != nil || len(found) != 0 {
		t.Errorf("no keys: %v, %v", found, err)
	}
}

// lookup: the live messages under keys and patterns.
func lookup(t *test) {
	t.put(t.key("a", 1), "a1")
	t.put(t.key("a", 2), "a2")
	t.put(t.key("a", 3), "a3")
	t.remove(t.key("a", 3))
	t.put(t.key("a", 1, "deep"), "deep")
	t.put(t.key("b", 1), "b1")
	for _, c := range []struct {
		patterns []string
		want     map[string]string
	}{
		{[]string{t.key("a", "*")}, map[string]string{t.key("a", 1): "a1", t.key("a", 2): "a2"}},
		{[]string{t.key("*", 1)}, map[string]string{t.key("a", 1): "a1", t.key("b", 1): "b1"}},
		{[]string{t.key("a", ">")}, map[string]string{t.key("a", 1): "a1", t.key("a", 2): "a2", t.key("a", 1, "deep"): "deep"}},
		{[]string{t.key("a", 2), t.key("b", "*")}, map[string]string{t.key("a", 2): "a2", t.key("b", 1): "b1"}},
		{[]string{t.key("a", 3), t.key("a", 4), t.key("c", ">")}, map[string]string{}},
	} {
		found, err := t.reader().Read(t.ctx, store.Lookup{Patterns: c.patterns})
		t.ok(err)
		t.expect(fmt.Sprint("lookup of ", c.patterns), t.byKey(found.Messages), c.want)
		if found.Left != 0 {
			t.Errorf("lookup of %v left out %d", c.patterns, found.Left)
		}
		for _, m := range found.Messages {
			if found.Revision != 0 && m.Revision > found.Revision {
				t.Errorf("lookup of %v reached %d, and has %d", c.patterns, found.Revision, m.Revision)
			}
		}
	}
	const n, limit = 100, 10
	t.fill(n, "many")
	found, err := t.reader().Read(t.ctx, store.Lookup{Patterns: []string{t.key("many", "*")}, Limit: limit})
	t.ok(err)
	if got := len(t.byKey(found.Messages)); got+found.Left != n || got < limit {
		t.Errorf("a lookup of about %d found %d and left out %d of %d", limit, got, found.Left, n)
	}
}

// lookupTooMany: ErrTooMany, and not a part of the answer.
func lookupTooMany(t *test) {
	const n = 1100
	t.fill(n, "n")
	s := t.reader()
	found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("n", "*")}})
	if t.Unbounded {
		t.ok(err)
		if len(found.Messages) != n {
			t.Errorf("%d of %d", len(found.Messages), n)
		}
	} else {
		t.is(err, store.ErrTooMany)
	}
	if t.Refuses&Read != 0 {
		return
	}
	found, err = s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("n", "*")}, Exact: true})
	if t.Unbounded {
		t.ok(err)
		if len(found.Messages) != n {
			t.Errorf("%d of %d", len(found.Messages), n)
		}
	} else {
		t.is(err, store.ErrTooMany)
	}
}

// match: as lookup, and also where there are many.
func match(t *test) {
	const n = 1100
	t.fill(n, "n")
	t.put(t.key("few", 1), "1")
	t.put(t.key("few", 2), "2")
	t.remove(t.key("few", 2))
	found, err := t.collect(store.Match(t.ctx, t.reader(), t.key("few", "*"), t.key("none", "*")))
	t.ok(err)
	t.expect("few", t.byKey(found), map[string]string{t.key("few", 1): "1"})
	found, err = t.collect(store.Match(t.ctx, t.reader(), t.key("n", "*"), t.key("few", "*")))
	t.ok(err)
	if got := len(t.byKey(found)); got != n+1 {
		t.Errorf("%d of %d", got, n+1)
	}
	got := 0
	for _, err := range store.Match(t.ctx, t.reader(), t.key("n", "*")) {
		t.ok(err)
		if got++; got == 3 {
			break
		}
	}
}

// read: delete markers too, and as of a revision.
func read(t *test) {
	s := t.reader()
	t.put(t.key("a", 1), "a1")
	t.put(t.key("a", 2), "x")
	t.remove(t.key("a", 2))
	acknowledged := t.put(t.key("b"), "b")
	t.ok(store.CatchUp(t.ctx, s))
	found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("a", "*"), t.key("b"), t.key("absent")}, Exact: true})
	t.ok(err)
	t.expect("read", t.byKey(found.Messages), map[string]string{t.key("a", 1): "a1", t.key("a", 2): deleted, t.key("b"): "b"})
	if found.Revision < acknowledged {
		t.Errorf("reached %d, after %d was acknowledged", found.Revision, acknowledged)
	}
	found, err = s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("absent", "*")}, Exact: true})
	if err != nil || len(found.Messages) != 0 || found.Revision < acknowledged {
		t.Errorf("nothing: %v up to %d, %v", found, found.Revision, err)
	}

	// Two keys are written by each batch, so an isolated answer has both of one batch.
	done := make(chan error, 1)
	go func() {
		for i := range 50 {
			value := fmt.Append(nil, i)
			if _, err := t.Writer.Batch(t.ctx, store.Batch{Ops: []store.Op{{Key: t.key("pair", 1), Value: value}, {Key: t.key("pair", 2), Value: value}}}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for working := true; working; {
		select {
		case err := <-done:
			t.ok(err)
			working = false
		default:
		}
		found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("pair", "*")}, Exact: true})
		t.ok(err)
		old := map[string]string{} // those that were the last of their keys then
		for _, m := range found.Messages {
			if m.Revision <= found.Revision {
				old[m.Key] = string(m.Value)
			}
		}
		if one, two := old[t.key("pair", 1)], old[t.key("pair", 2)]; len(old) == 2 && one != two {
			t.Fatalf("up to %d: %s and %s are of two batches", found.Revision, one, two)
		}
	}
}

// fences: they repeat a revision's value, and say so.
func fences(t *test) {
	key := t.key("k")
	original := t.put(key, "v")
	fence := t.write(store.Op{Key: key, Value: []byte("v"), Fence: original, Conditional: true, Expect: original})
	s := t.reader()
	check := func(how string, m store.Message) {
		t.Helper()
		if m.Fence != original || m.Version() != original || m.Revision != fence || string(m.Value) != "v" || !m.Live() {
			t.Errorf("%s, a fence at %d of %d: %+v", how, fence, original, m)
		}
	}
	m, err := s.Get(t.ctx, key)
	t.ok(err)
	check("got", m)
	m, err = s.GetLatest(t.ctx, key)
	t.ok(err)
	check("got from the leader", m)
	check("scanned", t.scan(s, t.key("*"), store.ScanOptions{})[key])
	found, err := s.Read(t.ctx, store.Lookup{Patterns: []string{t.key("*")}})
	t.ok(err)
	check("looked up", t.byKey(found.Messages)[key])
}
