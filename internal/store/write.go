package store

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of a message in a bucket.
const (
	headerExpect    = "Nats-Expected-Last-Subject-Sequence"
	headerTTL       = "Nats-TTL"
	headerRollup    = "Nats-Rollup"
	headerOperation = "KV-Operation" // DEL or PURGE, as every KV client writes it
	headerReason    = "Nats-Marker-Reason"
	headerFence     = "Natsorm-Fence" // a fence's original revision
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
	}
	return results
}

func (s *JetStream) write(ctx context.Context, ops []Op, results []Result) {
	msgs, buf := make([]*nats.Msg, len(ops)), make([]nats.Msg, len(ops))
	for i := range ops {
		msgs[i] = &buf[i]
		s.message(&ops[i], msgs[i])
	}
	at := []int(nil) // of msgs among ops; nil when they are the same
	for try := 1; ; try++ {
		replies, errs := s.req.all(ctx, msgs)
		var again []int
		for n := range msgs {
			i := n
			if at != nil {
				i = at[n]
			}
			switch {
			case errs[n] != nil:
				results[i].Err = errs[n]
			case noResponders(replies[n]):
				again = append(again, n)
			default:
				results[i] = s.acknowledgement(replies[n].Data)
			}
		}
		if len(again) == 0 {
			return
		}
		next, nextAt := make([]*nats.Msg, len(again)), make([]int, len(again))
		for k, n := range again {
			next[k], nextAt[k] = msgs[n], n
			if at != nil {
				nextAt[k] = at[n]
			}
		}
		msgs, at = next, nextAt
		if err := pause(ctx, try, msgs[0].Subject); err != nil {
			for _, i := range at {
				results[i].Err = err
			}
			return
		}
	}
}

func fail(results []Result, err error) {
	for i := range results {
		results[i].Err = err
	}
}

// message makes the message of a write.
func (s *JetStream) message(op *Op, m *nats.Msg) {
	m.Subject, m.Data = s.prefix+op.Key, op.Value
	if !op.Delete && !op.Check && op.Fence == 0 {
		return
	}
	m.Header = nats.Header{}
	if op.Check {
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

// acknowledgement reads the server's answer to a publish.
func (s *JetStream) acknowledgement(data []byte) Result {
	// What a server writes most often is read without a JSON decoder.
	if rest, ok := bytes.CutPrefix(data, s.ackPrefix); ok {
		if digits, ok := bytes.CutSuffix(rest, []byte("}")); ok {
			if seq, err := strconv.ParseUint(string(digits), 10, 64); err == nil {
				return Result{Revision: seq}
			}
		}
	}
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(data, &ack); {
	case err != nil:
		return Result{Err: fmt.Errorf("%w: unreadable acknowledgement: %w", ErrUnknown, err)}
	case ack.Error == nil && ack.Stream != s.stream:
		return Result{Err: fmt.Errorf("%w: stream %q answered for %q", ErrUnknown, ack.Stream, s.stream)}
	case ack.Error == nil:
		return Result{Revision: ack.Seq}
	case ack.Error.ErrorCode == codeWrongSequence || ack.Error.ErrorCode == codeWrongSequenceConstant:
		return Result{Err: fmt.Errorf("%w: %w", ErrWrongRevision, ack.Error)}
	default:
		return Result{Err: ack.Error}
	}
}
