package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/natsormtest"
)

// next is the next change, in a few words.
func next[T any](t *testing.T, w *natsorm.Watcher[T], name func(*T) string) string {
	t.Helper()
	select {
	case c, open := <-w.Changes():
		if !open {
			t.Fatalf("the watch ended: %v", w.Err())
		}
		if c.Err != nil {
			t.Fatal(c.Err)
		}
		s := c.Op.String()
		if c.Before != nil {
			s += " from " + name(c.Before)
		}
		if c.After != nil {
			s += " to " + name(c.After)
		}
		return s + " " + strings.Join(c.Columns, ",")
	case <-time.After(20 * time.Second):
		t.Fatal("no change")
		return ""
	}
}

func expect[T any](t *testing.T, w *natsorm.Watcher[T], name func(*T) string, want ...string) {
	t.Helper()
	for _, s := range want {
		if got := strings.TrimSpace(next(t, w, name)); got != s {
			t.Errorf("got %q, want %q", got, s)
		}
	}
}

func userName(u *user) string { return fmt.Sprintf("%s/%d", u.Name, u.Age) }

func TestWatch(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "1", Age: 30}))

	everything := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
	thirty := must[*natsorm.Watcher[user]](t)(users.Watch(ctx, natsorm.Eq("age", 30)))
	one := must[*natsorm.Watcher[user]](t)(users.Watch(ctx, natsorm.Eq("id", 1)))
	names := must[*natsorm.Watcher[user]](t)(users.Watch(ctx, natsorm.Columns("Name")))
	thirtyNames := must[*natsorm.Watcher[user]](t)(users.Watch(ctx, natsorm.Eq("age", 30), natsorm.Columns("name")))
	current := must[*natsorm.Watcher[user]](t)(users.Watch(ctx, natsorm.WithCurrent()))

	// Each step waits for its change on every watcher that gets one, so that none
	// is overwritten before it is delivered. What a watcher does not get it has
	// passed over when it delivers a later change.
	onlyName := func(u *user) string { return u.Name }
	ok(t, users.Create(ctx, &user{ID: 2, Name: "Bob", Email: "2", Age: 40}))
	expect(t, everything, userName, "created to Bob/40")
	expect(t, names, onlyName, "created to Bob")
	expect(t, current, userName, "created to Ann/30", "caught up", "created to Bob/40")
	must[int](t)(users.Update(ctx, natsorm.Set{"age": 31}, natsorm.Eq("id", 1)))
	expect(t, everything, userName, "updated from Ann/30 to Ann/31 age")
	expect(t, thirty, userName, "left from Ann/30 to Ann/31 age")
	expect(t, one, userName, "updated from Ann/30 to Ann/31 age")
	must[int](t)(users.Update(ctx, natsorm.Set{"age": 30, "name": "Bea"}, natsorm.Eq("id", 2)))
	expect(t, everything, userName, "updated from Bob/40 to Bea/30 name,age")
	expect(t, thirty, userName, "entered from Bob/40 to Bea/30 name,age")
	expect(t, thirtyNames, onlyName, "left from Ann to Ann age", "entered from Bob to Bea name,age")
	expect(t, names, onlyName, "updated from Bob to Bea name,age")
	must[int](t)(users.Update(ctx, natsorm.Set{"age": 30}, natsorm.Eq("id", 2))) // changes nothing
	must[int](t)(users.Update(ctx, natsorm.Set{"email": "b"}, natsorm.Eq("id", 2)))
	for c := range everything.All() {
		if c.Op != natsorm.Updated || c.After.Email != "b" {
			t.Errorf("got %v of %+v", c.Op, c.After)
		}
		break
	}
	expect(t, thirty, userName, "updated from Bea/30 to Bea/30 email")
	must[int](t)(users.Update(ctx, natsorm.Set{"name": "Kim"}, natsorm.Eq("id", 2)))
	expect(t, everything, userName, "updated from Bea/30 to Kim/30 name")
	expect(t, thirtyNames, onlyName, "updated from Bea to Kim name")
	expect(t, names, onlyName, "updated from Bea to Kim name")
	must[int](t)(users.Destroy(ctx, natsorm.Eq("id", 1)))
	expect(t, everything, userName, "deleted from Ann/31")
	expect(t, one, userName, "deleted from Ann/31")
	expect(t, names, onlyName, "deleted from Ann")

	for _, w := range []*natsorm.Watcher[user]{everything, thirty, one, names, thirtyNames, current} {
		w.Stop()
		w.Stop()
		if _, open := <-w.Changes(); open {
			t.Error("a change after Stop")
		}
		if err := w.Err(); err != nil {
			t.Errorf("stopped, with error %v", err)
		}
	}
}

