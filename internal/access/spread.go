package access

import (
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// parts reads spans, which are in ascending order, in the order of the walk. Those that have few entries are
// read together: an order often begins, or ends, with some that have none.
func (w *walk) parts(spans []span) iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		spans := slices.Clone(spans)
		if w.desc {
			slices.Reverse(spans)
		}
		if len(spans) > 1 && !w.direct {
			if _, err := w.load(w.top, spans, 0); err != nil {
				yield(part{}, err)
				return
			}
		}
		limit, most := 0, len(spans) // how many entries, and how many spans, are read together
		if w.needs > 0 {
			limit, most = max(fewEntries, w.needs), fewSpans
		}
		for first := w.needs > 0 && !w.direct; len(spans) > 0; first = false {
			n := w.small(spans[:min(most, len(spans))])
			if first && n > 0 && n < len(spans) {
				switch joined, ok := w.join(spans[:n], spans[n], yield); {
				case !ok:
					return
				case joined:
					spans = spans[n+1:]
					continue
				}
			}
			for n > 0 {
				ok, err := w.load(0, spans[:n], limit)
				if err != nil {
					yield(part{}, err)
					return
				}
				if ok {
					break
				}
				n /= 2
				most = max(1, n)
			}
			if n == 0 {
				for p, err := range w.span(spans[0]) {
					if !yield(p, err) || err != nil {
						return
					}
				}
				spans = spans[1:]
				continue
			}
			if !yield(w.together(spans[:n])) {
				return
			}
			spans = spans[n:]
			if limit > 0 { // the first ones were not enough
				if limit, most = 2*limit, 2*most; limit >= store.MaxMatches {
					limit = 0
				}
			}
		}
	}
}

const (
	// fewEntries and fewSpans are how many entries, and of how many spans, are read together at first where a
	// few records may be enough.
	fewEntries = keys.SampleRate
	fewSpans   = 8
)

// small is how many of the first spans are expected to have so few entries that they are read
// together.
func (w *walk) small(spans []span) (n int) {
	if w.direct {
		if len(spans) == 1 { // it is read with one request in any case
			return 0
		}
		return len(spans)
	}
	for n < len(spans) && spans[n].loaded[w.top] != nil && len(spans[n].loaded[w.top].entries) == 0 {
		n++
	}
	return n
}

// span reads one span in the order of the walk.
func (w *walk) span(sp span) iter.Seq2[part, error] {
	switch {
	case sp.group != "":
		return w.grouped(sp)
	case w.desc:
		return w.descend(sp)
	}
	return w.ascend(0, sp)
}

// together is what was loaded of several spans.
func (w *walk) together(spans []span) (all part, err error) {
	for _, sp := range spans {
		for p, err := range w.span(sp) {
			if err != nil {
				return part{}, err
			}
			all = part{entries: append(all.entries, p.entries...), group: p.group, id: p.id}
		}
	}
	return all, nil
}

// join reads spans that are expected to have few entries with one request, together with the beginning
// of the next one, and then the rest of that. So a walk that needs no more than the beginning has read
// its entries at one moment, and nothing of it is looked up again. joined is false, and nothing was
// delivered, when that is more than one request gives; ok is false when the walk ends.
func (w *walk) join(few []span, next span, yield func(part, error) bool) (joined, ok bool) {
	begin, rest, err := w.front(next)
	if err == nil {
		few = append(slices.Clip(few), begin...)
		joined, err = w.load(0, few, 0)
	}
	switch {
	case err != nil:
		yield(part{}, err)
		return false, false
	case !joined:
		return false, true
	case !yield(w.together(few)):
		return true, false
	}
	for _, sp := range rest {
		for p, err := range w.span(sp) {
			if !yield(p, err) || err != nil {
				return true, false
			}
		}
	}
	return true, true
}

// front divides a span into its beginning, as far as a walk of it reads first, and the rest.
func (w *walk) front(sp span) (begin, rest []span, err error) {
	if sp.group == "" && w.desc {
		return w.frontOfGroups(sp)
	}
	n := 0
	for sample, err := range samples(w.ascend(1, sp)) {
		if err != nil {
			return nil, nil, err
		}
		if n++; n >= w.first(0) {
			if at := keys.Past(sample.place, sample.next); at > sp.from {
				return []span{sp.cut(sp.from, at)}, []span{sp.cut(at, sp.until)}, nil
			}
		}
	}
	return []span{sp}, nil, nil
}

// frontOfGroups is front in descending order of groups.
func (w *walk) frontOfGroups(sp span) (begin, rest []span, err error) {
	n, last, same := 0, "", 0
	for sample, err := range samples(w.fall(1, sp)) {
		if err != nil {
			return nil, nil, err
		}
		of, _ := keys.SplitPlace(sample.place)
		if of != last {
			if n >= w.first(0) {
				at := keys.Between(of, last)
				return []span{sp.cut(at, sp.until)}, []span{sp.cut(sp.from, at)}, nil
			}
			last, same = of, 0
		}
		if n, same = n+1, same+1; same == crowded {
			begin, rest, err = w.front(sp.in(of))
			return append([]span{sp.cut(keys.After(of), sp.until)}, begin...), append(rest, sp.cut(sp.from, of)), err
		}
	}
	return []span{sp}, nil, nil
}
