package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxMarkers bounds the delete markers that a tally remembers; with more, a scan
// counts as fast.
const maxMarkers = 16 * maxMulti

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

func (t *tallies) put(pattern string, latest tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]tally{}
	}
	if old := t.m[pattern]; old.upTo <= latest.upTo || !old.created.Equal(latest.created) {
		t.m[pattern] = latest
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
			more, err := s.follows(ctx, pattern, t.upTo)
			if err != nil {
				return err
			}
			if !more {
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
		switch {
		case e.Revision == t.markers[e.Key]:
			there++
			continue
		case e.Revision == 0:
			gone = true
		case e.Deleted: // another marker in its place, which the next count reads
			there++
		}
		delete(t.markers, e.Key)
	}
	return there, gone, nil
}
