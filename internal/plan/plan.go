package plan

import (
	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// Query is what a caller asks of a model.
type Query struct {
	Filter *cond.Bound   // the condition that records must fulfil; nil selects every record
	Order  []Sort        // the columns to sort by, the first one first; empty: any order
	Limit  int           // how many records at the most; negative: no limit
	Offset int           // how many records to pass over first
	After  []value.Value // where the page begins: after the record with these values in the columns of Order; nil: at the start
}

// Sort is one column of an order. Null is the smallest value: first when ascending,
// last with Desc.
type Sort struct {
	Column int // the column's position in the definition
	Desc   bool
}

// Where is the query for every record of which filter is true, in any order.
func Where(filter *cond.Bound) Query { return Query{Filter: filter, Limit: -1} }

// maxNeeds is the largest limit, or offset, that is planned for. A larger one counts as
// no limit: no model has that many records, and limit and offset together always fit
// an int.
const maxNeeds = 1 << 28

// Needs is the number of matching records after which reading can end: limit and
// offset together. It is 0 when all must be read, because there is no limit, or because
// an order must be sorted.
func (q Query) Needs() int {
	if len(q.Order) > 0 {
		return 0
	}
	return max(0, q.Keeps())
}

// Keeps is the number of records, the first in the query's order, that are enough to cut
// the page from: limit and offset together. It is negative when there is no limit.
func (q Query) Keeps() int {
	if q.Limit < 0 || q.Limit > maxNeeds || q.Offset > maxNeeds {
		return -1
	}
	return q.Offset + q.Limit
}

// Path is how a plan reaches the records. Of single paths (Index, Unique, Key) that
// cost the same, the later one in this list is taken.
type Path int

const (
	Scan      Path = iota // read every record
	Range                 // read the entries of a range in an ordered index, then their records
	Index                 // read index entries, then their records
	Unique                // read claims, then their owners
	Key                   // read records by primary key
	Intersect             // read the entries of all inputs, then the records in all of them
	Union                 // read the entries of all inputs, then the records in any of them
	Nothing               // read nothing: the condition cannot be true, or the limit is 0
)

// String is the path's name in what Explain prints.
func (p Path) String() string {
	return [...]string{"scan", "ordered index", "index", "unique index", "primary key", "intersection", "union", "nothing"}[p]
}

// Access is one way to the records of a condition: a path, and what to read on it.
type Access struct {
	Path    Path
	Index   schema.Index  // Range, Index, Unique: the index
	Keys    []value.Value // Key: the primary keys to read
	Lookups []Lookup      // Range, Index, Unique: what to look up in the index
	Inputs  []Access      // Intersect, Union: the accesses that are combined, each by Range, Index, or, of a Union, Unique or Key
	Sorted  bool          // Range: read in the order of the query, as far as it needs; Desc: from the largest value on
	Desc    bool
	Samples int // Range: estimate: how many samples of the index are read to find the entries
	Entries int // estimate: how many index entries and claims are read
	Records int // estimate: how many records are read
}

// Lookup asks an index for the entries of some values, or for their claim.
type Lookup struct {
	Index  schema.Index
	Values []value.Value // one for each column of the index; of an index that is not unique, maybe only for its first columns

	// Intervals are those of the last column of an ordered index, in their order, for which Values
	// has none.
	Intervals []Interval

	Matches int  // estimate: how many records it leads to
	Keys    int  // estimate: how many messages hold its entries; one for each record, or one where the entries of a value are a list
	Large   bool // Keys are more than one request gives, so a consumer reads them
}

// Plan is one way to answer a query.
type Plan struct {
	Query
	Access
	Cost    Cost // an estimate
	Samples Cost // what it took to learn how many entries ranges have, before the plan was made; it is not in Cost
}

// Make returns the cheapest plan for a query, as far as known tells.
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
	if in, ok := pl.sorted(q); ok && p.Path != Nothing && pl.cost(in).Time < pl.cost(p.Access).Time {
		p.Access = in
	}
	p.Cost = pl.cost(p.Access)
	return p
}

// OneRequest reports whether the plan is a scan that reads the whole model with a single
// request, because the model is small.
func (p *Plan) OneRequest() bool { return p.Path == Scan && p.Cost.Requests == 1 }

// Residual is the condition that is still to be checked on the records that the plan
// reads; nil when there is none. A record that was read by its primary key has that
// key. An index entry proves nothing, because its record may have changed since.
func (p *Plan) Residual(def *schema.Definition) *cond.Bound {
	f := p.Filter
	if f == nil || f.All() || p.Path == Key && (f.Op == cond.Eq || f.Op == cond.In) && f.Column == def.PrimaryKey() {
		return nil
	}
	return f
}

// Estimate is the cost of p by the numbers of entries and records that p has now. A
// caller that has counted them puts them into p first.
func Estimate(def *schema.Definition, p Plan, stats Stats) Cost {
	pl := planner{def: def, stats: stats, needs: p.Needs()}
	return pl.cost(p.Access)
}
