package building

import (
	"context"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// A round has fullRound records while nobody else writes, and busyRound beside others.
	// A round of lists has listRound records, because each list is written once for all of them.
	fullRound = 2048
	busyRound = 32
	listRound = 4 * 4096

	// A build takes writersShare of the time beside others that write, and slowShare where requests
	// are slow: then others read, or write elsewhere on the server or the machine.
	writersShare = 0.08
	slowShare    = 0.5

	// busyFor is how long that goes on when others were seen last.
	busyFor = time.Second

	// Every lookEvery a build looks whether others write: they do when there are more than
	// foreignRate messages of theirs in a second.
	lookEvery   = 50 * time.Millisecond
	foreignRate = 50

	// Every measureEvery it rests for a moment, in which nothing of its own is under way any more, and
	// measures how long a request takes: the median of measured. When that is so many times what it is
	// at its best, twice one after the other, requests are slow.
	measureEvery = 500 * time.Millisecond
	rest         = 3 * time.Millisecond
	measured     = 5
	slower       = 4

	// perSecond is how many rounds there are in a second where the rate is limited.
	perSecond = 20

	// madeUp is how far a build may be behind its rate, and catch up.
	madeUp = 200 * time.Millisecond
)

// pace is how fast a build goes: as its rate says, or, without one, slower while others are at work. It
// knows of these by the revisions of the bucket, which tell how many messages others have written, and
// by how long a small request takes that is made while all answers to the build's own are there.
type pace struct {
	rate  int
	lists bool

	due   time.Time // when the next round may begin, by the rate
	began time.Time // the round's

	writers time.Time // others write, until then
	slow    time.Time // requests are slow, until then

	wrote    int       // what the build has written since it looked
	looked   time.Time // whether others write
	revision uint64    // of the bucket then

	measuredAt time.Time
	best       time.Duration // the least that a median was
	bad        int           // how many medians in a row were slow
}

func newPace(rate int, lists bool) *pace { return &pace{rate: rate, lists: lists} }

// most is the largest size of a round.
func (p *pace) most() int {
	if p.lists {
		return listRound
	}
	return fullRound
}

// size is how many records the next round has.
func (p *pace) size() int {
	n := p.most()
	if !p.lists && p.rate == 0 && p.share(time.Now()) < 1 {
		n = busyRound
	}
	if p.rate > 0 {
		n = max(1, min(n, p.rate/perSecond))
	}
	return n
}

// before waits until a round of n records may begin.
func (p *pace) before(ctx context.Context, n int) error {
	now := time.Now()
	if p.rate > 0 {
		// Of what was missed, little is made up for: otherwise the rate would be higher for a while.
		if least := now.Add(-madeUp); p.due.IsZero() {
			p.due = now
		} else if p.due.Before(least) {
			p.due = least
		}
		if err := workers.Sleep(ctx, p.due.Sub(now)); err != nil {
			return err
		}
		p.due = p.due.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	}
	p.began = time.Now()
	return nil
}

// after ends a round in which so many messages were written. It waits for as long as others are to
// be served.
func (p *pace) after(ctx context.Context, s store.Store, wrote int) error {
	if p.rate > 0 {
		return nil
	}
	p.wrote += wrote
	now := time.Now()
	took := now.Sub(p.began)
	if now.Sub(p.looked) >= lookEvery {
		revision, err := s.Revision(ctx, store.Acknowledged)
		if err != nil {
			return err
		}
		p.look(time.Now(), revision)
	}
	if now.Sub(p.measuredAt) >= measureEvery {
		median, err := measure(ctx, s)
		if err != nil {
			return err
		}
		p.note(time.Now(), median)
	}
	share := p.share(time.Now())
	return workers.Sleep(ctx, time.Duration(float64(took)*(1/share-1)))
}

// look notes whether others write, by the revision of the bucket.
func (p *pace) look(now time.Time, revision uint64) {
	if p.revision > 0 {
		foreign := int64(revision-p.revision) - int64(p.wrote)
		if float64(foreign) > 2+foreignRate*now.Sub(p.looked).Seconds() {
			p.writers = now.Add(busyFor)
		}
	}
	p.revision, p.looked, p.wrote = revision, now, 0
}

// measure is how long a request takes while the build rests.
func measure(ctx context.Context, s store.Store) (median time.Duration, err error) {
	if err := workers.Sleep(ctx, rest); err != nil {
		return 0, err
	}
	var took [measured]time.Duration
	for i := range took {
		began := time.Now()
		if _, err := s.Revision(ctx, store.Acknowledged); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took[:])
	return took[measured/2], nil
}

// note notes how long a request takes. What is the best grows slowly, because the bucket does.
func (p *pace) note(now time.Time, median time.Duration) {
	p.measuredAt = now
	if p.best > 0 {
		p.best += p.best / 256
	}
	if p.best == 0 || median < p.best {
		p.best = median
	}
	if median <= slower*p.best {
		p.bad = 0
	} else if p.bad++; p.bad > 1 {
		p.slow = now.Add(busyFor)
	}
}

// share is which part of the time the build may take.
func (p *pace) share(now time.Time) float64 {
	switch {
	case now.Before(p.writers):
		return writersShare
	case now.Before(p.slow):
		return slowShare
	}
	return 1
}

// held lets a wait, as while the build is paused, not count. It returns what ends the wait.
func (p *pace) held() (end func()) {
	began := time.Now()
	return func() {
		waited := time.Since(began)
		p.began, p.due = p.began.Add(waited), p.due.Add(waited)
		if waited > busyFor { // others may have written as much as they like
			p.revision, p.looked = 0, time.Time{}
		}
	}
}
