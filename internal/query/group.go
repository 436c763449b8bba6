package query

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Aggregate is a result that a caller asks for, one for each group of records.
type Aggregate struct {
	Function Function
	Column   string // the column's name; CountRecords has none
	Name     string // the result's name. Defaults to <function>_<column>, or "count"
	Named    bool   // the caller has given Name, even if it is empty
}

// aggregate is an Aggregate whose column was resolved against a model.
type aggregate struct {
	function Function
	column   int // the column's position; CountRecords has none
}

// typ is the type of its column; "" without one.
func (a aggregate) typ(def *schema.Definition) value.Type {
	if a.function == CountRecords {
		return ""
	}
	return def.Columns[a.column].Type
}

// Group is the records that have the same values in some columns: these values, and the
// results of the aggregates, both in the order in which they were asked for.
type Group struct {
	By      []value.Value
	Results []Result
}

// Grouping is a division of records into groups by the values of columns, with the
// aggregates of each group. It is bound to a model.
type Grouping struct {
	Names []string // the names of the columns, then those of the results

	by            []int // the positions of the columns
	aggregates    []aggregate
	having        *cond.Bound // what groups must fulfil, of the members of Names; nil for nothing
	order         []groupSort // what groups are sorted by; empty: by the values of the columns
	limit, offset int         // how many groups; a negative limit is none
}

// groupSort is one member that groups are sorted by.
type groupSort struct {
	member int // its position in Names
	desc   bool
}

// BindGroups resolves columns and aggregates against a model, with the order, limit and
// offset of spec, which are those of the groups. ErrInvalid for a column that does not
// exist or does not fit its function, and for two results with one name.
func BindGroups(def *schema.Definition, columns []string, aggregates []Aggregate, spec Spec) (Grouping, error) {
	g := Grouping{limit: spec.Limit, offset: spec.Offset}
	for _, name := range columns {
		at, err := def.Resolve(name)
		if err != nil {
			return g, err
		}
		g.by = append(g.by, at)
		g.Names = append(g.Names, def.Called(at, name))
	}
	for _, a := range aggregates {
		bound, err := a.bind(def)
		if err != nil {
			return g, err
		}
		g.aggregates = append(g.aggregates, bound)
		name := a.Name
		switch {
		case a.Named && name == "":
			return g, fmt.Errorf("%w: GroupBy: As without a name", errs.ErrInvalid)
		case a.Named:
		case a.Function == CountRecords:
			name = string(CountRecords)
		default:
			name = string(a.Function) + "_" + def.Called(bound.column, a.Column)
		}
		g.Names = append(g.Names, name)
	}
	for i, name := range g.Names {
		if slices.Contains(g.Names[:i], name) {
			return g, fmt.Errorf("%w: GroupBy: two results are called %q; give one another name with As", errs.ErrInvalid, name)
		}
	}
	if err := g.bindHaving(def, spec.Having); err != nil {
		return g, err
	}
	return g, g.bindOrder(spec.Order)
}

// bindHaving resolves conditions on groups. To them, the members of a group are columns of
// a model of their own.
func (g *Grouping) bindHaving(def *schema.Definition, conditions []cond.Node) error {
	if len(conditions) == 0 {
		return nil
	}
	groups := schema.Definition{Name: "groups of " + def.Name}
	for i, name := range g.Names {
		col := schema.Column{Name: name}
		if i < len(g.by) {
			of := def.Columns[g.by[i]]
			col.Type, col.Holds, col.Elements = of.Type, of.Holds, of.Elements
		} else {
			switch a := g.aggregates[i-len(g.by)]; a.function {
			case CountRecords:
				col.Type = value.Int
			case Sum, Avg:
				col.Type = value.Float
			default:
				col.Type = def.Columns[a.column].Type
			}
		}
		groups.Columns = append(groups.Columns, col)
	}
	var err error
	if g.having, err = cond.Bind(cond.Node{Op: cond.And, Kids: conditions}, &groups); err != nil {
		return fmt.Errorf("%w (in Having)", err)
	}
	return nil
}

// Members are a group's columns and results, under their names.
func (g *Grouping) Members(group Group) []document.Member {
	out := make([]document.Member, len(g.Names))
	for i, name := range g.Names {
		var v value.Value
		if i < len(g.by) {
			v = group.By[i]
		} else {
			v = group.Results[i-len(g.by)].Of(g.aggregates[i-len(g.by)].function)
		}
		if f := v; f.Type() == value.Float && f.Float() == math.Trunc(f.Float()) && math.Abs(f.Float()) < 1<<63 {
			v = value.OfInt(int64(f.Float())) // without an exponent, so that it fits an integer
		}
		out[i] = document.Member{Name: name, Raw: v.AppendJSON(nil)}
	}
	return out
}

// has reports whether a group fulfils the conditions on groups.
func (g *Grouping) has(group Group) bool {
	if g.having == nil {
		return true
	}
	values := slices.Clone(group.By)
	for i, r := range group.Results {
		values = append(values, r.Of(g.aggregates[i].function))
	}
	return g.having.Match(document.ValuesOf(values))
}

