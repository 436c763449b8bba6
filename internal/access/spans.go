package access

import (
	"strings"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// span is a part of an ordered index: the entries that begin with one of the prefixes, and have
// a place between from and until. With several prefixes they are merged by their places.
type span struct {
	prefixes    []prefix
	from, until string
	group       string // the prefixes have this group's place in them, or another one that counts as it; "" when not

	loaded [keys.Samples + 1]*part // what was read of its levels together with other spans; nil: nothing was
}

// patterns appends those of a level's entries between two places.
func (sp *span) patterns(to []string, level int, from, until string) []string {
	for _, p := range sp.prefixes {
		to = keys.Cover(to, p[level], from, until)
	}
	return to
}

// place is that of an entry of a level. ok is false when the entry is not in the span, or not between two places.
func (sp *span) place(key string, level int, from, until string) (place string, ok bool) {
	for _, p := range sp.prefixes {
		if strings.HasPrefix(key, p[level]) {
			place = keys.PlaceOf(key, p[level])
			return place, from <= place && place < until
		}
	}
	return "", false
}

// cut is the part of a span between two of its places.
func (sp span) cut(from, until string) span {
	sp.from, sp.until = from, until
	return sp
}

// in is the part of a span that is one group.
func (sp span) in(group string) span {
	out := span{prefixes: under(sp.prefixes, group), from: keys.FirstPlace, until: keys.EndPlace, group: group}
	for level, loaded := range sp.loaded {
		if loaded == nil {
			continue
		}
		out.loaded[level] = &part{}
		for _, e := range loaded.entries {
			if place, ok := strings.CutPrefix(e.place, group+"."); ok {
				out.loaded[level].entries = append(out.loaded[level].entries, entry{place, e.key})
			}
		}
	}
	return out
}

// prefix is what entries begin with, in the index itself and in its levels of samples.
type prefix [keys.Samples + 1]string

// under returns prefixes with a group's place behind each.
func under(prefixes []prefix, groups ...string) []prefix {
	var out []prefix
	for _, group := range groups {
		for _, p := range prefixes {
			for level := range p {
				p[level] += group + "."
			}
			out = append(out, p)
		}
	}
	return out
}

// prefixes are those of the lookups of a range, which differ in the values of all columns but the last.
func (s *Source) prefixes(lookups []plan.Lookup) []prefix {
	out := make([]prefix, len(lookups))
	for i, l := range lookups {
		for level := range out[i] {
			out[i][level] = keys.OrderedPrefix(s.def.Name, l.Index.Name, level, l.Values)
		}
	}
	return out
}

// spans are the parts of an ordered index in which a range is, in ascending order. Where null
// stands for the zero of its type in this program, its entries are with those of zero.
func (s *Source) spans(lookups []plan.Lookup) (out []span) {
	prefixes := s.prefixes(lookups)
	x := lookups[0].Index
	col := s.def.Columns[s.def.Position(x.Columns[len(x.Columns)-1])]
	add := func(sp span) {
		if sp.from < sp.until {
			out = append(out, sp)
		}
	}
	for _, in := range lookups[0].Intervals {
		from, until := in.Ends()
		switch null := keys.GroupPlace(value.Null); {
		case in.NoValues:
			if !col.ZeroNull { // otherwise they are with zero, which is another interval
				add(span{prefixes: under(prefixes, null), from: keys.FirstPlace, until: keys.EndPlace, group: null})
			}
		case col.ZeroNull:
			zero := keys.GroupPlace(value.Zero(col.Type))
			if from <= zero && zero < until {
				add(span{prefixes: prefixes, from: from, until: zero})
				add(span{prefixes: under(prefixes, null, zero), from: keys.FirstPlace, until: keys.EndPlace, group: zero})
				from = keys.After(zero)
			}
			add(span{prefixes: prefixes, from: from, until: until})
		case in.Null:
			add(span{prefixes: under(prefixes, null), from: keys.FirstPlace, until: keys.EndPlace, group: null})
			fallthrough
		default:
			add(span{prefixes: prefixes, from: from, until: until})
		}
	}
	return out
}

// cover appends patterns for all entries of a range. They may match some others.
func (s *Source) cover(out []string, lookups []plan.Lookup) []string {
	for _, sp := range s.spans(lookups) {
		for _, p := range sp.prefixes {
			out = keys.Cover(out, p[0], sp.from, sp.until)
		}
	}
	return out
}

// begin returns the spans without what comes before a place in the order of the query, v and id.
// What is before it in its group may stay where the group's values have no order of their own.
func begin(spans []span, desc bool, v, id value.Value) (out []span) {
	group := keys.GroupPlace(v)
	at := keys.FirstPlace
	if keys.Exact(v) {
		_, at = keys.SplitPlace(keys.Place(v, id))
	}
	for _, sp := range spans {
		if sp.group != "" {
			switch {
			case sp.group == group:
				sp.from = max(sp.from, at)
				out = append(out, sp)
			case (sp.group > group) != desc:
				out = append(out, sp)
			}
			continue
		}
		inside := sp.from <= group && group < sp.until
		switch {
		case !inside:
			if (sp.from > group) != desc {
				out = append(out, sp)
			}
		case !desc:
			out = append(out, span{prefixes: sp.prefixes, from: group + "." + at, until: sp.until})
		default:
			if sp.from < group {
				out = append(out, span{prefixes: sp.prefixes, from: sp.from, until: group})
			}
			out = append(out, span{prefixes: under(sp.prefixes, group), from: at, until: keys.EndPlace, group: group})
		}
	}
	return out
}

// ordersBy is where the columns of a query's order are that its places are made of: the last one of an
// ordered index, and the primary key.
func ordersBy(def *schema.Definition, x schema.Index, order []plan.Sort) (last, id int) {
	last, id = -1, -1
	for i, o := range order {
		if o.Column == def.Position(x.Columns[len(x.Columns)-1]) {
			last = i
		}
		if o.Column == def.PrimaryKey() {
			id = i
		}
	}
	return last, id
}
