package access

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
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

// patterns returns the key or the pattern that each lookup asks for.
func (s *Source) patterns(lookups []plan.Lookup) []string {
	out := make([]string, len(lookups))
	for i, l := range lookups {
		out[i] = s.layout.Lookup(l.Index, l.Values)
	}
	return out
}

// pointers appends the keys of the records to which an entry or a claim leads. A
// *CorruptError when it cannot be read.
func (s *Source) pointers(to []string, e store.Message) ([]string, error) {
	to, err := s.layout.Pointers(to, e.Key, e.Value)
	return to, errs.Corrupt(s.def.Name, e.Key, err)
}

// follow streams the keys of the records to which groups of lookups lead, each group with
// its own requests. needs is how many records the caller needs, 0 for all. A key may come
// more than once.
//
// Several lookups may take several requests. Between two of them, a value can go from a
// record whose entry is still to be read, to a record whose entry would have been in a
// part that was read already. Then neither is found. So in the end follow looks at
// everything that was written since the beginning, with one answer at one instant. A
// record that fulfils one of the lookups at that instant has an entry which was there
// since the beginning, and was read; or an entry that was written since, and is read now.
//
// asOf is set to a revision that the bucket had at the beginning, before the first key is
// delivered.
func (s *Source) follow(ctx context.Context, groups [][]plan.Lookup, needs int, asOf *atomic.Uint64) iter.Seq2[string, error] {
	several := len(groups) > 1 || len(groups[0]) > 1
	return func(yield func(string, error) bool) {
		start, err := s.store.Revision(ctx, store.Acknowledged)
		if err != nil {
			yield("", err)
			return
		}
		asOf.Store(start)
		var buf []string
		// deliver passes the keys of one entry on, or an error. It returns false when the
		// stream has to end: the caller wants no more, or the error is not that of a corrupt
		// entry.
		deliver := func(e store.Message, err error) bool {
			var to []string
			if err == nil {
				buf, err = s.pointers(buf[:0], e)
				to = buf
			}
			if err != nil {
				return yield("", err) && errors.Is(err, errs.ErrCorrupt)
			}
			for _, key := range to {
				if !yield(key, nil) {
					return false
				}
			}
			return true
		}
		for _, group := range groups {
			for e, err := range s.entries(ctx, group, needs) {
				if !deliver(e, err) {
					return
				}
			}
		}
		if !several {
			return // a single lookup has no gap between two
		}
		written, err := store.Since(ctx, s.store, keys.All(s.def.Name), start)
		if err != nil {
			yield("", err)
			return
		}
		belongs := s.belongs(slices.Concat(groups...))
		for _, e := range written {
			if belongs(e.Key) && !deliver(e, nil) {
				return
			}
		}
	}
}

// entries streams the entries and claims of lookups, however many they are.
//
// It tries one request for all of them. When that is too large to send, or the server
// does not answer for so many keys (ErrTooMany), it divides the lookups into two halves
// and does the same with each. A single lookup that one request does not answer is read
// by a consumer.
func (s *Source) entries(ctx context.Context, lookups []plan.Lookup, needs int) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		half := len(lookups) / 2 // 0 for a single lookup
		if half > 0 && patternBytes(s.patterns(lookups)) <= store.MaxPatternBytes || half == 0 && !lookups[0].Large {
			entries, err := s.store.Read(ctx, store.Lookup{Patterns: s.patterns(lookups)})
			if err == nil {
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
			for _, part := range [][]plan.Lookup{lookups[:half], lookups[half:]} {
				for e, err := range s.entries(ctx, part, needs) {
					if !yield(e, err) || err != nil {
						return
					}
				}
			}
			return
		}
		n := 0
		for e, err := range s.store.Scan(ctx, s.patterns(lookups)[0], store.ScanOptions{Want: most(needs)}) {
			if !yield(e, err) || err != nil {
				return
			}
			n++ // one record for each entry: an entry that is a list is a single key, which one request reads
		}
		s.stats.sawMatches(s.def.Name, lookups[0], n)
	}
}

// lookups are the lookups of one query, which found its candidates; see query.Lookups.
type lookups struct {
	source *Source
	plan   plan.Plan
	all    bool           // as for Candidates
	asOf   *atomic.Uint64 // set by the goroutine that makes the lookups, read by the engine
}

// AsOf is a revision that the bucket had when the lookups were made, or before; 0 while
// nothing was looked up.
func (l *lookups) AsOf() uint64 { return l.asOf.Load() }

// Since finds the records to which entries lead that were written after AsOf; see
// query.Lookups.
func (l *lookups) Since(ctx context.Context, seen func(key string) bool) (iter.Seq2[query.Batch, error], error) {
	to, asOf, err := l.source.since(ctx, l.plan, l.asOf.Load())
	if err != nil {
		return nil, err
	}
	if to = slices.DeleteFunc(to, seen); len(to) == 0 {
		return nil, nil
	}
	l.asOf.Store(asOf)
	return l.source.batches(ctx, l.plan, found{keys: to}, l.all), nil
}

// since returns the keys of the records to which entries lead that were written under a
// plan's lookups after a revision. asOf is a revision that the bucket had before they
// were read: the next call of since begins there, and may find some of them again.
func (s *Source) since(ctx context.Context, p plan.Plan, revision uint64) (to []string, asOf uint64, err error) {
	if asOf, err = s.store.Revision(ctx, store.Acknowledged); err != nil {
		return nil, 0, err
	}
	written, err := store.Since(ctx, s.store, keys.All(s.def.Name), revision)
	if err != nil {
		return nil, 0, err
	}
	belongs := s.belongs(p.AllLookups())
	seen := map[string]bool{}
	for _, e := range written {
		if !belongs(e.Key) {
			continue
		}
		keys, err := s.pointers(nil, e)
		if err != nil {
			return nil, 0, err
		}
		for _, key := range keys {
			if !seen[key] {
				seen[key] = true
				to = append(to, key)
			}
		}
	}
	return to, asOf, nil
}

// belongs returns a function that reports whether a key is an entry or a claim that one
// of the lookups asks for.
func (s *Source) belongs(lookups []plan.Lookup) func(key string) bool {
	return keys.NewMatcher(s.patterns(lookups)).Has
}
