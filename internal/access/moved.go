package access

import (
	"context"
	"errors"
	"slices"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// lookups are the lookups of one query, which found its candidates; see query.Lookups.
type lookups struct {
	source *Source
	when   *moment

	// Where one request has found all candidates: what it asked for, and their keys.
	patterns []string
	found    []string

	walk *walked // for a walk, instead of these
}

// walked is what a walk has asked for, and the keys of the records that it led to.
type walked struct{ patterns, found []string }

// AsOf is a revision that the bucket had when the lookups were made, or before; 0 while
// nothing was looked up.
func (l lookups) AsOf() uint64 { return l.when.asOf.Load() }

// Several reports whether they were made at several moments.
func (l lookups) Several() bool { return l.when.several.Load() }

// Written returns records as they are at one moment: those to which the lookups lead then,
// or all that were written after AsOf and are there.
//
// The first is a few requests, however many writers there are, if they are few enough for
// one. The second is what was written, which a cluster never shows as of one moment while
// writers go on.
func (l lookups) Written(ctx context.Context) ([]store.Message, error) {
	// A walk has read more entries than it has led to records, so it is not made again where
	// what was written is known with one request.
	if l.walk != nil && l.source.store.Traits().Replicable {
		l.patterns, l.found = l.walk.patterns, l.walk.found
	}
	if l.AsOf() > 0 && len(l.patterns) > 0 { // inside a transaction all reads agree
		records, ok, err := l.again(ctx)
		if ok || err != nil {
			return records, err
		}
	}
	return store.Since(ctx, l.source.store, keys.Records(l.source.def.Name), l.AsOf())
}

// mostAgain is how often the lookups are made again. Each time but the first is because they
// lead to a record that they did not lead to a moment before, or because of a write between
// two parts of an answer.
const mostAgain = 8

// again makes the lookups once more, in one request with the records to which they lead: an
// answer of one moment, if it has all of these records. A record that fulfils the lookups
// at that moment has its entries then, because they are written before it and removed after
// it. ok is false when it is too much for one request, or none of them is such an answer.
func (l lookups) again(ctx context.Context) (records []store.Message, ok bool, err error) {
	known := make(map[string]bool, len(l.found))
	ask := slices.Clone(l.patterns)
	add := func(record string) {
		if !known[record] {
			known[record] = true
			ask = append(ask, record)
		}
	}
	for _, record := range l.found {
		add(record)
	}
	for range mostAgain {
		if len(ask) > store.MaxMatches || patternBytes(ask) > store.MaxPatternBytes {
			return nil, false, nil
		}
		answer, err := l.source.store.Read(ctx, store.Lookup{Patterns: ask, Exact: true})
		if errors.Is(err, store.ErrTooMany) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		records = records[:0]
		before, torn := len(ask), false
		for _, m := range answer.Messages {
			torn = torn || m.Revision > answer.Revision // it is of several moments
			switch {
			case !m.Live():
			case known[m.Key]:
				records = append(records, m)
			default:
				to, err := l.source.pointers(nil, m)
				if err != nil {
					continue // the query has said so, or will the next time
				}
				for _, record := range to {
					add(record)
				}
			}
		}
		if len(ask) == before && !torn {
			return records, true, nil
		}
	}
	return nil, false, nil
}
