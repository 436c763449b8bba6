package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// silence is how long a request waits for its next reply. One that only
	// reads is then sent again, as long as its context allows.
	silence = 5 * time.Second

	// defaultTimeout bounds a request whose context has no deadline.
	defaultTimeout = 5 * time.Second

	// writeGrace is how long a write waits for its answer after its context has
	// ended: most often it is on its way, and then the outcome is known.
	writeGrace = 50 * time.Millisecond

	// A lost reply is asked for again after this time, which doubles.
	firstSilence = time.Second

	// maxIdleLanes is how many lanes are kept for later calls.
	maxIdleLanes = 256

	// A request that no server takes is sent again this often; the server has not
	// seen it, so that is safe. Replicas need more: they elect a leader first.
	noResponderRetries = 10
	electionRetries    = 100
	noResponderPause   = 100 * time.Millisecond

	// laneBuffer is how many replies a lane holds: those of the largest call.
	laneBuffer = maxMulti + 64
)

// errNoAnswer is what a request ends with when its time is up.
var errNoAnswer = errors.New("no answer from the server in time; is it running, and reachable?")

// requests sends requests and collects their replies, on lanes: subscriptions
// that stay, one for each call under way, whose messages the connection's
// reader puts straight into a channel that the caller reads. A subscription
// for each request would take another round trip; one inbox for all would take
// a goroutine between reader and caller, which costs a fifth of the time of an
// in-process request.
type requests struct {
	nc      *nats.Conn
	retries int   // of what nobody takes
	alive   *lane // on which nothing comes; its end is the connection's

	// epoch is the number of the connection's reconnects, as far as is noticed. What
	// was asked before one will not be answered after it.
	epoch  atomic.Uint64
	status chan nats.Status
	ended  chan struct{} // the goroutine that counts them

	batching sync.Mutex // held while the messages of a batch are published

	mu     sync.Mutex
	lanes  map[*lane]struct{}
	free   []*lane // the last one used is the next one taken
	closed error
	done   chan struct{} // closed with it
}

// lane is where the replies of one call at a time arrive. Only a call that got
// all its replies gives its lane back. Even so a second copy of one may follow: in
// a cluster a reply can come by two routes, or from two servers that both believe
// to lead. So reply subjects have the number of the call.
type lane struct {
	prefix string // of reply subjects
	call   uint64
	mine   string // prefix and the number of the call
	sub    *nats.Subscription
	msgs   chan *nats.Msg

	// alarm wakes the call when replies stay out. It is a function's timer and
	// no channel's, which would go into the runtime's heap and out of it again
	// each time a reply is waited for.
	alarm *time.Timer
}

// wake lets a call that waits look whether it should wait any longer: a nil
// among its replies. One that comes too late makes a later call look.
func (l *lane) wake() {
	select {
	case l.msgs <- nil:
	default: // it has replies to look at
	}
}

func newRequests(nc *nats.Conn, retries int) (*requests, error) {
	r := &requests{nc: nc, retries: retries, lanes: map[*lane]struct{}{}, done: make(chan struct{})}
	var err error
	if r.alive, err = r.newLane(); err != nil {
		return nil, err
	}
	r.epoch.Store(nc.Stats().Reconnects)
	r.status, r.ended = nc.StatusChanged(nats.CONNECTED), make(chan struct{})
	go r.watch()
	r.alive.sub.SetClosedHandler(func(string) { r.fail(fmt.Errorf("%w: %w", ErrClosed, nats.ErrConnectionClosed)) })
	return r, nil
}

// watch wakes the calls that wait when the connection has come back.
func (r *requests) watch() {
	defer close(r.ended)
	for {
		select {
		case _, ok := <-r.status:
			if !ok {
				return
			}
			r.epoch.Store(r.nc.Stats().Reconnects)
			r.mu.Lock()
			for l := range r.lanes {
				l.wake()
			}
			r.mu.Unlock()
		case <-r.done:
			return
		}
	}
}

// close ends every call with ErrClosed.
// It may be called more than once.
func (r *requests) close() {
	r.fail(ErrClosed)
	r.mu.Lock()
	idle := append(r.free, r.alive)
	r.free = nil
	r.alive.sub.SetClosedHandler(nil)
	r.mu.Unlock()
	<-r.ended
	r.nc.RemoveStatusListener(r.status)
	for _, l := range idle { // not under the lock: it calls fail
		l.close()
	}
}

func (r *requests) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed == nil {
		r.closed = err
		close(r.done)
		for l := range r.lanes {
			l.wake()
		}
	}
}

