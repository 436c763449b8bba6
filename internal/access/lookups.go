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

func patternBytes(patterns []string) (n int) {
	for _, p := range patterns {
		n += len(p)
	}
	return n
}

// patterns are the keys and patterns that lookups ask for.
func (s *Source) patterns(lookups []plan.Lookup) []string {
	out := make([]string, len(lookups))
	for i, l := range lookups {
		out[i] = s.layout.Lookup(l.Index, l.Values)
	}
	return out
}

// pointers appends the keys of the records that an index entry or a claim leads to.
func (s *Source) pointers(to []string, e store.Message) ([]string, error) {
	to, err := s.layout.Pointers(to, e.Key, e.Value)
	return to, errs.Corrupt(s.def.Name, e.Key, err)
}

// follow streams the record keys that groups of lookups lead to.
//
// Several lookups may take several requests, and meanwhile a value may go from a
// record that is still to be found to one that would have been found by then. So in
// the end it looks at what was written since the beginning, with one isolated answer:
// a record that fulfils one of the lookups then has an entry that was there all the
// while, and has been read, or one that was written since.
//
// asOf is set to the revision of the beginning, before the first key is delivered.
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
			return
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
func (s *Source) entries(ctx context.Context, lookups []plan.Lookup, needs int) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		half := len(lookups) / 2
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
			n++ // lists are not read so: each is one key
		}
		s.stats.sawMatches(s.def.Name, lookups[0], n)
	}
}

// lookups are how the candidates of a plan were found; see query.Lookups.
type lookups struct {
	source *Source
	plan   plan.Plan
	all    bool
	asOf   *atomic.Uint64
}

// AsOf is a revision that the bucket had when the lookups were made, or earlier.
func (l *lookups) AsOf() uint64 { return l.asOf.Load() }

// Since is the records that entries written after AsOf lead to.
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

// since is the keys of the records to which what was written under a plan's lookups
// after a revision leads, and a revision that the bucket had before it was read.
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

// belongs tells the entries and claims that lookups ask for from other keys.
func (s *Source) belongs(lookups []plan.Lookup) func(key string) bool {
	return keys.NewMatcher(s.patterns(lookups)).Has
}
