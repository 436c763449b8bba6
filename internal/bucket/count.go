package bucket

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/wire"
)

// countTries is how often a count begins again because markers went away while
// it was made.
const countTries = 3

// Count counts with the messages at hand where it can.
func (b *Bucket) Count(ctx context.Context, pattern string, p store.Precision) (n int, err error) {
	if p == store.About {
		return b.about(ctx, pattern)
	}
	err = b.Steady(ctx, func() error {
		n, err = b.exactly(ctx, pattern)
		return err
	})
	return n, err
}

// exactly takes the number of keys, which the server has at hand, and subtracts
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
func (b *Bucket) exactly(ctx context.Context, pattern string) (int, error) {
	if !b.tallied() {
		return store.CountByScan(ctx, b, pattern, 0)
	}
	t := b.tallies.get(pattern)
	for range countTries {
		if err := t.catchUp(ctx, b, pattern); err != nil {
			return 0, err
		}
		if t.markers == nil {
			break
		}
		n, err := b.keyCount(ctx, pattern)
		if err != nil {
			return 0, err
		}
		there, gone, err := t.verify(ctx, b)
		if err != nil {
			return 0, err
		}
		// With history, keys would be counted by their messages.
		if _, err := b.Relook(ctx, b.Now()); err != nil {
			return 0, err
		}
		if !b.tallied() {
			break
		}
		if !gone && b.Now().Created.Equal(t.created) {
			b.tallies.put(pattern, t)
			return max(0, n-there), nil
		}
	}
	return store.CountByScan(ctx, b, pattern, 0)
}

// tallied reports whether markers can be tallied. Of several replicas one may be
// behind the one that counts the keys, and of a key with history an older
// message can come back.
func (b *Bucket) tallied() bool { return !b.Replicable() && !b.Now().History && b.Now().Direct }

// keyCount is the number of keys under a pattern, delete markers among them, in
// one request that the server isolates from writes.
func (b *Bucket) keyCount(ctx context.Context, pattern string) (int, error) {
	found, rest, err := b.Stream.NextMany(ctx, pattern, 0, 1)
	if err != nil {
		return 0, fmt.Errorf("natsorm: count %q: %w", pattern, err)
	}
	return len(found) + rest, nil
}

// about asks with a consumer that is never read: the server says how many
// messages it would deliver. That is faster than keyCount, but an overwrite takes
// the old message off before it puts the new one on.
func (b *Bucket) about(ctx context.Context, pattern string) (int, error) {
	c, err := b.Stream.Consume(ctx, pattern, wire.ConsumerOptions{})
	if errors.Is(err, wire.ErrLost) && b.Now().Direct {
		return b.keyCount(ctx, pattern)
	}
	if err != nil {
		return 0, fmt.Errorf("natsorm: count %q: %w", pattern, err)
	}
	defer c.Close()
	return c.Pending(), nil
}
