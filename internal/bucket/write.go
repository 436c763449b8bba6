package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/session"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// headerReserve is what is kept free of the payload limit for headers, the
// largest of which are bounded.
const headerReserve = 512

// The server's error codes for writes that it refused.
const (
	codeWrongSequence         = 10071 // a checked write lost
	codeWrongSequenceConstant = 10164 // the same, of a replicated stream
	codeTooLarge              = 10054 // max_msg_size
	codeRollupOff             = 10111
	codeTTLOff                = 10166
	codeBatchesOff            = 10174
	codeBatchIncomplete       = 10176 // also what the last message gets when the first was turned away
	codeBatchTooLarge         = 10199
	codeTooManyBatches        = 10210
	codeNotStored             = 10077 // among others, because the stream is full
)

// maxValue is the largest value that can be written, in bytes.
func (b *Bucket) maxValue() int {
	limit := b.Stream.MaxPayload()
	if b.Now().MaxMsgSize > 0 {
		limit = min(limit, b.Now().MaxMsgSize)
	}
	return limit - headerReserve
}

// writeChunk is how many writes wait for their answers together: a lane holds no
// more.
const writeChunk = wire.MaxReplies

// Write writes in chunks.
func (b *Bucket) Write(ctx context.Context, ops ...store.Op) []store.Result {
	results := make([]store.Result, len(ops))
	limit, mark := b.maxValue(), b.Floor()
	for _, op := range ops {
		if len(op.Value) > limit {
			fail(results, fmt.Errorf("%w: key %s", store.ErrTooLarge, op.Key))
			return results
		}
	}
	for start := 0; start < len(ops); start += writeChunk {
		end := min(start+writeChunk, len(ops))
		if b.writeLoose(ctx, ops[start:end], results[start:end]) {
			continue
		}
		b.write(ctx, ops[start:end], results[start:end])
		b.squeeze(ctx, ops[start:end], results[start:end])
	}
	b.Certify(ctx, mark, results)
	return results
}

// loose is how many loose writes are worth a try with one subject for their answers.
const loose = 16

// writeLoose does writes that are all loose, and reports whether it has. It cannot tell what an
// answer is to, so all of them have to be good: each has a larger revision than the one before,
// as the only server answers them. Otherwise nothing is known of any.
func (b *Bucket) writeLoose(ctx context.Context, ops []store.Op, results []store.Result) (done bool) {
	if known := b.Now(); len(ops) < loose || !known.Alone || !b.Holds(known) || slices.ContainsFunc(ops, func(op store.Op) bool { return !op.Loose || op.Settle || op.Lone }) {
		return false
	}
	buf := make([]nats.Msg, len(ops))
	for i := range ops {
		b.message(&ops[i], &buf[i])
	}
	replies, err := b.Stream.Together(ctx, buf, patience(ctx))
	if err != nil {
		return false
	}
	last := uint64(0)
	for i, m := range replies {
		if results[i] = b.acknowledgement(m.Data); results[i].Err != nil || results[i].Revision <= last {
			clear(results)
			return false
		}
		last = results[i].Revision
	}
	return true
}

// write sends writes, and sends those again that were surely not done, for as long
// as somebody may take them.
func (b *Bucket) write(ctx context.Context, ops []store.Op, results []store.Result) {
	todo := make([]int, len(ops))
	for i := range todo {
		todo[i] = i
	}
	buf := make([]nats.Msg, len(ops))
	msgs := make([]*nats.Msg, len(ops))
	began, epoch := time.Now(), b.Stream.Epoch()
	lone := anyLone(ops)
	for try := 1; ; try++ {
		if lone {
			if err := b.Lone(ctx); err != nil {
				for _, i := range todo {
					results[i].Err = fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
				}
				return
			}
		}
		msgs = msgs[:len(todo)]
		for n, i := range todo {
			msgs[n] = &buf[i]
			b.message(&ops[i], msgs[n])
		}
		sent := time.Now()
		replies, sendErrs := b.Stream.All(ctx, msgs, patience(ctx))
		var again, silent []int
		refused, changed, unsent := false, false, false // there is nobody to take it; the settings were wrong; the connection was lost
		var unsettled []lost
		var verdicts []*store.Result
		for n, i := range todo {
			switch {
			case sendErrs[n] == nil && wire.NobodyTook(replies[n]):
				again, refused = append(again, i), true
			case sendErrs[n] == nil:
				if results[i] = b.acknowledgement(replies[n].Data); errors.Is(results[i].Err, errSettings) && try == 1 {
					again, changed = append(again, i), true
				}
			case errors.Is(sendErrs[n], nats.ErrReconnectBufExceeded): // the connection broke before it was sent
				results[i].Err = fmt.Errorf("%w: %w", errs.ErrUnwritten, sendErrs[n])
				again, unsent = append(again, i), true
			case errors.Is(sendErrs[n], store.ErrUnknown) && ops[i].Settle:
				unsettled = append(unsettled, lost{op: &ops[i], id: msgs[n].Header[message.ID][0], sent: sent, epoch: epoch})
				verdicts = append(verdicts, &results[i])
				silent = append(silent, i)
			case errors.Is(sendErrs[n], store.ErrUnknown) && (ops[i].Loose || !ops[i].Conditional && !ops[i].Delete):
				results[i].Err = sendErrs[n]
				again = append(again, i) // once more does no harm
			default:
				results[i].Err = sendErrs[n]
			}
		}
		if len(unsettled) > 0 {
			for _, n := range b.settled(ctx, unsettled, verdicts) {
				results[silent[n]].Err = fmt.Errorf("%w: %w", errs.ErrUnwritten, wire.ErrNoAnswer)
				again = append(again, silent[n])
			}
		}
		if len(again) == 0 {
			return
		}
		if unsent && b.Stream.Connected(ctx) != nil {
			return // they have the error
		}
		if changed {
			if _, err := b.Relook(ctx, b.Now()); err != nil {
				return // they have the server's error
			}
		}
		if err := b.again(ctx, began, try, refused, ops[again[0]].Key); err != nil {
			for _, i := range again {
				if errors.Is(results[i].Err, store.ErrUnknown) {
					results[i].Err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
				} else {
					results[i].Err = fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
				}
			}
			return
		}
		for _, i := range again {
			results[i] = store.Result{}
		}
		todo = again
	}
}

