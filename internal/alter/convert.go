package alter

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// ConvertColumn gives a column a wider type. Every value that records have is one of that type too,
// so the records stay as they are. Programs may go on declaring the former type until ForgetType.
//
// The document says first that the column is being converted: what is written from then on has both types.
// When everybody has noticed, the records are looked at. A value that does not have the new type
// ends the change, which can be made again when that was mended, or be given up: then the same call
// with the former type takes it back. When all values are right, the document gives the column the new type.
func ConvertColumn(name string, to value.Type, function bool) Change {
	return Change{name: "convert column " + name + " to " + string(to), do: func(ctx context.Context, r *Run) (Planned, error) {
		def, changed, err := r.document(ctx, func(d *schema.Definition) (bool, error) { return convert(d, name, to, function) })
		if err != nil {
			return Planned{}, err
		}
		i := def.Converting(name)
		if i < 0 { // it is done, or was given up
			return Planned{Catalogue: changed}, nil
		}
		c := def.Converted[i]
		p, err := r.pass(ctx, &looking{types: document.Converting(&schema.Definition{Converted: []schema.Conversion{c}}), def: def, c: c, dry: r.Dry})
		p.Catalogue = changed
		if err != nil {
			return p, err
		}
		_, changed, err = r.document(ctx, func(d *schema.Definition) (bool, error) { return converted(d, c) })
		p.Catalogue = p.Catalogue || changed
		return p, err
	}}
}

// convert says in a definition that a column is being converted, or that this was given up.
func convert(d *schema.Definition, name string, to value.Type, function bool) (changed bool, err error) {
	if f, ok := d.FormerName(name); ok {
		if f.Dropped() {
			return false, errs.Invalidf(d.Name, name, "was dropped, with its values; declare a new column")
		}
		return false, errs.Invalidf(d.Name, name, "is called %s now; convert that", f.Column)
	}
	at, err := column(d, name)
	if err != nil {
		return false, err
	}
	c := d.Columns[at]
	i := d.Converting(name)
	switch {
	case !slices.Contains(value.Types, to):
		return false, errs.Invalidf(d.Name, name, "%q is no type; the types are %v", to, value.Types)
	case i >= 0 && c.Type == to:
		d.Converted = slices.Delete(slices.Clone(d.Converted), i, i+1)
		return true, nil
	case i >= 0 && d.Converted[i].To != to:
		return false, d.Busy(name)
	case i >= 0 || c.Type == to:
		return false, nil
	case function:
		return false, errs.Invalidf(d.Name, name, "cannot be converted by a function, because programs that declare it as %s do not have the function; add a column of type %s, fill it with Rewrite, then DropColumn this one", c.Type, to)
	case !c.Type.Widens(to) && slices.ContainsFunc(d.Converted, func(v schema.Conversion) bool { return v.Column == name }):
		return false, fmt.Errorf("%w: %s.%s was converted to %s, by another program or before, and %[4]s values cannot become %[5]s; add a column of that type, fill it with Rewrite, then DropColumn this one", errs.ErrConflict, d.Name, name, c.Type, to)
	case !c.Type.Widens(to):
		return false, errs.Invalidf(d.Name, name, "has type %s, of which not every value can be one of type %s; %sadd a column of that type, fill it with Rewrite, then DropColumn this one", c.Type, to, widerHint(c.Type))
	case c.Role != "":
		return false, errs.Invalidf(d.Name, name, "is the %s time, which natsorm sets, and cannot be converted", c.Role)
	}
	for _, x := range d.Indexes {
		if x.Has(name) {
			return false, errs.Invalidf(d.Name, name, "is a column of the %s of %v, whose keys have values of type %s; drop that first, with DropIndex, and declare it again afterwards", x.Kind(), x.Columns, c.Type)
		}
	}
	for _, x := range d.Dropping {
		if x.Has(name) {
			return false, fmt.Errorf("%w: %s.%s is a column of the %s of %v, which is being dropped; let that come to its end first, with DropIndex", errs.ErrConflict, d.Name, name, x.Kind(), x.Columns)
		}
	}
	d.Converted = append(slices.Clone(d.Converted), schema.Conversion{Column: name, From: c.Type, To: to, Since: d.Revision})
	return true, nil
}

// widerHint names the types to which a type can be converted.
func widerHint(t value.Type) string {
	var names []string
	for _, to := range value.Types {
		if t.Widens(to) {
			names = append(names, string(to))
		}
	}
	if names == nil {
		return ""
	}
	return "convert it to " + strings.Join(names, " or ") + ", or "
}

// converted says in a definition that a column has its new type. c is the conversion for which the
// records were looked at; what others have done since may have let in other values.
func converted(d *schema.Definition, c schema.Conversion) (changed bool, err error) {
	i := slices.IndexFunc(d.Converted, func(v schema.Conversion) bool {
		return v.Column == c.Column && v.From == c.From && v.Since == c.Since
	})
	if i < 0 {
		return false, fmt.Errorf("%w: another program has given up the conversion of %s.%s, or altered it otherwise, meanwhile; call Alter again", errs.ErrConflict, d.Name, c.Column)
	}
	if !d.Converted[i].Underway() {
		return false, nil
	}
	d.Converted = slices.Clone(d.Converted)
	d.Converted[i].To = ""
	d.Columns[d.Position(c.Column)].Type = c.To
	return true, nil
}

// looking is the rewriter that looks whether records can have the new type of a column. It leaves
// them as they are.
type looking struct {
	types *document.Types
	def   *schema.Definition
	c     schema.Conversion
	dry   bool
}

func (l *looking) found(ctx context.Context, m *records.Model, r store.Message) (doc []byte, err error) {
	if l.dry {
		doc = document.NamesOf(l.def).Apply(r.Value)
	} else if doc, err = m.Named(ctx, r); err != nil {
		return nil, err
	}
	if err := l.types.Widen(doc); err != nil {
		return nil, fmt.Errorf("%w; change it, with Update or Rewrite, and call Alter again, or give the conversion up, by ConvertColumn to type %s", document.Invalid(l.def.Name, err), l.c.From)
	}
	return nil, commit.ErrLeave
}

func (l *looking) again(*records.Model, store.Message) ([]byte, error) { return nil, commit.ErrLeave }

// ForgetType ends the time in which programs may declare types that a column had before it was converted.
func ForgetType(name string) Change {
	return Change{name: "forget type of " + name, do: func(ctx context.Context, r *Run) (Planned, error) {
		_, changed, err := r.document(ctx, func(d *schema.Definition) (changed bool, err error) {
			if err := d.Busy(name); err != nil {
				return false, err
			}
			known := false
			d.Converted = slices.Clone(d.Converted)
			for i, c := range d.Converted {
				if c.Column == name {
					known, changed = true, changed || !c.Closed
					d.Converted[i].Closed = true
				}
			}
			if !known {
				return false, errs.Invalidf(d.Name, name, "is no column that was converted")
			}
			return changed, nil
		})
		return Planned{Catalogue: changed}, err
	}}
}
