package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// A request that only reads is sent again when the next reply has not come for
	// firstSilence. That time doubles with each try, up to silence, as long as the context
	// allows.
	firstSilence = time.Second
	silence      = 5 * time.Second

	// WriteGrace is how long a write still waits for its answer after its context has
	// ended. Most often the answer is on its way, and with it the outcome is known.
	WriteGrace = 50 * time.Millisecond
)

// collect gives replies to got, until got says that no more are to come.
//
// ErrNoAnswer when no reply has come for quiet, or when the connection has come back since
// the request was sent, at epoch: then its replies are lost. ctx's error when ctx ended
// and grace has passed after that. The client's error when it was closed. A
// *refusal.Refusal when the server refused what was sent, as ends tells, or the lane. A
// *refusal.Failure when the bucket that is written to takes no writes any more.
//
// The loop waits on the lane alone. Everything else that may end the wait (the alarm, the
// end of ctx, a reconnect, Close) puts a nil into the lane, and then the loop looks at all
// of them.
func (c *Client) collect(ctx context.Context, l *lane, epoch uint64, quiet, grace time.Duration, ends func(*refusal.Refusal) bool, got func(n int, m *nats.Msg) (more bool)) error {
	l.alarm.Reset(quiet)
	defer l.alarm.Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, l.wake)()
	}
	heard := time.Now()
	var last time.Time // to wait until, once ctx has ended
	for replies := 0; ; {
		m := <-l.msgs
		if m == nil {
			if err := c.refused(l, ends); err != nil {
				return err
			}
			if l.writes != "" {
				if f := refusal.Failed(c.nc, l.writes); f != nil {
					return f
				}
			}
			if err := ctx.Err(); err != nil {
				if last.IsZero() {
					last = time.Now().Add(grace)
				}
				left := time.Until(last)
				if left <= 0 || c.err() != nil {
					return err
				}
				l.alarm.Reset(left)
				continue
			}
			if err := c.err(); err != nil {
				return err
			}
			left := quiet - time.Since(heard)
			if left <= 0 || c.epoch.Load() != epoch {
				return ErrNoAnswer
			}
			l.alarm.Reset(left)
			continue
		}
		if n := l.answers(m); n >= 0 && !got(n, m) {
			return nil
		}
		// The clock is only read for every 64th reply. Until then heard is older than the last
		// reply, which makes the wait for the next one shorter by less than their time.
		if replies++; replies%64 == 0 {
			heard = time.Now()
			l.alarm.Reset(quiet) // in case a wake found no room among the replies
			if err := ctx.Err(); err != nil && grace == 0 {
				return err
			}
		}
	}
}

// one sends a request that has one reply. Like request it may send it several times.
func (c *Client) one(ctx context.Context, subject string, data []byte) (reply *nats.Msg, err error) {
	err = c.request(ctx, subject, data, func() {}, func(m *nats.Msg) bool {
		reply = m
		return false
	})
	return reply, err
}

// slow is one for a request that takes the servers longer than most, or that is work for
// them: it is not sent again as early.
func (c *Client) slow(ctx context.Context, subject string, data []byte) (reply *nats.Msg, err error) {
	err = c.repeat(ctx, false, silence, subject, data, func() {}, func(m *nats.Msg) bool {
		reply = m
		return false
	})
	return reply, err
}

// leader is one for a request that only a leader answers: one that is sent while there is
// none is lost, so it is sent again every second.
func (c *Client) leader(ctx context.Context, subject string, data []byte) (reply *nats.Msg, err error) {
	err = c.repeat(ctx, c.several.Load(), firstSilence, subject, data, func() {}, func(m *nats.Msg) bool {
		reply = m
		return false
	})
	return reply, err
}

// many sends a request with several replies; last reports which one ends them. Like
// request it may send it several times.
func (c *Client) many(ctx context.Context, subject string, data []byte, last func(*nats.Msg) bool) (replies []*nats.Msg, err error) {
	err = c.request(ctx, subject, data, func() { replies = nil }, func(m *nats.Msg) bool {
		replies = append(replies, m)
		return !last(m)
	})
	return replies, err
}

// request sends a request that only reads, or that may be repeated for another reason. It
// gives each reply to got, until got says that no more are to come.
//
// The request is sent again while no server takes it. It is also sent again when its
// replies stop coming, as they do when the connection breaks; then all replies come again
// from the first one. begin is called each time it is sent. ErrNoAnswer when ctx has no
// deadline and DefaultTimeout has passed without an answer.
func (c *Client) request(ctx context.Context, subject string, data []byte, begin func(), got func(*nats.Msg) (more bool)) error {
	return c.repeat(ctx, c.several.Load(), silence, subject, data, begin, got)
}

