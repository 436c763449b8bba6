package wire

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/readsize"
	"github.com/natsorm/natsorm/internal/refusal"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
)

// Stream sends the requests that JetStream takes for the stream of one bucket.
//
// A direct get is answered by any server that has the stream, also by a replica that is
// behind. All other requests are answered by the stream's leader.
type Stream struct {
	*Client
	Name   string // the stream's name: KV_<bucket>
	Prefix string // the beginning of its subjects: $KV.<bucket>.

	size  atomic.Pointer[size]
	usual sync.Map // the average size of messages, in bytes, by the first token of their keys: *atomic.Int64
}

// size is how many messages a stream had at a time.
type size struct {
	messages int
	at       time.Time
}

// Size is how many messages the stream had when State was last asked, and how long ago
// that is; ok is false when State was not asked yet.
func (s *Stream) Size() (messages int, age time.Duration, ok bool) {
	if z := s.size.Load(); z != nil {
		return z.messages, time.Since(z.at), true
	}
	return 0, 0, false
}

// usualSize is the average size, in bytes, of the messages under a pattern, or near to it,
// that the last consumer has read; 0 while none was read.
func (s *Stream) usualSize(pattern string) *atomic.Int64 {
	token, _, _ := strings.Cut(pattern, ".")
	if known, ok := s.usual.Load(token); ok {
		return known.(*atomic.Int64)
	}
	known, _ := s.usual.LoadOrStore(token, new(atomic.Int64))
	return known.(*atomic.Int64)
}

// api sends a request to JetStream, and reads the answer into resp. It sends it again
// while JetStream says that it is not available, as it does while a leader is elected.
func (s *Stream) api(ctx context.Context, subject string, body []byte, resp any) (*nats.Msg, error) {
	for try := 1; ; try++ {
		m, err := s.leader(ctx, subject, body)
		if err != nil {
			return nil, err
		}
		e, err := passing(m.Data)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return m, json.Unmarshal(m.Data, resp)
		}
		if err := s.Pause(ctx, try, subject); err != nil {
			return nil, fmt.Errorf("%w: %w", err, e)
		}
	}
}

// passing is the error in an answer of JetStream if that goes away by itself, and else nil.
func passing(answer []byte) (*jetstream.APIError, error) {
	if !bytes.Contains(answer, []byte(`"error"`)) { // most have none, and may be long
		return nil, nil
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer, &resp); err != nil || resp.Error == nil || !refusal.Passing(resp.Error) {
		return nil, err
	}
	return resp.Error, nil
}

// State returns when the stream was made, and the last revision that it ever had.
func (s *Stream) State(ctx context.Context) (created time.Time, last uint64, err error) {
	var resp struct {
		Created time.Time `json:"created"`
		State   struct {
			Last     uint64 `json:"last_seq"`
			Messages int    `json:"messages"`
		} `json:"state"`
		Error *jetstream.APIError `json:"error"`
	}
	if _, err := s.api(ctx, "$JS.API.STREAM.INFO."+s.Name, nil, &resp); err != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.Name, err)
	}
	if resp.Error != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.Name, resp.Error)
	}
	s.size.Store(&size{messages: resp.State.Messages, at: time.Now()})
	return resp.Created, resp.State.Last, nil
}

// rollOverlap is how many keys of a page of a roll come again in the next one.
const rollOverlap = 1000

// Roll asks the leader for the keys under a pattern, those with delete markers too, and
// gives each to key, some twice. The leader looked at them after it had reached last.
//
// The server sorts the keys, and lists a part of them at a time, by their number. Keys that
// go away between two parts change the numbers of those that follow. So each part begins
// among the keys of the one before, or is asked for again: then no key is passed over that
// was there all the while.
func (s *Stream) Roll(ctx context.Context, pattern string, key func(string)) (last uint64, err error) {
	largest, overlap := "", 0
	for offset, first := 0, true; ; first = false {
		page, err := s.rollPage(ctx, pattern, offset)
		if err != nil {
			return 0, err
		}
		if first || page.last < last { // the leader may be another one
			last = page.last
		}
		from, to := "", ""
		for _, k := range page.keys {
			if from == "" || k < from {
				from = k
			}
			to = max(to, k)
		}
		if offset > 0 && (from == "" || from > largest) {
			overlap = max(2*overlap, 1)
			offset = max(offset-overlap, 0)
			continue
		}
		for _, k := range page.keys {
			key(k)
		}
		largest = max(largest, to)
		end := offset + len(page.keys)
		if end >= page.total {
			return last, nil
		}
		overlap = min(rollOverlap, len(page.keys)/2)
		offset = end - overlap
	}
}