// bind resolves an Aggregate against a model.
func (a Aggregate) bind(def *schema.Definition) (aggregate, error) {
	switch a.Function {
	case CountRecords:
		return aggregate{function: a.Function}, nil
	case "":
		return aggregate{}, fmt.Errorf("%w: an empty Aggregate; make one with CountRecords, SumOf, AvgOf, MinOf or MaxOf", errs.ErrInvalid)
	}
	at, err := def.Resolve(a.Column)
	if err != nil {
		return aggregate{}, err
	}
	if col := def.Columns[at]; !a.Function.fits(col.Type) {
		return aggregate{}, errs.Invalidf(def.Name, col.Name, "has type %s, of which there is no %s", col.Type, a.Function)
	}
	return aggregate{function: a.Function, column: at}, nil
}

// bindOrder resolves the names that groups are to be sorted by: of columns and of
// results, with "-" before those that descend.
func (g *Grouping) bindOrder(order []string) error {
	for _, name := range order {
		plain, desc := strings.CutPrefix(name, "-")
		if slices.Contains(g.Names, name) { // a name that itself begins with "-"
			plain, desc = name, false
		}
		at := slices.Index(g.Names, plain)
		if at < 0 {
			return fmt.Errorf("%w: GroupBy: OrderBy(%q): groups have %s", errs.ErrInvalid, name, strings.Join(g.Names, ", "))
		}
		g.order = append(g.order, groupSort{at, desc})
	}
	return nil
}

