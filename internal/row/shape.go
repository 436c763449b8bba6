package row

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Shape says where the values of a model's columns are in rows. It is immutable.
type Shape struct {
	columns []column
	names   map[string]int // the positions of the columns, without the folded ones
	head    int            // the bytes of the states and the slots
}

// column is a column of the model, or the text of one in which letter case does not matter.
type column struct {
	name   string // "" of a folded one
	quoted string // the name in JSON
	typ    value.Type
	slot   int // the offset of its slot
	folded int // the position of its folded text; -1 when there is none
}

// The states of a column in a row.
const (
	absent byte = iota // the document has no such member
	null
	plain  // the slot has the value, or its place
	asText // the slot has the place of its JSON: natsorm would write the value differently
)

// NewShape is the shape of the rows of a model. Position i in it is column i of the definition.
func NewShape(def *schema.Definition) *Shape {
	s := &Shape{names: make(map[string]int, len(def.Columns))}
	for i, col := range def.Columns {
		quoted, _ := document.Quote(col.Name) // names are valid UTF-8
		s.columns = append(s.columns, column{name: col.Name, quoted: string(quoted), typ: col.Type, folded: -1})
		s.names[col.Name] = i
	}
	for i, col := range def.Columns {
		if def.Folds(i) {
			s.columns[i].folded = len(s.columns)
			s.columns = append(s.columns, column{typ: col.Type, folded: -1})
		}
	}
	s.head = len(s.columns)
	for i := range s.columns {
		s.columns[i].slot = s.head
		s.head += slotSize(s.columns[i].typ)
	}
	return s
}

func slotSize(t value.Type) int {
	if t == value.Time {
		return 16
	}
	return 8
}

// Position is where a column is; -1 when the shape has none of that name and type.
func (s *Shape) Position(name string, t value.Type) int {
	if i, ok := s.names[name]; ok && s.columns[i].typ == t {
		return i
	}
	return -1
}

// Len is the number of columns.
func (s *Shape) Len() int { return len(s.names) }

// Name and Type are those of a column.
func (s *Shape) Name(i int) string     { return s.columns[i].name }
func (s *Shape) Type(i int) value.Type { return s.columns[i].typ }

// Folded is the position of the text of a column in which letter case does not matter. It is -1 for
// a column that no index folds.
func (s *Shape) Folded(i int) int { return s.columns[i].folded }

// Same reports whether rows of the two shapes are alike.
func (s *Shape) Same(o *Shape) bool { return slices.Equal(s.columns, o.columns) }

// Packer makes rows. It keeps its buffers from one to the next, and is for one goroutine.
type Packer struct {
	shape       *Shape
	data, extra []byte
	scratch     []byte
}

// NewPacker is a Packer of rows of a shape.
func NewPacker(s *Shape) *Packer { return &Packer{shape: s} }

// Pack is the row of a record: its key, its document, and what its message says besides.
func (p *Packer) Pack(key string, doc []byte, revision, fence, schema uint64) *Row {
	r := &Row{Revision: revision, Fence: fence, Schema: schema}
	if !p.pack(doc) {
		r.data = string(append(append(p.data[:0], doc...), key...))
		r.rest, r.key = 0, uint32(len(doc))
		return r
	}
	r.shape, r.rest = p.shape, uint32(len(p.data))
	p.data = append(p.data, p.extra...)
	r.key = uint32(len(p.data))
	p.data = append(p.data, key...)
	r.data = string(p.data)
	return r
}

// pack puts a document into data and extra. It returns false for one that cannot be taken apart.
func (p *Packer) pack(doc []byte) bool {
	s := p.shape
	if len(doc) > math.MaxUint32/4 {
		return false
	}
	p.data = append(p.data[:0], make([]byte, s.head)...)
	p.extra = p.extra[:0]
	next := 0 // most documents have their members in the order of the columns
	err := document.Members(doc, func(name jsontext.Value) int {
		for n := range s.Len() {
			i := next + n
			if i >= s.Len() {
				i -= s.Len()
			}
			if string(name) == s.columns[i].quoted {
				next = i + 1
				return i
			}
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			if plain, err := jsontext.AppendUnquote(nil, name); err == nil {
				if i, ok := s.names[string(plain)]; ok {
					return i
				}
			}
		}
		p.extra = append(append(append(p.extra, ','), name...), ':')
		return s.Len()
	}, func(i int, raw jsontext.Value) (bool, error) {
		if i == s.Len() {
			p.extra = append(p.extra, raw...)
			return true, nil
		}
		return true, p.put(i, raw)
	})
	return err == nil
}

// put sets a column to a JSON value.
func (p *Packer) put(i int, raw []byte) error {
	c := &p.shape.columns[i]
	v, err := value.FromJSON(raw, c.typ)
	if err != nil {
		return err
	}
	if v.IsNull() {
		p.data[i] = null
	} else if p.scratch = v.AppendJSON(p.scratch[:0]); c.typ != value.Decimal && bytes.Equal(p.scratch, raw) {
		p.set(i, v)
	} else {
		p.data[i] = asText
		p.place(i, string(raw))
	}
	if c.folded >= 0 {
		p.fold(i, v)
	}
	return nil
}

// fold sets the folded text of a column that has the value v. Where it is the same, it has the same
// place.
func (p *Packer) fold(i int, v value.Value) {
	at := p.shape.columns[i].folded
	switch folded := value.Fold(v); {
	case v.IsNull():
		p.data[at] = null
	case p.data[i] == plain && value.Equal(folded, v):
		from, to := p.shape.columns[i].slot, p.shape.columns[at].slot
		p.data[at] = plain
		copy(p.data[to:to+8], p.data[from:from+8])
	default:
		p.set(at, folded)
	}
}

// set sets a column to a value that is not null, of the column's type.
func (p *Packer) set(i int, v value.Value) {
	p.data[i] = plain
	slot := p.data[p.shape.columns[i].slot:]
	switch p.shape.columns[i].typ {
	case value.Bool:
		slot[0] = 0
		if v.Bool() {
			slot[0] = 1
		}
	case value.Int, value.Uint:
		binary.LittleEndian.PutUint64(slot, v.Uint())
	case value.Float:
		binary.LittleEndian.PutUint64(slot, math.Float64bits(v.Float()))
	case value.Time:
		at := v.Time()
		binary.LittleEndian.PutUint64(slot, uint64(at.Unix()))
		binary.LittleEndian.PutUint64(slot[8:], uint64(at.Nanosecond()))
	case value.Decimal:
		p.data[i] = asText
		p.place(i, string(v.AppendJSON(nil)))
	default:
		p.place(i, v.Str())
	}
}

// place puts a text behind what is there, and its place into a column's slot.
func (p *Packer) place(i int, text string) {
	slot := p.data[p.shape.columns[i].slot:]
	binary.LittleEndian.PutUint32(slot, uint32(len(p.data)))
	binary.LittleEndian.PutUint32(slot[4:], uint32(len(text)))
	p.data = append(p.data, text...)
}
