package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// step is a Migration that does nothing but f.
func step(name string, f func(ctx context.Context) error) natsorm.Migration {
	return natsorm.Migration{Name: name, Up: func(ctx context.Context, _ *natsorm.DB) error { return f(ctx) }}
}

// nothing is a Migration that does nothing.
func nothing(name string) natsorm.Migration {
	return step(name, func(context.Context) error { return nil })
}

// states is what the bucket has of its migrations: "a done, b failed".
func states(t *testing.T, db *natsorm.DB) string {
	t.Helper()
	var out []string
	for _, m := range must[[]natsorm.AppliedMigration](t)(db.Migrations(within(t))) {
		out = append(out, m.Name+" "+string(m.State))
	}
	return strings.Join(out, ", ")
}

// noLease fails the test when somebody holds the lease.
func noLease(t *testing.T, db *natsorm.DB) {
	t.Helper()
	if e, err := db.KV().Get(within(t), "_lease.migration"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the lease is there: %v, %v", e, err)
	}
}

// Eight programs begin with the same steps at the same time. Each step is carried out once, and
// each program returns when all are done.
func TestMigrateOnce(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *natsorm.DB{"memory": natsormtest.New, "files": onFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := open(t)
			const programs, steps = 8, 5
			var calls [steps]atomic.Int64
			var at atomic.Int64 // steps that are under way
			var mu sync.Mutex
			var all []string
			var list []natsorm.Migration
			for i := range steps {
				list = append(list, natsorm.Migration{Name: fmt.Sprint("step-", i), Up: func(ctx context.Context, db *natsorm.DB) error {
					if n := at.Add(1); n != 1 {
						t.Errorf("%d programs are at a step", n)
					}
					defer at.Add(-1)
					calls[i].Add(1)
					users, err := natsorm.Define[user](ctx, db)
					if err != nil {
						return err
					}
					return users.Create(ctx, &user{ID: int64(i), Email: fmt.Sprint(i)})
				}})
			}
			var wg sync.WaitGroup
			for range programs {
				program := another(t, db)
				wg.Go(func() {
					applied, err := program.Migrate(ctx, list...)
					if err != nil {
						t.Error(err)
					}
					for i := range calls {
						if calls[i].Load() != 1 {
							t.Errorf("step %d was called %d times when a program goes on", i, calls[i].Load())
						}
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, applied...)
				})
			}
			wg.Wait()
			slices.Sort(all)
			if diff := cmp.Diff([]string{"step-0", "step-1", "step-2", "step-3", "step-4"}, all); diff != "" {
				t.Error(diff)
			}
			if n := must[int](t)(define[user](t, db).Count(ctx)); n != steps {
				t.Errorf("%d records", n)
			}
			if applied, err := db.Migrate(ctx, list...); err != nil || applied != nil {
				t.Errorf("again: %v, %v", applied, err)
			}
			if names := must[[]natsorm.Schema](t)(db.Models(ctx)); len(names) != 1 {
				t.Errorf("Models has %v", names)
			}
			noLease(t, db)
		})
	}
}

// A step that fails is recorded, and ends the call; the next one begins with it.
func TestMigrateFails(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	why := &natsorm.ValidationError{Model: "X"}
	broken := true
	var did []string
	do := func(name string, fails bool) natsorm.Migration {
		return step(name, func(context.Context) error {
			did = append(did, name)
			if fails && broken {
				return fmt.Errorf("wrapped: %w", why)
			}
			return nil
		})
	}
	list := []natsorm.Migration{do("a", false), do("b", true), do("c", false)}
	applied, err := db.Migrate(ctx, list...)
	var step *natsorm.MigrationError
	if !errors.As(err, &step) || step.Name != "b" || !slices.Equal(step.Applied, []string{"a"}) || !slices.Equal(applied, []string{"a"}) {
		t.Errorf("got %v and %v", applied, err)
	}
	if found := (*natsorm.ValidationError)(nil); !errors.As(err, &found) || found != why || !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("the cause is not in %v", err)
	}
	for _, part := range []string{`"b"`, "carried out: a", "wrapped", "call Migrate again"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if natsorm.SafeToRetry(err) {
		t.Error("it is said to be safe to retry")
	}
	if got := states(t, db); got != "a done, b failed" {
		t.Error(got)
	}
	noLease(t, db)
	failed := must[[]natsorm.AppliedMigration](t)(db.Migrations(ctx))[1]
	if !strings.Contains(failed.Error, "wrapped") || failed.Tries != 1 || time.Since(failed.Started) > time.Hour || failed.Started.Location() != time.UTC {
		t.Errorf("%+v", failed)
	}
	broken = false
	if applied, err = db.Migrate(ctx, list...); err != nil || !slices.Equal(applied, []string{"b", "c"}) {
		t.Errorf("got %v and %v", applied, err)
	}
	if got := states(t, db); got != "a done, b done, c done" || strings.Join(did, " ") != "a b b c" {
		t.Error(got, did)
	}
	if again := must[[]natsorm.AppliedMigration](t)(db.Migrations(ctx))[1]; again.Error != "" || again.Tries != 2 {
		t.Errorf("%+v", again)
	}
}

