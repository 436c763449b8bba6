package wire

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/refusal"
)

const (
	// MaxReplies is how many replies one call may have, besides the one that ends it: the
	// server answers a request for many keys with no more.
	MaxReplies = 1024

	laneBuffer = MaxReplies + 64 // with room for wakes, and for copies of replies

	// maxIdleLanes is how many lanes without a call are kept for later ones.
	maxIdleLanes = 256
)

// A lane is where the replies of one call at a time arrive. It is a subscription that
// stays open, and the connection's reader puts its messages straight into a channel that
// the caller reads. Rejected: a subscription for each request, which takes another round
// trip; and one inbox for all calls, which takes a goroutine between reader and caller,
// and a fifth of the time of an in-process request.
//
// Only a call that got all its replies gives its lane back. Even then a second copy of a
// reply may follow: in a cluster a reply can come by two routes, or from two servers that
// both believe they lead. So the reply subjects of each call have its number in them.
type lane struct {
	prefix string // the beginning of all its reply subjects
	call   uint64 // the number of the present call
	mine   string // the beginning of this call's reply subjects: prefix and call
	sub    *nats.Subscription
	msgs   chan *nats.Msg

	writes   string                          // the subject of the first message that the present call writes; "" when it reads
	refusals uint64                          // the last refusal before this call
	deaf     atomic.Pointer[refusal.Refusal] // the server refused the subscription

	// alarm wakes the call when replies stay out. It is a timer that calls a function: one
	// with a channel would enter and leave the runtime's heap each time a reply is waited
	// for.
	alarm *time.Timer
}

// wake makes the call that waits on the lane look whether it should wait any longer. It
// sends a nil among the replies. One that comes too late makes a later call look, which
// is harmless.
func (l *lane) wake() {
	select {
	case l.msgs <- nil:
	default: // the channel is full: the call has replies to look at
	}
}

func (c *Client) newLane() (*lane, error) {
	l := &lane{prefix: c.nc.NewInbox() + ".", msgs: make(chan *nats.Msg, laneBuffer), refusals: c.refusals.Last()}
	l.next()
	l.alarm = time.AfterFunc(time.Hour, l.wake)
	l.alarm.Stop()
	var err error
	if l.sub, err = c.nc.ChanSubscribe(l.prefix+"*", l.msgs); err != nil {
		return nil, c.Explain(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes[l] = struct{}{}
	if c.closed != nil {
		l.wake() // the call that uses the lane finds out
	}
	return l, nil
}

func (l *lane) close() {
	_ = l.sub.Unsubscribe() // fails only when the connection is gone, and the subscription with it
}

// take returns a lane for one call, which ends with give.
func (c *Client) take() (*lane, error) {
	c.mu.Lock()
	if c.closed != nil {
		defer c.mu.Unlock()
		return nil, c.closed
	}
	if n := len(c.free); n > 0 {
		l := c.free[n-1]
		c.free = c.free[:n-1]
		c.mu.Unlock()
		l.next()
		l.refusals = c.refusals.Last()
		return l, nil
	}
	c.mu.Unlock()
	return c.newLane()
}

// give ends a call's use of a lane. When the call got all its replies, the lane is kept for
// a later one. Otherwise it is closed, because replies may still come to it.
func (c *Client) give(l *lane, complete bool) {
	c.mu.Lock()
	open := complete && c.closed == nil && len(c.free) < maxIdleLanes
	if open {
		c.free = append(c.free, l)
	} else {
		delete(c.lanes, l)
	}
	c.mu.Unlock()
	if !open {
		l.close()
	}
}

// next begins another call.
func (l *lane) next() {
	l.call++
	l.writes = ""
	l.mine = l.prefix + strconv.FormatUint(l.call, 36) + "-"
}

// reply is the reply subject of a call's n-th request.
func (l *lane) reply(n int) string { return l.mine + strconv.Itoa(n) }

// answers returns the number of the request, among those of the present call, that a
// message answers. It is -1 for a late answer to an earlier call.
func (l *lane) answers(m *nats.Msg) int {
	number, ok := strings.CutPrefix(m.Subject, l.mine)
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}
