package access

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// A walk reads the entries of an ordered index in their order, without knowing where they are. The
// server does not answer a request for more than 1024 keys, and before it says so it looks at all that
// match: so a request for "all that is smaller" costs as much as there is. Therefore each level
// of an index has samples of it, one in 64. A walk of a level reads from one sample to the
// next one; to find these it walks the level of samples in the same way. The highest level has so
// few entries that they can be asked for at once.
type walk struct {
	ctx    context.Context
	source *Source
	desc   bool
	needs  int  // how many entries are enough; 0: all
	direct bool // there are so few entries that no samples are needed
	top    int  // the highest level that is read
	when   *moment
	asked  bool // the moment is noted
	saw    walked
	reads  int // how many requests for entries there were, in the index itself
}

// part is what one request has read of a walk.
type part struct {
	entries []entry // in the order of the walk

	// What has not been read comes after all entries that are before this place. In descending
	// order groups are in descending order, and entries of a group in ascending order.
	group, id string
}

// entry is an entry of an ordered index.
type entry struct {
	place string
	key   string
}

// read reads the entries of a level of a span between two places, in ascending order.
// ErrTooMany when they are more than one request gives, and the range can be divided.
func (w *walk) read(level int, sp span, from, until string) (out []entry, err error) {
	if loaded := sp.loaded[level]; loaded != nil {
		for _, e := range loaded.entries {
			if from <= e.place && e.place < until {
				out = append(out, e)
			}
		}
		return out, nil
	}
	patterns := sp.patterns(nil, level, from, until)
	for len(patterns) > 0 {
		n := 0
		for size := 0; n < len(patterns) && n < store.MaxMatches; n++ {
			if size += len(patterns[n]); n > 0 && size > store.MaxPatternBytes {
				break
			}
		}
		answer, err := w.ask(patterns[:n], 0)
		if errors.Is(err, store.ErrTooMany) && keys.Middle(from, until, sp.group != "") == "" {
			answer, err = w.scan(patterns[:n])
		}
		if err != nil {
			return nil, err
		}
		w.note(level, patterns[:n], answer)
		for _, m := range answer.Messages {
			if place, ok := sp.place(m.Key, level, from, until); ok {
				out = append(out, entry{place, m.Key})
			}
		}
		patterns = patterns[n:]
	}
	sortEntries(out)
	return out, nil
}

func sortEntries(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.place, b.place) })
}

// note notes a request for entries of a level, and its answer.
func (w *walk) note(level int, patterns []string, answer store.Answer) {
	if level == 0 {
		w.saw.patterns = append(w.saw.patterns, patterns...)
		w.reads++
		w.when.alone(w.reads == 1 && !answer.Torn)
	}
}

// load reads a level of several spans with one request, and keeps with each span what it has there. ok is
// false when that is more than a request asks for, or gives, or more than limit entries; 0 is no limit.
func (w *walk) load(level int, spans []span, limit int) (ok bool, err error) {
	var patterns []string
	var of []int // the span of each pattern
	for i, sp := range spans {
		patterns = sp.patterns(patterns, level, sp.from, sp.until)
		for len(of) < len(patterns) {
			of = append(of, i)
		}
	}
	switch {
	case len(patterns) == 0: // ranges with nothing in them
		for i := range spans {
			spans[i].loaded[level] = &part{}
		}
		return true, nil
	case len(patterns) > store.MaxMatches || patternBytes(patterns) > store.MaxPatternBytes:
		return false, nil
	}
	answer, err := w.ask(patterns, limit)
	if errors.Is(err, store.ErrTooMany) || err == nil && answer.Left > 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w.note(level, patterns, answer)
	for i := range spans {
		spans[i].loaded[level] = &part{}
	}
	find := keys.NewMatcher(patterns)
	for _, m := range answer.Messages {
		find.Each(m.Key, func(n int) {
			sp := &spans[of[n]]
			if place, ok := sp.place(m.Key, level, sp.from, sp.until); ok {
				sp.loaded[level].entries = append(sp.loaded[level].entries, entry{place, m.Key})
			}
		})
	}
	for _, sp := range spans {
		sortEntries(sp.loaded[level].entries)
	}
	return true, nil
}

