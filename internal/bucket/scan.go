package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// scanRestarts bounds how often a scan goes on with a new consumer without
// getting any further.
const scanRestarts = 5

// Scan reads the last message of every key under the pattern, with a consumer
// that starts at each key's last message.
//
// The server lists those messages at the start, in stream order, and goes on
// with what is written later. A key that is overwritten before its turn is
// missing from the list and comes later; one that is overwritten after its
// turn comes twice. So the scan reads on to the end, and passes over what it
// has delivered; see delivered.
//
// The consumer's word that nothing is pending is not the end: an overwrite
// takes the old message off its count before it puts the new one on. What
// follows the last message delivered is then read by direct gets. Each of them
// is isolated from writes, so the one that says that no more follows has seen,
// at one moment, every key that was not delivered before.
func (b *Bucket) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		sc := scan{b: b, pattern: pattern, opts: opts, floor: b.floor.Load(), yield: yield}
		if opts.Counted && b.tallied() {
			sc.markers = map[string]uint64{}
		}
		start, err := b.newest(ctx)
		if err != nil {
			yield(store.Message{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			return
		}
		sc.seen = newDelivered(start)
		for try := 0; ; try++ {
			before := sc.last
			err := sc.run(ctx)
			b.saw(sc.last)
			if sc.stopped {
				return
			}
			if sc.last > before {
				try = 0
			}
			if errors.Is(err, wire.ErrLost) && try < scanRestarts && ctx.Err() == nil {
				continue
			}
			if err != nil {
				yield(store.Message{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			} else if sc.markers != nil {
				b.tallies.put(pattern, tally{created: b.created, upTo: sc.last, markers: sc.markers})
			}
			return
		}
	}
}

type scan struct {
	b       *Bucket
	pattern string
	opts    store.ScanOptions
	seen    *delivered
	last    uint64 // the last revision delivered; a new consumer passes over what is not after it
	floor   uint64 // what the session had seen at the start
	yield   func(store.Message, error) bool
	stopped bool              // by the reader
	markers map[string]uint64 // delete markers met, for a later count
}

// run scans with one consumer.
func (sc *scan) run(ctx context.Context) error {
	c, err := sc.b.stream.Consume(ctx, sc.pattern, wire.ConsumerOptions{Want: sc.opts.Want, Keys: sc.opts.Keys})
	if err != nil {
		return err
	}
	defer c.Close()
	for c.Pending() > 0 {
		m, ok, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if ok && !sc.deliver(m) {
			return nil
		}
	}
	return sc.tail(ctx)
}

// deliver passes a message on, once for each key; it reports false when the reader
// stops.
func (sc *scan) deliver(m store.Message) bool {
	if m.Revision <= sc.last {
		return true
	}
	sc.last = m.Revision
	if m.Deleted && sc.markers != nil {
		if sc.markers[m.Key] = m.Revision; len(sc.markers) > maxMarkers {
			sc.markers = nil
		}
	} else if len(sc.markers) > 0 {
		delete(sc.markers, m.Key)
	}
	switch {
	case m.Live() && sc.seen.first(m.Key, m.Revision):
	case sc.opts.Again && m.Revision <= sc.floor && sc.seen.has(m.Key):
		m.Again = true
	default:
		return true
	}
	sc.stopped = !sc.yield(m, nil)
	return !sc.stopped
}

// tail reads what follows the last message delivered.
func (sc *scan) tail(ctx context.Context) error {
	for {
		found, more, err := sc.b.after(ctx, sc.pattern, sc.last, tailBatch)
		if err != nil {
			return err
		}
		for _, m := range found {
			if !sc.deliver(m) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}
