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

// maxDepth bounds how deeply conditions in JSON are nested.
const maxDepth = 100

// operators are those of a column in JSON, by name.
var operators = []Op{Eq, Ne, Gt, Gte, Lt, Lte, In, NotIn, Between, Like, ILike, StartsWith, EndsWith, Contains, Regexp, IsNull, NotNull}

// Parse reads a condition in JSON: an object whose members all must be true.
//
//	{"age": 30}                          equal; null asks for null
//	{"age": [30, 31]}                    one of
//	{"age": {"gte": 30, "lt": 40}}       operators, all of them
//	{"age": {"between": [30, 40]}}
//	{"city": {"isNull": true}}
//	{"or": [{…}, {…}], "and": […], "not": {…}}
//
// Errors name the path inside the JSON.
func Parse(text []byte) (Node, error) {
	p := parser{dec: jsontext.NewDecoder(strings.NewReader(string(text)))}
	n, err := p.object("", 0)
	if err != nil {
		return Node{}, err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return Node{}, fault("", "more follows the condition")
	}
	return n, nil
}

type parser struct{ dec *jsontext.Decoder }

func fault(path, format string, args ...any) error {
	if path == "" {
		path = "the top"
	}
	return fmt.Errorf("%w: condition in JSON, at %s: %s", errs.ErrInvalid, path, fmt.Sprintf(format, args...))
}

// join is the path of a member or an element.
func join(path, member string) string {
	if path == "" {
		return member
	}
	return path + "." + member
}

// members calls each with every member of the object that comes next.
func (p parser) members(path string, depth int, each func(name, path string) error) error {
	if depth > maxDepth {
		return fault(path, "nested more than %d deep", maxDepth)
	}
	if kind := p.dec.PeekKind(); kind != '{' {
		return p.unexpected(path, "an object")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return fault(path, "%v", err)
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return fault(path, "%v", err)
		}
		text := name.String()
		if err := each(text, join(path, text)); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// elements calls each for every element of the array that comes next.
func (p parser) elements(path string, each func(path string) error) error {
	if p.dec.PeekKind() != '[' {
		return p.unexpected(path, "an array")
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return fault(path, "%v", err)
	}
	for i := 0; p.dec.PeekKind() != ']'; i++ {
		if err := each(path + "[" + strconv.Itoa(i) + "]"); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// unexpected says what is there instead of what is wanted.
func (p parser) unexpected(path, wanted string) error {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return fault(path, "not JSON: %v", err)
	}
	if len(raw) > 60 {
		raw = append(raw[:60:60], "…"...)
	}
	return fault(path, "%s, which is not %s", raw, wanted)
}

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

// column reads what a column's member asks.
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
			err = fault(path, "no operator; the operators are %s", operatorNames())
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

func (p parser) operator(column, name, path string) (Node, error) {
	i := slices.IndexFunc(operators, func(op Op) bool { return strings.EqualFold(string(op), name) })
	if i < 0 {
		return Node{}, fault(path, "unknown operator; the operators are %s", operatorNames())
	}
	n := Node{Op: operators[i], Column: column, Path: path}
	var err error
	switch n.Op {
	case In, NotIn, Between:
		n.Values, err = p.values(path)
		if err == nil && n.Op == Between && len(n.Values) != 2 {
			err = fault(path, "%d values; between takes the lowest and the highest", len(n.Values))
		}
	case IsNull, NotNull:
		switch p.dec.PeekKind() {
		case 't':
		case 'f':
			n.Op = map[Op]Op{IsNull: NotNull, NotNull: IsNull}[n.Op]
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

func (p parser) values(path string) ([]any, error) {
	out := []any{}
	err := p.elements(path, func(path string) error {
		x, err := p.value(path)
		out = append(out, x)
		return err
	})
	return out, err
}

// value is the next JSON value, to be read as the column's type.
func (p parser) value(path string) (any, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return nil, fault(path, "not JSON: %v", err)
	}
	return json.RawMessage(slices.Clone(raw)), nil
}

func operatorNames() string {
	names := make([]string, len(operators))
	for i, op := range operators {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}
