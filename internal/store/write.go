package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/errs"
)

// Headers of a message in a bucket.
const (
	headerExpect    = "Nats-Expected-Last-Subject-Sequence"
	headerTTL       = "Nats-TTL"
	headerRollup    = "Nats-Rollup"
	headerOperation = "KV-Operation" // DEL or PURGE, as every KV client writes it
	headerReason    = "Nats-Marker-Reason"
	headerFence     = "Natsorm-Fence" // a fence's original revision
	headerID        = "Nats-Msg-Id"
)

// headerReserve is what is kept free of the payload limit for headers, the
// largest of which are bounded.
const headerReserve = 512

// The server's error codes for a checked write that lost; the second one is a
// replicated stream's.
const (
	codeWrongSequence         = 10071
	codeWrongSequenceConstant = 10164
)

func (s *JetStream) MaxValue() int {
	limit := int(s.nc.MaxPayload())
	if s.maxMsgSize > 0 {
		limit = min(limit, s.maxMsgSize)
	}
	return limit - headerReserve
}

// writeChunk is how many writes share a call; more than a lane holds answers to
// would lose some.
const writeChunk = maxMulti

func (s *JetStream) Write(ctx context.Context, ops ...Op) []Result {
	results := make([]Result, len(ops))
	limit := s.MaxValue()
	for _, op := range ops {
		if len(op.Value) > limit {
			fail(results, fmt.Errorf("%w: key %s", ErrTooLarge, op.Key))
			return results
		}
	}
	for start := 0; start < len(ops); start += writeChunk {
		end := min(start+writeChunk, len(ops))
		s.write(ctx, ops[start:end], results[start:end])
		s.load.note(end - start)
	}
	return results
}

// write sends writes, and sends those again that surely were not done, for as
// long as somebody may take them.
func (s *JetStream) write(ctx context.Context, ops []Op, results []Result) {
	todo := make([]int, len(ops))
	for i := range todo {
		todo[i] = i
	}
	buf := make([]nats.Msg, len(ops))
	msgs := make([]*nats.Msg, len(ops))
	began, epoch := time.Now(), s.req.epoch.Load()
	for try := 1; ; try++ {
		msgs = msgs[:len(todo)]
		for n, i := range todo {
			msgs[n] = &buf[i]
			s.message(&ops[i], msgs[n])
		}
		sent := time.Now()
		replies, faults := s.req.all(ctx, msgs, patience(ctx))
		var again, silent []int
		refused := false // there is nobody to take it
		var unsettled []lost
		var verdicts []*Result
		for n, i := range todo {
			switch {
			case faults[n] == nil && noResponders(replies[n]):
				again, refused = append(again, i), true
			case faults[n] == nil:
				results[i] = s.acknowledgement(replies[n].Data)
			case errors.Is(faults[n], ErrUnknown) && ops[i].Settle:
				unsettled = append(unsettled, lost{op: &ops[i], id: msgs[n].Header[headerID][0], sent: sent, epoch: epoch})
				verdicts = append(verdicts, &results[i])
				silent = append(silent, i)
			case errors.Is(faults[n], ErrUnknown) && !ops[i].Conditional && !ops[i].Delete:
				results[i].Err = faults[n]
				again = append(again, i) // once more does no harm
			default:
				results[i].Err = faults[n]
			}
		}
		if len(unsettled) > 0 {
			for _, n := range s.settled(ctx, unsettled, verdicts) {
				results[silent[n]].Err = fmt.Errorf("%w: %w", errUndelivered, errNoAnswer)
				again = append(again, silent[n])
			}
		}
		if len(again) == 0 {
			return
		}
		if err := s.again(ctx, began, try, refused, ops[again[0]].Key); err != nil {
			for _, i := range again {
				if errors.Is(results[i].Err, ErrUnknown) {
					results[i].Err = fmt.Errorf("%w: %w", ErrUnknown, err)
				} else {
					results[i].Err = fmt.Errorf("%w: %w", errUndelivered, err)
				}
			}
			return
		}
		for _, i := range again {
			results[i] = Result{}
		}
		todo = again
	}
}

