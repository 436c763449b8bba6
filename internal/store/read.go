package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxMulti     = 1024 // subjects that the server answers for in one request
	maxInFlight  = 4    // multi-get requests of one call under way
	multiPayload = 2    // a request's keys take at most one n-th of the payload limit
)

func (s *JetStream) Get(ctx context.Context, key string) (Entry, error) {
	if !s.direct {
		return s.GetLatest(ctx, key)
	}
	m, err := s.req.one(ctx, "$JS.API.DIRECT.GET."+s.stream+"."+s.prefix+key, nil)
	if err != nil {
		return Entry{}, fmt.Errorf("natsorm: get %q: %w", key, err)
	}
	if status := m.Header.Get("Status"); status != "" {
		if status == "404" {
			return Entry{Key: key}, nil
		}
		return Entry{}, fmt.Errorf("natsorm: get %q: server answered %s %s", key, status, m.Header.Get("Description"))
	}
	usageOf(ctx).got(m)
	return s.entry(m)
}

// GetLatest asks the stream's leader. With one replica there is no other, and
// the faster direct get asks the same server.
func (s *JetStream) GetLatest(ctx context.Context, key string) (Entry, error) {
	if !s.replicated && s.direct {
		return s.Get(ctx, key)
	}
	e, err := s.fromLeader(ctx, map[string]any{"last_by_subj": s.prefix + key})
	e.Key = key
	return e, err
}

// fromLeader asks the stream's leader for one message; an absent one has no
// revision.
func (s *JetStream) fromLeader(ctx context.Context, req map[string]any) (Entry, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return Entry{}, err
	}
	m, err := s.req.one(ctx, "$JS.API.STREAM.MSG.GET."+s.stream, body)
	if err != nil {
		return Entry{}, fmt.Errorf("natsorm: get from the leader: %w", err)
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
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return Entry{}, fmt.Errorf("natsorm: get from the leader: %w", err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Entry{}, nil
		}
		return Entry{}, fmt.Errorf("natsorm: get from the leader: %w", resp.Error)
	}
	usageOf(ctx).got(m)
	e := Entry{Key: strings.TrimPrefix(resp.Message.Subject, s.prefix), Revision: resp.Message.Sequence, Value: resp.Message.Data}
	if len(resp.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(resp.Message.Header)
		if err != nil {
			return Entry{}, err
		}
		e.mark(h)
	}
	return e, nil
}

// entry reads a direct get's reply.
func (s *JetStream) entry(m *nats.Msg) (Entry, error) {
	subject := m.Header.Get("Nats-Subject")
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil || !strings.HasPrefix(subject, s.prefix) {
		return Entry{}, fmt.Errorf("natsorm: unexpected reply for subject %q", subject)
	}
	e := Entry{Key: subject[len(s.prefix):], Value: m.Data, Revision: seq}
	e.mark(m.Header)
	return e, nil
}

