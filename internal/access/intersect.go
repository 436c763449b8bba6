package access

import (
	"context"
	"errors"
	"sync"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
)

// intersect looks up both inputs of an intersection at the same time, and keeps the
// records to which both lead. When it is careful, surprise says that one input has many
// more entries than was expected, so that another plan may be better.
//
// The two inputs are read at different instants. A record that fulfils the whole
// condition all the time has its entry in both indexes all the time, so both find it. For
// values that go from one record to another they count as several lookups, unless both
// answers are from the same revision.
func (s *Source) intersect(ctx context.Context, p plan.Plan, careful bool) (f found, surprise bool, err error) {
	f.when = new(moment)
	start, err := s.store.Revision(ctx, store.Acknowledged)
	if err != nil {
		return f, false, err
	}
	f.when.begin(start)
	var sides [2]map[string]bool
	var read [2]int
	var at [2]uint64
	var failed [2]error
	var wg sync.WaitGroup
	for i, in := range p.Inputs {
		wg.Go(func() {
			sides[i], read[i], at[i], failed[i] = s.collect(ctx, in, careful)
		})
	}
	wg.Wait()
	for _, err := range failed {
		if errors.Is(err, store.ErrTooMany) {
			return f, true, nil
		}
		if err != nil {
			return f, false, err
		}
	}
	f.when.alone(at[0] == at[1] && at[0] > 0)
	f.entries = read[0] + read[1]
	f.records = len(sides[0]) + len(sides[1])
	small, large := sides[0], sides[1]
	if len(small) > len(large) {
		small, large = large, small
	}
	for key := range small {
		if large[key] {
			f.keys = append(f.keys, key)
		}
	}
	return f, false, nil
}

// collect returns the keys of the records to which one input of an intersection leads, and
// how many entries were read for them. at is the revision that the entries show; 0 when
// it took several requests, or none was found.
//
// The entries are read with one request if that gives them all. Otherwise, when collect
// is careful and the input is a single lookup, ErrTooMany says that there are more than
// was expected, and their number is noted in the statistics for the next plan. In all
// other cases they are read with as many requests as it takes.
func (s *Source) collect(ctx context.Context, in plan.Access, careful bool) (out map[string]bool, read int, at uint64, err error) {
	out = make(map[string]bool, in.Entries)
	groups := plan.Groups(in.Lookups)
	patterns := s.patterns(in.Lookups)
	if len(patterns) == 0 { // ranges with nothing in them
		return out, 0, 0, nil
	}
	if only := in.Lookups[0]; careful && len(in.Lookups) == 1 && !only.Large {
		entries, err := s.store.Read(ctx, store.Lookup{Patterns: patterns})
		if errors.Is(err, store.ErrTooMany) {
			if e := s.size(ctx, only); e != nil {
				err = e
			}
		}
		if err != nil {
			return nil, 0, 0, err
		}
		return out, len(entries.Messages), shows(entries), s.lead(in.Lookups, entries.Messages, out)
	}
	if len(groups) == 1 && !in.Lookups[0].Large {
		entries, err := s.store.Read(ctx, store.Lookup{Patterns: patterns})
		if err == nil {
			return out, len(entries.Messages), shows(entries), s.lead(in.Lookups, entries.Messages, out)
		}
		if !errors.Is(err, store.ErrTooMany) {
			return nil, 0, 0, err
		}
	}
	later := s.follow(ctx, groups, 0, new(moment))
	if in.Path == plan.Range {
		later = s.ranged(ctx, in, 0, new(moment))
	}
	for key, err := range later {
		if err != nil {
			return nil, 0, 0, err
		}
		out[key] = true
	}
	return out, len(out), 0, nil // lists are seldom read so: there are few of them
}

// shows is the revision that an answer shows as a whole, or 0.
func shows(a store.Answer) uint64 {
	if a.Torn {
		return 0
	}
	return a.Revision
}

// lead adds the keys of the records to which entries lead. lookups are those that gave
// the entries; how many each gave goes into the statistics.
func (s *Source) lead(lookups []plan.Lookup, entries []store.Message, to map[string]bool) error {
	if len(lookups[0].Intervals) > 0 {
		s.stats.SawRange(lookups, len(entries))
	} else {
		s.attribute(lookups, entries)
	}
	for _, e := range entries {
		keys, err := s.pointers(nil, e)
		if err != nil {
			return err
		}
		for _, key := range keys {
			to[key] = true
		}
	}
	return nil
}
