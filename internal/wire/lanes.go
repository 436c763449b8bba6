package wire

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// MaxReplies is how many replies one call may have, besides those that say how
	// it ended: what the server answers to a request for many keys.
	MaxReplies = 1024

	laneBuffer = MaxReplies + 64

	// maxIdleLanes is how many lanes are kept for later calls.
	maxIdleLanes = 256
)

// A lane is where the replies of one call at a time arrive: a subscription that
// stays, whose messages the connection's reader puts straight into a channel that
// the caller reads. A subscription for each request would take another round trip.
// One inbox for all would take a goroutine between reader and caller, which costs
// a fifth of the time of an in-process request.
//
// Only a call that got all its replies gives its lane back. Even so a second copy
// of one may follow: in a cluster a reply can come by two routes, or from two
// servers that both believe to lead. So reply subjects have the number of the call.
type lane struct {
	prefix string // of reply subjects
	call   uint64
	mine   string // prefix and the number of the call
	sub    *nats.Subscription
	msgs   chan *nats.Msg

	// alarm wakes the call when replies stay out. It is a function's timer and not a
	// channel's, which would enter and leave the runtime's heap each time a reply is
	// waited for.
	alarm *time.Timer
}

// wake lets a call that waits look whether it should wait any longer: it is a nil
// among its replies. One that comes too late makes a later call look.
func (l *lane) wake() {
	select {
	case l.msgs <- nil:
	default: // it has replies to look at
	}
}

func (c *Client) newLane() (*lane, error) {
	l := &lane{prefix: c.nc.NewInbox() + ".", msgs: make(chan *nats.Msg, laneBuffer)}
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
		l.wake() // whoever takes it finds out
	}
	return l, nil
}

func (l *lane) close() {
	_ = l.sub.Unsubscribe() // fails only when the connection is gone, and it with it
}

// take is a lane for one call.
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
		return l, nil
	}
	c.mu.Unlock()
	return c.newLane()
}

// give returns a lane whose call got all its replies. The lane of a call that gave
// up is closed instead, because the late replies would still come to it.
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
	l.mine = l.prefix + strconv.FormatUint(l.call, 36) + "-"
}

// reply is the reply subject of a call's n-th request.
func (l *lane) reply(n int) string { return l.mine + strconv.Itoa(n) }

// answers is the number of the request that a message answers, or -1 when it is
// not one of this call.
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