// A panic is recorded and goes on, and so does the end of a goroutine; the lease is given back.
func TestMigratePanics(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	for name, c := range map[string]struct {
		up        func()
		recovered any
		says      string
	}{
		"panic":  {func() { panic("boom") }, "boom", "it panicked: boom"},
		"goexit": {runtime.Goexit, nil, "Goexit"},
	} {
		t.Run(name, func(t *testing.T) {
			other := another(t, db)
			var recovered any
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() { recovered = recover() }()
				_, _ = other.Migrate(within(t), step("a", func(context.Context) error {
					c.up()
					return nil
				}))
				t.Error("Migrate returned")
			})
			wg.Wait()
			if recovered != c.recovered {
				t.Errorf("recovered %v", recovered)
			}
			noLease(t, db)
			if got := must[[]natsorm.AppliedMigration](t)(db.Migrations(within(t))); len(got) != 1 || got[0].State != natsorm.MigrationFailed || !strings.Contains(got[0].Error, c.says) {
				t.Errorf("%+v", got)
			}
		})
	}
	if applied := must[[]string](t)(db.Migrate(within(t), nothing("a"))); len(applied) != 1 {
		t.Errorf("it is not run again: %v", applied)
	}
}

// What cannot be right is refused before anything is read or written.
func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	for name, c := range map[string]struct {
		steps []natsorm.Migration
		says  []string
	}{
		"an empty name":  {[]natsorm.Migration{nothing("a"), nothing("")}, []string{"step 2", "empty"}},
		"a name of ours": {[]natsorm.Migration{nothing("_a")}, []string{"step 1", `"_a"`}},
		"a dot":          {[]natsorm.Migration{nothing("a.b")}, []string{"step 1", `"a.b"`}},
		"too long":       {[]natsorm.Migration{nothing(strings.Repeat("x", 65))}, []string{"step 1", "longer than 64"}},
		"twice":          {[]natsorm.Migration{nothing("a"), nothing("b"), nothing("a")}, []string{"step 3", `"a"`, "step 1"}},
		"no Up":          {[]natsorm.Migration{{Name: "a"}}, []string{"step 1", `"a"`, "Up"}},
		"several faults": {[]natsorm.Migration{{Name: "a"}, nothing("")}, []string{"step 1", "step 2"}},
	} {
		applied, err := db.Migrate(ctx, c.steps...)
		if !errors.Is(err, natsorm.ErrInvalid) || applied != nil {
			t.Errorf("%s: %v, %v", name, applied, err)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", name, err, part)
			}
		}
	}
	if applied, err := db.Migrate(ctx); applied != nil || err != nil {
		t.Errorf("no steps: %v, %v", applied, err)
	}
	err := db.Transaction(ctx, func(ctx context.Context) error {
		_, err := db.Migrations(ctx)
		if !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("Migrations in a transaction: %v", err)
		}
		_, err = db.Migrate(ctx, nothing("a"))
		return err
	})
	if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "Migrate is not for transactions") {
		t.Errorf("in a transaction: %v", err)
	}
	_, err = db.Migrate(ctx, natsorm.Migration{Name: "outer", Up: func(ctx context.Context, db *natsorm.DB) error {
		_, err := db.Migrate(natsorm.Outside(ctx), nothing("inner"))
		return err
	}})
	if !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), `called by the migration "outer"`) {
		t.Errorf("nested: %v", err)
	}
	if got := states(t, db); got != "outer failed" {
		t.Error(got)
	}
	if applied := must[[]string](t)(db.Migrate(ctx, natsorm.Migration{Name: "outer", Up: func(ctx context.Context, db *natsorm.DB) error {
		return db.Transaction(ctx, func(ctx context.Context) error { return nil }) // which is allowed
	}})); len(applied) != 1 {
		t.Error(applied)
	}
	ok(t, db.Close())
	if _, err := db.Migrate(ctx, nothing("a")); !errors.Is(err, natsorm.ErrClosed) {
		t.Errorf("of a closed DB: %v", err)
	}
}

