package access

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
)

const (
	// replans is how many times a query is planned again because of what its lookups
	// have found.
	replans = 3

	// A query is planned again when a lookup leads to at least surprising records, and to
	// surprisingRate times as many as was expected. Below that no other plan saves much.
	surprising     = 256
	surprisingRate = 4
)

// found is what the first lookups of a plan have found.
type found struct {
	keys    []string                 // the keys of records, each once
	later   iter.Seq2[string, error] // finds more keys when it is ranged over; nil when keys are all
	corrupt []error                  // one for each entry or claim that cannot be read
	entries int                      // how many entries and claims were read
	records int                      // how many records they lead to; a record counts for each entry that leads to it

	// when is when the lookups were made. It is nil when the plan has none, because the
	// keys of the records are in the query. When later makes them, later sets it.
	when *moment
}

// resolve plans a query and makes the lookups that its plan begins with. When they find
// many more entries than the planner expected, it plans again with what is known by
// then. That is possible because nothing has been delivered yet.
//
// The first plans are careful: their lookups may end in a surprise. The last one is
// carried out whatever it finds, so the loop ends.
func (s *Source) resolve(ctx context.Context, q plan.Query) (plan.Plan, found, error) {
	samples, err := s.measure(ctx, q)
	if err != nil {
		return plan.Plan{}, found{}, err
	}
	for try := 0; ; try++ {
		p := plan.Make(s.def, q, s.snapshot())
		p.Samples = samples
		f, surprise, err := s.begin(ctx, p, try < replans)
		if !surprise || err != nil {
			return p, f, err
		}
		if err := s.stats.CountRecords(ctx, s.store); err != nil {
			return p, f, err
		}
		// The new plan is compared with what is left to do of the old one: its entries have
		// been read, only their records are still to be. If that is no more expensive, the
		// old plan goes on.
		again := plan.Make(s.def, q, s.snapshot())
		left := p
		left.Entries, left.Lookups, left.Inputs = 0, nil, nil
		left.Records = len(f.keys)
		if len(f.keys) > 0 && again.Cost.Time >= plan.Estimate(s.def, left, s.snapshot()).Time {
			return p, f, nil
		}
	}
}

// begin makes the first lookups of a plan. When it is careful, surprise says that they
// have found so many entries that another plan may be better; how many it was is in the
// statistics then.
//
// What it reads now, and what it leaves for later:
//
//   - A scan, or a plan that reads nothing, has no lookups.
//   - Records whose primary keys are in the query have no lookups either.
//   - Lookups that fit into one request are made now. With a limit the request asks for
//     about as many entries as are needed; the others are left for later.
//   - Lookups that take several requests, or a consumer, are all left for later, so that
//     records can be read meanwhile.
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
	if p.Sorted {
		f.when = new(moment)
		return f, false, nil
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
	f.when = new(moment)
	patterns := s.patterns(lookups)
	if len(patterns) == 0 { // ranges with nothing in them
		return f.distinct(), false, nil
	}
	if len(groups) != 1 || lookups[0].Large || patternBytes(patterns) > store.MaxPatternBytes {
		if p.Path == plan.Range { // its lookups are walked together
			f.later = s.ranged(ctx, p.Access, most(needs), f.when)
		} else {
			f.later = s.follow(ctx, groups, needs, f.when)
		}
		return f.distinct(), false, nil
	}
	answer, err := s.store.Read(ctx, store.Lookup{Patterns: patterns, Limit: most(needs)})
	if errors.Is(err, store.ErrTooMany) {
		// The server answers one request for at most 1024 keys (store.MaxMatches). For a
		// single lookup that is more than the planner expected, or it would have planned a
		// consumer: a surprise, or else the consumer now. Several lookups are divided into
		// two requests, which divide again if they must.
		half := len(lookups) / 2
		if careful && half == 0 {
			return found{}, true, s.size(ctx, lookups[0])
		}
		if p.Path == plan.Range { // there are more than its samples say
			f.later = s.ranged(ctx, p.Access, most(needs), f.when)
			return f.distinct(), false, nil
		}
		groups = [][]plan.Lookup{lookups[:half], lookups[half:]}
		if half == 0 {
			large := lookups[0]
			large.Matches, large.Large = store.MaxMatches+1, true
			groups = [][]plan.Lookup{{large}}
		}
		f.later = s.follow(ctx, groups, needs, f.when)
		return f.distinct(), false, nil
	}
	if err != nil {
		return f, false, err
	}
	f.entries = len(answer.Messages)
	f.when.begin(answer.Revision)
	f.when.alone(!answer.Torn)
	f.keys = slices.Grow(f.keys, len(answer.Messages))
	for _, e := range answer.Messages {
		before := len(f.keys)
		if f.keys, err = s.pointers(f.keys, e); err != nil { // a corrupt entry does not end the query
			f.corrupt = append(f.corrupt, err)
		}
		f.records += len(f.keys) - before
	}
	if p.Path == plan.Range {
		if answer.Left == 0 {
			s.stats.SawRange(lookups, f.records)
		}
	} else if len(lookups) == 1 && len(lookups[0].Intervals) == 0 {
		s.stats.SawMatches(lookups[0], f.records+answer.Left)
	} else if answer.Left == 0 {
		s.attribute(lookups, answer.Messages)
	}
	// The request stopped at the limit. If the records of these entries are not enough, all
	// entries are looked up, these again: distinct drops their keys.
	if answer.Left > 0 {
		f.later = s.follow(ctx, groups, 0, f.when)
		return f.distinct(), false, nil
	}
	surprise = careful && p.Path == plan.Index && needs == 0 && f.records >= surprising && f.records > surprisingRate*p.Entries
	// Two entries may lead to the same record. In a range that is so also while a writer moves one
	// from a value to another.
	if len(lookups) > 1 || p.Path == plan.Union || p.Path == plan.Range {
		f = f.distinct()
	}
	return f, surprise, nil
}

// size asks how many entries a lookup has that one request does not answer, and notes it
// in the statistics.
func (s *Source) size(ctx context.Context, l plan.Lookup) error {
	if len(l.Intervals) > 0 {
		n, err := s.sampled(ctx, plan.Access{Path: plan.Range, Index: l.Index, Lookups: []plan.Lookup{l}})
		if err == nil {
			s.stats.SawRange([]plan.Lookup{l}, max(n, store.MaxMatches+1))
		}
		return err
	}
	n, err := s.store.Count(ctx, s.patterns([]plan.Lookup{l})[0], store.About)
	if err == nil {
		// There were more than one request answers. Even if there are fewer by now, the next
		// plan must not try the same request again.
		s.stats.SawMatches(l, max(n, store.MaxMatches+1))
	}
	return err
}

// most is how many entries a lookup asks for when needs records are needed: twice as
// many, because some may not fulfil the rest of the condition. 0 stands for all, in both.
func most(needs int) int {
	if needs == 0 {
		return 0
	}
	return max(query.FirstChunk, 2*needs)
}

// distinct is f with each key once, also among those that come later. later must be
// ranged over once.
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
