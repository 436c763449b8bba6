package access

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

const (
	// A value with at least this many entries is remembered by itself. Every value goes
	// into the average of its index.
	notable = 256

	// maxNotable bounds how many values are remembered by themselves. When there are
	// more, all are forgotten.
	maxNotable = 4096

	// knownFor is how long the number of entries of a value is remembered, and how old the
	// number of records may be where a plan depends on it.
	knownFor = time.Minute

	// In an average, a new observation counts for one part in this many, so that the last
	// ones weigh most.
	averageOver = 32
)

// statistics is what the queries of a model have seen of its records and indexes. Later
// queries are planned with it. When it is wrong, a plan is slow, but its answer is right.
type statistics struct {
	mu        sync.Mutex
	records   int                // how many records there are; 0: not known
	recordsAt time.Time          // when records was seen
	crowdAt   time.Time          // when one request did not answer for all records, with delete markers; see sawCrowd
	bytes     float64            // the average size of a record in bytes, with key and headers; 0: not known
	matches   map[string]float64 // the average number of entries of a value, by the kind of lookup
	notable   map[string]count   // the number of entries of values that have many, by lookup
	ranges    map[string]count   // the number of entries of ranges, by rangeName
}

// count is a number, and when it was seen.
type count struct {
	n  int
	at time.Time
}

// kind names the lookups of one index by one number of columns: they share an average.
func kind(x schema.Index, columns int) string {
	return x.Name + "." + strconv.Itoa(columns)
}

// snapshot returns what is known by now, for the planner.
func (s *Source) snapshot() plan.Stats {
	st := s.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	return plan.Stats{
		Records:     st.records,
		Fresh:       time.Since(st.recordsAt) < knownFor && time.Since(st.crowdAt) > knownFor && !s.store.Traits().Replicable,
		RecordBytes: int(st.bytes),
		Finds:       s.layout.Finds,
		EntryKeys:   s.layout.EntryKeys,
		Matches:     s.matches,
		Within:      s.within,
	}
}

// matches estimates how many records the entries of an index lead to, for these values of
// its first columns; 0 when that is not known.
func (s *Source) matches(x schema.Index, vals []value.Value) int {
	st := s.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.notable) > 0 {
		if c, ok := st.notable[keys.Lookup(s.def.Name, x.Name, vals)]; ok && time.Since(c.at) < knownFor {
			return c.n
		}
	}
	if mean, ok := st.matches[kind(x, len(vals))]; ok {
		return max(1, int(mean+0.5))
	}
	return 0
}

