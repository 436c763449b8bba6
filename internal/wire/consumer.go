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
	// followBatch is how many messages each request asks for once a consumer follows.
	followBatch = 1024

	// readSilence is how long the next message may stay out, while a consumer reads what is
	// there, before the consumer counts as lost.
	readSilence = 2 * time.Second

	// statuses is how many messages of the server's own (heartbeats, ends of requests) the
	// channel has room for, besides messages of the stream.
	statuses = 64

	// inactiveThreshold is how long a consumer may go without a request before the server
	// removes it by itself: so nothing stays when this process dies. It is long because a
	// scan asks for nothing while its reader is busy.
	inactiveThreshold = 5 * time.Minute

	// removeTimeout is how long a caller waits for the removal of a consumer.
	removeTimeout = time.Second

	// While a request waits for messages, the server sends a heartbeat this often. When two
	// stay out, the consumer counts as lost. A request ends after pullExpires, and then
	// another one is sent.
	heartbeat   = 5 * time.Second
	pullExpires = 30 * time.Second
)

// ErrLost says that a consumer is gone, or that one of its messages was lost. The reader
// makes a new consumer that continues.
var ErrLost = errors.New("consumer lost")

// Consumer is an ephemeral pull consumer of JetStream, read in order and without
// acknowledgements. The connection's reader puts its messages straight into a channel. The
// channel has room for everything that was asked for, because a message that finds no
// room is dropped. It is for one goroutine.
//
// A consumer begins by reading what is there: it asks for no more than the server says is
// pending, and when that is done, Next says that there are no more. After Follow, Next
// waits for new messages.
//
// Nothing is acknowledged, so a lost message is not sent again. Instead the server numbers
// a consumer's messages, and a gap in the numbers ends the consumer with ErrLost. So do
// silence and a reconnect. The reader knows the revision that it has come to, and
// continues from there with a new consumer.
type Consumer struct {
	s       *Stream
	name    string
	inbox   string
	sub     *nats.Subscription
	msgs    chan *nats.Msg
	usage   *Usage // counts what the call costs that the consumer is for; or nil
	follow  bool   // requests wait for messages, with heartbeats; otherwise they end when there are none
	pending uint64 // how many messages are to come, as the server counted with the last one
	batch   int    // how many messages the last request asked for
	most    int    // how many messages one request asks for at the most: two such requests fit into the channel
	few     bool   // the reader may need no more than was asked for: ask late
	got     int    // how many messages have come
	bytes   int    // their size, with subjects
	asked   int    // how many messages were asked for and have not come
	seen    uint64 // the number of the last message, in the consumer's own sequence from 1
	heard   time.Time
	status  <-chan nats.Status
}

// ConsumerOptions says what a consumer reads. The zero value reads the last message of
// each key.
type ConsumerOptions struct {
	From   uint64             // read all messages from this revision on, instead of each key's last; 0: each key's last
	Keys   bool               // leave out the values
	Want   int                // how many messages the reader expects to need, when they are few; 0: all
	Follow bool               // the reader will call Follow
	Status <-chan nats.Status // tells when the connection has come back: requests from before it are lost
}

