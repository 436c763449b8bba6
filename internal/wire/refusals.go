package wire

import (
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/refusal"
)

// refuse ends the calls that wait for what was refused. With nil, all calls look whether
// the server has failed.
func (c *Client) refuse(f *refusal.Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f == nil {
		for l := range c.lanes {
			l.wake()
		}
		return
	}
	c.refusals.Add(f)
	for l := range c.lanes {
		if f.Subscribe && f.Subject == l.sub.Subject {
			l.deaf.Store(f)
		}
		l.wake()
	}
	for consumer := range c.consumers {
		if f.Subject == consumer.inbox || f.Subject == consumer.next {
			select {
			case consumer.refused <- f:
			default: // it is told already
			}
		}
	}
}

// Refused is the refusal to subscribe to a subject, if the server has refused that before
// the last answer that came; or nil.
func (c *Client) Refused(subject string) error {
	for _, f := range append(c.refusals.Since(0), refusal.LastOf(c.nc)) {
		if f != nil && f.Subscribe && f.Subject == subject {
			return f
		}
	}
	return nil
}

// refused returns the refusal that ends a wait for answers, if there is one: of the
// subscription on which they come, or of what the call has sent. ends is given each that
// may be the latter, and tells whether it is.
func (c *Client) refused(l *lane, ends func(*refusal.Refusal) bool) error {
	if f := l.deaf.Load(); f != nil {
		return f
	}
	for _, f := range c.refusals.Since(l.refusals) {
		if !f.Subscribe && ends(f) {
			return f
		}
	}
	return nil
}

// Refusals is how many refusals were heard of so far, for RefusedSince.
func (c *Client) Refusals() uint64 { return c.refusals.Last() }

// RefusedSince is the refusal of one of these messages, if one was heard of since so many;
// or nil.
func (c *Client) RefusedSince(heard uint64, msgs []*nats.Msg) error {
	for _, f := range c.refusals.Since(heard) {
		if f.Among(msgs) {
			return f
		}
	}
	return nil
}
