package migration

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Step is one migration.
type Step struct {
	Name string
	Up   func(ctx context.Context) error
}

// Runner carries out steps.
type Runner struct {
	Store  store.Store
	Logger *slog.Logger
	Lapse  time.Duration // 0: the default

	id      string
	steps   []Step
	applied []string
	told    bool // that it waits
}

// look is how long one who waits for a lease pauses between two looks at it, at the most.
const look = 250 * time.Millisecond

// errAgain: what was read is not so any more. The records are read again.
var errAgain = errors.New("the records of migrations have changed")

// within marks the context of a step.
type within struct{}

// Check returns what is wrong with a list of steps, and with the context that they are to run
// in. It is ErrInvalid.
func Check(ctx context.Context, steps []Step) error {
	if name, ok := ctx.Value(within{}).(string); ok {
		return fmt.Errorf("%w: Migrate was called by the migration %q, which would wait for itself; add the steps to the list that %q is in", errs.ErrInvalid, name, name)
	}
	var faults []errs.FieldFault
	fault := func(i int, format string, args ...any) {
		faults = append(faults, errs.FieldFault{Field: fmt.Sprintf("step %d", i+1), Problem: fmt.Sprintf(format, args...)})
	}
	seen := map[string]int{}
	for i, s := range steps {
		if err := keys.CheckName(s.Name); err != nil {
			fault(i, "%v", err)
		} else if before, twice := seen[s.Name]; twice {
			fault(i, "it has the name %q, as step %d has; a step is known by its name, give it another one", s.Name, before+1)
		} else if s.Up == nil {
			fault(i, "%q has no Up; give it a function, which may do nothing", s.Name)
		}
		if _, twice := seen[s.Name]; !twice {
			seen[s.Name] = i
		}
	}
	if faults != nil {
		return &errs.ValidationError{Model: "Migrate", Faults: faults}
	}
	return nil
}

// Run carries out those of the steps that are not done, or waits until others have. applied
// are those that it has carried out itself. A Runner runs once.
//
// The error of a step is a *errs.MigrationError, and so is every error after a step was
// carried out. ErrSchema when the steps contradict what the bucket has had; ErrCorrupt when a
// record cannot be read.
func (r *Runner) Run(ctx context.Context, steps []Step) (applied []string, err error) {
	r.id, r.steps, r.Lapse = rand.Text(), steps, cmp.Or(r.Lapse, Lapse)
	next := 0
	for try := 1; ; try++ {
		var at int
		if at, err = r.next(ctx); err != nil || at == len(steps) {
			break
		}
		next = at
		var l *lease
		if l, err = r.wait(ctx); err != nil {
			break
		}
		if l == nil {
			continue
		}
		if err = r.carryOut(l, &next); !errors.Is(err, errAgain) {
			break
		}
		if err = workers.Backoff(ctx, try); err != nil {
			break
		}
	}
	var of *errs.MigrationError
	if err != nil && len(r.applied) > 0 && !errors.As(err, &of) {
		err = r.failed(next, err)
	}
	return r.applied, err
}

// failed is the error of a step.
func (r *Runner) failed(i int, err error) error {
	return &errs.MigrationError{Name: r.steps[min(i, len(r.steps)-1)].Name, Applied: r.applied, Err: err}
}

// next is the position of the first step that is not done.
func (r *Runner) next(ctx context.Context) (int, error) {
	records, err := List(ctx, r.Store)
	if err != nil {
		return 0, err
	}
	return remaining(r.steps, records)
}

// wait takes the lease as soon as it is free. It is nil when the records have to be read
// again: another program has changed the lease.
func (r *Runner) wait(ctx context.Context) (*lease, error) {
	var seen watch
	runner := "" // that it waits for
	for try := 1; ; try++ {
		m, err := r.Store.GetLatest(ctx, keys.MigrationLease)
		switch {
		case err != nil && ctx.Err() != nil && try > 1:
			return nil, waited(runner, ctx.Err())
		case err != nil:
			return nil, fmt.Errorf("natsorm: look whether another program migrates: %w", err)
		}
		if !m.Live() {
			return r.take(ctx, m)
		}
		d, err := decodeLease(m)
		if err != nil {
			return nil, err
		}
		runner = d.Runner
		now := time.Now()
		switch changed := seen.look(m, now); {
		case changed && try > 1:
			return nil, nil
		case !changed && seen.lapsed(d, now):
			l, err := r.take(ctx, m)
			if l != nil {
				r.Logger.Warn("natsorm: the program that migrated does not renew its lease; this one goes on in its place", "runner", d.Runner)
			}
			return l, err
		}
		if !r.told {
			r.told = true
			r.Logger.Info("natsorm: another program migrates; this one waits for it", "runner", d.Runner)
		}
		if err := workers.Sleep(ctx, min(look, time.Duration(d.Lapse)*time.Millisecond/20)); err != nil {
			return nil, waited(d.Runner, err)
		}
	}
}

