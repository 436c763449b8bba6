package schema

import (
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/value"
)

// Reconcile holds a declaration from code against the catalogue's and returns
// what holds from now on: everything that either of them says. Columns and
// indexes that only the catalogue has stay, because other programs use them;
// indexes that only the code has come in as Building. A contradiction, such as
// another type for a column, is an error and changes nothing.
func Reconcile(stored, code Definition) (merged Definition, changed bool, err error) {
	if stored.Format > Format {
		return merged, false, stored.Errorf("the catalogue has format %d, written by a newer natsorm; this one knows up to %d: upgrade this program", stored.Format, Format)
	}
	if stored.Layout != code.Layout {
		return merged, false, code.Errorf("the catalogue has layout %q, the code %q; use the catalogue's", stored.Layout, code.Layout)
	}
	if code.Shards != 0 && stored.Shards != code.Shards {
		return merged, false, code.Errorf("the catalogue has %d shards, the code %d; the number is fixed at first use: use %d", stored.Shards, code.Shards, stored.Shards)
	}
	if s, c := stored.Key(), code.Key(); s.Name != c.Name {
		return merged, false, code.Errorf("the catalogue's primary key is %s, the code's %s", s.Name, c.Name)
	}
	merged = stored
	merged.Columns = slices.Clone(stored.Columns)
	merged.Indexes = slices.Clone(stored.Indexes)
	for _, c := range code.Columns {
		i := stored.Position(c.Name)
		if i < 0 {
			merged.Columns = append(merged.Columns, c)
			changed = true
			continue
		}
		s := &merged.Columns[i]
		if s.Type != c.Type {
			return merged, false, code.Errorf("column %s has type %s in the catalogue and %s in the code; use a new column, or change the code back", c.Name, s.Type, c.Type)
		}
		if s.Role != "" && c.Role != "" && s.Role != c.Role {
			return merged, false, code.Errorf("column %s is %s in the catalogue and %s in the code", c.Name, s.Role, c.Role)
		}
		if c.Auto && !s.Auto || c.Role != "" && s.Role == "" {
			s.Auto = s.Auto || c.Auto
			s.Role = c.Role
			changed = true
		}
		s.ZeroNull = c.ZeroNull
	}
	for _, x := range code.Indexes {
		if i := merged.Index(x.Name, x.Unique); i >= 0 {
			if !slices.Equal(merged.Indexes[i].Columns, x.Columns) {
				return merged, false, code.Errorf("%s %s is of columns %s in the catalogue and %s in the code", x.Kind(), x.Name,
					strings.Join(merged.Indexes[i].Columns, ", "), strings.Join(x.Columns, ", "))
			}
			continue
		}
		x.State = Building
		merged.Indexes = append(merged.Indexes, x)
		changed = true
	}
	return merged, changed, merged.Validate()
}

// AbsentMeans is what a column's null or absent value stands for in this
// process: the type's zero where the Go field can not be null.
func (c Column) AbsentMeans() value.Value {
	if c.ZeroNull {
		return value.Zero(c.Type)
	}
	return value.Null
}
