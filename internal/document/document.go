// Package document reads and changes the JSON documents of records. It walks the
// members of the top object and decodes only those that it is asked for; all others
// stay bytes, so what natsorm does not know is kept exactly as it was written.
//
// # Input
//
// A document is one JSON object in UTF-8, and no name comes twice in it. Everything
// here fails with an error for other input, or with ErrNotObject when it is JSON but
// no object. A reader that has found all it wants stops: what follows in the document
// is then not checked.
package document

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// ErrNotObject says that a document is JSON but not an object.
var ErrNotObject = errors.New("not a JSON object")

// ColumnError says that a member's value does not fit the type of its column.
type ColumnError struct {
	Column string // the column's name
	Err    error  // why the value does not fit, from package value
}

func (e *ColumnError) Error() string { return "column " + e.Column + ": " + e.Err.Error() }
func (e *ColumnError) Unwrap() error { return e.Err }

// Invalid is the errs.ErrInvalid for a document that does not fit its model. err is
// what reading it returned; the column of a ColumnError becomes the error's field.
func Invalid(model string, err error) error {
	var column *ColumnError
	if errors.As(err, &column) {
		return errs.Invalidf(model, column.Column, "%v", column.Err)
	}
	return errs.Invalidf(model, "", "%v", err)
}

// Fields is a set of columns to read from documents. It is immutable, so goroutines
// may share it.
type Fields struct {
	columns []schema.Column
	at      []int // for each column of the definition: its position among columns, or -1
}

// NewFields is the set of the columns at these positions of def. A position may come
// more than once.
func NewFields(def *schema.Definition, positions ...int) *Fields {
	f := &Fields{at: slices.Repeat([]int{-1}, len(def.Columns))}
	for _, p := range positions {
		if f.at[p] < 0 {
			f.at[p] = len(f.columns)
			f.columns = append(f.columns, def.Columns[p])
		}
	}
	return f
}

// Values are the values of one document in the columns of a Fields.
type Values struct {
	fields *Fields
	values []value.Value
}

// ValuesOf are values that were not read from a document: the one at each position is of the
// column at that position.
func ValuesOf(values []value.Value) Values {
	f := &Fields{at: make([]int, len(values))}
	for i := range f.at {
		f.at[i] = i
	}
	return Values{fields: f, values: values}
}

// At is the value of the column at this position of the definition. It is null when
// the document does not have the member. At panics when the Fields that read the
// document do not have the column.
func (v Values) At(position int) value.Value { return v.values[v.fields.at[position]] }

// Read reads the columns of f from doc. A value that does not fit its column is a
// *ColumnError. Read stops at the last column that it wants, so a nil error does not
// mean that the rest of doc is valid.
func (f *Fields) Read(doc []byte) (Values, error) {
	return f.ReadInto(doc, make([]value.Value, len(f.columns)))
}

// Len is the number of columns.
func (f *Fields) Len() int { return len(f.columns) }

// Columns yields the names and types of the columns.
func (f *Fields) Columns() iter.Seq2[string, value.Type] {
	return func(yield func(string, value.Type) bool) {
		for _, c := range f.columns {
			if !yield(c.Name, c.Type) {
				return
			}
		}
	}
}

// Of are values of the columns, in their order, that come from elsewhere.
func (f *Fields) Of(values []value.Value) Values { return Values{fields: f, values: values} }

// ReadInto is Read without an allocation: into must have Len values, and is part of the
// result from then on.
func (f *Fields) ReadInto(doc []byte, into []value.Value) (Values, error) {
	clear(into)
	out := Values{fields: f, values: into}
	if len(into) == 0 {
		return out, nil
	}
	missing := len(f.columns)
	err := Members(doc, f.match, func(i int, raw jsontext.Value) (more bool, err error) {
		if out.values[i], err = value.FromJSON(raw, f.columns[i].Type); err != nil {
			return false, &ColumnError{Column: f.columns[i].Name, Err: err}
		}
		missing--
		return missing > 0, nil
	})
	return out, err
}

// Raw returns the raw JSON value of each of these members of doc, in the order of
// names. It is nil for a member that doc does not have.
func Raw(doc []byte, names []string) ([][]byte, error) {
	out := make([][]byte, len(names))
	err := Members(doc, func(name jsontext.Value) int {
		return slices.Index(names, plainName(name))
	}, func(i int, raw jsontext.Value) (bool, error) {
		out[i] = bytes.Clone(raw)
		for j := i + 1; j < len(names); j++ { // names may have a name twice
			if names[j] == names[i] {
				out[j] = out[i]
			}
		}
		return true, nil
	})
	return out, err
}

// match is the position in columns of the column with this quoted name, or -1. It does
// not use plainName, which would allocate for every member.
func (f *Fields) match(name jsontext.Value) int {
	plain := name[1 : len(name)-1]
	if bytes.IndexByte(plain, '\\') >= 0 {
		plain = []byte(plainName(name))
	}
	for i := range f.columns {
		if f.columns[i].Name == string(plain) {
			return i
		}
	}
	return -1
}

// decoders are kept for reuse: their buffers are most of what reading a small document
// would allocate.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil)) }}

