package replica

import (
	"context"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Source is where queries find the records of a Snapshot, by a version of the model. It reads no bucket,
// and shows one moment.
//
// While a table has another form than that version, because it is being brought into a newer one, all
// records are looked at, each with its document.
type Source struct {
	snapshot *Snapshot
	model    *records.Model
	view     *view // nil: the rows are of another form
}

// view is how a version of a model sees the rows of a form.
type view struct {
	def *schema.Definition // the model's, with the indexes that are in memory
	at  []int              // the position in rows of each column
}

var _ query.Source = (*Source)(nil)

// Source is the snapshot as a version of the model has it.
func (s *Snapshot) Source(m *records.Model) *Source {
	return &Source{snapshot: s, model: m, view: s.form.view(m)}
}

// view is the view of a version of the model; nil when it has none.
func (f *form) view(m *records.Model) *view {
	if v, ok := f.views.Load(m); ok {
		return v.(*view)
	}
	v := f.newView(m.Def)
	f.views.Store(m, v)
	return v
}

func (f *form) newView(def *schema.Definition) *view {
	if len(f.indexes) == 0 || def.Key().Name != f.def.Key().Name || !slices.Equal(document.NamesOf(def).List(), f.names.List()) {
		return nil
	}
	with := *def
	v := &view{def: &with}
	for _, col := range def.Columns {
		at := f.shape.Position(col.Name, col.Type)
		if at < 0 {
			return nil
		}
		v.at = append(v.at, at)
	}
	with.Indexes = nil
	for _, x := range f.indexes {
		kept := x.Index
		kept.State, kept.Unique, kept.Ordered = schema.Ready, false, x.order != nil && !x.Fold
		with.Indexes = append(with.Indexes, kept)
	}
	return v
}

// Model describes the records.
func (s *Source) Model() *schema.Definition {
	if s.view != nil {
		return s.view.def
	}
	return s.model.Def
}

// InMemory reports that nothing is read.
func (s *Source) InMemory() bool { return true }

// View is a record as the version of the model has it.
func (s *Source) View(ctx context.Context, m store.Message) (store.Message, error) {
	return s.model.View(ctx, m)
}

// Find is the record with a primary key; one that is not there is not live.
func (s *Source) Find(ctx context.Context, id value.Value) (query.Record, error) {
	key := func() string { return s.model.Layout.RecordKey(id) }
	if s.view == nil {
		for _, r := range s.all() {
			if r.Key() == key() {
				m, err := s.View(ctx, query.OfRow(r).Message())
				return query.OfMessage(m), err
			}
		}
		return query.Record{}, nil
	}
	if r := s.snapshot.byKey(id, key); r != nil {
		return query.OfRow(r), nil
	}
	return query.Record{}, nil
}

// Stored is a record as the bucket has it, by its primary key. ok is false when there is none, or when it is not
// known how it was written.
func (s *Snapshot) Stored(m *records.Model, id value.Value) (stored store.Message, ok bool) {
	if s.form.view(m) == nil || s.form.names != nil {
		return stored, false
	}
	r := s.byKey(id, func() string { return m.Layout.RecordKey(id) })
	if r == nil {
		return stored, false
	}
	return query.OfRow(r).Message(), true
}

// all are all rows.
func (s *Source) all() []*row.Row {
	out := make([]*row.Row, 0, s.snapshot.Len())
	s.snapshot.trees.each(func(r *row.Row) bool {
		out = append(out, r)
		return true
	})
	return out
}

// Count is the number of records.
func (s *Source) Count(context.Context) (int, error) { return s.snapshot.Len(), nil }

// SawGroups has nobody to tell.
func (s *Source) SawGroups([]int, [][]value.Value) {}

// index is the index of an access, and its number.
func (s *Source) index(x schema.Index) (*index, int) {
	i := slices.IndexFunc(s.snapshot.form.indexes, func(have index) bool { return have.Name == x.Name })
	return &s.snapshot.form.indexes[i], i
}

// null reports whether null stands for the zero of its type in the column that the intervals of a lookup are
// of.
func (s *Source) null(l plan.Lookup) bool {
	return len(l.Intervals) > 0 && s.view.def.Columns[s.view.def.Position(l.Index.Columns[len(l.Values)])].ZeroNull
}

// count is how many records a lookup leads to.
func (s *Source) count(l plan.Lookup) (n int) {
	x, i := s.index(l.Index)
	if x.order == nil {
		return counted(s.snapshot.trees.elements[i], l.Values[0].Text())
	}
	for _, sp := range x.spans(l, s.null(l)) {
		n += x.count(s.snapshot.trees.sorted[i], sp)
	}
	return n
}

// memory is what queries are planned by.
func (s *Source) memory() *plan.Memory {
	return &plan.Memory{Def: s.view.def, Records: s.snapshot.Len(), Count: s.count, Nulls: func(column int) bool {
		return s.snapshot.trees.nulls[s.view.at[column]] > 0
	}}
}

// Plan is how a query is answered.
func (s *Source) Plan(q plan.Query) plan.Plan {
	if s.view == nil {
		return plan.Plan{Query: q, Access: plan.Access{Path: plan.Scan, Records: s.snapshot.Len()}}
	}
	return s.memory().Plan(q)
}

// Covers reports whether a plan leads to the records that the query selects, and to no others.
func (s *Source) Covers(p plan.Plan) bool {
	return s.view != nil && s.snapshot.trees.whole.Len() == 0 && s.memory().Covers(p)
}

// Counted counts the records of a query whose condition an index says.
func (s *Source) Counted(_ context.Context, q plan.Query) (n int, ok bool, err error) {
	if q.After != nil {
		return 0, false, nil
	}
	q.Order = nil
	p := s.Plan(q)
	if p.Path == plan.Scan || p.Path == plan.Key || !s.Covers(p) {
		return 0, false, nil
	}
	return query.Counts(q, p.Entries), true, nil
}

// chunk is how many records are looked at by one goroutine. Up to that many, no other one is begun.
const chunk = 512

// Candidates are the records that a query's plan leads to.
func (s *Source) Candidates(_ context.Context, q plan.Query, all bool) (query.Candidates, error) {
	if s.view == nil {
		return query.Candidates{Filter: q.Filter, Chunks: s.documents()}, nil
	}
	p := s.Plan(q)
	c := query.Candidates{Filter: p.Filter}
	if s.Covers(p) || p.Filter != nil && p.Filter.All() {
		c.Filter = nil
	}
	switch whole := s.snapshot.trees.whole.Len(); {
	case p.Sorted && whole == 0:
		c.Order = q.Order
	case len(q.Order) > 0:
		all, p.After = true, nil
	}
	rows := func(yield func(*row.Row) bool) {
		if s.walk(p, yield) && p.Path != plan.Nothing && p.Path != plan.Key {
			s.snapshot.trees.whole.Scan(func(e entry) bool { return yield(e.row) })
		}
	}
	if p.Records <= chunk || !all {
		c.Few = rows
	} else {
		c.Chunks = chunks(rows)
	}
	return c, nil
}

// walk yields the rows that a plan leads to, each once, but those that are whole.
func (s *Source) walk(p plan.Plan, yield func(*row.Row) bool) bool {
	switch p.Path {
	case plan.Nothing:
		return true
	case plan.Scan:
		more := true
		s.snapshot.trees.sorted[0].Scan(func(it row.Item) bool {
			more = yield(it.Row)
			return more
		})
		return more
	}
	if p.Path == plan.Union || p.Index.Elements != "" && len(p.Lookups) > 1 { // a row may have several of them
		seen, next := map[*row.Row]struct{}{}, yield
		yield = func(r *row.Row) bool {
			if _, twice := seen[r]; twice {
				return true
			}
			seen[r] = struct{}{}
			return next(r)
		}
	}
	switch {
	case p.Sorted:
		return s.inOrder(p, yield)
	case p.Path != plan.Union:
		return s.look(p.Access, yield)
	}
	for _, in := range p.Inputs {
		if !s.look(in, yield) {
			return false
		}
	}
	return true
}

// inOrder yields the rows of a plan that is sorted, from behind the cursor on if there is one.
func (s *Source) inOrder(p plan.Plan, yield func(*row.Row) bool) bool {
	l := p.Lookups[0]
	x, i := s.index(l.Index)
	tree, spans := s.snapshot.trees.sorted[i], x.spans(l, s.null(l))
	walk := x.ascend
	switch {
	case p.Desc && (len(l.Intervals) == 0 || x.Name == primary): // the order of their primary keys
		walk = x.descend
	case p.Desc:
		walk = x.groups
	}
	if p.Desc {
		slices.Reverse(spans)
	}
	var rest *span // of those with the values of the cursor, the ones that follow in the order of their primary keys
	if p.After != nil {
		place := s.place(x, l, p)
		at := x.order.Pivot(place, !p.Desc)
		if p.Desc && len(l.Intervals) > 0 && x.Name != primary {
			group := x.of(place[:len(place)-1])
			rest = &span{x.order.Pivot(place, true), group.to}
			at = group.from
		}
		for i := range spans {
			if p.Desc {
				spans[i].to = x.sooner(at, spans[i].to)
			} else {
				spans[i].from = x.later(at, spans[i].from)
			}
		}
	}
	if rest != nil && !x.ascend(tree, *rest, yield) {
		return false
	}
	for _, sp := range spans {
		if !walk(tree, sp, yield) {
			return false
		}
	}
	return true
}

// place is where the cursor of a plan is in an index.
func (s *Source) place(x *index, l plan.Lookup, p plan.Plan) []value.Value {
	values := slices.Clone(l.Values)
	def := s.view.def
	of := func(column int) value.Value {
		i := slices.IndexFunc(p.Order, func(o plan.Sort) bool { return o.Column == column })
		return p.After[i]
	}
	for _, name := range x.Columns[len(values):] {
		values = append(values, of(def.Position(name)))
	}
	if x.Name != primary {
		values = append(values, of(def.PrimaryKey()))
	}
	return values
}

// look yields the rows of one access by an index, or by primary keys.
func (s *Source) look(a plan.Access, yield func(*row.Row) bool) bool {
	if a.Path == plan.Key {
		seen := map[value.Value]bool{}
		for _, id := range a.Keys {
			r := s.snapshot.byKey(id, func() string { return s.model.Layout.RecordKey(id) })
			if r == nil || seen[id] {
				continue
			}
			seen[id] = true
			if !yield(r) {
				return false
			}
		}
		return true
	}
	for _, l := range a.Lookups {
		x, i := s.index(l.Index)
		if x.order == nil {
			if !withElement(s.snapshot.trees.elements[i], l.Values[0].Text(), yield) {
				return false
			}
			continue
		}
		for _, sp := range x.spans(l, s.null(l)) {
			if !x.ascend(s.snapshot.trees.sorted[i], sp, yield) {
				return false
			}
		}
	}
	return true
}

// chunks are rows in chunks, of which the engine looks at several at the same time.
func chunks(rows iter.Seq[*row.Row]) iter.Seq2[query.Chunk, error] {
	return func(yield func(query.Chunk, error) bool) {
		next := make([]*row.Row, 0, chunk)
		for r := range rows {
			if next = append(next, r); len(next) < chunk {
				continue
			}
			if !yield(query.Chunk{Rows: next}, nil) {
				return
			}
			next = make([]*row.Row, 0, chunk)
		}
		if len(next) > 0 {
			yield(query.Chunk{Rows: next}, nil)
		}
	}
}

// documents are all records with their documents.
func (s *Source) documents() iter.Seq2[query.Chunk, error] {
	return func(yield func(query.Chunk, error) bool) {
		for part := range slices.Chunk(s.all(), chunk) {
			found := make([]store.Message, len(part))
			for i, r := range part {
				found[i] = query.OfRow(r).Message()
			}
			if !yield(query.Chunk{Records: found, Inline: true}, nil) {
				return
			}
		}
	}
}
