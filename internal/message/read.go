package message

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/delivery"
	"github.com/natsorm/natsorm/internal/store"
)

// mark sets what a message's headers say about it: a delete marker, expired, a fence.
func mark(m *store.Message, h nats.Header) {
	if len(h) == 0 {
		return
	}
	op, reason := h.Get(Operation), h.Get(Reason)
	m.Deleted = op != "" || reason != ""
	m.Expired = reason == "MaxAge"
	if fence := h.Get(Fence); fence != "" {
		m.Fence, _ = strconv.ParseUint(fence, 10, 64) // a header that is no number is not natsorm's: no fence
	}
	if known := h.Get(Schema); known != "" {
		m.Schema, _ = strconv.ParseUint(known, 10, 64) // 0 is the safe one
	}
}

// Direct makes a message of the reply to a direct get.
func Direct(m *nats.Msg, prefix string) (store.Message, error) {
	subject := m.Header.Get("Nats-Subject")
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil || !strings.HasPrefix(subject, prefix) {
		return store.Message{}, fmt.Errorf("natsorm: unexpected reply for subject %q", subject)
	}
	out := store.Message{Key: subject[len(prefix):], Value: m.Data, Revision: seq}
	mark(&out, m.Header)
	return out, nil
}

// Timed is Direct with the time at which the server stored the message.
func Timed(m *nats.Msg, prefix string) (store.Message, error) {
	out, err := Direct(m, prefix)
	if err == nil {
		if out.Time, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err != nil {
			err = fmt.Errorf("natsorm: the server does not say when %q was stored: %w", out.Key, err)
		}
	}
	return out, err
}

// Delivered makes a message of one that a consumer delivered.
func Delivered(m *nats.Msg, prefix string, d delivery.Delivery) (store.Message, error) {
	if !strings.HasPrefix(m.Subject, prefix) {
		return store.Message{}, fmt.Errorf("natsorm: unexpected subject %q", m.Subject)
	}
	out := store.Message{Key: m.Subject[len(prefix):], Value: m.Data, Revision: d.Revision, Time: d.At}
	mark(&out, m.Header)
	out.Batched = inside(m.Header)
	return out, nil
}

// inside reports whether a message is in a batch, and is not the batch's last.
func inside(h nats.Header) bool {
	return len(h) > 0 && h.Get(BatchID) != "" && h.Get(BatchCommit) == ""
}

// Leader is a message with what is only known when the leader was asked for this one message.
type Leader struct {
	store.Message
	ID       string  // the message id that its writer gave it
	Replaced *uint64 // the revision that the write expected its key to have; nil when it had no condition
}

// FromLeader reads the headers of a message from the leader.
func FromLeader(m store.Message, headers []byte) (Leader, error) {
	out := Leader{Message: m}
	if len(headers) == 0 {
		return out, nil
	}
	h, err := nats.DecodeHeadersMsg(headers)
	if err != nil {
		return Leader{}, err
	}
	mark(&out.Message, h)
	out.ID = h.Get(ID)
	out.Batched = inside(h)
	if expected, err := strconv.ParseUint(h.Get(Expect), 10, 64); err == nil && h.Get(ExpectSubject) == "" {
		out.Replaced = &expected
	}
	return out, nil
}
