package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/delivery"
	"github.com/natsorm/natsorm/internal/store"
)

// Headers of a message in a bucket.
const (
	HeaderExpect        = "Nats-Expected-Last-Subject-Sequence"
	HeaderExpectSubject = "Nats-Expected-Last-Subject-Sequence-Subject" // whose, if not the message's own
	HeaderExpectLast    = "Nats-Expected-Last-Sequence"                 // the stream's
	HeaderTTL           = "Nats-TTL"
	HeaderRollup        = "Nats-Rollup"
	HeaderOperation     = "KV-Operation" // DEL or PURGE, as every KV client writes it
	HeaderReason        = "Nats-Marker-Reason"
	HeaderID            = "Nats-Msg-Id"
	HeaderBatchID       = "Nats-Batch-Id"
	HeaderBatchSequence = "Nats-Batch-Sequence"
	HeaderBatchCommit   = "Nats-Batch-Commit"
	HeaderFence         = "Natsorm-Fence"  // a fence's original revision
	HeaderSchema        = "Natsorm-Schema" // the revision of the catalogue's document that the writer of a record knew
)

// mark sets what a message's headers say about it: a delete marker, expired, a fence.
func mark(m *store.Message, h nats.Header) {
	if len(h) == 0 {
		return
	}
	op, reason := h.Get(HeaderOperation), h.Get(HeaderReason)
	m.Deleted = op != "" || reason != ""
	m.Expired = reason == "MaxAge"
	if fence := h.Get(HeaderFence); fence != "" {
		m.Fence, _ = strconv.ParseUint(fence, 10, 64) // a header that is no number is not natsorm's: no fence
	}
	if known := h.Get(HeaderSchema); known != "" {
		m.Schema, _ = strconv.ParseUint(known, 10, 64) // 0 is the safe one
	}
}

// direct makes a message of the reply to a direct get.
func (s *Stream) direct(m *nats.Msg) (store.Message, error) {
	subject := m.Header.Get("Nats-Subject")
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil || !strings.HasPrefix(subject, s.Prefix) {
		return store.Message{}, fmt.Errorf("natsorm: unexpected reply for subject %q", subject)
	}
	out := store.Message{Key: subject[len(s.Prefix):], Value: m.Data, Revision: seq}
	mark(&out, m.Header)
	return out, nil
}

// timed is direct with the time at which the server stored the message.
func (s *Stream) timed(m *nats.Msg) (store.Message, error) {
	out, err := s.direct(m)
	if err == nil {
		if out.Time, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err != nil {
			err = fmt.Errorf("natsorm: the server does not say when %q was stored: %w", out.Key, err)
		}
	}
	return out, err
}

// delivered makes a message of one that a consumer delivered.
func (s *Stream) delivered(m *nats.Msg, d delivery.Delivery) (store.Message, error) {
	if !strings.HasPrefix(m.Subject, s.Prefix) {
		return store.Message{}, fmt.Errorf("natsorm: unexpected subject %q", m.Subject)
	}
	out := store.Message{Key: m.Subject[len(s.Prefix):], Value: m.Data, Revision: d.Revision, Time: d.At}
	mark(&out, m.Header)
	return out, nil
}

// LeaderMessage is a message with what is only known when the leader was asked for this
// one message.
type LeaderMessage struct {
	store.Message
	ID         string  // the message id that its writer gave it
	Replaced   *uint64 // the revision that the write expected its key to have; nil when it had no condition
	Unfinished bool    // the message is in a batch, and is not the batch's last
}

// mark reads the headers of a message from the leader.
func (m *LeaderMessage) mark(h nats.Header) {
	mark(&m.Message, h)
	m.ID = h.Get(HeaderID)
	m.Unfinished = h.Get(HeaderBatchID) != "" && h.Get(HeaderBatchCommit) == ""
	if expected, err := strconv.ParseUint(h.Get(HeaderExpect), 10, 64); err == nil && h.Get(HeaderExpectSubject) == "" {
		m.Replaced = &expected
	}
}
