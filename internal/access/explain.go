package access

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
)

// sampleSize is how many records are read to learn how large records are.
const sampleSize = 16

// Explain returns the plan that a query would have now, with the numbers of what it
// would read and request. To know them it makes the lookups, and counts what would be
// scanned. What it learns may change the plan; then that one is explained.
func (s *Source) Explain(ctx context.Context, q plan.Query) (plan.Plan, error) {
	var samples plan.Cost
	for try := 1; ; try++ {
		p, stands, err := s.explain(ctx, q, &samples)
		if p.Samples = samples; err != nil || stands || try == replans {
			return p, err
		}
	}
}

// explain is one try of Explain. stands is false when the plan has changed because of
// what was learnt: the numbers in it are then estimates. What samples take is added to samples.
func (s *Source) explain(ctx context.Context, q plan.Query, samples *plan.Cost) (_ plan.Plan, stands bool, err error) {
	p, f, err := s.resolve(ctx, q)
	samples.Add(p.Samples)
	if err != nil {
		return p, false, err
	}
	if p.Path == plan.Nothing {
		return p, true, nil
	}
	single := len(p.Lookups) == 1 && p.Path != plan.Intersect
	records, counted := len(f.keys), f.later == nil
	large := single && p.Lookups[0].Large
	// The keys that come later are read to be counted, except where a consumer would read
	// them: their number is asked for below.
	if f.later != nil && !large && q.Needs() == 0 {
		for _, err := range f.later {
			if err != nil {
				return p, false, err
			}
			records++
		}
		f.later = nil
	}
	if p.Path == plan.Scan {
		n, err := s.store.Count(ctx, keys.Records(s.def.Name), store.About)
		if err != nil {
			return p, false, err
		}
		s.stats.SawRecords(n)
	}
	if err := s.sample(ctx, f.keys); err != nil {
		return p, false, err
	}
	if p.Sorted || f.later != nil && slices.ContainsFunc(p.AllLookups(), func(l plan.Lookup) bool { return len(l.Intervals) > 0 }) {
		return plan.Make(s.def, q, s.snapshot()), true, nil // its numbers are from samples
	}
	// Now the statistics are those of a query that has just run. The plan that they give is
	// the answer when it is the same one; counted numbers replace its estimates.
	stats := s.snapshot()
	planned := plan.Make(s.def, q, stats)
	same := planned.Path == p.Path && planned.Index.Name == p.Index.Name && len(planned.Lookups) == len(p.Lookups)
	if !same || p.Path == plan.Scan || q.Needs() > 0 {
		return planned, same, nil
	}
	if large {
		n, err := s.store.Count(ctx, s.patterns(p.Lookups)[0], store.About)
		if err != nil {
			return p, false, err
		}
		planned.Lookups[0].Matches, planned.Lookups[0].Keys, planned.Entries, planned.Records = n, n, n, n
		planned.Cost = plan.Estimate(s.def, planned, stats)
		return planned, true, nil
	}
	planned.Records = records
	if counted && single {
		planned.Lookups[0].Matches, planned.Lookups[0].Keys, planned.Entries = f.records, f.entries, f.records
	}
	planned.Cost = plan.Estimate(s.def, planned, stats)
	if counted {
		planned.Cost.Keys += f.entries
		for _, l := range planned.AllLookups() {
			planned.Cost.Keys -= l.Keys
		}
		planned.Entries = f.records
	}
	return planned, true, nil
}

// sample reads a few records when nothing is known of their size. at are keys of records
// that the lookups have found.
func (s *Source) sample(ctx context.Context, at []string) error {
	if s.snapshot().RecordBytes > 0 {
		return nil
	}
	if len(at) > 0 {
		found, err := store.GetMany(ctx, s.store, at[:min(sampleSize, len(at))])
		s.stats.SawMessages(slices.DeleteFunc(found, func(m store.Message) bool { return !m.Live() }))
		return err
	}
	var some []store.Message
	for m, err := range s.store.Scan(ctx, keys.Records(s.def.Name), store.ScanOptions{Want: sampleSize}) {
		if err != nil {
			return err
		}
		if some = append(some, m); len(some) == sampleSize {
			break
		}
	}
	s.stats.SawMessages(some)
	return nil
}
