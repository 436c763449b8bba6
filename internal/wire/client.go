// Package wire sends a bucket's requests to a NATS server and gets its answers back, over
// one connection that may break at any time.
//
//   - A Client sends requests and collects their replies (client.go, requests.go), each
//     call on a lane of its own (lanes.go). Where there are several servers, it does not
//     wait long for one of them (hedge.go).
//   - A Stream is a Client with the requests that JetStream takes for one stream
//     (stream.go, multi.go). A Consumer reads many messages of it (consumer.go, making.go).
//
// What is safe to repeat is repeated here: a request that only reads, and a request that
// no server took. The caller decides about everything else, because it knows what its
// write does: a write whose answer was lost ends with store.ErrUnknown.
package wire

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/flow"
	"github.com/natsorm/natsorm/internal/pace"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// DefaultTimeout bounds a request whose context has no deadline.
	DefaultTimeout = 5 * time.Second

	// A request that no server takes is sent this many times, with a pause in between. That
	// is safe, because no server has seen it. A replicated bucket needs more tries, because
	// its servers may have to elect a leader first.
	noResponderRetries = 10
	electionRetries    = 100
	noResponderPause   = 100 * time.Millisecond

	// BrokenPause is the pause before a request is sent again whose sending failed because
	// the connection broke.
	BrokenPause = 10 * time.Millisecond
)

// ErrNoAnswer says that the server did not answer in time. It is store.ErrUnavailable.
var ErrNoAnswer = store.Unavailable(errors.New("no answer from the server in time; is it running, and reachable?"))

// Client sends requests over one connection. The connection belongs to the caller of
// NewClient, and Close leaves it open. A Client is safe for concurrent use.
type Client struct {
	nc         *nats.Conn
	connection connection
	several    atomic.Bool                 // there is, or may be, more than one server that can answer
	pace       pace.Pace                   // of answers
	making     pace.Pace                   // of consumers
	untaken    func(context.Context) error // see OnUntaken; or nil
	nobody     func(context.Context) error // see OnNobody; or nil
	refusals   refusal.List                // what the server refused
	deafen     func()                      // ends the hearing of refusals
	flow       *flow.Flow                  // what the readers of the connection share
	unshare    func()                      // ends the sharing
	alive      *lane                       // a subscription on which nothing comes: its closing tells that the connection was closed

	// epoch counts the reconnects of the connection that were noticed. A request that
	// was sent before a reconnect is not answered after it.
	epoch   atomic.Uint64
	payload atomic.Int64     // the payload limit of the server that the connection was last on
	status  chan nats.Status // tells of reconnects
	ended   chan struct{}    // closed when the goroutine that reads status has ended

	tasks    workers.Tasks // short tasks that Close waits for
	batching sync.Mutex    // held while the messages of one batch are published

	mu        sync.Mutex
	consumers map[*Consumer]struct{} // the consumers that are on the server
	heard     []*nats.Subscription   // the subscriptions that Hear has made
	lanes     map[*lane]struct{}     // all lanes that calls may wait on
	free      []*lane                // lanes without a call; the last one used is the next one taken
	closed    error                  // why calls are no longer possible; nil while they are
	done      chan struct{}          // closed when closed is set
}

// NewClient makes a client for a connection.
func NewClient(nc *nats.Conn) (*Client, error) {
	c := &Client{
		nc:    nc,
		lanes: map[*lane]struct{}{}, consumers: map[*Consumer]struct{}{}, done: make(chan struct{}),
	}
	c.deafen = refusal.Listen(nc, c.refuse)
	c.flow, c.unshare = flow.Of(nc)
	var err error
	if c.alive, err = c.newLane(); err != nil {
		c.deafen()
		c.unshare()
		return nil, err
	}
	c.connection.follow(nc)
	c.epoch.Store(nc.Stats().Reconnects)
	c.payload.Store(nc.MaxPayload())
	c.status, c.ended = nc.StatusChanged(nats.CONNECTED), make(chan struct{})
	go c.watch()
	c.alive.sub.SetClosedHandler(func(string) { c.fail(fmt.Errorf("%w: %w", store.ErrClosed, nats.ErrConnectionClosed)) })
	return c, nil
}

// Several says that more than one server may answer from now on, which elect a leader. Then
// a request that no server takes is sent again for longer, and a silent server is not
// waited for.
func (c *Client) Several() { c.several.Store(true) }

// retries is how often a request is sent that no server takes.
func (c *Client) retries() int {
	if c.several.Load() {
		return electionRetries
	}
	return noResponderRetries
}

