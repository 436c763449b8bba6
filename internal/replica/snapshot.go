package replica

import (
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Snapshot is a model at one moment. It does not change.
type Snapshot struct {
	form  *form
	trees *trees

	// Def is the model as its document in the catalogue had it then. While that is paused, records may
	// be there twice.
	Def *schema.Definition
}

// Len is the number of records.
func (s *Snapshot) Len() int {
	n := s.trees.whole.Len()
	if len(s.trees.sorted) > 0 {
		n += s.trees.sorted[0].Len()
	}
	return n
}

var places = sync.Pool{New: func() any { return new(row.Place) }}

// byKey is the record with a primary key, which has the key given; nil when there is none.
func (s *Snapshot) byKey(id value.Value, key func() string) (found *row.Row) {
	if len(s.form.indexes) > 0 {
		x := &s.form.indexes[0]
		place := places.Get().(*row.Place)
		defer places.Put(place)
		s.trees.sorted[0].Ascend(x.order.Before(id, place), func(it row.Item) bool {
			if it.Row.Value(x.order.Columns()[0]) == id {
				found = it.Row
			}
			return false
		})
	}
	if found == nil && s.trees.whole.Len() > 0 {
		e, _ := s.trees.whole.Get(entry{key: key()})
		found = e.row
	}
	return found
}

// span is a part of an index in its order: from one place to another one.
type span struct {
	from, to row.Item // of an order; Row is nil where it has no end
}

// spans are the parts of an index in which the rows of a lookup are, in its order. null says that null
// stands for the zero of the type in the column of the intervals, and is found with it.
func (x *index) spans(l plan.Lookup, null bool) (out []span) {
	if len(l.Intervals) == 0 {
		if len(l.Values) == 0 {
			return []span{{}}
		}
		return []span{x.of(l.Values)}
	}
	column := func(v value.Value) []value.Value { return append(slices.Clip(l.Values), v) }
	nulls := x.of(column(value.Null))
	for _, in := range l.Intervals {
		if in.NoValues {
			if !null {
				out = append(out, nulls)
			}
			continue
		}
		if in.Null && !in.Begins && in.From.Value.IsNull() && in.To.Value.IsNull() { // everything
			if len(l.Values) == 0 {
				return []span{{}}
			}
			return []span{x.of(l.Values)}
		}
		sp := span{from: nulls.to, to: x.of(l.Values).to}
		if len(l.Values) == 0 {
			sp.to = row.Item{}
		}
		if v := in.From.Value; !v.IsNull() {
			sp.from = x.order.Pivot(column(v), in.From.Open)
		}
		if v := in.To.Value; !v.IsNull() {
			sp.to = x.order.Pivot(column(v), !in.To.Open)
		}
		if in.Begins {
			first := x.order.Pivot(column(value.OfString(in.Prefix)), false)
			if x.order.Less(sp.from, first) {
				sp.from = first
			}
			if end, ok := after(in.Prefix); ok {
				last := x.order.Pivot(column(value.OfString(end)), false)
				if sp.to.Row == nil || x.order.Less(last, sp.to) {
					sp.to = last
				}
			}
		}
		if in.Null || null && x.holds(sp, column(value.Zero(x.order.Type(len(l.Values))))) {
			out = append(out, nulls)
		}
		out = append(out, sp)
	}
	return out
}

// of is the span of the rows with these values in the first columns.
func (x *index) of(values []value.Value) span {
	if len(values) == 0 {
		return span{}
	}
	return span{x.order.Pivot(values, false), x.order.Pivot(values, true)}
}

// holds reports whether a place with these values is in a span.
func (x *index) holds(sp span, values []value.Value) bool {
	at := x.order.Pivot(values, false)
	return (sp.from.Row == nil || !x.order.Less(at, sp.from)) && (sp.to.Row == nil || x.order.Less(at, sp.to))
}

// after is a text after all that begin with a prefix, and before all others that come after these. It may be
// one that no document has, because it is not UTF-8. ok is false when there is none.
func after(prefix string) (end string, ok bool) {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1}), true
		}
	}
	return "", false
}