// ask reads what is under patterns, or about limit of it, with one request, and notes at which moment the walk began.
func (w *walk) ask(patterns []string, limit int) (store.Answer, error) {
	l := store.Lookup{Patterns: patterns, Limit: limit}
	answer, err := w.source.store.Read(w.ctx, l)
	if err != nil || w.when.asOf.Load() > 0 || w.asked {
		return answer, err
	}
	w.asked = true
	at := answer.Revision
	if at == 0 { // nothing was found; what is read later must not be later than what is known
		if at, err = w.source.store.Revision(w.ctx, store.Acknowledged); err != nil {
			return answer, err
		}
		if answer, err = w.source.store.Read(w.ctx, l); err != nil {
			return answer, err
		}
	}
	w.when.begin(at)
	return answer, nil
}

// scan reads what is under patterns, however much it is: entries with one place, whose values or primary
// keys are longer than places are.
func (w *walk) scan(patterns []string) (answer store.Answer, err error) {
	answer.Torn = true
	for _, pattern := range patterns {
		for m, err := range w.source.store.Scan(w.ctx, pattern, store.ScanOptions{Keys: true}) {
			if err != nil {
				return answer, err
			}
			answer.Messages = append(answer.Messages, m)
		}
	}
	return answer, nil
}

// ascend reads a level of a span from its beginning to its end.
func (w *walk) ascend(level int, sp span) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		from := sp.from
		// give reads up to a place, in as many parts as it takes.
		var give func(until string) bool
		give = func(until string) bool {
			found, err := w.read(level, sp, from, until)
			if errors.Is(err, store.ErrTooMany) {
				return give(keys.Middle(from, until, sp.group != "")) && give(until)
			}
			from = until
			return yield(part{entries: found, group: until}, err) && err == nil
		}
		if level == w.top || w.direct || sp.loaded[level] != nil {
			give(sp.until)
			return
		}
		step, n := w.first(level), 0
		for sample, err := range samples(w.ascend(level+1, sp)) {
			if err != nil {
				yield(part{}, err)
				return
			}
			cut := keys.Past(sample.place, sample.next)
			if n++; n < step || cut <= from {
				continue
			}
			if !give(cut) {
				return
			}
			step, n = min(2*step, mostSteps), 0
		}
		give(sp.until)
	}
}

// first is from how many samples to the next one the first request of a level reads.
func (w *walk) first(level int) int {
	switch {
	case level > 0:
		return 1
	case w.needs == 0:
		return mostSteps
	}
	return min(2+w.needs/keys.SampleRate, mostSteps) // between two there are often few
}

// mostSteps is from how many samples to the next one a request reads at the most: that is about half of what
// one request gives.
const mostSteps = 8

// sample is one of a level's samples.
type sample struct {
	place string
	next  string // the place up to which, in the order of the walk, no other sample is
}

// samples are the entries in parts, one after the other.
func samples(parts iter.Seq2[part, error]) iter.Seq2[sample, error] {
	return func(yield func(sample, error) bool) {
		for p, err := range parts {
			if err != nil {
				yield(sample{}, err)
				return
			}
			for i, e := range p.entries {
				next := p.group
				if i+1 < len(p.entries) {
					next = p.entries[i+1].place
				}
				if !yield(sample{e.place, next}, nil) {
					return
				}
			}
		}
	}
}