// explain turns an error of the connection into ErrClosed once it is closed.
func (r *requests) explain(err error) error {
	if err == nil {
		return nil
	}
	if closed := r.err(); closed != nil {
		return closed
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// definite reports whether an error of publishing says that the message is not sent.
// When the connection breaks meanwhile, it may have been.
func definite(err error) bool {
	for _, e := range []error{ErrClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload, nats.ErrReconnectBufExceeded, nats.ErrDisconnected, nats.ErrBadSubject, nats.ErrHeadersNotSupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// brokenPause is before a request that broke the connection, or met it broken, is
// sent again.
const brokenPause = 10 * time.Millisecond

// err is why calls are no longer possible, or nil.
func (r *requests) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *requests) newLane() (*lane, error) {
	l := &lane{prefix: r.nc.NewInbox() + ".", msgs: make(chan *nats.Msg, laneBuffer)}
	l.next()
	l.alarm = time.AfterFunc(time.Hour, l.wake)
	l.alarm.Stop()
	var err error
	if l.sub, err = r.nc.ChanSubscribe(l.prefix+"*", l.msgs); err != nil {
		return nil, r.explain(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lanes[l] = struct{}{}
	if r.closed != nil {
		l.wake() // whoever takes it finds out
	}
	return l, nil
}

func (l *lane) close() {
	_ = l.sub.Unsubscribe() // fails only when the connection is gone, and it with it
}

// take is a lane for one call.
func (r *requests) take() (*lane, error) {
	r.mu.Lock()
	if r.closed != nil {
		defer r.mu.Unlock()
		return nil, r.closed
	}
	if n := len(r.free); n > 0 {
		l := r.free[n-1]
		r.free = r.free[:n-1]
		r.mu.Unlock()
		l.next()
		return l, nil
	}
	r.mu.Unlock()
	return r.newLane()
}

// give returns a lane whose call got all its replies. One that broke off would
// meet the late ones again, and is closed instead.
func (r *requests) give(l *lane, complete bool) {
	r.mu.Lock()
	open := complete && r.closed == nil && len(r.free) < maxIdleLanes
	if open {
		r.free = append(r.free, l)
	} else {
		delete(r.lanes, l)
	}
	r.mu.Unlock()
	if !open {
		l.close()
	}
}

// next begins another call.
func (l *lane) next() {
	l.call++
	l.mine = l.prefix + strconv.FormatUint(l.call, 36) + "-"
}

// reply is the reply subject of a call's n-th request.
func (l *lane) reply(n int) string { return l.mine + strconv.Itoa(n) }

// answers is the number of the request that a message answers, or -1 when it is
// not one of this call.
func (l *lane) answers(m *nats.Msg) int {
	number, ok := strings.CutPrefix(m.Subject, l.mine)
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return -1
	}
	return n
}

// collect gives replies to got until it says that there are no more to come, or
// until none has come for a time, or the connection has come back since epoch,
// before which was asked. When ctx ends, it waits for grace longer.
func (r *requests) collect(ctx context.Context, l *lane, epoch uint64, quiet, grace time.Duration, got func(n int, m *nats.Msg) (more bool)) error {
	l.alarm.Reset(quiet)
	defer l.alarm.Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, l.wake)()
	}
	heard := time.Now()
	var last time.Time // to wait until, once ctx has ended
	for replies := 0; ; {
		m := <-l.msgs
		if m == nil {
			if err := ctx.Err(); err != nil {
				if last.IsZero() {
					last = time.Now().Add(grace)
				}
				left := time.Until(last)
				if left <= 0 || r.err() != nil {
					return err
				}
				l.alarm.Reset(left)
				continue
			}
			if err := r.err(); err != nil {
				return err
			}
			left := quiet - time.Since(heard)
			if left <= 0 || r.epoch.Load() != epoch {
				return errNoAnswer
			}
			l.alarm.Reset(left)
			continue
		}
		if n := l.answers(m); n >= 0 && !got(n, m) {
			return nil
		}
		if replies++; replies%64 == 0 {
			heard = time.Now()
			l.alarm.Reset(quiet) // one that found no room is made up for
			if err := ctx.Err(); err != nil && grace == 0 {
				return err
			}
		}
	}
}

// one sends a request that has one reply.
func (r *requests) one(ctx context.Context, subject string, data []byte) (reply *nats.Msg, err error) {
	err = r.request(ctx, subject, data, func() {}, func(m *nats.Msg) bool {
		reply = m
		return false
	})
	return reply, err
}

// many sends a request that has replies until last is true of one.
func (r *requests) many(ctx context.Context, subject string, data []byte, last func(*nats.Msg) bool) (replies []*nats.Msg, err error) {
	err = r.request(ctx, subject, data, func() { replies = nil }, func(m *nats.Msg) bool {
		replies = append(replies, m)
		return !last(m)
	})
	return replies, err
}

// request sends a request that only reads, or may be repeated: again while
// nobody takes it, and again from the start when its replies stop coming, as
// they do when the connection breaks.
func (r *requests) request(ctx context.Context, subject string, data []byte, begin func(), got func(*nats.Msg) (more bool)) error {
	_, patient := ctx.Deadline()
	quiet, began := firstSilence, time.Now()
	untaken := 0
	for {
		taken, err := r.attempt(ctx, subject, data, quiet, begin, got)
		switch {
		case errors.Is(err, errNoAnswer):
			waited := time.Since(began)
			if !patient && waited >= defaultTimeout {
				return err
			}
			quiet = min(2*quiet, silence)
			if !patient {
				quiet = min(quiet, defaultTimeout-waited)
			}
		case err != nil || taken:
			return err
		default:
			untaken++
			if err := r.pause(ctx, untaken, subject); err != nil {
				return err
			}
		}
	}
}

// attempt sends a request once; taken is false when nobody takes it.
func (r *requests) attempt(ctx context.Context, subject string, data []byte, quiet time.Duration, begin func(), got func(*nats.Msg) (more bool)) (taken bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	l, err := r.take()
	if err != nil {
		return false, err
	}
	defer func() { r.give(l, err == nil) }()
	epoch, replies := r.epoch.Load(), 0
	if err := r.nc.PublishRequest(subject, l.reply(0), data); err != nil {
		if err = r.explain(err); !definite(err) {
			err = fmt.Errorf("%w: %w", errNoAnswer, err)
			if e := wait(ctx, brokenPause); e != nil {
				return false, e
			}
		}
		return false, err
	}
	usageOf(ctx).asked()
	begin()
	taken = true
	defer func() {
		// Of several replies the first ones may have been lost with the connection.
		if err == nil && replies > 1 && r.nc.Stats().Reconnects != epoch {
			err = errNoAnswer
		}
	}()
	err = r.collect(ctx, l, epoch, quiet, 0, func(_ int, m *nats.Msg) bool {
		if noResponders(m) {
			taken = false
			return false
		}
		replies++
		return got(m)
	})
	return taken, err
}

// all publishes messages and waits for a reply to each, as long as none stays
// out for longer than quiet. A nil reply has its error beside it: one that was
// never sent its own, one without an answer ErrUnknown.
func (r *requests) all(ctx context.Context, msgs []*nats.Msg, quiet time.Duration) ([]*nats.Msg, []error) {
	replies, errs := make([]*nats.Msg, len(msgs)), make([]error, len(msgs))
	fill := func(err error) {
		for i := range errs {
			if replies[i] == nil && errs[i] == nil {
				errs[i] = err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		fill(err) // nothing is sent, so the outcome is known
		return replies, errs
	}
	l, err := r.take()
	if err != nil {
		fill(err)
		return replies, errs
	}
	defer func() { r.give(l, err == nil) }()
	usage, missing, epoch := usageOf(ctx), 0, r.epoch.Load()
	for i, m := range msgs {
		m.Reply = l.reply(i)
		if err := r.explain(r.nc.PublishMsg(m)); err != nil {
			if !definite(err) {
				err = fmt.Errorf("%w: %w", ErrUnknown, err)
			}
			errs[i] = err
		} else {
			usage.asked()
			missing++
		}
	}
	if missing == 0 {
		return replies, errs
	}
	err = r.collect(ctx, l, epoch, quiet, writeGrace, func(n int, m *nats.Msg) bool {
		if n >= 0 && n < len(replies) && replies[n] == nil {
			replies[n] = m
			missing--
		}
		return missing > 0
	})
	if err != nil {
		fill(fmt.Errorf("%w: %w", ErrUnknown, err))
	}
	return replies, errs
}

func noResponders(m *nats.Msg) bool {
	return len(m.Data) == 0 && len(m.Header) != 0 && m.Header.Get("Status") == "503"
}

// pause waits before a request that nobody took is sent again.
func (r *requests) pause(ctx context.Context, try int, subject string) error {
	if try >= r.retries {
		return fmt.Errorf("nobody answers on %q: %w; is JetStream enabled, and does the bucket exist?", subject, nats.ErrNoResponders)
	}
	return wait(ctx, noResponderPause)
}
