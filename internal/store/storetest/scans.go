package storetest

import (
	"fmt"
	"sync"

	"github.com/natsorm/natsorm/internal/store"
)

// scan: the live messages under a pattern, with every option.
func scan(t *test) {
	const n = 1500
	t.fill(n, "n")
	for i := 0; i < n; i += 100 {
		t.remove(t.key("n", i))
	}
	t.put(t.key("other"), "x")
	const live = n - n/100
	s := t.reader()
	// A replica that is behind gives keys that were deleted, unless it is corrected.
	wrong := func(got int, corrected bool) bool {
		return got < live || got > n || got > live && (corrected || !s.Traits().Replicable)
	}
	found := t.scan(s, t.key("n", "*"), store.ScanOptions{})
	if wrong(len(found), false) {
		t.Errorf("%d of %d", len(found), live)
	}
	for key, m := range found {
		if key != t.key("n", string(m.Value)) || !m.Live() || m.Again {
			t.Fatalf("%+v", m)
		}
	}
	current, err := t.collect(store.Current(t.ctx, s, t.key("n", "*")))
	t.ok(err)
	if len(t.byKey(current)) != live {
		t.Errorf("%d of %d are current", len(current), live)
	}
	for _, m := range current {
		if m.Key != t.key("n", string(m.Value)) || !m.Live() {
			t.Fatalf("current: %+v", m)
		}
	}
	for _, err := range store.Current(t.ctx, s, t.key("n", "*")) {
		t.ok(err)
		break
	}
	if got := len(t.scan(s, t.key("none", "*"), store.ScanOptions{})); got != 0 {
		t.Errorf("%d of none", got)
	}
	for _, opts := range []store.ScanOptions{{Keys: true}, {Want: 10}, {Again: true}, {Counted: true}, {Gentle: true}, {Repeats: true}} {
		if got := len(t.scan(s, t.key("n", "*"), opts)); wrong(got, opts.Again) {
			t.Errorf("%+v: %d of %d", opts, got, live)
		}
		got := 0
		for _, err := range s.Scan(t.ctx, t.key("n", "*"), opts) {
			t.ok(err)
			if got++; got == 10 {
				break
			}
		}
	}
}

// scanAfter: a scan goes on after a revision, in the order of revisions.
func scanAfter(t *test) {
	if t.Frozen {
		return // its scans have no order
	}
	const n = 1200
	t.fill(n, "n")
	for i := 0; i < n; i += 7 { // they come last
		t.put(t.key("n", i), fmt.Sprint(i))
	}
	for i := 0; i < n; i += 50 {
		t.remove(t.key("n", i))
	}
	s := t.reader()
	all, err := t.collect(s.Scan(t.ctx, t.key("n", "*"), store.ScanOptions{}))
	t.ok(err)
	for _, gentle := range []bool{false, true} {
		for _, at := range []int{0, 1, len(all) / 2, len(all) - 2, len(all) - 1} {
			opts := store.ScanOptions{After: all[at].Revision, Gentle: gentle}
			rest, err := t.collect(s.Scan(t.ctx, t.key("n", "*"), opts))
			t.ok(err)
			want := len(all) - at - 1
			if len(rest) < want || len(rest) > want && !s.Traits().Replicable { // a replica that is behind gives keys that were deleted
				t.Errorf("after %d of %d: %d", at, len(all), len(rest))
			}
			last := opts.After
			for _, m := range rest {
				if m.Revision <= last {
					t.Errorf("revision %d after %d", m.Revision, last)
				}
				last = m.Revision
			}
		}
	}
}

