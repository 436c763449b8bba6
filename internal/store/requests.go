package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// defaultTimeout bounds a request whose context has no deadline.
	defaultTimeout = 5 * time.Second

	// A request that no server takes, as while a leader is elected, is sent
	// again this often; the server has not seen it, so that is safe.
	noResponderRetries = 10
	noResponderPause   = 100 * time.Millisecond
)

// errNoAnswer is what a request ends with when its time is up.
var errNoAnswer = errors.New("no answer in time")

// requests sends requests whose replies all come to one wildcard inbox: a
// subscription for each request would double its time. One call can be several
// requests with a reply each, or one with many replies; its caller is woken
// once, when the last reply is in.
type requests struct {
	nc     *nats.Conn
	prefix string // of reply subjects: <prefix><call>.<request>
	sub    *nats.Subscription

	mu     sync.Mutex
	calls  map[uint64]*call
	last   uint64
	closed error
	done   chan struct{} // closed with it
}

// call is what one caller waits for.
type call struct {
	id      uint64
	replies []*nats.Msg // by request; or, with more, as they come
	missing int
	more    func(*nats.Msg) bool // of one request: whether replies follow this one
	ready   chan struct{}
}

func newRequests(nc *nats.Conn) (*requests, error) {
	r := &requests{nc: nc, prefix: nc.NewInbox() + ".", calls: map[uint64]*call{}, done: make(chan struct{})}
	sub, err := nc.Subscribe(r.prefix+"*.*", r.receive)
	if err != nil {
		return nil, err
	}
	// What is asked for is bounded by the callers; nothing may be dropped.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	r.sub = sub
	sub.SetClosedHandler(func(string) { r.fail(fmt.Errorf("%w: %w", ErrClosed, nats.ErrConnectionClosed)) })
	return r, nil
}

// close ends every call with ErrClosed.
func (r *requests) close() {
	r.fail(ErrClosed)
	_ = r.sub.Unsubscribe() // fails only when the connection is gone, and it with it
}

func (r *requests) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed == nil {
		r.closed = err
		close(r.done)
	}
	for id, c := range r.calls {
		delete(r.calls, id)
		close(c.ready)
	}
}

func (r *requests) receive(m *nats.Msg) {
	callText, requestText, _ := strings.Cut(m.Subject[len(r.prefix):], ".")
	id, err := strconv.ParseUint(callText, 36, 64)
	if err != nil {
		return
	}
	request, err := strconv.Atoi(requestText)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.calls[id]
	switch {
	case c == nil: // its caller gave up
		return
	case c.more != nil:
		c.replies = append(c.replies, m)
		if c.more(m) {
			return
		}
		c.missing = 0
	case request >= len(c.replies) || c.replies[request] != nil:
		return
	default:
		c.replies[request] = m
		c.missing--
	}
	if c.missing == 0 {
		delete(r.calls, id)
		close(c.ready)
	}
}

func (r *requests) begin(n int, more func(*nats.Msg) bool) (*call, error) {
	c := &call{missing: n, more: more, ready: make(chan struct{})}
	if more == nil {
		c.replies = make([]*nats.Msg, n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, r.closed
	}
	r.last++
	c.id = r.last
	r.calls[c.id] = c
	return c, nil
}

func (r *requests) reply(c *call, request int) string {
	var buf [96]byte
	b := append(buf[:0], r.prefix...)
	b = strconv.AppendUint(b, c.id, 36)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(request), 10)
	return string(b)
}

// wait waits for a call. On an error the replies that did come are still in c,
// and nothing touches it any more.
func (r *requests) wait(ctx context.Context, c *call) error {
	var timeout <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		t := time.NewTimer(defaultTimeout)
		defer t.Stop()
		timeout = t.C
	}
	var err error
	select {
	case <-c.ready:
		if c.missing == 0 {
			return nil
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.closed
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout:
		err = errNoAnswer
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, c.id)
	if c.missing == 0 {
		return nil
	}
	return err
}

// one sends a request that has one reply.
func (r *requests) one(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	for try := 1; ; try++ {
		c, err := r.begin(1, nil)
		if err != nil {
			return nil, err
		}
		if err := r.nc.PublishRequest(subject, r.reply(c, 0), data); err != nil {
			r.abandon(c)
			return nil, err
		}
		if err := r.wait(ctx, c); err != nil {
			return nil, err
		}
		if m := c.replies[0]; !noResponders(m) {
			return m, nil
		}
		if err := pause(ctx, try, subject); err != nil {
			return nil, err
		}
	}
}

// many sends a request that has replies until last is true of one.
func (r *requests) many(ctx context.Context, subject string, data []byte, last func(*nats.Msg) bool) ([]*nats.Msg, error) {
	for try := 1; ; try++ {
		c, err := r.begin(1, func(m *nats.Msg) bool { return !noResponders(m) && !last(m) })
		if err != nil {
			return nil, err
		}
		if err := r.nc.PublishRequest(subject, r.reply(c, 0), data); err != nil {
			r.abandon(c)
			return nil, err
		}
		if err := r.wait(ctx, c); err != nil {
			return nil, err
		}
		if !noResponders(c.replies[len(c.replies)-1]) {
			return c.replies, nil
		}
		if err := pause(ctx, try, subject); err != nil {
			return nil, err
		}
	}
}

// all publishes messages and waits for a reply to each. A nil reply has its
// error beside it: one that was never sent its own, one without an answer the
// error of the wait.
func (r *requests) all(ctx context.Context, msgs []*nats.Msg) ([]*nats.Msg, []error) {
	errs := make([]error, len(msgs))
	c, err := r.begin(len(msgs), nil)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return make([]*nats.Msg, len(msgs)), errs
	}
	for i, m := range msgs {
		m.Reply = r.reply(c, i)
		if err := r.nc.PublishMsg(m); err != nil {
			errs[i] = err
			r.give(c)
		}
	}
	if err := r.wait(ctx, c); err != nil {
		for i := range errs {
			if c.replies[i] == nil && errs[i] == nil {
				errs[i] = fmt.Errorf("%w: %w", ErrUnknown, err)
			}
		}
	}
	return c.replies, errs
}

// give counts a request as answered that was never sent.
func (r *requests) give(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.missing--
	if c.missing == 0 && r.calls[c.id] == c {
		delete(r.calls, c.id)
		close(c.ready)
	}
}

func (r *requests) abandon(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, c.id)
}

func noResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && len(m.Header) != 0 && m.Header.Get("Status") == "503"
}

// pause waits before a request that nobody took is sent again.
func pause(ctx context.Context, try int, subject string) error {
	if try >= noResponderRetries {
		return fmt.Errorf("nobody answers on %q: %w; is JetStream enabled, and does the bucket exist?", subject, nats.ErrNoResponders)
	}
	t := time.NewTimer(noResponderPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
