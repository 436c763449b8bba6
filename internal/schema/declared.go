package schema

import (
	"slices"
	"strings"
)

// What a program declares, compared with what the catalogue has from others.

// Undeclared names the indexes that stored has and the declaration does not.
func (d *Definition) Undeclared(stored *Definition) (names []string) {
	for i, x := range stored.Indexes {
		if !stored.Declares(d, i) {
			names = append(names, string(x.Kind())+" "+strings.Join(x.Columns, ", "))
		}
	}
	return names
}

// Covers is an errs.ErrSchema when stored has a column or an index that the declaration
// does not have.
func (d *Definition) Covers(stored *Definition) error {
	missing := d.Undeclared(stored)
	for _, c := range stored.In(d).Columns {
		if d.Position(c.Name) < 0 {
			missing = append(missing, "column "+c.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return d.Errorf("the catalogue has what this program does not declare: %s; declare it, or leave out Strict", strings.Join(missing, "; "))
}

// HasColumns reports whether d has all columns of another definition, or had them until they
// were renamed or dropped.
func (d *Definition) HasColumns(other *Definition) bool {
	return !slices.ContainsFunc(other.Columns, func(c Column) bool {
		return d.Position(c.Name) < 0 && !slices.ContainsFunc(d.Former, func(f Former) bool { return f.Name == c.Name })
	})
}

// SameColumns reports whether two declarations have the same columns.
func (d *Definition) SameColumns(other *Definition) bool {
	return len(d.Columns) == len(other.Columns) && !slices.ContainsFunc(d.Columns, func(c Column) bool {
		i := other.Position(c.Name)
		if i < 0 {
			return true
		}
		o := other.Columns[i]
		c.Go, o.Go = nil, nil
		return o != c
	})
}