// rank is how many rows of a tree are before a place.
func rank(t *btree.BTreeG[row.Item], o *row.Order, at row.Item) int {
	lo, hi := 0, t.Len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if it, _ := t.GetAt(mid); o.Less(it, at) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// few is up to how many rows are counted one by one: to find where they begin, and where they end, takes
// as long.
const few = 64

// count is how many rows are in a span.
func (x *index) count(t *btree.BTreeG[row.Item], sp span) int {
	n := 0
	if x.ascend(t, sp, func(*row.Row) bool { n++; return n < few }) {
		return n
	}
	from, to := 0, t.Len()
	if sp.from.Row != nil {
		from = rank(t, x.order, sp.from)
	}
	if sp.to.Row != nil {
		to = rank(t, x.order, sp.to)
	}
	return max(0, to-from)
}

// ascend yields the rows of a span in their order.
func (x *index) ascend(t *btree.BTreeG[row.Item], sp span, yield func(*row.Row) bool) bool {
	more := true
	each := func(it row.Item) bool {
		if sp.to.Row != nil && !x.order.Less(it, sp.to) {
			return false
		}
		more = yield(it.Row)
		return more
	}
	if sp.from.Row == nil {
		t.Scan(each)
	} else {
		t.Ascend(sp.from, each)
	}
	return more
}

// descend yields them the other way round.
func (x *index) descend(t *btree.BTreeG[row.Item], sp span, yield func(*row.Row) bool) bool {
	more := true
	each := func(it row.Item) bool {
		if sp.from.Row != nil && x.order.Less(it, sp.from) {
			return false
		}
		more = yield(it.Row)
		return more
	}
	if sp.to.Row == nil {
		t.Reverse(each)
	} else {
		t.Descend(sp.to, each)
	}
	return more
}

// longRun is from how many rows on those with the same values are looked for from the first one, rather than
// turned round.
const longRun = 64

// groups yields the rows of a span from the last values of the index on, but those with the same values in the
// order of their primary keys.
func (x *index) groups(t *btree.BTreeG[row.Item], sp span, yield func(*row.Row) bool) bool {
	columns := len(x.order.Columns()) - 1
	for {
		var run []*row.Row
		long := false
		flush := func() bool {
			for _, r := range slices.Backward(run) {
				if !yield(r) {
					return false
				}
			}
			run = run[:0]
			return true
		}
		more := x.descend(t, sp, func(r *row.Row) bool {
			if len(run) > 0 && !x.order.Equal(run[0], r, columns) && !flush() {
				return false
			}
			run = append(run, r)
			long = len(run) > longRun
			return !long
		})
		switch {
		case !more && !long:
			return false
		case !long:
			return flush()
		}
		values := make([]value.Value, columns)
		for i, at := range x.order.Columns()[:columns] {
			values[i] = run[0].Value(at)
		}
		group := x.of(values) // all of it is in the span, which has whole groups
		if !x.ascend(t, group, yield) {
			return false
		}
		sp.to = group.from
	}
}

// later is the place of two that comes later, and sooner the other one. One without a row is no place.
func (x *index) later(a, b row.Item) row.Item {
	if a.Row == nil || b.Row != nil && x.order.Less(a, b) {
		return b
	}
	return a
}

func (x *index) sooner(a, b row.Item) row.Item {
	if a.Row == nil || b.Row != nil && x.order.Less(b, a) {
		return b
	}
	return a
}

// withElement yields the rows that have an element.
func withElement(t *btree.BTreeG[entry], text string, yield func(*row.Row) bool) bool {
	more := true
	t.Ascend(entry{text: text}, func(e entry) bool {
		if e.text != text {
			return false
		}
		more = yield(e.row)
		return more
	})
	return more
}

// counted is how many rows have an element.
func counted(t *btree.BTreeG[entry], text string) int {
	at := func(e entry) int {
		lo, hi := 0, t.Len()
		for lo < hi {
			mid := int(uint(lo+hi) / 2)
			if it, _ := t.GetAt(mid); lessEntry(it, e) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo
	}
	return at(entry{text: text + "\x00"}) - at(entry{text: text})
}