// mark reads from a message's headers what it is.
func (e *Entry) mark(h nats.Header) {
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

// GetMany asks in chunks of what the server takes at once, several under way.
func (s *JetStream) GetMany(ctx context.Context, keys []string) ([]Entry, error) {
	out := make([]Entry, len(keys))
	for i, key := range keys {
		out[i].Key = key
	}
	err := s.GetEach(ctx, keys, func(i int, e Entry) { out[i] = e })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetEach is GetMany for who works on entries as they come.
func (s *JetStream) GetEach(ctx context.Context, keys []string, each func(i int, e Entry)) error {
	if len(keys) <= 1 || !s.direct {
		for i, key := range keys {
			e, err := s.Get(ctx, key)
			if err != nil {
				return err
			}
			each(i, e)
		}
		return nil
	}
	at := make(map[string]int, len(keys))
	unique, double := keys, false
	for i, key := range keys {
		if _, ok := at[key]; !ok {
			at[key] = i
			continue
		}
		if !double {
			unique, double = append([]string(nil), keys[:i]...), true
		}
	}
	if double {
		unique = unique[:0]
		for i, key := range keys {
			if at[key] == i {
				unique = append(unique, key)
			}
		}
		single := each
		each = func(i int, e Entry) {
			for j, key := range keys {
				if key == e.Key {
					single(j, e)
				}
			}
		}
	}
	chunks := s.chunks(unique)
	if len(chunks) == 1 {
		_, err := s.multi(ctx, unique, 0, func(e Entry, _ bool) { each(at[e.Key], e) })
		return err
	}
	var mu sync.Mutex
	slots := make(chan struct{}, maxInFlight)
	done := make(chan error, len(chunks))
	for _, chunk := range chunks {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			_, err := s.multi(ctx, chunk, 0, func(e Entry, _ bool) {
				mu.Lock()
				defer mu.Unlock()
				each(at[e.Key], e)
			})
			done <- err
		}()
	}
	var err error
	for range chunks {
		if e := <-done; err == nil {
			err = e
		}
	}
	return err
}

// Replicated reports whether several servers keep the bucket.
func (s *JetStream) Replicated() bool { return s.replicated }

// chunks cuts keys where a request would get too large.
func (s *JetStream) chunks(keys []string) [][]string {
	limit := int(s.nc.MaxPayload()) / multiPayload
	var out [][]string
	start, size := 0, 0
	for i, key := range keys {
		n := len(s.prefix) + len(key) + 3
		if i > start && (i-start == maxMulti || size+n > limit) {
			out = append(out, keys[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(out, keys[start:])
}

// noResults is how the server says that no key matches; another 404 is a
// message that it could not load.
const noResults = "No Results"

// multi reads the last messages of keys or patterns, and gives each to found as
// it comes. When a reply was lost the request is repeated, and so are entries
// that were given already, perhaps changed since; and one that is changed
// between two parts of an answer may be in both. The server may stop early
// when the answer grows large; then it is asked for what follows.
//
// With most, it is asked for that many only; rest is how many others there are.
func (s *JetStream) multi(ctx context.Context, keys []string, most int, found func(e Entry, repeated bool)) (rest int, err error) {
	usage, parts := usageOf(ctx), 0
	body, after := make([]byte, 0, len(keys)*(len(s.prefix)+len(keys[0])+8)+64), uint64(0)
	for {
		body = append(body[:0], '{')
		if after > 0 {
			body = append(strconv.AppendUint(append(body, `"seq":`...), after, 10), ',')
		}
		if most > 0 {
			body = append(strconv.AppendInt(append(body, `"batch":`...), int64(most), 10), ',')
		}
		body = append(body, `"multi_last":[`...)
		for i, key := range keys {
			if i > 0 {
				body = append(body, ',')
			}
			body = s.appendSubject(body, key)
		}
		body = append(body, "]}"...)
		var end nats.Header
		var fault error
		got, tries := 0, 0
		err := s.req.request(ctx, "$JS.API.DIRECT.GET."+s.stream, body, func() { got = 0; tries++ }, func(m *nats.Msg) (more bool) {
			if m.Header.Get("Status") != "" {
				end = m.Header
				return false
			}
			e, err := s.entry(m)
			if err != nil {
				fault = err
				return true
			}
			usage.got(m)
			got++
			after = max(after, e.Revision+1)
			found(e, tries > 1 || parts > 0)
			return true
		})
		if err == nil {
			err = fault
		}
		if err != nil {
			return 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		switch end.Get("Status") {
		case "204":
		case "404":
			if end.Get("Description") != noResults {
				return 0, fmt.Errorf("natsorm: get %d keys: server answered 404 %s", len(keys), end.Get("Description"))
			}
			return 0, nil
		case "413":
			return 0, ErrTooMany
		default:
			return 0, fmt.Errorf("natsorm: get %d keys: server answered %s %s", len(keys), end.Get("Status"), end.Get("Description"))
		}
		parts++
		rest, _ = strconv.Atoi(end.Get("Nats-Num-Pending"))
		if rest == 0 || got == 0 || most > 0 {
			return rest, nil
		}
	}
}

// appendSubject appends a key's subject as a JSON string. Keys that natsorm makes
// need no escapes; others in its place may.
func (s *JetStream) appendSubject(b []byte, key string) []byte {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			b, _ = jsontext.AppendQuote(b, s.prefix+key) // what is not UTF-8 is replaced, and finds nothing
			return b
		}
	}
	return append(append(append(append(b, '"'), s.prefix...), key...), '"')
}

// after reads the messages under a pattern that follow a revision, at most n.
// more is true when others may follow these. With direct get it is one isolated
// request; without, one message at a time, from the leader. Only the leader of a
// replicated bucket knows that nothing follows: it is asked in the end.
func (s *JetStream) after(ctx context.Context, pattern string, revision uint64, n int) (found []Entry, more bool, err error) {
	if s.direct {
		found, more, err = s.afterDirect(ctx, pattern, revision, n)
		if err != nil || len(found) > 0 {
			return found, more || s.replicated, err
		}
		if !s.replicated {
			return nil, false, nil
		}
	}
	e, err := s.fromLeader(ctx, map[string]any{"seq": revision + 1, "next_by_subj": s.prefix + pattern})
	if err != nil || e.Revision == 0 {
		return nil, false, err
	}
	return []Entry{e}, true, nil
}

type nextRequest struct {
	Seq     uint64 `json:"seq"`
	Pattern string `json:"next_by_subj"`
	Batch   int    `json:"batch,omitzero"`
}

// follows reports whether there is a message under a pattern after a revision,
// in one isolated request.
func (s *JetStream) follows(ctx context.Context, pattern string, revision uint64) (bool, error) {
	body, err := json.Marshal(nextRequest{Seq: revision + 1, Pattern: s.prefix + pattern})
	if err != nil {
		return false, err
	}
	m, err := s.req.one(ctx, "$JS.API.DIRECT.GET."+s.stream, body)
	if err != nil {
		return false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		return true, nil
	case "404":
		return false, nil
	default:
		return false, fmt.Errorf("natsorm: get what follows revision %d: server answered %s %s", revision, status, m.Header.Get("Description"))
	}
}

// lastRevision is a revision that every message that is there before the call
// is up to, or 0 when that is not cheaply known.
func (s *JetStream) lastRevision(ctx context.Context) (uint64, error) {
	if !s.direct || s.replicated {
		return 0, nil
	}
	m, err := s.req.one(ctx, "$JS.API.DIRECT.GET."+s.stream, []byte(`{"last_by_subj":">"}`))
	if err != nil {
		return 0, fmt.Errorf("natsorm: get the last revision: %w", err)
	}
	last, _ := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64) // the last message may be gone
	return last, nil
}

func (s *JetStream) afterDirect(ctx context.Context, pattern string, revision uint64, n int) (found []Entry, more bool, err error) {
	// For a batch the server first counts what is pending, which takes as long
	// as the pattern has keys; most often nothing follows, and no count is needed.
	if any, err := s.follows(ctx, pattern, revision); err != nil || !any {
		return nil, false, err
	}
	body, err := json.Marshal(nextRequest{Seq: revision + 1, Pattern: s.prefix + pattern, Batch: n})
	if err != nil {
		return nil, false, err
	}
	msgs, err := s.req.many(ctx, "$JS.API.DIRECT.GET."+s.stream, body, func(m *nats.Msg) bool {
		return m.Header.Get("Status") != ""
	})
	if err != nil {
		return nil, false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, err)
	}
	end := msgs[len(msgs)-1].Header
	switch end.Get("Status") {
	case "204":
	case "404":
		return nil, false, nil
	default:
		return nil, false, fmt.Errorf("natsorm: get what follows revision %d: server answered %s %s", revision, end.Get("Status"), end.Get("Description"))
	}
	usageOf(ctx).got(msgs[:len(msgs)-1]...)
	for _, m := range msgs[:len(msgs)-1] {
		e, err := s.entry(m)
		if err != nil {
			return nil, false, err
		}
		found = append(found, e)
	}
	pending := end.Get("Nats-Num-Pending")
	return found, len(found) > 0 && pending != "" && pending != "0", nil
}

// Lookup scans where direct get is not allowed.
func (s *JetStream) Lookup(ctx context.Context, patterns []string, most int) (found []Entry, rest int, err error) {
	if !s.direct {
		for _, pattern := range patterns {
			for e, err := range s.Scan(ctx, pattern, 0) {
				if err != nil {
					return nil, 0, err
				}
				found = append(found, e)
			}
		}
		return found, 0, nil
	}
	for _, chunk := range s.chunks(patterns) {
		n, err := s.multi(ctx, chunk, most, func(e Entry, repeated bool) {
			if repeated {
				found = slices.DeleteFunc(found, func(f Entry) bool { return f.Key == e.Key })
			}
			if e.Live() {
				found = append(found, e)
			}
		})
		if err != nil {
			return nil, 0, err
		}
		rest += n
	}
	return found, rest, nil
}

// Match reads up to maxMulti entries in one request; more, and everything
// where direct get is not allowed, by scanning.
func (s *JetStream) Match(ctx context.Context, patterns []string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		found, _, err := s.Lookup(ctx, patterns, 0)
		if err != nil && !errors.Is(err, ErrTooMany) {
			yield(Entry{}, err)
			return
		}
		if err == nil {
			for _, e := range found {
				if !yield(e, nil) {
					return
				}
			}
			return
		}
		for _, pattern := range patterns {
			for e, err := range s.Scan(ctx, pattern, 0) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}
