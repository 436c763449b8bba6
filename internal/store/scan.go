package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
)

// scanRestarts bounds how often one scan goes on with a new consumer.
const scanRestarts = 5

// Scan reads the last message of every key under the pattern, with a consumer
// that starts at each key's last message.
//
// The server lists those messages at the start, in stream order, and goes on
// with what is written later. A key that is overwritten before its turn is
// missing from the list and comes later; one that is overwritten after its
// turn comes twice. So the scan reads on until nothing is pending, and passes
// over what it has delivered: it remembers 64 random bits for each key.
func (s *JetStream) Scan(ctx context.Context, pattern string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		sc := scan{s: s, pattern: pattern, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
		for try := 0; ; try++ {
			more, err := sc.run(ctx, yield)
			if !more {
				return
			}
			if errors.Is(err, errLost) && try < scanRestarts && ctx.Err() == nil {
				continue
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("natsorm: scan %q: %w", pattern, err))
			}
			return
		}
	}
}

type scan struct {
	s       *JetStream
	pattern string
	seed    maphash.Seed
	seen    map[uint64]struct{}
	last    uint64 // the last revision delivered; a new consumer passes over what is not after it
}

// run scans with one consumer. more is false when the reader broke off.
func (sc *scan) run(ctx context.Context, yield func(Entry, error) bool) (more bool, err error) {
	c, err := sc.s.newConsumer(ctx, sc.pattern, from{})
	if err != nil {
		return true, err
	}
	defer c.close()
	if c.pending == 0 {
		return true, nil
	}
	for {
		m, d, err := c.next(ctx)
		if err != nil || m == nil {
			return true, err
		}
		if d.revision > sc.last {
			sc.last = d.revision
			e, err := sc.s.delivered(m, d)
			if err != nil {
				return true, err
			}
			if e.Live() && sc.first(e.Key) && !yield(e, nil) {
				return false, nil
			}
		}
		if d.pending == 0 {
			return true, nil
		}
	}
}

// first reports whether a key has not been delivered yet.
func (sc *scan) first(key string) bool {
	h := maphash.String(sc.seed, key)
	n := len(sc.seen)
	sc.seen[h] = struct{}{}
	return len(sc.seen) > n
}
