package plan

import (
	"cmp"
	"slices"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// planner finds the cheapest access for one query.
type planner struct {
	def   *schema.Definition
	stats Stats
	needs int // Query.Needs: how many matching records are enough; 0: all are needed

	// share is an upper limit, from the estimates of the indexes, for the part of the
	// model's records that the condition selects: 0.1 is a tenth. It is 0 when no
	// index tells, and used for a scan that may end early.
	share float64
}

// enough is how many of n records a path reads before the first needs matching ones are
// found. About every second record of a path is taken to match the rest of the
// condition.
func (pl *planner) enough(n int) int {
	if pl.needs > 0 {
		return min(n, 2*pl.needs)
	}
	return n
}

// scan is the access that reads every record, or records until enough have matched.
func (pl *planner) scan() Access {
	if pl.small() {
		return Access{Path: Scan, Records: pl.stats.Records}
	}
	records := pl.stats.records()
	if pl.needs > 0 && pl.share > 0 { // a tenth matches, so ten records are read for each that is needed
		return Access{Path: Scan, Records: int(min(float64(records), float64(pl.needs)/pl.share))}
	}
	return Access{Path: Scan, Records: pl.enough(records)}
}

// best is the cheapest access to the records of which b is true: by indexed paths, by
// the union of one part that is an Or, or by a scan.
func (pl *planner) best(b *cond.Bound) Access {
	best := pl.indexed(b)
	if best.Path == Nothing || best.Path == Key && len(best.Keys) == 1 {
		return best
	}
	// Each part must be true, so the records of one part that is an Or include those of b.
	for _, part := range conjuncts(b) {
		if part.Op != cond.Or {
			continue
		}
		if u, found := pl.union(part); found && (best.Path == Scan || u.Path == Nothing || pl.cost(u).Time < pl.cost(best).Time) {
			best = u
		}
	}
	// A scan is worth it when the condition selects much of the model, or when a limit
	// is reached soon.
	if scan := pl.scan(); best.Path != Scan && best.Path != Nothing && pl.cost(scan).Time < pl.cost(best).Time {
		return scan
	}
	return best
}

// indexed is the cheapest access by primary keys, by one index, or by two: a scan when
// the condition allows none of these. It also sets pl.share.
func (pl *planner) indexed(b *cond.Bound) Access {
	singles := pl.singles(b)
	if len(singles) == 0 {
		return pl.scan()
	}
	if pl.stats.Records > 0 {
		for _, a := range singles {
			if share := float64(a.Entries) / float64(pl.stats.Records); a.Path == Index && (pl.share == 0 || share < pl.share) {
				pl.share = min(share, 0.5) // as enough: at most every second record matches
			}
		}
	}
	best := singles[0] // the first of those that cost the same, as singles promises
	for _, a := range singles[1:] {
		if a.Path == Nothing || best.Path != Nothing && pl.cost(a).Time < pl.cost(best).Time {
			best = a
		}
	}
	if best.Path == Nothing || pl.needs > 0 {
		// An intersection must read all entries before the first record, so a limit
		// saves nothing on it.
		return best
	}
	limit := float64(pl.cost(best).Time) * worthwhile
	for i, a := range singles {
		for _, c := range singles[i+1:] {
			if !a.intersects() || !c.intersects() || overlap(a.Lookups[0], c.Lookups[0]) {
				continue // two indexes of one column do not narrow each other, but two elements of a list do
			}
			both := pl.intersect(a, c)
			if t := float64(pl.cost(both).Time); t < limit {
				best, limit = both, t
			}
		}
	}
	return best
}

// intersects reports whether an access can be an input of an intersection.
func (a *Access) intersects() bool { return a.Path == Index || a.Path == Range }

// overlap reports whether two lookups have a column in common.
func overlap(a, b Lookup) bool {
	if a.Index.Elements != "" && b.Index.Elements != "" {
		return false
	}
	return slices.ContainsFunc(a.columns(), func(c string) bool { return slices.Contains(b.columns(), c) })
}

// columns are those of which a lookup says something.
func (l *Lookup) columns() []string {
	n := len(l.Values)
	if len(l.Intervals) > 0 && !slices.Equal(l.Intervals, everything) {
		n++
	}
	return l.Index.Columns[:n]
}

// intersect is the access by the entries of both a and b. The number of records in both
// is a guess: that a record has the value of a is taken to say nothing of whether it
// has the value of b. So of the smaller set, the part that the larger set is of the
// whole model is also in the larger one.
func (pl *planner) intersect(a, b Access) Access {
	smaller, larger := min(a.Entries, b.Entries), max(a.Entries, b.Entries)
	share := 0.5 // the part of the smaller set that is in both, when nothing is known
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

// conjuncts are the parts of b: b is true exactly when all of them are.
func conjuncts(b *cond.Bound) []*cond.Bound {
	if b.Op != cond.And {
		return []*cond.Bound{b}
	}
	return b.Kids // none is an And itself: package cond sees to that
}

// union is the access to the records of every branch of or. ok is false when a branch
// has no path but a scan, or when the branches together take more than maxLookups
// lookups.
func (pl *planner) union(or *cond.Bound) (u Access, ok bool) {
	for _, k := range or.Kids {
		branch, found := pl.branch(k)
		switch {
		case !found:
			return u, false
		case branch.Path == Nothing:
			continue // this branch selects no record
		case branch.Path == Union: // an Or inside the branch: its inputs join these
			u.Inputs = append(u.Inputs, branch.Inputs...)
		default:
			u.Inputs = append(u.Inputs, branch)
		}
	}
	if u, ok = united(u.Inputs); u.Path == Union {
		u.Records = pl.enough(u.Records)
	}
	return u, ok
}

// united is the access to the records that any of several accesses leads to. ok is false when they take more
// than maxLookups lookups.
func united(inputs []Access) (u Access, ok bool) {
	switch len(inputs) {
	case 0:
		return Access{Path: Nothing}, true
	case 1:
		return inputs[0], len(inputs[0].Keys)+len(inputs[0].Lookups) <= maxLookups
	}
	u = Access{Path: Union, Inputs: inputs}
	lookups := 0
	for _, in := range inputs {
		u.Entries += in.Entries
		u.Records += in.Records
		lookups += len(in.Keys) + len(in.Lookups)
	}
	return u, lookups <= maxLookups
}

// branch is the cheapest access to the records of b, one branch of an Or, that can be an
// input of a union: a single path, or a union itself. ok is false when there is none.
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

// singles are the accesses by the primary key and by each single index that b allows.
// When b fixes a column to no value at all, Nothing is the only one.
//
// They are in order of preference, for a caller that has several of the same cost: the
// primary key, then unique indexes, then other indexes; of these, first the one with the
// most columns that b fixes, then the one with the fewest columns that it does not fix.
func (pl *planner) singles(b *cond.Bound) []Access {
	eq := pl.equalities(b)
	var out []Access
	if fixed, ok := eq[pl.def.PrimaryKey()]; ok { // no folded index has it, so its values are exact
		a := Access{Path: Key}
		for _, v := range fixed.values {
			if !v.IsNull() {
				a.Keys = append(a.Keys, v)
			}
		}
		if len(a.Keys) == 0 {
			return []Access{{Path: Nothing}} // no primary key is null
		}
		a.Records = pl.enough(len(a.Keys))
		out = append(out, a)
		if len(a.Keys) == 1 { // nothing is cheaper
			return out
		}
	}
	for _, x := range pl.def.Indexes {
		if x.State != schema.Ready {
			continue // records from before it was declared may have no entry yet
		}
		if x.Ordered {
			a, ok := pl.interval(b, x, eq)
			if ok && a.Path == Nothing {
				return []Access{a}
			}
			if ok {
				out = append(out, a)
			}
			continue
		}
		if x.Elements != "" {
			out = append(out, pl.each(x, b)...)
			continue
		}
		values := pl.combinations(x, eq)
		switch {
		case values == nil: // its first column is not fixed
			continue
		case len(values) == 0: // one of its columns cannot have any value
			return []Access{{Path: Nothing}}
		}
		if !pl.stats.finds(x, values) {
			continue
		}
		a := Access{Path: Index, Index: x}
		if x.Unique {
			// A record with a null in a unique index has no claim. And a claim is found
			// by its whole key only, so all columns must be fixed.
			if hasNull(values) || len(values[0]) < len(x.Columns) {
				continue
			}
			a.Path = Unique
		}
		out = append(out, pl.lookUp(a, values))
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

// lookUp is the access a with a lookup for each of these values.
func (pl *planner) lookUp(a Access, values [][]value.Value) Access {
	for _, v := range values {
		l := Lookup{Index: a.Index, Values: v, Matches: 1, Keys: 1}
		if !a.Index.Unique {
			l.Matches = pl.stats.matches(a.Index, v)
			l.Keys = pl.stats.entryKeys(l.Matches)
		}
		l.Large = l.Keys > store.MaxMatches
		a.Lookups = append(a.Lookups, l)
		a.Entries += l.Matches
	}
	a.Records = pl.enough(a.Entries)
	return a
}

// maxElements is how many of the elements that a list must have are thought about: those that
// the fewest records are expected to have. Each pair of them could be intersected.
const maxElements = 4

// each are the accesses by an index of a list's elements, or of members: of each condition that asks for any
// of several elements, one with a lookup for each; and of each that asks for all of them, one for
// each element. An element that is not of the index's type has no entries, but may be in lists all
// the same, so it is not looked up.
func (pl *planner) each(x schema.Index, b *cond.Bound) (out []Access) {
	_, members := schema.Path(x.Columns[0])
	column := pl.def.Of(x.Columns[0])
	add := func(elements ...value.Value) {
		lookups := make([][]value.Value, len(elements))
		for i, v := range elements {
			v, ok := v.As(x.Elements)
			if !ok {
				return
			}
			lookups[i] = []value.Value{v}
		}
		if pl.stats.finds(x, lookups) {
			out = append(out, pl.lookUp(Access{Path: Index, Index: x}, lookups))
		}
	}
	for _, c := range conjuncts(b) {
		switch {
		case c.Column != column || len(c.Values) == 0 || len(c.Values) > maxLookups || !slices.Equal(c.Members, members):
		case c.Op == cond.ContainsAny, members != nil && (c.Op == cond.Eq || c.Op == cond.In && !c.Null):
			add(c.Values...)
		case c.Op == cond.ContainsAll:
			for _, v := range c.Values {
				add(v)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Access) int { return cmp.Compare(a.Entries, b.Entries) })
	return out[:min(len(out), maxElements)]
}

// fixed are the values that a condition leaves a column: it is true only of records that have one of
// them. Null stands for null and for an absent member.
type fixed struct {
	values []value.Value
	fold   bool // letter case does not matter, and they are folded
}

// in are the values by which an index finds the records. ok is false when it does not: in an index that
// is not folded, the records of one folded value have any number of others.
func (f fixed) in(x schema.Index) (values []value.Value, ok bool) {
	switch {
	case x.Fold && !f.fold:
		for _, v := range f.values {
			values = append(values, value.Fold(v))
		}
		return distinct(values), true
	case f.fold && !x.Fold:
		return f.values, !slices.ContainsFunc(f.values, func(v value.Value) bool { return !v.IsNull() })
	}
	return f.values, true
}

// equalities are the columns that b fixes, by position.
func (pl *planner) equalities(b *cond.Bound) map[int]fixed {
	out := map[int]fixed{}
	for _, c := range conjuncts(b) {
		var vals []value.Value
		if c.Members != nil { // each of several members may have another value: see each
			continue
		}
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
		have, both := out[c.Column]
		if both { // two parts fix the column: what both allow
			in := make(map[value.Value]struct{}, len(have.values))
			for _, v := range have.values {
				in[v] = struct{}{}
			}
			vals = slices.DeleteFunc(vals, func(v value.Value) bool {
				_, ok := in[v]
				return !ok
			})
		}
		out[c.Column] = fixed{vals, have.fold || c.Fold}
	}
	return out
}

// zeroNull adjusts the values of a column that reads null as its type's zero. With the
// zero, the entries of null must be looked up too, because a record without the member
// has those. Null itself is dropped: no record is null in this column.
func zeroNull(col schema.Column, vals []value.Value) []value.Value {
	vals = slices.DeleteFunc(slices.Clone(vals), value.Value.IsNull)
	if contains(vals, value.Zero(col.Type)) {
		vals = append(vals, value.Null)
	}
	return vals
}

// combinations are the values to look up in index x: every combination of the values in
// eq, for as many of the first columns of x as eq fixes. With city in (Oslo, Bergen) and
// age = 30, an index of city and age gives (Oslo, 30) and (Bergen, 30).
//
// The result is nil when the first column is not fixed, or not so that x finds its values, or has more
// than maxLookups values. It is empty, and not nil, when a column is fixed to no value at all.
func (pl *planner) combinations(x schema.Index, eq map[int]fixed) [][]value.Value {
	var out [][]value.Value
	for i, name := range x.Columns {
		fixed, ok := eq[pl.def.Position(name)]
		if !ok {
			break
		}
		vals, ok := fixed.in(x)
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
			break // too many: the columns before it are looked up, and the condition is checked anyway
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

// hasNull reports whether a combination has a null.
func hasNull(combos [][]value.Value) bool {
	return slices.ContainsFunc(combos, func(c []value.Value) bool { return contains(c, value.Null) })
}

func contains(vals []value.Value, v value.Value) bool {
	return slices.ContainsFunc(vals, func(w value.Value) bool { return value.Equal(v, w) })
}

// distinct is vals without repetitions, in the same order.
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
