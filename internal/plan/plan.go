// Package plan decides how a query is answered: which keys to read, and what
// is still to be checked on the records they lead to. It is pure; package exec
// does the reading.
//
// The rules, best first. What a path costs grows with the number of records it
// reads, and the one with the fewest is taken:
//
//  1. the primary key, equal or in a list: those records, one round trip
//  2. a unique index, every column equal or in a list: at most a record for
//     each combination of values, two round trips
//  3. an index whose first columns, at least one, are equal or in a list; of
//     several, the one of which most columns are, then the one with the fewest
//     other columns, then the fewest combinations, then the one declared
//     first: the records that have the values, two round trips
//  4. an alternative (Or) each branch of which has one of these paths, or can
//     not be true: the union of the branches' records, after one another
//  5. a scan of every record of the model
//
// Index entries may point at records that no longer hold the value, so every
// path keeps the whole condition as its filter.
package plan

import (
	"slices"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Path is how records are reached.
type Path int

const (
	Scan    Path = iota // read every record
	Index               // read index entries, then their records
	Unique              // read claims, then their owners
	Key                 // read records by primary key
	Union               // what the branches reach
	Nothing             // the condition can not be true
)

// maxCombinations bounds the lookups that lists of values multiply to; beyond
// it a scan reads less.
const maxCombinations = 4096

// Plan is one way to answer a query.
type Plan struct {
	Path   Path
	Index  schema.Index    // of Index and Unique
	Keys   []value.Value   // of Key: the primary keys
	Values [][]value.Value // of Index and Unique: the values of each lookup, one for each column; for the first ones, of Index
	Either []Plan          // of Union: the branches, without filters
	Filter *cond.Bound     // what a record must fulfil; nil selects every one
}

// Make plans the query for records of which filter is true.
func Make(def *schema.Definition, filter *cond.Bound) Plan {
	p := path(def, filter)
	p.Filter = filter
	return p
}

// path is the best path to the records of which b is true.
func path(def *schema.Definition, b *cond.Bound) Plan {
	p := direct(def, b)
	if p.Path != Scan || b == nil {
		return p
	}
	for _, part := range conjuncts(b) {
		if part.Op != cond.Or {
			continue
		}
		if u, ok := union(def, part); ok {
			return u
		}
	}
	return p
}

// conjuncts are the conditions that are all true when b is.
func conjuncts(b *cond.Bound) []*cond.Bound {
	if b.Op != cond.And {
		return []*cond.Bound{b}
	}
	var out []*cond.Bound
	for _, k := range b.Kids {
		out = append(out, conjuncts(k)...)
	}
	return out
}

// union reaches the records of each branch of or; ok is false when one of them
// takes a scan, or all of them too many lookups.
func union(def *schema.Definition, or *cond.Bound) (p Plan, ok bool) {
	lookups := 0
	for _, k := range or.Kids {
		branch := path(def, k)
		switch branch.Path {
		case Scan:
			return p, false
		case Nothing:
			continue
		case Union:
			p.Either = append(p.Either, branch.Either...)
		default:
			p.Either = append(p.Either, branch)
		}
	}
	for _, branch := range p.Either {
		lookups += len(branch.Keys) + len(branch.Values)
	}
	switch {
	case lookups > maxCombinations:
		return p, false
	case len(p.Either) == 0:
		return Plan{Path: Nothing}, true
	case len(p.Either) == 1:
		return p.Either[0], true
	}
	p.Path = Union
	return p, true
}

// direct is the best path that is no union.
func direct(def *schema.Definition, b *cond.Bound) Plan {
	var p Plan
	eq := equalities(def, b)
	if vals, ok := eq[def.PrimaryKey()]; ok {
		p.Path = Key
		for _, v := range vals {
			if !v.IsNull() {
				p.Keys = append(p.Keys, v)
			}
		}
		if len(p.Keys) == 0 {
			p.Path = Nothing
		}
		return p
	}
	for _, x := range def.Indexes {
		if x.State != schema.Ready {
			continue
		}
		values := combinations(def, x, eq)
		switch {
		case values == nil:
			continue
		case len(values) == 0:
			return Plan{Path: Nothing}
		}
		q := Plan{Path: Index, Index: x, Values: values}
		if x.Unique {
			// Null claims nothing, so a claim does not find it; and claims of
			// which some columns are open are not looked for.
			if hasNull(values) || len(values[0]) < len(x.Columns) {
				continue
			}
			q.Path = Unique
		}
		if better(q, p) {
			p = q
		}
	}
	return p
}

func better(q, p Plan) bool {
	if q.Path != p.Path {
		return q.Path > p.Path
	}
	if a, b := len(q.Values[0]), len(p.Values[0]); a != b {
		return a > b
	}
	if a, b := len(q.Index.Columns), len(p.Index.Columns); a != b {
		return a < b
	}
	return len(q.Values) < len(p.Values)
}

// equalities are the values that the condition requires a column to have one
// of, by column position. Null stands for an absent value.
func equalities(def *schema.Definition, b *cond.Bound) map[int][]value.Value {
	out := map[int][]value.Value{}
	if b == nil {
		return out
	}
	var visit func(b *cond.Bound)
	visit = func(b *cond.Bound) {
		var vals []value.Value
		switch b.Op {
		case cond.And:
			for _, k := range b.Kids {
				visit(k)
			}
			return
		case cond.Eq:
			vals = b.Values
		case cond.In:
			vals = slices.Clone(b.Values)
			if b.Null {
				vals = append(vals, value.Null)
			}
		case cond.IsNull:
			vals = []value.Value{value.Null}
		default:
			return
		}
		col := def.Columns[b.Column]
		if col.ZeroNull {
			vals = zeroNull(col, vals)
		}
		vals = distinct(vals)
		if have, ok := out[b.Column]; ok {
			vals = slices.DeleteFunc(vals, func(v value.Value) bool { return !contains(have, v) })
		}
		out[b.Column] = vals
	}
	visit(b)
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
func combinations(def *schema.Definition, x schema.Index, eq map[int][]value.Value) [][]value.Value {
	var out [][]value.Value
	for i, name := range x.Columns {
		vals, ok := eq[def.Position(name)]
		if !ok {
			break
		}
		if i == 0 {
			out = [][]value.Value{nil}
		}
		if len(out)*len(vals) > maxCombinations {
			return nil
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
	out := make([]value.Value, 0, len(vals))
	seen := make(map[value.Value]bool, len(vals))
	for _, v := range vals {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
