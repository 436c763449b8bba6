package plan

import (
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Covering is the access by one index that leads to the records of which b is true, and to no
// others, as far as its entries are exact: b fixes the first columns of the index, or of an
// ordered one all, where the last one may have a range, and asks for nothing else. ok is false
// when there is none. fit says which indexes may be taken. The time is that of the access when the
// records are read too.
//
// In the keys of an index different values are different, but for letter case in a folded one:
// long values have 128 bits of a hash in them, on which the claims of unique values rely too. In
// the places of an ordered index long texts are cut. That does not matter as long as the ends of
// the range are not.
func Covering(def *schema.Definition, b *cond.Bound, stats Stats, fit func(schema.Index) bool) (a Access, time time.Duration, ok bool) {
	pl := planner{def: def, stats: stats}
	if b == nil || b.None() || b.All() {
		return a, 0, false
	}
	for _, in := range pl.singles(b) {
		if (in.Path == Index || in.Path == Range) && fit(in.Index) && pl.covers(in, b) {
			return in, pl.cost(in).Time, true
		}
	}
	return a, 0, false
}

// covers reports whether the lookups of an access by an index say all that b says.
func (pl *planner) covers(a Access, b *cond.Bound) bool {
	columns, last := a.Index.Columns, -1
	if a.Path == Range {
		last = pl.def.Position(columns[len(columns)-1])
	} else {
		columns = columns[:len(a.Lookups[0].Values)]
	}
	for _, c := range conjuncts(b) {
		if c.Members != nil {
			return false
		}
		switch c.Op {
		case cond.Eq, cond.In, cond.IsNull:
		case cond.Gt, cond.Gte, cond.Lt, cond.Lte:
			if c.Column != last {
				return false
			}
		default:
			return false
		}
		col := pl.def.Columns[c.Column]
		if !slices.Contains(columns, col.Name) || col.Type == value.String && c.Op != cond.IsNull && c.Fold != a.Index.Fold {
			return false
		}
		if c.Column == last && slices.ContainsFunc(c.Values, func(v value.Value) bool { return !keys.Exact(v) }) {
			return false
		}
	}
	return true
}

// Combinations are the lookups that lead to the records whose columns read as these
// values in this program. Where null reads as the type's zero, zero has two.
func Combinations(def *schema.Definition, x schema.Index, vals []value.Value) [][]value.Value {
	out := [][]value.Value{nil}
	for i, v := range vals {
		col := def.Columns[def.Position(x.Columns[i])]
		reads := []value.Value{v}
		if col.ZeroNull && value.Equal(v, value.Zero(col.Type)) {
			reads = append(reads, value.Null)
		}
		var next [][]value.Value
		for _, head := range out {
			for _, r := range reads {
				next = append(next, append(slices.Clip(head), r))
			}
		}
		out = next
	}
	return out
}
