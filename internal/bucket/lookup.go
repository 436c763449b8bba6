package bucket

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// Lookup takes one request for as many patterns as fit into it. Where direct get is
// not allowed, it scans.
func (b *Bucket) Lookup(ctx context.Context, patterns []string, limit int) (found []store.Message, rest int, asOf uint64, err error) {
	if !b.direct {
		for _, pattern := range patterns {
			for m, err := range b.Scan(ctx, pattern, store.ScanOptions{}) {
				if err != nil {
					return nil, 0, 0, err
				}
				found = append(found, m)
			}
		}
		return found, 0, 0, nil
	}
	for _, chunk := range b.chunks(patterns) {
		n, at, err := b.multi(ctx, chunk, limit, func(m store.Message, repeated bool) {
			if repeated {
				found = slices.DeleteFunc(found, func(old store.Message) bool { return old.Key == m.Key })
			}
			if m.Live() {
				found = append(found, m)
			}
		})
		if err != nil {
			return nil, 0, 0, err
		}
		rest += n
		if asOf == 0 || at < asOf {
			asOf = at
		}
	}
	return found, rest, asOf, nil
}

// Read asks for the anchor too: an answer that has nothing else in it says how far
// the server is all the same.
func (b *Bucket) Read(ctx context.Context, patterns []string) (found []store.Message, asOf uint64, err error) {
	if !b.direct {
		if asOf, err = b.Whole(ctx); err == nil {
			err = b.leaderEach(ctx, patterns, func(m store.Message) { found = append(found, m) })
		}
		return found, asOf, err
	}
	if len(patterns) >= maxMulti || len(b.chunks(patterns)) > 1 {
		return nil, 0, store.ErrTooMany
	}
	asOf, err = b.multiCurrent(ctx, patterns, func(m store.Message) { found = append(found, m) })
	return found, asOf, err
}

// Match scans when there are more than maxMulti messages, or direct get is not
// allowed.
func (b *Bucket) Match(ctx context.Context, patterns []string) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		found, _, _, err := b.Lookup(ctx, patterns, 0)
		if err != nil && !errors.Is(err, store.ErrTooMany) {
			yield(store.Message{}, err)
			return
		}
		if err == nil {
			for _, m := range found {
				if !yield(m, nil) {
					return
				}
			}
			return
		}
		for _, pattern := range patterns {
			for m, err := range b.Scan(ctx, pattern, store.ScanOptions{}) {
				if !yield(m, err) || err != nil {
					return
				}
			}
		}
	}
}
