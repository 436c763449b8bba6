package exec

import (
	"container/heap"
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// sortable is a record and the values that its place in an order depends on.
type sortable struct {
	by    []value.Value
	entry store.Message
}

// compareBy orders the values of an order's columns. Null is the smallest.
func compareBy(order []plan.Sort, a, b []value.Value) int {
	for i, s := range order {
		if c := value.Compare(a[i], b[i]); c != 0 {
			if s.Desc {
				return -c
			}
			return c
		}
	}
	return 0
}

// SortValues reads the values of an order's columns from a document, with what
// null stands for in this process.
func (m *Model) SortValues(order []plan.Sort, doc []byte) ([]value.Value, error) {
	vals, err := document.NewFields(m.Def, sortColumns(order)...).Read(doc)
	if err != nil {
		return nil, err
	}
	return m.sortValues(order, vals), nil
}

func (m *Model) sortValues(order []plan.Sort, vals document.Values) []value.Value {
	by := make([]value.Value, len(order))
	for i, s := range order {
		by[i] = m.valueAt(vals, s.Column)
	}
	return by
}

// valueAt is a column's value, with what null stands for in this process.
func (m *Model) valueAt(vals document.Values, column int) value.Value {
	if v := vals.At(column); !v.IsNull() {
		return v
	}
	return m.Def.Columns[column].AbsentMeans()
}

func sortColumns(order []plan.Sort) []int {
	out := make([]int, len(order))
	for i, s := range order {
		out[i] = s.Column
	}
	return out
}

// ordered streams the records that a query selects in its order. Only those
// that offset and limit leave are kept on the way, in a heap, and decoded. With
// total, it is set to how many there are without them. Records that can not be
// read, whose place is not known, come last.
func ordered[V any](ctx context.Context, m *Model, q plan.Query, total *int, decode func(store.Message) (V, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		keep := q.Keeps()
		top := &topmost{order: q.Order}
		var faults []error
		whole := q
		if total != nil {
			whole.Limit = -1 // none is left out of the count
		}
		found := rows(ctx, m, whole, true, sortColumns(q.Order), func(e store.Message, vals document.Values) (sortable, error) {
			return sortable{m.sortValues(q.Order, vals), e}, nil
		})
		n := 0
		for s, err := range found {
			switch {
			case errors.Is(err, errs.ErrCorrupt):
				faults = append(faults, err)
				continue
			case err != nil:
				var none V
				yield(none, err)
				return
			}
			n++
			if q.After != nil && compareBy(q.Order, s.by, q.After) <= 0 {
				continue
			}
			top.add(s, keep)
		}
		if total != nil {
			*total = n
		}
		list := top.sorted()
		list = list[min(q.Offset, len(list)):]
		entries := make([]store.Message, len(list))
		for i, s := range list {
			entries[i] = s.entry
		}
		for v, err := range decoded(ctx, m, entries, decode) {
			if !yield(v, err) {
				return
			}
		}
		for _, err := range faults {
			var none V
			if !yield(none, err) {
				return
			}
		}
	}
}

// decoded streams what decode makes of entries, in their order, on several
// cores when they are many.
func decoded[V any](ctx context.Context, m *Model, entries []store.Message, decode func(store.Message) (V, error)) iter.Seq2[V, error] {
	s := &selection[V]{m: m, more: document.NewFields(m.Def), build: func(e store.Message, _ document.Values) (V, error) { return decode(e) }}
	batches := func(yield func(batch, error) bool) {
		for chunk := range slices.Chunk(entries, scanBatch) {
			if !yield(batch{entries: chunk, inline: len(chunk) == len(entries)}, nil) {
				return
			}
		}
	}
	return func(yield func(V, error) bool) {
		work(ctx, batches, runtime.GOMAXPROCS(0), s.run, func(r row[V]) bool { return yield(r.v, r.err) })
	}
}

// topmost keeps the first records of an order: a heap whose root is the last of
// them, so that a record that comes replaces it or is passed over.
type topmost struct {
	order []plan.Sort
	list  []sortable
}

func (t *topmost) Len() int           { return len(t.list) }
func (t *topmost) Less(i, j int) bool { return compareBy(t.order, t.list[i].by, t.list[j].by) > 0 }
func (t *topmost) Swap(i, j int)      { t.list[i], t.list[j] = t.list[j], t.list[i] }
func (t *topmost) Push(x any)         { t.list = append(t.list, x.(sortable)) }
func (t *topmost) Pop() any {
	last := t.list[len(t.list)-1]
	t.list = t.list[:len(t.list)-1]
	return last
}

// add takes a record in; no more than keep stay, when that is not negative.
func (t *topmost) add(s sortable, keep int) {
	switch {
	case keep < 0:
		t.list = append(t.list, s)
	case len(t.list) < keep:
		heap.Push(t, s)
	case keep > 0 && compareBy(t.order, s.by, t.list[0].by) < 0:
		t.list[0] = s
		heap.Fix(t, 0)
	}
}

func (t *topmost) sorted() []sortable {
	slices.SortFunc(t.list, func(a, b sortable) int { return compareBy(t.order, a.by, b.by) })
	return t.list
}
