package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// after reads the messages under a pattern that follow a revision, at most n.
// more is true when others may follow these. With direct get it is one isolated
// request; without, one message at a time, from the leader. Only the leader of a
// replicated bucket knows that nothing follows: it is asked in the end.
func (s *JetStream) after(ctx context.Context, pattern string, revision uint64, n int) (found []Message, more bool, err error) {
	if s.direct {
		found, more, err = s.afterDirect(ctx, pattern, revision, n)
		if err != nil || len(found) > 0 {
			return found, more || s.replicated, err
		}
		if !s.replicated {
			return nil, false, nil
		}
	}
	return s.afterLeader(ctx, pattern, revision)
}

type nextRequest struct {
	Seq     uint64 `json:"seq"`
	Pattern string `json:"next_by_subj"`
	Batch   int    `json:"batch,omitzero"`
}

// follows reports whether there is a message under a pattern after a revision,
// in one isolated request.
func (s *JetStream) follows(ctx context.Context, pattern string, revision uint64) (bool, error) {
	_, ok, err := s.nextDirect(ctx, pattern, revision)
	return ok, err
}

// nextDirect reads the message under a pattern that follows a revision; ok is
// false when there is none.
func (s *JetStream) nextDirect(ctx context.Context, pattern string, revision uint64) (e Message, ok bool, err error) {
	body, err := json.Marshal(nextRequest{Seq: revision + 1, Pattern: s.prefix + pattern})
	if err != nil {
		return e, false, err
	}
	m, err := s.req.one(ctx, "$JS.API.DIRECT.GET."+s.stream, body)
	if err != nil {
		return e, false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return e, false, nil
	default:
		return e, false, fmt.Errorf("natsorm: get what follows revision %d: server answered %s %s", revision, status, m.Header.Get("Description"))
	}
	usageOf(ctx).got(m)
	e, err = s.entry(m)
	return e, err == nil, err
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
	switch status := m.Header.Get("Status"); status {
	case "":
		return strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	case "404": // the last message is gone
		return 0, nil
	default:
		return 0, fmt.Errorf("natsorm: get the last revision: server answered %s %s", status, m.Header.Get("Description"))
	}
}

func (s *JetStream) afterDirect(ctx context.Context, pattern string, revision uint64, n int) (found []Message, more bool, err error) {
	// For a batch the server first counts what is pending, which takes as long
	// as the pattern has keys; most often nothing follows, and no count is needed.
	if more, err := s.follows(ctx, pattern, revision); err != nil || !more {
		return nil, false, err
	}
	found, rest, err := s.next(ctx, nextRequest{Seq: revision + 1, Pattern: s.prefix + pattern, Batch: n})
	if err != nil {
		return nil, false, fmt.Errorf("natsorm: get what follows revision %d: %w", revision, err)
	}
	return found, len(found) > 0 && rest > 0, nil
}

// next reads a batch of messages, and says how many follow them, all isolated
// from writes.
func (s *JetStream) next(ctx context.Context, req nextRequest) (found []Message, rest int, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, 0, err
	}
	msgs, err := s.req.many(ctx, "$JS.API.DIRECT.GET."+s.stream, body, func(m *nats.Msg) bool {
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
		return nil, 0, fmt.Errorf("server answered %s %s", end.Get("Status"), end.Get("Description"))
	}
	usageOf(ctx).got(msgs...)
	for _, m := range msgs {
		e, err := s.entry(m)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, e)
	}
	rest, err = pending(end)
	return found, rest, err
}

// pending is how many messages follow, by the end of an answer. Counts and the
// ends of scans rest on it, so an answer without it is an error.
func pending(end nats.Header) (int, error) {
	n, err := strconv.Atoi(end.Get("Nats-Num-Pending"))
	if err != nil {
		return 0, fmt.Errorf("the server does not say how much follows: %w", err)
	}
	return n, nil
}

// streamState is when the stream was made, and its last revision.
func (s *JetStream) streamState(ctx context.Context) (created time.Time, last uint64, err error) {
	var resp struct {
		Created time.Time `json:"created"`
		State   struct {
			Last uint64 `json:"last_seq"`
		} `json:"state"`
		Error *jetstream.APIError `json:"error"`
	}
	if _, err := s.api(ctx, "$JS.API.STREAM.INFO."+s.stream, nil, &resp, func() *jetstream.APIError { return resp.Error }); err != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.stream, err)
	}
	if resp.Error != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.stream, resp.Error)
	}
	return resp.Created, resp.State.Last, nil
}

// sinceSingles is how many messages Changes reads one by one, before it asks for
// batches, for which the server counts the keys under the pattern.
const sinceSingles = 256

