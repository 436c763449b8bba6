package query

import (
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Identity is what at most one record has: a primary key, or the values of a unique index.
type Identity struct {
	Columns []int         // the positions of the columns
	Values  []value.Value // their values, in the same order; none is null
	Exact   bool          // letter case matters, also where it does not in conditions
}

// IdentityIn returns the identity that a filter asks for, besides whatever else it asks
// for: a key, or else the values of a unique index. ok is false when there is none. A zero
// that may be left out of documents is null to a unique index there, and so it is no
// identity, unless zeros says that it is surely written.
func IdentityIn(def *schema.Definition, filter *cond.Bound, zeros bool) (id Identity, ok bool) {
	if filter == nil {
		return id, false
	}
	parts := []*cond.Bound{filter}
	if filter.Op == cond.And {
		parts = filter.Kids
	}
	equal, folded := map[int]value.Value{}, map[int]bool{}
	for _, p := range parts {
		if p.Members == nil && (p.Op == cond.Eq || p.Op == cond.In && len(p.Values) == 1 && !p.Null) {
			equal[p.Column], folded[p.Column] = p.Values[0], p.Fold
		}
	}
	candidates := []schema.Index{{Columns: []string{def.Key().Name}}}
	for _, x := range def.Indexes {
		if x.Unique {
			candidates = append(candidates, x)
		}
	}
	for _, x := range candidates {
		id = Identity{}
		for _, name := range x.Columns {
			at := def.Position(name)
			col := def.Columns[at]
			omitted := !zeros && !col.PrimaryKey && col.ZeroNull && value.Equal(equal[at], value.Zero(col.Type))
			if v, has := equal[at]; has && !omitted && (x.Fold || !folded[at]) { // several may differ in letter case
				id.Columns, id.Values = append(id.Columns, at), append(id.Values, v)
			}
		}
		if len(id.Columns) == len(x.Columns) {
			return id, true
		}
	}
	return Identity{}, false
}

// Query selects the record that has the identity.
func (id Identity) Query(def *schema.Definition) plan.Query {
	return plan.Query{Filter: cond.Equals(def, id.Columns, id.Values, id.Exact), Limit: 1}
}

// Text is the values as text.
func (id Identity) Text() string {
	texts := make([]string, len(id.Values))
	for i, v := range id.Values {
		texts[i] = v.Text()
	}
	return strings.Join(texts, ", ")
}

// Is reports whether the identity is by these columns, in any order.
func (id Identity) Is(def *schema.Definition, columns []string) bool {
	return len(columns) == len(id.Columns) && !slices.ContainsFunc(id.Columns, func(at int) bool {
		return !slices.Contains(columns, def.Columns[at].Name)
	})
}
