package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/value"
)

// Reconcile compares the definition in the code with the one that the catalogue has
// stored, and returns the definition that is valid from now on: the union of both.
// changed says whether it differs from the stored one, and so must be written.
//
//   - Columns and indexes that only the catalogue has stay, because other programs may
//     use them.
//   - Columns that only the code has are added at the end.
//   - Indexes that only the code has are added in state Writing. ErrDropping when an index of
//     that name is being dropped.
//   - A column may be declared by a name that it had before it was renamed, and with a type that
//     it had before it was converted.
//
// Where the two contradict each other, as with another type for a column, it returns an
// errs.ErrSchema that names both and says what to change.
func Reconcile(stored, code Definition) (merged Definition, changed bool, err error) {
	if stored.Layout != code.Layout {
		return merged, false, code.Errorf("the catalogue has layout %q, the code %q; declare the catalogue's, or move the model with ChangeLayout", stored.Layout, code.Layout)
	}
	if code.Shards != 0 && stored.Shards != code.Shards {
		return merged, false, code.Errorf("the catalogue has %d shards, the code %d; the number is fixed when a model is first defined: use %d", stored.Shards, code.Shards, stored.Shards)
	}
	if s, c := stored.Key(), code.Key(); s.Name != c.Name {
		return merged, false, code.Errorf("the catalogue's primary key is %s, the code's is %s; change the code back, or use a model with another name", s.Name, c.Name)
	}
	merged = stored
	merged.Columns = slices.Clone(stored.Columns)
	merged.Indexes = slices.Clone(stored.Indexes)
	for _, c := range code.Columns {
		name, err := stored.declared(&code, c.Name)
		if err != nil {
			return merged, false, err
		}
		i := stored.Position(name)
		if i < 0 {
			merged.Columns = append(merged.Columns, c)
			changed = true
			continue
		}
		s := &merged.Columns[i]
		if err := stored.Typed(*s, c.Name, c.Type); err != nil {
			return merged, false, err
		}
		if s.Role != "" && c.Role != "" && s.Role != c.Role {
			return merged, false, code.Errorf("column %s is %s in the catalogue and %s in the code; use a new column, or change the code back", c.Name, s.Role, c.Role)
		}
		// What either of them says of a column is valid: it is never taken away.
		if c.Auto && !s.Auto || c.Role != "" && s.Role == "" || c.Hidden && !s.Hidden {
			s.Auto, s.Hidden = s.Auto || c.Auto, s.Hidden || c.Hidden
			if c.Role != "" {
				s.Role = c.Role
			}
			changed = true
		}
		s.ZeroNull, s.Holds, s.Elements = c.ZeroNull, c.Holds, c.Elements
	}
	for _, f := range code.Former { // of a program that defines its model again, in a bucket that was made anew
		switch _, known := stored.FormerName(f.Name); {
		case known:
		case stored.Position(f.Name) >= 0:
			return merged, false, code.Errorf("the catalogue has column %s, which was renamed or dropped in the bucket from which this definition is; do the same here, with Alter", f.Name)
		default:
			merged.Former = append(slices.Clip(merged.Former), f)
			changed = true
		}
	}
	if merged.adopt(code.Converted) {
		changed = true
	}
	for _, x := range code.Indexes {
		if i := merged.IndexOf(x.Columns, x.Kind()); i >= 0 {
			if of := merged.Indexes[i].Elements; of != x.Elements {
				return merged, false, code.Errorf("index %s is of elements of type %q in the catalogue and %q in the code; change the code back, or drop the index with DropIndex before", x.Columns[0], of, x.Elements)
			}
			continue
		}
		elements := x.Elements
		if x = NewIndex(x.Kind(), merged.currents(x.Columns)...); elements != "" {
			x = x.Each(elements)
		}
		if i := merged.Index(x.Name, x.Unique); i >= 0 {
			if !slices.Equal(merged.Indexes[i].Columns, x.Columns) {
				return merged, false, code.Errorf("%s %s is of columns %s in the catalogue and %s in the code; rename a column in the code", x.Kind(), x.Name,
					strings.Join(merged.Indexes[i].Columns, ", "), strings.Join(x.Columns, ", "))
			}
			continue
		}
		if merged.dropping(x) {
			return merged, false, fmt.Errorf("%w: %w", ErrDropping, code.Errorf("%s %s is being dropped by another program", x.Kind(), x.Name))
		}
		x.State, x.Declared = Writing, stored.Revision
		merged.Indexes = append(merged.Indexes, x)
		changed = true
	}
	return merged, changed, merged.Validate()
}

// Arrive makes the revisions in d, which comes from a backup, those of the bucket that it comes into.
// There have is the model's document, or nil; alone says that none of its records there stay. The
// revisions in the backup are those of another bucket, or of another time, and would say of
// records and watches what is not so.
func (d *Definition) Arrive(have *Definition, alone bool) {
	if have == nil {
		have = &Definition{}
	}
	d.Born, d.Emptied, d.Placed = have.Born, have.Emptied, have.Placed
	if d.Layout != have.Layout || d.Shards != have.Shards {
		d.Placed = have.Revision
	}
	for _, list := range [][]Index{d.Indexes, d.Dropping} {
		for i, x := range list {
			list[i].Declared = 0
			if !alone { // the records that stay have no entries in it
				list[i].Declared = have.Revision
			}
			if at := have.Index(x.Name, x.Unique); at >= 0 {
				list[i].Declared = have.Indexes[at].Declared
			}
		}
	}
	for i, f := range d.Former {
		at := slices.IndexFunc(have.Former, func(g Former) bool { return g.Name == f.Name && g.Column == f.Column && (g.Freed > 0) == (f.Freed > 0) })
		switch {
		case at >= 0:
			d.Former[i].Since, d.Former[i].Freed = have.Former[at].Since, have.Former[at].Freed
		case f.Freed > 0:
			d.Former[i].Since, d.Former[i].Freed = have.Revision, max(1, have.Revision)
		default:
			d.Former[i].Since = have.Revision
		}
	}
	for i, c := range d.Converted {
		d.Converted[i].Since = have.Revision // also of one that is under way: who was at it has not looked at what comes
		if at := have.Had(c.Column, c.From); at >= 0 && !c.Underway() {
			d.Converted[i].Since = have.Converted[at].Since
		}
	}
}

// AbsentMeans is the value that null, or an absent member, stands for in this program:
// the type's zero where the Go field cannot be null, and null itself elsewhere.
func (c Column) AbsentMeans() value.Value {
	if c.ZeroNull {
		return value.Zero(c.Type)
	}
	return value.Null
}
