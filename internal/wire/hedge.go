package wire

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/pace"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/usage"
)

// Where several servers can answer, one that is silent is not waited for: the request is
// sent once more while the first one is under way. A direct get most often reaches another
// server then, because any server that has the stream may get it. So one stalled server of
// three costs a read a delay and not its answer.
//
// Nothing is sent twice before the delay, which is longer than answers take, so ordinary
// reads cost the same.

const (
	// hedgeMost is the longest delay until a request is sent again.
	hedgeMost = 500 * time.Millisecond

	// hedges is after how many delays a request is sent again. The delays double after that.
	hedges = 3
)

// hedge is attempt, with the request sent again while replies are overdue, until none has
// come for quiet. again says that the request was sent in an attempt before.
func (c *Client) hedge(ctx context.Context, subject string, data []byte, again bool, quiet time.Duration, begin func(), got func(*nats.Msg) (more bool)) (taken bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	l, err := c.take()
	if err != nil {
		return false, err
	}
	h := pace.NewHedge()
	defer func() { c.give(l, err == nil && len(h.Sent) == 1) }() // other replies may still come
	epoch, connection, replies, used := c.epoch.Load(), c.Connection(), 0, usage.Of(ctx)
	defer func() {
		if err != nil || replies <= 1 {
			return
		}
		// The replies of several requests may be more than the lane has room for.
		if dropped, _ := l.sub.Dropped(); dropped > 0 || c.Connection() != connection { // see attempt
			err = ErrNoAnswer
		}
	}()
	deal := func(n int, m *nats.Msg) (more bool) {
		if n < 0 || n >= len(h.Sent) {
			return true
		}
		if NobodyTook(m) {
			h.Nobody++
			return h.Nobody < len(h.Sent)
		}
		counts, first := h.Chooses(n)
		if !counts {
			return true
		}
		if first {
			c.pace.Note(time.Since(h.Sent[n]))
			if len(h.Sent) > 1 {
				c.pace.Again(n)
			}
			begin()
			replies = 0
		}
		replies++
		return got(m)
	}
	heard, wait := time.Now(), c.pace.Delay(hedgeMost)
	for n := 0; ; n++ {
		for range pace.Copies(n, n > 1 && c.pace.Stalled()) {
			if err := c.send(ctx, subject, l.reply(len(h.Sent)), data); err != nil {
				return false, err
			}
			h.Sent = append(h.Sent, time.Now())
			used.Asked(again || n > 0)
		}
		for before := -1; replies != before; { // while replies come, however slowly
			before = replies
			err := c.collect(ctx, l, epoch, wait, 0, refusal.Of(subject), deal)
			switch {
			case err == nil:
				return h.Nobody < len(h.Sent), nil
			case !errors.Is(err, ErrNoAnswer) || c.epoch.Load() != epoch:
				return true, err
			case replies != before:
				heard = time.Now()
			}
		}
		left := quiet - time.Since(heard)
		if left <= 0 {
			return true, ErrNoAnswer
		}
		h.Silent = true
		if n >= hedges {
			wait *= 2
		}
		wait = min(wait, left)
	}
}

// anyone is request for what any of several servers can answer. When it was sent to some
// of them in vain it gives up early, with ErrNoAnswer, so that the caller can ask the
// leader.
func (c *Client) anyone(ctx context.Context, subject string, data []byte, begin func(), got func(*nats.Msg) (more bool)) error {
	if !c.several.Load() {
		return c.request(ctx, subject, data, begin, got)
	}
	for tries, untaken := 0, 0; ; tries++ {
		epoch := c.epoch.Load()
		taken, err := c.hedge(ctx, subject, data, tries > 0, (hedges+1)*c.pace.Delay(hedgeMost), begin, got)
		switch {
		case errors.Is(err, ErrNoAnswer) && c.epoch.Load() != epoch: // the connection was lost
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
