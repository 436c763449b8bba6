package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
)

const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
	headerExpectSubject = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerExpectLast    = "Nats-Expected-Last-Sequence"

	codeBatchesOff      = 10174
	codeBatchIncomplete = 10176 // also what the last message gets when the first was turned away
	codeBatchTooLarge   = 10199
	codeTooManyBatches  = 10210

	// MaxBatch is how many messages the server takes in a batch.
	MaxBatch = 1000

	// MaxBatchBytes bounds a batch. The server queues 128 MB for a stream and
	// turns away what is more.
	MaxBatchBytes = 32 << 20

	// guardKey takes the messages that only carry a guard; they go by themselves.
	guardKey = keys.Guard
	guardTTL = time.Minute

	// A server that has too many batches open is asked again after a while.
	busyWait = 50 * time.Millisecond
	busyMost = 100 // times
)

// Batch is writes that are done together, or none of them.
type Batch struct {
	Ops    []Op
	Guards []Guard // on keys that no Op writes

	// After, when it is set, guards everything: it is the bucket's last revision.
	After *uint64
}

// Guard is a condition of a batch: the last revision of a key, or of all keys
// that match a pattern. A pattern guards nothing on a replicated bucket, where
// writes under way are only checked by their literal keys.
type Guard struct {
	Key      string
	Revision uint64
}

// Messages is how many messages the batch takes: a message carries one
// condition, and ops that have none carry the guards.
func (b *Batch) Messages() int {
	free := 0
	for _, op := range b.Ops {
		if !op.Conditional {
			free++
		}
	}
	return len(b.Ops) + max(0, len(b.Guards)-free)
}

var errBusy = errors.New("the server has too many batches open")

// Batch writes ops in one step that nothing comes between. It returns the
// revision of the first; the others follow it by one each.
func (s *JetStream) Batch(ctx context.Context, b Batch) (first uint64, err error) {
	n, size, limit := b.Messages(), 0, s.MaxValue()
	for _, op := range b.Ops {
		if len(op.Value) > limit {
			return 0, fmt.Errorf("%w: key %s", ErrTooLarge, op.Key)
		}
		size += len(op.Key) + len(op.Value)
	}
	if n > MaxBatch || size > MaxBatchBytes {
		return 0, fmt.Errorf("%w: %d messages of %d bytes", ErrBatchTooLarge, n, size)
	}
	witness := slices.IndexFunc(b.Ops, func(op Op) bool { return op.Settle })
	began, epoch := time.Now(), s.req.epoch.Load()
	for try := 1; ; try++ {
		if err := s.EnableBatches(ctx); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrNoBatches, err)
		}
		msgs, at := s.batchMessages(b)
		sent := time.Now()
		reply, fault := s.req.batch(ctx, msgs, patience(ctx))
		result := Result{Err: fault}
		retry := false
		switch {
		case fault == nil && noResponders(reply):
			if err := s.again(ctx, began, try, true, b.Ops[0].Key); err != nil {
				return 0, fmt.Errorf("%w: %w", errUndelivered, err)
			}
			continue
		case fault == nil:
			result = s.acknowledgement(reply.Data)
		case errors.Is(fault, ErrUnknown) && witness >= 0:
			w := lost{op: &b.Ops[witness], id: msgs[at+witness].Header[headerID][0], sent: sent, epoch: epoch}
			done, revision, err := s.settle(ctx, w)
			switch {
			case err != nil:
				return 0, err
			case done:
				s.saw(revision + uint64(len(b.Ops)-1-witness))
				return revision - uint64(witness), nil
			}
			result.Err, retry = fmt.Errorf("%w: %w", errUndelivered, errNoAnswer), true
		}
		if errors.Is(result.Err, errBusy) && try < busyMost {
			retry = true
			if err := wait(ctx, rand.N(busyWait)); err != nil {
				return 0, fmt.Errorf("%w: %w", errUndelivered, err)
			}
		}
		if errors.Is(result.Err, ErrNoBatches) { // somebody switched them off
			s.batches.Store(false)
			if s.EnableBatches(ctx) == nil {
				continue
			}
		}
		if result.Err == nil {
			return result.Revision - uint64(len(b.Ops)-1), nil
		}
		if !retry {
			return 0, result.Err
		}
		if err := s.again(ctx, began, try, false, ""); err != nil {
			return 0, fmt.Errorf("%w: %w", errUndelivered, err)
		}
	}
}

