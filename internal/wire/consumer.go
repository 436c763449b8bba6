package wire

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/natsorm/natsorm/internal/batch"
	"github.com/natsorm/natsorm/internal/store"
)

const (
	// followBatch is how many messages a request of a consumer that follows asks for.
	followBatch = 1024

	// readSilence is how long a message may stay out before a consumer that reads
	// what is there counts as lost.
	readSilence = 2 * time.Second

	// statuses is how many messages that are not of the stream may come.
	statuses = 64

	// The server removes a consumer that nobody asks for anything after this time:
	// one that is left when this process dies. It is long because a scan asks for
	// nothing while its reader is busy.
	inactiveThreshold = 5 * time.Minute

	// removeTimeout is how long the removal of a consumer is waited for.
	removeTimeout = time.Second

	// While a consumer waits for messages, the server says this often that it is
	// still there; after two omissions it is not.
	heartbeat   = 5 * time.Second
	pullExpires = 30 * time.Second
)

// ErrLost says that a consumer is gone or out of step; a new one continues.
var ErrLost = errors.New("consumer lost")

// Consumer is an ephemeral pull consumer, read in order and without
// acknowledgements. Its messages go from the connection's reader straight into a
// channel that holds all that was asked for. It is for one goroutine.
//
// It reads what is there, and then Next says that there are no more, until Follow:
// from then on Next waits for what comes.
type Consumer struct {
	s       *Stream
	name    string
	inbox   string
	sub     *nats.Subscription
	msgs    chan *nats.Msg
	usage   *Usage // of the call that it is for, or nil
	follow  bool   // requests wait for messages, with heartbeats, rather than end when there are none
	pending uint64 // messages to come, by the server's count at the last one
	batch   int    // how many the last request asked for
	most    int    // that one request asks for: two fit into the channel
	few     bool   // the reader may need no more than were asked for
	got     int    // messages that came
	bytes   int    // of them
	asked   int    // messages requested and not yet come
	seen    uint64 // the last consumer sequence
	heard   time.Time
	status  <-chan nats.Status
}

// ConsumerOptions says what a consumer reads. The zero value reads the last message
// of each key.
type ConsumerOptions struct {
	From   uint64             // all messages from this revision on, instead of each key's last
	Keys   bool               // keys and headers, without values
	Want   int                // the reader expects to need few messages, unless it is 0
	Follow bool               // the reader will Follow
	Status <-chan nats.Status // tells when the connection has come back, which loses what was asked before
}

// Consume makes a consumer of the messages under a pattern. When ctx ends before
// the server has answered, the answer is still waited for, in the background, so
// that no consumer stays.
func (s *Stream) Consume(ctx context.Context, pattern string, opts ConsumerOptions) (*Consumer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &Consumer{s: s, name: nuid.Next(), inbox: s.nc.NewInbox(), usage: usageOf(ctx), batch: batch.First / 2, few: opts.Want > 0, status: opts.Status}
	made := make(chan error, 1)
	if !s.Go(func() { made <- c.create(pattern, opts) }) {
		return nil, store.ErrClosed
	}
	select {
	case err := <-made:
		if err != nil {
			return nil, err
		}
		c.heard = time.Now()
		return c, nil
	case <-ctx.Done():
		if !s.Go(func() { c.discard(<-made) }) {
			c.discard(<-made) // Close is waiting for the creation too
		}
		return nil, ctx.Err()
	}
}

// discard removes a consumer that nobody waits for any more.
func (c *Consumer) discard(err error) {
	if err == nil {
		c.Close()
	}
}

