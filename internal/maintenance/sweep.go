package maintenance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// sweepAge is how long a sweep that was called for sees a stray before it takes it, and
	// sweepAgeBeside how long one in the background does. Neither is a rule of safety: see
	// checking.Sweep.
	sweepAge       = time.Second
	sweepAgeBeside = 10 * time.Second

	// sweepRest is how long a sweep in the background rests for the time that it has worked: it
	// takes about 1 % of the time.
	sweepRest = 99
)

// Sweep takes what crashed programs have left in a bucket: strays and leftovers of every model
// (checking.Sweep); what is left of models that were dropped; and it ends a DropIndex, Truncate
// or DropModel that nobody carries on.
//
// Nothing of it needs to be done by one program alone: two that sweep at the same time make the
// same writes, each checked to be at the revision that was read.
//
// errs.ErrConflict while the bucket is being restored.
func Sweep(ctx context.Context, s store.Store) (checking.Swept, error) {
	return sweep(ctx, s, checking.Way{Age: sweepAge, Pace: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
}

// restoring is what keys.Sweeping holds while the bucket is being restored.
const restoring = "restoring"

// unrestored is errs.ErrConflict while the bucket is being restored. A restore writes entries and
// records in any order, and without a condition, so an entry may be there before its record
// although no writer is at it. It says so before it writes the first one. So whoever has read an
// entry, and then finds that no restore has begun, has not read one of a restore.
func unrestored(ctx context.Context, s store.Store) error {
	m, err := s.GetLatest(ctx, keys.Sweeping)
	if err == nil && m.Live() && string(m.Value) == restoring {
		err = fmt.Errorf("%w: the bucket is being restored, and is not swept until that has ended; if no program restores it, run Restore again", errs.ErrConflict)
	}
	return err
}

// whileRestoring does the writes of a restore, and keeps sweeps away meanwhile. When they fail, or the
// program dies, sweeps stay away until another restore has come to its end.
func whileRestoring(ctx context.Context, s store.Store, restore func() error) error {
	for _, step := range []struct {
		mark string
		then func() error
	}{{restoring, restore}, {"", func() error { return nil }}} {
		if err := s.Write(ctx, store.Op{Key: keys.Sweeping, Value: []byte(step.mark)})[0].Err; err != nil {
			return fmt.Errorf("natsorm: write %s: %w", keys.Sweeping, err)
		}
		if err := step.then(); err != nil {
			return err
		}
	}
	return nil
}

func sweep(ctx context.Context, s store.Store, way checking.Way) (all checking.Swept, err error) {
	way.May = func(ctx context.Context) error { return unrestored(ctx, s) }
	if err := way.May(ctx); err != nil {
		return all, err
	}
	if err := store.CatchUp(ctx, s); err != nil {
		return all, err
	}
	var names []string
	for m, err := range store.Match(ctx, s, keys.Schemas()) {
		if err != nil {
			return all, err
		}
		if def, err := catalogue.Decode(m); err == nil { // Check names one that cannot be read
			names = append(names, def.Name)
		}
	}
	for _, name := range names {
		swept, err := sweepModel(ctx, s, name, way)
		all.Add(swept)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func sweepModel(ctx context.Context, s store.Store, name string, way checking.Way) (out checking.Swept, err error) {
	upTo, def, err := known(ctx, s, name)
	if err != nil || def == nil {
		return out, err
	}
	if def.Emptying != nil {
		// Programs that wait for it would carry it on too, but perhaps none does.
		if def, err = stuck(ctx, s, def); err != nil || def == nil {
			return out, err
		}
		if err := goOn(ctx, s, def); err != nil {
			return out, err
		}
		if upTo, def, err = known(ctx, s, name); err != nil || def == nil {
			return out, err
		}
	}
	if def.Dropped {
		out.Leftovers, err = sweepDropped(ctx, s, name, upTo)
		return out, err
	}
	if len(def.Dropping) > 0 {
		if err := endDropping(ctx, s, def); err != nil {
			return out, err
		}
		if def, _, err = catalogue.Load(ctx, s, name); err != nil {
			return out, err
		}
	}
	return checking.Sweep(ctx, s, def, way)
}

// known is a revision of the bucket, and a model's document as it was read after that, as a
// majority of the servers has it: in it, nothing was different at that revision or since. It is
// nil when there is none.
func known(ctx context.Context, s store.Store, name string) (upTo uint64, def *schema.Definition, err error) {
	if upTo, err = s.Revision(ctx, store.Acknowledged); err != nil {
		return 0, nil, err
	}
	if s.Traits().Replicable {
		if _, err := s.Revision(ctx, store.Agreed); err != nil {
			return 0, nil, err
		}
	}
	def, _, err = catalogue.Read(ctx, s, name)
	return upTo, def, err
}

// abandoned is how long the removal of a model's records may stand still before a sweep goes
// on in the place of a program that may have died.
const abandoned = 10 * time.Second

// stuck waits, and returns the model when the removal of its records has stood still.
func stuck(ctx context.Context, s store.Store, def *schema.Definition) (*schema.Definition, error) {
	if err := workers.Sleep(ctx, abandoned); err != nil {
		return nil, err
	}
	now, _, err := catalogue.Read(ctx, s, def.Name)
	if err != nil || now == nil || now.Revision != def.Revision {
		return nil, err
	}
	return now, nil
}

// sweepDropped removes what came late of a model that was dropped, from programs that did not
// know it and have died since. upTo is a revision from before its document was read: whoever
// defines a model of the name writes its records above it.
func sweepDropped(ctx context.Context, s store.Store, name string, upTo uint64) (n int, err error) {
	for _, pattern := range []string{keys.Records(name), keys.Entries(name), keys.Claims(name), keys.Heads(name), keys.Sequence(name)} {
		some, err := s.Count(ctx, pattern, store.Exactly)
		if err != nil {
			return n, err
		}
		if n += some; some == 0 {
			continue
		}
		if err := remove(ctx, s, pattern, upTo); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Sweeper sweeps a bucket in the background. It is safe for concurrent use.
type Sweeper struct {
	Store  store.Store
	Every  time.Duration
	Logger *slog.Logger

	age  time.Duration // 0: sweepAgeBeside
	rest int           // 0: sweepRest

	mu    sync.Mutex
	swept checking.Swept
}

// Swept is what was taken so far.
func (w *Sweeper) Swept() checking.Swept {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.swept
}

// errOther says that another program is sweeping.
var errOther = errors.New("another program is sweeping")

// Run sweeps until ctx ends, unless Every is 0.
//
// Of several programs with a Sweeper, one sweeps in each interval. For that there is a key,
// keys.Sweeping: whoever begins writes it, at the revision that it has seen, and again while it
// goes on. Whoever finds it written since it last looked leaves this interval out. It is no lock:
// when two sweep all the same, they do the same work twice.
func (w *Sweeper) Run(ctx context.Context) {
	if w.Every <= 0 {
		return
	}
	seen, _ := w.Store.GetLatest(ctx, keys.Sweeping) // without it the first interval is left out
	for last := seen.Revision; ; {
		if workers.Sleep(ctx, w.Every*9/10+rand.N(w.Every/5+1)) != nil {
			return
		}
		seen, err := w.Store.GetLatest(ctx, keys.Sweeping)
		if err == nil && seen.Revision == last {
			last, err = w.turn(ctx, last)
		} else if err == nil {
			last = seen.Revision
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, errOther) {
			w.Logger.Warn("natsorm: the bucket could not be swept, which is tried again", "after", w.Every, "error", err)
		}
	}
}

// turn sweeps once, if nobody else begins. It returns the revision that keys.Sweeping has then.
func (w *Sweeper) turn(ctx context.Context, last uint64) (uint64, error) {
	written := time.Time{}
	mark := func() error {
		if err := unrestored(ctx, w.Store); err != nil {
			return err
		}
		if time.Since(written) < w.Every/4 {
			return nil
		}
		res := w.Store.Write(ctx, store.Op{Key: keys.Sweeping, Conditional: true, Expect: last, Settle: true})[0]
		if errors.Is(res.Err, store.ErrWrongRevision) {
			return errOther
		}
		if res.Err != nil {
			return fmt.Errorf("write %s: %w", keys.Sweeping, res.Err)
		}
		last, written = res.Revision, time.Now()
		return nil
	}
	if err := mark(); err != nil {
		return last, err
	}
	age, rest := w.age, w.rest
	if age == 0 {
		age, rest = min(sweepAgeBeside, w.Every), sweepRest
	}
	swept, err := sweep(ctx, w.Store, checking.Way{Age: age, Pace: func(ctx context.Context, worked time.Duration) error {
		if err := workers.Sleep(ctx, time.Duration(rest)*worked); err != nil {
			return err
		}
		return mark()
	}})
	w.mu.Lock()
	w.swept.Add(swept)
	w.mu.Unlock()
	if swept != (checking.Swept{}) {
		w.Logger.Info("natsorm: swept the bucket of what crashed programs have left", "entries", swept.Entries, "claims", swept.Claims, "leftovers", swept.Leftovers)
	}
	return last, err
}