// sawMatches notes to how many records a lookup leads. A unique value is not noted: it
// leads to one.
func (st *statistics) sawMatches(model string, l plan.Lookup, n int) {
	if l.Index.Unique {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	of := kind(l.Index, len(l.Values))
	old, ok := st.matches[of]
	if !ok {
		old = float64(n)
	}
	if st.matches == nil {
		st.matches = map[string]float64{}
	}
	st.matches[of] = old + (float64(n)-old)/averageOver
	switch key := keys.Lookup(model, l.Index.Name, l.Values); {
	case n >= notable:
		if st.notable == nil || len(st.notable) >= maxNotable {
			st.notable = map[string]count{}
		}
		st.notable[key] = count{n, time.Now()}
	case len(st.notable) > 0:
		delete(st.notable, key)
	}
}

// maxRanges bounds the ranges that are remembered. When there are more, all are forgotten.
const maxRanges = 4096

// rangeName names a range.
func rangeName(x schema.Index, vals []value.Value, in []plan.Interval) string {
	var b strings.Builder
	b.WriteString(x.Name)
	for _, v := range vals {
		b.WriteString("." + keys.Value(v))
	}
	for _, i := range in {
		from, until := ends(i)
		b.WriteString(" " + from + " " + until + " " + strconv.FormatBool(i.Null) + strconv.FormatBool(i.NoValues))
	}
	return b.String()
}

// within estimates how many entries a range has; 0 when that is not known.
func (s *Source) within(x schema.Index, vals []value.Value, in []plan.Interval) int {
	st := s.stats
	name := rangeName(x, vals, in)
	st.mu.Lock()
	defer st.mu.Unlock()
	if c, ok := st.ranges[name]; ok && time.Since(c.at) < knownFor {
		return c.n
	}
	if len(vals) == 0 && len(in) == 1 && in[0] == (plan.Interval{Null: true}) {
		return st.records
	}
	return 0
}

// knows reports whether it is known how many entries each of a range's lookups has.
func (s *Source) knows(lookups []plan.Lookup) bool {
	for _, l := range lookups {
		if s.within(l.Index, l.Values, l.Intervals) == 0 {
			return false
		}
	}
	return true
}

// sawRange notes how many entries the lookups of a range have together.
func (st *statistics) sawRange(lookups []plan.Lookup, n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ranges == nil || len(st.ranges) > maxRanges {
		st.ranges = map[string]count{}
	}
	for _, l := range lookups {
		st.ranges[rangeName(l.Index, l.Values, l.Intervals)] = count{max(1, n/len(lookups)), time.Now()}
	}
}

// sawRecords notes how many records there are.
func (st *statistics) sawRecords(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.records, st.recordsAt = max(1, n), time.Now()
}

// sawMessages notes how large records are that were read.
func (st *statistics) sawMessages(records []store.Message) {
	total := 0
	for _, m := range records {
		total += len(m.Key) + len(m.Value)
	}
	st.sawBytes(total, len(records))
}

// sawCrowd notes that one request does not answer for all records of the model, because
// they and their delete markers are too many.
func (st *statistics) sawCrowd() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.crowdAt = time.Now()
}

// sawBytes notes how large n records are that were read; size is the sum of their keys
// and values, in bytes.
func (st *statistics) sawBytes(size, n int) {
	if n == 0 {
		return
	}
	const headers = 200 // bytes, about: what the server sends with each record
	mean := float64(size)/float64(n) + headers
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.bytes == 0 {
		st.bytes = mean
	}
	st.bytes += (mean - st.bytes) * min(1, float64(n)/averageOver)
}

// countRecords makes sure that the number of records is about known. When it was not
// seen within the last minute (knownFor), it counts one shard and multiplies; when that
// shard has few records, it counts all.
func (s *Source) countRecords(ctx context.Context) error {
	s.stats.mu.Lock()
	fresh := s.stats.records > 0 && time.Since(s.stats.recordsAt) < knownFor
	s.stats.mu.Unlock()
	if fresh {
		return nil
	}
	const few = 1000                // records in a shard: below that, shards may differ much
	shard := min(1, s.def.Shards-1) // not shard 0: it has all ids that are multiples of the shard count
	n, err := s.store.Count(ctx, keys.InShard(s.def.Name, shard), store.About)
	if err != nil {
		return err
	}
	if n < few && s.def.Shards > 1 {
		if n, err = s.store.Count(ctx, keys.Records(s.def.Name), store.About); err != nil {
			return err
		}
	} else {
		n *= s.def.Shards
	}
	s.stats.sawRecords(n)
	return nil
}

// attribute notes, for each of several lookups that were made together, to how many
// records its entries lead.
func (s *Source) attribute(lookups []plan.Lookup, entries []store.Message) {
	if slices.ContainsFunc(lookups, func(l plan.Lookup) bool { return len(l.Intervals) > 0 }) {
		return // a range has several patterns
	}
	find := keys.NewMatcher(s.patterns(lookups))
	counts := make([]int, len(lookups))
	for _, e := range entries {
		n := s.layout.CountPointers(e.Key, e.Value)
		find.Each(e.Key, func(i int) { counts[i] += n })
	}
	for i, l := range lookups {
		s.stats.sawMatches(s.def.Name, l, counts[i])
	}
}