// waited is the error of one who has waited for another runner until its context ended.
func waited(runner string, err error) error {
	return fmt.Errorf("natsorm: Migrate waited for another program (runner %s), which has not ended: %w: %w", runner, errs.ErrUnwritten, err)
}

func (r *Runner) take(ctx context.Context, m store.Message) (*lease, error) {
	l, err := take(ctx, r.Store, r.id, r.Lapse, m)
	if err != nil {
		return nil, fmt.Errorf("natsorm: take the lease for migrations: %w", err)
	}
	return l, nil
}

// carryOut carries out the steps that are not done, under the lease, which it releases. next
// is the one that it is at. errAgain when the lease was lost between two steps.
func (r *Runner) carryOut(l *lease, next *int) (err error) {
	defer l.release() // also when a step panics
	at, err := r.next(l.ctx)
	for ; err == nil && at < len(r.steps); at++ {
		*next = at
		err = r.step(l, at)
	}
	if lost := l.lost(); lost != nil && err != nil && errors.Is(lost, errs.ErrConflict) && !errors.As(err, new(*errs.MigrationError)) {
		return errAgain
	}
	return err
}

// step carries out one step.
func (r *Runner) step(l *lease, i int) error {
	name := r.steps[i].Name
	m, err := r.Store.GetLatest(l.ctx, keys.Migration(name))
	if err != nil {
		return err
	}
	record := Record{Revision: m.Revision}
	if m.Live() {
		if record, err = Decode(m); err != nil {
			return err
		}
		if record.State == Done {
			return errAgain
		}
	}
	record = Record{Name: name, Position: i + 1, State: Running, Runner: r.id, Started: time.Now().UTC(), Tries: record.Tries + 1, Revision: record.Revision}
	switch err := record.write(l.ctx, r.Store); {
	case errors.Is(err, store.ErrWrongRevision):
		return errAgain
	case err != nil:
		return fmt.Errorf("natsorm: record that the migration %q begins: %w", name, err)
	}
	began := time.Now()
	if err := l.lost(); err != nil {
		_ = r.record(l, &record, began, err) // it does not run; whoever runs it next records that too
		return err
	}
	r.Logger.Info("natsorm: a migration begins", "name", name, "try", record.Tries)
	err = r.call(l, i, &record, began)
	if err == nil {
		r.applied = append(r.applied, name)
		r.Logger.Info("natsorm: a migration is done", "name", name, "took", time.Since(began))
		return nil
	}
	r.Logger.Warn("natsorm: a migration failed", "name", name, "took", time.Since(began), "error", err)
	return r.failed(i, err)
}

// call calls a step and records what became of it. A panic goes on after that.
func (r *Runner) call(l *lease, i int, record *Record, began time.Time) error {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover() // nil: the goroutine ends, as by runtime.Goexit
		err := fmt.Errorf("it panicked: %v", v)
		if v == nil {
			err = errors.New("its goroutine ended, as by runtime.Goexit, before it returned")
		}
		_ = r.record(l, record, began, err) // the panic tells more
		r.Logger.Warn("natsorm: a migration failed", "name", record.Name, "took", time.Since(began), "error", err)
		if v != nil {
			panic(v)
		}
	}()
	err := r.steps[i].Up(context.WithValue(l.ctx, within{}, record.Name))
	returned = true
	if lost := l.lost(); lost != nil && err != nil && errors.Is(lost, errs.ErrConflict) {
		err = fmt.Errorf("%w: %w", lost, err)
	}
	if e := r.record(l, record, began, err); e != nil && (err == nil || errors.Is(e, errs.ErrConflict)) {
		err = errors.Join(e, err)
	}
	return err
}

// record records how a step ended, also when the caller's context has ended. ErrConflict when
// another program has taken the step over.
func (r *Runner) record(l *lease, record *Record, began time.Time, failure error) error {
	record.State, record.Took = Done, time.Since(began).Milliseconds()
	if failure != nil {
		record.State, record.Error = Failed, failure.Error()
	}
	ctx, cancel := afterwards(l.ctx)
	defer cancel()
	switch err := record.write(ctx, r.Store); {
	case errors.Is(err, store.ErrWrongRevision):
		return fmt.Errorf("%w: another program has taken the step over, because this one did not renew its lease in time; what the step did here may have been done twice, and the record is the other program's", errs.ErrConflict)
	case errors.Is(err, store.ErrUnknown):
		return fmt.Errorf("%w: the step has ended, and whether that was recorded is not known; call Migrate again, which runs it again if it was not: %w", errs.ErrUnknownOutcome, err)
	case err != nil:
		return fmt.Errorf("the step has ended, and that could not be recorded, so the next Migrate runs it again: %w", err)
	}
	return nil
}
