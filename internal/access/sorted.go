package access

import (
	"context"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/usage"
	"github.com/natsorm/natsorm/internal/value"
)

const (
	// few is up to how many entries a range is read without looking for samples first.
	few = 512

	// mostRead is how much of a model is read by its keys, in the order of an index, before the
	// rest of it is scanned: so few records fulfil the condition that this is cheaper. It is one
	// part in this many, and at least leastRead records.
	mostRead  = 4
	leastRead = 2000

	// mostMeasured is of how many intervals the samples are counted: of a long list of values
	// that would take as long as to read them.
	mostMeasured = 8
)

// walk begins a walk through the entries of a plan's lookups. needs is how many of them are enough, 0 for all.
func (s *Source) walk(ctx context.Context, p plan.Access, needs int, when *moment) *walk {
	expected := 0
	for _, l := range p.Lookups {
		expected += s.stats.Within(l.Index, l.Values, l.Intervals)
	}
	intervals := len(p.Lookups[0].Intervals)
	direct := expected > 0 && expected <= few || intervals > mostMeasured // few for each
	w := &walk{ctx: ctx, source: s, desc: p.Desc, needs: needs, direct: direct, top: keys.Samples, when: when}
	if n := s.snapshot().Records; n > 0 && n <= plan.FewSamples {
		w.top--
	}
	return w
}

// ranged streams the keys of the records to which the entries of a range lead. needs is how many of them
// are expected to be enough, 0 for all.
func (s *Source) ranged(ctx context.Context, a plan.Access, needs int, when *moment) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		n := 0
		for p, err := range s.walk(ctx, a, needs, when).parts(s.spans(a.Lookups)) {
			if err != nil {
				yield("", err)
				return
			}
			for _, e := range p.entries {
				n++
				if !yield(s.recordOf(e), nil) {
					return
				}
			}
		}
		s.stats.SawRange(a.Lookups, n)
	}
}

// recordOf is the key of the record to which an entry of an ordered index leads.
func (s *Source) recordOf(e entry) string {
	to, _ := s.layout.Pointers(nil, e.key, nil) // only a layout in which an entry has one record has such an index
	return to[0]
}

// sorted yields the candidates of a plan in the order of the query, as far as the engine takes them.
func (s *Source) sorted(ctx context.Context, p plan.Plan, w *walk) iter.Seq2[query.Chunk, error] {
	return func(yield func(query.Chunk, error) bool) {
		last, id := ordersBy(s.def, p.Index, p.Order)
		at := func(by []value.Value) (v, primary value.Value) {
			if last < 0 { // all have one value
				return p.Lookups[0].Intervals[0].From.Value, by[id]
			}
			return by[last], by[id]
		}
		spans := s.spans(p.Lookups)
		if p.After != nil {
			v, primary := at(p.After)
			spans = begin(spans, p.Desc, v, primary)
		}
		seen := map[string]bool{}
		pace := query.NewPace(max(1, p.Keeps()), false, s.snapshot().FetchChunk())
		budget := max(leastRead, s.snapshot().Records/mostRead, 2*p.Keeps())
		// give yields records, after which a group and a primary key come.
		give := func(records []string, group, in string) bool {
			ok := yield(query.Chunk{Keys: records, Inline: true, Settled: func(by []value.Value) bool {
				v, primary := at(by)
				return w.settled(group, in, v, primary)
			}}, nil)
			pace.Next()
			return ok
		}
		for part, err := range w.parts(spans) {
			if err != nil {
				yield(query.Chunk{}, err)
				return
			}
			var records []string
			for _, e := range part.entries {
				if len(records) >= pace.Size {
					group, in := e.place, ""
					if p.Desc {
						group, in = keys.SplitPlace(e.place)
					}
					if !give(records, group, in) {
						return
					}
					records = nil
				}
				if key := s.recordOf(e); !seen[key] {
					seen[key] = true
					w.saw.found = append(w.saw.found, key)
					records = append(records, key)
				}
			}
			if !give(records, part.group, part.id) {
				return
			}
			if len(seen) > budget && s.snapshot().Records > 0 {
				w.saw = walked{} // it is too much to ask for again
				s.rest(ctx, p, seen, w.when, yield)
				return
			}
		}
	}
}

// rest scans the records that were not seen.
func (s *Source) rest(ctx context.Context, p plan.Plan, seen map[string]bool, when *moment, yield func(query.Chunk, error) bool) {
	when.alone(false)
	p.Access = plan.Access{Path: plan.Scan}
	for chunk, err := range s.scanned(ctx, p, true) {
		left := query.Chunk{Inline: chunk.Inline}
		for _, m := range chunk.Records {
			if !seen[m.Key] {
				left.Records = append(left.Records, m)
			}
		}
		for _, key := range chunk.Keys {
			if !seen[key] {
				left.Keys = append(left.Keys, key)
			}
		}
		if !yield(left, err) {
			return
		}
	}
}

// measure learns about how many entries the ranges have that a query might be answered by, where that
// is not known and matters. It returns what that took.
func (s *Source) measure(ctx context.Context, q plan.Query) (took plan.Cost, err error) {
	if !slices.ContainsFunc(s.def.Indexes, func(x schema.Index) bool { return x.Ordered }) {
		return took, nil
	}
	if n := s.snapshot().Records; n > 0 && n <= few {
		return took, nil
	}
	var used usage.Usage
	for _, a := range plan.Ranges(s.def, q, s.snapshot()) {
		if len(a.Lookups)*len(a.Lookups[0].Intervals) > mostMeasured || s.stats.Knows(a.Lookups) {
			continue
		}
		n, err := s.sampled(usage.Measured(ctx, &used), a)
		if err != nil {
			return took, err
		}
		s.stats.SawRange(a.Lookups, n)
	}
	usage.Of(ctx).Add(&used)
	if n := int(used.Requests.Load()); n > 0 {
		took = plan.SamplesCost(int(used.Keys.Load()), n, used.Bytes.Load())
	}
	return took, nil
}

// sampled is about how many entries a range has, by its samples.
func (s *Source) sampled(ctx context.Context, a plan.Access) (int, error) {
	level, worth := 1, keys.SampleRate
	if n := s.snapshot().Records; n == 0 || n > keys.SampleRate*keys.SampleRate*keys.SampleRate {
		level, worth = 2, keys.SampleRate*keys.SampleRate
	}
	w := s.walk(ctx, a, 0, new(moment))
	w.direct = true
	for ; ; level, worth = level-1, worth/keys.SampleRate {
		n, spans := 0, s.spans(a.Lookups)
		if _, err := w.load(level, spans, 0); err != nil {
			return 0, err
		}
		for _, sp := range spans { // from here on it is read span by span, if that was too much
			for p, err := range w.ascend(level, sp) {
				if err != nil {
					return 0, err
				}
				n += len(p.entries)
			}
		}
		if n > 0 || level == 1 {
			return max(1, n) * worth, nil
		}
	}
}