// Members walks the members of the object doc. For each one it calls want with the
// quoted name. If want returns a number i >= 0, it then calls visit with i and the raw
// value; a negative number skips the member. When visit returns false, or an error, the
// rest of doc is neither read nor checked. The slices given to want and visit are valid
// only during the call.
func Members(doc []byte, want func(name jsontext.Value) int, visit func(i int, raw jsontext.Value) (more bool, err error)) error {
	dec := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(doc)) // a bytes.Buffer is decoded in place, without a copy
	if dec.PeekKind() != '{' {
		if _, err := dec.ReadValue(); err != nil {
			return syntax(err)
		}
		return ErrNotObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntax(err)
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadValue()
		if err != nil {
			return syntax(err)
		}
		i := want(name)
		raw, err := dec.ReadValue()
		if err != nil {
			return syntax(err)
		}
		if i < 0 {
			continue
		}
		if more, err := visit(i, raw); err != nil || !more {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntax(err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// syntax is the error for text that is not JSON. The decoder's own says "EOF" for text
// that was cut off.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON text ends too early")
	}
	return err
}

// Member is a member to write into a document.
type Member struct {
	Name string // not quoted
	Raw  []byte // the value: one JSON value
}

// Patch returns a copy of doc with these members set. A member that doc has keeps its
// place and gets the new value; the others are added at the end, in the order of set.
// Every other member stays as it was.
func Patch(doc []byte, set []Member) ([]byte, error) {
	done := make([]bool, len(set))
	out := make([]byte, 0, len(doc)+64)
	out = append(out, '{')
	comma := func() {
		if len(out) > 1 {
			out = append(out, ',')
		}
	}
	err := Members(doc, func(name jsontext.Value) int {
		comma()
		out = append(append(out, name...), ':') // the name now, the value in the next function
		for i, m := range set {
			if m.Name == plainName(name) {
				return i
			}
		}
		return len(set) // not to be set: its own value is copied
	}, func(i int, raw jsontext.Value) (bool, error) {
		if i < len(set) {
			raw, done[i] = set[i].Raw, true
		}
		out = append(out, raw...)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for i, m := range set {
		if done[i] {
			continue
		}
		comma()
		if out, err = jsontext.AppendQuote(out, m.Name); err != nil {
			return nil, err
		}
		out = append(append(out, ':'), m.Raw...)
	}
	return append(out, '}'), nil
}

// Pick returns a copy of doc that has only the members with these names, in doc's order.
func Pick(doc []byte, names []string) ([]byte, error) {
	return filter(doc, func(name string) bool { return slices.Contains(names, name) })
}

// Without returns a copy of doc that has none of the members with these names. It returns
// doc itself when that has none.
func Without(doc []byte, names []string) ([]byte, error) {
	found := false
	err := Members(doc, func(name jsontext.Value) int {
		found = found || slices.Contains(names, plainName(name))
		return -1
	}, nil)
	if err != nil || !found {
		return doc, err
	}
	return filter(doc, func(name string) bool { return !slices.Contains(names, name) })
}

// filter returns a copy of doc that has only the members whose names are to stay.
func filter(doc []byte, stays func(name string) bool) ([]byte, error) {
	out := make([]byte, 0, len(doc))
	out = append(out, '{')
	err := Members(doc, func(name jsontext.Value) int {
		if !stays(plainName(name)) {
			return -1
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(out, name...), ':')
		return 0
	}, func(_ int, raw jsontext.Value) (bool, error) {
		out = append(out, raw...)
		return true, nil
	})
	return append(out, '}'), err
}

// Adopt returns doc with members of old added: those that doc does not have and for
// which known is false. With known naming the model's own columns, what another program
// has stored in a record survives a Save of the whole record.
func Adopt(doc, old []byte, known func(name string) bool) ([]byte, error) {
	var foreign []Member
	err := Members(old, func(name jsontext.Value) int {
		plain := plainName(name)
		if known(plain) {
			return -1
		}
		foreign = append(foreign, Member{Name: plain})
		return len(foreign) - 1
	}, func(i int, raw jsontext.Value) (bool, error) {
		foreign[i].Raw = bytes.Clone(raw)
		return true, nil
	})
	if err != nil || len(foreign) == 0 {
		return doc, err
	}
	// Members that doc has itself are not adopted.
	err = Members(doc, func(name jsontext.Value) int {
		foreign = slices.DeleteFunc(foreign, func(m Member) bool { return m.Name == plainName(name) })
		return -1
	}, nil)
	if err != nil {
		return nil, err
	}
	return Patch(doc, foreign)
}

// plainName is the text of a quoted name. The decoder has checked that it is valid.
func plainName(name jsontext.Value) string {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name[1 : len(name)-1])
	}
	plain, _ := jsontext.AppendUnquote(nil, name)
	return string(plain)
}

// Quote returns s as a JSON string. It fails when s is not valid UTF-8.
func Quote(s string) ([]byte, error) { return jsontext.AppendQuote(nil, s) }

// Scalar reads raw as the value of a column of type t. raw must be exactly one JSON
// value; space around it is allowed.
func Scalar(raw []byte, t value.Type) (value.Value, error) {
	if !jsontext.Value(raw).IsValid() {
		return value.Null, errors.New("not JSON")
	}
	return value.FromJSON(bytes.TrimSpace(raw), t)
}

// Diff returns the names of the members that are not the same in a and b: first those
// that b has, in its order, then those that only a has. Values are compared byte for
// byte. Of a document that cannot be read, only the members before the broken place
// count.
func Diff(a, b []byte) []string {
	type member struct {
		name string
		raw  string
	}
	list := func(doc []byte) (out []member) {
		_ = Members(doc, func(name jsontext.Value) int { // as far as it can be read
			out = append(out, member{name: plainName(name)})
			return len(out) - 1
		}, func(i int, raw jsontext.Value) (bool, error) {
			out[i].raw = string(raw)
			return true, nil
		})
		return out
	}
	old := map[string]string{}
	olds := list(a)
	for _, m := range olds {
		old[m.name] = m.raw
	}
	var out []string
	for _, m := range list(b) {
		if raw, ok := old[m.name]; !ok || raw != m.raw {
			out = append(out, m.name)
		}
		delete(old, m.name)
	}
	for _, m := range olds {
		if _, ok := old[m.name]; ok {
			out = append(out, m.name)
		}
	}
	return out
}