// repeat is request; early says that each attempt is sent again while replies are overdue,
// and most is the longest time without replies until the next attempt.
func (c *Client) repeat(ctx context.Context, early bool, most time.Duration, subject string, data []byte, begin func(), got func(*nats.Msg) (more bool)) error {
	_, patient := ctx.Deadline()
	quiet, untaken := firstSilence, 0
	var began time.Time
	if !patient {
		began = time.Now()
	}
	for tries := 0; ; tries++ {
		var taken bool
		var err error
		if early {
			taken, err = c.hedge(ctx, subject, data, tries > 0, quiet, begin, got)
		} else {
			taken, err = c.attempt(ctx, subject, data, tries > 0, quiet, begin, got)
		}
		switch {
		case errors.Is(err, ErrNoAnswer):
			quiet = min(2*quiet, most)
			if !patient {
				left := DefaultTimeout - time.Since(began)
				if left <= 0 {
					return err
				}
				quiet = min(quiet, left)
			}
		case err != nil || taken:
			return err
		default:
			untaken++
			if err := c.asks(ctx, subject, untaken); err != nil {
				return err
			}
			if err := c.Pause(ctx, untaken, subject); err != nil {
				return err
			}
		}
	}
}

// send publishes a request. When the connection is lost it waits until that has come back,
// or for a moment, and returns ErrNoAnswer.
func (c *Client) send(ctx context.Context, subject, reply string, data []byte) error {
	err := c.nc.PublishRequest(subject, reply, data)
	if err == nil {
		return nil
	}
	if err = c.Explain(err); errors.Is(err, nats.ErrReconnectBufExceeded) { // nothing is sent while the connection is lost
		if e := c.Connected(ctx); e != nil {
			return e
		}
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	if !unsent(err) {
		err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
		if e := workers.Sleep(ctx, BrokenPause); e != nil {
			return e
		}
	}
	return err
}

// attempt sends a request once; again says that it is not the first time. taken is false
// when no server takes it.
func (c *Client) attempt(ctx context.Context, subject string, data []byte, again bool, quiet time.Duration, begin func(), got func(*nats.Msg) (more bool)) (taken bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	l, err := c.take()
	if err != nil {
		return false, err
	}
	defer func() { c.give(l, err == nil) }()
	epoch, connection, replies := c.epoch.Load(), c.Connection(), 0
	if err := c.send(ctx, subject, l.reply(0), data); err != nil {
		return false, err
	}
	usage.Of(ctx).Asked(again)
	begin()
	taken = true
	defer func() {
		// When there are several replies, some before the last one may have been lost with
		// the connection.
		if err == nil && replies > 1 && c.Connection() != connection {
			err = ErrNoAnswer
		}
	}()
	err = c.collect(ctx, l, epoch, quiet, 0, refusal.Of(subject), func(_ int, m *nats.Msg) bool {
		if NobodyTook(m) {
			taken = false
			return false
		}
		replies++
		return got(m)
	})
	return taken, err
}

// All publishes messages, each once, and waits for a reply to each of them. It gives up
// when no reply has come for quiet. It returns a reply or an error for each message. The
// error is that of publishing when the message was surely not sent, and store.ErrUnknown
// otherwise.
func (c *Client) All(ctx context.Context, msgs []*nats.Msg, quiet time.Duration) ([]*nats.Msg, []error) {
	replies, errs := make([]*nats.Msg, len(msgs)), make([]error, len(msgs))
	fill := func(err error) {
		for i := range errs {
			if replies[i] == nil && errs[i] == nil {
				errs[i] = err
			}
		}
	}
	if f := refusal.Failed(c.nc, msgs[0].Subject); f != nil {
		fill(f) // nothing is sent, so the outcome is known
		return replies, errs
	}
	if err := ctx.Err(); err != nil {
		fill(err)
		return replies, errs
	}
	l, err := c.take()
	if err != nil {
		fill(err)
		return replies, errs
	}
	defer func() { c.give(l, err == nil) }()
	l.writes = msgs[0].Subject
	used, missing, epoch := usage.Of(ctx), 0, c.epoch.Load()
	for i, m := range msgs {
		m.Reply = l.reply(i)
		if err := c.Explain(c.nc.PublishMsg(m)); err != nil {
			if !unsent(err) {
				err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
			}
			errs[i] = err
		} else {
			used.Asked(false)
			missing++
		}
	}
	if missing == 0 {
		return replies, errs
	}
	refused := func(f *refusal.Refusal) (all bool) {
		for i, m := range msgs {
			if m.Subject == f.Subject && replies[i] == nil && errs[i] == nil {
				errs[i] = f
				missing--
			}
		}
		return missing == 0
	}
	err = c.collect(ctx, l, epoch, quiet, WriteGrace, refused, func(n int, m *nats.Msg) bool {
		if n >= 0 && n < len(replies) && replies[n] == nil && errs[n] == nil {
			replies[n] = m
			missing--
		}
		return missing > 0
	})
	if err != nil {
		fill(fmt.Errorf("%w: %w", store.ErrUnknown, err))
	}
	return replies, errs
}

// Together is All with one subject for all replies: the server, which knows who gets what by the
// subject, takes a third less time. The replies are in the order in which they come, and not
// told apart. After an error it is not known which messages were taken.
func (c *Client) Together(ctx context.Context, msgs []nats.Msg, quiet time.Duration) (replies []*nats.Msg, err error) {
	if f := refusal.Failed(c.nc, msgs[0].Subject); f != nil {
		return nil, f
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := c.take()
	if err != nil {
		return nil, err
	}
	defer func() { c.give(l, err == nil) }()
	l.writes = msgs[0].Subject
	used, epoch, reply := usage.Of(ctx), c.epoch.Load(), l.reply(0)
	for i := range msgs {
		msgs[i].Reply = reply
		if err := c.nc.PublishMsg(&msgs[i]); err != nil {
			return nil, c.Explain(err)
		}
		used.Asked(false)
	}
	replies = make([]*nats.Msg, 0, len(msgs))
	err = c.collect(ctx, l, epoch, quiet, WriteGrace, func(f *refusal.Refusal) bool {
		return slices.ContainsFunc(msgs, func(m nats.Msg) bool { return m.Subject == f.Subject })
	}, func(_ int, m *nats.Msg) bool {
		replies = append(replies, m)
		return len(replies) < len(msgs)
	})
	return replies, err
}

// Batch publishes the messages of one batch, and waits for the answer to the last one. No
// message of another batch comes between them, so the server never has more than one
// unfinished batch of this client. Its errors are those of All, and errs.ErrUnwritten when
// the last message was not sent: without that the server does nothing.
func (c *Client) Batch(ctx context.Context, msgs []*nats.Msg, quiet time.Duration) (reply *nats.Msg, err error) {
	if f := refusal.Failed(c.nc, msgs[0].Subject); f != nil {
		return nil, f
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
	}
	l, err := c.take()
	if err != nil {
		return nil, err
	}
	defer func() { c.give(l, err == nil) }()
	l.writes = msgs[0].Subject
	msgs[len(msgs)-1].Reply = l.reply(0)
	epoch := c.epoch.Load()
	c.batching.Lock()
	for i, m := range msgs {
		if err = c.Explain(c.nc.PublishMsg(m)); err != nil {
			c.batching.Unlock()
			switch {
			case !unsent(err): // the caller asks about it when the connection is back
				err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
			case i < len(msgs)-1:
				err = fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
			}
			return nil, err
		}
	}
	c.batching.Unlock()
	usage.Of(ctx).Asked(false)
	refused := func(f *refusal.Refusal) bool { return f.Among(msgs) }
	err = c.collect(ctx, l, epoch, quiet, WriteGrace, refused, func(_ int, m *nats.Msg) bool {
		reply = m
		return false
	})
	if f := (*refusal.Refusal)(nil); errors.As(err, &f) && !f.Subscribe {
		return nil, f // without one message the server does nothing
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return reply, nil
}

// NobodyTook reports whether a reply says that no server takes requests on the subject.
// The server that has the connection sends it.
func NobodyTook(m *nats.Msg) bool {
	return len(m.Data) == 0 && len(m.Header) != 0 && m.Header.Get("Status") == "503"
}

// gone asks why nobody has answered; see OnNobody. The question does not ask itself.
func (c *Client) gone(ctx context.Context) error {
	if c.nobody == nil || ctx.Value(asking{}) != nil {
		return nil
	}
	if err := c.nobody(context.WithValue(ctx, asking{}, true)); err != nil {
		return fmt.Errorf("%w: %w", Mark(nats.ErrNoResponders), err)
	}
	return nil
}

type asking struct{}

// Pause waits before a request that no server took is sent again. After the last try it
// returns store.ErrUnavailable. try is the number of tries so far.
func (c *Client) Pause(ctx context.Context, try int, subject string) error {
	if try >= c.retries() {
		if err := c.gone(ctx); err != nil {
			return err
		}
		return fmt.Errorf("nobody answers on %q: %w; is JetStream enabled, and does the bucket exist?", subject, Mark(nats.ErrNoResponders))
	}
	return workers.Sleep(ctx, noResponderPause)
}
