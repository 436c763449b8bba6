package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/session"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// What becomes of a write whose answer was lost: see "Lost answers are settled" in
// doc.go.

const (
	// settleAfter is how long a write waits for its answer before it is probed
	// for; less when the context ends soon.
	settleAfter = time.Second

	// lostShare divides what a context has left, so that a probe and a second
	// one have their share of it.
	lostShare = 3

	// windowMargin is kept free of the duplicate window for the clocks of two
	// machines to run apart.
	windowMargin = time.Second

	// busyPause comes before a question that the server cannot answer yet is
	// asked again.
	busyPause = 20 * time.Millisecond

	settlePrefix = keys.Probe
	settleTTL    = time.Minute // of a probe; more where the duplicate window is longer

	codeDuplicateInProcess = 10158
)

// patience is how long to wait for an answer before something is done about it.
func patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(settleAfter, max(time.Millisecond, time.Until(deadline)/lostShare))
	}
	return settleAfter
}

// lost is a write whose answer did not come.
type lost struct {
	op    *store.Op
	id    string
	sent  time.Time // before it was sent
	epoch uint64    // of the connection, then
}

// settle finds out whether a write was done. An error, which is ErrUnknown,
// says that nobody could tell.
func (b *Bucket) settle(ctx context.Context, w lost) (done bool, revision uint64, err error) {
	key := settlePrefix + w.id
	probe := nats.Msg{Subject: b.Stream.Prefix + key, Header: nats.Header{message.ID: []string{w.id}}}
	if b.Now().MessageTTL {
		probe.Header[message.TTL] = message.Seconds(max(settleTTL, b.Now().Window) + time.Second)
	}
	unknown := func(err error) (bool, uint64, error) {
		return false, 0, fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return unknown(err)
		}
		if time.Since(w.sent) > min(session.GiveUp, b.Now().Window-windowMargin) {
			if _, ok := ctx.Deadline(); !ok || time.Since(w.sent) > b.Now().Window-windowMargin {
				return unknown(wire.ErrNoAnswer)
			}
		}
		replies, errs := b.Stream.All(ctx, []*nats.Msg{&probe}, patience(ctx))
		if failure := (*refusal.Failure)(nil); errors.As(errs[0], &failure) {
			return unknown(failure)
		}
		if errs[0] == nil && wire.NobodyTook(replies[0]) || errs[0] != nil && !errors.Is(errs[0], store.ErrClosed) {
			if err := workers.Sleep(ctx, busyPause); err != nil {
				return unknown(err)
			}
			continue
		}
		if errs[0] != nil {
			return unknown(errs[0])
		}
		var ack publishAck
		if err := json.Unmarshal(replies[0].Data, &ack); err != nil {
			return unknown(err)
		}
		switch {
		case ack.Error != nil && (ack.Error.ErrorCode == codeDuplicateInProcess || refusal.Passing(ack.Error)):
			if err := workers.Sleep(ctx, busyPause); err != nil {
				return unknown(err)
			}
		case ack.Error != nil:
			return unknown(ack.Error)
		case ack.Stream != b.Stream.Name || ack.Seq == 0:
			return unknown(fmt.Errorf("stream %q answered for %q", ack.Stream, b.Stream.Name))
		case !ack.Duplicate:
			b.Saw(ack.Seq)
			s, err := b.Relook(ctx, b.Now()) // the window may be shorter than it was
			switch {
			case err != nil:
				return unknown(err)
			case time.Since(w.sent) > s.Window:
				return unknown(errors.New("the answer came after the duplicate window"))
			}
			return b.taken(ctx, w)
		case try == 1:
			return true, ack.Seq, nil
		default:
			b.Saw(ack.Seq)
			own, err := b.Get(ctx, key)
			switch {
			case err != nil:
				return unknown(err)
			case own.Revision == ack.Seq:
				return b.taken(ctx, w)
			}
			return true, ack.Seq, nil
		}
	}
}

// taken judges a write whose id the probe could take. It was not done, unless the
// server forgot the id: because it started again, and the write's message was no
// longer there, written over since. That is impossible when the server is the same,
// or when the key was written at most once since.
func (b *Bucket) taken(ctx context.Context, w lost) (done bool, revision uint64, err error) {
	if s := b.Now(); s.Alone && s.Connection == w.epoch && b.Holds(s) {
		return false, 0, nil // the server has not started again
	}
	last, err := b.newestOf(ctx, w.op.Key)
	switch {
	case err != nil:
		return false, 0, fmt.Errorf("%w: %w", store.ErrUnknown, err)
	case last.ID == w.id: // a server that started again knows it no longer
		return true, last.Revision, nil
	case last.Revision == w.op.Expect, last.Replaced != nil && *last.Replaced == w.op.Expect:
		return false, 0, nil
	}
	return false, 0, fmt.Errorf("%w: the server does not remember, and the key was written several times since", store.ErrUnknown)
}

// newestOf gets the last message of a key from a leader that has what the session has. One
// that was just replaced, or elected, may take a while to have it.
func (b *Bucket) newestOf(ctx context.Context, key string) (last message.Leader, err error) {
	began, pause := time.Now(), workers.Pauses{First: busyPause, Most: settleAfter}
	for {
		if last, err = b.LeaderLast(ctx, key); err == nil && !b.Replicable() {
			return last, nil
		}
		if err == nil { // the session's own read tells whether that was all
			var seen store.Message
			if seen, err = b.Get(ctx, key); err == nil && seen.Revision == last.Revision {
				return last, nil
			}
		}
		if err != nil && !store.Transient(err) && !errors.Is(err, wire.ErrBehind) {
			return last, err
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > session.GiveUp {
			return last, cmp.Or(err, wire.ErrBehind)
		}
		if e := pause.Sleep(ctx); e != nil {
			return last, cmp.Or(err, e)
		}
	}
}

// settled settles writes whose answers were lost, all at the same time. again are
// those that were not done, to be sent again.
func (b *Bucket) settled(ctx context.Context, writes []lost, results []*store.Result) (again []int) {
	verdict := make([]bool, len(writes)) // that it was not done
	done := make(chan struct{}, len(writes))
	for i, w := range writes {
		go func() {
			defer func() { done <- struct{}{} }()
			ok, revision, err := b.settle(ctx, w)
			switch {
			case err != nil:
				results[i].Err = err
			case ok:
				*results[i] = store.Result{Revision: revision}
				b.Wrote(revision)
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
