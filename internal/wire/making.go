package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/natsorm/natsorm/internal/pace"
	"github.com/natsorm/natsorm/internal/readsize"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
)

// How a consumer is made, and made elsewhere when a server does not answer.

// Consume makes a consumer of the messages under a pattern. The caller must Close it.
//
// Where there are several servers and one takes long, another consumer is made meanwhile,
// which most often is placed elsewhere; the first one that is there counts. ErrLost when
// none is there soon: the servers may be electing who places consumers, which takes
// seconds, and some readers can do without one.
//
// When ctx ends before a server has answered, Consume returns at once. Tasks go on to wait
// for the answers and remove the consumers, so that none stays on the server.
// store.ErrClosed after the client's Close.
func (s *Stream) Consume(ctx context.Context, pattern string, opts ConsumerOptions) (*Consumer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The requests run as tasks, with deadlines of their own: if the call ended them, nobody
	// would know whether the server has made the consumers.
	made, ended, running := make(chan creation), make(chan struct{}), 0
	defer close(ended)
	begin := func() {
		if s.Go(func() {
			began := time.Now()
			c := s.newConsumer(ctx, pattern, opts)
			err := c.create(pattern, opts)
			if err == nil {
				s.making.Note(time.Since(began))
			}
			select {
			case made <- creation{c, err}:
			case <-ended:
				c.discard(err)
			}
		}) {
			running++
		}
	}
	begin()
	var overdue <-chan time.Time // never, where there is one server
	began := time.Now()
	if s.several.Load() {
		t := time.NewTicker(s.making.Delay(hedgeMost))
		defer t.Stop()
		overdue = t.C
	}
	for try := 1; running > 0; {
		select {
		case m := <-made:
			if running--; m.err == nil {
				m.c.heard = time.Now()
				return m.c, nil
			}
			if !errors.Is(m.err, ErrLost) || running == 0 {
				return nil, m.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-overdue:
			if time.Since(began) > s.stalled() {
				return nil, fmt.Errorf("%w: not made in time", ErrLost)
			}
			if running < mostMaking {
				for range min(pace.Copies(try, true), mostMaking-running) {
					begin()
				}
				try++
			}
		}
	}
	return nil, store.ErrClosed
}

// creation is a consumer that was made, or not.
type creation struct {
	c   *Consumer
	err error
}

func (s *Stream) newConsumer(ctx context.Context, pattern string, opts ConsumerOptions) *Consumer {
	name := nuid.Next()
	return &Consumer{
		s: s, name: name, usual: s.usualSize(pattern), inbox: s.nc.NewInbox(), next: "$JS.API.CONSUMER.MSG.NEXT." + s.Name + "." + name, refused: make(chan *refusal.Refusal, 1),
		used: usage.Of(ctx), size: readsize.First / 2, keys: opts.Keys, few: opts.Want > 0, status: opts.Status,
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
	ctx, cancel := detached(c.used, DefaultTimeout)
	defer cancel()
	s := c.s
	cfg := map[string]any{
		"name":               c.name,
		"deliver_policy":     "last_per_subject",
		"ack_policy":         "none",
		"max_deliver":        1,
		"max_waiting":        8,
		"mem_storage":        true,
		"num_replicas":       1,
		"inactive_threshold": inactiveThreshold.Nanoseconds(),
	}
	subject := "$JS.API.CONSUMER.CREATE." + s.Name + "." + c.name
	if opts.Beside == "" {
		subject, cfg["filter_subject"] = subject+"."+s.Prefix+pattern, s.Prefix+pattern
	} else {
		cfg["filter_subjects"] = []string{s.Prefix + pattern, s.Prefix + opts.Beside}
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
	m, err := s.slow(ctx, subject, body)
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
	switch {
	case resp.Error == nil:
	case refusal.Passing(resp.Error): // the servers elect who is to place it
		return fmt.Errorf("%w: %w", ErrLost, store.Unavailable(resp.Error))
	default:
		return resp.Error
	}
	// The first request is sent by Next, so nothing can come before the subscription is
	// there. The channel has room for two requests, which is what wants allows.
	c.pending = resp.Pending
	c.most = followSize
	if !opts.Follow {
		most := readsize.Most
		if opts.Gentle {
			most = gentleSize
		}
		c.most = int(min(max(c.pending, readsize.First), uint64(most)))
	}
	c.msgs = make(chan *nats.Msg, 2*c.most+statuses)
	s.mu.Lock()
	s.consumers[c] = struct{}{}
	s.mu.Unlock()
	if c.sub, err = s.nc.ChanSubscribe(c.inbox, c.msgs); err != nil {
		c.Close()
		return s.Explain(err)
	}
	return nil
}