// A list that contradicts what the bucket has had is ErrSchema, and nothing is carried out.
func TestMigrateOrder(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	must[[]string](t)(db.Migrate(ctx, nothing("a"), nothing("b"), nothing("c")))
	for _, names := range []string{"b c", "a c", "b a c", "a x b c", "x"} {
		var list []natsorm.Migration
		for _, name := range strings.Fields(names) {
			list = append(list, step(name, func(context.Context) error {
				t.Errorf("%s: %s is called", names, name)
				return nil
			}))
		}
		if applied, err := db.Migrate(ctx, list...); !errors.Is(err, natsorm.ErrSchema) || applied != nil {
			t.Errorf("%s: %v, %v", names, applied, err)
		}
	}
	for names, want := range map[string]int{"a": 0, "a b": 0, "a b c": 0} { // older programs
		var list []natsorm.Migration
		for _, name := range strings.Fields(names) {
			list = append(list, nothing(name))
		}
		if applied, err := db.Migrate(ctx, list...); err != nil || len(applied) != want {
			t.Errorf("%s: %v, %v", names, applied, err)
		}
	}
}

// When the caller's context ends in a step, the lease is given back, and what the step says
// counts: one that returns no error is done.
func TestMigrateContextEnds(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	ctx, cancel := context.WithCancel(within(t))
	applied, err := db.Migrate(ctx, nothing("a"),
		step("b", func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return nil
		}), nothing("c"))
	if !errors.Is(err, context.Canceled) || !slices.Equal(applied, []string{"a", "b"}) {
		t.Errorf("%v, %v", applied, err)
	}
	if step := new(natsorm.MigrationError); !errors.As(err, &step) || step.Name != "c" {
		t.Errorf("got %v", err)
	}
	if got := states(t, db); got != "a done, b done" {
		t.Error(got)
	}
	noLease(t, db)
	ctx, cancel = context.WithCancel(within(t))
	_, err = db.Migrate(ctx, nothing("a"), nothing("b"), step("c", func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}))
	if step := new(natsorm.MigrationError); !errors.Is(err, context.Canceled) || !errors.As(err, &step) || step.Name != "c" {
		t.Errorf("got %v", err)
	}
	if got := states(t, db); got != "a done, b done, c failed" {
		t.Error(got)
	}
	noLease(t, db)
}

// Who waits for another program hears that its context has ended, and has changed nothing.
func TestMigrateWaitEnds(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	other := another(t, db)
	must[[]string](t)(db.Migrate(ctx, step("a", func(context.Context) error {
		short, cancel := context.WithTimeout(ctx, time.Second) // enough to see that it has to wait
		defer cancel()
		applied, err := other.Migrate(short, nothing("a"))
		if !errors.Is(err, context.DeadlineExceeded) || applied != nil || !natsorm.SafeToRetry(err) || !strings.Contains(err.Error(), "waited for another program") {
			t.Errorf("%v, %v", applied, err)
		}
		if got := states(t, other); got != "a running" {
			t.Error(got)
		}
		return nil
	})))
}

// Closing the DB ends a step's context; another program goes on when the lease lapses.
func TestCloseDuringMigrate(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	other := another(t, db)
	natsorm.Lapse(other, 2*time.Second)
	_, err := other.Migrate(ctx, step("a", func(ctx context.Context) error {
		other.Close()
		<-ctx.Done()
		return context.Cause(ctx)
	}))
	if step := new(natsorm.MigrationError); !errors.Is(err, natsorm.ErrClosed) || !errors.As(err, &step) {
		t.Errorf("got %v", err)
	}
	if applied := must[[]string](t)(db.Migrate(ctx, nothing("a"))); len(applied) != 1 {
		t.Error(applied)
	}
}

