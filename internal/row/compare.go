package row

import (
	"cmp"
	"math"
	"strings"

	"github.com/natsorm/natsorm/internal/value"
)

// Compare says which of two rows of one shape comes first by a column, as value.Compare does: null is before
// every value.
func (r *Row) Compare(o *Row, i int) int {
	if r.data[i] != plain || o.data[i] != plain {
		return value.Compare(r.Value(i), o.Value(i))
	}
	c := &r.shape.columns[i]
	switch c.typ {
	case value.Bool, value.Uint:
		return cmp.Compare(load(r.data[c.slot:]), load(o.data[c.slot:]))
	case value.Int:
		return cmp.Compare(int64(load(r.data[c.slot:])), int64(load(o.data[c.slot:])))
	case value.String:
		return strings.Compare(r.text(c), o.text(c))
	default:
		return value.Compare(r.Value(i), o.Value(i))
	}
}

// Rank is a number for a column's value: of two rows, the one with the smaller number comes first by the
// column. Equal numbers say nothing.
func (r *Row) Rank(i int) uint64 { return rank(r.Value(i), r.shape.columns[i].typ) }

// rank is the Rank of a value, which may be null, of a column of a type.
func rank(v value.Value, t value.Type) uint64 {
	const sign = 1 << 63
	if v.IsNull() {
		return 0
	}
	switch t {
	case value.Bool, value.Uint:
		return v.Uint()
	case value.Int:
		return v.Uint() ^ sign
	case value.Float:
		bits := math.Float64bits(v.Float())
		if bits&sign != 0 {
			return ^bits
		}
		return bits ^ sign
	case value.Time:
		// The seconds of the years that documents have take less than 40 bits.
		at := v.Time()
		return uint64(at.Unix()+1<<40)<<20 | uint64(at.Nanosecond())>>10
	case value.String, value.Bytes:
		var first uint64
		for n := range 8 {
			first <<= 8
			if n < len(v.Str()) {
				first |= uint64(v.Str()[n])
			}
		}
		return first
	default:
		return 0
	}
}
