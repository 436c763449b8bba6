package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// After an outage of this length delete markers may be gone, so that
	// deletions would go unnoticed: the feed starts over.
	resyncAfter = message.MarkerTTL / 2

	// A bucket that is gone for this long is not being restored.
	deletedAfter = 10 * time.Second

	resumePause = 50 * time.Millisecond // before another try to resume; grows
	maxPause    = 2 * time.Second
)

// feed is a store.Feed on a consumer, and on the next when that one is lost.
type feed struct {
	b *Bucket
	store.FeedOptions
	c       *wire.Consumer
	created time.Time     // the stream's, to notice another under its name
	last    uint64        // the last revision delivered
	contact time.Time     // until when nothing can have been missed
	loading bool          // CaughtUp has not been said
	resync  bool          // Resync is to be said when the next consumer is there
	queue   []store.Event // the end of what was there at the start
	status  chan nats.Status
}

// Feed begins with the last message of each key, as a scan does, or with what follows a revision.
func (b *Bucket) Feed(ctx context.Context, o store.FeedOptions) (store.Feed, error) {
	f := &feed{b: b, FeedOptions: o, loading: o.After == 0, last: o.After}
	info, err := f.stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("natsorm: watch %q: %w", o.Pattern, err)
	}
	f.created = info.Created
	f.status = b.Stream.Conn().StatusChanged(nats.CONNECTED)
	from := uint64(0)
	if !f.loading {
		from = o.After + 1
	}
	if err := f.start(ctx, from); err != nil {
		b.Stream.Conn().RemoveStatusListener(f.status)
		return nil, fmt.Errorf("natsorm: watch %q: %w", o.Pattern, err)
	}
	return f, nil
}

func (f *feed) stream(ctx context.Context) (wire.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, wire.DefaultTimeout)
	defer cancel()
	return f.b.Stream.Info(ctx)
}

// start reads what is there, or with from, everything since that revision.
func (f *feed) start(ctx context.Context, from uint64) error {
	ctx, cancel := context.WithTimeout(ctx, wire.DefaultTimeout)
	defer cancel()
	var c *wire.Consumer
	var err error
	for pause := (workers.Pauses{First: resumePause, Most: maxPause}); ; { // the next consumer is most often placed on another server
		c, err = f.b.Stream.Consume(ctx, f.Pattern, wire.ConsumerOptions{From: from, Beside: f.Beside, Follow: true, Status: f.status})
		if err == nil {
			break
		}
		if !errors.Is(err, wire.ErrLost) || pause.Sleep(ctx) != nil {
			return err
		}
	}
	if !f.loading { // loading ends with "no messages" at the latest
		c.Follow()
	}
	f.c, f.contact = c, c.Heard()
	return nil
}

// Close frees the consumer.
func (f *feed) Close() {
	f.b.Stream.Conn().RemoveStatusListener(f.status)
	if f.c != nil {
		f.c.Close()
	}
}

// Next reads from the consumer, or from the next one.
func (f *feed) Next(ctx context.Context) (store.Event, error) {
	for {
		if len(f.queue) > 0 {
			ev := f.queue[0]
			f.queue = f.queue[1:]
			return ev, nil
		}
		if f.c == nil {
			resync, err := f.resume(ctx)
			if err != nil {
				return store.Event{}, err
			}
			if resync {
				return store.Event{Kind: store.Resync}, nil
			}
		}
		if f.loading && f.c.Pending() == 0 {
			switch err := f.catchUp(ctx); {
			case errors.Is(err, wire.ErrLost):
				f.c.Close()
				f.c = nil
			case err != nil:
				return store.Event{}, err
			}
			continue
		}
		m, ok, err := f.c.Next(ctx)
		f.contact = later(f.contact, later(f.c.Heard(), m.Time))
		switch {
		case errors.Is(err, wire.ErrLost):
			f.c.Close()
			f.c = nil
			continue
		case err != nil:
			return store.Event{}, err
		case !ok, m.Revision <= f.last:
			continue
		}
		f.last = m.Revision
		f.b.Saw(f.last)
		return store.Event{Kind: store.Changed, Message: m}, nil
	}
}

// catchUp ends the loading. It reads what the consumer, by its own count, need not
// deliver any more, as a scan does, and then says CaughtUp.
func (f *feed) catchUp(ctx context.Context) error {
	t := tail{b: f.b, pattern: f.Pattern, at: f.last, c: f.c, each: func(m store.Message) bool {
		f.last = m.Revision
		f.b.Saw(f.last)
		f.queue = append(f.queue, store.Event{Kind: store.Changed, Message: m})
		return true
	}}
	if err := t.finish(ctx); err != nil {
		return err
	}
	f.queue = append(f.queue, store.Event{Kind: store.CaughtUp})
	f.loading = false
	f.c.Follow()
	return nil
}

// resume finds out what continues the feed after a loss, and starts it: the
// next revision, or everything again.
func (f *feed) resume(ctx context.Context) (resync bool, err error) {
	pause := workers.Pauses{First: resumePause, Most: maxPause, Jitter: true}
	began := time.Now()
	f.b.logger.Warn("natsorm: a watch lost the server, and resumes", "pattern", f.Pattern, "revision", f.last)
	for {
		info, err := f.stream(ctx)
		if err == nil && !info.Created.Equal(f.created) { // the session's revisions begin again
			_, err = f.b.Relook(ctx, f.b.Now())
		}
		if err == nil {
			f.resync = f.resync || !info.Created.Equal(f.created) || info.Last < f.last || time.Since(f.contact) > resyncAfter
			if f.resync || f.loading {
				f.created, f.last, f.loading = info.Created, 0, true
				err = f.start(ctx, 0)
			} else {
				err = f.start(ctx, f.last+1)
			}
			if err == nil {
				resync, f.resync = f.resync, false
				return resync, nil
			}
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if errors.Is(err, errs.ErrPermission) {
			return false, fmt.Errorf("natsorm: watch %q: %w", f.Pattern, err)
		}
		if errors.Is(err, store.ErrClosed) || f.b.Stream.Conn().IsClosed() {
			return false, store.ErrClosed
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) && time.Since(began) > deletedAfter {
			return false, fmt.Errorf("natsorm: watch %q: the bucket was deleted: %w", f.Pattern, err)
		}
		t := time.NewTimer(pause.Next())
		select {
		case <-t.C:
		case <-f.b.Stream.Done():
			t.Stop()
			return false, store.ErrClosed
		case <-ctx.Done():
			t.Stop()
			return false, ctx.Err()
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
