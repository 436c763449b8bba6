package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// maxMarkers bounds the delete markers that a tally remembers; with more, a scan
// counts as fast.
const maxMarkers = 16 * store.MaxMatches

// maxTallies bounds the patterns of which tallies are kept: models, and values of indexes. When there are
// more, all are forgotten.
const maxTallies = 1024

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

func (t *tallies) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m = nil
}

func (t *tallies) put(pattern string, latest tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil || len(t.m) >= maxTallies {
		t.m = map[string]tally{}
	}
	if old := t.m[pattern]; old.upTo <= latest.upTo || !old.created.Equal(latest.created) {
		t.m[pattern] = latest
	}
}

// catchUp reads what was written under the pattern since, up to the time of the
// call. It gives up when there are too many markers.
func (t *tally) catchUp(ctx context.Context, b *Bucket, pattern string) error {
	created, target, err := b.Stream.State(ctx)
	if err != nil {
		return err
	}
	if !created.Equal(t.created) || target < t.upTo { // another stream, or one put back
		*t = tally{created: created, markers: map[string]uint64{}}
	}
	fresh := t.upTo == 0
	for tries := 0; t.upTo < target && tries < scanRestarts; {
		if !fresh { // else something is there, or the consumer says so at no greater cost
			next, err := b.Following(ctx, pattern, t.upTo)
			if err != nil {
				return err
			}
			if next.Revision == 0 {
				t.upTo = target
				return nil
			}
		}
		before := t.upTo
		err := t.read(ctx, b, pattern, target)
		if err != nil && (!errors.Is(err, wire.ErrLost) || ctx.Err() != nil) {
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

// read reads keys and markers that follow upTo: a few by their revisions, and many as far
// as one consumer sees.
func (t *tally) read(ctx context.Context, b *Bucket, pattern string, target uint64) (err error) {
	if t.upTo > 0 && b.byRevision(target-t.upTo) {
		t.upTo, err = b.written(ctx, pattern, t.upTo, t.note)
		return err
	}
	opts := wire.ConsumerOptions{Keys: true} // each key's last message
	if t.upTo > 0 {
		opts.From = t.upTo + 1
	}
	c, err := b.Stream.Consume(ctx, pattern, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	for c.Pending() > 0 {
		m, ok, err := c.Next(ctx)
		if err != nil || !ok {
			return err
		}
		if t.upTo = m.Revision; !t.note(m) {
			return nil
		}
	}
	return nil
}

// note takes in the message that comes next. It reports false when there are too many
// markers.
func (t *tally) note(m store.Message) bool {
	if len(t.markers) > 0 {
		delete(t.markers, m.Key)
	}
	if m.Deleted {
		t.markers[m.Key] = m.Revision
	}
	if len(t.markers) > maxMarkers {
		t.markers = nil
	}
	return t.markers != nil
}

// verify counts the markers that are still there, and reports whether others
// are gone without a trace. It forgets all that are no longer there.
func (t *tally) verify(ctx context.Context, b *Bucket) (there int, gone bool, err error) {
	if len(t.markers) == 0 {
		return 0, false, nil
	}
	keys := make([]string, 0, len(t.markers))
	for key := range t.markers {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	found, err := store.GetMany(ctx, b, keys)
	if err != nil {
		return 0, false, err
	}
	for _, m := range found {
		switch {
		case m.Revision == t.markers[m.Key]:
			there++
			continue
		case m.Revision == 0:
			gone = true
		case m.Deleted: // another marker in its place, which the next count reads
			there++
		}
		delete(t.markers, m.Key)
	}
	return there, gone, nil
}