// rollPage is a part of a roll.
type rollPage struct {
	keys  []string
	total int // how many keys there are
	last  uint64
}

func (s *Stream) rollPage(ctx context.Context, pattern string, offset int) (rollPage, error) {
	var resp struct {
		Total int `json:"total"`
		State struct {
			Last     uint64         `json:"last_seq"`
			Subjects map[string]int `json:"subjects"`
		} `json:"state"`
		Error *jetstream.APIError `json:"error"`
	}
	body, err := json.Marshal(struct {
		Filter string `json:"subjects_filter"`
		Offset int    `json:"offset,omitempty"`
	}{s.Prefix + pattern, offset})
	if err != nil {
		return rollPage{}, err
	}
	_, err = s.api(ctx, "$JS.API.STREAM.INFO."+s.Name, body, &resp)
	if err == nil && resp.Error != nil {
		err = resp.Error
	}
	if err != nil {
		return rollPage{}, fmt.Errorf("natsorm: list the keys of %s: %w", s.Name, err)
	}
	page := rollPage{keys: make([]string, 0, len(resp.State.Subjects)), total: resp.Total, last: resp.State.Last}
	for subject := range resp.State.Subjects {
		page.keys = append(page.keys, strings.TrimPrefix(subject, s.Prefix))
	}
	return page, nil
}

// Purge asks the leader to remove every message under a pattern whose revision is at most
// upTo. Other requests of the stream wait meanwhile: 2 µs for each message. The request may be
// sent again, which removes nothing more. store.ErrNoPurge when the stream does not allow it.
func (s *Stream) Purge(ctx context.Context, pattern string, upTo uint64) error {
	body, err := json.Marshal(map[string]any{"filter": s.Prefix + pattern, "seq": upTo + 1})
	if err != nil {
		return err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	_, err = s.api(ctx, "$JS.API.STREAM.PURGE."+s.Name, body, &resp)
	if err == nil && resp.Error != nil {
		err = fmt.Errorf("%w: %w", store.ErrNoPurge, resp.Error)
	}
	if err != nil {
		return fmt.Errorf("natsorm: purge %q: %w", pattern, err)
	}
	return nil
}

// LeaderLast asks the leader for the last message under a key or pattern. One that
// is absent has no revision.
func (s *Stream) LeaderLast(ctx context.Context, pattern string) (message.Leader, error) {
	return s.fromLeader(ctx, map[string]any{"last_by_subj": s.Prefix + pattern})
}

// LeaderNext asks the leader for the first message under a pattern that follows a
// revision. One that is absent has no revision.
func (s *Stream) LeaderNext(ctx context.Context, pattern string, revision uint64) (message.Leader, error) {
	return s.fromLeader(ctx, map[string]any{"seq": revision + 1, "next_by_subj": s.Prefix + pattern})
}

// LeaderAt asks the leader for the message of a revision. One that is absent has no
// revision.
func (s *Stream) LeaderAt(ctx context.Context, revision uint64) (message.Leader, error) {
	return s.fromLeader(ctx, map[string]any{"seq": revision})
}

func (s *Stream) fromLeader(ctx context.Context, req map[string]any) (message.Leader, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return message.Leader{}, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	m, err := s.api(ctx, "$JS.API.STREAM.MSG.GET."+s.Name, body, &resp)
	if err != nil {
		return message.Leader{}, fmt.Errorf("natsorm: get from the leader: %w", err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return message.Leader{}, nil
		}
		if resp.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound {
			if err := s.gone(ctx); err != nil {
				return message.Leader{}, err
			}
		}
		return message.Leader{}, fmt.Errorf("natsorm: get from the leader: %w", resp.Error)
	}
	usage.Of(ctx).Got(m)
	out := store.Message{Key: strings.TrimPrefix(resp.Message.Subject, s.Prefix), Revision: resp.Message.Sequence, Value: resp.Message.Data, Time: resp.Message.Time}
	return message.FromLeader(out, resp.Message.Header)
}

// Get gets the last message of a key, with a direct get. One that is absent has the key
// and no revision.
func (s *Stream) Get(ctx context.Context, key string) (store.Message, error) {
	m, err := s.one(ctx, "$JS.API.DIRECT.GET."+s.Name+"."+s.Prefix+key, nil)
	if err != nil {
		return store.Message{}, fmt.Errorf("natsorm: get %q: %w", key, err)
	}
	if status := m.Header.Get("Status"); status != "" {
		if status == "404" {
			return store.Message{Key: key}, nil
		}
		return store.Message{}, fmt.Errorf("natsorm: get %q: %w", key, noMessage(m.Header))
	}
	usage.Of(ctx).Got(m)
	return message.Direct(m, s.Prefix)
}

// At gets the message of a revision, with a direct get. One that is absent has no
// revision.
func (s *Stream) At(ctx context.Context, revision uint64) (store.Message, error) {
	m, err := s.one(ctx, "$JS.API.DIRECT.GET."+s.Name, append(strconv.AppendUint([]byte(`{"seq":`), revision, 10), '}'))
	if err != nil {
		return store.Message{}, fmt.Errorf("natsorm: get revision %d: %w", revision, err)
	}
	switch m.Header.Get("Status") {
	case "":
	case "404":
		return store.Message{}, nil
	default:
		return store.Message{}, fmt.Errorf("natsorm: get revision %d: %w", revision, noMessage(m.Header))
	}
	usage.Of(ctx).Got(m)
	return message.Timed(m, s.Prefix)
}

// nextRequest asks for the messages that follow a revision.
type nextRequest struct {
	Seq     uint64 `json:"seq"` // the lowest revision
	Pattern string `json:"next_by_subj"`
	Batch   int    `json:"batch,omitzero"`
	Bytes   int    `json:"max_bytes,omitzero"` // the server ends the answer after so many
}

// Next gets the first message under a pattern that follows a revision, with a direct
// get; ok is false when there is none.
func (s *Stream) Next(ctx context.Context, pattern string, revision uint64) (m store.Message, ok bool, err error) {
	body, err := json.Marshal(nextRequest{Seq: revision + 1, Pattern: s.Prefix + pattern})
	if err != nil {
		return m, false, err
	}
	reply, err := s.one(ctx, "$JS.API.DIRECT.GET."+s.Name, body)
	if err != nil {
		return m, false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, err)
	}
	switch reply.Header.Get("Status") {
	case "":
	case "404":
		return m, false, nil
	default:
		return m, false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, noMessage(reply.Header))
	}
	usage.Of(ctx).Got(reply)
	m, err = message.Timed(reply, s.Prefix)
	return m, err == nil, err
}