// underWriters calls look, several times, while others write under a pattern. Of its
// keys, stable ones are live all the while that they never touch (still), and as many
// that they overwrite (moving); others come and go.
func (t *test) underWriters(stable int, look func()) {
	t.Helper()
	t.fill(stable, "n", "still")
	t.fill(stable, "n", "moving")
	const rounds = 150
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := w; i < 2*rounds && t.ctx.Err() == nil; i += 2 {
				for _, r := range t.Writer.Write(t.ctx,
					store.Op{Key: t.key("n", "moving", i%stable), Value: fmt.Append(nil, i)},
					store.Op{Key: t.key("n", "passing", i%10), Value: fmt.Append(nil, i)},
					store.Op{Key: t.key("n", "passing", (i+5)%10), Delete: true},
				) {
					if r.Err != nil {
						t.Error(r.Err)
						return
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	defer func() { <-done }()
	for working := true; working; {
		select {
		case <-done:
			working = false
		default:
		}
		look()
	}
}

// scanUnderWriters: every key that is live all the while comes exactly once, and no
// key twice.
func scanUnderWriters(t *test) {
	const stable = 200
	t.underWriters(stable, func() {
		found, err := t.collect(t.reader().Scan(t.ctx, t.key("n", "*", "*"), store.ScanOptions{}))
		if t.conflicted(err) {
			return
		}
		keys := t.byKey(found)
		for i := range stable {
			for _, kind := range []string{"still", "moving"} {
				if _, ok := keys[t.key("n", kind, i)]; !ok {
					t.Fatalf("%s was live, and did not come", t.key("n", kind, i))
				}
			}
		}
	})
}

// scanWithRepeats: of the messages that cannot be repeats, no two are of one key, and every key
// comes that is live all the while.
func scanWithRepeats(t *test) {
	const stable = 200
	t.underWriters(stable, func() {
		came, sure := map[string]bool{}, map[string]bool{}
		for m, err := range t.reader().Scan(t.ctx, t.key("n", "*", "*"), store.ScanOptions{Repeats: true}) {
			if t.conflicted(err) {
				return
			}
			if !m.Live() || !m.Again && sure[m.Key] && !t.Writer.Traits().Replicable {
				t.Fatalf("%+v has come before", m)
			}
			came[m.Key] = true
			sure[m.Key] = sure[m.Key] || !m.Again
		}
		for i := range stable {
			for _, kind := range []string{"still", "moving"} {
				if key := t.key("n", kind, i); !came[key] || kind == "still" && !sure[key] {
					t.Fatalf("%s was live, and came: %v, for sure: %v", key, came[key], sure[key])
				}
			}
		}
	})
}

// count: exact, with delete markers under the pattern, and after scans.
func count(t *test) {
	const n = 1500
	keys := t.fill(n, "n")
	want := n
	check := func() {
		t.Helper()
		got, err := t.reader().Count(t.ctx, t.key("n", "*"), store.Exactly)
		t.ok(err)
		if got != want {
			t.Fatalf("counted %d of %d", got, want)
		}
	}
	check()
	for _, key := range keys[:20] {
		t.remove(key)
		want--
	}
	check()
	t.scan(t.reader(), t.key("n", "*"), store.ScanOptions{Counted: true})
	check()
	t.put(keys[0], "back")
	want++
	check()
	if got, err := t.reader().Count(t.ctx, t.key("none", "*"), store.Exactly); err != nil || got != 0 {
		t.Errorf("counted %d of none, %v", got, err)
	}
}

// countUnderWriters: as exact while keys are overwritten.
func countUnderWriters(t *test) {
	const stable = 200
	t.underWriters(stable, func() {
		got, err := t.reader().Count(t.ctx, t.key("n", "moving", "*"), store.Exactly)
		if t.conflicted(err) {
			return
		}
		if got != stable {
			t.Fatalf("counted %d of %d", got, stable)
		}
	})
}

// size: about the number of keys, delete markers included. Where nobody writes, a
// replica gets there.
func size(t *test) {
	const n = 50
	keys := t.fill(n, "n")
	t.remove(keys[0])
	for {
		got, err := t.reader().Count(t.ctx, t.key("n", "*"), store.About)
		t.ok(err)
		if got == n {
			return
		}
		if !t.Writer.Traits().Replicable || got > n {
			t.Fatalf("the size of %d is %d", n, got)
		}
	}
}
