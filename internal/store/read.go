package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func (s *JetStream) Get(ctx context.Context, key string) (Message, error) {
	if !s.direct {
		return s.GetLatest(ctx, key)
	}
	if s.replicated {
		e := Message{Key: key}
		_, _, err := s.multi(ctx, []string{key}, 0, func(got Message, _ bool) { e = got })
		return e, err
	}
	m, err := s.req.one(ctx, "$JS.API.DIRECT.GET."+s.stream+"."+s.prefix+key, nil)
	if err != nil {
		return Message{}, fmt.Errorf("natsorm: get %q: %w", key, err)
	}
	if status := m.Header.Get("Status"); status != "" {
		if status == "404" {
			return Message{Key: key}, nil
		}
		return Message{}, fmt.Errorf("natsorm: get %q: server answered %s %s", key, status, m.Header.Get("Description"))
	}
	usageOf(ctx).got(m)
	return s.entry(m)
}

// GetLatest asks the stream's leader. With one replica there is no other, and
// the faster direct get asks the same server.
func (s *JetStream) GetLatest(ctx context.Context, key string) (Message, error) {
	if !s.replicated && s.direct {
		return s.Get(ctx, key)
	}
	e, err := s.fromLeader(ctx, map[string]any{"last_by_subj": s.prefix + key})
	e.Key = key
	return e, err
}

// fromLeader asks the stream's leader for one message; an absent one has no
// revision.
func (s *JetStream) fromLeader(ctx context.Context, req map[string]any) (Message, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return Message{}, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	m, err := s.api(ctx, "$JS.API.STREAM.MSG.GET."+s.stream, body, &resp, func() *jetstream.APIError { return resp.Error })
	if err != nil {
		return Message{}, fmt.Errorf("natsorm: get from the leader: %w", err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Message{}, nil
		}
		return Message{}, fmt.Errorf("natsorm: get from the leader: %w", resp.Error)
	}
	usageOf(ctx).got(m)
	e := Message{Key: strings.TrimPrefix(resp.Message.Subject, s.prefix), Revision: resp.Message.Sequence, Value: resp.Message.Data}
	if len(resp.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(resp.Message.Header)
		if err != nil {
			return Message{}, err
		}
		e.mark(h)
		e.id = h.Get(headerID)
		e.unfinished = h.Get(headerBatchID) != "" && h.Get(headerBatchCommit) == ""
		if expected, err := strconv.ParseUint(h.Get(headerExpect), 10, 64); err == nil && h.Get(headerExpectSubject) == "" {
			e.replaced = &expected
		}
	}
	s.saw(e.Revision)
	return e, nil
}

// api asks JetStream, again while it says that it is not available, as it does
// while a leader is elected. failed is the error in resp, if there is one.
func (s *JetStream) api(ctx context.Context, subject string, body []byte, resp any, failed func() *jetstream.APIError) (*nats.Msg, error) {
	for try := 1; ; try++ {
		m, err := s.req.one(ctx, subject, body)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(m.Data, resp); err != nil {
			return nil, err
		}
		e := failed()
		if e == nil || e.Code != codeUnavailable {
			return m, nil
		}
		if err := s.req.pause(ctx, try, subject); err != nil {
			return nil, fmt.Errorf("%w: %w", err, e)
		}
	}
}

// codeUnavailable is the class of errors that pass.
const codeUnavailable = 503

// entry reads a direct get's reply.
func (s *JetStream) entry(m *nats.Msg) (Message, error) {
	subject := m.Header.Get("Nats-Subject")
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil || !strings.HasPrefix(subject, s.prefix) {
		return Message{}, fmt.Errorf("natsorm: unexpected reply for subject %q", subject)
	}
	e := Message{Key: subject[len(s.prefix):], Value: m.Data, Revision: seq}
	e.mark(m.Header)
	return e, nil
}

// mark reads from a message's headers what it is.
func (e *Message) mark(h nats.Header) {
	if len(h) == 0 {
		return
	}
	op, reason := h.Get(headerOperation), h.Get(headerReason)
	e.Deleted = op != "" || reason != ""
	e.Expired = reason == "MaxAge"
	if fence := h.Get(headerFence); fence != "" {
		e.Fence, _ = strconv.ParseUint(fence, 10, 64) // unreadable is not ours: no fence
	}
}
