package exec

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

	// Averages weigh the last observations most: each counts for one of so many.
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
func (k *statistics) snapshot(m *Model) plan.Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	return plan.Stats{Records: k.records, Fresh: time.Since(k.recordsAt) < knownFor && time.Since(k.crowdAt) > knownFor && !m.store.Replicated(), RecordBytes: int(k.bytes), Finds: m.Layout.Finds, EntryKeys: m.Layout.EntryKeys, Matches: func(x schema.Index, vals []value.Value) int {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.notable) > 0 {
			if c, ok := k.notable[keys.Lookup(m.Def.Name, x.Name, vals)]; ok && time.Since(c.at) < knownFor {
				return c.n
			}
		}
		if mean, ok := k.matches[kind(x, len(vals))]; ok {
			return max(1, int(mean+0.5))
		}
		return 0
	}}
}

// sawMatches notes how many entries a lookup has.
func (k *statistics) sawMatches(model string, l plan.Lookup, n int) {
	if l.Index.Unique {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	of := kind(l.Index, len(l.Values))
	old, ok := k.matches[of]
	if !ok {
		old = float64(n)
	}
	if k.matches == nil {
		k.matches = map[string]float64{}
	}
	k.matches[of] = old + (float64(n)-old)/averageOver
	switch key := keys.Lookup(model, l.Index.Name, l.Values); {
	case n >= notable:
		if k.notable == nil || len(k.notable) >= maxNotable {
			k.notable = map[string]count{}
		}
		k.notable[key] = count{n, time.Now()}
	case len(k.notable) > 0:
		delete(k.notable, key)
	}
}

// sawRecords notes how many records there are.
func (k *statistics) sawRecords(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records, k.recordsAt = max(1, n), time.Now()
}

// sawEntries notes the size of records that were read.
func (k *statistics) sawEntries(entries []store.Message) {
	total := 0
	for _, e := range entries {
		total += len(e.Key) + len(e.Value)
	}
	k.sawBytes(total, len(entries))
}

// sawCrowd notes that one request does not read all records.
func (k *statistics) sawCrowd() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.crowdAt = time.Now()
}

// sawBytes notes the size of keys and values of n records.
func (k *statistics) sawBytes(size, n int) {
	if n == 0 {
		return
	}
	const headers = 200 // about
	mean := float64(size)/float64(n) + headers
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bytes == 0 {
		k.bytes = mean
	}
	k.bytes += (mean - k.bytes) * min(1, float64(n)/averageOver)
}

// countRecords sees to it that the number of records is known, about: it asks
// for one shard's when that was not done lately, and for all when they are few.
func (m *Model) countRecords(ctx context.Context) error {
	m.stats.mu.Lock()
	fresh := m.stats.records > 0 && time.Since(m.stats.recordsAt) < knownFor
	m.stats.mu.Unlock()
	if fresh {
		return nil
	}
	const few = 1000                // in a shard: others may have a different number
	shard := min(1, m.Def.Shards-1) // the first one has the ids that are multiples
	n, err := m.store.Size(ctx, keys.InShard(m.Def.Name, shard))
	if err != nil {
		return err
	}
	if n < few && m.Def.Shards > 1 {
		if n, err = m.store.Size(ctx, keys.Records(m.Def.Name)); err != nil {
			return err
		}
	} else {
		n *= m.Def.Shards
	}
	m.stats.sawRecords(n)
	return nil
}

// attribute counts, of entries that several lookups gave, how many each has.
func (m *Model) attribute(lookups []plan.Lookup, entries []store.Message) {
	find := keys.NewMatcher(m.patterns(lookups))
	counts := make([]int, len(lookups))
	for _, e := range entries {
		n := m.Layout.CountPointers(e.Key, e.Value)
		find.Each(e.Key, func(i int) { counts[i] += n })
	}
	for i, l := range lookups {
		m.stats.sawMatches(m.Def.Name, l, counts[i])
	}
}
