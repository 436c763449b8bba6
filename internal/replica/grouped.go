package replica

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Groups that have few rows each are not looked for one by one: after manyGroups of them, all are counted that
// have fewer than fewRows on average.
const (
	manyGroups = 64
	fewRows    = 64
)

// Grouped counts the records of each group where an index begins with these columns.
func (s *Source) Grouped(_ context.Context, columns []int) (groups []query.Tally, others []store.Message, ok bool, err error) {
	if s.view == nil || s.snapshot.trees.whole.Len() > 0 {
		return nil, nil, false, nil
	}
	x, i, places := s.byColumns(columns)
	if x == nil {
		return nil, nil, false, nil
	}
	add := func(r *row.Row, n int) {
		by := make([]value.Value, len(columns))
		for j, at := range places {
			if by[at] = r.Value(x.order.Columns()[j]); by[at].IsNull() {
				by[at] = s.view.def.Columns[columns[at]].AbsentMeans()
			}
		}
		if s.nulls(columns) {
			for i := range groups {
				if slices.Equal(groups[i].By, by) {
					groups[i].Records += n
					return
				}
			}
		}
		groups = append(groups, query.Tally{By: by, Records: n})
	}
	tree := s.snapshot.trees.sorted[i]
	at := 0
	for at < tree.Len() && (len(groups) < manyGroups || at/len(groups) >= fewRows) {
		first, _ := tree.GetAt(at)
		end := rank(tree, x.order, x.end(first.Row, len(columns)))
		add(first.Row, end-at)
		at = end
	}
	if at < tree.Len() {
		first, _ := tree.GetAt(at)
		run, n := first.Row, 0
		x.ascend(tree, span{from: first}, func(r *row.Row) bool {
			if !x.order.Equal(run, r, len(columns)) {
				add(run, n)
				run, n = r, 0
			}
			n++
			return true
		})
		add(run, n)
	}
	return groups, nil, true, nil
}

// nulls reports whether one of the columns is null or absent in any record.
func (s *Source) nulls(columns []int) bool {
	return slices.ContainsFunc(columns, func(c int) bool { return s.snapshot.trees.nulls[s.view.at[c]] > 0 })
}

// byColumns is an index that begins with these columns, in any order, and its number; nil when there is none.
// places are the positions of its first columns among them.
func (s *Source) byColumns(columns []int) (x *index, i int, places []int) {
	for i := range s.snapshot.form.indexes {
		x := &s.snapshot.form.indexes[i]
		if x.order == nil || x.Fold || len(x.Columns) < len(columns) {
			continue
		}
		places = places[:0]
		for _, name := range x.Columns[:len(columns)] {
			if at := slices.Index(columns, s.view.def.Position(name)); at >= 0 && !slices.Contains(places, at) {
				places = append(places, at)
			}
		}
		if len(places) == len(columns) {
			return x, i, places
		}
	}
	return nil, 0, nil
}

// end is the place after all rows that have the values of a row in the first columns of the index.
func (x *index) end(r *row.Row, columns int) row.Item {
	values := make([]value.Value, columns)
	for i, at := range x.order.Columns()[:columns] {
		values[i] = r.Value(at)
	}
	return x.order.Pivot(values, true)
}
