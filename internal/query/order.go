package query

import (
	"container/heap"
	"context"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/value"
)

// sortable is a record with its place in an order.
type sortable struct {
	by     []value.Value // the place: the record's values in the columns of the order
	record Record
}

// compareBy says which of two places comes first in an order. Null is the smallest value.
// No two records have the same place, because an order ends with the primary key.
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

// placeOf is a record's place in an order, with the values that valueAt gives.
func placeOf(def *schema.Definition, order []plan.Sort, vals document.Values) []value.Value {
	by := make([]value.Value, len(order))
	for i, s := range order {
		by[i] = valueAt(def, vals, s.Column)
	}
	return by
}

// behind reports whether a record's place in an order is behind another one.
func behind(def *schema.Definition, order []plan.Sort, vals document.Values, place []value.Value) bool {
	for i, s := range order {
		if c := value.Compare(valueAt(def, vals, s.Column), place[i]); c != 0 {
			return (c > 0) != s.Desc
		}
	}
	return false
}

// valueAt is a record's value in a column. A null is what it stands for in this program:
// the type's zero where the Go field cannot be null (schema.Column.AbsentMeans).
func valueAt(def *schema.Definition, vals document.Values, column int) value.Value {
	if v := vals.At(column); !v.IsNull() {
		return v
	}
	return def.Columns[column].AbsentMeans()
}

// sortColumns returns the positions of the columns of an order.
func sortColumns(order []plan.Sort) []int {
	out := make([]int, len(order))
	for i, s := range order {
		out[i] = s.Column
	}
	return out
}

// ordered streams the records that a query selects, in the query's order. When total is
// not nil, it is set to the number of records without limit, offset and cursor, before
// the first one is delivered. A record that cannot be read has no place: its error comes
// last.
func ordered[V any](ctx context.Context, src Source, q plan.Query, all bool, total *int, decode func(Record) (V, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		ctx, cancel := cancelable(ctx, src)
		defer cancel()
		whole := q
		if total != nil {
			whole.Limit = -1 // the source must not leave out records that count
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

// inOrder reports whether the source promises that candidates come sorted by an order.
// With Lookups that is no use: what was Written since would come at the end.
func inOrder(c Candidates, order []plan.Sort) bool {
	return c.Lookups == nil && len(c.Order) >= len(order) && slices.Equal(c.Order[:len(order)], order)
}

// sorted is ordered for candidates that come in any order.
//
// All of them have to pass before the first can be delivered. On the way only the
// columns of the order are decoded, and with a limit only the first offset+limit records
// are kept, in a heap: memory does not grow with the model. Those are decoded for the
// caller when all have passed.
func sorted[V any](ctx context.Context, src Source, c Candidates, q plan.Query, total *int, decode func(Record) (V, error), yield func(V, error) bool) {
	var none V
	def, keep := src.Model(), q.Keeps()
	top := &topmost{order: q.Order}
	if total == nil && keep >= 0 && c.Chunks != nil {
		c.Chunks = untilSettled(c.Chunks, top, keep)
	}
	var unreadable []error
	var failed error
	n := 0 // records that fulfil the condition, also those before the cursor
	rowsOf(ctx, src, c, sortColumns(q.Order), func(m Record, vals document.Values) (sortable, error) {
		if last := top.last.Load(); last != nil && behind(def, q.Order, vals, *last) {
			return sortable{}, nil // it counts, and is not among the first
		}
		return sortable{placeOf(def, q.Order, vals), m}, nil
	}, func(s sortable, err error) bool {
		switch {
		case errs.Unreadable(err):
			unreadable = append(unreadable, err) // delivered last: it has no place
			return true
		case err != nil:
			failed = err
			return false
		}
		if n++; s.by == nil {
			return true
		}
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
	// top has offset+limit records at the most: what is behind the offset is the page.
	list := top.sorted()
	list = list[min(q.Offset, len(list)):]
	records := make([]Record, len(list))
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

// untilSettled is chunks up to the one after which the first records of the order are known.
func untilSettled(chunks iter.Seq2[Chunk, error], top *topmost, keep int) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		for chunk, err := range chunks {
			if !yield(chunk, err) {
				return
			}
			// What is Inline was worked on when yield returns.
			if chunk.Settled != nil && top.Len() >= keep && (keep == 0 || chunk.Settled(top.list[0].by)) {
				return
			}
		}
	}
}

// passed is ordered for candidates that already come in the order. It skips those up to
// the cursor, then the offset, and stops at the limit; the source then finds no more.
// Nothing but the errors of unreadable records is kept.
func passed[V any](ctx context.Context, src Source, c Candidates, q plan.Query, decode func(Record) (V, error), yield func(V, error) bool) {
	type place struct {
		v      V
		err    error // of decode: the record has a place, so the error is delivered there
		behind bool  // the record comes after the cursor
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
	ended := false // the caller wants no more, or an error has ended the stream
	rowsOf(ctx, src, c, more, func(m Record, vals document.Values) (r place, _ error) {
		if q.After == nil || compareBy(q.Order, placeOf(def, q.Order, vals), q.After) > 0 {
			r.behind = true
			r.v, r.err = decode(m)
		}
		return r, nil
	}, func(r place, err error) bool {
		switch {
		case errs.Unreadable(err):
			unreadable = append(unreadable, err)
		case err != nil:
			ended = true
			yield(none, err)
		case !r.behind:
		case skip > 0:
			skip--
		default:
			ended = !yield(r.v, r.err) || r.err != nil && !errs.Unreadable(r.err)
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

// decodeChunk is how many records one worker decodes at a time.
const decodeChunk = 256

// decoded streams what decode makes of records that were found already, in their order.
// More than one chunk is decoded on several cores.
func decoded[V any](ctx context.Context, src Source, records []Record, decode func(Record) (V, error)) iter.Seq2[V, error] {
	s := &selection[V]{def: src.Model(), build: func(r Record, _ document.Values) (V, error) { return decode(r) }}
	chunks := func(yield func(Chunk, error) bool) {
		for chunk := range slices.Chunk(records, decodeChunk) {
			if !yield(Chunk{chosen: chunk}, nil) {
				return
			}
		}
	}
	return func(yield func(V, error) bool) {
		if len(records) <= decodeChunk {
			for _, r := range records {
				if v, err := decode(r); !yield(v, err) || err != nil && !errs.Unreadable(err) {
					return
				}
			}
			return
		}
		work(ctx, chunks, runtime.GOMAXPROCS(0), s.run, func(r result[V]) bool { return yield(r.v, r.err) })
	}
}

// topmost keeps the records that come first in an order. With a bound it is a heap whose
// root is the last of the records that it keeps: a record that comes before the root
// replaces it, any other is dropped.
type topmost struct {
	order []plan.Sort
	list  []sortable
	last  atomic.Pointer[[]value.Value] // the root's place, when no more records are kept: for those who find them
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

// add adds a record. Only the first keep of them stay; a negative keep has no bound.
func (t *topmost) add(s sortable, keep int) {
	switch {
	case keep < 0:
		t.list = append(t.list, s)
	case len(t.list) < keep:
		heap.Push(t, s)
	case keep > 0 && compareBy(t.order, s.by, t.list[0].by) < 0:
		t.list[0] = s
		heap.Fix(t, 0)
	default:
		return
	}
	if keep > 0 && len(t.list) == keep {
		place := t.list[0].by
		t.last.Store(&place)
	}
}

// sorted returns the records in order. The heap cannot be used after it.
func (t *topmost) sorted() []sortable {
	slices.SortFunc(t.list, func(a, b sortable) int { return compareBy(t.order, a.by, b.by) })
	return t.list
}
