package cond

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/errs"
)

// maxDepth is how deeply the objects of a condition in JSON may be nested. The text
// often comes from outside of the program, so the limit is lower than MaxDepth.
const maxDepth = 100

// operators are the operators of a column in JSON. Letter case does not matter.
var operators = []Op{Eq, Ne, Gt, Gte, Lt, Lte, In, NotIn, Between, Like, ILike, StartsWith, EndsWith, Contains, ContainsAny, ContainsAll, Regexp, IsNull, NotNull}

// Parse reads a condition in JSON: an object whose members must all be true.
//
//	{"age": 30}                          equal; null means is null
//	{"age": [30, 31]}                    one of these
//	{"age": {"gte": 30, "lt": 40}}       both operators must be true
//	{"age": {"between": [30, 40]}}       both ends included
//	{"city": {"isNull": true}}           false means is not null
//	{"address.city": "Oslo"}             of a member of a JSON column
//	{"tags": {"contains": "go"}}         a list with this element; also containsAny and containsAll of several
//	{"or": [{…}, {…}], "and": […], "not": {…}}
//
// Values stay JSON until Bind reads them as the column's type, so large integers and
// decimals keep all their digits. Every error is an errs.ErrInvalid that names the
// path inside the JSON, such as or[1].age.gte.
func Parse(text []byte) (Node, error) {
	p := parser{dec: jsontext.NewDecoder(strings.NewReader(string(text)))}
	n, err := p.object("", 0)
	if err != nil {
		return Node{}, err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return Node{}, invalidAt("", "something follows the condition; pass one JSON object")
	}
	return n, nil
}

// parser reads a condition from dec. Its methods take the path of what comes next,
// for errors.
type parser struct{ dec *jsontext.Decoder }

// invalidAt is the ErrInvalid for what stands at path; "" is the whole condition.
func invalidAt(path, format string, args ...any) error {
	if path == "" {
		path = "the top"
	}
	return fmt.Errorf("%w: condition in JSON, at %s: %s", errs.ErrInvalid, path, fmt.Sprintf(format, args...))
}

// join is the path of a member of the object at path.
func join(path, member string) string {
	if path == "" {
		return member
	}
	return path + "." + member
}

// members reads the object that comes next, and calls each with the name and path of
// every member. each must read the member's value.
func (p parser) members(path string, depth int, each func(name, path string) error) error {
	if depth > maxDepth {
		return invalidAt(path, "nested more than %d deep", maxDepth)
	}
	if kind := p.dec.PeekKind(); kind != '{' {
		return p.unexpected(path, "an object")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return invalidAt(path, "%v", err)
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return invalidAt(path, "%v", err)
		}
		text := name.String()
		if err := each(text, join(path, text)); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// elements reads the array that comes next, and calls each with the path of every
// element. each must read the element.
func (p parser) elements(path string, each func(path string) error) error {
	if p.dec.PeekKind() != '[' {
		return p.unexpected(path, "an array")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return invalidAt(path, "%v", err)
	}
	for i := 0; p.dec.PeekKind() != ']'; i++ {
		if err := each(path + "[" + strconv.Itoa(i) + "]"); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// unexpected is the error for a next value that is not what was wanted. It quotes the
// value's first 60 bytes.
func (p parser) unexpected(path, wanted string) error {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return invalidAt(path, "not JSON: %v", err)
	}
	if len(raw) > 60 {
		raw = append(raw[:60:60], "…"...)
	}
	return invalidAt(path, "%s, which is not %s", raw, wanted)
}

// object reads a condition: the And of what its members ask.
func (p parser) object(path string, depth int) (Node, error) {
	out := Node{Op: And}
	err := p.members(path, depth, func(name, path string) error {
		var kid Node
		var err error
		switch Op(name) {
		case And, Or:
			kid = Node{Op: Op(name)}
			err = p.elements(path, func(path string) error {
				n, err := p.object(path, depth+1)
				kid.Kids = append(kid.Kids, n)
				return err
			})
		case Not:
			kid, err = p.object(path, depth+1)
			kid = Node{Op: Not, Kids: []Node{kid}}
		default:
			kid, err = p.column(name, path, depth)
		}
		out.Kids = append(out.Kids, kid)
		return err
	})
	return out, err
}

// column reads the value of a member that names a column: operators, a list of
// values, or one value to be equal to.
func (p parser) column(name, path string, depth int) (Node, error) {
	switch p.dec.PeekKind() {
	case '{':
		out := Node{Op: And}
		err := p.members(path, depth+1, func(op, path string) error {
			kid, err := p.operator(name, op, path)
			out.Kids = append(out.Kids, kid)
			return err
		})
		if err == nil && len(out.Kids) == 0 {
			err = invalidAt(path, "no operator here; the operators are %s", operatorNames())
		}
		return out, err
	case '[':
		values, err := p.values(path)
		return Node{Op: In, Column: name, Values: values, Path: path}, err
	default:
		x, err := p.value(path)
		return Node{Op: Eq, Column: name, Values: []any{x}, Path: path}, err
	}
}

// operator reads the operand of one operator of a column.
func (p parser) operator(column, name, path string) (Node, error) {
	i := slices.IndexFunc(operators, func(op Op) bool { return strings.EqualFold(string(op), name) })
	if i < 0 {
		return Node{}, invalidAt(path, "unknown operator; the operators are %s", operatorNames())
	}
	n := Node{Op: operators[i], Column: column, Path: path}
	var err error
	switch n.Op {
	case In, NotIn, Between, ContainsAny, ContainsAll:
		n.Values, err = p.values(path)
		if err == nil && n.Op == Between && len(n.Values) != 2 {
			err = invalidAt(path, "%d values; between takes two, the lowest and the highest", len(n.Values))
		}
	case IsNull, NotNull:
		switch p.dec.PeekKind() {
		case 't':
		case 'f':
			n.Op = map[Op]Op{IsNull: NotNull, NotNull: IsNull}[n.Op] // {"isNull": false}
		default:
			return n, p.unexpected(path, "true or false")
		}
		_, err = p.dec.ReadToken()
	default:
		var x any
		x, err = p.value(path)
		n.Values = []any{x}
	}
	return n, err
}

// values reads an array of values. An empty one is not nil: In of it selects none.
func (p parser) values(path string) ([]any, error) {
	out := []any{}
	err := p.elements(path, func(path string) error {
		x, err := p.value(path)
		out = append(out, x)
		return err
	})
	return out, err
}

// value is the next JSON value as raw text, which Bind reads as the column's type. The
// copy is needed because the decoder uses its buffer again.
func (p parser) value(path string) (any, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return nil, invalidAt(path, "not JSON: %v", err)
	}
	return json.RawMessage(slices.Clone(raw)), nil
}

// operatorNames lists the operators for an error.
func operatorNames() string {
	names := make([]string, len(operators))
	for i, op := range operators {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}
