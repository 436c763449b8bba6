package access

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

const (
	// A value with this many entries is remembered by itself; others go into
	// their index's average.
	notable = 256

	// maxNotable bounds how many values are remembered; with more, all are
	// forgotten.
	maxNotable = 4096

	// knownFor is how long the number of entries of a value is remembered, and
	// how old the number of records may be where a plan depends on it.
	knownFor = time.Minute

	// In an average each new observation counts for one of this many, so that the last
	// ones weigh most.
	averageOver = 32
)

// statistics is what a model's queries have seen of its records and indexes, for
// the plans of later ones. Plans that it misleads are slow, not wrong.
type statistics struct {
	mu        sync.Mutex
	records   int
	recordsAt time.Time
	crowdAt   time.Time          // when there were too many keys for one request, with delete markers
	bytes     float64            // of a record, on average; 0: not known
	matches   map[string]float64 // entries of a value, on average, by the lookup's kind
	notable   map[string]count   // entries of values with many, by lookup
}

type count struct {
	n  int
	at time.Time
}

// kind is what lookups of one index and number of columns have in common.
func kind(x schema.Index, columns int) string {
	return x.Name + "." + strconv.Itoa(columns)
}

// snapshot is what is known, for the planner.
func (s *Source) snapshot() plan.Stats {
	st := s.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	return plan.Stats{
		Records:     st.records,
		Fresh:       time.Since(st.recordsAt) < knownFor && time.Since(st.crowdAt) > knownFor && !s.store.Traits().Replicated,
		RecordBytes: int(st.bytes),
		Finds:       s.layout.Finds,
		EntryKeys:   s.layout.EntryKeys,
		Matches:     s.matches,
	}
}

// matches is about how many entries an index has for these values of its first
// columns; 0 when that is not known.
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

// sawMatches notes how many entries a lookup has.
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

// sawRecords notes how many records there are.
func (st *statistics) sawRecords(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.records, st.recordsAt = max(1, n), time.Now()
}

// sawMessages notes the size of records that were read.
func (st *statistics) sawMessages(records []store.Message) {
	total := 0
	for _, m := range records {
		total += len(m.Key) + len(m.Value)
	}
	st.sawBytes(total, len(records))
}

// sawCrowd notes that one request does not read all records.
func (st *statistics) sawCrowd() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.crowdAt = time.Now()
}

// sawBytes notes the size of keys and values of n records.
func (st *statistics) sawBytes(size, n int) {
	if n == 0 {
		return
	}
	const headers = 200 // about
	mean := float64(size)/float64(n) + headers
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.bytes == 0 {
		st.bytes = mean
	}
	st.bytes += (mean - st.bytes) * min(1, float64(n)/averageOver)
}

// countRecords sees to it that the number of records is known, about: it asks
// for one shard's when that was not done lately, and for all when they are few.
func (s *Source) countRecords(ctx context.Context) error {
	s.stats.mu.Lock()
	fresh := s.stats.records > 0 && time.Since(s.stats.recordsAt) < knownFor
	s.stats.mu.Unlock()
	if fresh {
		return nil
	}
	const few = 1000                // in a shard: others may have a different number
	shard := min(1, s.def.Shards-1) // the first one has the ids that are multiples
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

// attribute counts, of entries that several lookups gave, how many each has.
func (s *Source) attribute(lookups []plan.Lookup, entries []store.Message) {
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