// errUndelivered says that a write was not done, and will not be.
var errUndelivered = errs.ErrUnwritten

// again reports whether writes are to be sent once more, and waits before it.
func (s *JetStream) again(ctx context.Context, began time.Time, try int, untaken bool, key string) error {
	if _, ok := ctx.Deadline(); !ok && time.Since(began) > giveUp {
		return errNoAnswer
	}
	if untaken {
		return s.req.pause(ctx, try, s.prefix+key)
	}
	return wait(ctx, brokenPause)
}

func fail(results []Result, err error) {
	for i := range results {
		results[i].Err = err
	}
}

// message makes the message of a write.
func (s *JetStream) message(op *Op, m *nats.Msg) {
	m.Subject, m.Data = s.prefix+op.Key, op.Value
	if !op.Delete && !op.Conditional && op.Fence == 0 && !op.Settle && op.TTL == 0 {
		return
	}
	m.Header = nats.Header{}
	if op.Settle {
		m.Header[headerID] = []string{s.ids.next()}
	}
	if op.TTL != 0 && s.markerTTL {
		m.Header[headerTTL] = []string{strconv.Itoa(int(op.TTL / time.Second))}
	}
	if op.Conditional {
		m.Header[headerExpect] = []string{strconv.FormatUint(op.Expect, 10)}
	}
	if op.Delete {
		m.Header[headerOperation] = []string{"DEL"}
		if op.Purge && s.history {
			m.Header[headerOperation] = []string{"PURGE"}
			m.Header[headerRollup] = []string{"sub"}
		}
		// A marker over an older revision must stay: when it went, that
		// revision would be the last one again.
		if s.markerTTL && (op.Purge || !s.history) {
			m.Header[headerTTL] = []string{strconv.Itoa(int(s.marker / time.Second))}
		}
	}
	if op.Fence != 0 {
		m.Header[headerFence] = []string{strconv.FormatUint(op.Fence, 10)}
	}
}

// acknowledgement reads the server's answer to a publish, or to the last
// message of a batch.
func (s *JetStream) acknowledgement(data []byte) Result {
	// What a server writes most often is read without a JSON decoder.
	if rest, ok := bytes.CutPrefix(data, s.ackPrefix); ok {
		n := 0
		for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
			n++
		}
		if seq, err := strconv.ParseUint(string(rest[:n]), 10, 64); err == nil && (string(rest[n:]) == "}" || bytes.HasPrefix(rest[n:], batchAck)) {
			s.saw(seq)
			return Result{Revision: seq}
		}
	}
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Again  bool                `json:"duplicate"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return Result{Err: fmt.Errorf("%w: unreadable acknowledgement: %w", ErrUnknown, err)}
	}
	switch {
	case ack.Error == nil && ack.Stream != s.stream:
		return Result{Err: fmt.Errorf("%w: stream %q answered for %q", ErrUnknown, ack.Stream, s.stream)}
	case ack.Error == nil && ack.Again: // the revision may be a probe's
		return Result{Err: fmt.Errorf("%w: its message id was taken before", ErrUnknown)}
	case ack.Error == nil:
		s.saw(ack.Seq)
		return Result{Revision: ack.Seq}
	}
	switch ack.Error.ErrorCode {
	case codeWrongSequence, codeWrongSequenceConstant:
		return Result{Err: fmt.Errorf("%w: %w", ErrWrongRevision, ack.Error)}
	case codeBatchesOff:
		return Result{Err: fmt.Errorf("%w: %w", ErrNoBatches, ack.Error)}
	case codeBatchTooLarge:
		return Result{Err: fmt.Errorf("%w: %w", ErrBatchTooLarge, ack.Error)}
	case codeBatchIncomplete, codeTooManyBatches:
		return Result{Err: fmt.Errorf("%w: %w", errBusy, ack.Error)}
	}
	return Result{Err: ack.Error}
}

// batchAck is what follows the revision in the answer to a batch.
var batchAck = []byte(`,"batch":`)
