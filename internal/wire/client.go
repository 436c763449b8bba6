// Package wire is how a bucket's requests get to a NATS server and its answers
// back, over one connection that may break at any time.
//
// A Client sends requests and collects their replies, on lanes (lanes.go). A
// Stream is a client with the requests that JetStream takes for one stream. A
// Consumer reads many messages of it in order. Usage counts what calls cost.
//
// What is safe to repeat is repeated here: a request that only reads, and one that
// no server took. Everything else is the caller's decision, who knows what a
// write may do: a write whose answer was lost ends with store.ErrUnknown.
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

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// DefaultTimeout bounds a request whose context has no deadline.
	DefaultTimeout = 5 * time.Second

	// A request that no server takes is sent again this many times; no server has
	// seen it, so that is safe. Replicas need more: they elect a leader first.
	noResponderRetries = 10
	electionRetries    = 100
	noResponderPause   = 100 * time.Millisecond

	// BrokenPause comes before a request that broke the connection, or found it
	// broken, is sent again.
	BrokenPause = 10 * time.Millisecond
)

// ErrNoAnswer ends a request whose time is up.
var ErrNoAnswer = store.Unavailable(errors.New("no answer from the server in time; is it running, and reachable?"))

// Client sends requests over one connection, which stays its owner's. It is safe
// for concurrent use.
type Client struct {
	nc      *nats.Conn
	retries int   // of a request that nobody takes
	alive   *lane // on which nothing comes; it ends with the connection

	// epoch counts the connection's reconnects, as far as they were noticed. What
	// was asked before one is not answered after it.
	epoch   atomic.Uint64
	payload atomic.Int64 // the payload limit of the server that the connection was last on
	status  chan nats.Status
	ended   chan struct{} // closed when the goroutine that reads status has ended

	tasks    workers.Tasks
	batching sync.Mutex // held while the messages of a batch are published

	mu        sync.Mutex
	consumers map[*Consumer]struct{} // those on the server
	heard     []*nats.Subscription   // by Hear
	lanes     map[*lane]struct{}
	free      []*lane // the last one used is the next one taken
	closed    error   // why calls are no longer possible
	done      chan struct{}
}

// NewClient makes a client of a connection. With elections, the servers behind it
// elect a leader, and requests that nobody takes are repeated for longer.
func NewClient(nc *nats.Conn, elections bool) (*Client, error) {
	c := &Client{
		nc: nc, retries: noResponderRetries,
		lanes: map[*lane]struct{}{}, consumers: map[*Consumer]struct{}{}, done: make(chan struct{}),
	}
	if elections {
		c.retries = electionRetries
	}
	var err error
	if c.alive, err = c.newLane(); err != nil {
		return nil, err
	}
	c.epoch.Store(nc.Stats().Reconnects)
	c.payload.Store(nc.MaxPayload())
	c.status, c.ended = nc.StatusChanged(nats.CONNECTED), make(chan struct{})
	go c.watch()
	c.alive.sub.SetClosedHandler(func(string) { c.fail(fmt.Errorf("%w: %w", store.ErrClosed, nats.ErrConnectionClosed)) })
	return c, nil
}

// watch wakes the calls that wait when the connection has come back.
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

// Epoch is the number of the connection, which changes when it is lost.
func (c *Client) Epoch() uint64 { return c.epoch.Load() }

// MaxPayload is the payload limit of the server, in bytes: headers and data of a message
// together.
func (c *Client) MaxPayload() int { return int(c.payload.Load()) }

// Done is closed when calls are no longer possible.
func (c *Client) Done() <-chan struct{} { return c.done }

// Go runs a short task that Close waits for; it reports false after Close.
func (c *Client) Go(task func()) bool { return c.tasks.Go(task) }

// Hear calls f with what is published on a subject from now on, by anyone, as long
// as the connection lasts; Epoch changes with it. It hears what is sent, whether
// the server takes it or not, and needs no consumer.
func (c *Client) Hear(subject string, f func(value []byte)) error {
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return c.Explain(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = append(c.heard, sub)
	return nil
}

// Close waits for tasks, frees everything on the connection and on the server, and
// ends every call with store.ErrClosed.
func (c *Client) Close() {
	c.tasks.Refuse()
	if !c.nc.IsConnected() {
		c.end() // nobody answers: calls that wait must not go on
	}
	c.tasks.Wait() // consumers under way are there, or will not be
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
	c.fail(store.ErrClosed)
	c.mu.Lock()
	idle := append(c.free, c.alive)
	c.free = nil
	c.alive.sub.SetClosedHandler(nil)
	c.mu.Unlock()
	<-c.ended
	c.nc.RemoveStatusListener(c.status)
	for _, l := range idle { // not under the lock: it calls fail
		l.close()
	}
}

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

// Explain is an error of nats.go as a store returns it: store.ErrClosed once the
// connection is closed, and marked as Mark does.
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

// Mark marks errors of nats.go that come from the way to the server as
// store.ErrUnavailable. Others, and nil, it returns as they are.
func Mark(err error) error {
	for _, unavailable := range []error{nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrReconnectBufExceeded} {
		if errors.Is(err, unavailable) && !errors.Is(err, store.ErrUnavailable) {
			return store.Unavailable(err)
		}
	}
	return err
}

// unsent reports whether an error of publishing says that the message was not sent.
// When the connection breaks meanwhile, it may have been.
func unsent(err error) bool {
	for _, e := range []error{store.ErrClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrBadSubject, nats.ErrHeadersNotSupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// detached is a context for work that goes on after its call; what it costs
// counts in usage all the same.
func detached(usage *Usage, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(Measured(context.Background(), usage), timeout)
}
