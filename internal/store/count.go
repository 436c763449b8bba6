package store

import (
	"context"
	"fmt"
)

// countTries is how often a count begins again because markers went away while
// it was made.
const countTries = 3

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
		n, err := s.keyCount(ctx, pattern)
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
	gone := map[string]bool{}
	for e, err := range s.Scan(ctx, pattern, ScanOptions{Keys: true, Again: true}) {
		switch {
		case err != nil:
			return 0, err
		case !e.Again:
			n++
		case e.Live():
			delete(gone, e.Key)
		default:
			gone[e.Key] = true
		}
	}
	return n - len(gone), nil
}

// keyCount is the number of keys under a pattern, delete markers among them, in
// one request that the server isolates from writes.
func (s *JetStream) keyCount(ctx context.Context, pattern string) (int, error) {
	found, rest, err := s.next(ctx, nextRequest{Seq: 1, Pattern: s.prefix + pattern, Batch: 1})
	if err != nil {
		return 0, fmt.Errorf("natsorm: count %q: %w", pattern, err)
	}
	return len(found) + rest, nil
}

// Size asks with a consumer that is never read: the server says how many
// messages it would deliver. That is faster than keyCount, but an overwrite takes
// the old message off before it puts the new one on.
func (s *JetStream) Size(ctx context.Context, pattern string) (int, error) {
	c, err := s.newConsumer(ctx, pattern, from{})
	if err != nil {
		return 0, fmt.Errorf("natsorm: count %q: %w", pattern, err)
	}
	defer c.close()
	return int(c.pending), nil
}
