package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/delivery"
	"github.com/natsorm/natsorm/internal/flow"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/readsize"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
)

const (
	// followSize is how many messages each request asks for once a consumer follows, and
	// readsize.Bytes how many bytes at the most.
	followSize = 1024

	// gentleSize is how many messages a request of a gentle reader asks for at the most.
	gentleSize = 512

	// leastBytes is about how many bytes a request asks for where others read too.
	leastBytes = 1 << 20

	// subjects is how much larger a message may count than its headers and its value.
	subjects = 64 << 10

	// readSilence is how long the next message may stay out, while a consumer reads what is
	// there, before the consumer counts as lost. Where there are several servers it is
	// stallSilence, or longer where answers are slow: one of them may have stalled, and
	// another can go on.
	readSilence  = 2 * time.Second
	stallSilence = 300 * time.Millisecond

	// mostMaking is how many consumers are made for one reader at the same time, while
	// servers do not answer. It is low because making one is work for a server where the
	// pattern has many keys.
	mostMaking = 4

	// tooManyBytes is how the server says that a request with max_bytes is full, and
	// batchCompleted that it has brought all messages.
	tooManyBytes   = "Message Size Exceeds MaxBytes"
	batchCompleted = "Batch Completed"

	// statuses is how many messages of the server's own (heartbeats, ends of requests) the
	// channel has room for, besides messages of the stream.
	statuses = 64

	// inactiveThreshold is how long a consumer may go without a request before the server
	// removes it by itself: so nothing stays when this process dies. It is long because a
	// scan asks for nothing while its reader is busy.
	inactiveThreshold = 5 * time.Minute

	// removeTimeout is how long a caller waits for the removal of a consumer. Where there are
	// several servers it is stallSilence.
	removeTimeout = time.Second

	// While a request waits for messages, the server sends a heartbeat this often, and more
	// often where another server could go on. When two stay out, the consumer counts as
	// lost. A request ends after pullExpires, and then another one is sent.
	heartbeat      = 5 * time.Second
	heartbeatOften = 500 * time.Millisecond
	pullExpires    = 30 * time.Second
)

// ErrLost says that a consumer is gone, or that one of its messages was lost. The reader
// makes a new consumer that continues.
var ErrLost = store.Unavailable(errors.New("consumer lost"))

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
	s        *Stream
	name     string
	inbox    string
	next     string                // where requests for messages are sent
	refused  chan *refusal.Refusal // tells that the server refused one of them, or the inbox
	sub      *nats.Subscription
	msgs     chan *nats.Msg
	used     *usage.Usage // counts what the call costs that the consumer is for; or nil
	held     bool         // the server refused a request because those before it have room for all that is pending
	follow   bool         // requests wait for messages, with heartbeats; otherwise they end when there are none
	pending  uint64       // how many messages are to come, as the server counted with the last one
	size     int          // how many messages the last request asked for
	most     int          // how many messages one request asks for at the most: two such requests fit into the channel
	keys     bool         // it reads keys without their values
	few      bool         // the reader may need no more than was asked for: ask late
	got      int          // how many messages have come
	bytes    int          // their size, with subjects
	requests flow.Requests
	waited   time.Duration // how long the last message was waited for
	usual    *atomic.Int64 // the average size of messages like these, in bytes; 0: not known
	seen     uint64        // the number of the last message, in the consumer's own sequence from 1
	heard    time.Time
	status   <-chan nats.Status
}

// ConsumerOptions says what a consumer reads. The zero value reads the last message of
// each key.
type ConsumerOptions struct {
	From   uint64             // read all messages from this revision on, instead of each key's last; 0: each key's last
	Beside string             // read this key too; "" for none
	Keys   bool               // leave out the values
	Gentle bool               // requests are small, so that others are served in between
	Want   int                // how many messages the reader expects to need, when they are few; 0: all
	Follow bool               // the reader will call Follow
	Status <-chan nats.Status // tells when the connection has come back: requests from before it are lost
}

// stalled is after how long of silence one of several servers counts as stalled.
func (c *Client) stalled() time.Duration {
	return min(max(stallSilence, (hedges+1)*c.pace.Delay(hedgeMost)), readSilence)
}

// beat is how often the server sends a heartbeat.
func (c *Client) beat() time.Duration {
	if c.several.Load() {
		return heartbeatOften
	}
	return heartbeat
}

// Close ends the consumer and removes it from the server. It does not wait longer than a
// second for that.
func (c *Consumer) Close() {
	if c.sub != nil {
		_ = c.sub.Unsubscribe() // fails only when the connection is gone
	}
	c.requests.End()
	if c.got > 0 && !c.keys {
		c.usual.Store(int64(c.bytes/c.got + 1))
	}
	c.remove()
}

