package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/natsorm/natsorm/internal/keyset"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
	"github.com/natsorm/natsorm/internal/workers"
)

// scanRestarts bounds how often a scan goes on with a new consumer without
// getting any further.
const scanRestarts = 5

// followers is how many messages a consumer is read for, besides as many as it has at its
// start and as many again. Where it still has some then, writers are faster than the reader,
// and they may stay so.
const followers = 32

// Scan reads the last message of every key under the pattern, with a consumer
// that starts at each key's last message.
//
// The server lists those messages at the start, and goes on with what is written later; the
// package's comment says why, and where, a scan may end.
func (b *Bucket) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		sc := scan{b: b, pattern: pattern, opts: opts, last: opts.After, floor: b.Floor(), yield: yield}
		if err := sc.begin(ctx); err != nil {
			yield(store.Message{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			return
		}
		for try := 0; ; try++ {
			before := sc.last
			err := sc.run(ctx)
			if errors.Is(err, wire.ErrLost) && b.canGoOn(ctx) {
				err = sc.goOn(ctx)
			}
			b.Saw(sc.last)
			if sc.stopped {
				return
			}
			if sc.last > before {
				try = 0
			}
			if errors.Is(err, wire.ErrLost) && try < scanRestarts && workers.Sleep(ctx, time.Duration(try)*resumePause) == nil {
				continue
			}
			if err != nil {
				if e := ctx.Err(); e != nil && !errors.Is(err, e) {
					err = fmt.Errorf("%w: %w", e, err)
				}
				yield(store.Message{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			} else if sc.markers != nil {
				b.tallies.put(pattern, tally{created: b.Now().Created, upTo: sc.last, markers: sc.markers})
			}
			return
		}
	}
}

type scan struct {
	b        *Bucket
	pattern  string
	opts     store.ScanOptions
	seen     *keyset.Set
	start    uint64 // up to this revision no key comes twice
	last     uint64 // the last revision delivered; a new consumer passes over what is not after it
	floor    uint64 // what the session had seen at the start
	yield    func(store.Message, error) bool
	alone    bool              // it began where the bucket was alone
	corrects bool              // it delivers some keys again
	stopped  bool              // by the reader
	markers  map[string]uint64 // delete markers met, for a later count
}

// begin finds out from which revision on a key may come twice.
func (sc *scan) begin(ctx context.Context) error {
	err := sc.b.Steady(ctx, func() (err error) {
		sc.alone = sc.b.Now().Alone
		if sc.start, err = sc.b.Newest(ctx); sc.opts.Repeats && err == nil {
			sc.start, err = sc.b.Acknowledged(ctx)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case sc.opts.Current && !sc.alone:
		return store.ErrReplicable
	}
	if sc.opts.Counted && sc.opts.After == 0 && sc.b.tallied() {
		sc.markers = map[string]uint64{}
	}
	sc.corrects = sc.opts.Again && sc.start == 0 // otherwise every message is the newest
	sc.seen = keyset.New(sc.start)
	return nil
}

// unmoved refuses to go on with a scan that began where the bucket was alone, and would
// now deliver what a server has that may be behind.
func (sc *scan) unmoved(ctx context.Context) error {
	if !sc.alone {
		return nil
	}
	if err := sc.b.Lone(ctx); !errors.Is(err, store.ErrReplicable) {
		return err
	}
	return store.Unavailable(store.ErrReplicable)
}

// run scans with one consumer.
func (sc *scan) run(ctx context.Context) error {
	opts := wire.ConsumerOptions{Want: sc.opts.Want, Keys: sc.opts.Keys, Gentle: sc.opts.Gentle}
	if sc.opts.After > 0 && !sc.b.Now().History { // each message is its key's last one, and the server need not list those before
		opts.From = sc.last + 1
	}
	c, err := sc.b.Stream.Consume(ctx, sc.pattern, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := sc.unmoved(ctx); err != nil { // the consumer may be on another server
		return err
	}
	for most := 2*c.Pending() + followers; c.Pending() > 0 && most > 0; most-- {
		m, ok, err := c.Next(ctx)
		if err != nil {
			return err
		}
		if ok && !sc.deliver(m) {
			return nil
		}
	}
	t := tail{b: sc.b, pattern: sc.pattern, at: sc.last, each: sc.deliver, check: sc.unmoved, rest: sc.rest, c: c}
	return t.finish(ctx)
}

// goOn reads the rest of a scan whose consumer was lost.
func (sc *scan) goOn(ctx context.Context) error {
	t := tail{b: sc.b, pattern: sc.pattern, at: sc.last, each: sc.deliver, check: sc.unmoved, rest: sc.rest, lost: true}
	if err := t.read(ctx); err != nil {
		return err
	}
	return t.finish(ctx)
}

// rest delivers the keys that the leader has and that were not delivered. wire.ErrBehind when
// that leader is behind the session, or the scan is: there may be corrections in what follows.
func (sc *scan) rest(ctx context.Context) error {
	if sc.last < sc.floor {
		return wire.ErrBehind
	}
	sc.markers = nil // there may be others among what follows, which is not read
	return sc.b.EachMissing(ctx, sc.pattern, sc.seen.Has, func(missing []string) error {
		if err := store.CatchUp(ctx, sc.b); err != nil { // with the leader that has listed them
			return err
		}
		found, err := store.GetMany(ctx, sc.b, missing)
		for _, m := range found {
			m.Again = sc.opts.Repeats // then none was remembered
			if m.Live() && m.Revision > sc.opts.After && !sc.stopped && (m.Again || sc.seen.Add(m.Key)) {
				sc.stopped = !sc.yield(m, nil)
			}
		}
		return err
	})
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
	case m.Live() && sc.opts.Repeats:
		m.Again = m.Revision > sc.start
	case m.Live() && sc.seen.First(m.Key, m.Revision):
	case sc.corrects && m.Revision <= sc.floor && sc.seen.Has(m.Key):
		m.Again = true
	default:
		return true
	}
	sc.stopped = !sc.yield(m, nil)
	return !sc.stopped
}
