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
//  3. an index, every column equal or in a list; of several, the one with the
//     most columns, then the fewest combinations, then the one declared first:
//     the records that have the values, two round trips
//  4. a scan of every record of the model
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
	Values [][]value.Value // of Index and Unique: the values of each lookup, one for each column
	Filter *cond.Bound     // what a record must fulfil; nil selects every one
}

// Make plans the query for records of which filter is true.
func Make(def *schema.Definition, filter *cond.Bound) Plan {
	p := Plan{Filter: filter}
	eq := equalities(def, filter)
	pk := def.PrimaryKey()
	if vals, ok := eq[pk]; ok {
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
		values, ok := combinations(def, x, eq)
		if !ok {
			continue
		}
		if len(values) == 0 {
			return Plan{Path: Nothing, Filter: filter}
		}
		path := Index
		if x.Unique {
			path = Unique
			if hasNull(values) {
				continue // null claims nothing, so a claim does not find it
			}
		}
		if p.Path == Scan || path > p.Path || path == p.Path && better(x, values, p) {
			p.Path, p.Index, p.Values = path, x, values
		}
	}
	return p
}

func better(x schema.Index, values [][]value.Value, p Plan) bool {
	if len(x.Columns) != len(p.Index.Columns) {
		return len(x.Columns) > len(p.Index.Columns)
	}
	return len(values) < len(p.Values)
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

// combinations are the lookups in index x that the equalities ask for; ok is
// false when they leave one of its columns open.
func combinations(def *schema.Definition, x schema.Index, eq map[int][]value.Value) (out [][]value.Value, ok bool) {
	out = [][]value.Value{nil}
	for _, name := range x.Columns {
		vals, ok := eq[def.Position(name)]
		if !ok || len(out)*len(vals) > maxCombinations {
			return nil, false
		}
		next := make([][]value.Value, 0, len(out)*len(vals))
		for _, head := range out {
			for _, v := range vals {
				next = append(next, append(slices.Clip(head), v))
			}
		}
		out = next
	}
	return out, true
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
