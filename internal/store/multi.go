package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
)

const (
	maxMulti     = MaxMatches
	maxInFlight  = 4 // multi-get requests of one call under way
	multiPayload = 2 // a request's keys take at most one n-th of the payload limit

	// multiBytes is after how many bytes the server ends an answer. It drops a
	// connection that 64 MB wait for; several requests may be under way.
	multiBytes = 4 << 20
)

// GetMany asks in chunks of what the server takes at once, several under way.
func (s *JetStream) GetMany(ctx context.Context, keys []string) ([]Message, error) {
	out := make([]Message, len(keys))
	for i, key := range keys {
		out[i].Key = key
	}
	err := s.GetEach(ctx, keys, func(i int, e Message) { out[i] = e })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetEach is GetMany for who works on entries as they come.
func (s *JetStream) GetEach(ctx context.Context, keys []string, each func(i int, e Message)) error {
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
		each = func(i int, e Message) {
			for j, key := range keys {
				if key == e.Key {
					single(j, e)
				}
			}
		}
	}
	chunks := s.chunks(unique)
	if len(chunks) == 1 {
		_, _, err := s.multi(ctx, unique, 0, func(e Message, _ bool) { each(at[e.Key], e) })
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	slots := make(chan struct{}, maxInFlight)
	done := make(chan error, len(chunks))
	for _, chunk := range chunks {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			_, _, err := s.multi(ctx, chunk, 0, func(e Message, _ bool) {
				mu.Lock()
				defer mu.Unlock()
				each(at[e.Key], e)
			})
			done <- err
		}()
	}
	var err error
	for range chunks {
		if e := <-done; err == nil && e != nil {
			err = e
			cancel() // the others are in vain
		}
	}
	return err
}

// Replicated reports whether several servers keep the bucket.
func (s *JetStream) Replicated() bool { return s.replicated }

