package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// guardKey takes the messages that only carry a guard; they go by themselves.
	guardKey = keys.Guard
	guardTTL = time.Minute

	// A server that has too many batches open is asked again after a while.
	busyWait = 50 * time.Millisecond
	busyMost = 100 // times
)

var errBusy = store.Unavailable(errors.New("the server has too many batches open"))

// Batch writes a batch. Where its answer is lost and one of its ops has Settle, that
// op is the witness: the batch was done if the op was.
func (b *Bucket) Batch(ctx context.Context, batch store.Batch) (first uint64, err error) {
	if batch.Shared {
		return b.share(ctx, batch.Ops)
	}
	mark := b.Floor()
	first, err = b.batch(ctx, batch)
	result := []store.Result{{Revision: first, Err: err}}
	b.Certify(ctx, mark, result)
	return result[0].Revision, result[0].Err
}

func (b *Bucket) batch(ctx context.Context, batch store.Batch) (first uint64, err error) {
	ops := batch.Ops
	n, size, limit := batch.Messages(), 0, b.maxValue()
	for _, op := range ops {
		if len(op.Value) > limit {
			return 0, fmt.Errorf("%w: key %s", store.ErrTooLarge, op.Key)
		}
		size += len(op.Key) + len(op.Value)
	}
	if n > store.MaxBatch || size > store.MaxBatchBytes {
		return 0, fmt.Errorf("%w: %d messages of %d bytes", store.ErrBatchTooLarge, n, size)
	}
	witness := slices.IndexFunc(ops, func(op store.Op) bool { return op.Settle })
	began, epoch := time.Now(), b.Stream.Epoch()
	lone := batch.Lone || anyLone(ops)
	heard := b.Stream.Refusals()
	for try := 1; ; try++ {
		if lone {
			if err := b.Lone(ctx); err != nil {
				return 0, fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
			}
		}
		if err := b.EnableBatches(ctx); err != nil {
			return 0, fmt.Errorf("%w: %w", store.ErrNoBatches, err)
		}
		msgs, at := b.batchMessages(batch)
		sent := time.Now()
		reply, sendErr := b.Stream.Batch(ctx, msgs, patience(ctx))
		result := store.Result{Err: sendErr}
		retry := false
		switch {
		case sendErr == nil && wire.NobodyTook(reply):
			if err := b.again(ctx, began, try, true, ops[0].Key); err != nil {
				return 0, fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
			}
			continue
		case sendErr == nil:
			result = b.acknowledgement(reply.Data)
		case errors.Is(sendErr, store.ErrUnknown) && witness >= 0:
			w := lost{op: &ops[witness], id: msgs[at+witness].Header[message.ID][0], sent: sent, epoch: epoch}
			done, revision, err := b.settle(ctx, w)
			switch {
			case err != nil:
				return 0, err
			case done:
				b.Wrote(revision + uint64(len(ops)-1-witness))
				return revision - uint64(witness), nil
			}
			result.Err, retry = fmt.Errorf("%w: %w", errs.ErrUnwritten, wire.ErrNoAnswer), true
		}
		if errors.Is(result.Err, errBusy) && try < busyMost {
			retry = true
			if err := workers.Sleep(ctx, rand.N(busyWait)); err != nil {
				return 0, fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
			}
			// A batch of which one message was refused is incomplete too. The answer may have
			// been read before the refusal, but that has been heard of by now.
			if err := b.Stream.RefusedSince(heard, msgs); err != nil {
				return 0, err
			}
		}
		if errors.Is(sendErr, nats.ErrReconnectBufExceeded) { // the connection broke before it was sent
			result.Err = fmt.Errorf("%w: %w", errs.ErrUnwritten, sendErr)
			retry = b.Stream.Connected(ctx) == nil
		}
		if errors.Is(result.Err, errSettings) && try == 1 {
			_, err := b.Relook(ctx, b.Now())
			retry = err == nil
		}
		if errors.Is(result.Err, store.ErrNoBatches) { // somebody switched them off
			b.Batches.Store(false)
			if b.EnableBatches(ctx) == nil {
				continue
			}
		}
		if result.Err == nil {
			return result.Revision - uint64(len(ops)-1), nil
		}
		if !retry {
			return 0, result.Err
		}
		if err := b.again(ctx, began, try, false, ""); err != nil {
			return 0, fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
		}
	}
}

// batchMessages makes a batch's messages. Those of the ops are the last ones, and
// start at index at. Before them come those that only carry a guard, so that no
// guard is refused because of what the batch itself writes.
func (b *Bucket) batchMessages(batch store.Batch) (msgs []*nats.Msg, at int) {
	at = batch.Messages() - len(batch.Ops)
	buf := make([]nats.Msg, at+len(batch.Ops))
	msgs = make([]*nats.Msg, len(buf))
	id := b.ids.Next()
	guards := batch.Guards
	carry := func(m *nats.Msg) {
		m.Header[message.Expect] = []string{strconv.FormatUint(guards[0].Revision, 10)}
		m.Header[message.ExpectSubject] = []string{b.Stream.Prefix + guards[0].Key}
		guards = guards[1:]
	}
	for i := range msgs {
		m := &buf[i]
		msgs[i] = m
		if i < at {
			m.Subject, m.Header = b.Stream.Prefix+guardKey, nats.Header{}
			if b.Now().MessageTTL {
				m.Header[message.TTL] = message.Seconds(guardTTL)
			}
			carry(m)
		} else {
			op := &batch.Ops[i-at]
			b.message(op, m)
			if m.Header == nil {
				m.Header = nats.Header{}
			}
			if !op.Conditional && len(guards) > 0 {
				carry(m)
			}
		}
		m.Header[message.BatchID] = []string{id}
		m.Header[message.BatchSequence] = []string{strconv.Itoa(i + 1)}
	}
	if batch.After != nil {
		msgs[0].Header[message.ExpectLast] = []string{strconv.FormatUint(*batch.After, 10)}
	}
	msgs[len(msgs)-1].Header[message.BatchCommit] = []string{"1"}
	return msgs, at
}