// A program loses its connection in the middle of a step, and another one goes on in its
// place. The step's context ends before that; what it says when it goes on is not recorded.
func TestMigrateStalls(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("as long as leases lapse")
	}
	for _, ignores := range []bool{false, true} {
		t.Run(fmt.Sprint("ignores its context ", ignores), func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			srv := serve(t, embedded.Config{Port: -1})
			db := natsormtest.Open(t, srv, "stall")
			proxy := testbed.StartProxy(t, srv.URL())
			stalled := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{proxy.URL()}, Bucket: "stall"}))
			t.Cleanup(func() { stalled.Close() })
			natsorm.Lapse(stalled, 3*time.Second)

			var ended, taken atomic.Bool
			took := make(chan struct{})
			err := make(chan error, 1)
			began := make(chan struct{})
			go func() {
				_, e := stalled.Migrate(ctx, nothing("a"), step("b", func(ctx context.Context) error {
					close(began)
					<-ctx.Done()
					ended.Store(true)
					if taken.Load() {
						t.Error("another program has begun the step before the context of this one ended")
					}
					<-took
					if ignores {
						return nil
					}
					return ctx.Err()
				}), step("c", func(context.Context) error {
					t.Error("the step after it is called")
					return nil
				}))
				err <- e
			}()
			<-began
			proxy.Block()
			applied := must[[]string](t)(db.Migrate(ctx, nothing("a"), step("b", func(context.Context) error {
				taken.Store(true)
				if !ended.Load() {
					t.Error("the context of the stalled step has not ended")
				}
				return nil
			}), nothing("c")))
			if !slices.Equal(applied, []string{"b", "c"}) {
				t.Errorf("the other program has carried out %v", applied)
			}
			want := must[[]natsorm.AppliedMigration](t)(db.Migrations(ctx))
			proxy.Unblock()
			ok(t, testbed.Until(ctx, func(ctx context.Context) error { _, err := stalled.Migrations(ctx); return err }))
			close(took)
			e := <-err
			if step := new(natsorm.MigrationError); !errors.Is(e, natsorm.ErrConflict) || !errors.As(e, &step) || step.Name != "b" || !strings.Contains(e.Error(), "another program has taken the step over") {
				t.Errorf("it says %v", e)
			}
			if diff := cmp.Diff(want, must[[]natsorm.AppliedMigration](t)(db.Migrations(ctx))); diff != "" {
				t.Errorf("the stalled program has changed what is recorded:\n%s", diff)
			}
			noLease(t, db)
			if applied, err := stalled.Migrate(ctx, nothing("a"), nothing("b"), nothing("c")); err != nil || applied != nil {
				t.Errorf("afterwards: %v, %v", applied, err)
			}
		})
	}
}

// A bucket that is restored knows which migrations the backup has had.
func TestMigrationsAreRestored(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]natsorm.BackupOption{nil, {natsorm.SequelizeFile()}} {
		ctx := within(t)
		db := natsormtest.New(t)
		users := define[user](t, db)
		backup := func() []byte {
			var file bytes.Buffer
			ok(t, db.Backup(ctx, &file, opts...))
			return file.Bytes()
		}
		before := backup()
		ok(t, users.Create(ctx, &user{ID: 1, Email: "1"}))
		var during []byte
		must[[]string](t)(db.Migrate(ctx, nothing("a"), step("b", func(context.Context) error {
			during = backup() // in the middle of b
			return nil
		})))
		after := backup()
		must[[]string](t)(db.Migrate(ctx, nothing("a"), nothing("b"), nothing("c")))

		// Into the same bucket, which has had more: its records and those of the file are not
		// of one kind.
		for name, file := range map[string][]byte{"before": before, "during": during, "after": after} {
			if err := db.Restore(ctx, bytes.NewReader(file)); !errors.Is(err, natsorm.ErrSchema) || !strings.Contains(err.Error(), "a, b, c") || !strings.Contains(err.Error(), "DeleteOthers") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := states(t, db); got != "a done, b done, c done" {
			t.Error(got)
		}
		// In place of what it has.
		for _, c := range []struct {
			file []byte
			has  string
		}{{before, ""}, {after, "a done, b done"}, {during, "a done, b running"}, {before, ""}, {during, "a done, b running"}} {
			ok(t, db.Restore(ctx, bytes.NewReader(c.file), natsorm.DeleteOthers()))
			if got := states(t, db); got != c.has {
				t.Errorf("%q, want %q", got, c.has)
			}
		}
		if applied := must[[]string](t)(db.Migrate(ctx, nothing("a"), nothing("b"))); !slices.Equal(applied, []string{"b"}) {
			t.Errorf("what ran when the backup was made: %v", applied)
		}
		// To what has had the same.
		ok(t, db.Restore(ctx, bytes.NewReader(after)))

		// Into an empty bucket, also one in which a restore was interrupted early.
		for range 2 {
			other := natsormtest.New(t)
			ok(t, other.Restore(ctx, bytes.NewReader(after)))
			if got := states(t, other); got != "a done, b done" {
				t.Error(got)
			}
			if applied := must[[]string](t)(other.Migrate(ctx, nothing("a"), nothing("b"), nothing("c"))); !slices.Equal(applied, []string{"c"}) {
				t.Error(applied)
			}
		}
		interrupted := natsormtest.New(t)
		must[[]string](t)(interrupted.Migrate(ctx, nothing("a")))
		ok(t, interrupted.Restore(ctx, bytes.NewReader(after)))
		if got := states(t, interrupted); got != "a done, b done" {
			t.Error(got)
		}
	}
}

