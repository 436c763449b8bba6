package exec

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
)

const (
	// replans bounds how often a query is planned again because of what its
	// lookups found.
	replans = 3

	// A lookup that finds so many entries, and so many times more than was
	// expected, makes the planner think again.
	surprising     = 256
	surprisingRate = 4
)

// reach is where a plan's lookups lead: the keys of records, each once. Those
// that need a consumer, or that a limit may leave unread, come later.
type reach struct {
	keys   []string
	later  iter.Seq2[string, error] // nil when these are all
	faults []error                  // claims that can not be read
	read   int                      // entries that were read, so far
	led    int                      // and how many records they lead to, each as often as they do

	// asOf is a revision that the keys are as of, or of before they were looked up; 0
	// when that is not known, or not yet because nothing was asked.
	asOf *atomic.Uint64
}

// resolve plans a query and does the lookups that its plan begins with. When
// they find much more than the planner took for granted, it plans again with
// what is then known; nothing has been delivered yet.
func (m *Model) resolve(ctx context.Context, q plan.Query) (plan.Plan, reach, error) {
	for try := 0; ; try++ {
		p := plan.Make(m.Def, q, m.stats.snapshot(m))
		r, surprise, err := m.begin(ctx, p, try < replans)
		if !surprise || err != nil {
			return p, r, err
		}
		if err := m.countRecords(ctx); err != nil {
			return p, r, err
		}
		// What was read already is paid for; if the plan stands, it goes on.
		again := plan.Make(m.Def, q, m.stats.snapshot(m))
		left := p
		left.Entries, left.Lookups, left.Inputs = 0, nil, nil
		left.Records = len(r.keys)
		if len(r.keys) > 0 && again.Cost.Time >= plan.Estimate(m.Def, left, m.stats.snapshot(m)).Time {
			return p, r, nil
		}
	}
}

// begin does a plan's first lookups. surprise is true when they found so much
// that another plan may be better.
func (m *Model) begin(ctx context.Context, p plan.Plan, careful bool) (r reach, surprise bool, err error) {
	switch p.Path {
	case plan.Scan, plan.Nothing:
		return r, false, nil
	case plan.Key:
		for _, id := range p.Keys {
			r.keys = append(r.keys, m.Layout.RecordKey(id))
		}
		return r, false, nil
	case plan.Intersect:
		return m.intersect(ctx, p, careful)
	}
	lookups := p.AllLookups()
	groups := plan.Groups(lookups)
	needs := p.Needs()
	for _, in := range p.Inputs {
		for _, id := range in.Keys {
			r.keys = append(r.keys, m.Layout.RecordKey(id))
		}
	}
	if len(groups) == 0 { // a union of primary keys
		return r.distinct(), false, nil
	}
	r.asOf = new(atomic.Uint64)
	patterns := m.patterns(lookups)
	if len(groups) != 1 || lookups[0].Large || patternBytes(patterns) > store.MaxPatternBytes {
		r.later = m.follow(ctx, groups, needs, r.asOf)
		return r.distinct(), false, nil
	}
	entries, rest, asOf, err := m.store.Lookup(ctx, patterns, most(needs))
	if errors.Is(err, store.ErrTooMany) {
		half := len(lookups) / 2
		if careful && half == 0 {
			return reach{}, true, m.size(ctx, lookups[0])
		}
		groups = [][]plan.Lookup{lookups[:half], lookups[half:]}
		if half == 0 {
			large := lookups[0]
			large.Matches, large.Large = store.MaxMatches+1, true
			groups = [][]plan.Lookup{{large}}
		}
		r.later = m.follow(ctx, groups, needs, r.asOf)
		return r.distinct(), false, nil
	}
	if err != nil {
		return r, false, err
	}
	r.read = len(entries)
	r.asOf.Store(asOf)
	r.keys = slices.Grow(r.keys, len(entries))
	for _, e := range entries {
		before := len(r.keys)
		if r.keys, err = m.pointers(r.keys, e); err != nil {
			r.faults = append(r.faults, err)
		}
		r.led += len(r.keys) - before
	}
	if len(lookups) == 1 {
		m.stats.sawMatches(m.Def.Name, lookups[0], r.led+rest)
	} else if rest == 0 {
		m.attribute(lookups, entries)
	}
	if rest > 0 { // there is a limit; if these are not enough, all are looked up
		r.later = m.follow(ctx, groups, 0, new(atomic.Uint64))
		return r.distinct(), false, nil
	}
	surprise = careful && p.Path == plan.Index && needs == 0 && r.led >= surprising && r.led > surprisingRate*p.Entries
	if len(lookups) > 1 || p.Path == plan.Union { // a record may be reached twice
		r = r.distinct()
	}
	return r, surprise, nil
}

