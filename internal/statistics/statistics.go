// Package statistics remembers what the queries of a model have seen of its records and indexes, by which
// later ones are planned: how many records there are, how large they are, and how many entries a
// value or a range has. When it is wrong, a plan is slow, but its answer is right.
package statistics

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
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

// Statistics is what is known of one version of a model. It is safe for concurrent use.
type Statistics struct {
	layout layout.Layout
	model  string

	mu        sync.Mutex
	records   int                // how many records there are; 0: not known
	recordsAt time.Time          // when records was seen
	crowdAt   time.Time          // when one request did not answer for all records, with delete markers; see SawCrowd
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

// New knows nothing yet of a model with this layout.
func New(l layout.Layout) *Statistics { return &Statistics{layout: l, model: l.Model().Name} }

// kind names the lookups of one index by one number of columns: they share an average.
func kind(x schema.Index, columns int) string {
	return x.Name + "." + strconv.Itoa(columns)
}

// Snapshot is what is known by now, for the planner. replicable is that of the bucket (store.Traits).
func (st *Statistics) Snapshot(replicable bool) plan.Stats {
	st.mu.Lock()
	defer st.mu.Unlock()
	return plan.Stats{
		Records:     st.records,
		Fresh:       time.Since(st.recordsAt) < knownFor && time.Since(st.crowdAt) > knownFor && !replicable,
		RecordBytes: int(st.bytes),
		Finds:       st.layout.Finds,
		EntryKeys:   st.layout.EntryKeys,
		Matches:     st.matchesOf,
		Within:      st.Within,
	}
}

// matchesOf estimates how many records the entries of an index lead to, for these values of
// its first columns; 0 when that is not known.
func (st *Statistics) matchesOf(x schema.Index, vals []value.Value) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.notable) > 0 {
		if c, ok := st.notable[keys.Lookup(st.model, x.Name, vals)]; ok && time.Since(c.at) < knownFor {
			return c.n
		}
	}
	if mean, ok := st.matches[kind(x, len(vals))]; ok {
		return max(1, int(mean+0.5))
	}
	return 0
}

// SawMatches notes to how many records a lookup leads. A unique value is not noted: it
// leads to one.
func (st *Statistics) SawMatches(l plan.Lookup, n int) {
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
	switch key := keys.Lookup(st.model, l.Index.Name, l.Values); {
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
		from, until := i.Ends()
		b.WriteString(" " + from + " " + until + " " + strconv.FormatBool(i.Null) + strconv.FormatBool(i.NoValues))
	}
	return b.String()
}

// Within estimates how many entries a range has; 0 when that is not known.
func (st *Statistics) Within(x schema.Index, vals []value.Value, in []plan.Interval) int {
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

// Knows reports whether it is known how many entries each of a range's lookups has.
func (st *Statistics) Knows(lookups []plan.Lookup) bool {
	for _, l := range lookups {
		if st.Within(l.Index, l.Values, l.Intervals) == 0 {
			return false
		}
	}
	return true
}

// SawRange notes how many entries the lookups of a range have together.
func (st *Statistics) SawRange(lookups []plan.Lookup, n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ranges == nil || len(st.ranges) > maxRanges {
		st.ranges = map[string]count{}
	}
	for _, l := range lookups {
		st.ranges[rangeName(l.Index, l.Values, l.Intervals)] = count{max(1, n/len(lookups)), time.Now()}
	}
}

// SawRecords notes how many records there are.
func (st *Statistics) SawRecords(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.records, st.recordsAt = max(1, n), time.Now()
}

// SawMessages notes how large records are that were read.
func (st *Statistics) SawMessages(records []store.Message) {
	total := 0
	for _, m := range records {
		total += len(m.Key) + len(m.Value)
	}
	st.SawBytes(total, len(records))
}

// SawCrowd notes that one request does not answer for all records of the model, because
// they and their delete markers are too many.
func (st *Statistics) SawCrowd() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.crowdAt = time.Now()
}

// SawBytes notes how large n records are that were read; size is the sum of their keys
// and values, in bytes.
func (st *Statistics) SawBytes(size, n int) {
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

// CountRecords makes sure that the number of records is about known. When it was not
// seen within the last minute (knownFor), it counts one shard and multiplies; when that
// shard has few records, it counts all.
func (st *Statistics) CountRecords(ctx context.Context, s store.Store) error {
	def := st.layout.Model()
	st.mu.Lock()
	fresh := st.records > 0 && time.Since(st.recordsAt) < knownFor
	st.mu.Unlock()
	if fresh {
		return nil
	}
	const few = 1000              // records in a shard: below that, shards may differ much
	shard := min(1, def.Shards-1) // not shard 0: it has all ids that are multiples of the shard count
	n, err := s.Count(ctx, keys.InShard(def.Name, shard), store.About)
	if err != nil {
		return err
	}
	if n < few && def.Shards > 1 {
		if n, err = s.Count(ctx, keys.Records(def.Name), store.About); err != nil {
			return err
		}
	} else {
		n *= def.Shards
	}
	st.SawRecords(n)
	return nil
}

// Attribute notes, for each of several lookups that were made together, to how many records its entries
// lead. patterns are those of the lookups.
func (st *Statistics) Attribute(lookups []plan.Lookup, patterns []string, entries []store.Message) {
	find := keys.NewMatcher(patterns)
	counts := make([]int, len(lookups))
	for _, e := range entries {
		n := st.layout.CountPointers(e.Key, e.Value)
		find.Each(e.Key, func(i int) { counts[i] += n })
	}
	for i, l := range lookups {
		st.SawMatches(l, counts[i])
	}
}