// Nothing else that natsorm does sees the records, or touches them.
func TestMigrationsAreApart(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	users := define[user](t, db)
	w := must[*natsorm.Watcher[user]](t)(users.Watch(ctx))
	defer w.Stop()
	must[[]string](t)(db.Migrate(ctx, natsorm.Migration{Name: "user", Up: func(ctx context.Context, db *natsorm.DB) error {
		users, err := natsorm.Define[user](ctx, db)
		if err != nil {
			return err
		}
		return users.Create(ctx, &user{ID: 7, Email: "7"})
	}}))
	if c := <-w.Changes(); c.After == nil || c.After.ID != 7 {
		t.Errorf("the watch has %+v", c)
	}
	ok(t, users.Truncate(ctx))
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
	if got := states(t, db); got != "user done" {
		t.Error(got)
	}
	if models := must[[]natsorm.Schema](t)(db.Models(ctx)); len(models) != 1 || models[0].Name != "user" {
		t.Errorf("Models has %v", models)
	}
}

// The Logger is told which steps begin, are done and fail.
func TestMigrateLogs(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	var log bytes.Buffer
	db := natsormtest.New(t)
	told := must[*natsorm.DB](t)(natsorm.New(ctx, db.Conn(), natsorm.Config{Bucket: db.KV().Bucket(), Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	t.Cleanup(func() { told.Close() })
	_, err := told.Migrate(ctx, nothing("a"), step("b", func(context.Context) error { return errors.New("no") }))
	if err == nil {
		t.Error("it did not fail")
	}
	var got []string
	for line := range strings.Lines(log.String()) {
		_, after, _ := strings.Cut(line, "level=")
		level, after, _ := strings.Cut(after, " msg=\"natsorm: a migration ")
		what, after, _ := strings.Cut(after, "\" name=")
		got = append(got, level+" "+after[:1]+" "+what)
	}
	if diff := cmp.Diff([]string{"INFO a begins", "INFO a is done", "INFO b begins", "WARN b failed"}, got); diff != "" {
		t.Errorf("%s\n%s", diff, &log)
	}
}

// Each user of docs/permissions.md who may write may migrate; one who may only read may call
// Migrate too, where all steps are done.
func TestMigratePermissions(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	srv := withUsers(t, documentedUsers(t)...)
	admin := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, "admin")))
	t.Cleanup(func() { natsormtest.Prove(t, admin); admin.Close() })
	must[[]string](t)(admin.Migrate(ctx, nothing("admin")))
	steps := []natsorm.Migration{nothing("admin")}
	for _, name := range []string{"reader", "writer", "keeper", "owner"} {
		db := must[*natsorm.DB](t)(natsorm.Open(ctx, as(srv, name)))
		if applied, err := db.Migrate(ctx, steps...); err != nil || applied != nil {
			t.Errorf("%s, nothing to do: %v, %v", name, applied, err)
		}
		applied, err := db.Migrate(ctx, append(steps, nothing(name))...)
		if name == "reader" {
			if !errors.Is(err, natsorm.ErrPermission) || !strings.Contains(err.Error(), `"$KV.shop._lease.migration"`) {
				t.Errorf("%s: %v", name, err)
			}
		} else {
			if err != nil || len(applied) != 1 {
				t.Errorf("%s: %v, %v", name, applied, err)
			}
			steps = append(steps, nothing(name))
		}
		if all := must[[]natsorm.AppliedMigration](t)(db.Migrations(ctx)); len(all) != len(steps) {
			t.Errorf("%s: %v", name, all)
		}
		db.Close()
	}
}

// Migrate needs neither direct gets nor batches nor message TTLs, and a bucket may keep the history of
// its keys.
func TestMigrateOnOtherBuckets(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	kept := must[*natsorm.DB](t)(serve(t, embedded.Config{}).Open(ctx, natsorm.Config{Bucket: "history", History: 5}))
	t.Cleanup(func() { natsormtest.Prove(t, kept); kept.Close() })
	for name, db := range map[string]*natsorm.DB{
		"without direct get": withoutDirectGet(t, ctx),
		"without batches":    withoutBatches(t, ctx),
		"with history":       kept,
	} {
		for _, c := range []struct{ list, does string }{{"a b", "a b"}, {"a b", ""}, {"a b c", "c"}} {
			var list []natsorm.Migration
			for _, name := range strings.Fields(c.list) {
				list = append(list, nothing(name))
			}
			if applied, err := db.Migrate(ctx, list...); err != nil || strings.Join(applied, " ") != c.does {
				t.Errorf("%s: %v, %v", name, applied, err)
			}
			noLease(t, db)
		}
		if got := states(t, db); got != "a done, b done, c done" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