// Changes reads on until nothing follows: all that was written until that moment
// has then been read.
func (s *JetStream) Changes(ctx context.Context, pattern string, revision uint64) ([]Message, error) {
	var out []Message
	for more := true; more; {
		var found []Message
		var err error
		if len(out) < sinceSingles {
			found, more, err = s.afterOne(ctx, pattern, revision)
		} else {
			found, more, err = s.after(ctx, pattern, revision, tailBatch)
		}
		if err != nil {
			return nil, err
		}
		if len(found) == 0 && !more {
			if found, err = s.confirm(ctx, pattern, revision); err != nil {
				return nil, err
			}
			more = len(found) > 0
		}
		for _, e := range found {
			revision = e.Revision
			out = append(out, e)
		}
		more = more || len(found) > 0
	}
	return out, nil
}

// confirm looks once more whether nothing follows, isolated from batches: a single
// message is also found, or not, while a batch is being written.
func (s *JetStream) confirm(ctx context.Context, pattern string, revision uint64) (found []Message, err error) {
	switch {
	case s.direct && !s.replicated:
		found, _, err = s.next(ctx, nextRequest{Seq: revision + 1, Pattern: s.prefix + pattern, Batch: tailBatch})
		return found, err
	}
	if _, err := s.Whole(ctx); err != nil {
		return nil, err
	}
	found, _, err = s.afterLeader(ctx, pattern, revision)
	return found, err
}

// Whole asks in a way that is isolated from batches. Without direct get there is
// none: then the last message says whether its batch goes on. With replicas, one
// that is as far as the leader is asked, which shows a batch whole or not at all;
// then the leader must get as far.
func (s *JetStream) Whole(ctx context.Context) (whole uint64, err error) {
	gone := uint64(0) // a last message that was not there
	for began := time.Now(); ; {
		last, err := s.sequence(ctx)
		switch {
		case err != nil:
			return 0, err
		case whole > 0 && last >= whole:
			return whole, nil
		case last == 0: // the bucket is new
			return 0, nil
		case whole == 0 && !s.direct:
			e, err := s.fromLeader(ctx, map[string]any{"seq": last})
			if err != nil || e.Revision == last && !e.unfinished || gone == last {
				return last, err
			}
			if e.Revision == 0 { // written over by what follows it, unless nothing does
				gone = last
				continue
			}
		case whole == 0:
			if _, whole, err = s.Read(ctx, []string{anchorKey}); err != nil || !s.replicated {
				return whole, err
			}
			continue
		}
		if _, ok := ctx.Deadline(); !ok && time.Since(began) > giveUp {
			return 0, fmt.Errorf("natsorm: get the state of %s: %w", s.stream, errBehind)
		}
		if err := wait(ctx, behindPause); err != nil {
			return 0, err
		}
	}
}

// Since is what is live of Changes.
func (s *JetStream) Since(ctx context.Context, pattern string, revision uint64) ([]Message, error) {
	changes, err := s.Changes(ctx, pattern, revision)
	return slices.DeleteFunc(changes, func(e Message) bool { return !e.Live() }), err
}

// afterOne reads the message that follows a revision.
func (s *JetStream) afterOne(ctx context.Context, pattern string, revision uint64) (found []Message, more bool, err error) {
	if !s.direct || s.replicated { // only the leader knows that nothing follows
		return s.afterLeader(ctx, pattern, revision)
	}
	e, ok, err := s.nextDirect(ctx, pattern, revision)
	if err != nil || !ok {
		return nil, false, err
	}
	return []Message{e}, true, nil
}

// afterLeader reads from the leader the message that follows a revision.
func (s *JetStream) afterLeader(ctx context.Context, pattern string, revision uint64) (found []Message, more bool, err error) {
	e, err := s.fromLeader(ctx, map[string]any{"seq": revision + 1, "next_by_subj": s.prefix + pattern})
	if err != nil || e.Revision == 0 {
		return nil, false, err
	}
	return []Message{e}, true, nil
}

// Revision asks for the stream's state where its last message is gone, or where
// another server may be behind.
func (s *JetStream) Revision(ctx context.Context) (uint64, error) {
	if last, err := s.lastRevision(ctx); err != nil || last > 0 {
		return last, err
	}
	return s.sequence(ctx)
}

// sequence is the revision of the last message that the bucket ever had, from the
// leader; reads that follow are to be as new.
func (s *JetStream) sequence(ctx context.Context) (uint64, error) {
	_, last, err := s.streamState(ctx)
	if err == nil {
		s.saw(last)
	}
	return last, err
}

// Last asks for the last message under the pattern.
func (s *JetStream) Last(ctx context.Context, pattern string) (uint64, error) {
	e, err := s.fromLeader(ctx, map[string]any{"last_by_subj": s.prefix + pattern})
	return e.Revision, err
}
