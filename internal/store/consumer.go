package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/natsorm/natsorm/internal/batch"
)

const (
	// feedBatch is how many messages a request waits for.
	feedBatch = 1024

	// scanSilence is after what time without a message a scan goes on with a new
	// consumer.
	scanSilence = 2 * time.Second

	// statuses is how many messages that are not of the stream may come.
	statuses = 64

	// A consumer that nobody asks for anything is removed by the server after
	// this time: what is left when this process dies. It is long because a scan
	// asks for nothing while its reader is busy.
	inactiveThreshold = 5 * time.Minute

	// removeTimeout is how long the removal of a consumer is waited for.
	removeTimeout = time.Second

	// While a feed waits for changes, the server says this often that it is
	// still there; after two omissions it is not.
	heartbeat   = 5 * time.Second
	pullExpires = 30 * time.Second
)

// errLost says that a consumer is gone or out of step; a new one continues.
var errLost = errors.New("consumer lost")

// consumer is an ephemeral pull consumer, read in order and without
// acknowledgements. Its messages go from the connection's reader straight into
// a channel that holds all that was asked for. It is for one goroutine.
type consumer struct {
	s       *JetStream
	name    string
	inbox   string
	sub     *nats.Subscription
	msgs    chan *nats.Msg
	usage   *Usage    // of whom it is for, or nil
	wait    bool      // requests wait for messages, with heartbeats, rather than end when there are none
	pending uint64    // messages to come, by the server's count at the last one
	batch   int       // how many the last request asked for
	most    int       // that one asks for: two fit into the channel
	few     bool      // the reader may need no more than were asked for
	got     int       // messages that came
	bytes   int       // of them
	asked   int       // messages requested and not yet come
	seen    uint64    // the last consumer sequence
	heard   time.Time // when the server was last heard of while nothing was buffered
	status  chan nats.Status
}

// from is where a consumer starts: at the last message of each key, or at a
// revision; and what it reads.
type from struct {
	revision uint64
	keys     bool // keys and delete markers, without values
	want     int  // the reader expects to need few messages, unless it is 0
	feed     bool // what comes later is waited for
}

// newConsumer makes a consumer. When ctx ends before the server has answered,
// the answer is still waited for, in the background, so that no consumer stays.
func (s *JetStream) newConsumer(ctx context.Context, pattern string, start from) (*consumer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &consumer{s: s, name: nuid.Next(), inbox: s.nc.NewInbox(), usage: usageOf(ctx), batch: batch.First / 2, few: start.want > 0}
	made := make(chan error, 1)
	if !s.spawn(func() { made <- c.create(pattern, start) }) {
		return nil, ErrClosed
	}
	select {
	case err := <-made:
		if err != nil {
			return nil, err
		}
		c.heard = time.Now()
		return c, nil
	case <-ctx.Done():
		if !s.spawn(func() { c.discard(<-made) }) {
			c.discard(<-made) // Close is waiting for the creation too
		}
		return nil, ctx.Err()
	}
}

// discard removes a consumer that nobody waits for any more.
func (c *consumer) discard(err error) {
	if err == nil {
		c.close()
	}
}

