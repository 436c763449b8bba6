package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/keys"
)

// A write whose answer is lost was done, or it was not, and whoever sent it can
// not tell. Sending it again decides nothing: it may be refused because of what
// the first one did. So a write that must be known carries a message id, which
// the server remembers for a time (the duplicate window), and when its answer
// stays out, the same id is sent once more, with a message that any state of the
// bucket takes: the probe.
//
//   - The server answers that the probe is a duplicate, and of which revision:
//     the write was done, whatever has become of its key since.
//   - The server takes the probe: the write was not done, and never will be,
//     for the id is taken now (as long as no request is under way for longer than
//     the window). It can be sent anew, with another id.
//
// A probe whose own answer was lost may be what the next probe is a duplicate
// of. It went to a key that only this id has, so that key tells.
//
// A server that starts again knows only the ids of messages that are still
// there. When it takes a probe and the key was written more than once
// meanwhile, the write may have been among those; see taken.

const (
	// settleAfter is how long a write waits for its answer before it is probed
	// for; less when the context ends soon.
	settleAfter = time.Second

	// lostShare divides what a context has left, so that a probe and a second
	// one have their share of it.
	lostShare = 3

	// giveUp is how long a write without a deadline is looked after.
	giveUp = 10 * time.Second

	// windowMargin is kept free of the duplicate window for the clocks of two
	// machines to run apart.
	windowMargin = time.Second

	// busyPause is before a question that the server can not answer yet is
	// asked again.
	busyPause = 20 * time.Millisecond

	settlePrefix = keys.Probe
	settleTTL    = time.Minute // of a probe; more where the duplicate window is longer

	codeDuplicateInProcess = 10158
)

// ids makes message and batch ids: a random text for the store, and a number.
type ids struct {
	prefix string
	n      atomic.Uint64
}

func newIDs() ids { return ids{prefix: rand.Text() + "."} }

func (g *ids) next() string { return g.prefix + strconv.FormatUint(g.n.Add(1), 36) }

// patience is how long to wait for an answer before something is done about it.
func patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(settleAfter, max(time.Millisecond, time.Until(deadline)/lostShare))
	}
	return settleAfter
}

// lost is a write whose answer did not come.
type lost struct {
	op    *Op
	id    string
	sent  time.Time // before it was sent
	epoch uint64    // of the connection, then
}

// settle finds out whether a write was done. An error, which is ErrUnknown,
// says that nobody could tell.
func (s *JetStream) settle(ctx context.Context, w lost) (done bool, revision uint64, err error) {
	key := settlePrefix + w.id
	probe := nats.Msg{Subject: s.prefix + key, Header: nats.Header{headerID: []string{w.id}}}
	if s.markerTTL {
		probe.Header[headerTTL] = []string{strconv.Itoa(int((max(settleTTL, s.window) + time.Second) / time.Second))}
	}
	unknown := func(err error) (bool, uint64, error) {
		return false, 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return unknown(err)
		}
		if time.Since(w.sent) > min(giveUp, s.window-windowMargin) {
			if _, ok := ctx.Deadline(); !ok || time.Since(w.sent) > s.window-windowMargin {
				return unknown(errNoAnswer)
			}
		}
		replies, errs := s.req.all(ctx, []*nats.Msg{&probe}, patience(ctx))
		if errs[0] == nil && noResponders(replies[0]) || errs[0] != nil && !errors.Is(errs[0], ErrClosed) {
			if err := wait(ctx, busyPause); err != nil {
				return unknown(err)
			}
			continue
		}
		if errs[0] != nil {
			return unknown(errs[0])
		}
		var ack struct {
			Stream    string              `json:"stream"`
			Seq       uint64              `json:"seq"`
			Duplicate bool                `json:"duplicate"`
			Error     *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(replies[0].Data, &ack); err != nil {
			return unknown(err)
		}
		switch {
		case ack.Error != nil && ack.Error.ErrorCode == codeDuplicateInProcess, ack.Error != nil && ack.Error.Code == 503:
			if err := wait(ctx, busyPause); err != nil {
				return unknown(err)
			}
		case ack.Error != nil:
			return unknown(ack.Error)
		case ack.Stream != s.stream || ack.Seq == 0:
			return unknown(fmt.Errorf("stream %q answered for %q", ack.Stream, s.stream))
		case !ack.Duplicate && time.Since(w.sent) > s.window:
			return unknown(errors.New("the answer came after the duplicate window"))
		case !ack.Duplicate:
			s.saw(ack.Seq)
			return s.taken(ctx, w)
		case try == 1:
			return true, ack.Seq, nil
		default:
			s.saw(ack.Seq)
			own, err := s.Get(ctx, key)
			switch {
			case err != nil:
				return unknown(err)
			case own.Revision == ack.Seq:
				return s.taken(ctx, w)
			}
			return true, ack.Seq, nil
		}
	}
}

// taken judges a write whose id the probe could take. It was not done, unless
// the server forgot the id: when it started again, and the write's message is
// no longer there because its key was written again. So the key must not have
// been written since but once, or the server must be the same.
func (s *JetStream) taken(ctx context.Context, w lost) (done bool, revision uint64, err error) {
	if !s.replicated && s.nc.ConnectedClusterName() == "" && s.nc.Stats().Reconnects == w.epoch {
		return false, 0, nil // the server has not started again
	}
	last, err := s.fromLeader(ctx, map[string]any{"last_by_subj": s.prefix + w.op.Key})
	switch {
	case err != nil:
		return false, 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	case s.replicated && !s.leaderIsCurrent(ctx):
		return false, 0, fmt.Errorf("%w: %w", ErrUnknown, errBehind)
	case last.id == w.id: // a server that started again knows it no longer
		return true, last.Revision, nil
	case last.Revision == w.op.Expect, last.replaced != nil && *last.replaced == w.op.Expect:
		return false, 0, nil
	}
	return false, 0, fmt.Errorf("%w: the server does not remember, and the key was written several times since", ErrUnknown)
}

// settled decides about writes whose answers were lost, all at the same time.
// again are those that were not done, to be sent anew.
func (s *JetStream) settled(ctx context.Context, writes []lost, results []*Result) (again []int) {
	verdict := make([]bool, len(writes)) // that it was not done
	done := make(chan struct{}, len(writes))
	for i, w := range writes {
		go func() {
			defer func() { done <- struct{}{} }()
			ok, revision, err := s.settle(ctx, w)
			switch {
			case err != nil:
				results[i].Err = err
			case ok:
				*results[i] = Result{Revision: revision}
				s.saw(revision)
			default:
				verdict[i] = true
			}
		}()
	}
	for range writes {
		<-done
	}
	for i, unsent := range verdict {
		if unsent {
			again = append(again, i)
		}
	}
	return again
}

// wait waits, or returns the context's error.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
