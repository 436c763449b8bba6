package plan

import (
	"cmp"
	"slices"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// planner finds the cheapest access for one query.
type planner struct {
	def   *schema.Definition
	stats Stats
	needs int // records that are enough; 0 is all

	// share is the part of the model's records that the condition selects at the
	// most, as far as its indexes tell; 0 when they do not.
	share float64
}

// enough is how many of n records are read, when the first ones that pass the
// filter are enough: about half are taken to pass.
func (pl *planner) enough(n int) int {
	if pl.needs > 0 {
		return min(n, 2*pl.needs)
	}
	return n
}

func (pl *planner) scan() Access {
	if pl.small() {
		return Access{Path: Scan, Records: pl.stats.Records}
	}
	records := pl.stats.records()
	if pl.needs > 0 && pl.share > 0 {
		return Access{Path: Scan, Records: int(min(float64(records), float64(pl.needs)/pl.share))}
	}
	return Access{Path: Scan, Records: pl.enough(records)}
}

// best is the cheapest access to the records of which b is true.
func (pl *planner) best(b *cond.Bound) Access {
	best := pl.indexed(b)
	if best.Path == Nothing {
		return best
	}
	for _, part := range conjuncts(b) {
		if part.Op != cond.Or {
			continue
		}
		if u, found := pl.union(part); found && (best.Path == Scan || u.Path == Nothing || pl.cost(u).Time < pl.cost(best).Time) {
			best = u
		}
	}
	if scan := pl.scan(); best.Path != Scan && best.Path != Nothing && pl.cost(scan).Time < pl.cost(best).Time {
		return scan
	}
	return best
}

// indexed is the cheapest access by keys or one or two indexes; a scan when
// there is none.
func (pl *planner) indexed(b *cond.Bound) Access {
	singles := pl.singles(b)
	if len(singles) == 0 {
		return pl.scan()
	}
	if pl.stats.Records > 0 {
		for _, a := range singles {
			if share := float64(a.Entries) / float64(pl.stats.Records); a.Path == Index && (pl.share == 0 || share < pl.share) {
				pl.share = min(share, 0.5)
			}
		}
	}
	best := singles[0]
	for _, a := range singles[1:] {
		if a.Path == Nothing || best.Path != Nothing && pl.cost(a).Time < pl.cost(best).Time {
			best = a
		}
	}
	if best.Path == Nothing || pl.needs > 0 {
		return best
	}
	limit := float64(pl.cost(best).Time) * worthwhile
	for i, a := range singles {
		for _, c := range singles[i+1:] {
			if a.Path != Index || c.Path != Index || overlap(a.Lookups[0], c.Lookups[0]) {
				continue
			}
			both := pl.intersect(a, c)
			if t := float64(pl.cost(both).Time); t < limit {
				best, limit = both, t
			}
		}
	}
	return best
}

// overlap reports whether two lookups ask for the value of one column.
func overlap(a, b Lookup) bool {
	return slices.ContainsFunc(a.Index.Columns[:len(a.Values)], func(c string) bool {
		return slices.Contains(b.Index.Columns[:len(b.Values)], c)
	})
}

// intersect reads the entries of both. That a record has the one value is taken
// to say nothing of the other.
func (pl *planner) intersect(a, b Access) Access {
	smaller, larger := min(a.Entries, b.Entries), max(a.Entries, b.Entries)
	share := 0.5 // of the smaller that is in both, as nothing is known
	if pl.stats.Records > 0 {
		share = min(1, float64(larger)/float64(pl.stats.Records))
	}
	return Access{
		Path:    Intersect,
		Inputs:  []Access{a, b},
		Entries: a.Entries + b.Entries,
		Records: max(1, int(share*float64(smaller))),
	}
}

// conjuncts are the conditions that are all true when b is.
func conjuncts(b *cond.Bound) []*cond.Bound {
	if b.Op != cond.And {
		return []*cond.Bound{b}
	}
	return b.Kids // of which none is an And
}

// union reaches the records of each branch of or; ok is false when one of them
// takes a scan, or all of them too many lookups.
func (pl *planner) union(or *cond.Bound) (u Access, ok bool) {
	for _, k := range or.Kids {
		branch, found := pl.branch(k)
		switch {
		case !found:
			return u, false
		case branch.Path == Nothing:
			continue
		case branch.Path == Union:
			u.Inputs = append(u.Inputs, branch.Inputs...)
		default:
			u.Inputs = append(u.Inputs, branch)
		}
	}
	lookups := 0
	for _, in := range u.Inputs {
		u.Entries += in.Entries
		u.Records += in.Records
		lookups += len(in.Keys) + len(in.Lookups)
	}
	u.Records = pl.enough(u.Records)
	switch {
	case lookups > maxLookups:
		return u, false
	case len(u.Inputs) == 0:
		return Access{Path: Nothing}, true
	case len(u.Inputs) == 1:
		return u.Inputs[0], true
	}
	u.Path = Union
	return u, true
}

// branch is the cheapest access to one branch of an alternative that is no scan
// and no intersection.
func (pl *planner) branch(b *cond.Bound) (best Access, ok bool) {
	for _, a := range pl.singles(b) {
		if !ok || a.Path == Nothing || best.Path != Nothing && pl.cost(a).Time < pl.cost(best).Time {
			best, ok = a, true
		}
	}
	for _, part := range conjuncts(b) {
		if part.Op != cond.Or {
			continue
		}
		if u, found := pl.union(part); found && (!ok || pl.cost(u).Time < pl.cost(best).Time) {
			best, ok = u, true
		}
	}
	return best, ok
}

// singles are the accesses by primary key and by one index that b allows. Of
// several that cost the same the first is to be taken: the primary key, then
// unique indexes, then indexes by how many of their columns have values, then
// those with the fewest other columns.
func (pl *planner) singles(b *cond.Bound) []Access {
	eq := pl.equalities(b)
	var out []Access
	if vals, ok := eq[pl.def.PrimaryKey()]; ok {
		a := Access{Path: Key}
		for _, v := range vals {
			if !v.IsNull() {
				a.Keys = append(a.Keys, v)
			}
		}
		if len(a.Keys) == 0 {
			return []Access{{Path: Nothing}}
		}
		a.Records = pl.enough(len(a.Keys))
		out = append(out, a)
	}
	for _, x := range pl.def.Indexes {
		if x.State != schema.Ready {
			continue
		}
		values := pl.combinations(x, eq)
		switch {
		case values == nil:
			continue
		case len(values) == 0:
			return []Access{{Path: Nothing}}
		}
		if !pl.stats.finds(x, values) {
			continue
		}
		a := Access{Path: Index, Index: x}
		if x.Unique {
			// Null claims nothing, so a claim does not find it; and claims of
			// which some columns are open are not looked for.
			if hasNull(values) || len(values[0]) < len(x.Columns) {
				continue
			}
			a.Path = Unique
		}
		for _, v := range values {
			l := Lookup{Index: x, Values: v, Matches: 1, Keys: 1}
			if !x.Unique {
				l.Matches = pl.stats.matches(x, v)
			}
			if !pl.stats.Lists {
				l.Keys = l.Matches
			}
			l.Large = l.Keys > MaxMatches
			a.Lookups = append(a.Lookups, l)
			a.Entries += l.Matches
		}
		a.Records = pl.enough(a.Entries)
		out = append(out, a)
	}
	slices.SortStableFunc(out, func(a, b Access) int {
		if a.Path != b.Path || a.Path == Key {
			return cmp.Compare(b.Path, a.Path)
		}
		return cmp.Or(
			cmp.Compare(len(b.Lookups[0].Values), len(a.Lookups[0].Values)),
			cmp.Compare(len(a.Index.Columns), len(b.Index.Columns)),
		)
	})
	return out
}

// equalities are the values that the condition requires a column to have one
// of, by column position. Null stands for an absent value.
func (pl *planner) equalities(b *cond.Bound) map[int][]value.Value {
	out := map[int][]value.Value{}
	for _, c := range conjuncts(b) {
		var vals []value.Value
		switch c.Op {
		case cond.Eq:
			vals = c.Values
		case cond.In:
			vals = slices.Clone(c.Values)
			if c.Null {
				vals = append(vals, value.Null)
			}
		case cond.IsNull:
			vals = []value.Value{value.Null}
		default:
			continue
		}
		col := pl.def.Columns[c.Column]
		if col.ZeroNull {
			vals = zeroNull(col, vals)
		}
		vals = distinct(vals)
		if have, ok := out[c.Column]; ok {
			in := make(map[value.Value]struct{}, len(have))
			for _, v := range have {
				in[v] = struct{}{}
			}
			vals = slices.DeleteFunc(vals, func(v value.Value) bool {
				_, ok := in[v]
				return !ok
			})
		}
		out[c.Column] = vals
	}
	return out
}

// zeroNull adds null to values that have the zero for which this process takes
// it, and drops it from those that ask for null itself: nothing is null here.
func zeroNull(col schema.Column, vals []value.Value) []value.Value {
	vals = slices.DeleteFunc(slices.Clone(vals), value.Value.IsNull)
	if contains(vals, value.Zero(col.Type)) {
		vals = append(vals, value.Null)
	}
	return vals
}

// combinations are the lookups in index x that the equalities ask for, of as
// many of its first columns as they leave not open; nil when that is none, and
// empty when one of them can have no value.
func (pl *planner) combinations(x schema.Index, eq map[int][]value.Value) [][]value.Value {
	var out [][]value.Value
	for i, name := range x.Columns {
		vals, ok := eq[pl.def.Position(name)]
		if !ok {
			break
		}
		if i == 0 {
			out = [][]value.Value{nil}
		}
		if len(out)*len(vals) > maxLookups {
			if i == 0 {
				return nil
			}
			break // the columns before it are enough to look up
		}
		next := make([][]value.Value, 0, len(out)*len(vals))
		for _, head := range out {
			for _, v := range vals {
				next = append(next, append(slices.Clip(head), v))
			}
		}
		if out = next; len(out) == 0 {
			return out
		}
	}
	return out
}

func hasNull(combos [][]value.Value) bool {
	return slices.ContainsFunc(combos, func(c []value.Value) bool { return contains(c, value.Null) })
}

func contains(vals []value.Value, v value.Value) bool {
	return slices.ContainsFunc(vals, func(w value.Value) bool { return value.Equal(v, w) })
}

func distinct(vals []value.Value) []value.Value {
	if len(vals) < 2 {
		return vals
	}
	out := make([]value.Value, 0, len(vals))
	seen := make(map[value.Value]struct{}, len(vals))
	for _, v := range vals {
		if _, ok := seen[v]; !ok {
			seen[v] = struct{}{}
			out = append(out, v)
		}
	}
	return out
}