// watch wakes all calls that wait for answers when the connection has come back. Each
// looks at the epoch and finds that its request was sent before (collect).
func (c *Client) watch() {
	defer close(c.ended)
	for {
		select {
		case _, ok := <-c.status:
			if !ok {
				return
			}
			c.epoch.Store(c.nc.Stats().Reconnects)
			c.payload.Store(c.nc.MaxPayload())
			c.mu.Lock()
			for l := range c.lanes {
				l.wake()
			}
			c.mu.Unlock()
		case <-c.done:
			return
		}
	}
}

// Conn is the connection.
func (c *Client) Conn() *nats.Conn { return c.nc }

// Epoch counts the times that the connection has come back, as far as that was noticed.
// When it has changed, messages of the server may have been missed.
func (c *Client) Epoch() uint64 { return c.epoch.Load() }

// MaxPayload is the payload limit of the server, in bytes: headers and data of a message
// together.
func (c *Client) MaxPayload() int { return int(c.payload.Load()) }

// Done is closed when calls are no longer possible.
func (c *Client) Done() <-chan struct{} { return c.done }

// Go runs a short task that Close waits for. After Close it does not run the task, and
// returns false.
func (c *Client) Go(task func()) bool { return c.tasks.Go(task) }

// Hear calls f with every message that is published on a subject from now on, by any
// client, until Close. While the connection is lost, messages are missed: Epoch changes
// then. A write is heard when it is sent, also one that the server refuses. It needs no
// consumer. A *refusal.Refusal when the connection's user may not hear it.
func (c *Client) Hear(ctx context.Context, subject string, f func(value []byte)) error {
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return c.Explain(err)
	}
	c.mu.Lock()
	c.heard = append(c.heard, sub)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil { // the server has answered the subscription
		return c.Explain(err)
	}
	return c.Refused(subject)
}

// Close waits for tasks, removes the consumers from the server and the subscriptions from
// the connection, and ends every call with store.ErrClosed.
func (c *Client) Close() {
	c.tasks.Refuse()
	if !c.nc.IsConnected() {
		c.end() // no server answers: the tasks that wait for one must end first
	}
	c.tasks.Wait() // from here on no consumer is made: consumers has all that are on the server
	c.mu.Lock()
	for _, sub := range c.heard {
		_ = sub.Unsubscribe() // fails only when the connection is gone
	}
	open := slices.Collect(maps.Keys(c.consumers))
	c.mu.Unlock()
	var removals sync.WaitGroup
	for _, consumer := range open {
		removals.Go(consumer.remove)
	}
	removals.Wait()
	c.end()
}

// end ends every call with store.ErrClosed. It may be called more than once.
func (c *Client) end() {
	c.deafen()
	c.unshare()
	c.fail(store.ErrClosed)
	c.mu.Lock()
	idle := append(c.free, c.alive)
	c.free = nil
	c.alive.sub.SetClosedHandler(nil)
	c.mu.Unlock()
	<-c.ended
	c.nc.RemoveStatusListener(c.status)
	c.connection.leave(c.nc)
	for _, l := range idle { // not under the lock: closing a lane can call fail, which takes it
		l.close()
	}
}

// fail ends all calls with an error, now and later. Only the first error counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = err
		close(c.done)
		for l := range c.lanes {
			l.wake()
		}
	}
}

// err is why calls are no longer possible, or nil.
func (c *Client) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Explain makes of an error of nats.go the one that a store returns: store.ErrClosed once
// the client or the connection is closed, otherwise what Mark makes of it.
func (c *Client) Explain(err error) error {
	if err == nil {
		return nil
	}
	if closed := c.err(); closed != nil {
		return closed
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("%w: %w", store.ErrClosed, err)
	}
	return Mark(err)
}

// Mark marks an error of nats.go as store.ErrUnavailable when it says that the server
// cannot be reached. It returns other errors, and nil, as they are.
func Mark(err error) error {
	for _, unavailable := range []error{nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrReconnectBufExceeded} {
		if errors.Is(err, unavailable) && !errors.Is(err, store.ErrUnavailable) {
			return store.Unavailable(err)
		}
	}
	return err
}

// unsent reports whether an error of publishing says that the message was surely not
// sent. When the connection breaks while a message is being sent, it may have arrived.
func unsent(err error) bool {
	for _, e := range []error{store.ErrClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrBadSubject, nats.ErrHeadersNotSupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// detached makes a context for work that goes on when its call has ended. What the work
// costs still counts in used.
func detached(used *usage.Usage, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(usage.Measured(context.Background(), used), timeout)
}
