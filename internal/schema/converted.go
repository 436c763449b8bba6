package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/value"
)

// Conversion is a change of a column's type to a wider one: every value that records have is one
// of the new type too, so the records stay as they are.
//
// At first the column has the type From, and To is the one that it is to get: what is written fits
// both from then on, while the change looks at what is there. Then the column has the new type, To is
// "", and programs may go on declaring From, until it is Closed.
type Conversion struct {
	Column string     `json:"column"`
	From   value.Type `json:"from"`
	To     value.Type `json:"to,omitempty"`
	Since  uint64     `json:"since"` // the revision of the document that it was added to

	// Closed says that programs that declare the column with the type From are refused.
	Closed bool `json:"closed,omitempty"`
}

// Underway reports whether the column does not have its new type yet.
func (c Conversion) Underway() bool { return c.To != "" }

// Becomes is the type that a column of d has by a conversion, or is to get.
func (d *Definition) Becomes(c Conversion) value.Type {
	if c.Underway() {
		return c.To
	}
	return d.Columns[d.Position(c.Column)].Type
}

// Converting is the position in Converted of the conversion of a column that is under way, or -1.
func (d *Definition) Converting(column string) int {
	return slices.IndexFunc(d.Converted, func(c Conversion) bool { return c.Column == column && c.Underway() })
}

// Busy is an errs.ErrConflict when a column is being converted, so that it cannot be changed.
func (d *Definition) Busy(column string) error {
	i := d.Converting(column)
	if i < 0 {
		return nil
	}
	c := d.Converted[i]
	return fmt.Errorf("%w: %s.%s is being converted from %s to %s; let that come to its end first, by Alter with ConvertColumn(%q, natsorm.%s, nil), or give it up, with natsorm.%s in its place",
		errs.ErrConflict, d.Name, column, c.From, c.To, column, goName(c.To), goName(c.From))
}

// goName is the name that a type has in programs.
func goName(t value.Type) string { return strings.ToUpper(string(t[:1])) + string(t[1:]) }

// Had is the position in Converted of the conversion of a column from a type, which has come to its
// end, or -1.
func (d *Definition) Had(column string, t value.Type) int {
	return slices.IndexFunc(d.Converted, func(c Conversion) bool { return c.Column == column && c.From == t && !c.Underway() })
}

// Typed is an errs.ErrSchema when a program may not declare a column of d, which it calls name, with a
// type.
func (d *Definition) Typed(c Column, name string, t value.Type) error {
	if c.Type == t {
		return nil
	}
	at := d.Had(c.Name, t)
	switch i := d.Converting(c.Name); {
	case at >= 0 && !d.Converted[at].Closed:
		return nil
	case at >= 0:
		return d.Errorf("column %s has type %s now, and Alter has ended the time of type %s; declare the new one", name, c.Type, t)
	case i >= 0 && d.Converted[i].To == t:
		return d.Errorf("column %s is being converted from %s to %s, and cannot be declared so yet; let Alter with ConvertColumn come to its end first, or call it again", name, c.Type, t)
	case c.Type.Widens(t):
		return d.Errorf("column %s has type %s in the catalogue and %s in the code; call Alter with ConvertColumn first, or change the code back", name, c.Type, t)
	}
	return d.Errorf("column %s has type %s in the catalogue and %s in the code; use a new column, or change the code back", name, c.Type, t)
}

// adopt adds to d the conversions of a program that defines its model again, in a bucket that was
// made anew.
func (d *Definition) adopt(converted []Conversion) (changed bool) {
	for _, c := range converted {
		if at := d.Position(c.Column); at >= 0 && d.Had(c.Column, c.From) < 0 && d.Converting(c.Column) < 0 && !c.Underway() && c.From.Widens(d.Columns[at].Type) {
			d.Converted = append(slices.Clip(d.Converted), c)
			changed = true
		}
	}
	return changed
}

// validateConverted reports what is wrong with the conversions.
func (d *Definition) validateConverted() error {
	for i, c := range d.Converted {
		at := d.Position(c.Column)
		if at < 0 {
			return d.Errorf("column %s was converted, and does not exist; the columns are %s", c.Column, strings.Join(d.columnNames(), ", "))
		}
		col, to := d.Columns[at], d.Becomes(c)
		switch {
		case !c.From.Widens(to):
			return d.Errorf("column %s: %s cannot be converted to %s", c.Column, c.From, to)
		case c.Underway() && col.Type != c.From:
			return d.Errorf("column %s has type %s while it is being converted from %s", c.Column, col.Type, c.From)
		case c.Underway() && d.Indexed(c.Column):
			return d.Errorf("column %s is indexed while it is being converted; let Alter with ConvertColumn come to its end, and declare the index then", c.Column)
		case slices.ContainsFunc(d.Converted[:i], func(o Conversion) bool {
			return o.Column == c.Column && (o.From == c.From || o.Underway() || c.Underway())
		}):
			return d.Errorf("column %s is converted twice", c.Column)
		}
	}
	return nil
}
