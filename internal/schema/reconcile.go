package schema

import (
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
//   - Indexes that only the code has are added in state Building.
//
// Where the two contradict each other, as with another type for a column, it returns an
// errs.ErrSchema that names both and says what to change.
func Reconcile(stored, code Definition) (merged Definition, changed bool, err error) {
	if stored.Format > Format {
		return merged, false, stored.Errorf("the catalogue has format %d, written by a newer natsorm; this one knows up to %d: upgrade this program", stored.Format, Format)
	}
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
			return merged, false, code.Errorf("column %s is %s in the catalogue and %s in the code; use a new column, or change the code back", c.Name, s.Role, c.Role)
		}
		// What either of them says of a column is valid: it is never taken away.
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
				return merged, false, code.Errorf("%s %s is of columns %s in the catalogue and %s in the code; rename a column in the code", x.Kind(), x.Name,
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

// AbsentMeans is the value that null, or an absent member, stands for in this program:
// the type's zero where the Go field cannot be null, and null itself elsewhere.
func (c Column) AbsentMeans() value.Value {
	if c.ZeroNull {
		return value.Zero(c.Type)
	}
	return value.Null
}
