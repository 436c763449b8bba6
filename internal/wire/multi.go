package wire

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm/internal/flow"
	"github.com/natsorm/natsorm/internal/message"
	"github.com/natsorm/natsorm/internal/readsize"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
)

const (
	// firstBytes is the size in bytes after which the server ends the first part of an
	// answer. Package flow does not count that part: most often it is all, and it is no more
	// than one message may be.
	firstBytes = 1 << 20

	// noResults is the description of the 404 that says that no key matches. Any other 404
	// is a message that the server could not load.
	noResults = "No Results"

	// mostTorn is how often an answer is asked for again in which a message went away
	// between its listing and its loading: because it expired, or because a replica learns
	// what was deleted while it was away.
	mostTorn = 20
)

// ErrBehind says that a replica has answered which does not have everything yet that was
// seen before.
var ErrBehind = errors.New("the replica is behind")

// GetMany gets the last messages of keys, or of all keys under patterns, with a direct
// get, and gives each to found as it comes. The server ends an answer early when it grows
// large; then it is asked for the next part. With a limit it is asked for about that many
// messages only, and rest is how many others there are.
//
// repeated says that a message may have come already, and may have changed since. All
// messages come again when the request is sent again because a reply was lost. A message
// that changes between two parts of an answer may be in both.
//
// asOf is the revision that the server had reached at the first part; 0 when nothing was
// found. ErrBehind when a later part comes from a server that has not reached it.
// store.ErrTooMany when more keys match than the server answers for.
func (s *Stream) GetMany(ctx context.Context, keys []string, limit int, found func(m store.Message, repeated bool)) (rest int, asOf uint64, err error) {
	used, parts, torn := usage.Of(ctx), 0, 0
	body, after := make([]byte, 0, len(keys)*(len(s.Prefix)+len(keys[0])+8)+64), uint64(0)
	for {
		body = append(body[:0], '{')
		if after > 0 {
			body = append(strconv.AppendUint(append(body, `"seq":`...), after, 10), ',')
		}
		if limit > 0 {
			body = append(strconv.AppendInt(append(body, `"batch":`...), int64(limit), 10), ',')
		}
		part, began := firstBytes, time.Time{}
		if parts > 0 {
			var err error
			if part, err = s.flow.Scans.Take(ctx, firstBytes, readsize.Bytes, s.done); errors.Is(err, flow.ErrDone) {
				err = s.err()
			}
			if err != nil {
				return 0, 0, err
			}
			began = time.Now()
		}
		body = strconv.AppendInt(append(body, `"max_bytes":`...), int64(part), 10)
		body = append(body, `,"multi_last":[`...)
		for i, key := range keys {
			if i > 0 {
				body = append(body, ',')
			}
			body = s.appendSubject(body, key)
		}
		body = append(body, "]}"...)
		var end nats.Header
		var bad error
		got, tries, start := 0, 0, after
		err := s.anyone(ctx, "$JS.API.DIRECT.GET."+s.Name, body, func() { got, after = 0, start; tries++ }, func(m *nats.Msg) (more bool) {
			if m.Header.Get("Status") != "" {
				end = m.Header
				return false
			}
			e, err := message.Direct(m, s.Prefix)
			if err != nil {
				bad = err
				return true
			}
			used.Got(m)
			got++
			after = max(after, e.Revision+1)
			found(e, tries > 1 || parts > 0 || torn > 0)
			return true
		})
		if parts > 0 {
			s.flow.Scans.Give(part, part, time.Since(began))
		}
		if err == nil {
			err = bad
		}
		if err != nil {
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		switch end.Get("Status") {
		case "204":
		case "404":
			if end.Get("Description") != noResults {
				if torn++; torn < mostTorn {
					after = start
					continue
				}
				return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), noMessage(end))
			}
			return 0, 0, nil
		case "413":
			return 0, 0, store.ErrTooMany
		default:
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), noMessage(end))
		}
		reached, err := upTo(end)
		if err != nil {
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		if parts++; parts == 1 {
			asOf = reached
		} else if reached < asOf {
			return 0, 0, ErrBehind
		}
		if rest, err = pending(end); err != nil {
			return 0, 0, fmt.Errorf("natsorm: get %d keys: %w", len(keys), err)
		}
		if rest == 0 || got == 0 || limit > 0 {
			return rest, asOf, nil
		}
	}
}

// appendSubject appends a key's subject as a JSON string. Keys that natsorm makes need no
// escapes; keys of other programs may.
func (s *Stream) appendSubject(b []byte, key string) []byte {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			b, _ = jsontext.AppendQuote(b, s.Prefix+key) // what is not UTF-8 is replaced, and finds nothing
			return b
		}
	}
	return append(append(append(append(b, '"'), s.Prefix...), key...), '"')
}
