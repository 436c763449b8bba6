package plan

import (
	"math"
	"slices"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Memory is a model whose records are in memory, and how its queries are planned. There every index is in the
// order of its values, entries are those of the records, and counting them costs next to nothing. So
// there is nothing to estimate but how many records pass a condition that no index says.
type Memory struct {
	// Def is the model, with the indexes that are in memory, one of the primary key among them.
	Def     *schema.Definition
	Records int // how many records there are

	// Count is how many records a lookup leads to, and Nulls reports whether a column is null or absent in
	// any record.
	Count func(Lookup) int
	Nulls func(column int) bool
}

// What a record costs, when to check a condition on one in a scan costs 1. Measured with 100,000 records of eight
// columns on 2 cores of an AMD EPYC, Go 1.26: 48 ns a record in a scan, on both cores; 95 to 115 ns for one that
// an index leads to, which is somewhere in memory; to sort takes 320 ns more for each record where the first 20 are
// kept, and 1,300 ns where all are.
const (
	lookUpCost  = 2
	sortingCost = 10
)

// Plan is how a query is answered. The Records of its access are how many are looked at.
func (m *Memory) Plan(q Query) Plan {
	p := Plan{Query: q}
	switch {
	case q.Limit == 0 || q.Filter != nil && q.Filter.None():
		p.Path = Nothing
		return p
	case q.Filter == nil || q.Filter.All():
		p.Access = m.scan()
	default:
		p.Access = m.best(q.Filter)
	}
	if in, cost, ok := m.sorted(q, p.Access); ok && cost < m.cost(p.Access)+p.Access.Records*sortingCost {
		p.Access = in
	}
	return p
}

// Covers reports whether the access of a plan leads to the records that its condition is true of, and to no
// others.
func (m *Memory) Covers(p Plan) bool {
	return p.Filter == nil || p.Filter.All() || p.Path == Nothing || m.covers(p.Access, p.Filter)
}

func (m *Memory) planner() *planner {
	return &planner{def: m.Def, stats: Stats{Records: m.Records}}
}

func (m *Memory) scan() Access { return Access{Path: Scan, Records: m.Records} }

func (m *Memory) cost(a Access) int {
	if a.Path == Scan {
		return a.Records
	}
	return a.Records * lookUpCost
}

// best is the access that leads to the fewest records.
func (m *Memory) best(b *cond.Bound) Access {
	best := m.scan()
	take := func(a Access) {
		if a.Path == Nothing || best.Path != Nothing && m.cost(a) < m.cost(best) {
			best = a
		}
	}
	for _, a := range m.singles(b) {
		take(a)
	}
	for _, part := range conjuncts(b) {
		if part.Op == cond.Or && best.Path != Nothing && best.Path != Key {
			if u, ok := m.union(part); ok {
				take(u)
			}
		}
	}
	return best
}

// union is the access to the records of every branch of or. ok is false when a branch takes a scan.
func (m *Memory) union(or *cond.Bound) (u Access, ok bool) {
	for _, k := range or.Kids {
		switch branch := m.best(k); branch.Path {
		case Nothing:
			continue
		case Scan:
			return u, false
		case Union:
			u.Inputs = append(u.Inputs, branch.Inputs...)
		default:
			u.Inputs = append(u.Inputs, branch)
		}
	}
	return united(u.Inputs)
}

// singles are the accesses by the primary key and by each index that b allows. When b fixes a column to no
// value at all, Nothing is the only one.
func (m *Memory) singles(b *cond.Bound) (out []Access) {
	pl := m.planner()
	eq := pl.equalities(b)
	if fixed, ok := eq[m.Def.PrimaryKey()]; ok {
		a := Access{Path: Key, Keys: slices.DeleteFunc(slices.Clone(fixed.values), value.Value.IsNull)}
		if a.Records = len(a.Keys); a.Records == 0 {
			return []Access{{Path: Nothing}}
		}
		if out = append(out, a); a.Records == 1 {
			return out
		}
	}
	for _, x := range m.Def.Indexes {
		if x.Elements != "" {
			for _, a := range pl.each(x, b) {
				out = append(out, m.counted(a))
			}
			continue
		}
		a, ok := m.prefixed(pl, b, x, eq)
		switch {
		case ok && a.Path == Nothing:
			return []Access{a}
		case ok:
			out = append(out, m.counted(a))
		}
	}
	return out
}

// prefixed is the access by an index whose first columns are fixed by eq; and the next one, if there is
// one, has values in intervals. ok is false when b says nothing of the first column.
func (m *Memory) prefixed(pl *planner, b *cond.Bound, x schema.Index, eq map[int]fixed) (a Access, ok bool) {
	combos := pl.combinations(x, eq)
	if combos != nil && len(combos) == 0 {
		return Access{Path: Nothing}, true
	}
	a = Access{Path: Index, Index: x}
	n := 0
	if combos != nil {
		n = len(combos[0])
	} else {
		combos = [][]value.Value{nil}
	}
	var in []Interval
	if n < len(x.Columns) && !x.Fold {
		found, narrowed := pl.intervals(b, m.Def.Position(x.Columns[n]), eq)
		if narrowed && len(found) == 0 {
			return Access{Path: Nothing}, true
		}
		if narrowed && len(found)*len(combos) <= maxLookups {
			a.Path, a.Index.Columns, in = Range, x.Columns[:n+1], found
		}
	}
	if n == 0 && in == nil {
		return a, false
	}
	for _, v := range combos {
		a.Lookups = append(a.Lookups, Lookup{Index: x, Values: v, Intervals: in})
	}
	return a, true
}

// counted is an access with the numbers of its records.
func (m *Memory) counted(a Access) Access {
	a.Entries = 0
	for i := range a.Lookups {
		l := &a.Lookups[i]
		l.Matches = m.Count(*l)
		l.Keys, l.Large = l.Matches, false
		a.Entries += l.Matches
	}
	a.Records = a.Entries
	return a
}

// sorted is the access that leads to the records in the order of the query, and what it costs. ok is false
// when no index has that order. other is the best one in any order.
func (m *Memory) sorted(q Query, other Access) (best Access, cost int, ok bool) {
	if len(q.Order) == 0 || other.Path == Nothing || other.Path == Key {
		return best, 0, false
	}
	b := q.Filter
	if b == nil {
		b = &cond.Bound{Op: cond.And}
	}
	pl := m.planner()
	eq := pl.equalities(b)
	isFixed := func(column int) bool {
		f, fixed := eq[column]
		return fixed && f.one()
	}
	order := slices.DeleteFunc(slices.Clone(q.Order), func(s Sort) bool { return isFixed(s.Column) })
	for _, x := range m.Def.Indexes {
		if x.Fold || x.Elements != "" {
			continue
		}
		n := 0 // columns that b fixes
		var values []value.Value
		for n < len(x.Columns) && isFixed(m.Def.Position(x.Columns[n])) {
			values = append(values, eq[m.Def.Position(x.Columns[n])].values[0])
			n++
		}
		desc, fits := m.inOrder(x.Columns[n:], order)
		if !fits {
			continue
		}
		a := Access{Path: Range, Index: x, Sorted: true, Desc: desc}
		l := Lookup{Index: x, Values: values}
		if n < len(x.Columns) {
			in, narrowed := pl.intervals(b, m.Def.Position(x.Columns[n]), eq)
			switch {
			case !narrowed:
				in = everything
			case len(in) != 1:
				continue
			}
			l.Intervals = in
			a.Index.Columns = x.Columns[:n+1]
		} else {
			a.Path = Index
		}
		a.Lookups = []Lookup{l}
		a = m.counted(a)
		looked := a.Entries
		if keep := q.Keeps(); keep >= 0 {
			share := 1.0 // the part of the entries that pass
			if !m.covers(a, b) && a.Entries > 0 {
				share = min(0.5, float64(other.Records)/float64(a.Entries))
			}
			looked = int(min(float64(looked), math.Ceil(float64(keep)/max(share, 1e-9))))
		}
		a.Records = looked
		if c := looked * lookUpCost; !ok || c < cost {
			best, cost, ok = a, c, true
		}
	}
	return best, cost, ok
}

// inOrder reports whether records with one value in the columns of an index before these ones are in an
// order: by the columns in one direction, and then by their primary keys.
func (m *Memory) inOrder(columns []string, order []Sort) (desc, ok bool) {
	primary := m.Def.PrimaryKey()
	for i, name := range columns {
		at := m.Def.Position(name)
		if i >= len(order) || at != order[i].Column || order[i].Desc != order[0].Desc {
			return false, false
		}
		if m.Def.Columns[at].ZeroNull && m.Nulls(at) {
			return false, false // they come with the zeros
		}
	}
	rest := order[len(columns):]
	if len(columns) == 1 && m.Def.Position(columns[0]) == primary {
		return order[0].Desc, true // nothing after it counts
	}
	if len(rest) > 0 && rest[0].Column != primary || len(rest) > 0 && rest[0].Desc && len(columns) > 0 {
		return false, false
	}
	if len(columns) == 0 {
		return len(rest) > 0 && rest[0].Desc, true
	}
	return order[0].Desc, len(rest) > 0
}

// covers reports whether the lookups of an access say all that b says.
func (m *Memory) covers(a Access, b *cond.Bound) bool {
	if a.Path == Key {
		return (b.Op == cond.Eq || b.Op == cond.In) && b.Members == nil && b.Column == m.Def.PrimaryKey()
	}
	if a.Path != Index && a.Path != Range || a.Index.Elements != "" {
		return false
	}
	fixed, ranged := len(a.Lookups[0].Values), -1
	if len(a.Lookups[0].Intervals) > 0 {
		ranged = m.Def.Position(a.Index.Columns[fixed])
	}
	columns := a.Index.Columns[:fixed]
	for _, c := range conjuncts(b) {
		of := c
		if c.Op == cond.Not {
			of = c.Kids[0]
		}
		if of.Members != nil || of.Null && of.Op != cond.In {
			return false
		}
		switch {
		case c.Op == cond.And && len(c.Kids) == 0:
			continue
		case c.Op == cond.Not && of.Op == cond.IsNull && of.Column == ranged:
			continue
		case c.Op == cond.Eq || c.Op == cond.In || c.Op == cond.IsNull:
		case slices.Contains([]cond.Op{cond.Gt, cond.Gte, cond.Lt, cond.Lte, cond.StartsWith}, c.Op) && c.Column == ranged:
			continue
		default:
			return false
		}
		col := m.Def.Columns[c.Column]
		if !slices.Contains(columns, col.Name) || col.Type == value.String && c.Op != cond.IsNull && c.Fold != a.Index.Fold {
			return false
		}
	}
	return true
}