// remove removes the consumer from the server, and waits until it is gone or
// its time has passed. It has a context of its own, because the caller's may have
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
	timeout := removeTimeout
	if c.s.several.Load() {
		timeout = stallSilence
	}
	if c.delete(timeout) != nil {
		c.s.Go(func() { _ = c.delete(DefaultTimeout) })
	}
}

// delete asks the server to delete the consumer.
func (c *Consumer) delete(timeout time.Duration) error {
	ctx, cancel := detached(c.used, timeout)
	defer cancel()
	_, err := c.s.slow(ctx, "$JS.API.CONSUMER.DELETE."+c.s.Name+"."+c.name, nil)
	return err
}

// Pending is how many messages are to come, as the server counted with the last one. An
// overwrite takes the old message off the count before it puts the new one on it. So 0
// does not prove that there are none.
func (c *Consumer) Pending() int { return int(c.pending) }

// Heard is the last time at which the server sent something that Next had to wait for.
func (c *Consumer) Heard() time.Time { return c.heard }

// More makes Next ask once more for what is there now, after it has said that there are no
// more messages. Pending is not 0 until the answer.
func (c *Consumer) More() {
	c.requests.End()
	c.pending = uint64(c.most)
}

// Follow makes Next wait for messages from now on.
func (c *Consumer) Follow() {
	c.requests.End() // the server answers what was asked before with "no messages"
	c.follow = true
}

// ask sends requests for messages, early enough that the server always has one to work
// on. Until Follow it asks for no more than is pending: the server would end such a
// request early, and its rest would be lost time. The sizes follow package readsize, and
// package flow where others read too.
func (c *Consumer) ask(ctx context.Context) error {
	for c.wants() {
		req := struct {
			Batch     int   `json:"batch"`
			NoWait    bool  `json:"no_wait,omitzero"`
			Expires   int64 `json:"expires,omitzero"`
			Heartbeat int64 `json:"idle_heartbeat,omitzero"`
			MaxBytes  int   `json:"max_bytes,omitzero"`
		}{}
		messages, bytes, err := c.take(ctx)
		if err != nil || messages == 0 {
			return err
		}
		req.Batch = messages
		if c.follow {
			req.Expires, req.Heartbeat, req.MaxBytes = pullExpires.Nanoseconds(), c.s.beat().Nanoseconds(), bytes
		} else {
			req.NoWait = true
		}
		body, err := json.Marshal(&req)
		if err != nil {
			return err
		}
		if err := c.s.nc.PublishRequest(c.next, c.inbox, body); err != nil {
			if errors.Is(err, nats.ErrReconnectBufExceeded) { // the connection is lost, and the consumer with it
				return fmt.Errorf("%w: %w", ErrLost, err)
			}
			return c.s.Explain(err)
		}
		c.used.Asked(false)
	}
	return nil
}

// take decides how much the next request asks for. It is nothing, with messages 0, where
// one is under way and what others read leaves no room for a second one.
//
// Only a consumer that follows tells the server how many bytes it takes. What is there is
// asked for by the number of messages, of the size that those before had: nats-server
// 2.15.2 never delivers the message that a request has no bytes left for, when no other
// request waits and the consumer reads the last message of each key.
func (c *Consumer) take(ctx context.Context) (messages, bytes int, err error) {
	most := int(c.s.nc.MaxPayload()) + subjects // of one message
	if c.follow {
		w := &c.s.flow.Follows
		if c.requests.Open() > 0 {
			if bytes = w.TryTake(most, max(most, readsize.Bytes)); bytes == 0 {
				return 0, 0, nil
			}
		} else {
			bytes = w.Share(most, max(most, readsize.Bytes))
		}
		c.requests.Add(followSize, bytes, w)
		return followSize, bytes, nil
	}
	size := min(readsize.Next(c.size, c.got, c.bytes), c.most)
	messages = min(size, int(c.pending)-c.requests.Asked())
	if c.keys {
		c.size = size
		c.requests.Add(messages, 0, nil)
		return messages, 0, nil
	}
	average := int(c.usual.Load())
	if c.got > 0 {
		average = c.bytes/c.got + 1
	}
	unknown := average == 0
	average = cmp.Or(average, most)
	want := messages * average
	least := min(want, max(average, leastBytes))
	w := &c.s.flow.Scans
	if c.requests.Open() > 0 {
		if bytes = w.TryTake(least, want); bytes == 0 {
			return 0, 0, nil
		}
	} else if unknown { // all of them alone, or few
		bytes = w.TryTake(want, want)
	}
	if bytes == 0 {
		if bytes, err = w.Take(ctx, least, want, c.s.done); errors.Is(err, flow.ErrDone) {
			err = c.gone()
		}
		if err != nil {
			return 0, 0, err
		}
	}
	if bytes < want {
		messages = max(1, bytes/average)
		size = messages
	}
	c.size = size
	c.requests.Add(messages, bytes, w)
	return messages, bytes, nil
}

