package row

import (
	"cmp"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/value"
)

// Order is an order of the rows of one shape: by some columns, and then by their keys. It is immutable.
type Order struct {
	shape   *Shape
	columns []int
}

// Item is a row in an Order. Its rank decides most comparisons without a look at the row.
type Item struct {
	rank uint64
	Row  *Row
}

// end is one end of the rows that have some values in the first columns of an order. A row that has one
// is a place in the order, and no record.
type end struct {
	values []value.Value
	after  bool
}

// NewOrder is the order by these columns. There is at least one.
func NewOrder(s *Shape, columns ...int) *Order { return &Order{s, slices.Clip(columns)} }

// Columns are the columns of the order.
func (o *Order) Columns() []int { return o.columns }

// Type is the type of the order's column number n.
func (o *Order) Type(n int) value.Type { return o.shape.columns[o.columns[n]].typ }

// Item is a row, which has the shape, in the order.
func (o *Order) Item(r *Row) Item { return Item{r.Rank(o.columns[0]), r} }

// Pivot is the place before all rows that have these values in the first columns of the order, or after them.
// There is at least one value. They are kept.
func (o *Order) Pivot(values []value.Value, after bool) Item {
	p := &struct {
		Row
		end
	}{end: end{values, after}}
	p.Row.end = &p.end
	return Item{rank(values[0], o.Type(0)), &p.Row}
}

// Place is room for a place in an order, to be used again.
type Place struct {
	row   Row
	end   end
	value [1]value.Value
}

// Before is the place before all rows that have a value in the first column of the order. It is in p, which must
// not be used otherwise for as long.
func (o *Order) Before(v value.Value, p *Place) Item {
	p.value[0] = v
	p.end = end{values: p.value[:]}
	p.row.end = &p.end
	return Item{rank(v, o.Type(0)), &p.row}
}

// Less reports whether a comes before b.
func (o *Order) Less(a, b Item) bool {
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	return o.compare(a.Row, b.Row) < 0
}

// Compare says which of a and b comes first.
func (o *Order) Compare(a, b Item) int {
	if a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	return o.compare(a.Row, b.Row)
}

func (o *Order) compare(a, b *Row) int {
	switch {
	case a.end != nil && b.end != nil:
		for i := range min(len(a.end.values), len(b.end.values)) {
			if c := value.Compare(a.end.values[i], b.end.values[i]); c != 0 {
				return c
			}
		}
		switch n := len(a.end.values) - len(b.end.values); { // the one with fewer values is around the other one
		case n < 0:
			return a.end.side()
		case n > 0:
			return -b.end.side()
		}
		return cmp.Compare(a.end.side(), b.end.side())
	case a.end != nil:
		return -o.compare(b, a)
	case b.end != nil:
		for n, v := range b.end.values {
			if c := value.Compare(a.Value(o.columns[n]), v); c != 0 {
				return c
			}
		}
		return -b.end.side()
	}
	for _, i := range o.columns {
		if c := a.Compare(b, i); c != 0 {
			return c
		}
	}
	return strings.Compare(a.Key(), b.Key())
}

// CompareFirst compares two rows by the first n columns of the order; it is 0 when they have the same values.
func (o *Order) CompareFirst(a, b Item, n int) int {
	if a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	columns := o.columns[:n]
	if a.rank != 0 && o.exact() {
		columns = columns[1:]
	}
	for _, i := range columns {
		if c := a.Row.Compare(b.Row, i); c != 0 {
			return c
		}
	}
	return 0
}

// exact reports whether values of the first column that are not null are the same when their ranks are, but for the
// rank 0.
func (o *Order) exact() bool {
	switch o.Type(0) {
	case value.Bool, value.Int, value.Uint, value.Float:
		return true
	}
	return false
}

// side is where an end is, from the rows that have its values.
func (e *end) side() int {
	if e.after {
		return 1
	}
	return -1
}

// Equal reports whether two rows have the same values in the first n columns of the order.
func (o *Order) Equal(a, b *Row, n int) bool {
	return !slices.ContainsFunc(o.columns[:n], func(i int) bool { return a.Compare(b, i) != 0 })
}