// EnableBatches switches the bucket's atomic publish on, where it is off.
// ErrUnsupportedServer when that is not possible.
func (s *JetStream) EnableBatches(ctx context.Context) error {
	if s.batches.Load() {
		return nil
	}
	s.denied.mu.Lock()
	defer s.denied.mu.Unlock()
	if time.Since(s.denied.at) < deniedFor { // without permission the server does not answer
		return s.denied.err
	}
	err := s.enableBatches(ctx)
	if errors.Is(err, errs.ErrUnsupportedServer) {
		s.denied.at, s.denied.err = time.Now(), err
	}
	return err
}

// denied is why batches could not be switched on, and when.
type denied struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// deniedFor is for how long that is not tried again.
const deniedFor = time.Minute

func (s *JetStream) enableBatches(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, upgradeTimeout)
	defer cancel()
	js, err := jetstream.New(s.nc)
	if err != nil {
		return s.req.explain(err)
	}
	stream, err := js.Stream(ctx, s.stream)
	if err == nil {
		conf := stream.CachedInfo().Config
		conf.AllowAtomicPublish = true
		stream, err = js.UpdateStream(ctx, conf)
	}
	if err == nil && !stream.CachedInfo().Config.AllowAtomicPublish {
		err = errors.New("the server ignores it")
	}
	if err != nil && (Transient(err) && parent.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || !s.nc.IsConnected()) {
		return fmt.Errorf("%w: %w", errUndelivered, s.req.explain(err))
	}
	if err != nil {
		return fmt.Errorf("%w: the bucket's atomic publish is off, and this account can not switch it on (%w); nothing was written: set allow_atomic in the configuration of stream %s", errs.ErrUnsupportedServer, err, s.stream)
	}
	s.batches.Store(true)
	return nil
}

// batchMessages makes a batch's messages. Those of the ops are the last ones,
// and begin at at: before them come those that only carry a guard, so that none
// is refused because of what the batch itself writes.
func (s *JetStream) batchMessages(b Batch) (msgs []*nats.Msg, at int) {
	at = b.Messages() - len(b.Ops)
	buf := make([]nats.Msg, at+len(b.Ops))
	msgs = make([]*nats.Msg, len(buf))
	id := s.ids.next()
	guards := b.Guards
	carry := func(m *nats.Msg) {
		m.Header[headerExpect] = []string{strconv.FormatUint(guards[0].Revision, 10)}
		m.Header[headerExpectSubject] = []string{s.prefix + guards[0].Key}
		guards = guards[1:]
	}
	for i := range msgs {
		m := &buf[i]
		msgs[i] = m
		if i < at {
			m.Subject, m.Header = s.prefix+guardKey, nats.Header{}
			if s.markerTTL {
				m.Header[headerTTL] = []string{strconv.Itoa(int(guardTTL / time.Second))}
			}
			carry(m)
		} else {
			op := &b.Ops[i-at]
			s.message(op, m)
			if m.Header == nil {
				m.Header = nats.Header{}
			}
			if !op.Conditional && len(guards) > 0 {
				carry(m)
			}
		}
		m.Header[headerBatchID] = []string{id}
		m.Header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
	}
	if b.After != nil {
		msgs[0].Header[headerExpectLast] = []string{strconv.FormatUint(*b.After, 10)}
	}
	msgs[len(msgs)-1].Header[headerBatchCommit] = []string{"1"}
	return msgs, at
}

// batch publishes the messages of one batch one after the other, none of another
// batch between them, so that the server never has more than one of this
// connection's open. It waits for the answer to the last.
func (r *requests) batch(ctx context.Context, msgs []*nats.Msg, quiet time.Duration) (reply *nats.Msg, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errUndelivered, err)
	}
	l, err := r.take()
	if err != nil {
		return nil, err
	}
	defer func() { r.give(l, err == nil) }()
	msgs[len(msgs)-1].Reply = l.reply(0)
	epoch := r.epoch.Load()
	r.batching.Lock()
	for i, m := range msgs {
		if err = r.explain(r.nc.PublishMsg(m)); err != nil {
			r.batching.Unlock()
			switch {
			case !definite(err): // it is asked about when the connection is back
				err = fmt.Errorf("%w: %w", ErrUnknown, err)
			case i < len(msgs)-1: // without the last one nothing is done
				err = fmt.Errorf("%w: %w", errUndelivered, err)
			}
			return nil, err
		}
	}
	r.batching.Unlock()
	usageOf(ctx).asked()
	err = r.collect(ctx, l, epoch, quiet, writeGrace, func(_ int, m *nats.Msg) bool {
		reply = m
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return reply, nil
}