// again reports whether writes are to be sent once more, and waits before it.
func (b *Bucket) again(ctx context.Context, began time.Time, try int, untaken bool, key string) error {
	if _, ok := ctx.Deadline(); !ok && time.Since(began) > session.GiveUp {
		return wire.ErrNoAnswer
	}
	if untaken {
		return b.Stream.Pause(ctx, try, b.Stream.Prefix+key)
	}
	return workers.Sleep(ctx, wire.BrokenPause)
}

func fail(results []store.Result, err error) {
	for i := range results {
		results[i].Err = err
	}
}

// message makes the message of a write.
func (b *Bucket) message(op *store.Op, m *nats.Msg) {
	s := b.Now()
	message.Write(m, b.Stream.Prefix, op, message.Settings{TTL: s.MessageTTL, History: s.History, Rollup: s.Rollup}, b.ids.Next)
}

// publishAck is the server's answer to a publish.
type publishAck struct {
	Stream    string              `json:"stream"`
	Seq       uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"` // the message id was taken before; Seq is that message's
	Error     *jetstream.APIError `json:"error"`
}

// acknowledgement reads the server's answer to a publish, or to the last
// message of a batch.
func (b *Bucket) acknowledgement(data []byte) store.Result {
	// What a server writes most often is read without a JSON decoder.
	if rest, ok := bytes.CutPrefix(data, b.ackPrefix); ok {
		n := 0
		for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
			n++
		}
		if seq, err := strconv.ParseUint(string(rest[:n]), 10, 64); err == nil && (string(rest[n:]) == "}" || bytes.HasPrefix(rest[n:], batchAck)) {
			b.Wrote(seq)
			return store.Result{Revision: seq}
		}
	}
	var ack publishAck
	if err := json.Unmarshal(data, &ack); err != nil {
		return store.Result{Err: fmt.Errorf("%w: unreadable acknowledgement: %w", store.ErrUnknown, err)}
	}
	switch {
	case ack.Error == nil && ack.Stream != b.Stream.Name:
		return store.Result{Err: fmt.Errorf("%w: stream %q answered for %q", store.ErrUnknown, ack.Stream, b.Stream.Name)}
	case ack.Error == nil && ack.Duplicate: // the revision may be a probe's
		return store.Result{Err: fmt.Errorf("%w: its message id was taken before", store.ErrUnknown)}
	case ack.Error == nil:
		b.Wrote(ack.Seq)
		return store.Result{Revision: ack.Seq}
	}
	switch ack.Error.ErrorCode {
	case codeWrongSequence, codeWrongSequenceConstant:
		return store.Result{Err: fmt.Errorf("%w: %w", store.ErrWrongRevision, ack.Error)}
	case codeTTLOff, codeRollupOff:
		return store.Result{Err: fmt.Errorf("%w: %w", errSettings, ack.Error)}
	case codeTooLarge:
		b.Doubt() // the next write looks at the limit
		return store.Result{Err: fmt.Errorf("%w: %w: raise max_msg_size of stream %s", store.ErrTooLarge, ack.Error, b.Stream.Name)}
	case codeBatchesOff:
		return store.Result{Err: fmt.Errorf("%w: %w", store.ErrNoBatches, ack.Error)}
	case codeBatchTooLarge:
		return store.Result{Err: fmt.Errorf("%w: %w", store.ErrBatchTooLarge, ack.Error)}
	case codeNotStored:
		return store.Result{Err: refusal.Full(b.Stream.Name, b.Now().MaxBytes, b.Now().MaxMsgs, ack.Error)}
	case refusal.CodeResources, refusal.CodeAccountResources:
		return store.Result{Err: refusal.NoRoom(b.Stream.Name, ack.Error)}
	case codeBatchIncomplete, codeTooManyBatches:
		return store.Result{Err: fmt.Errorf("%w: %w", errBusy, ack.Error)}
	}
	return store.Result{Err: ack.Error}
}

// batchAck is what follows the revision in the answer to a batch.
var batchAck = []byte(`,"batch":`)

// errSettings is the error of a write that depends on settings which have changed: a TTL, or
// that a write may remove what its key had before. It is made again by new settings.
var errSettings = errors.New("the bucket's configuration has changed")

// anyLone reports whether a write needs that.
func anyLone(ops []store.Op) bool {
	return slices.ContainsFunc(ops, func(op store.Op) bool { return op.Lone })
}
