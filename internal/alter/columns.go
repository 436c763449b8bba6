package alter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// naming is the rewriter that gives the members of records the names that columns have. def is a
// document that the pass follows. The catalogue may have a later one by now, also in the middle of
// a pass that stood still for long: a name that it has freed may be that of another column, whose
// values must stay. So it is the present names that records get.
type naming struct {
	def *schema.Definition
	dry bool // the catalogue does not have def, and will not
}

func (n *naming) found(ctx context.Context, m *records.Model, r store.Message) (doc []byte, err error) {
	if n.dry {
		doc = document.NamesOf(n.def).Apply(r.Value)
	} else if doc, err = m.Named(ctx, r); err != nil {
		return nil, err
	}
	if bytes.Equal(doc, r.Value) {
		return nil, commit.ErrLeave
	}
	return doc, nil
}

// again leaves a record whose writer knew the names. It cannot see by the document whether that is
// so, because the document has the names of m already.
func (n *naming) again(_ *records.Model, r store.Message) ([]byte, error) {
	if r.Schema >= n.def.Revision {
		return nil, commit.ErrLeave
	}
	return r.Value, nil // which has the names of m
}

// rename is a change of the document's names, and the pass over the records that follows.
func (r *Run) rename(ctx context.Context, apply func(*schema.Definition) (changed bool, err error)) (Planned, error) {
	def, changed, err := r.document(ctx, apply)
	if err != nil {
		return Planned{}, err
	}
	p, err := r.pass(ctx, &naming{def, r.Dry})
	p.Catalogue = changed
	return p, err
}

// DropColumn takes a column out of the model and out of all records.
func DropColumn(name string) Change {
	return Change{name: "drop column " + name, do: func(ctx context.Context, r *Run) (Planned, error) {
		return r.rename(ctx, func(d *schema.Definition) (bool, error) { return drop(d, name) })
	}}
}

// drop takes a column out of a definition, and keeps its names as former ones.
func drop(d *schema.Definition, name string) (changed bool, err error) {
	if f, ok := d.FormerName(name); ok && f.Dropped() {
		return false, nil
	}
	at, err := column(d, name)
	if err != nil {
		return false, err
	}
	c := d.Columns[at]
	if err := d.Busy(name); err != nil {
		return false, err
	}
	if i := slices.IndexFunc(d.Indexes, func(x schema.Index) bool { return x.Has(name) }); i >= 0 {
		return false, errs.Invalidf(d.Name, name, "is a column of the %s of %v; drop that first, with DropIndex", d.Indexes[i].Kind(), d.Indexes[i].Columns)
	}
	if i := slices.IndexFunc(d.Dropping, func(x schema.Index) bool { return x.Has(name) }); i >= 0 {
		return false, fmt.Errorf("%w: %s.%s is a column of the %s of %v, which is being dropped; let that come to its end first, with DropIndex", errs.ErrConflict, d.Name, name, d.Dropping[i].Kind(), d.Dropping[i].Columns)
	}
	if c.Role != "" {
		return false, errs.Invalidf(d.Name, name, "is the %s time, which natsorm sets, and cannot be dropped", c.Role)
	}
	d.Columns = slices.Delete(d.Columns, at, at+1)
	d.Converted = slices.DeleteFunc(slices.Clone(d.Converted), func(c schema.Conversion) bool { return c.Column == name })
	for i, f := range d.Former {
		if f.Column == name && f.Freed == 0 {
			d.Former[i] = schema.Former{Name: f.Name, Since: d.Revision}
		}
	}
	d.Former = append(d.Former, schema.Former{Name: name, Since: d.Revision})
	return true, nil
}

// column is the position of a column that is to be dropped or renamed.
func column(d *schema.Definition, name string) (int, error) {
	at := d.Position(name)
	switch {
	case at < 0:
		return 0, d.NoColumn(name)
	case d.Columns[at].PrimaryKey:
		return 0, errs.Invalidf(d.Name, name, "is the primary key, which cannot be changed; create another model and copy the records")
	}
	return at, nil
}

// RenameColumn gives a column another name, in the model and in all records. Programs may go on
// declaring the former name until ForgetName.
func RenameColumn(from, to string) Change {
	return Change{name: "rename column " + from + " to " + to, do: func(ctx context.Context, r *Run) (Planned, error) {
		m, err := r.Handle.Current(ctx)
		if err != nil {
			return Planned{}, err
		}
		// Members of that name that are no column would be taken for the column's.
		if _, known := m.Def.FormerName(to); m.Def.Position(to) < 0 && !known {
			if err := r.absent(ctx, m, to); err != nil {
				return Planned{}, err
			}
		}
		return r.rename(ctx, func(d *schema.Definition) (bool, error) { return rename(d, from, to) })
	}}
}