// NextMany gets at most n messages under a pattern that follow a revision, fewer where
// they are large. rest is how
// many follow them. It is one direct get, which the server answers with no write in
// between. For the count the server looks at every key under the pattern.
func (s *Stream) NextMany(ctx context.Context, pattern string, revision uint64, n int) (found []store.Message, rest int, err error) {
	body, err := json.Marshal(nextRequest{Seq: revision + 1, Pattern: s.Prefix + pattern, Batch: n, Bytes: readsize.Bytes})
	if err != nil {
		return nil, 0, err
	}
	msgs, err := s.many(ctx, "$JS.API.DIRECT.GET."+s.Name, body, func(m *nats.Msg) bool {
		return m.Header.Get("Status") != ""
	})
	if err != nil {
		return nil, 0, err
	}
	end, msgs := msgs[len(msgs)-1].Header, msgs[:len(msgs)-1]
	switch end.Get("Status") {
	case "204":
	case "404":
		return nil, 0, nil
	default:
		return nil, 0, noMessage(end)
	}
	usage.Of(ctx).Got(msgs...)
	for _, m := range msgs {
		e, err := message.Timed(m, s.Prefix)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, e)
	}
	rest, err = pending(end)
	return found, rest, err
}

// Newest gets the revision of the stream's last message, with a direct get; 0 when the
// stream has no message, or the last one was removed.
func (s *Stream) Newest(ctx context.Context) (uint64, error) {
	m, err := s.one(ctx, "$JS.API.DIRECT.GET."+s.Name, []byte(`{"last_by_subj":">"}`))
	if err != nil {
		return 0, fmt.Errorf("natsorm: get the last revision: %w", err)
	}
	switch m.Header.Get("Status") {
	case "":
		return strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	case "404":
		return 0, nil
	default:
		return 0, fmt.Errorf("natsorm: get the last revision: %w", noMessage(m.Header))
	}
}

// noMessage is the error of an answer that is no message.
func noMessage(h nats.Header) error {
	return fmt.Errorf("server answered %s %s", h.Get("Status"), h.Get("Description"))
}

// pending reads from the end of an answer how many messages follow it. Counts and the ends
// of scans depend on this number, so an answer without it is an error.
func pending(end nats.Header) (int, error) {
	n, err := strconv.Atoi(end.Get("Nats-Num-Pending"))
	if err != nil {
		return 0, fmt.Errorf("the server does not say how much follows: %w", err)
	}
	return n, nil
}

// upTo reads from the end of an answer which revision the server had reached when it
// answered.
func upTo(end nats.Header) (uint64, error) {
	n, err := strconv.ParseUint(end.Get("Nats-UpTo-Sequence"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the server does not say how far it is: %w", err)
	}
	return n, nil
}
