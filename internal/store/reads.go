package store

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// GetMany is Get of many keys, in their order.
func GetMany(ctx context.Context, s Store, keys []string) ([]Message, error) {
	out := make([]Message, len(keys))
	for i, key := range keys {
		out[i].Key = key
	}
	if err := s.GetEach(ctx, keys, func(i int, m Message) { out[i] = m }); err != nil {
		return nil, err
	}
	return out, nil
}

// Match streams the live messages under patterns, in no particular order: a few with one
// request, many with a scan of each pattern.
func Match(ctx context.Context, s Store, patterns ...string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		found, err := s.Read(ctx, Lookup{Patterns: patterns})
		if err != nil && !errors.Is(err, ErrTooMany) {
			yield(Message{}, err)
			return
		}
		if err == nil {
			for _, m := range found.Messages {
				if !yield(m, nil) {
					return
				}
			}
			return
		}
		for _, pattern := range patterns {
			for m, err := range s.Scan(ctx, pattern, ScanOptions{}) {
				if !yield(m, err) || err != nil {
					return
				}
			}
		}
	}
}

// Since is the live messages among Changes, without those that later ones replace.
func Since(ctx context.Context, s Store, pattern string, revision uint64) ([]Message, error) {
	changes, err := s.Changes(ctx, pattern, revision)
	last := make(map[string]uint64, len(changes))
	for _, m := range changes {
		last[m.Key] = m.Revision
	}
	return slices.DeleteFunc(changes, func(m Message) bool { return !m.Live() || m.Revision != last[m.Key] }), err
}

// CatchUp makes the reads that follow at least as new as the leader.
func CatchUp(ctx context.Context, s Store) error {
	_, err := s.Revision(ctx, Leader)
	return err
}