// create asks the server for the consumer, and registers it.
func (c *consumer) create(pattern string, start from) error {
	ctx, cancel := context.WithTimeout(Measured(context.Background(), c.usage), defaultTimeout)
	defer cancel()
	s := c.s
	cfg := map[string]any{
		"name":               c.name,
		"deliver_policy":     "last_per_subject",
		"ack_policy":         "none",
		"filter_subject":     s.prefix + pattern,
		"max_deliver":        1,
		"max_waiting":        8,
		"mem_storage":        true,
		"num_replicas":       1,
		"inactive_threshold": inactiveThreshold.Nanoseconds(),
	}
	if start.keys {
		cfg["headers_only"] = true
	}
	if start.revision > 0 {
		cfg["deliver_policy"], cfg["opt_start_seq"] = "by_start_sequence", start.revision
	}
	body, err := json.Marshal(map[string]any{"stream_name": s.stream, "config": cfg, "action": "create"})
	if err != nil {
		return err
	}
	m, err := s.req.one(ctx, "$JS.API.CONSUMER.CREATE."+s.stream+"."+c.name+"."+s.prefix+pattern, body)
	if err != nil {
		c.close() // it may have been made all the same
		if errors.Is(err, context.DeadlineExceeded) {
			err = errNoAnswer // the deadline is not the caller's
		}
		return err
	}
	var resp struct {
		Pending uint64              `json:"num_pending"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		c.close()
		return err
	}
	if resp.Error != nil {
		return resp.Error
	}
	c.pending = resp.Pending
	c.most = feedBatch
	if !start.feed {
		c.most = int(min(max(c.pending, batch.First), batch.Most))
	}
	c.msgs = make(chan *nats.Msg, 2*c.most+statuses)
	if c.sub, err = s.nc.ChanSubscribe(c.inbox, c.msgs); err != nil {
		c.close()
		return s.req.explain(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumers[c] = struct{}{}
	return nil
}

func (c *consumer) close() {
	if c.sub != nil {
		_ = c.sub.Unsubscribe() // fails only when the connection is gone
	}
	c.remove()
}

// remove removes the consumer from the server and waits until it is gone, even
// when the caller's context has ended.
func (c *consumer) remove() {
	c.s.mu.Lock()
	delete(c.s.consumers, c)
	c.s.mu.Unlock()
	if !c.s.nc.IsConnected() {
		return // the server removes it by itself after inactiveThreshold
	}
	if c.delete(removeTimeout) != nil { // the caller does not wait for a slow server; Close does
		c.s.spawn(func() { _ = c.delete(defaultTimeout) })
	}
}

func (c *consumer) delete(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(Measured(context.Background(), c.usage), timeout)
	defer cancel()
	_, err := c.s.req.one(ctx, "$JS.API.CONSUMER.DELETE."+c.s.stream+"."+c.name, nil)
	return err
}

// ask requests messages before those requested run out, and not more than there
// are.
func (c *consumer) ask() error {
	for c.wants() {
		req := struct {
			Batch     int   `json:"batch"`
			NoWait    bool  `json:"no_wait,omitzero"`
			Expires   int64 `json:"expires,omitzero"`
			Heartbeat int64 `json:"idle_heartbeat,omitzero"`
		}{Batch: feedBatch}
		if c.wait {
			req.Expires, req.Heartbeat = pullExpires.Nanoseconds(), heartbeat.Nanoseconds()
		} else {
			c.batch = min(batch.Next(c.batch, c.got, c.bytes), c.most)
			req.Batch, req.NoWait = min(c.batch, int(c.pending)-c.asked), true
		}
		body, err := json.Marshal(&req)
		if err != nil {
			return err
		}
		if err := c.s.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+c.s.stream+"."+c.name, c.inbox, body); err != nil {
			return c.s.req.explain(err)
		}
		c.usage.asked()
		c.asked += req.Batch
	}
	return nil
}

// wants reports whether it is time for a request.
func (c *consumer) wants() bool {
	switch {
	case c.wait:
		return c.asked <= feedBatch
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

// delivery is what the server says of a message beside the message.
type delivery struct {
	revision uint64
	consumer uint64
	at       time.Time
	pending  uint64
}

// next waits for the next message. It returns nil without an error when the
// consumer does not wait and there are no more.
func (c *consumer) next(ctx context.Context) (*nats.Msg, delivery, error) {
	for {
		if err := c.ask(); err != nil {
			return nil, delivery{}, err
		}
		m, err := c.receive(ctx)
		if err != nil {
			return nil, delivery{}, err
		}
		if m.Reply == "" && len(m.Data) == 0 && len(m.Header) > 0 {
			if done, err := c.statusMessage(m.Header); err != nil || done {
				return nil, delivery{}, err
			}
			continue
		}
		d, ok := parseDelivery(m.Reply)
		if !ok || d.consumer != c.seen+1 {
			return nil, delivery{}, fmt.Errorf("%w: message %d follows %d", errLost, d.consumer, c.seen)
		}
		c.seen = d.consumer
		c.asked = max(0, c.asked-1)
		c.pending = d.pending
		c.got++
		c.bytes += len(m.Data) + len(m.Subject)
		if c.usage != nil {
			c.usage.got(m)
		}
		return m, d, nil
	}
}

func (c *consumer) receive(ctx context.Context) (*nats.Msg, error) {
	select { // most often there is one
	case m, ok := <-c.msgs:
		if !ok {
			return nil, c.gone()
		}
		return m, ctx.Err()
	default:
	}
	quiet := scanSilence
	if c.wait {
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
		return nil, errLost
	case <-timer.C:
		return nil, fmt.Errorf("%w: silent for %v", errLost, quiet)
	case <-c.s.req.done:
		return nil, c.gone()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *consumer) gone() error { return c.s.req.explain(nats.ErrConnectionClosed) }

// statusMessage acts on a message that is not one of the stream's.
func (c *consumer) statusMessage(h nats.Header) (done bool, err error) {
	switch status := h.Get("Status"); status {
	case "100": // heartbeat
		return false, nil
	case "404": // no more messages; when waiting, a late answer from before
		return !c.wait, nil
	case "408": // a request ended before it had all that it asked for
		left, err := strconv.Atoi(h.Get("Nats-Pending-Messages"))
		if err != nil {
			// One without a count was not taken, because what is pending fits
			// the request before it; that one ends with 404.
			if !c.wait {
				return false, nil
			}
			left = feedBatch
		}
		c.asked = max(0, c.asked-left)
		return false, nil
	default:
		return false, fmt.Errorf("%w: %s %s", errLost, status, h.Get("Description"))
	}
}

// parseDelivery reads the reply subject of a consumer's message:
// $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream
// sequence>.<consumer sequence>.<time>.<pending>[.<random>]
func parseDelivery(reply string) (d delivery, ok bool) {
	const short = 9
	skip := 5
	switch n := strings.Count(reply, ".") + 1; {
	case n == short:
	case n >= short+2:
		skip += 2
	default:
		return d, false
	}
	for range skip {
		_, reply, _ = strings.Cut(reply, ".")
	}
	var nums [4]uint64
	for i := range nums {
		var token string
		token, reply, _ = strings.Cut(reply, ".")
		n, err := strconv.ParseUint(token, 10, 64)
		if err != nil {
			return d, false
		}
		nums[i] = n
	}
	return delivery{revision: nums[0], consumer: nums[1], at: time.Unix(0, int64(nums[2])).UTC(), pending: nums[3]}, true
}

// delivered is the entry that a consumer's message is.
func (s *JetStream) delivered(m *nats.Msg, d delivery) (Message, error) {
	if !strings.HasPrefix(m.Subject, s.prefix) {
		return Message{}, fmt.Errorf("natsorm: unexpected subject %q", m.Subject)
	}
	e := Message{Key: m.Subject[len(s.prefix):], Value: m.Data, Revision: d.revision, Time: d.at}
	e.mark(m.Header)
	return e, nil
}
