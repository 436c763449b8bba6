package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Lapse is how long a lease lasts after it was written. Every lease says it for itself.
const Lapse = 15 * time.Second

// mostLapse bounds what a lease may say, so that a wrong one does not stop programs for long.
const mostLapse = 10 * time.Minute

// document is what the key of the lease holds.
type document struct {
	Format int    `json:"format"`
	Runner string `json:"runner"` // a random id
	Lapse  int64  `json:"lapse"`  // milliseconds for which it lasts
}

func decodeLease(m store.Message) (d document, err error) {
	if err := decode(m, &d, func() int { return d.Format }); err != nil {
		return d, err
	}
	if d.Runner == "" || d.Lapse <= 0 || d.Lapse > mostLapse.Milliseconds() {
		return d, corrupt(m.Key, fmt.Errorf("it lasts for %d ms, of the runner %q", d.Lapse, d.Runner))
	}
	return d, nil
}

// watch is what one who waits for a lease has seen of it.
type watch struct {
	revision uint64
	since    time.Time // when the lease was first seen at this revision, by the own clock
}

// look takes what the lease's key has now. changed says that it was not so before.
func (w *watch) look(m store.Message, now time.Time) (changed bool) {
	if w.since.IsZero() || m.Revision != w.revision {
		w.revision, w.since = m.Revision, now
		return true
	}
	return false
}

// lapsed reports whether the lease that was seen can be taken from its runner.
func (w *watch) lapsed(d document, now time.Time) bool {
	return now.Sub(w.since) >= time.Duration(d.Lapse)*time.Millisecond
}

// lease is the lease that this program holds. A goroutine renews it, which release ends.
type lease struct {
	store  store.Store
	runner string
	lapse  time.Duration
	ctx    context.Context // ends when the lease may be another program's; its cause says why
	cancel context.CancelCauseFunc
	expiry *time.Timer // ends ctx
	stop   context.CancelFunc
	ended  sync.WaitGroup

	// Of the goroutine that renews; of release when that has ended.
	revision uint64
	sent     time.Time // when the lease was sent that was acknowledged last
}

// held is how long after it was sent a lease counts, to the one who holds it.
func held(lapse time.Duration) time.Duration { return lapse * 2 / 3 }

// take writes a lease over what its key has, m. It is nil when another program was faster.
func take(ctx context.Context, s store.Store, runner string, lapse time.Duration, m store.Message) (*lease, error) {
	l := &lease{store: s, runner: runner, lapse: lapse, revision: m.Revision}
	sent := time.Now()
	res := l.write(ctx)
	if errors.Is(res.Err, store.ErrWrongRevision) {
		return nil, nil
	}
	if res.Err != nil {
		return nil, res.Err
	}
	l.revision, l.sent = res.Revision, sent
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.expiry = time.AfterFunc(held(lapse)-time.Since(sent), func() {
		l.cancel(fmt.Errorf("%w: this program could not renew its lease for %v, so another one may have gone on", errs.ErrConflict, held(lapse)))
	})
	renewing, stop := context.WithCancel(l.ctx)
	l.stop = stop
	l.ended.Go(func() { l.keep(renewing) })
	return l, nil
}

// lost returns why the lease may be another program's, or nil.
func (l *lease) lost() error {
	if l.ctx.Err() == nil {
		return nil
	}
	return context.Cause(l.ctx)
}

// keep renews the lease until ctx ends.
func (l *lease) keep(ctx context.Context) {
	every := l.lapse / 6
	t := time.NewTicker(every / 5)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			now := time.Now()
			// By the clock that stands still while the machine does, and by the one that may be
			// set: after a sleep of the machine the lease is looked at soon.
			if wall := now.Round(0).Sub(l.sent.Round(0)); now.Sub(l.sent) < every && 0 <= wall && wall < every {
				continue
			}
		}
		if err := l.renew(ctx); err != nil && !store.Transient(err) {
			l.cancel(err)
			return
		}
	}
}

// renew writes the lease again. ErrConflict when it is another program's.
func (l *lease) renew(ctx context.Context) error {
	for try := 1; ; try++ {
		sent := time.Now()
		res := l.write(ctx)
		if res.Err == nil {
			l.revision, l.sent = res.Revision, sent
			if l.expiry.Stop() { // otherwise it has ended ctx already
				l.expiry.Reset(held(l.lapse) - time.Since(sent))
			}
			return nil
		}
		if err := l.reread(ctx, try, res.Err); err != nil {
			return err
		}
	}
}

// reread finds the revision of the lease after a write that was refused: the answer to an
// earlier one may have been lost. The error is the write's, when it was not refused, and
// ErrConflict when the lease is another program's.
func (l *lease) reread(ctx context.Context, try int, err error) error {
	if !errors.Is(err, store.ErrWrongRevision) {
		return err
	}
	m, err := l.store.GetLatest(ctx, keys.MigrationLease)
	if err != nil {
		return err
	}
	if d, err := decodeLease(m); !m.Live() || err != nil || d.Runner != l.runner {
		return fmt.Errorf("%w: another program has taken the lease, because this one did not renew it in time", errs.ErrConflict)
	}
	l.revision = m.Revision
	return workers.Backoff(ctx, try)
}

func (l *lease) write(ctx context.Context) store.Result {
	raw, err := json.Marshal(document{Format: Format, Runner: l.runner, Lapse: l.lapse.Milliseconds()})
	if err != nil {
		return store.Result{Err: err}
	}
	return l.store.Write(ctx, store.Op{Key: keys.MigrationLease, Value: raw, Conditional: true, Expect: l.revision, Settle: true})[0]
}

// release ends the renewal, and gives the lease back. When that fails the others wait until
// it lapses.
func (l *lease) release() {
	l.stop()
	l.ended.Wait()
	ctx, cancel := afterwards(l.ctx)
	defer cancel()
	for try := 1; ; try++ {
		err := l.store.Write(ctx, store.Op{Key: keys.MigrationLease, Delete: true, Purge: true, Conditional: true, Expect: l.revision, Settle: true})[0].Err
		if err == nil || l.reread(ctx, try, err) != nil {
			break
		}
	}
	l.expiry.Stop()
	l.cancel(nil)
}

// afterwards is a context for what has to be written also when ctx has ended: the record of a
// step, and the lease.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
}