// Consume makes a consumer of the messages under a pattern. The caller must Close it.
//
// When ctx ends before the server has answered, Consume returns at once. A task goes on
// to wait for the answer and removes the consumer, so that none stays on the server.
// store.ErrClosed after the client's Close.
func (s *Stream) Consume(ctx context.Context, pattern string, opts ConsumerOptions) (*Consumer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &Consumer{s: s, name: nuid.Next(), inbox: s.nc.NewInbox(), usage: usageOf(ctx), batch: batch.First / 2, few: opts.Want > 0, status: opts.Status}
	made := make(chan error, 1)
	if !s.Go(func() { made <- c.create(pattern, opts) }) {
		return nil, store.ErrClosed
	}
	// The request runs as a task, with a deadline of its own: if the call ended it, nobody
	// would know whether the server has made the consumer.
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

// discard removes a consumer whose call has ended. err is that of its creation, which
// cleans up by itself when it fails.
func (c *Consumer) discard(err error) {
	if err == nil {
		c.Close()
	}
}

// create asks the server for the consumer, subscribes to its messages, and registers it
// with the client. After an error no consumer stays on the server, as far as it answers;
// otherwise it removes the consumer after inactiveThreshold.
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
	// The first request is sent by Next, so nothing can come before the subscription is
	// there. The channel has room for two requests, which is what wants allows.
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

// Close ends the consumer and removes it from the server. It does not wait longer than a
// second for that.
func (c *Consumer) Close() {
	if c.sub != nil {
		_ = c.sub.Unsubscribe() // fails only when the connection is gone
	}
	c.remove()
}

// remove removes the consumer from the server, and waits until it is gone or
// removeTimeout has passed. It has a context of its own, because the caller's may have
// ended: that is a common reason to close a consumer.
func (c *Consumer) remove() {
	c.s.mu.Lock()
	delete(c.s.consumers, c)
	c.s.mu.Unlock()
	if !c.s.nc.IsConnected() {
		return // the server removes it by itself after inactiveThreshold
	}
	// The caller does not wait longer for a slow server. A task does, and the client's Close
	// waits for that.
	if c.delete(removeTimeout) != nil {
		c.s.Go(func() { _ = c.delete(DefaultTimeout) })
	}
}

// delete asks the server to delete the consumer.
func (c *Consumer) delete(timeout time.Duration) error {
	ctx, cancel := detached(c.usage, timeout)
	defer cancel()
	_, err := c.s.one(ctx, "$JS.API.CONSUMER.DELETE."+c.s.Name+"."+c.name, nil)
	return err
}

// Pending is how many messages are to come, as the server counted with the last one. An
// overwrite takes the old message off the count before it puts the new one on it. So 0
// does not prove that there are none.
func (c *Consumer) Pending() int { return int(c.pending) }

// Heard is the last time at which the server sent something that Next had to wait for.
func (c *Consumer) Heard() time.Time { return c.heard }

// Follow makes Next wait for messages from now on.
func (c *Consumer) Follow() {
	c.follow = true
	c.asked = 0 // the server answers what was asked before with "no messages"
}

// ask sends requests for messages, early enough that the server always has one to work
// on. Until Follow it asks for no more than is pending: the server would end such a
// request early, and its rest would be lost time. The sizes follow package batch.
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

// wants reports whether it is time for another request. It is so when no more than the
// last request is still to come, or, for a reader that may need few messages, no more than
// half of it. So two requests are under way at the most, and the channel has room for
// both.
func (c *Consumer) wants() bool {
	switch {
	case c.follow:
		return c.asked <= followBatch
	case uint64(c.asked) >= c.pending:
		return false
	case c.asked > 0 && c.got == 0:
		return false // wait for the first message: the size of requests depends on how large messages are
	case c.few:
		return c.asked <= c.batch/2
	default:
		return c.asked <= c.batch
	}
}

// Next returns the next message; Pending then says how many follow. ok is false without
// an error when the consumer does not follow and there are no more messages. ErrLost when
// another consumer has to continue. When ctx ends, the error is ctx's; messages that were
// received stay in the channel.
func (c *Consumer) Next(ctx context.Context) (m store.Message, ok bool, err error) {
	for {
		if err := c.ask(); err != nil {
			return store.Message{}, false, err
		}
		m, err := c.receive(ctx)
		if err != nil {
			return store.Message{}, false, err
		}
		// A message without a reply subject, with headers alone, is the server's own.
		if m.Reply == "" && len(m.Data) == 0 && len(m.Header) > 0 {
			done, err := c.statusMessage(m.Header)
			if err != nil {
				return store.Message{}, false, err
			}
			if done {
				c.pending = 0 // what was pending has been overwritten or removed
				return store.Message{}, false, nil
			}
			continue
		}
		// The server numbers this consumer's messages without gaps. A gap is a message that
		// was lost on the way, which it does not send again.
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

// receive waits for the next message of any kind. The wait ends with a message, a
// reconnect, silence, the client's Close, or ctx. Messages that were received before a
// reconnect are still good: their numbers show whether one is missing.
func (c *Consumer) receive(ctx context.Context) (*nats.Msg, error) {
	select { // most often a message is there, and no timer is needed
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
	case <-c.status: // the connection came back: the server has forgotten requests from before
		return nil, ErrLost
	case <-timer.C:
		return nil, fmt.Errorf("%w: silent for %v", ErrLost, quiet)
	case <-c.s.done:
		return nil, c.gone()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gone is the error when the subscription has ended: the connection or the client was
// closed.
func (c *Consumer) gone() error { return c.s.Explain(nats.ErrConnectionClosed) }

// statusMessage acts on a message of the server's own. done says that there are no more
// messages. ErrLost for a status that says that the consumer is gone, or that is unknown.
func (c *Consumer) statusMessage(h nats.Header) (done bool, err error) {
	switch status := h.Get("Status"); status {
	case "100": // heartbeat
		return false, nil
	case "404": // no more messages; when the consumer follows, a late answer to a request from before
		return !c.follow, nil
	case "408": // a request has ended before it had all messages that it asked for
		left, err := strconv.Atoi(h.Get("Nats-Pending-Messages"))
		if err != nil {
			// Without a count the server did not take the request, because the request
			// before it has room for all that is pending. That one ends with 404.
			if !c.follow {
				return false, nil
			}
			left = followBatch
		}
		c.asked = max(0, c.asked-left) // these will not come: they may be asked for again
		return false, nil
	default:
		return false, fmt.Errorf("%w: %s %s", ErrLost, status, h.Get("Description"))
	}
}