// wants reports whether it is time for another request. It is so when no more than the
// last request is still to come, or, for a reader that may need few messages, no more than
// half of it. So two requests are under way at the most, and the channel has room for
// both.
func (c *Consumer) wants() bool {
	c.held = c.held && c.requests.Open() > 0
	switch asked := c.requests.Asked(); {
	case c.requests.Open() == 2 || c.held:
		return false
	case c.follow:
		return asked <= followSize
	case uint64(asked) >= c.pending:
		return false
	case asked > 0 && c.got == 0:
		return false // wait for the first message: the size of requests depends on how large messages are
	case c.few:
		return asked <= c.size/2
	default:
		return asked <= c.size
	}
}

// Next returns the next message; Pending then says how many follow. ok is false without
// an error when the consumer does not follow and there are no more messages. ErrLost when
// another consumer has to continue. When ctx ends, the error is ctx's; messages that were
// received stay in the channel.
func (c *Consumer) Next(ctx context.Context) (m store.Message, ok bool, err error) {
	for {
		if err := c.ask(ctx); err != nil {
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
				c.requests.End()
				c.pending = 0 // what was pending has been overwritten or removed
				return store.Message{}, false, nil
			}
			continue
		}
		// The server numbers this consumer's messages without gaps. A gap is a message that
		// was lost on the way, which it does not send again.
		d, ok := delivery.Parse(m.Reply)
		if !ok || d.Consumer != c.seen+1 {
			return store.Message{}, false, fmt.Errorf("%w: message %d follows %d", ErrLost, d.Consumer, c.seen)
		}
		c.seen = d.Consumer
		c.requests.Came(len(m.Data)+len(m.Subject), c.waited)
		c.pending = d.Pending
		c.got++
		c.bytes += len(m.Data) + len(m.Subject)
		if c.used != nil {
			c.used.Got(m)
		}
		out, err := message.Delivered(m, c.s.Prefix, d)
		return out, err == nil, err
	}
}

// receive waits for the next message of any kind. The wait ends with a message, a
// reconnect, silence, the client's Close, or ctx. Messages that were received before a
// reconnect are still good: their numbers show whether one is missing.
func (c *Consumer) receive(ctx context.Context) (*nats.Msg, error) {
	c.waited = 0
	select { // most often a message is there, and no timer is needed
	case m, ok := <-c.msgs:
		if !ok {
			return nil, c.gone()
		}
		return m, ctx.Err()
	default:
	}
	quiet := readSilence
	switch {
	case c.follow:
		quiet = 2 * c.s.beat()
	case c.s.several.Load():
		quiet = c.s.stalled()
	}
	began := time.Now()
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	select {
	case m, ok := <-c.msgs:
		if !ok {
			return nil, c.gone()
		}
		c.heard = time.Now()
		c.waited = c.heard.Sub(began)
		return m, nil
	case f := <-c.refused:
		return nil, f
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
	case "409":
		// With MaxBytes a request ends before a message that is too large for what is left of
		// it.
		switch why := h.Get("Description"); {
		case strings.Contains(why, batchCompleted):
			return false, nil // it has brought all its messages, and has bytes left
		case !strings.Contains(why, tooManyBytes):
			return false, fmt.Errorf("%w: %s %s", ErrLost, status, h.Get("Description"))
		}
		fallthrough
	case "408": // a request has ended before it had all messages that it asked for
		left, err := strconv.Atoi(h.Get("Nats-Pending-Messages"))
		if err != nil {
			// Without a count the server did not take the last request, because those before
			// it have room for all that is pending. They end with 404, or are filled by
			// messages that were written meanwhile: then there may be more.
			if !c.follow {
				c.requests.Refused()
				c.held = true
				return false, nil
			}
			left = followSize
		}
		c.requests.Less(left) // these will not come: they may be asked for again
		return false, nil
	default:
		return false, fmt.Errorf("%w: %s %s", ErrLost, status, h.Get("Description"))
	}
}
