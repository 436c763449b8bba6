package access

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
)

// patternBytes is the size of a request's patterns; store.MaxPatternBytes is how much
// fits into one.
func patternBytes(patterns []string) (n int) {
	for _, p := range patterns {
		n += len(p)
	}
	return n
}

// patterns returns the key or the pattern that each lookup asks for, or the patterns of a range.
func (s *Source) patterns(lookups []plan.Lookup) []string {
	out := make([]string, 0, len(lookups))
	for i, l := range lookups {
		if len(l.Intervals) > 0 {
			out = s.cover(out, lookups[i:i+1])
		} else {
			out = append(out, s.layout.Lookup(l.Index, l.Values))
		}
	}
	return out
}

// attribute notes, for each of several lookups that were made together, to how many records its
// entries lead. It leaves out ranges, which have several patterns.
func (s *Source) attribute(lookups []plan.Lookup, entries []store.Message) {
	if !slices.ContainsFunc(lookups, func(l plan.Lookup) bool { return len(l.Intervals) > 0 }) {
		s.stats.Attribute(lookups, s.patterns(lookups), entries)
	}
}

// pointers appends the keys of the records to which an entry or a claim leads. A
// *CorruptError when it cannot be read.
func (s *Source) pointers(to []string, e store.Message) ([]string, error) {
	to, err := s.layout.Pointers(to, e.Key, e.Value)
	return to, errs.Corrupt(s.def.Name, e.Key, err)
}

// follow streams the keys of the records to which groups of lookups lead, each group with
// its own requests. needs is how many records the caller needs, 0 for all. A key may come
// more than once. It notes in when at which moment it began, before the first key is
// delivered, and whether it made several lookups.
func (s *Source) follow(ctx context.Context, groups [][]plan.Lookup, needs int, when *moment) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		start, err := s.store.Revision(ctx, store.Acknowledged)
		if err != nil {
			yield("", err)
			return
		}
		when.begin(start)
		when.alone(len(groups) == 1)
		var buf []string
		for _, group := range groups {
			for e, err := range s.entries(ctx, group, needs, when) {
				var to []string
				if err == nil {
					buf, err = s.pointers(buf[:0], e)
					to = buf
				}
				if err != nil { // only a corrupt entry does not end the stream
					if !yield("", err) || !errors.Is(err, errs.ErrCorrupt) {
						return
					}
					continue
				}
				for _, key := range to {
					if !yield(key, nil) {
						return
					}
				}
			}
		}
	}
}

// entries streams the entries and claims of lookups, however many they are.
//
// It tries one request for all of them. When that is too large to send, or the server
// does not answer for so many keys (ErrTooMany), it divides the lookups into two halves
// and does the same with each. A single lookup that one request does not answer is read
// by a consumer, and a range by a walk.
func (s *Source) entries(ctx context.Context, lookups []plan.Lookup, needs int, when *moment) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		half := len(lookups) / 2 // 0 for a single lookup
		patterns := s.patterns(lookups)
		if len(patterns) == 0 { // ranges with nothing in them
			return
		}
		if half > 0 && patternBytes(patterns) <= store.MaxPatternBytes || half == 0 && !lookups[0].Large {
			entries, err := s.store.Read(ctx, store.Lookup{Patterns: patterns})
			if err == nil {
				when.alone(!entries.Torn)
				s.attribute(lookups, entries.Messages)
				for _, e := range entries.Messages {
					if !yield(e, nil) {
						return
					}
				}
				return
			}
			if !errors.Is(err, store.ErrTooMany) {
				yield(store.Message{}, err)
				return
			}
		}
		if half > 0 {
			when.alone(false)
			for _, part := range [][]plan.Lookup{lookups[:half], lookups[half:]} {
				for e, err := range s.entries(ctx, part, needs, when) {
					if !yield(e, err) || err != nil {
						return
					}
				}
			}
			return
		}
		n := 0
		if only := lookups[0]; len(only.Intervals) > 0 {
			in := plan.Access{Path: plan.Range, Index: only.Index, Lookups: lookups}
			for p, err := range s.walk(ctx, in, most(needs), when).parts(s.spans(lookups)) {
				for _, e := range p.entries {
					if !yield(store.Message{Key: e.key}, nil) {
						return
					}
				}
				if err != nil {
					yield(store.Message{}, err)
					return
				}
				n += len(p.entries)
			}
			s.stats.SawRange(lookups, n)
			return
		}
		for e, err := range s.store.Scan(ctx, s.patterns(lookups)[0], store.ScanOptions{Want: most(needs)}) {
			if !yield(e, err) || err != nil {
				return
			}
			n++ // one record for each entry: an entry that is a list is a single key, which one request reads
		}
		s.stats.SawMatches(lookups[0], n)
	}
}

// moment is when the lookups of a query were made. The goroutine that makes them sets it,
// and the engine reads it.
type moment struct {
	asOf    atomic.Uint64
	several atomic.Bool
}

// begin notes a revision from before the first lookup.
func (m *moment) begin(revision uint64) { m.asOf.CompareAndSwap(0, revision) }

// alone notes whether a lookup is the only one, and shows one moment.
func (m *moment) alone(yes bool) {
	if !yes {
		m.several.Store(true)
	}
}
