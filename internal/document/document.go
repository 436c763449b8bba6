// Package document reads and changes the JSON documents that records are,
// without decoding more of them than is asked for.
package document

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// ErrNotObject is what a document is that is JSON but no object.
var ErrNotObject = errors.New("not a JSON object")

// ColumnError is a member that does not fit its column.
type ColumnError struct {
	Column string
	Err    error
}

func (e *ColumnError) Error() string { return "column " + e.Column + ": " + e.Err.Error() }
func (e *ColumnError) Unwrap() error { return e.Err }

// Invalid is the ErrInvalid for a document that does not fit its model.
func Invalid(model string, err error) error {
	var column *ColumnError
	if errors.As(err, &column) {
		return errs.Invalidf(model, column.Column, "%v", column.Err)
	}
	return errs.Invalidf(model, "", "%v", err)
}

// Fields is a set of columns to read from documents. It is immutable, so that
// one may be used by many goroutines.
type Fields struct {
	columns []schema.Column
	at      []int // by column of the definition: the position among columns, or -1
}

// NewFields selects columns, by position, of a definition.
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

// Values are the columns of one document that were asked for.
type Values struct {
	fields *Fields
	values []value.Value
}

// At is the value of the column at this position of the definition. An absent
// member is null. It panics when the column was not asked for.
func (v Values) At(position int) value.Value { return v.values[v.fields.at[position]] }

// Read reads the selected columns of doc. The error says what is wrong with
// the document; whether the rest of it is sound is only known as far as the
// reading went.
func (f *Fields) Read(doc []byte) (Values, error) {
	return f.ReadInto(doc, make([]value.Value, len(f.columns)))
}

// Len is how many columns are read.
func (f *Fields) Len() int { return len(f.columns) }

// ReadInto is Read into a slice of Len values, which the Values then hold.
func (f *Fields) ReadInto(doc []byte, into []value.Value) (Values, error) {
	clear(into)
	out := Values{fields: f, values: into}
	if len(into) == 0 {
		return out, nil
	}
	missing := len(f.columns)
	err := members(doc, f.match, func(i int, raw jsontext.Value) (more bool, err error) {
		if out.values[i], err = value.FromJSON(raw, f.columns[i].Type); err != nil {
			return false, &ColumnError{Column: f.columns[i].Name, Err: err}
		}
		missing--
		return missing > 0, nil
	})
	return out, err
}

// Raw is the raw JSON values of the members of doc with these names, nil where it
// has none.
func Raw(doc []byte, names []string) ([][]byte, error) {
	out := make([][]byte, len(names))
	err := members(doc, func(name jsontext.Value) int {
		return slices.Index(names, plainName(name))
	}, func(i int, raw jsontext.Value) (bool, error) {
		out[i] = bytes.Clone(raw)
		for j := i + 1; j < len(names); j++ { // a name may come twice
			if names[j] == names[i] {
				out[j] = out[i]
			}
		}
		return true, nil
	})
	return out, err
}

// match finds the column that a member's quoted name is.
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

var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil)) }}

// members walks the members of the object doc. It asks want for each quoted
// name, and where the answer is not negative calls visit with it and the raw
// value. When visit needs no more, the rest is left unread and unchecked. What
// want and visit are given is valid only during the call.
func members(doc []byte, want func(name jsontext.Value) int, visit func(i int, raw jsontext.Value) (more bool, err error)) error {
	dec := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(doc))
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
		return errors.New("more than one JSON value")
	}
	return nil
}

func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON text ends too early")
	}
	return err
}

// Member is one member of a document to write: its raw JSON value.
type Member struct {
	Name string
	Raw  []byte
}

// Patch is doc with these members set: those it has in their place, the others
// added at the end, every other member as it was.
func Patch(doc []byte, set []Member) ([]byte, error) {
	done := make([]bool, len(set))
	out := make([]byte, 0, len(doc)+64)
	out = append(out, '{')
	comma := func() {
		if len(out) > 1 {
			out = append(out, ',')
		}
	}
	err := members(doc, func(name jsontext.Value) int {
		comma()
		out = append(append(out, name...), ':')
		for i, m := range set {
			if m.Name == plainName(name) {
				return i
			}
		}
		return len(set)
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

// Pick is doc with only the members of these names.
func Pick(doc []byte, names []string) ([]byte, error) {
	out := make([]byte, 0, len(doc))
	out = append(out, '{')
	err := members(doc, func(name jsontext.Value) int {
		if !slices.Contains(names, plainName(name)) {
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

// Adopt is doc with the members of old that it does not have and known does
// not name: what another program stored there survives a save of the whole.
func Adopt(doc, old []byte, known func(name string) bool) ([]byte, error) {
	var foreign []Member
	err := members(old, func(name jsontext.Value) int {
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
	err = members(doc, func(name jsontext.Value) int {
		foreign = slices.DeleteFunc(foreign, func(m Member) bool { return m.Name == plainName(name) })
		return -1
	}, nil)
	if err != nil {
		return nil, err
	}
	return Patch(doc, foreign)
}

// plainName is the text of a quoted name that the decoder has checked.
func plainName(name jsontext.Value) string {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name[1 : len(name)-1])
	}
	plain, _ := jsontext.AppendUnquote(nil, name)
	return string(plain)
}

// Quote is s as a JSON string. It fails when s is not valid UTF-8.
func Quote(s string) ([]byte, error) { return jsontext.AppendQuote(nil, s) }

// Scalar reads raw, one whole JSON value, as a column of type t.
func Scalar(raw []byte, t value.Type) (value.Value, error) {
	if !jsontext.Value(raw).IsValid() {
		return value.Null, errors.New("not JSON")
	}
	return value.FromJSON(bytes.TrimSpace(raw), t)
}

// Diff names the members that differ between two documents, in the order of b
// and then of a. Documents that can not be read differ in nothing.
func Diff(a, b []byte) []string {
	type member struct {
		name string
		raw  string
	}
	list := func(doc []byte) (out []member) {
		_ = members(doc, func(name jsontext.Value) int { // as far as it can be read
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
