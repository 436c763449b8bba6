package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxMarkers bounds the delete markers that a tally remembers; with more,
	// a scan counts as fast.
	maxMarkers = 16 * maxMulti

	// countTries is how often a count begins again because markers went away
	// while it was made.
	countTries = 3
)

// Count takes the number of keys, which the server has at hand, and subtracts
// the delete markers among them. Which keys have markers is the only thing that
// must be read: the first time all keys are, without values, unless a scan has
// come by them; after that only what was written since, for a message that was
// no marker never becomes one.
//
// The result is exact as a scan's is. A key that is live all the while is
// counted once: it is among the keys, and no marker. One that has a marker all
// the while is not counted: it is subtracted, because its marker was there
// before the keys were counted and is there afterwards. When a marker went away
// in between, the keys are counted again.
func (s *JetStream) Count(ctx context.Context, pattern string) (int, error) {
	if !s.tallied() {
		return s.countByScan(ctx, pattern)
	}
	t := s.tallies.get(pattern)
	for range countTries {
		if err := t.catchUp(ctx, s, pattern); err != nil {
			return 0, err
		}
		if t.markers == nil {
			break
		}
		n, err := s.Size(ctx, pattern)
		if err != nil {
			return 0, err
		}
		there, gone, err := t.verify(ctx, s)
		if err != nil {
			return 0, err
		}
		if !gone {
			s.tallies.put(pattern, t)
			return max(0, n-there), nil
		}
	}
	return s.countByScan(ctx, pattern)
}

// tallied reports whether markers can be tallied. Of several replicas one may be
// behind the one that counts the keys, and of a key with history an older
// message can come back.
func (s *JetStream) tallied() bool { return !s.replicated && !s.history && s.direct }

func (s *JetStream) countByScan(ctx context.Context, pattern string) (n int, err error) {
	for _, err := range s.Scan(ctx, pattern, 0) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Size asks with a consumer that is never read: the server says how many
// messages it would deliver.
func (s *JetStream) Size(ctx context.Context, pattern string) (int, error) {
	c, err := s.newConsumer(ctx, pattern, from{})
	if err != nil {
		return 0, fmt.Errorf("natsorm: count %q: %w", pattern, err)
	}
	defer c.close()
	return int(c.pending), nil
}

// tally knows the delete markers under a pattern that were written up to a
// revision. It is a value: one that is kept is not changed.
type tally struct {
	created time.Time // the stream's, to notice another under its name
	upTo    uint64
	markers map[string]uint64 // revisions by key; nil when they are too many
}

// tallies are those that counts leave for later ones, by pattern.
type tallies struct {
	mu sync.Mutex
	m  map[string]tally
}

// get is a copy of what is known.
func (t *tallies) get(pattern string) tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.m[pattern]
	out := tally{created: known.created, upTo: known.upTo, markers: make(map[string]uint64, len(known.markers))}
	for key, revision := range known.markers {
		out.markers[key] = revision
	}
	return out
}

func (t *tallies) put(pattern string, new tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]tally{}
	}
	if old := t.m[pattern]; old.upTo <= new.upTo || !old.created.Equal(new.created) {
		t.m[pattern] = new
	}
}

// catchUp reads what was written under the pattern since, up to the time of the
// call. It gives up when there are too many markers.
func (t *tally) catchUp(ctx context.Context, s *JetStream, pattern string) error {
	created, target, err := s.streamState(ctx)
	if err != nil {
		return err
	}
	if !created.Equal(t.created) || target < t.upTo { // another stream, or one put back
		*t = tally{created: created, markers: map[string]uint64{}}
	}
	fresh := t.upTo == 0
	for tries := 0; t.upTo < target && tries < scanRestarts; {
		if !fresh { // else something is there, or the consumer says so at no greater cost
			any, err := s.follows(ctx, pattern, t.upTo)
			if err != nil {
				return err
			}
			if !any {
				t.upTo = target
				return nil
			}
		}
		before := t.upTo
		err := t.read(ctx, s, pattern)
		if err != nil && (!errors.Is(err, errLost) || ctx.Err() != nil) {
			return fmt.Errorf("natsorm: count %q: %w", pattern, err)
		}
		fresh = false
		if tries++; t.upTo > before {
			tries = 0
		}
		if t.markers == nil {
			return nil
		}
	}
	if t.upTo < target {
		t.markers = nil // a consumer keeps missing what is there
	}
	return nil
}

// streamState is when the stream was made, and its last revision.
func (s *JetStream) streamState(ctx context.Context) (created time.Time, last uint64, err error) {
	m, err := s.req.one(ctx, "$JS.API.STREAM.INFO."+s.stream, nil)
	if err != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.stream, err)
	}
	var resp struct {
		Created time.Time `json:"created"`
		State   struct {
			Last uint64 `json:"last_seq"`
		} `json:"state"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.stream, err)
	}
	if resp.Error != nil {
		return created, 0, fmt.Errorf("natsorm: get the state of %s: %w", s.stream, resp.Error)
	}
	return resp.Created, resp.State.Last, nil
}

// read reads keys and markers that follow upTo, as far as one consumer sees.
func (t *tally) read(ctx context.Context, s *JetStream, pattern string) error {
	start := from{keys: true} // each key's last message
	if t.upTo > 0 {
		start.revision = t.upTo + 1
	}
	c, err := s.newConsumer(ctx, pattern, start)
	if err != nil {
		return err
	}
	defer c.close()
	for c.pending > 0 {
		m, d, err := c.next(ctx)
		if err != nil || m == nil {
			return err
		}
		e, err := s.delivered(m, d)
		if err != nil {
			return err
		}
		if len(t.markers) > 0 {
			delete(t.markers, e.Key)
		}
		if e.Deleted {
			t.markers[e.Key] = e.Revision
		}
		t.upTo = e.Revision
		if len(t.markers) > maxMarkers {
			t.markers = nil
			return nil
		}
	}
	return nil
}

// verify counts the markers that are still there, and reports whether others
// are gone without a trace. It forgets all that are no longer there.
func (t *tally) verify(ctx context.Context, s *JetStream) (there int, gone bool, err error) {
	if len(t.markers) == 0 {
		return 0, false, nil
	}
	keys := make([]string, 0, len(t.markers))
	for key := range t.markers {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	found, err := s.GetMany(ctx, keys)
	if err != nil {
		return 0, false, err
	}
	for _, e := range found {
		switch e.Revision {
		case t.markers[e.Key]:
			there++
		case 0:
			gone = true
			delete(t.markers, e.Key)
		default:
			delete(t.markers, e.Key)
		}
	}
	return there, gone, nil
}
