package plan

import (
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Interval is a range of the values of an ordered index's last column.
type Interval struct {
	From, To Limit  // of the values; those that are null are no limit
	Prefix   string // if Begins: texts that begin with it, and nothing else
	Begins   bool
	Null     bool // null is in it
	NoValues bool // nothing but null is in it
}

// Limit is where an Interval begins or ends.
type Limit struct {
	Value value.Value // null: it has no limit
	Open  bool        // the value itself is not in the interval
}

// everything is the interval of all values, and of null.
var everything = []Interval{{Null: true}}

// Ends are where the places of an interval begin, and end, without those of null.
func (in Interval) Ends() (from, until string) {
	from, until = keys.ValuesFrom, keys.EndPlace
	if in.Begins {
		from, until = keys.Places(in.Prefix)
	}
	if v := in.From.Value; !v.IsNull() {
		from = max(from, keys.PlaceFrom(v, in.From.Open))
	}
	if v := in.To.Value; !v.IsNull() {
		until = min(until, keys.PlaceTo(v, !in.To.Open))
	}
	return from, until
}

// point is the interval of one value, or of null.
func point(v value.Value) Interval {
	if v.IsNull() {
		return Interval{Null: true, NoValues: true}
	}
	return Interval{From: Limit{Value: v}, To: Limit{Value: v}}
}

// point reports whether an interval is that of one value, or of null.
func (in Interval) point() bool {
	return in.NoValues || !in.From.Value.IsNull() && value.Equal(in.From.Value, in.To.Value)
}

// empty reports whether an interval has no place, and so no entry.
func (in Interval) empty() bool {
	from, until := in.Ends()
	return from >= until && !in.Null
}

// intervals are the values that b leaves possible in a column, in their order: b is true only of
// records that have one of them. ok is false when b says nothing of the column. eq is what
// b fixes, as equalities gives it.
func (pl *planner) intervals(b *cond.Bound, column int, eq map[int]fixed) (in []Interval, ok bool) {
	if f, fixed := eq[column]; fixed {
		if vals, ok := f.in(schema.Index{}); ok {
			for _, v := range sortedValues(vals) {
				if pl.within(b, column, v) {
					in = append(in, point(v))
				}
			}
			return in, true
		}
	}
	var all Interval
	for _, c := range conjuncts(b) {
		if c.Op == cond.Not && c.Kids[0].Op == cond.IsNull && c.Kids[0].Column == column {
			ok = true
		}
		if c.Column != column || c.Null || c.Members != nil {
			continue
		}
		switch c.Op {
		case cond.Gt, cond.Gte:
			if l := (Limit{c.Values[0], c.Op == cond.Gt}); all.From.Value.IsNull() || before(all.From, l) {
				all.From = l
			}
			ok = true
		case cond.Lt, cond.Lte:
			if l := (Limit{c.Values[0], c.Op == cond.Lt}); all.To.Value.IsNull() || value.Compare(l.Value, all.To.Value) < 0 || value.Equal(l.Value, all.To.Value) && l.Open {
				all.To = l
			}
			ok = true
		case cond.StartsWith:
			all.Prefix, all.Begins, ok = longer(all.Prefix, c.Values[0].Str()), true, true
		case cond.Like:
			if prefix := cond.LikePrefix(c.Values[0].Str()); prefix != "" {
				all.Prefix, all.Begins, ok = longer(all.Prefix, prefix), true, true
			}
		}
	}
	if !ok || all.empty() {
		return nil, ok
	}
	return []Interval{all}, true
}

// within reports whether a value that b fixes a column to is also in the ranges that b leaves it.
func (pl *planner) within(b *cond.Bound, column int, v value.Value) bool {
	if v.IsNull() {
		v = pl.def.Columns[column].AbsentMeans()
	}
	for _, c := range conjuncts(b) {
		if c.Column != column || c.Null || c.Members != nil || !slices.Contains([]cond.Op{cond.Gt, cond.Gte, cond.Lt, cond.Lte}, c.Op) {
			continue
		}
		switch d := value.Compare(v, c.Values[0]); {
		case v.IsNull(), c.Op == cond.Gt && d <= 0, c.Op == cond.Gte && d < 0, c.Op == cond.Lt && d >= 0, c.Op == cond.Lte && d > 0:
			return false
		}
	}
	return true
}

// before reports whether an interval that begins at a begins before one that begins at b.
func before(a, b Limit) bool {
	c := value.Compare(a.Value, b.Value)
	return c < 0 || c == 0 && b.Open
}

// longer is the longer one of two texts with which a text begins: with both, if it can.
func longer(a, b string) string {
	if len(a) > len(b) {
		return a
	}
	return b
}

func sortedValues(vals []value.Value) []value.Value {
	return slices.SortedFunc(slices.Values(vals), value.Compare)
}

// ranged is the access by an ordered index: its columns but the last are fixed by eq, and the
// values of the last one are in intervals.
func (pl *planner) ranged(x schema.Index, combos [][]value.Value, in []Interval) Access {
	a := Access{Path: Range, Index: x}
	for _, v := range combos {
		l := Lookup{Index: x, Values: v, Intervals: in, Matches: pl.stats.within(x, v, in)}
		l.Keys = l.Matches
		l.Large = l.Keys > store.MaxMatches/2 // the number is a guess, and a request in vain is expensive
		a.Lookups = append(a.Lookups, l)
		a.Entries += l.Matches
		if l.Large {
			a.Samples += pl.enough(l.Matches) / keys.SampleRate
		}
	}
	a.Records = pl.enough(a.Entries)
	return a
}

// interval is the access by an ordered index to the records of which b is true. ok is false when b says
// nothing that narrows it, or leaves one of its other columns open.
func (pl *planner) interval(b *cond.Bound, x schema.Index, eq map[int]fixed) (a Access, ok bool) {
	last := len(x.Columns) - 1
	combos := [][]value.Value{nil}
	if last > 0 {
		switch combos = pl.combinations(schema.Index{Columns: x.Columns[:last]}, eq); {
		case combos == nil:
			return a, false
		case len(combos) == 0:
			return Access{Path: Nothing}, true
		case len(combos[0]) != last:
			return a, false
		}
	}
	in, narrowed := pl.intervals(b, pl.def.Position(x.Columns[last]), eq)
	switch {
	case !narrowed && last == 0:
		return a, false
	case !narrowed:
		in = everything
	case len(in) == 0:
		return Access{Path: Nothing}, true
	case len(in)*len(combos) > maxLookups:
		return a, false
	}
	return pl.ranged(x, combos, in), true
}

// Ranges are the accesses by ordered indexes to the records that a query's condition is true of. A caller
// that knows how many entries these have plans better.
func Ranges(def *schema.Definition, q Query, stats Stats) (out []Access) {
	if q.Filter == nil || q.Filter.All() || q.Filter.None() || q.Limit == 0 {
		return nil
	}
	pl := planner{def: def, stats: stats}
	add := func(b *cond.Bound) {
		eq := pl.equalities(b)
		for _, x := range def.Indexes {
			if !x.Ordered || x.State != schema.Ready {
				continue
			}
			if a, ok := pl.interval(b, x, eq); ok && a.Path == Range {
				out = append(out, a)
			}
		}
	}
	add(q.Filter)
	for _, part := range conjuncts(q.Filter) {
		if part.Op == cond.Or && len(part.Kids) <= maxSorted {
			for _, kid := range part.Kids {
				add(kid)
			}
		}
	}
	return out
}

// maxSorted is for how many combinations of values the entries of an ordered index are merged.
const maxSorted = 16

// one reports whether all records have one value.
func (f fixed) one() bool { return len(f.values) == 1 && (!f.fold || f.values[0].IsNull()) }

// sorted is the access that reads records in the order of the query, by an ordered index, and ends
// when it has enough. ok is false when no index has that order.
func (pl *planner) sorted(q Query) (best Access, ok bool) {
	if len(q.Order) == 0 || q.Keeps() < 0 {
		return best, false
	}
	b := q.Filter
	if b == nil {
		b = &cond.Bound{Op: cond.And}
	}
	eq := pl.equalities(b)
	order := q.Order
	for len(order) > 0 {
		if f, fixed := eq[order[0].Column]; !fixed || !f.one() {
			break
		}
		order = order[1:] // all records have the same value
	}
	if len(order) == 0 || len(order) > 2 {
		return best, false
	}
	primary := pl.def.PrimaryKey()
	if len(order) == 1 && order[0].Column != primary {
		return best, false
	}
	if last := order[len(order)-1]; last.Column != primary || last.Desc && len(order) == 2 {
		return best, false
	}
	for _, x := range pl.def.Indexes {
		last := len(x.Columns) - 1
		if !x.Ordered || x.State != schema.Ready {
			continue
		}
		// Either the order is that of the index, or all records have one value in its last column, and are
		// there in the order of their primary keys.
		column := pl.def.Position(x.Columns[last])
		if f, fixed := eq[column]; column != order[0].Column && (!fixed || !f.one() || len(order) != 1 || order[0].Desc) {
			continue
		}
		combos := [][]value.Value{nil}
		if last > 0 {
			combos = pl.combinations(schema.Index{Columns: x.Columns[:last]}, eq)
			if len(combos) == 0 || len(combos) > maxSorted || len(combos[0]) != last {
				continue
			}
		}
		in, narrowed := pl.intervals(b, column, eq)
		switch {
		case !narrowed:
			in = everything
		case len(in) == 0: // there is nothing to sort
			continue
		}
		a := pl.ranged(x, combos, in)
		a.Sorted, a.Desc = true, order[0].Desc
		needs := max(1, q.Keeps())
		share := 1.0 // the part of its records that fulfils the condition
		if !pl.answers(b, x) {
			share = 0.5
			if pl.share > 0 && pl.stats.Records > 0 {
				share = min(1, pl.share*float64(pl.stats.Records)/float64(max(1, a.Entries)))
			}
		}
		a.Records = min(a.Entries, int(float64(needs)/share)+1)
		a.Samples = a.Entries / keys.SampleRate
		if pl.levels() > 1 { // of the highest level all are read, and of the other one those between two of them
			a.Samples = a.Samples/keys.SampleRate + min(a.Samples, keys.SampleRate)
		}
		a.Entries = min(a.Entries, max(a.Records, leastEntries))
		if !ok || pl.cost(a).Time < pl.cost(best).Time {
			best, ok = a, true
		}
	}
	return best, ok
}

// leastEntries is about how many entries are read to find the first ones in an order: those
// between two samples.
const leastEntries = 64

// answers reports whether an index says all that b says of a record.
func (pl *planner) answers(b *cond.Bound, x schema.Index) bool {
	for _, c := range conjuncts(b) {
		of := c
		switch c.Op {
		case cond.And: // there are no parts
			continue
		case cond.Not:
			if of = c.Kids[0]; of.Op != cond.IsNull {
				return false
			}
		case cond.Eq, cond.In, cond.IsNull, cond.Gt, cond.Gte, cond.Lt, cond.Lte, cond.StartsWith:
		default:
			return false
		}
		if !slices.Contains(x.Columns, pl.def.Columns[of.Column].Name) {
			return false
		}
	}
	return true
}

// Text is the interval as Explain shows it, behind values of the columns before its own.
func (in Interval) Text(values []value.Value) string {
	text := cond.ValueText
	var parts, before []string
	for _, v := range values {
		before = append(before, text(v))
	}
	switch {
	case in.NoValues:
	case in.Begins:
		parts = append(parts, text(value.OfString(in.Prefix))+"…")
	case in.point():
		parts = append(parts, text(in.From.Value))
	case in.From.Value.IsNull() && in.To.Value.IsNull():
		parts = append(parts, "all")
	default:
		var b strings.Builder
		if v := in.From.Value; !v.IsNull() {
			b.WriteString(map[bool]string{true: "> ", false: ">= "}[in.From.Open] + text(v))
		}
		if v := in.To.Value; !v.IsNull() {
			if b.Len() > 0 {
				b.WriteString(" and ")
			}
			b.WriteString(map[bool]string{true: "< ", false: "<= "}[in.To.Open] + text(v))
		}
		parts = append(parts, b.String())
	}
	if in.Null && !(in.From.Value.IsNull() && in.To.Value.IsNull() && !in.NoValues && !in.Begins) {
		parts = append(parts, "null")
	}
	return strings.Join(append(before, strings.Join(parts, " or ")), ", ")
}