// rename renames a column of a definition.
func rename(d *schema.Definition, from, to string) (changed bool, err error) {
	switch f, ok := d.FormerName(from); {
	case ok && f.Dropped():
		return false, errs.Invalidf(d.Name, from, "was dropped, with its values; declare %s as a new column", to)
	case ok && f.Column == to:
		return false, nil
	case ok:
		return false, fmt.Errorf("%w: %s.%s was renamed to %s, by another program or before; rename that", errs.ErrConflict, d.Name, from, f.Column)
	}
	at, err := column(d, from)
	if err != nil {
		return false, err
	}
	if err := d.Busy(from); err != nil {
		return false, err
	}
	if d.Position(to) >= 0 {
		return false, errs.Invalidf(d.Name, to, "is a column already, so %s cannot be renamed to it: a program that declares it may have been started too soon. Copy what records have in %s with Rewrite, and drop %s with DropColumn", from, from, from)
	}
	if f, ok := d.FormerName(to); ok && f.Column != from {
		return false, errs.Invalidf(d.Name, to, "is a former name of another column; use another, or call Alter with FreeName(%q) first", to)
	}
	for i, x := range d.Indexes {
		if !x.Has(from) {
			continue
		}
		if d.Layout == schema.Sequelize {
			return false, errs.Invalidf(d.Name, from, "is indexed, and the Sequelize layout finds values by the names of their columns; drop the index first, with DropIndex, and declare it again afterwards")
		}
		if err := keys.CheckName(to); err != nil {
			return false, errs.Invalidf(d.Name, to, "%v, so it cannot be the name of a column that is indexed", err)
		}
		d.Indexes[i].Columns = x.Renamed(from, to) // and its name stays: it stands in the keys
	}
	for i, x := range d.Dropping { // so that whoever goes on with the drop finds it
		d.Dropping[i].Columns = x.Renamed(from, to)
	}
	d.Columns[at].Name = to
	for i, c := range d.Converted {
		if c.Column == from {
			d.Converted[i].Column = to
		}
	}
	d.Former = slices.DeleteFunc(d.Former, func(f schema.Former) bool { return f.Name == to && f.Freed == 0 })
	for i, f := range d.Former {
		if f.Column == from && f.Freed == 0 {
			d.Former[i].Column, d.Former[i].Since = to, d.Revision
		}
	}
	d.Former = append(d.Former, schema.Former{Name: from, Column: to, Since: d.Revision})
	return true, nil
}

// errPresent says that a record has a member that it must not have.
var errPresent = errors.New("has a member of that name already, which is no column")

// absent is an error when a record has a member of a name.
func (r *Run) absent(ctx context.Context, m *records.Model, name string) error {
	for e, err := range r.Store.Scan(ctx, keys.Records(m.Def.Name), store.ScanOptions{Again: true}) {
		if err != nil {
			return err
		}
		if !e.Live() {
			continue
		}
		raws, err := document.Raw(e.Value, []string{name})
		if err != nil {
			return errs.Corrupt(m.Def.Name, e.Key, err)
		}
		if raws[0] != nil {
			id := e.Key
			if f, err := layout.At(m.Layout, e.Key, e.Value); err == nil {
				id = f.ID.Text()
			}
			return errs.Invalidf(m.Def.Name, name, "record %s %v; declare it, and drop it with DropColumn and FreeName, or use another name", id, errPresent)
		}
	}
	return nil
}

// ForgetName ends the time in which programs may declare a former name of a renamed column.
func ForgetName(name string) Change {
	return Change{name: "forget name " + name, do: func(ctx context.Context, r *Run) (Planned, error) {
		return r.rename(ctx, func(d *schema.Definition) (bool, error) {
			i := slices.IndexFunc(d.Former, func(f schema.Former) bool { return f.Name == name && f.Freed == 0 })
			if i < 0 || d.Former[i].Dropped() {
				return false, errs.Invalidf(d.Name, name, "is no former name of a column that was renamed")
			}
			was := d.Former[i].Closed
			d.Former[i].Closed = true
			return !was, nil
		})
	}}
}

// FreeName lets a name that a column had be that of a new column. It does nothing for another name,
// as when it was cut short after its work.
func FreeName(name string) Change {
	return Change{name: "free name " + name, do: func(ctx context.Context, r *Run) (Planned, error) {
		m, err := r.Handle.Current(ctx)
		if err != nil {
			return Planned{}, err
		}
		def := m.Def
		if r.dry != nil {
			def = r.dry
		}
		f, ok := def.FormerName(name)
		if !ok {
			return Planned{}, nil
		}
		if !f.Dropped() && !f.Closed {
			return Planned{}, errs.Invalidf(def.Name, name, "is a former name of %s, which programs may declare; end that with ForgetName(%q) first", f.Column, name)
		}
		// Nobody may be left who writes members of that name, and no record that has one.
		if _, _, err := r.document(ctx, func(*schema.Definition) (bool, error) { return false, nil }); err != nil {
			return Planned{}, err
		}
		p, err := r.pass(ctx, &naming{def, r.Dry})
		if err != nil {
			return p, err
		}
		_, p.Catalogue, err = r.document(ctx, func(d *schema.Definition) (bool, error) {
			i := slices.Index(d.Former, f)
			if _, taken := d.FormerName(name); i < 0 && taken { // what the name is now was not looked for in the records
				return false, fmt.Errorf("%w: another program has altered %s.%s meanwhile; call Alter again", errs.ErrConflict, d.Name, name)
			}
			if i < 0 { // another program has freed it
				return false, nil
			}
			d.Former[i].Freed = d.Revision
			return true, nil
		})
		return p, err
	}}
}
