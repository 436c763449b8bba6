package access

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/exact"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

const (
	// worthCounting is how many records a count has to be expected to read, so that it asks the
	// entries instead: those few requests take as long as a request for so many records.
	worthCounting = 256

	// A proof is tried when counts have read one record for each provenBy records of the model
	// since the last try. The first one reads all keys of the records and of the index, to know
	// their delete markers, which takes about as long as to read half of the records; so what it
	// costs in vain is never more than what reading has cost before it.
	provenBy = 2

	// mostGroups is how many values an index may have that groups are counted by. Each is a few
	// requests.
	mostGroups = 64
)

// trust is what is known of the indexes of one version of a model.
type trust struct {
	mu      sync.Mutex
	indexes map[string]*trusted
}

// trusted is an index whose entries may be exact.
type trusted struct {
	*exact.Index
	mu     sync.Mutex
	read   int             // how many records were read since the last try at a proof
	groups [][]value.Value // the values that its columns had when groups were made of the records
}

func (t *trust) of(s *Source, x schema.Index) *trusted {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.indexes[x.Name]
	if known == nil {
		if t.indexes == nil {
			t.indexes = map[string]*trusted{}
		}
		known = &trusted{Index: exact.New(s.layout, x)}
		t.indexes[x.Name] = known
	}
	return known
}

// Trusting is the Source that takes the entries of indexes for their records where it can prove
// that they are. still reports whether the version of the model is the one in force, as was known
// within the last second: what a purge removes leaves no trace, and the catalogue says so a second
// and a half before.
func (s *Source) Trusting(still func(ctx context.Context) bool) *Source {
	out := *s
	out.still = still
	return &out
}

// fits reports whether the entries of an index may be exact.
func (s *Source) fits(x schema.Index) bool { return exact.Applies(s.layout, x) }

// trusts reports whether entries are taken for records at all.
func (s *Source) trusts() bool { return s.still != nil && !s.store.Traits().Replicable }

// ready reports whether the entries of an index are proven. Otherwise records will be read, about so
// many; when as many were that a proof is worth it, it is tried now.
func (s *Source) ready(ctx context.Context, t *trusted, reads int) (bool, error) {
	known := func() (proven, try bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.Proven() {
			return true, false
		}
		t.read += reads
		if try = t.read >= max(worthCounting, s.snapshot().Records/provenBy); try {
			t.read = 0
		}
		return false, try
	}
	proven, try := known()
	if proven || !try {
		return proven, nil
	}
	if err := s.stats.CountRecords(ctx, s.store); err != nil {
		return false, ctx.Err()
	}
	if proven, err := t.Prove(ctx, s.store); !proven || err != nil {
		return false, ctx.Err() // otherwise the records are read
	}
	if !s.still(ctx) {
		t.Forget()
	}
	return t.Proven(), nil
}

// ask asks an index that is proven. read is how long it takes to read the records. Beside writers
// the server may have to look at all keys to find what was written. Where that takes longer, they
// are read.
func (s *Source) ask(ctx context.Context, t *trusted, ask exact.Ask, read time.Duration) (exact.Answer, bool, error) {
	ask.Quiet = plan.ListTime(s.snapshot().Records) > read
	a, ok, err := t.Count(ctx, s.store, ask)
	return a, ok && err == nil && s.still(ctx), ctx.Err() // after another error the records are read
}

// covering is the access whose entries are those of the records that a query counts, if they may be
// trusted and there are enough of them.
func (s *Source) covering(q plan.Query) (a plan.Access, read time.Duration, ok bool) {
	if !s.trusts() || q.After != nil {
		return a, 0, false
	}
	a, read, ok = plan.Covering(s.def, q.Filter, s.snapshot(), s.fits)
	few := a.Entries < worthCounting || q.Keeps() >= 0 && q.Keeps() < a.Entries
	return a, read, ok && !few
}

// CountsEntries reports whether Counted would count the records that a query selects now.
func (s *Source) CountsEntries(q plan.Query) bool {
	a, _, ok := s.covering(q)
	if !ok {
		return false
	}
	return s.trust.of(s, a.Index).Proven()
}

