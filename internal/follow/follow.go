package follow

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// quiet is how long nothing may come while something is missing, until it is read in another way.
	quiet = 50 * time.Millisecond

	// starved is how long something may be missing.
	starved = 500 * time.Millisecond

	// ahead is how many events are read before they are asked for.
	ahead = 256
)

// Step leads from one state of the bucket to a later one.
type Step struct {
	// Messages are those that were written since the last step. Of several of one key, the one with
	// the largest revision counts.
	Messages []store.Message

	// Revision is how far the bucket was in the new state: everything up to it is in.
	Revision uint64

	// Lost says that it is not known what was written since the last step: everything has to be read
	// again, and the follower has ended.
	Lost bool
}

// Follower delivers steps. It is for one goroutine, but for Hurry.
type Follower struct {
	store  store.Store
	events chan store.Event
	failed error // why events was closed
	stop   context.CancelFunc
	pump   sync.WaitGroup
	hurry  chan struct{}

	at       uint64          // the last revision that was delivered, or passed by
	complete uint64          // that of the last step
	since    []store.Message // what was delivered after it

	lacks bool      // something that was written up to at is missing
	until uint64    // when the feed is here, it is not missing any more
	began time.Time // when it began to be missing
}

// Start begins after a revision at which no batch was half written. The follower goes on until Close.
func Start(ctx context.Context, s store.Store, after uint64) (*Follower, error) {
	feed, err := s.Feed(ctx, store.FeedOptions{Pattern: keys.Everything, After: after})
	if err != nil {
		return nil, err
	}
	f := &Follower{store: s, events: make(chan store.Event, ahead), hurry: make(chan struct{}, 1), at: after, complete: after}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.pump.Go(func() {
		defer feed.Close()
		defer close(f.events)
		for {
			ev, err := feed.Next(life)
			if err != nil {
				f.failed = err
				return
			}
			select {
			case f.events <- ev:
			case <-life.Done():
				f.failed = life.Err()
				return
			}
		}
	})
	return f, nil
}

// Close ends the follower. When it returns, nothing is left of it.
func (f *Follower) Close() {
	f.stop()
	f.pump.Wait()
}

// Hurry makes the follower look what there is, though the feed has not come there: for one who waits for
// a revision whose message may be gone.
func (f *Follower) Hurry() {
	select {
	case f.hurry <- struct{}{}:
	default:
	}
}

// Next waits for the next step. After an error, and after one that is Lost, there is no other.
func (f *Follower) Next(ctx context.Context) (Step, error) {
	for {
		var late <-chan time.Time
		var timer *time.Timer
		if f.lacks {
			timer = time.NewTimer(quiet)
			late = timer.C
		}
		select {
		case ev, ok := <-f.events:
			if timer != nil {
				timer.Stop()
			}
			switch {
			case !ok:
				return Step{}, f.failed
			case ev.Kind != store.Changed:
				return Step{Lost: true}, nil
			}
			if step, ok, err := f.take(ctx, ev.Message); ok || err != nil {
				return step, err
			}
		case <-late:
			return f.read(ctx)
		case <-f.hurry:
			return f.read(ctx)
		case <-ctx.Done():
			return Step{}, ctx.Err()
		}
	}
}

// take takes a message of the feed. ok says that what was delivered is complete with it.
func (f *Follower) take(ctx context.Context, m store.Message) (step Step, ok bool, err error) {
	if m.Revision <= f.at { // it was read in another way
		return Step{}, false, nil
	}
	gap := m.Revision != f.at+1
	f.at = m.Revision
	f.since = append(f.since, m)
	if gap {
		if !f.lacks {
			f.lacks, f.began = true, time.Now()
		}
		if f.until, err = f.store.Revision(ctx, store.Acknowledged); err != nil {
			if !store.Transient(err) || ctx.Err() != nil {
				return Step{}, false, err
			}
			f.until = math.MaxUint64 // it is read in another way, when that can be done
		}
	}
	if f.lacks && time.Since(f.began) > starved {
		step, err = f.read(ctx)
		return step, err == nil, err
	}
	if m.Batched || f.lacks && f.at < f.until {
		return Step{}, false, nil
	}
	f.lacks = false
	return f.step(), true, nil
}

func (f *Follower) step() Step {
	out := Step{Messages: f.since, Revision: f.at}
	f.since, f.complete = nil, f.at
	return out
}

// read reads what was written since the last step, as it is at one moment. While that cannot be done, it
// goes on trying.
func (f *Follower) read(ctx context.Context) (Step, error) {
	for try := 1; ; try++ {
		tip, err := f.store.Revision(ctx, store.Acknowledged)
		var changes []store.Message
		if err == nil {
			changes, err = f.store.Changes(ctx, keys.Everything, f.complete)
		}
		if err == nil {
			f.since, f.lacks, f.at = changes, false, max(f.at, tip)
			if n := len(changes); n > 0 {
				f.at = max(f.at, changes[n-1].Revision)
			}
			return f.step(), nil
		}
		if ctx.Err() != nil || !store.Transient(err) {
			return Step{}, err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return Step{}, err
		}
	}
}
