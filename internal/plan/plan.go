// Package plan decides how a query is answered: which keys to read, and what
// is still to be checked on the records they lead to. It is pure; package
// access does the reading.
//
// There are these ways to the records, and the cheapest is taken:
//
//   - the primary key, equal or in a list: those records
//   - a unique index, every column equal or in a list: the claims of those
//     values, then their owners
//   - an index whose first columns, at least one, are equal or in a list: the
//     entries of those values, then their records
//   - two such indexes: the entries of both, then the records in both
//   - an alternative (Or) each branch of which has one of these: all their
//     entries together, then the records
//   - a scan of every record of the model
//
// What each costs is in cost.go. Index entries may point at records that no
// longer hold the value, so every path keeps the whole condition as its filter.
package plan

import (
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Query is what is asked of a model.
type Query struct {
	Filter *cond.Bound   // what a record must fulfil; nil selects every one
	Order  []Sort        // none: in no particular order
	Limit  int           // at most so many; negative for no limit
	Offset int           // so many are passed over first
	After  []value.Value // the values of the Order's columns after which results begin; nil for the first
}

// Sort is one column of an order. Null is before every value, and with Desc
// after.
type Sort struct {
	Column int
	Desc   bool
}

// Where is the query for every record of which filter is true.
func Where(filter *cond.Bound) Query { return Query{Filter: filter, Limit: -1} }

// maxNeeds is from when on a limit is as good as none.
const maxNeeds = 1 << 28

// Needs is how many records are enough: limit and offset, where no order makes
// all of them necessary. 0 is all.
func (q Query) Needs() int {
	if len(q.Order) > 0 {
		return 0
	}
	return max(0, q.Keeps())
}

// Keeps is how many records a page needs to be cut from: limit and offset;
// negative is all.
func (q Query) Keeps() int {
	if q.Limit < 0 || q.Limit > maxNeeds || q.Offset > maxNeeds {
		return -1
	}
	return q.Offset + q.Limit
}

// Path is how records are reached. Of paths that cost the same, the later one
// here is preferred.
type Path int

const (
	Scan      Path = iota // read every record
	Index                 // read index entries, then their records
	Unique                // read claims, then their owners
	Key                   // read records by primary key
	Intersect             // what all inputs reach
	Union                 // what any input reaches
	Nothing               // the condition can not be true
)

// String is the path's name in a printed plan.
func (p Path) String() string {
	return [...]string{"scan", "index", "unique index", "primary key", "intersection", "union", "nothing"}[p]
}

// Access is one way to the records.
type Access struct {
	Path    Path
	Index   schema.Index  // of Index and Unique
	Keys    []value.Value // of Key: the primary keys
	Lookups []Lookup      // of Index and Unique
	Inputs  []Access      // of Intersect and Union: each Index, Unique or Key
	Entries int           // index entries and claims that are read, as far as can be told
	Records int           // records that are read
}

// Lookup is the search for the entries or the claim of some values.
type Lookup struct {
	Index   schema.Index
	Values  []value.Value // one for each column; for the first ones, of an Index
	Matches int           // records it leads to, as far as can be told
	Keys    int           // keys of entries it has: one for each record, or one list of all
	Large   bool          // they are read by a consumer, as more than one request gives
}

// Plan is one way to answer a query.
type Plan struct {
	Query
	Access
	Cost Cost // as far as can be told
}

// Make plans a query with what is known of the model.
func Make(def *schema.Definition, q Query, stats Stats) Plan {
	pl := planner{def: def, stats: stats, needs: q.Needs()}
	p := Plan{Query: q}
	switch {
	case q.Limit == 0 || q.Filter != nil && q.Filter.None():
		p.Path = Nothing
	case q.Filter == nil || q.Filter.All():
		p.Access = pl.scan()
	default:
		p.Access = pl.best(q.Filter)
	}
	p.Cost = pl.cost(p.Access)
	return p
}

// OneRequest reports whether a scan is of so few records that one request reads
// them all.
func (p *Plan) OneRequest() bool { return p.Path == Scan && p.Cost.Requests == 1 }

// Residual is what is still to be asked of the records that the plan reads; nil is
// nothing. The key of a record says what its primary key is; an index entry
// does not say what its record holds now.
func (p *Plan) Residual(def *schema.Definition) *cond.Bound {
	f := p.Filter
	if f == nil || f.All() || p.Path == Key && (f.Op == cond.Eq || f.Op == cond.In) && f.Column == def.PrimaryKey() {
		return nil
	}
	return f
}

// Estimate is the cost of a plan once it is known how many entries and records
// it reads.
func Estimate(def *schema.Definition, p Plan, stats Stats) Cost {
	pl := planner{def: def, stats: stats, needs: p.Needs()}
	return pl.cost(p.Access)
}
