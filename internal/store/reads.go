package store

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/readsize"
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
			for m, err := range Current(ctx, s, pattern) {
				if !yield(m, err) || err != nil {
					return
				}
			}
		}
	}
}

// Current streams the live messages under a pattern like a Scan, but shows none in a state
// older than the session has seen. On a replicated bucket, where a scan may, it takes only
// the keys from the scan, and reads them.
func Current(ctx context.Context, s Store, pattern string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for m, err := range currently(ctx, s, pattern, ScanOptions{}) {
			if !yield(m.Message, err) {
				return
			}
		}
	}
}

// Scanned is a message of a scan, and where in the scan it came.
type Scanned struct {
	Message
	At uint64 // the revision at which the scan had it; they ascend, but for the end of a scan that writers never let end
}

// Repeating is Current for one who bears with messages of keys that have come already
// (ScanOptions.Repeats). It takes the same memory however many keys there are.
func Repeating(ctx context.Context, s Store, pattern string) iter.Seq2[Scanned, error] {
	return currently(ctx, s, pattern, ScanOptions{Repeats: true})
}

func currently(ctx context.Context, s Store, pattern string, opts ScanOptions) iter.Seq2[Scanned, error] {
	return func(yield func(Scanned, error) bool) {
		if !s.Traits().Replicable {
			for m, err := range s.Scan(ctx, pattern, opts) {
				if !yield(Scanned{m, m.Revision}, err) {
					return
				}
			}
			return
		}
		opts.Keys = true
		size, messages, bytes := readsize.First, 0, 0
		chunk, scanned := make([]string, 0, size), make([]Message, 0, size)
		read := func() bool {
			found, err := GetMany(ctx, s, chunk)
			if err != nil {
				yield(Scanned{}, err)
				return false
			}
			for i, m := range found {
				messages, bytes = messages+1, bytes+len(m.Key)+len(m.Value)
				m.Again = scanned[i].Again
				if m.Live() && !yield(Scanned{m, scanned[i].Revision}, nil) {
					return false
				}
			}
			size = min(readsize.Next(size, messages, bytes), maxKeys)
			chunk, scanned = chunk[:0], scanned[:0]
			return true
		}
		for m, err := range s.Scan(ctx, pattern, opts) {
			if err != nil {
				yield(Scanned{}, err)
				return
			}
			if chunk, scanned = append(chunk, m.Key), append(scanned, m); len(chunk) >= size && !read() {
				return
			}
		}
		if len(chunk) > 0 {
			read()
		}
	}
}

// maxKeys bounds the keys that Current reads with one call. The scan waits meanwhile.
const maxKeys = 1024

// Since is the live messages among Changes, without those that later ones replace.
func Since(ctx context.Context, s Store, pattern string, revision uint64) ([]Message, error) {
	changes, err := s.Changes(ctx, pattern, revision)
	last := make(map[string]uint64, len(changes))
	for _, m := range changes {
		last[m.Key] = m.Revision
	}
	return slices.DeleteFunc(changes, func(m Message) bool { return !m.Live() || m.Revision != last[m.Key] }), err
}

// CountAfter counts the keys that a Scan of what was written after a revision would deliver: so those that
// were purged are not counted that a replica still has. A revision of 0 stands for everything.
func CountAfter(ctx context.Context, s Store, pattern string, after uint64) (n int, err error) {
	if after == 0 || !s.Traits().Replicable {
		return s.Count(ctx, pattern, Exactly)
	}
	return CountByScan(ctx, s, pattern, after)
}

// CountByScan counts what a Scan of what was written after a revision delivers.
func CountByScan(ctx context.Context, s Store, pattern string, after uint64) (n int, err error) {
	gone := map[string]bool{}
	for m, err := range s.Scan(ctx, pattern, ScanOptions{Keys: true, Again: true, After: after}) {
		switch {
		case err != nil:
			return 0, err
		case !m.Again:
			n++
		case m.Live():
			delete(gone, m.Key)
		default:
			gone[m.Key] = true
		}
	}
	return n - len(gone), nil
}

// CatchUp makes the reads that follow at least as new as the leader.
func CatchUp(ctx context.Context, s Store) error {
	_, err := s.Revision(ctx, Leader)
	return err
}
