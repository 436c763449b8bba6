package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

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
	HeaderFence         = "Natsorm-Fence" // a fence's original revision
)

// mark reads from a message's headers what it is.
func mark(m *store.Message, h nats.Header) {
	if len(h) == 0 {
		return
	}
	op, reason := h.Get(HeaderOperation), h.Get(HeaderReason)
	m.Deleted = op != "" || reason != ""
	m.Expired = reason == "MaxAge"
	if fence := h.Get(HeaderFence); fence != "" {
		m.Fence, _ = strconv.ParseUint(fence, 10, 64) // unreadable is not ours: no fence
	}
}

// direct reads a direct get's reply.
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

// delivered reads a consumer's message.
func (s *Stream) delivered(m *nats.Msg, d delivery) (store.Message, error) {
	if !strings.HasPrefix(m.Subject, s.Prefix) {
		return store.Message{}, fmt.Errorf("natsorm: unexpected subject %q", m.Subject)
	}
	out := store.Message{Key: m.Subject[len(s.Prefix):], Value: m.Data, Revision: d.revision, Time: d.at}
	mark(&out, m.Header)
	return out, nil
}

// LeaderMessage is a message with what only the leader tells, and only of single
// messages.
type LeaderMessage struct {
	store.Message
	ID         string  // the write's message id
	Replaced   *uint64 // the revision that the write expected of its key
	Unfinished bool    // it is of a batch that goes on behind it
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
