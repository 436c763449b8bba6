package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// scanRestarts bounds how often a scan goes on with a new consumer without
// getting any further.
const scanRestarts = 5

// tailBatch is how many messages one request for a scan's last part asks for.
const tailBatch = 1000

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
// at one instant, every key that was not delivered before.
func (s *JetStream) Scan(ctx context.Context, pattern string, opts ScanOptions) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		sc := scan{s: s, pattern: pattern, opts: opts, floor: s.floor.Load(), yield: yield}
		if opts.Counted && s.tallied() {
			sc.markers = map[string]uint64{}
		}
		start, err := s.lastRevision(ctx)
		if err != nil {
			yield(Message{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			return
		}
		sc.seen = newDelivered(start)
		for try := 0; ; try++ {
			before := sc.last
			err := sc.run(ctx)
			s.saw(sc.last)
			if sc.broken {
				return
			}
			if sc.last > before {
				try = 0
			}
			if errors.Is(err, errLost) && try < scanRestarts && ctx.Err() == nil {
				continue
			}
			if err != nil {
				yield(Message{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			} else if sc.markers != nil {
				s.tallies.put(pattern, tally{created: s.created, upTo: sc.last, markers: sc.markers})
			}
			return
		}
	}
}

type scan struct {
	s       *JetStream
	pattern string
	opts    ScanOptions
	seen    *delivered
	last    uint64 // the last revision delivered; a new consumer passes over what is not after it
	floor   uint64 // what the session had seen at the start
	yield   func(Message, error) bool
	broken  bool              // the reader broke off
	markers map[string]uint64 // delete markers met, for a later count
}

// run scans with one consumer.
func (sc *scan) run(ctx context.Context) error {
	c, err := sc.s.newConsumer(ctx, sc.pattern, from{want: sc.opts.Want, keys: sc.opts.Keys})
	if err != nil {
		return err
	}
	defer c.close()
	if c.pending == 0 { // by its own count
		return sc.tail(ctx)
	}
	for {
		m, d, err := c.next(ctx)
		if err != nil {
			return err
		}
		if m == nil {
			return sc.tail(ctx)
		}
		e, err := sc.s.delivered(m, d)
		if err != nil {
			return err
		}
		if !sc.deliver(e) {
			return nil
		}
		if d.pending == 0 {
			return sc.tail(ctx)
		}
	}
}

// deliver passes an entry on, once for each key; it reports false when the
// reader breaks off.
func (sc *scan) deliver(e Message) bool {
	if e.Revision <= sc.last {
		return true
	}
	sc.last = e.Revision
	if e.Deleted && sc.markers != nil {
		if sc.markers[e.Key] = e.Revision; len(sc.markers) > maxMarkers {
			sc.markers = nil
		}
	} else if len(sc.markers) > 0 {
		delete(sc.markers, e.Key)
	}
	switch {
	case e.Live() && sc.seen.first(e.Key, e.Revision):
	case sc.opts.Again && e.Revision <= sc.floor && sc.seen.has(e.Key):
		e.Again = true
	default:
		return true
	}
	sc.broken = !sc.yield(e, nil)
	return !sc.broken
}

// tail reads what follows the last message delivered.
func (sc *scan) tail(ctx context.Context) error {
	for {
		found, more, err := sc.s.after(ctx, sc.pattern, sc.last, tailBatch)
		if err != nil {
			return err
		}
		for _, e := range found {
			if !sc.deliver(e) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}
