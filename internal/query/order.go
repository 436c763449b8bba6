package query

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
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// sortable is a record and its place in an order: the values of the order's columns.
type sortable struct {
	by     []value.Value
	record store.Message
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

// placeOf is a record's place in an order, with what null stands for in this process.
func placeOf(def *schema.Definition, order []plan.Sort, vals document.Values) []value.Value {
	by := make([]value.Value, len(order))
	for i, s := range order {
		by[i] = valueAt(def, vals, s.Column)
	}
	return by
}

// valueAt is a column's value, with what null stands for in this process.
func valueAt(def *schema.Definition, vals document.Values, column int) value.Value {
	if v := vals.At(column); !v.IsNull() {
		return v
	}
	return def.Columns[column].AbsentMeans()
}

func sortColumns(order []plan.Sort) []int {
	out := make([]int, len(order))
	for i, s := range order {
		out[i] = s.Column
	}
	return out
}

// ordered streams the records that a query selects in its order. With total, it is
// set to how many there are without limit, offset and cursor. Records that cannot be
// read, whose place is not known, come last.
func ordered[V any](ctx context.Context, src Source, q plan.Query, all bool, total *int, decode func(store.Message) (V, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		whole := q
		if total != nil {
			whole.Limit = -1 // none is left out of the count
		}
		c, err := src.Candidates(ctx, whole, all)
		switch {
		case err != nil:
			var none V
			yield(none, err)
		case total == nil && inOrder(c, q.Order):
			passed(ctx, src, c, q, decode, yield)
		default:
			sorted(ctx, src, c, q, total, decode, yield)
		}
	}
}

// inOrder reports whether candidates come sorted by an order.
func inOrder(c Candidates, order []plan.Sort) bool {
	return c.Lookups == nil && len(c.Order) >= len(order) && slices.Equal(c.Order[:len(order)], order)
}

// sorted is ordered for candidates in any order. Only those that offset and limit
// leave are kept on the way, in a heap, and decoded.
func sorted[V any](ctx context.Context, src Source, c Candidates, q plan.Query, total *int, decode func(store.Message) (V, error), yield func(V, error) bool) {
	var none V
	def, keep := src.Model(), q.Keeps()
	top := &topmost{order: q.Order}
	var unreadable []error
	var failed error
	n := 0
	rowsOf(ctx, src, c, sortColumns(q.Order), func(m store.Message, vals document.Values) (sortable, error) {
		return sortable{placeOf(def, q.Order, vals), m}, nil
	}, func(s sortable, err error) bool {
		switch {
		case errors.Is(err, errs.ErrCorrupt):
			unreadable = append(unreadable, err)
			return true
		case err != nil:
			failed = err
			return false
		}
		n++
		if q.After == nil || compareBy(q.Order, s.by, q.After) > 0 {
			top.add(s, keep)
		}
		return true
	})
	if failed != nil {
		yield(none, failed)
		return
	}
	if total != nil {
		*total = n
	}
	list := top.sorted()
	list = list[min(q.Offset, len(list)):]
	records := make([]store.Message, len(list))
	for i, s := range list {
		records[i] = s.record
	}
	for v, err := range decoded(ctx, src, records, decode) {
		if !yield(v, err) {
			return
		}
	}
	for _, err := range unreadable {
		if !yield(none, err) {
			return
		}
	}
}

// passed is ordered for candidates that come in the order: those up to the cursor are
// passed over, and then the offset; at the limit it breaks off.
func passed[V any](ctx context.Context, src Source, c Candidates, q plan.Query, decode func(store.Message) (V, error), yield func(V, error) bool) {
	type result struct {
		v      V
		err    error // of decoding: the place of the record is known
		behind bool  // it is after the cursor
	}
	var none V
	def := src.Model()
	var more []int
	if q.After != nil {
		more = sortColumns(q.Order)
	}
	skip, left := q.Offset, q.Limit
	if left == 0 {
		return
	}
	var unreadable []error
	ended := false
	rowsOf(ctx, src, c, more, func(m store.Message, vals document.Values) (r result, _ error) {
		if q.After == nil || compareBy(q.Order, placeOf(def, q.Order, vals), q.After) > 0 {
			r.behind = true
			r.v, r.err = decode(m)
		}
		return r, nil
	}, func(r result, err error) bool {
		switch {
		case errors.Is(err, errs.ErrCorrupt):
			unreadable = append(unreadable, err)
		case err != nil:
			ended = true
			yield(none, err)
		case !r.behind:
		case skip > 0:
			skip--
		default:
			ended = !yield(r.v, r.err) || r.err != nil && !errors.Is(r.err, errs.ErrCorrupt)
			left--
		}
		return !ended && left != 0
	})
	for _, err := range unreadable {
		if ended || !yield(none, err) {
			return
		}
	}
}

// decodeBatch is how many records one worker decodes at a time.
const decodeBatch = 256

// decoded streams what decode makes of records, in their order, on several
// cores when they are many.
func decoded[V any](ctx context.Context, src Source, records []store.Message, decode func(store.Message) (V, error)) iter.Seq2[V, error] {
	def := src.Model()
	s := &selection[V]{src: src, def: def, more: document.NewFields(def), build: func(m store.Message, _ document.Values) (V, error) { return decode(m) }}
	batches := func(yield func(Batch, error) bool) {
		for chunk := range slices.Chunk(records, decodeBatch) {
			if !yield(Batch{Records: chunk, Inline: len(chunk) == len(records)}, nil) {
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

// add takes a record in; at most keep of them stay, when that is not negative.
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
