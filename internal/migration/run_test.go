package migration_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/migration"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
)

// lapse is how long the leases of programs last that die or stall in a test.
const lapse = time.Second

// writes is how many writes a program makes that carries out two steps: the lease, two records
// for each step, and the end of the lease.
const writes = 6

// A program dies after each of its writes. The next one waits for its lease, if it had one,
// and carries out what is left; a step that is recorded as done is not called again.
func TestCrashAfterEveryWrite(t *testing.T) {
	t.Parallel()
	for n := range writes + 1 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			ctx, b := openBucket(t)
			var c calls
			steps := c.steps("a", "b")
			crashing := fault.CrashAfter(b, n)
			applied, err := runner(crashing, lapse).Run(ctx, steps)
			if crashing.Crashed() != (n < writes) {
				t.Fatalf("crashed: %t", crashing.Crashed())
			}
			if wantErr := n < writes-1; (err != nil) != wantErr { // a lease that could not be given back lapses
				t.Errorf("the call says %v, %v", applied, err)
			}
			was := map[string]migration.State{}
			for _, r := range records(t, ctx, b) {
				was[r.Name] = r.State
			}
			before := map[string]int{"a": c.of["a"], "b": c.of["b"]}
			began := time.Now()
			applied, err = runner(b, lapse).Run(ctx, steps)
			ok(t, err)
			if waited := time.Since(began); 0 < n && n < writes-1 && waited < lapse/2 {
				t.Errorf("the lease of the dead program was taken after %v", waited)
			}
			var want []string
			for _, s := range steps {
				if was[s.Name] != migration.Done {
					want = append(want, s.Name)
				}
			}
			if diff := cmp.Diff(want, applied); diff != "" {
				t.Error(diff)
			}
			for _, r := range records(t, ctx, b) {
				if r.State != migration.Done {
					t.Errorf("%+v", r)
				}
				if was[r.Name] == migration.Done && c.of[r.Name] != before[r.Name] || c.of[r.Name] < 1 || c.of[r.Name] > 2 {
					t.Errorf("%s was %q and is called %d times after %d", r.Name, was[r.Name], c.of[r.Name], before[r.Name])
				}
			}
			if m, err := b.GetLatest(ctx, keys.MigrationLease); err != nil || m.Live() && n != writes-1 {
				t.Errorf("the lease is there: %+v, %v", m, err)
			}
		})
	}
}

// frozen is a program that stands still at one of its writes, with all that it does, until it is
// thawed. That write arrives, whatever has become of its context: before the program stands still,
// or after.
type frozen struct {
	store.Store
	after bool // it has sent the write, and waits for the answer

	mu     sync.Mutex
	left   int           // writes before that one
	froze  chan struct{} // closed when it stands still
	thawed chan struct{}

	once    sync.Once
	arrived chan struct{} // closed when the server has answered to a write after that
}

func freeze(s store.Store, n int, after bool) *frozen {
	return &frozen{Store: s, left: n, after: after, froze: make(chan struct{}), thawed: make(chan struct{}), arrived: make(chan struct{})}
}

// gate lets a call pass, unless the program stands still. writes is 1 for a write.
func (f *frozen) gate(writes int) {
	f.mu.Lock()
	f.left -= writes
	if f.left == -1 && writes > 0 {
		close(f.froze)
	}
	stop := f.left < 0
	f.mu.Unlock()
	if stop {
		<-f.thawed
	}
}

func (f *frozen) Write(ctx context.Context, ops ...store.Op) []store.Result {
	if f.after {
		f.mu.Lock()
		stands := f.left < 0
		f.mu.Unlock()
		if stands {
			<-f.thawed
		}
		defer f.gate(1)
	} else {
		f.gate(1)
	}
	results := f.Store.Write(context.WithoutCancel(ctx), ops...)
	select {
	case <-f.thawed:
		f.once.Do(func() { close(f.arrived) })
	default:
	}
	return results
}

func (f *frozen) GetLatest(ctx context.Context, key string) (store.Message, error) {
	f.gate(0)
	return f.Store.GetLatest(ctx, key)
}

