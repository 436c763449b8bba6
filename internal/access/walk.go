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
	var patterns []string
	for _, p := range sp.prefixes {
		patterns = keys.Cover(patterns, p[level], from, until)
	}
	take := func(m store.Message) {
		for _, p := range sp.prefixes {
			if strings.HasPrefix(m.Key, p[level]) {
				if place := keys.PlaceOf(m.Key, p[level]); from <= place && place < until {
					out = append(out, entry{place, m.Key})
				}
				return
			}
		}
	}
	for len(patterns) > 0 {
		n := 0
		for size := 0; n < len(patterns) && n < store.MaxMatches; n++ {
			if size += len(patterns[n]); n > 0 && size > store.MaxPatternBytes {
				break
			}
		}
		answer, err := w.ask(patterns[:n])
		if errors.Is(err, store.ErrTooMany) && keys.Middle(from, until, sp.group != "") == "" {
			answer, err = w.scan(patterns[:n])
		}
		if err != nil {
			return nil, err
		}
		if level == 0 {
			w.saw.patterns = append(w.saw.patterns, patterns[:n]...)
			w.reads++
			w.when.alone(w.reads == 1 && !answer.Torn)
		}
		for _, m := range answer.Messages {
			take(m)
		}
		patterns = patterns[n:]
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.place, b.place) })
	return out, nil
}

// ask reads what is under patterns, with one request, and notes at which moment the walk began.
func (w *walk) ask(patterns []string) (store.Answer, error) {
	answer, err := w.source.store.Read(w.ctx, store.Lookup{Patterns: patterns})
	if err != nil || w.when.asOf.Load() > 0 || w.asked {
		return answer, err
	}
	w.asked = true
	at := answer.Revision
	if at == 0 { // nothing was found; what is read later must not be later than what is known
		if at, err = w.source.store.Revision(w.ctx, store.Acknowledged); err != nil {
			return answer, err
		}
		if answer, err = w.source.store.Read(w.ctx, store.Lookup{Patterns: patterns}); err != nil {
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
		if level == keys.Samples || w.direct {
			give(sp.until)
			return
		}
		step, n := w.first(level), 0
		for cut, err := range w.cuts(w.ascend(level+1, sp)) {
			if err != nil {
				yield(part{}, err)
				return
			}
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

// cuts are the places of the entries in parts, one after the other.
func (w *walk) cuts(parts iter.Seq2[part, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for p, err := range parts {
			if err != nil {
				yield("", err)
				return
			}
			for _, e := range p.entries {
				if !yield(e.place, nil) {
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
			return yield(part{entries: found}, err) && err == nil
		}
		if level == keys.Samples || w.direct {
			give(sp.from)
			return
		}
		step, n := w.first(level), 0
		for cut, err := range w.cuts(w.fall(level+1, sp)) {
			if err != nil {
				yield(part{}, err)
				return
			}
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
			in := span{prefixes: under(sp.prefixes, of), from: keys.FirstPlace, until: keys.EndPlace, group: of}
			for p, err := range w.grouped(in) {
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
		if w.direct {
			give(sp.from)
			return
		}
		step, n := w.first(0), 0
		last, same := "", 0 // the group of the last sample, and how many it has had
		for cut, err := range w.cuts(w.fall(1, sp)) {
			if err != nil {
				yield(part{}, err)
				return
			}
			of, _ := keys.SplitPlace(cut)
			if of >= until {
				continue // that group was read
			}
			if of != last {
				if n >= step {
					if !give(last) {
						return
					}
					step, n = min(2*step, mostSteps), 0
				}
				last, same = of, 0
			}
			n, same = n+1, same+1
			if same == crowded {
				if !give(keys.After(of)) || !group(of) {
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

// parts reads spans, which are in ascending order, in the order of the walk.
func (w *walk) parts(spans []span) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		for i := range spans {
			sp := spans[i]
			if w.desc {
				sp = spans[len(spans)-1-i]
			}
			in := w.ascend(0, sp)
			switch {
			case sp.group != "":
				in = w.grouped(sp)
			case w.desc:
				in = w.descend(sp)
			}
			for p, err := range in {
				if !yield(p, err) || err != nil {
					return
				}
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