// Counted counts the records that a query selects by their entries; see query.Source.
func (s *Source) Counted(ctx context.Context, q plan.Query) (n int, ok bool, err error) {
	a, read, ok := s.covering(q)
	if !ok {
		return 0, false, nil
	}
	t := s.trust.of(s, a.Index)
	if ok, err := s.ready(ctx, t, a.Entries); !ok || err != nil {
		return 0, false, err
	}
	ask := exact.Ask{}
	if a.Path == plan.Range {
		ask.List = func(ctx context.Context) (entries []string, err error) {
			for p, err := range s.walk(ctx, a, 0, new(moment)).parts(s.spans(a.Lookups)) {
				if err != nil {
					return nil, err
				}
				for _, e := range p.entries {
					entries = append(entries, e.key)
				}
			}
			return entries, nil
		}
	} else {
		ask.Patterns = s.patterns(a.Lookups)
		if len(a.Lookups[0].Values) == len(a.Index.Columns) {
			ask.Entry = s.entryUnder(ask.Patterns)
		}
	}
	answer, ok, err := s.ask(ctx, t, ask, read)
	if !ok || err != nil {
		return 0, false, err
	}
	for _, found := range answer.Exact {
		n += found
	}
	match := query.Matcher(s.def, q.Filter)
	for _, m := range answer.Suspects {
		if m, err = s.View(ctx, m); err != nil {
			return 0, false, err
		}
		is, err := match(m)
		if err != nil {
			return 0, false, err
		}
		if is {
			n++
		}
	}
	if a.Path == plan.Range {
		s.stats.SawRange(a.Lookups, n)
	} else {
		for i, l := range a.Lookups {
			s.stats.SawMatches(l, answer.Exact[i])
		}
	}
	return query.Counts(q, n), true, nil
}

// entryUnder is the key of a record's entry under a pattern that leaves only the record open.
func (s *Source) entryUnder(patterns []string) func(i int, record string) string {
	return func(i int, record string) string {
		return patterns[i][:strings.LastIndexByte(patterns[i], '.')+1] + keys.RecordID(record)
	}
}

// byColumns is the index whose entries tell all values of these columns; ok is false when there is
// none that may be exact. places are the positions of the index's columns among them.
func (s *Source) byColumns(columns []int) (x schema.Index, places []int, ok bool) {
	for _, x := range s.def.Indexes {
		if len(x.Columns) != len(columns) || x.Ordered || x.Fold || !s.fits(x) {
			continue
		}
		places = places[:0]
		for _, name := range x.Columns {
			if at := slices.Index(columns, s.def.Position(name)); at >= 0 && !slices.Contains(places, at) {
				places = append(places, at)
			}
		}
		if len(places) == len(columns) {
			return x, places, true
		}
	}
	return x, nil, false
}

// Grouped counts the records of each group by their entries; see query.Source.
func (s *Source) Grouped(ctx context.Context, columns []int) (groups []query.Tally, others []store.Message, ok bool, err error) {
	x, places, ok := s.byColumns(columns)
	if !ok || !s.trusts() {
		return nil, nil, false, nil
	}
	t := s.trust.of(s, x)
	t.mu.Lock()
	values := t.groups
	t.mu.Unlock()
	stats := s.snapshot()
	if len(values) == 0 || stats.Records < worthCounting {
		return nil, nil, false, nil
	}
	if ok, err := s.ready(ctx, t, stats.Records); !ok || err != nil {
		return nil, nil, false, err
	}
	ask := exact.Ask{All: true}
	var of []int // the group of each pattern
	for i, vals := range values {
		ordered := make([]value.Value, len(places))
		for j, at := range places {
			ordered[j] = vals[at]
		}
		groups = append(groups, query.Tally{By: vals})
		for _, combo := range plan.Combinations(s.def, x, ordered) {
			ask.Patterns, of = append(ask.Patterns, s.layout.Lookup(x, combo)), append(of, i)
		}
	}
	if len(ask.Patterns) > 2*mostGroups { // zeros of several columns have many
		return nil, nil, false, nil
	}
	ask.Entry = s.entryUnder(ask.Patterns)
	answer, ok, err := s.ask(ctx, t, ask, plan.ScanTime(s.def, stats))
	if !ok || err != nil {
		return nil, nil, false, err
	}
	for i, n := range answer.Exact {
		groups[of[i]].Records += n
	}
	return groups, answer.Suspects, true, nil
}

// SawGroups notes which values the records have in these columns; see query.Source.
func (s *Source) SawGroups(columns []int, values [][]value.Value) {
	x, _, ok := s.byColumns(columns)
	if !ok || !s.trusts() {
		return
	}
	if len(values) > mostGroups {
		values = nil
	}
	t := s.trust.of(s, x)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.groups = values
}