func (f *frozen) Revision(ctx context.Context, c store.Certainty) (uint64, error) {
	f.gate(0)
	return f.Store.Revision(ctx, c)
}

// outcome is what a call of Run returned.
type outcome struct {
	applied []string
	err     error
}

// begin runs steps in a goroutine.
func begin(ctx context.Context, r *migration.Runner, steps []migration.Step) <-chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		applied, err := r.Run(ctx, steps)
		ended <- outcome{applied, err}
	}()
	return ended
}

// A program stands still at each of its writes. Another one goes on in its place. When the
// first one goes on, it changes no record, and begins no step.
func TestStallAtEveryWrite(t *testing.T) {
	t.Parallel()
	for n := range writes {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, after it: %t", n, after), func(t *testing.T) {
				t.Parallel()
				ctx, b := openBucket(t)
				var mine, others calls
				f := freeze(b, n, after)
				ended := begin(ctx, runner(f, lapse), mine.steps("a", "b"))
				<-f.froze
				_, err := runner(b, lapse).Run(ctx, others.steps("a", "b"))
				ok(t, err)
				want := records(t, ctx, b)
				mine.mu.Lock()
				before := fmt.Sprint(mine.of)
				mine.mu.Unlock()
				close(f.thawed)
				out := <-ended
				if got := records(t, ctx, b); !cmp.Equal(want, got) {
					t.Error(cmp.Diff(want, got))
				}
				if now := fmt.Sprint(mine.of); now != before {
					t.Errorf("it has called %s, and before it stood still %s", now, before)
				}
				inStep := !after && (n == 2 || n == 4) // before it records that a step is done
				if errors.Is(out.err, errs.ErrConflict) != inStep || (out.err != nil) != inStep {
					t.Errorf("it says %v, %v", out.applied, out.err)
				}
				if step := new(errs.MigrationError); inStep && (!errors.As(out.err, &step) || step.Name != []string{2: "a", 4: "b"}[n]) {
					t.Errorf("the error names %+v", step)
				}
				for _, r := range want {
					if others.of[r.Name] == 0 && mine.of[r.Name] == 0 || r.State != migration.Done {
						t.Errorf("%+v", r)
					}
				}
			})
		}
	}
}

// A program that stood still before it took the lease, or gave it back, goes on while another
// one is at a step: it neither takes that one's lease, nor deletes it.
func TestStalledProgramLeavesTheLease(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"before it takes it": 0, "before it gives it back": writes - 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, b := openBucket(t)
			var mine, others calls
			f := freeze(b, n, false)
			first := begin(ctx, runner(f, lapse), mine.steps("a", "b"))
			<-f.froze
			at, goOn := make(chan struct{}), make(chan struct{})
			second := begin(ctx, runner(b, 0), append(others.steps("a", "b"), migration.Step{Name: "c", Up: func(context.Context) error {
				close(at)
				<-goOn
				return nil
			}}))
			<-at
			was, err := b.GetLatest(ctx, keys.MigrationLease)
			ok(t, err)
			close(f.thawed)
			<-f.arrived
			if n > 0 { // it has nothing more to do; otherwise it sees that, now or when the other one has ended
				if out := <-first; out.err != nil || len(out.applied) != 2 {
					t.Errorf("%+v", out)
				}
			}
			if now, err := b.GetLatest(ctx, keys.MigrationLease); err != nil || string(now.Value) != string(was.Value) {
				t.Errorf("the lease is %s, %v; it was %s", now.Value, err, was.Value)
			}
			close(goOn)
			if out := <-second; out.err != nil {
				t.Error(out.err)
			}
			if n == 0 {
				if out := <-first; out.err != nil || out.applied != nil {
					t.Errorf("%+v", out)
				}
			}
		})
	}
}

