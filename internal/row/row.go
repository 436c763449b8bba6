package row

import (
	"math"
	"time"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/value"
)

// Row is a record in memory. It is immutable.
type Row struct {
	shape *Shape // nil: data begins with the document
	data  string
	rest  uint32 // where the members begin in data that are no columns
	key   uint32 // where the key begins
	end   *end   // of a Pivot

	Revision uint64 // as in store.Message
	Fence    uint64
	Schema   uint64
}

// Shape is where the values are; nil when the document was not taken apart.
func (r *Row) Shape() *Shape { return r.shape }

// Key is the record's key.
func (r *Row) Key() string { return r.data[r.key:] }

// Has reports whether the document has a member for a column.
func (r *Row) Has(i int) bool { return r.data[i] != absent }

// Null reports whether a column is null or absent.
func (r *Row) Null(i int) bool { return r.data[i] == null || r.data[i] == absent }

// Whole is the same record, not taken apart.
func (r *Row) Whole() *Row {
	doc := r.Document()
	return &Row{data: string(doc) + r.Key(), key: uint32(len(doc)), Revision: r.Revision, Fence: r.Fence, Schema: r.Schema}
}

// Written reports whether the member for a column has the text that natsorm writes for its value.
func (r *Row) Written(i int) bool { return r.data[i] != asText }

// Version is the revision that wrote the value, as of a store.Message.
func (r *Row) Version() uint64 {
	if r.Fence != 0 {
		return r.Fence
	}
	return r.Revision
}

// Value is the value of a column: null when it is null or absent. The row must have a Shape.
func (r *Row) Value(i int) value.Value {
	switch r.data[i] {
	case plain:
	case asText:
		return r.parsed(i)
	default:
		return value.Null
	}
	c := &r.shape.columns[i]
	slot := r.data[c.slot:]
	switch c.typ {
	case value.Bool:
		return value.OfBool(slot[0] != 0)
	case value.Int:
		return value.OfInt(int64(load(slot)))
	case value.Uint:
		return value.OfUint(load(slot))
	case value.Float:
		return value.OfFloat(math.Float64frombits(load(slot)))
	case value.Time:
		return value.OfTime(time.Unix(int64(load(slot)), int64(load(slot[8:]))))
	case value.String:
		return value.OfString(r.text(c))
	case value.Bytes:
		return value.OfBytes([]byte(r.text(c)))
	default:
		return value.OfJSON(r.text(c))
	}
}

// parsed is the value of a column whose JSON the row has.
func (r *Row) parsed(i int) value.Value {
	c := &r.shape.columns[i]
	v, _ := value.FromJSON([]byte(r.text(c)), c.typ) // it was read once
	return v
}

// text is what a slot has the place of.
func (r *Row) text(c *column) string {
	place := load(r.data[c.slot:])
	from := uint32(place)
	return r.data[from : from+uint32(place>>32)]
}

// load is the number that the first 8 bytes of s are, little-endian.
func load(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// AppendRaw appends the JSON of a column, which must not be absent.
func (r *Row) AppendRaw(b []byte, i int) []byte {
	if r.data[i] == asText {
		return append(b, r.text(&r.shape.columns[i])...)
	}
	return r.Value(i).AppendJSON(b)
}

// Document is the record's document, for the caller to keep.
func (r *Row) Document() []byte { return r.Picked(func(int) bool { return true }, true) }

// Picked is the document with the members of the columns that pick wants, and with rest those that are no
// columns. One that was not taken apart is whole.
func (r *Row) Picked(pick func(i int) bool, rest bool) []byte {
	if r.shape == nil {
		return []byte(r.data[:r.key])
	}
	out := append(make([]byte, 0, len(r.data)+16*len(r.shape.names)), '{')
	for i := range r.shape.Len() {
		if r.data[i] == absent || !pick(i) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(out, r.shape.columns[i].quoted...), ':')
		out = r.AppendRaw(out, i)
	}
	if more := r.data[r.rest:r.key]; rest && more != "" {
		if len(out) == 1 {
			more = more[1:] // its comma
		}
		out = append(out, more...)
	}
	return append(out, '}')
}

// Fields reads some columns of rows. It is for one goroutine.
type Fields struct {
	fields *document.Fields
	shape  *Shape
	at     []int // the positions of the columns in shape; nil when it lacks one
}

// NewFields reads the columns of f.
func NewFields(f *document.Fields) *Fields { return &Fields{fields: f} }

// Read reads the columns of a row. into must have room for them, and is part of the result from then on.
func (f *Fields) Read(r *Row, into []value.Value) (document.Values, error) {
	if r.shape != f.shape {
		f.bind(r.shape)
	}
	if f.at == nil {
		return f.fields.ReadInto(r.Document(), into)
	}
	for i, at := range f.at {
		into[i] = r.Value(at)
	}
	return f.fields.Of(into), nil
}

func (f *Fields) bind(s *Shape) {
	f.shape, f.at = s, nil
	if s == nil {
		return
	}
	at := make([]int, 0, f.fields.Len())
	for name, t := range f.fields.Columns() {
		i := s.Position(name, t)
		if i < 0 {
			return
		}
		at = append(at, i)
	}
	f.at = at
}
