package value

import (
	"fmt"
	"math"
	"slices"
)

// A type is wider than another one when each value of the other one that a document may hold is
// a value of it too, under the same JSON, or else a value that Widen can refuse by itself. So a
// column can get the wider type while its records stay as they are.
var wider = map[Type][]Type{
	Int:    {Float, Decimal},
	Uint:   {Float, Decimal},
	String: {Time},
}

// Widens reports whether values of type t can become such of type to as Widen does it.
func (t Type) Widens(to Type) bool { return slices.Contains(wider[t], to) }

// Widen fails when raw, the JSON of a value of type from, is not that of the same value of type
// to, which is wider: an integer that no float is equal to, or text that is no time.
func Widen(raw []byte, from, to Type) error {
	v, err := FromJSON(raw, from)
	if err == nil {
		_, err = Coerce(v, to)
	}
	return err
}

// Narrow is the JSON that a value of type to has in the type from, which to is wider than. It is raw
// itself where that is the same, and where raw is no value of type to: whoever reads it says so. It
// fails when from has no such value.
func Narrow(raw []byte, from, to Type) ([]byte, error) {
	v, err := FromJSON(raw, to)
	if err != nil || v.IsNull() || from == String {
		return raw, nil
	}
	if to == Float { // by its exact value: its text may be that of another integer, near it
		f := v.Float()
		switch {
		case f != math.Trunc(f):
		case from == Int && f >= -(1<<63) && f < 1<<63:
			return OfInt(int64(f)).AppendJSON(nil), nil
		case from == Uint && f >= 0 && f < 1<<64:
			return OfUint(uint64(f)).AppendJSON(nil), nil
		}
		return nil, fmt.Errorf("number %s does not fit type %s", clip(raw), from)
	}
	n, err := FromJSON(raw, from)
	return n.AppendJSON(nil), err
}