// compare says which of two groups comes first in the order.
func (g *Grouping) compare(a, b Group) int {
	for _, s := range g.order {
		var c int
		if i := s.member - len(g.by); i < 0 {
			c = value.Compare(a.By[s.member], b.By[s.member])
		} else {
			f := g.aggregates[i].function
			c = value.Compare(a.Results[i].Of(f), b.Results[i].Of(f)) // null, of no values, is the smallest
		}
		if s.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// Total aggregates one column over all records that a query selects.
func Total(ctx context.Context, src Source, q plan.Query, f Function, column string) (Result, error) {
	a, err := Aggregate{Function: f, Column: column}.bind(src.Model())
	if err != nil {
		return Result{}, err
	}
	if (f == Min || f == Max) && q.Limit < 0 && q.Offset == 0 && q.After == nil && src.Model().Ordered(a.column) {
		return first(ctx, src, q, f, a.column)
	}
	groups, err := aggregated(ctx, src, q, nil, []aggregate{a})
	if err != nil {
		return Result{}, err
	}
	return groups[0].Results[0], nil
}

// first is the smallest or the largest value of a column: that of the first record in its order.
func first(ctx context.Context, src Source, q plan.Query, f Function, column int) (r Result, err error) {
	def := src.Model()
	q.Order, q.Limit = []plan.Sort{{Column: column, Desc: f == Max}}, 1
	if column != def.PrimaryKey() {
		q.Order = append(q.Order, plan.Sort{Column: def.PrimaryKey()})
	}
	q.Filter = cond.Present(q.Filter, def, column) // null is the smallest, and does not count
	fields := document.NewFields(def, column)
	for v, err := range Select(ctx, src, q, true, func(r Record) (value.Value, error) {
		vals, err := r.values(def.Name, fields)
		if err != nil {
			return value.Null, err
		}
		return valueAt(def, vals, column), nil
	}) {
		if err != nil {
			return r, err
		}
		r.Count, r.Value = 1, v
	}
	return r, nil
}

// GroupBy divides the records that a query selects into groups. Without columns there is
// one group, also when there are no records.
func GroupBy(ctx context.Context, src Source, q plan.Query, g Grouping) ([]Group, error) {
	groups, err := aggregated(ctx, src, q, g.by, g.aggregates)
	if err != nil {
		return nil, err
	}
	groups = slices.DeleteFunc(groups, func(group Group) bool { return !g.has(group) })
	if len(g.order) > 0 {
		slices.SortStableFunc(groups, g.compare)
	}
	groups = groups[min(g.offset, len(groups)):]
	if g.limit >= 0 {
		groups = groups[:min(g.limit, len(groups))]
	}
	return groups, nil
}

// aggregated returns the groups, sorted by the values of their columns. It keeps the
// groups in memory, and not the records: those stream by.
func aggregated(ctx context.Context, src Source, q plan.Query, columns []int, aggs []aggregate) ([]Group, error) {
	g := newGrouper(src.Model(), columns, aggs)
	plain := q.Limit < 0 && q.Offset == 0 && q.After == nil
	if plain {
		q.Order = nil // all records count, in any order
	}
	all := plain && (q.Filter == nil || q.Filter.All())
	if all && g.counts() {
		known, err := g.tally(ctx, src)
		if known || err != nil {
			return g.done(err)
		}
	}
	known := false
	if plain && src.InMemory() {
		var err error
		if known, err = scan(ctx, src, q, g.fields, g.add); err != nil {
			return nil, err
		}
	}
	if !known {
		for vals, err := range Select(ctx, src, q, true, g.read) {
			if err == nil {
				err = g.add(vals)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	out, err := g.done(nil)
	if err == nil && all && g.counts() {
		values := make([][]value.Value, len(out))
		for i, group := range out {
			values[i] = group.By
		}
		src.SawGroups(columns, values)
	}
	return out, err
}

// grouper divides records into groups.
type grouper struct {
	def        *schema.Definition
	columns    []int // by whose values
	aggregates []aggregate
	fields     *document.Fields // the columns of both
	groups     map[string]*group

	key []byte        // of the last record's group
	by  []value.Value // its values
}

func newGrouper(def *schema.Definition, columns []int, aggs []aggregate) *grouper {
	needed := slices.Clone(columns)
	for _, a := range aggs {
		if a.function != CountRecords {
			needed = append(needed, a.column)
		}
	}
	g := &grouper{def: def, columns: columns, aggregates: aggs, fields: document.NewFields(def, needed...), groups: map[string]*group{}, by: make([]value.Value, len(columns))}
	if len(columns) == 0 {
		g.groups[""] = newGroup(nil, aggs)
	}
	return g
}

// counts reports whether it only counts the records of each group.
func (g *grouper) counts() bool {
	return len(g.columns) > 0 && !slices.ContainsFunc(g.aggregates, func(a aggregate) bool { return a.function != CountRecords })
}

// of is the group of some values.
func (g *grouper) of(by []value.Value) *group {
	g.key = g.key[:0]
	for _, v := range by {
		g.key = appendKey(g.key, v)
	}
	in := g.groups[string(g.key)]
	if in == nil {
		in = newGroup(slices.Clone(by), g.aggregates)
		g.groups[string(g.key)] = in
	}
	return in
}

func (g *grouper) read(r Record) (document.Values, error) { return r.values(g.def.Name, g.fields) }

// add adds a record.
func (g *grouper) add(vals document.Values) error {
	for i, c := range g.columns {
		g.by[i] = valueAt(g.def, vals, c)
	}
	in := g.of(g.by)
	for i, a := range g.aggregates {
		v := value.Null
		if a.function != CountRecords {
			v = valueAt(g.def, vals, a.column)
		}
		if err := in.totals[i].add(a.function, v); err != nil {
			return fmt.Errorf("%s of %s.%s: %w", a.function, g.def.Name, g.def.Columns[a.column].Name, err)
		}
	}
	return nil
}

// tally counts the groups of all records by what the source knows of them. ok is false when it does not.
func (g *grouper) tally(ctx context.Context, src Source) (ok bool, err error) {
	tallies, others, ok, err := src.Grouped(ctx, g.columns)
	if !ok || err != nil {
		return false, err
	}
	for _, t := range tallies {
		if t.Records > 0 {
			in := g.of(t.By)
			for i := range g.aggregates {
				in.totals[i].count = t.Records
			}
		}
	}
	for _, m := range others {
		vals, err := viewed(ctx, src, m, g.read)
		if err == nil {
			err = g.add(vals)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// done is the groups; none with an error.
func (g *grouper) done(err error) ([]Group, error) {
	if err != nil {
		return nil, err
	}
	out := make([]Group, 0, len(g.groups))
	for _, in := range g.groups {
		done := Group{By: in.by}
		for i, a := range g.aggregates {
			r, err := in.totals[i].result(a.function, a.typ(g.def))
			if err != nil {
				return nil, fmt.Errorf("%s of %s.%s: %w", a.function, g.def.Name, g.def.Columns[a.column].Name, err)
			}
			done.Results = append(done.Results, r)
		}
		out = append(out, done)
	}
	slices.SortFunc(out, func(a, b Group) int { return slices.CompareFunc(a.By, b.By, value.Compare) })
	return out, nil
}

// viewed is what read gives of a record as the model describes it.
func viewed(ctx context.Context, src Source, m store.Message, read func(Record) (document.Values, error)) (document.Values, error) {
	m, err := src.View(ctx, m)
	if err != nil {
		return document.Values{}, err
	}
	return read(OfMessage(m))
}

// appendKey appends a value to the key of a group, so that different lists of values have
// different keys: a null is the byte 0; a number 1 and its bits; any other value its length plus 2 and
// its text.
func appendKey(b []byte, v value.Value) []byte {
	switch v.Type() {
	case "":
		return append(b, 0)
	case value.Int, value.Uint:
		return binary.LittleEndian.AppendUint64(append(b, 1), v.Uint())
	}
	text := v.Text()
	return append(binary.AppendUvarint(b, uint64(len(text))+2), text...)
}

// group is a group to which records are still added.
type group struct {
	by     []value.Value
	totals []total
}

func newGroup(by []value.Value, aggs []aggregate) *group {
	g := &group{by: by, totals: make([]total, len(aggs))}
	for i := range g.totals {
		g.totals[i].float.SetPrec(floatPrecision)
	}
	return g
}
