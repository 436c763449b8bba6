package document

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/natsorm/natsorm/internal/schema"
)

// Names gives members of documents other names. It is immutable, and nil is one that changes
// nothing.
type Names struct {
	from []string
	to   []string // the new name of each; "": the member goes
}

// NamesOf gives the members of a model's records the names that its columns have now: those
// with a former name get the column's, and those of dropped columns go. It is nil for a model
// without former names.
func NamesOf(def *schema.Definition) *Names {
	var n *Names
	for _, f := range def.Former {
		if f.Freed == 0 {
			n = n.add(f.Name, f.Column)
		}
	}
	return n
}

// NamesFor gives the members of records of a newer version of a model the names that a program
// knows which knows the model as mine.
func NamesFor(mine, now *schema.Definition) *Names {
	in := now.In(mine)
	var n *Names
	for i, col := range now.Columns {
		if name := in.Columns[i].Name; name != col.Name {
			n = n.add(col.Name, name)
		}
	}
	for _, f := range now.Former {
		if at := now.Position(f.Column); f.Freed == 0 && at >= 0 && in.Columns[at].Name != f.Name {
			n = n.add(f.Name, in.Columns[at].Name)
		}
	}
	return n
}

// DeclaredNames are between a model and a program whose records declare columns by former names.
// out gives the names of the catalogue to what the program writes, and in the program's names to
// what it reads. dropped are the columns that the program declares and that were dropped, which
// out takes away. writes reports whether the program's records have a member.
func DeclaredNames(def *schema.Definition, writes func(name string) bool) (in, out *Names, dropped []string) {
	for _, f := range def.Former {
		switch {
		case f.Freed > 0 || !writes(f.Name):
		case f.Dropped():
			out, dropped = out.add(f.Name, ""), append(dropped, f.Name)
		default:
			out, in = out.add(f.Name, f.Column), in.add(f.Column, f.Name)
		}
	}
	return in, out, dropped
}

func (n *Names) add(from, to string) *Names {
	if n == nil {
		n = &Names{}
	}
	n.from, n.to = append(n.from, from), append(n.to, to)
	return n
}

// List is each member that gets another name, with that.
func (n *Names) List() (out [][2]string) {
	if n != nil {
		for i := range n.from {
			out = append(out, [2]string{n.from[i], n.to[i]})
		}
	}
	return out
}

// To is the new name of a member; the same for one that keeps its name, and "" for one that goes.
func (n *Names) To(name string) string {
	if n != nil {
		if i := slices.Index(n.from, name); i >= 0 {
			return n.to[i]
		}
	}
	return name
}

// Apply returns doc with the new names. It is doc itself when nothing changes, and when doc cannot
// be read: whoever reads it says so. A member whose new name another one has goes: that one was
// written by somebody who knew the new name.
func (n *Names) Apply(doc []byte) []byte {
	if n == nil || doc == nil {
		return doc
	}
	var present []string
	found := false
	err := Members(doc, func(name jsontext.Value) int {
		plain := plainName(name)
		if n.To(plain) == plain {
			present = append(present, plain)
		} else {
			found = true
		}
		return -1
	}, nil)
	if err != nil || !found {
		return doc
	}
	out := append(make([]byte, 0, len(doc)), '{')
	err = Members(doc, func(name jsontext.Value) int {
		plain := plainName(name)
		to := n.To(plain)
		if to != plain {
			if to == "" || slices.Contains(present, to) {
				return -1
			}
			present = append(present, to)
			quoted, err := Quote(to)
			if err != nil {
				return -1
			}
			name = quoted
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
	if err != nil {
		return doc
	}
	return append(out, '}')
}