// create asks the server for the consumer, and registers it.
func (c *Consumer) create(pattern string, opts ConsumerOptions) error {
	ctx, cancel := detached(c.usage, DefaultTimeout)
	defer cancel()
	s := c.s
	cfg := map[string]any{
		"name":               c.name,
		"deliver_policy":     "last_per_subject",
		"ack_policy":         "none",
		"filter_subject":     s.Prefix + pattern,
		"max_deliver":        1,
		"max_waiting":        8,
		"mem_storage":        true,
		"num_replicas":       1,
		"inactive_threshold": inactiveThreshold.Nanoseconds(),
	}
	if opts.Keys {
		cfg["headers_only"] = true
	}
	if opts.From > 0 {
		cfg["deliver_policy"], cfg["opt_start_seq"] = "by_start_sequence", opts.From
	}
	body, err := json.Marshal(map[string]any{"stream_name": s.Name, "config": cfg, "action": "create"})
	if err != nil {
		return err
	}
	m, err := s.one(ctx, "$JS.API.CONSUMER.CREATE."+s.Name+"."+c.name+"."+s.Prefix+pattern, body)
	if err != nil {
		c.Close() // it may have been made all the same
		if errors.Is(err, context.DeadlineExceeded) {
			err = ErrNoAnswer // the deadline is not the caller's
		}
		return err
	}
	var resp struct {
		Pending uint64              `json:"num_pending"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		c.Close()
		return err
	}
	if resp.Error != nil {
		return resp.Error
	}
	c.pending = resp.Pending
	c.most = followBatch
	if !opts.Follow {
		c.most = int(min(max(c.pending, batch.First), batch.Most))
	}
	c.msgs = make(chan *nats.Msg, 2*c.most+statuses)
	if c.sub, err = s.nc.ChanSubscribe(c.inbox, c.msgs); err != nil {
		c.Close()
		return s.Explain(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumers[c] = struct{}{}
	return nil
}

// Close removes the consumer, also from the server.
func (c *Consumer) Close() {
	if c.sub != nil {
		_ = c.sub.Unsubscribe() // fails only when the connection is gone
	}
	c.remove()
}

// remove removes the consumer from the server and waits until it is gone, even
// when the caller's context has ended.
func (c *Consumer) remove() {
	c.s.mu.Lock()
	delete(c.s.consumers, c)
	c.s.mu.Unlock()
	if !c.s.nc.IsConnected() {
		return // the server removes it by itself after inactiveThreshold
	}
	if c.delete(removeTimeout) != nil { // the caller does not wait for a slow server; the client's Close does
		c.s.Go(func() { _ = c.delete(DefaultTimeout) })
	}
}

func (c *Consumer) delete(timeout time.Duration) error {
	ctx, cancel := detached(c.usage, timeout)
	defer cancel()
	_, err := c.s.one(ctx, "$JS.API.CONSUMER.DELETE."+c.s.Name+"."+c.name, nil)
	return err
}

// Pending is how many messages are to come, by the server's count at the last one.
// An overwrite takes the old message off the count before it puts the new one on,
// so 0 does not say that there are none.
func (c *Consumer) Pending() int { return int(c.pending) }

// Heard is when the server was last heard of while nothing was buffered.
func (c *Consumer) Heard() time.Time { return c.heard }

// Follow lets Next wait for messages from now on.
func (c *Consumer) Follow() {
	c.follow = true
	c.asked = 0 // the server answers what was asked before with "no messages"
}

// ask requests messages before those requested run out, and not more than there
// are.
func (c *Consumer) ask() error {
	for c.wants() {
		req := struct {
			Batch     int   `json:"batch"`
			NoWait    bool  `json:"no_wait,omitzero"`
			Expires   int64 `json:"expires,omitzero"`
			Heartbeat int64 `json:"idle_heartbeat,omitzero"`
		}{Batch: followBatch}
		if c.follow {
			req.Expires, req.Heartbeat = pullExpires.Nanoseconds(), heartbeat.Nanoseconds()
		} else {
			c.batch = min(batch.Next(c.batch, c.got, c.bytes), c.most)
			req.Batch, req.NoWait = min(c.batch, int(c.pending)-c.asked), true
		}
		body, err := json.Marshal(&req)
		if err != nil {
			return err
		}
		if err := c.s.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+c.s.Name+"."+c.name, c.inbox, body); err != nil {
			return c.s.Explain(err)
		}
		c.usage.asked()
		c.asked += req.Batch
	}
	return nil
}

// wants reports whether it is time for a request.
func (c *Consumer) wants() bool {
	switch {
	case c.follow:
		return c.asked <= followBatch
	case uint64(c.asked) >= c.pending:
		return false
	case c.asked > 0 && c.got == 0:
		return false // it is not known how large they are
	case c.few:
		return c.asked <= c.batch/2
	default:
		return c.asked <= c.batch
	}
}

// Next returns the next message, and how many are pending after it. ok is false
// without an error when the consumer does not follow and there are no more. ErrLost
// when another consumer has to go on.
func (c *Consumer) Next(ctx context.Context) (m store.Message, ok bool, err error) {
	for {
		if err := c.ask(); err != nil {
			return store.Message{}, false, err
		}
		m, err := c.receive(ctx)
		if err != nil {
			return store.Message{}, false, err
		}
		if m.Reply == "" && len(m.Data) == 0 && len(m.Header) > 0 {
			done, err := c.statusMessage(m.Header)
			if err != nil {
				return store.Message{}, false, err
			}
			if done {
				c.pending = 0 // what was pending is gone
				return store.Message{}, false, nil
			}
			continue
		}
		d, ok := parseDelivery(m.Reply)
		if !ok || d.consumer != c.seen+1 {
			return store.Message{}, false, fmt.Errorf("%w: message %d follows %d", ErrLost, d.consumer, c.seen)
		}
		c.seen = d.consumer
		c.asked = max(0, c.asked-1)
		c.pending = d.pending
		c.got++
		c.bytes += len(m.Data) + len(m.Subject)
		if c.usage != nil {
			c.usage.got(m)
		}
		out, err := c.s.delivered(m, d)
		return out, err == nil, err
	}
}

func (c *Consumer) receive(ctx context.Context) (*nats.Msg, error) {
	select { // most often there is one
	case m, ok := <-c.msgs:
		if !ok {
			return nil, c.gone()
		}
		return m, ctx.Err()
	default:
	}
	quiet := readSilence
	if c.follow {
		quiet = 2 * heartbeat
	}
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	select {
	case m, ok := <-c.msgs:
		if !ok {
			return nil, c.gone()
		}
		c.heard = time.Now()
		return m, nil
	case <-c.status: // the connection came back: requests from before are lost
		return nil, ErrLost
	case <-timer.C:
		return nil, fmt.Errorf("%w: silent for %v", ErrLost, quiet)
	case <-c.s.done:
		return nil, c.gone()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Consumer) gone() error { return c.s.Explain(nats.ErrConnectionClosed) }

// statusMessage acts on a message that is not one of the stream's.
func (c *Consumer) statusMessage(h nats.Header) (done bool, err error) {
	switch status := h.Get("Status"); status {
	case "100": // heartbeat
		return false, nil
	case "404": // no more messages; to one that follows, a late answer from before
		return !c.follow, nil
	case "408": // a request ended before it had all that it asked for
		left, err := strconv.Atoi(h.Get("Nats-Pending-Messages"))
		if err != nil {
			// Without a count the request was not taken, because what is pending fits
			// the request before it; that one ends with 404.
			if !c.follow {
				return false, nil
			}
			left = followBatch
		}
		c.asked = max(0, c.asked-left)
		return false, nil
	default:
		return false, fmt.Errorf("%w: %s %s", ErrLost, status, h.Get("Description"))
	}
}
