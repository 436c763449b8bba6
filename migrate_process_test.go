package natsorm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// migrateURL tells a copy of the test binary to be a process that migrates.
const migrateURL = "NATSORM_TEST_MIGRATE_URL"

// processLapse is how long the leases of those processes last.
const processLapse = 4 * time.Second

// TestBeMigrating is not a test but a process of the tests below: it says when it is at the
// step b, in which it stays until its context ends, and what Migrate says.
func TestBeMigrating(t *testing.T) {
	url := os.Getenv(migrateURL)
	if url == "" {
		t.Skip("runs as a process of TestMigrateKilled and TestMigrateSuspended")
	}
	ctx := t.Context()
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "processes"}))
	defer db.Close()
	natsorm.Lapse(db, processLapse)
	users := define[user](t, db)
	applied, err := db.Migrate(ctx,
		step("a", func(ctx context.Context) error { return put(ctx, users, 1) }),
		step("b", func(ctx context.Context) error {
			if err := put(ctx, users, 2); err != nil {
				return err
			}
			fmt.Println("at b")
			<-ctx.Done()
			return nil
		}), step("c", func(context.Context) error {
			fmt.Println("at c")
			return nil
		}))
	fmt.Printf("applied %v, conflict %t, error %v\n", applied, errors.Is(err, natsorm.ErrConflict), err)
}

// put writes a record, in a way that can be repeated.
func put(ctx context.Context, users *natsorm.Model[user], id int) error {
	_, err := users.Upsert(ctx, &user{ID: int64(id), Email: fmt.Sprint(id)})
	return err
}

// migrating starts such a process, and waits until it is at b. lines are what it says after
// that.
func migrating(t *testing.T, srv *embedded.Server) (p *os.Process, lines <-chan string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBeMigrating$", "-test.v")
	cmd.Env = append(os.Environ(), migrateURL+"="+srv.URL())
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	ok(t, cmd.Start())
	said := make(chan string, 100)
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	go func() {
		defer close(ended)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			said <- scan.Text()
		}
		close(said)
		_ = cmd.Wait()
	}()
	for line := range said {
		if line == "at b" {
			return cmd.Process, said
		}
	}
	t.Fatal("the process ended before it was at b")
	return nil, nil
}

// after is a program that comes after such a process, and carries out what that has not.
func after(t *testing.T, db *natsorm.DB, want ...string) {
	t.Helper()
	users := define[user](t, db)
	var steps []natsorm.Migration
	for i, name := range []string{"a", "b", "c"} {
		steps = append(steps, step(name, func(ctx context.Context) error {
			return put(ctx, users, i+1)
		}))
	}
	if applied := must[[]string](t)(db.Migrate(within(t), steps...)); !slices.Equal(applied, want) {
		t.Errorf("it has carried out %v, want %v", applied, want)
	}
	if got := states(t, db); got != "a done, b done, c done" {
		t.Error(got)
	}
	if n := must[int](t)(users.Count(within(t))); n != 3 {
		t.Errorf("%d records", n)
	}
}

// A process is killed in the middle of a step. The next one waits until its lease lapses, and
// carries out that step and the rest.
func TestMigrateKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("as long as a lease lapses")
	}
	srv := serve(t, embedded.Config{Port: -1})
	db := natsormtest.Open(t, srv, "processes")
	p, lines := migrating(t, srv)
	ok(t, p.Kill())
	for range lines { // until it has ended
	}
	if got := states(t, db); got != "a done, b running" {
		t.Error(got)
	}
	began := time.Now()
	after(t, db, "b", "c")
	// The lease was renewed at the most a sixth of its time, and a tick, before the process died.
	if waited := time.Since(began); waited < processLapse/2 {
		t.Errorf("the lease was taken after %v", waited)
	}
	all := must[[]natsorm.AppliedMigration](t)(db.Migrations(within(t)))
	if all[0].Tries != 1 || all[1].Tries != 2 || all[2].Tries != 1 {
		t.Errorf("%+v", all)
	}
}

// A process stands still in the middle of a step, with all that it does, and goes on when
// another one has carried out that step and the rest. It is told, and begins no other step.
func TestMigrateSuspended(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("as long as a lease lapses")
	}
	srv := serve(t, embedded.Config{Port: -1})
	db := natsormtest.Open(t, srv, "processes")
	p, lines := migrating(t, srv)
	if err := testbed.Suspend(p); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("processes cannot be stopped on this system")
	} else {
		ok(t, err)
	}
	after(t, db, "b", "c")
	want := must[[]natsorm.AppliedMigration](t)(db.Migrations(within(t)))
	ok(t, testbed.Resume(p))
	var said string
	for line := range lines {
		if line == "at c" {
			t.Error("it has begun the next step")
		}
		if strings.HasPrefix(line, "applied ") {
			said = line
		}
	}
	if !strings.HasPrefix(said, "applied [a], conflict true, ") || !strings.Contains(said, "another program has taken the step over") {
		t.Errorf("it says %q", said)
	}
	if got := must[[]natsorm.AppliedMigration](t)(db.Migrations(within(t))); !slices.Equal(want, got) {
		t.Errorf("it has changed what is recorded: %v, was %v", got, want)
	}
}