// The context of a step ends before another program may have taken the lease.
func TestContextEndsBeforeTheLease(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	f := freeze(b, 2, false) // at the first renewal
	var others calls
	over := make(chan time.Time, 1)
	first := begin(ctx, runner(f, 3*lapse), []migration.Step{{Name: "a", Up: func(ctx context.Context) error {
		<-ctx.Done()
		over <- time.Now()
		if cause := context.Cause(ctx); !errors.Is(cause, errs.ErrConflict) {
			t.Errorf("the cause is %v", cause)
		}
		return ctx.Err()
	}}})
	<-f.froze
	_, err := runner(b, 0).Run(ctx, others.steps("a"))
	ok(t, err)
	taken := time.Now()
	select {
	case ended := <-over:
		if before := taken.Sub(ended); before < lapse/2 {
			t.Errorf("its context ended only %v before the other one was done", before)
		}
	default:
		t.Error("its context has not ended")
	}
	close(f.thawed)
	if out := <-first; !errors.Is(out.err, errs.ErrConflict) {
		t.Errorf("%+v", out)
	}
}

// Each write finds out what became of it, when its answer is lost.
func TestLostAnswersOfMigrations(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	var c calls
	applied, err := runner(fault.LoseAnswers(b), 0).Run(ctx, c.steps("a", "b"))
	if err != nil || len(applied) != 2 || c.of["a"] != 1 || c.of["b"] != 1 {
		t.Errorf("%v, %v, %v", applied, err, c.of)
	}
	if m, err := b.GetLatest(ctx, keys.MigrationLease); err != nil || m.Live() {
		t.Errorf("the lease is there: %+v, %v", m, err)
	}
}

// A step that takes several times as long as a lease lasts keeps the lease: others wait, and it is
// called once.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	const lapse = 3 * time.Second // a busy machine may be late by seconds
	step := func(up func(context.Context) error) []migration.Step {
		return []migration.Step{{Name: "long", Up: up}}
	}
	began := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		applied, err := runner(b, lapse).Run(ctx, step(func(ctx context.Context) error {
			close(began)
			revisions := map[uint64]bool{}
			for since := time.Now(); time.Since(since) < 2*lapse && ctx.Err() == nil; {
				m, err := b.GetLatest(ctx, keys.MigrationLease)
				if err != nil {
					return err
				}
				revisions[m.Revision] = true
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
			if len(revisions) < 4 {
				return fmt.Errorf("the lease was written %d times", len(revisions))
			}
			return ctx.Err()
		}))
		if err != nil || len(applied) != 1 {
			t.Errorf("%v, %v", applied, err)
		}
	})
	<-began
	applied, err := runner(b, lapse).Run(ctx, step(func(context.Context) error { return errors.New("called again") }))
	if err != nil || applied != nil {
		t.Errorf("%v, %v", applied, err)
	}
	wg.Wait()
}

// stale shows the bucket as it was when it was empty, the first times that it is asked for
// many keys, or for one.
type stale struct {
	store.Store
	many, one int
}

func (s *stale) Read(ctx context.Context, l store.Lookup) (store.Answer, error) {
	if s.many--; s.many >= 0 {
		return store.Answer{}, nil
	}
	return s.Store.Read(ctx, l)
}

func (s *stale) GetLatest(ctx context.Context, key string) (store.Message, error) {
	if key == keys.Migration("a") {
		if s.one--; s.one >= 0 {
			return store.Message{Key: key}, nil
		}
	}
	return s.Store.GetLatest(ctx, key)
}

// A step that is done is not called again by a program that is shown an older state, as by a
// leader that was replaced and does not know it.
func TestStepIsDoneThoughItIsNotShown(t *testing.T) {
	t.Parallel()
	ctx, b := openBucket(t)
	var c calls
	steps := c.steps("a")
	_, err := runner(b, lapse).Run(ctx, steps)
	ok(t, err)
	for _, s := range []*stale{{Store: b, many: 2}, {Store: b, many: 2, one: 1}, {Store: b, many: 4, one: 2}} {
		applied, err := runner(s, lapse).Run(ctx, steps)
		if err != nil || applied != nil || c.of["a"] != 1 {
			t.Errorf("%v, %v, %v", applied, err, c.of)
		}
		if s.many > 0 || s.one > 0 {
			t.Errorf("it was not asked: %+v", s)
		}
	}
}
