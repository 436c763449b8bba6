package bucket

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// Read takes one request for as many patterns as fit into it.
func (b *Bucket) Read(ctx context.Context, l store.Lookup) (store.Answer, error) {
	switch {
	case l.Exact:
		return b.readExact(ctx, l.Patterns)
	case !b.direct:
		return b.readByScan(ctx, l.Patterns)
	}
	var a store.Answer
	chunks := b.chunks(l.Patterns)
	if len(chunks) > 1 && !b.replicated {
		// A request that finds nothing does not say how far the bucket is. The revision
		// from before all of them is right for each.
		start, err := b.acknowledged(ctx)
		if err != nil {
			return a, err
		}
		a.Revision = start
	}
	for _, chunk := range chunks {
		left, at, err := b.multi(ctx, chunk, l.Limit, func(m store.Message, repeated bool) {
			if repeated {
				a.Messages = slices.DeleteFunc(a.Messages, func(old store.Message) bool { return old.Key == m.Key })
			}
			if m.Live() {
				a.Messages = append(a.Messages, m)
			}
		})
		if err != nil {
			return store.Answer{}, err
		}
		a.Left += left
		if a.Revision == 0 || at > 0 && at < a.Revision {
			a.Revision = at
		}
	}
	return a, nil
}

// readByScan reads where direct get is not allowed.
func (b *Bucket) readByScan(ctx context.Context, patterns []string) (a store.Answer, err error) {
	for _, pattern := range patterns {
		for m, err := range b.Scan(ctx, pattern, store.ScanOptions{}) {
			if err != nil {
				return store.Answer{}, err
			}
			a.Messages = append(a.Messages, m)
		}
	}
	return a, nil
}

// readExact asks for the anchor too: an answer that has nothing else in it says how far
// the server is all the same.
func (b *Bucket) readExact(ctx context.Context, patterns []string) (a store.Answer, err error) {
	keep := func(m store.Message) { a.Messages = append(a.Messages, m) }
	if !b.direct {
		if a.Revision, err = b.whole(ctx); err == nil {
			err = b.leaderEach(ctx, patterns, keep)
		}
		return a, err
	}
	if len(patterns) >= store.MaxMatches || len(b.chunks(patterns)) > 1 {
		return a, store.ErrTooMany
	}
	a.Revision, err = b.multiCurrent(ctx, patterns, keep)
	return a, err
}