// chunks cuts keys where a request would get too large.
func (s *JetStream) chunks(keys []string) [][]string {
	limit, most := int(s.nc.MaxPayload())/multiPayload, maxMulti
	if s.replicated {
		most-- // for the anchor
	}
	var out [][]string
	start, size := 0, 0
	for i, key := range keys {
		n := len(s.prefix) + len(key) + 3
		if i > start && (i-start == most || size+n > limit) {
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
// asOf is a revision that the server had reached, 0 when nothing was found and
// the bucket is not replicated.
func (s *JetStream) multi(ctx context.Context, keys []string, most int, found func(e Message, repeated bool)) (rest int, asOf uint64, err error) {
	if s.replicated {
		asOf, err = s.multiCurrent(ctx, keys, func(e Message) { found(e, false) })
		return 0, asOf, err
	}
	return s.multiOnce(ctx, keys, most, found)
}

// multiCurrent is multi with the anchor, from a server that is not behind the
// session.
func (s *JetStream) multiCurrent(ctx context.Context, keys []string, found func(Message)) (asOf uint64, err error) {
	wanted := slices.Contains(keys, anchorKey)
	with := keys
	if !wanted {
		with = append(slices.Clip(keys), anchorKey)
	}
	var got []Message
	keep := func(e Message, repeated bool) {
		if repeated {
			got = slices.DeleteFunc(got, func(f Message) bool { return f.Key == e.Key })
		}
		if e.Key != anchorKey || wanted {
			got = append(got, e)
		}
	}
	leader := func() (err error) {
		got = got[:0]
		if _, asOf, err = s.streamState(ctx); err != nil {
			return err
		}
		return s.fromLeaderMatching(ctx, keys, func(e Message) { keep(e, false) })
	}
	err = s.current(ctx, func() (err error) {
		got = got[:0]
		floor := s.floor.Load()
		_, asOf, err = s.multiOnce(ctx, with, 0, keep)
		switch {
		case err != nil:
			return err
		case asOf == 0: // nothing was found, not even the anchor
			if s.dropAnchor(ctx) != nil && s.leaderIsCurrent(ctx) {
				return leader() // it may not write
			}
			return errBehind
		case asOf < floor:
			return errBehind
		}
		return nil
	}, leader)
	if err != nil {
		return 0, err
	}
	s.saw(asOf)
	for _, e := range got {
		s.saw(e.Revision)
		found(e)
	}
	return asOf, nil
}

// multiOnce is multi from any server.
func (s *JetStream) multiOnce(ctx context.Context, keys []string, most int, found func(e Message, repeated bool)) (rest int, asOf uint64, err error) {
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
		body = strconv.AppendInt(append(body, `"max_bytes":`...), multiBytes, 10)
		body = append(body, `,"multi_last":[`...)
		for i, key := range keys {
			if i > 0 {
				body = append(body, ',')
			}
			body = s.appendSubject(body, key)
		}
		body = append(body, "]}"...)
		var end nats.Header
		var fault error
		got, tries, start := 0, 0, after
		err := s.req.request(ctx, "$JS.API.DIRECT.GET."+s.stream, body, func() { got, after = 0, start; tries++ }, func(m *nats.Msg) (more bool) {
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
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		switch end.Get("Status") {
		case "204":
		case "404":
			if end.Get("Description") != noResults {
				return 0, 0, fmt.Errorf("natsorm: get %d keys: server answered 404 %s", len(keys), end.Get("Description"))
			}
			return 0, 0, nil
		case "413":
			return 0, 0, ErrTooMany
		default:
			return 0, 0, fmt.Errorf("natsorm: get %d keys: server answered %s %s", len(keys), end.Get("Status"), end.Get("Description"))
		}
		reached, err := upTo(end)
		if err != nil {
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		if parts++; parts == 1 {
			asOf = reached
		} else if reached < asOf { // another server answered, which is behind the first
			return 0, 0, errBehind
		}
		if rest, err = pending(end); err != nil {
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		if rest == 0 || got == 0 || most > 0 {
			return rest, asOf, nil
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

// Lookup scans where direct get is not allowed.
func (s *JetStream) Lookup(ctx context.Context, patterns []string, most int) (found []Message, rest int, asOf uint64, err error) {
	if !s.direct {
		for _, pattern := range patterns {
			for e, err := range s.Scan(ctx, pattern, ScanOptions{}) {
				if err != nil {
					return nil, 0, 0, err
				}
				found = append(found, e)
			}
		}
		return found, 0, 0, nil
	}
	for _, chunk := range s.chunks(patterns) {
		n, at, err := s.multi(ctx, chunk, most, func(e Message, repeated bool) {
			if repeated {
				found = slices.DeleteFunc(found, func(f Message) bool { return f.Key == e.Key })
			}
			if e.Live() {
				found = append(found, e)
			}
		})
		if err != nil {
			return nil, 0, 0, err
		}
		rest += n
		if asOf == 0 || at < asOf {
			asOf = at
		}
	}
	return found, rest, asOf, nil
}

// Read asks for the anchor too: an answer that has nothing else in it says how far
// the server is all the same.
func (s *JetStream) Read(ctx context.Context, patterns []string) (found []Message, asOf uint64, err error) {
	if !s.direct {
		if asOf, err = s.Whole(ctx); err == nil {
			err = s.fromLeaderMatching(ctx, patterns, func(e Message) { found = append(found, e) })
		}
		return found, asOf, err
	}
	if len(patterns) >= maxMulti || len(s.chunks(patterns)) > 1 {
		return nil, 0, ErrTooMany
	}
	asOf, err = s.multiCurrent(ctx, patterns, func(e Message) { found = append(found, e) })
	return found, asOf, err
}

// Match reads up to maxMulti entries in one request; more, and everything
// where direct get is not allowed, by scanning.
func (s *JetStream) Match(ctx context.Context, patterns []string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		found, _, _, err := s.Lookup(ctx, patterns, 0)
		if err != nil && !errors.Is(err, ErrTooMany) {
			yield(Message{}, err)
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
			for e, err := range s.Scan(ctx, pattern, ScanOptions{}) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}