// size notes how many entries a lookup has that has too many for one request.
func (m *Model) size(ctx context.Context, l plan.Lookup) error {
	n, err := m.store.Size(ctx, m.patterns([]plan.Lookup{l})[0])
	if err == nil {
		m.stats.sawMatches(m.Def.Name, l, max(n, store.MaxMatches+1)) // it may be fewer by now
	}
	return err
}

// most is how many entries a lookup asks for, of which so many records are
// needed: some may not fulfil the rest of the condition.
func most(needs int) int {
	if needs == 0 {
		return 0
	}
	return max(firstChunk, 2*needs)
}

// distinct is r with each key once, those that come later too.
func (r reach) distinct() reach {
	seen := make(map[string]bool, len(r.keys))
	unique := make([]string, 0, len(r.keys))
	for _, key := range r.keys {
		if !seen[key] {
			seen[key] = true
			unique = append(unique, key)
		}
	}
	r.keys = unique
	if later := r.later; later != nil {
		r.later = func(yield func(string, error) bool) {
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
	return r
}

// patterns are the keys and patterns that lookups ask for.
func (m *Model) patterns(lookups []plan.Lookup) []string {
	out := make([]string, len(lookups))
	for i, l := range lookups {
		out[i] = m.Layout.Lookup(l.Index, l.Values)
	}
	return out
}

// pointers appends the keys of the records that an index entry or a claim leads to.
func (m *Model) pointers(to []string, e store.Message) ([]string, error) {
	to, err := m.Layout.Pointers(to, e.Key, e.Value)
	return to, m.corrupt(e, err)
}

// follow streams the record keys that groups of lookups lead to.
//
// Several lookups may take several requests, and a record may move meanwhile
// from one that is still to be read to one that has been. So in the end what was
// written since the beginning is looked at, as of one instant: a record that
// fulfils one of the lookups then has an entry that was there all the while, and
// has been read, or one that was written since.
//
// asOf is set to the revision of the beginning, before the first key is delivered.
func (m *Model) follow(ctx context.Context, groups [][]plan.Lookup, needs int, asOf *atomic.Uint64) iter.Seq2[string, error] {
	several := len(groups) > 1 || len(groups[0]) > 1
	return func(yield func(string, error) bool) {
		start, err := m.store.Revision(ctx)
		if err != nil {
			yield("", err)
			return
		}
		asOf.Store(start)
		var buf []string
		deliver := func(e store.Message, err error) bool {
			var to []string
			if err == nil {
				buf, err = m.pointers(buf[:0], e)
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
			for e, err := range m.entries(ctx, group, needs) {
				if !deliver(e, err) {
					return
				}
			}
		}
		if !several {
			return
		}
		written, err := m.store.Since(ctx, keys.All(m.Def.Name), start)
		if err != nil {
			yield("", err)
			return
		}
		belongs := m.belongs(slices.Concat(groups...))
		for _, e := range written {
			if belongs(e.Key) && !deliver(e, nil) {
				return
			}
		}
	}
}

// moved is the keys of the records that a plan's lookups lead to since a revision,
// and a revision that they are as of.
func (m *Model) moved(ctx context.Context, p plan.Plan, since uint64) (to []string, asOf uint64, err error) {
	if asOf, err = m.store.Revision(ctx); err != nil {
		return nil, 0, err
	}
	written, err := m.store.Since(ctx, keys.All(m.Def.Name), since)
	if err != nil {
		return nil, 0, err
	}
	belongs := m.belongs(p.AllLookups())
	seen := map[string]bool{}
	for _, e := range written {
		if !belongs(e.Key) {
			continue
		}
		keys, err := m.pointers(nil, e)
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
func (m *Model) belongs(lookups []plan.Lookup) func(key string) bool {
	return keys.NewMatcher(m.patterns(lookups)).Has
}

// entries streams the entries and claims of lookups, however many they are.
func (m *Model) entries(ctx context.Context, lookups []plan.Lookup, needs int) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		half := len(lookups) / 2
		if half > 0 && patternBytes(m.patterns(lookups)) <= store.MaxPatternBytes || half == 0 && !lookups[0].Large {
			found, _, _, err := m.store.Lookup(ctx, m.patterns(lookups), 0)
			if err == nil {
				m.attribute(lookups, found)
				for _, e := range found {
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
				for e, err := range m.entries(ctx, part, needs) {
					if !yield(e, err) || err != nil {
						return
					}
				}
			}
			return
		}
		n := 0
		for e, err := range m.store.Scan(ctx, m.patterns(lookups)[0], store.ScanOptions{Want: most(needs)}) {
			if !yield(e, err) || err != nil {
				return
			}
			n++ // lists are not read so: each is one key
		}
		m.stats.sawMatches(m.Def.Name, lookups[0], n)
	}
}

// intersect looks up both inputs at the same time.
func (m *Model) intersect(ctx context.Context, p plan.Plan, careful bool) (r reach, surprise bool, err error) {
	r.asOf = new(atomic.Uint64)
	start, err := m.store.Revision(ctx)
	if err != nil {
		return r, false, err
	}
	r.asOf.Store(start)
	var sides [2]map[string]bool
	var faults [2]error
	var wg sync.WaitGroup
	for i, in := range p.Inputs {
		wg.Go(func() {
			sides[i], faults[i] = m.collect(ctx, in, careful)
		})
	}
	wg.Wait()
	for _, err := range faults {
		if errors.Is(err, store.ErrTooMany) {
			return r, true, nil
		}
		if err != nil {
			return r, false, err
		}
	}
	r.read = len(sides[0]) + len(sides[1])
	r.led = r.read
	small, large := sides[0], sides[1]
	if len(small) > len(large) {
		small, large = large, small
	}
	for key := range small {
		if large[key] {
			r.keys = append(r.keys, key)
		}
	}
	return r, false, nil
}

// collect is the record keys that one input of an intersection leads to;
// ErrTooMany when they are many more than was expected, and careful.
func (m *Model) collect(ctx context.Context, in plan.Access, careful bool) (map[string]bool, error) {
	out := make(map[string]bool, in.Entries)
	groups := plan.Groups(in.Lookups)
	if only := in.Lookups[0]; careful && len(in.Lookups) == 1 && !only.Large {
		found, _, _, err := m.store.Lookup(ctx, m.patterns(in.Lookups), 0)
		if errors.Is(err, store.ErrTooMany) {
			if e := m.size(ctx, only); e != nil {
				err = e
			}
		}
		if err != nil {
			return nil, err
		}
		return out, m.lead(in.Lookups, found, out)
	}
	if len(groups) == 1 && !in.Lookups[0].Large { // one request, if it is enough
		found, _, _, err := m.store.Lookup(ctx, m.patterns(in.Lookups), 0)
		if err == nil {
			return out, m.lead(in.Lookups, found, out)
		}
		if !errors.Is(err, store.ErrTooMany) {
			return nil, err
		}
	}
	for key, err := range m.follow(ctx, groups, 0, new(atomic.Uint64)) {
		if err != nil {
			return nil, err
		}
		out[key] = true
	}
	return out, nil
}

// lead adds the keys of the records that entries of lookups lead to.
func (m *Model) lead(lookups []plan.Lookup, entries []store.Message, to map[string]bool) error {
	m.attribute(lookups, entries)
	for _, e := range entries {
		keys, err := m.pointers(nil, e)
		if err != nil {
			return err
		}
		for _, key := range keys {
			to[key] = true
		}
	}
	return nil
}

func patternBytes(patterns []string) (n int) {
	for _, p := range patterns {
		n += len(p)
	}
	return n
}
