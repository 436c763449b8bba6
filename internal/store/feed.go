package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// After an outage of this length delete markers may be gone, so that
	// deletions would go unnoticed: the feed starts over.
	resyncAfter = markerTTL / 2

	// A bucket that is gone for this long is not being restored.
	deletedAfter = 10 * time.Second

	resumePause = 50 * time.Millisecond // before another try to resume; grows
	maxPause    = 2 * time.Second
)

// feed is a Feed on a consumer, and on the next when that one is lost.
type feed struct {
	s       *JetStream
	pattern string
	c       *consumer
	created time.Time // the stream's, to notice another under its name
	last    uint64    // the last revision delivered
	contact time.Time // until when nothing can have been missed
	loading bool      // CaughtUp has not been said
	queue   []Event   // the end of what was there at the start
	status  chan nats.Status
}

func (s *JetStream) Feed(ctx context.Context, pattern string) (Feed, error) {
	f := &feed{s: s, pattern: pattern, loading: true}
	info, err := f.stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("natsorm: watch %q: %w", pattern, err)
	}
	f.created = info.Created
	f.status = s.nc.StatusChanged(nats.CONNECTED)
	if err := f.start(ctx, from{}); err != nil {
		s.nc.RemoveStatusListener(f.status)
		return nil, fmt.Errorf("natsorm: watch %q: %w", pattern, err)
	}
	return f, nil
}

func (f *feed) stream(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	js, err := jetstream.New(f.s.nc)
	if err != nil {
		return nil, f.s.req.explain(err)
	}
	stream, err := js.Stream(ctx, f.s.stream)
	if err != nil {
		return nil, f.s.req.explain(err)
	}
	return stream.CachedInfo(), nil
}

func (f *feed) start(ctx context.Context, at from) (err error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	at.feed = true
	f.c, err = f.s.newConsumer(ctx, f.pattern, at)
	if err == nil {
		f.c.status = f.status
		f.c.wait = !f.loading // loading ends with "no messages" at the latest
		f.contact = f.c.heard
	}
	return err
}

func (f *feed) Close() {
	f.s.nc.RemoveStatusListener(f.status)
	if f.c != nil {
		f.c.close()
	}
}

func (f *feed) Next(ctx context.Context) (Event, error) {
	for {
		if len(f.queue) > 0 {
			ev := f.queue[0]
			f.queue = f.queue[1:]
			return ev, nil
		}
		if f.c == nil {
			resync, err := f.resume(ctx)
			if err != nil {
				return Event{}, err
			}
			if resync {
				return Event{Kind: Resync}, nil
			}
		}
		if f.loading && f.c.pending == 0 {
			if err := f.catchUp(ctx); err != nil {
				return Event{}, err
			}
			continue
		}
		m, d, err := f.c.next(ctx)
		f.contact = later(f.contact, later(f.c.heard, d.at))
		switch {
		case errors.Is(err, errLost):
			f.c.close()
			f.c = nil
			continue
		case err != nil:
			return Event{}, err
		case m == nil: // what was pending is gone
			f.c.pending = 0
			continue
		}
		if d.revision <= f.last {
			continue
		}
		f.last = d.revision
		f.s.saw(f.last)
		e, err := f.s.delivered(m, d)
		if err != nil {
			return Event{}, err
		}
		return Event{Kind: Changed, Message: e}, nil
	}
}

// catchUp ends the loading: it reads what the consumer, by its own count, has
// not to deliver any more, as a scan does, and then says CaughtUp.
func (f *feed) catchUp(ctx context.Context) error {
	for more := true; more; {
		var found []Message
		var err error
		if found, more, err = f.s.after(ctx, f.pattern, f.last, tailBatch); err != nil {
			return err
		}
		for _, e := range found {
			f.last = e.Revision
			f.s.saw(f.last)
			f.queue = append(f.queue, Event{Kind: Changed, Message: e})
		}
	}
	f.queue = append(f.queue, Event{Kind: CaughtUp})
	f.loading = false
	f.c.wait = true
	f.c.asked = 0 // the server ends what was asked before with "no messages"
	return nil
}

// resume finds out what continues the feed after a loss, and starts it: the
// next revision, or everything again.
func (f *feed) resume(ctx context.Context) (resync bool, err error) {
	wait := resumePause
	began := time.Now()
	f.s.logger.Warn("natsorm: a watch lost the server, and resumes", "pattern", f.pattern, "revision", f.last)
	for {
		info, err := f.stream(ctx)
		if err == nil {
			resync = !info.Created.Equal(f.created) || info.State.LastSeq < f.last || time.Since(f.contact) > resyncAfter
			if resync || f.loading {
				f.created, f.last, f.loading = info.Created, 0, true
				err = f.start(ctx, from{})
			} else {
				err = f.start(ctx, from{revision: f.last + 1})
			}
			if err == nil {
				return resync, nil
			}
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if errors.Is(err, ErrClosed) || f.s.nc.IsClosed() {
			return false, ErrClosed
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) && time.Since(began) > deletedAfter {
			return false, fmt.Errorf("natsorm: watch %q: the bucket was deleted: %w", f.pattern, err)
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-t.C:
		case <-f.s.req.done:
			t.Stop()
			return false, ErrClosed
		case <-ctx.Done():
			t.Stop()
			return false, ctx.Err()
		}
		wait = min(2*wait, maxPause)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