// fall reads a level of a span from its end to its beginning, in descending order of places.
func (w *walk) fall(level int, sp span) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		until := sp.until
		var give func(from string) bool
		give = func(from string) bool {
			found, err := w.read(level, sp, from, until)
			if errors.Is(err, store.ErrTooMany) {
				return give(keys.Middle(from, until, sp.group != "")) && give(from)
			}
			until = from
			slices.Reverse(found)
			return yield(part{entries: found, group: from}, err) && err == nil
		}
		if level == w.top || w.direct || sp.loaded[level] != nil {
			give(sp.from)
			return
		}
		step, n := w.first(level), 0
		for sample, err := range samples(w.fall(level+1, sp)) {
			if err != nil {
				yield(part{}, err)
				return
			}
			cut := keys.Between(sample.next, sample.place)
			if n++; n < step || cut >= until {
				continue
			}
			if !give(cut) {
				return
			}
			step, n = min(2*step, mostSteps), 0
		}
		give(sp.from)
	}
}

// crowded is how many samples in one group make a walk read the group by itself, in the order of its primary
// keys, and not together with the groups around it.
const crowded = 4

// descend reads a span in descending order of its groups, and each group in ascending order of
// primary keys.
func (w *walk) descend(sp span) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		until := sp.until // what is before it has not been read
		// group reads one group by itself.
		group := func(of string) bool {
			for p, err := range w.grouped(sp.in(of)) {
				if !yield(p, err) || err != nil {
					return false
				}
			}
			until = of
			return true
		}
		// give reads what is left from a place on, at which a group begins.
		var give func(from string) bool
		give = func(from string) bool {
			found, err := w.read(0, sp, from, until)
			if errors.Is(err, store.ErrTooMany) {
				middle, _ := keys.SplitPlace(keys.Middle(from, until, false))
				if middle <= from { // all of it, or nearly, is in the group at its beginning
					return (keys.After(from) >= until || give(keys.After(from))) && group(from)
				}
				return give(middle) && give(from)
			}
			until = from
			slices.SortStableFunc(found, func(a, b entry) int {
				ga, _ := keys.SplitPlace(a.place)
				gb, _ := keys.SplitPlace(b.place)
				return strings.Compare(gb, ga) // within a group they are sorted
			})
			return yield(part{entries: found, group: from, id: keys.EndPlace}, err) && err == nil
		}
		if w.direct || sp.loaded[0] != nil {
			give(sp.from)
			return
		}
		step, n := w.first(0), 0
		last, same := "", 0 // the group of the last sample, and how many it has had
		for sample, err := range samples(w.fall(1, sp)) {
			if err != nil {
				yield(part{}, err)
				return
			}
			of, _ := keys.SplitPlace(sample.place)
			if of >= until {
				continue // that group was read
			}
			if of != last {
				if n >= step {
					if !give(keys.Between(of, last)) { // no group is on both sides of it
						return
					}
					step, n = min(2*step, mostSteps), 0
				}
				last, same = of, 0
			}
			n, same = n+1, same+1
			if same == crowded {
				joined, ok := false, true
				if n == same && w.needs > 0 { // few entries are behind the group
					joined, ok = w.join([]span{sp.cut(keys.After(of), until)}, sp.in(of), yield)
				}
				switch {
				case !ok:
					return
				case joined:
					until = of
				case !give(keys.After(of)) || !group(of):
					return
				}
				step, n = min(2*step, mostSteps), 0
			}
		}
		give(sp.from)
	}
}

// grouped reads a span that is one group.
func (w *walk) grouped(sp span) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		for p, err := range w.ascend(0, sp) {
			for i, e := range p.entries {
				p.entries[i].place = sp.group + "." + e.place
			}
			if p.id = p.group; w.desc {
				p.group = sp.group
			} else {
				p.group, p.id = sp.group+"."+p.id, ""
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// settled reports whether a record with these values has its place before all that was not read when the
// walk had come to a group and a primary key.
func (w *walk) settled(group, id string, v, primary value.Value) bool {
	place := keys.Place(v, primary)
	of, in := keys.SplitPlace(place)
	switch {
	case !w.desc && keys.Exact(v):
		return place < group
	case !w.desc:
		return keys.After(of) <= group
	}
	return of > group || of == group && in < id && keys.Exact(v)
}