// Whatever the interleaving, each change begins where the last one of its
// record ended, and the last one is what the database holds.
func TestWatchUnderWriters(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	watcher := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				id := int64((w*7 + i) % 10)
				_ = users.Create(ctx, &user{ID: id, Email: fmt.Sprint(id), Age: i})
				_, _ = users.Update(ctx, natsorm.Set{"age": 1000*w + i}, natsorm.Eq("id", id))
				if i%10 == 0 {
					_, _ = users.Destroy(ctx, natsorm.Eq("id", id))
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()

	state := map[int64]user{}
	take := func(c natsorm.Change[user]) {
		if c.Before != nil {
			if known, ok := state[c.Before.ID]; !ok || known != *c.Before {
				t.Errorf("%v of %+v, which was %+v", c.Op, *c.Before, known)
			}
			delete(state, c.Before.ID)
		}
		if c.After != nil {
			if known, ok := state[c.After.ID]; ok {
				t.Errorf("%v to %+v, which is there: %+v", c.Op, *c.After, known)
			}
			state[c.After.ID] = *c.After
		}
	}
	for running := true; running; {
		select {
		case c := <-watcher.Changes():
			take(c)
		case <-done:
			running = false
		}
	}
	ok(t, users.Create(ctx, &user{ID: 999, Email: "the last"}))
	for state[999].ID == 0 {
		take(<-watcher.Changes())
	}
	watcher.Stop()
	all := must[[]*user](t)(users.FindAll(ctx))
	if len(all) != len(state) {
		t.Errorf("the watch ends with %d records, the database with %d", len(state), len(all))
	}
	for _, u := range all {
		if state[u.ID] != *u {
			t.Errorf("the watch ends with %+v, the database with %+v", state[u.ID], *u)
		}
	}
}

func TestWatchEndsWithItsContextAndDB(t *testing.T) {
	t.Parallel()
	srv := serve(t, embedded.Config{})
	db := natsormtest.Open(t, srv, "one")
	users := define[user](t, db)
	ctx, cancel := context.WithCancel(within(t))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
	cancel()
	if _, open := <-w.Changes(); open || w.Err() != nil {
		t.Errorf("after its context: %v, %v", open, w.Err())
	}

	other := must[*natsorm.DB](t)(srv.Open(within(t), natsorm.Config{Bucket: "one"}))
	w = must[*natsorm.Watcher[user]](t)(define[user](t, other).Watch(within(t)))
	ok(t, other.Close())
	if _, open := <-w.Changes(); open || w.Err() != nil {
		t.Errorf("after its DB: %v, %v", open, w.Err())
	}
	if _, err := define[user](t, db).Watch(within(t), natsorm.Columns("nope")); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("an unknown column: %v", err)
	}
}

// The bucket is deleted and made anew under a watch: it says that it lost its
// place, and what there is now.
func TestWatchResyncs(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	users := define[user](t, db)
	ctx := within(t)
	ok(t, users.Create(ctx, &user{ID: 1, Name: "Ann", Email: "1"}))
	ok(t, users.Create(ctx, &user{ID: 2, Name: "Bob", Email: "2"}))
	w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
	js := must[jetstream.JetStream](t)(jetstream.New(db.Conn()))
	stream := must[jetstream.Stream](t)(js.Stream(ctx, "KV_test"))
	conf := stream.CachedInfo().Config
	ok(t, js.DeleteStream(ctx, "KV_test"))
	_, err := js.CreateStream(ctx, conf)
	ok(t, err)
	users = define[user](t, db)
	ok(t, users.Create(ctx, &user{ID: 2, Name: "Bea", Email: "2"}))
	ok(t, users.Create(ctx, &user{ID: 3, Name: "Cid", Email: "3"}))

	ok(t, users.Create(ctx, &user{ID: 4, Name: "Dee", Email: "4"}))

	// When exactly it notices is open; what it says must add up.
	state := map[int64]string{1: "Ann", 2: "Bob"}
	resynced := false
	for state[4] == "" || !resynced {
		select {
		case c, open := <-w.Changes():
			if !open {
				t.Fatalf("the watch ended: %v", w.Err())
			}
			resynced = resynced || c.Op == natsorm.Resynced
			if c.Before != nil {
				if state[c.Before.ID] != c.Before.Name {
					t.Errorf("%v of %s, which was %q", c.Op, c.Before.Name, state[c.Before.ID])
				}
				delete(state, c.Before.ID)
			}
			if c.After != nil {
				state[c.After.ID] = c.After.Name
			}
		case <-ctx.Done():
			t.Fatalf("resynced %v, state %v", resynced, state)
		}
	}
	w.Stop()
	if diff := cmp.Diff(map[int64]string{2: "Bea", 3: "Cid", 4: "Dee"}, state); diff != "" {
		t.Error(diff)
	}
}
