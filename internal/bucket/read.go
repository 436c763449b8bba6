package bucket

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// Read takes one request for as many patterns as fit into it.
func (b *Bucket) Read(ctx context.Context, l store.Lookup) (a store.Answer, err error) {
	err = b.Steady(ctx, func() error {
		a, err = b.read(ctx, l)
		return err
	})
	return a, err
}

func (b *Bucket) read(ctx context.Context, l store.Lookup) (store.Answer, error) {
	switch {
	case l.Exact:
		return b.ReadExact(ctx, l.Patterns)
	case !b.Now().Direct:
		return b.readByScan(ctx, l.Patterns)
	}
	var a store.Answer
	chunks := b.Chunks(l.Patterns)
	if len(chunks) > 1 && !b.Replicable() {
		// A request that finds nothing does not say how far the bucket is. The revision
		// from before all of them is right for each.
		start, err := b.Acknowledged(ctx)
		if err != nil {
			return a, err
		}
		a.Revision = start
	}
	a.Torn = len(chunks) > 1
	for _, chunk := range chunks {
		newest := uint64(0)
		left, at, err := b.Multi(ctx, chunk, l.Limit, func(m store.Message, repeated bool) {
			if repeated {
				a.Messages = slices.DeleteFunc(a.Messages, func(old store.Message) bool { return old.Key == m.Key })
			}
			newest = max(newest, m.Revision)
			if m.Live() {
				a.Messages = append(a.Messages, m)
			}
		})
		if err != nil {
			return store.Answer{}, err
		}
		a.Torn = a.Torn || newest > at // a large answer comes in parts
		a.Left += left
		if a.Revision == 0 || at > 0 && at < a.Revision {
			a.Revision = at
		}
	}
	return a, nil
}

// readByScan reads where direct get is not allowed. A scan ends at a moment at which it
// has all that is there, so that of a single pattern shows one moment.
func (b *Bucket) readByScan(ctx context.Context, patterns []string) (a store.Answer, err error) {
	if a.Revision, err = b.Acknowledged(ctx); err != nil {
		return store.Answer{}, err
	}
	a.Torn = len(patterns) > 1
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
