package access

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
)

const (
	// replans bounds how often a query is planned again because of what its
	// lookups found.
	replans = 3

	// A lookup that finds this many entries, and this many times more than was
	// expected, makes the planner think again.
	surprising     = 256
	surprisingRate = 4
)

// found is what a plan's first lookups have found.
type found struct {
	keys    []string                 // of records, each once
	later   iter.Seq2[string, error] // more of them; nil when these are all
	corrupt []error                  // entries and claims that cannot be read
	entries int                      // read so far
	records int                      // that those entries lead to, counted for each entry

	// asOf is nil when no record was looked up: its key is in the query. Otherwise
	// it is a revision that the bucket had when the lookups were made, or earlier; 0
	// while that is not known, because nothing was looked up.
	asOf *atomic.Uint64
}

// resolve plans a query and does the lookups that its plan begins with. When they
// find many more entries than the planner expected, it plans again with what is then
// known; nothing has been delivered yet.
func (s *Source) resolve(ctx context.Context, q plan.Query) (plan.Plan, found, error) {
	for try := 0; ; try++ {
		p := plan.Make(s.def, q, s.snapshot())
		f, surprise, err := s.begin(ctx, p, try < replans)
		if !surprise || err != nil {
			return p, f, err
		}
		if err := s.countRecords(ctx); err != nil {
			return p, f, err
		}
		// What was read already is paid for; if the plan is still the best one, it goes on.
		again := plan.Make(s.def, q, s.snapshot())
		left := p
		left.Entries, left.Lookups, left.Inputs = 0, nil, nil
		left.Records = len(f.keys)
		if len(f.keys) > 0 && again.Cost.Time >= plan.Estimate(s.def, left, s.snapshot()).Time {
			return p, f, nil
		}
	}
}

// begin does a plan's first lookups. When it is careful, surprise says that they found
// so many entries that another plan may be better.
func (s *Source) begin(ctx context.Context, p plan.Plan, careful bool) (f found, surprise bool, err error) {
	switch p.Path {
	case plan.Scan, plan.Nothing:
		return f, false, nil
	case plan.Key:
		for _, id := range p.Keys {
			f.keys = append(f.keys, s.layout.RecordKey(id))
		}
		return f, false, nil
	case plan.Intersect:
		return s.intersect(ctx, p, careful)
	}
	lookups := p.AllLookups()
	groups := plan.Groups(lookups)
	needs := p.Needs()
	for _, in := range p.Inputs {
		for _, id := range in.Keys {
			f.keys = append(f.keys, s.layout.RecordKey(id))
		}
	}
	if len(groups) == 0 { // a union of primary keys
		return f.distinct(), false, nil
	}
	f.asOf = new(atomic.Uint64)
	patterns := s.patterns(lookups)
	if len(groups) != 1 || lookups[0].Large || patternBytes(patterns) > store.MaxPatternBytes {
		f.later = s.follow(ctx, groups, needs, f.asOf)
		return f.distinct(), false, nil
	}
	answer, err := s.store.Read(ctx, store.Lookup{Patterns: patterns, Limit: most(needs)})
	if errors.Is(err, store.ErrTooMany) {
		half := len(lookups) / 2
		if careful && half == 0 {
			return found{}, true, s.size(ctx, lookups[0])
		}
		groups = [][]plan.Lookup{lookups[:half], lookups[half:]}
		if half == 0 {
			large := lookups[0]
			large.Matches, large.Large = store.MaxMatches+1, true
			groups = [][]plan.Lookup{{large}}
		}
		f.later = s.follow(ctx, groups, needs, f.asOf)
		return f.distinct(), false, nil
	}
	if err != nil {
		return f, false, err
	}
	f.entries = len(answer.Messages)
	f.asOf.Store(answer.Revision)
	f.keys = slices.Grow(f.keys, len(answer.Messages))
	for _, e := range answer.Messages {
		before := len(f.keys)
		if f.keys, err = s.pointers(f.keys, e); err != nil {
			f.corrupt = append(f.corrupt, err)
		}
		f.records += len(f.keys) - before
	}
	if len(lookups) == 1 {
		s.stats.sawMatches(s.def.Name, lookups[0], f.records+answer.Left)
	} else if answer.Left == 0 {
		s.attribute(lookups, answer.Messages)
	}
	if answer.Left > 0 { // there is a limit; if these are not enough, all are looked up
		f.later = s.follow(ctx, groups, 0, new(atomic.Uint64))
		return f.distinct(), false, nil
	}
	surprise = careful && p.Path == plan.Index && needs == 0 && f.records >= surprising && f.records > surprisingRate*p.Entries
	if len(lookups) > 1 || p.Path == plan.Union { // two lookups may lead to one record
		f = f.distinct()
	}
	return f, surprise, nil
}

// size notes how many entries a lookup has that has too many for one request.
func (s *Source) size(ctx context.Context, l plan.Lookup) error {
	n, err := s.store.Count(ctx, s.patterns([]plan.Lookup{l})[0], store.About)
	if err == nil {
		s.stats.sawMatches(s.def.Name, l, max(n, store.MaxMatches+1)) // it may be fewer by now
	}
	return err
}

// most is how many entries a lookup asks for when this many records are needed: some
// may not fulfil the rest of the condition. 0 is all.
func most(needs int) int {
	if needs == 0 {
		return 0
	}
	return max(query.FirstBatch, 2*needs)
}

// distinct is f with each key once, those that come later too.
func (f found) distinct() found {
	seen := make(map[string]bool, len(f.keys))
	unique := make([]string, 0, len(f.keys))
	for _, key := range f.keys {
		if !seen[key] {
			seen[key] = true
			unique = append(unique, key)
		}
	}
	f.keys = unique
	if later := f.later; later != nil {
		f.later = func(yield func(string, error) bool) {
			for key, err := range later {
				if err == nil {
					if seen[key] {
						continue
					}
					seen[key] = true
				}
				if !yield(key, err) {
					return
				}
			}
		}
	}
	return f
}
