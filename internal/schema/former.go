package schema

import (
	"iter"
	"slices"
	"strings"
)

// Former is a name that a column of the model had, before the column was renamed or dropped.
// Records, and programs that declare it, may have it still.
type Former struct {
	Name   string `json:"name"`
	Column string `json:"column,omitempty"` // what the column is called now; "" when it was dropped
	Since  uint64 `json:"since"`            // the revision of the document that it was added to

	// Closed says that programs that declare the name of a renamed column are refused.
	Closed bool `json:"closed,omitempty"`

	// Freed is the revision of the document after which the name may be that of another column;
	// 0 until then. What was said of it counts no more, but for programs that have not noticed.
	Freed uint64 `json:"freed,omitempty"`
}

// Dropped reports whether the column of the name was dropped.
func (f Former) Dropped() bool { return f.Column == "" }

// FormerName is the former name that is name, if it was not freed.
func (d *Definition) FormerName(name string) (Former, bool) {
	i := slices.IndexFunc(d.Former, func(f Former) bool { return f.Name == name && f.Freed == 0 })
	if i < 0 {
		return Former{}, false
	}
	return d.Former[i], true
}

// Current is what the column that was once called name is called now: name itself, unless the
// column was renamed.
func (d *Definition) Current(name string) string {
	if f, ok := d.FormerName(name); ok && !f.Dropped() {
		return f.Column
	}
	return name
}

// Called is what a caller calls the column at a position who has resolved name to it: a former
// name if that is the one that was used, and else the column's own.
func (d *Definition) Called(at int, name string) string {
	if f, ok := d.FormerName(name); ok && f.Column == d.Columns[at].Name {
		return name
	}
	return d.Columns[at].Name
}

// IndexOf is the position of the index of these columns, which may be called by former names,
// or -1.
func (d *Definition) IndexOf(columns []string, kind Kind) int {
	current := d.currents(columns)
	return slices.IndexFunc(d.Indexes, func(x Index) bool { return x.Kind() == kind && slices.Equal(x.Columns, current) })
}

// Declares reports whether a declaration, which may be older, has the index at a position of d.
func (d *Definition) Declares(code *Definition, i int) bool {
	return slices.ContainsFunc(code.Indexes, func(x Index) bool { return d.IndexOf(x.Columns, x.Kind()) == i })
}

func (d *Definition) currents(columns []string) []string {
	if len(d.Former) == 0 {
		return columns
	}
	out := make([]string, len(columns))
	for i, name := range columns {
		column, _ := Path(name)
		out[i] = d.Current(column) + strings.TrimPrefix(name, column)
	}
	return out
}

// In is d with the names, and the types, by which another definition knows its columns. The caller
// may not change what is in it.
func (d *Definition) In(other *Definition) *Definition {
	out := *d
	out.Columns = slices.Clone(d.Columns)
	for _, f := range d.Former {
		if at := d.Position(f.Column); f.Freed == 0 && at >= 0 && other.Position(f.Column) < 0 && other.Position(f.Name) >= 0 {
			out.Columns[at].Name = f.Name
		}
	}
	for i, c := range d.Columns {
		if at := other.Position(out.Columns[i].Name); at >= 0 && d.Had(c.Name, other.Columns[at].Type) >= 0 {
			out.Columns[i].Type = other.Columns[at].Type
		}
	}
	return &out
}

// maxNamings bounds Namings: names of a column multiply with those of others.
const maxNamings = 256

// Namings yields d, and d with names and types that some of its columns had, in every combination, for
// the columns at these positions. The caller may not change what is in them.
func (d *Definition) Namings(columns []int) iter.Seq[*Definition] {
	return func(yield func(*Definition) bool) {
		all := []*Definition{d}
		if !yield(d) {
			return
		}
		for _, f := range d.Former {
			at := d.Position(f.Column)
			if f.Freed > 0 || at < 0 || !slices.Contains(columns, at) {
				continue
			}
			for _, v := range all {
				if v.Columns[at].Name != f.Column {
					continue // by another former name
				}
				if len(all) == maxNamings {
					return
				}
				next := *v
				next.Columns = slices.Clone(v.Columns)
				next.Columns[at].Name = f.Name
				if all = append(all, &next); !yield(&next) {
					return
				}
			}
		}
		for _, c := range d.Converted {
			at := d.Position(c.Column)
			if c.Underway() || !slices.Contains(columns, at) {
				continue
			}
			for _, v := range all {
				if len(all) == maxNamings {
					return
				}
				next := *v
				next.Columns = slices.Clone(v.Columns)
				next.Columns[at].Type = c.From
				if all = append(all, &next); !yield(&next) {
					return
				}
			}
		}
	}
}

// Knows reports whether records by other have all names that records by d have, and their columns
// the same types: there was no renaming, dropping or conversion in between.
func (d *Definition) Knows(other *Definition) bool {
	if slices.ContainsFunc(other.Converted, func(c Conversion) bool {
		return !slices.ContainsFunc(d.Converted, func(g Conversion) bool { return c.From == g.From && c.Since == g.Since })
	}) {
		return false
	}
	return !slices.ContainsFunc(other.Former, func(f Former) bool {
		return !slices.ContainsFunc(d.Former, func(g Former) bool {
			return f.Name == g.Name && f.Column == g.Column && f.Since == g.Since
		})
	})
}

// declared is the name of the column of d that a declaration means by a name. It is an
// errs.ErrSchema for one that was dropped, or whose former name counts no more.
func (d *Definition) declared(code *Definition, name string) (string, error) {
	const free = "; for a new column of that name, call Alter with FreeName(%q) first"
	f, ok := d.FormerName(name)
	switch {
	case !ok:
		return name, nil
	case f.Dropped():
		return "", d.Errorf("column %s was dropped by Alter; take it out of the declaration"+free, name, name)
	case f.Closed:
		return "", d.Errorf("column %s is called %s now, and Alter has ended the time of the former name; declare the new one"+free, name, f.Column, name)
	case code.Position(f.Column) >= 0:
		return "", d.Errorf("column %s is called %s now, and both are declared; declare %s only", name, f.Column, f.Column)
	}
	return f.Column, nil
}

// formerHint says what became of a name that no column has. It does not tell of hidden ones.
func (d *Definition) formerHint(name string) string {
	switch f, ok := d.FormerName(name); {
	case !ok, slices.ContainsFunc(d.Columns, func(c Column) bool { return c.Hidden && c.Name == f.Column }):
		return ""
	case f.Dropped():
		return "; " + name + " was dropped by Alter"
	default:
		return "; " + name + " is called " + f.Column + " now"
	}
}

// validateFormer reports what is wrong with the former names.
func (d *Definition) validateFormer() error {
	for i, f := range d.Former {
		switch {
		case f.Freed > 0:
		case d.Position(f.Name) >= 0:
			return d.Errorf("%s is a column and a former name of one", f.Name)
		case !f.Dropped() && d.Position(f.Column) < 0:
			return d.Errorf("former name %s is of column %s, which does not exist; the columns are %s", f.Name, f.Column, strings.Join(d.columnNames(), ", "))
		case slices.ContainsFunc(d.Former[:i], func(g Former) bool { return g.Name == f.Name && g.Freed == 0 }):
			return d.Errorf("former name %s comes twice", f.Name)
		}
	}
	return nil
}

// Freed reports whether d knows that a former name is free.
func (d *Definition) Freed(f Former) bool {
	return slices.ContainsFunc(d.Former, func(g Former) bool { return g == f && f.Freed > 0 })
}
