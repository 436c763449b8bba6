package query

import (
	"context"
	"iter"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Records streams the records that a query selects, as they are stored.
func Records(ctx context.Context, src Source, q plan.Query) iter.Seq2[store.Message, error] {
	return Select(ctx, src, q, true, func(r Record) (store.Message, error) { return r.Message(), nil })
}

// Select streams the records that a query selects, decoded on several cores. all says
// that the caller will read every one, so that much may be read ahead. A record that
// cannot be read comes as a *CorruptError, after which the stream goes on; every other
// error ends it.
func Select[V any](ctx context.Context, src Source, q plan.Query, all bool, decode func(Record) (V, error)) iter.Seq2[V, error] {
	all = all && q.Keeps() < 0 // a limit stops early, whatever the caller does
	if len(q.Order) > 0 {
		return ordered(ctx, src, q, all, nil, decode)
	}
	return limited(q, rows(ctx, src, q, all, nil, func(r Record, _ document.Values) (V, error) { return decode(r) }))
}

// Gathered reads the whole sequence in, and returns it as one that does no more reading.
// A caller that changes what the sequence reads uses it.
func Gathered[V any](in iter.Seq2[V, error]) iter.Seq2[V, error] {
	type item struct {
		v   V
		err error
	}
	var all []item
	for v, err := range in {
		all = append(all, item{v, err})
	}
	return func(yield func(V, error) bool) {
		for _, i := range all {
			if !yield(i.v, i.err) {
				return
			}
		}
	}
}

// limited skips a query's offset and ends at its limit. A record that cannot be read
// counts for neither, and its error is delivered. The stream ends with the last record
// and not at the one after it, so that nothing is read for a record nobody wants.
func limited[V any](q plan.Query, in iter.Seq2[V, error]) iter.Seq2[V, error] {
	if q.Limit < 0 && q.Offset == 0 {
		return in
	}
	return func(yield func(V, error) bool) {
		skip, left := q.Offset, q.Limit
		if left == 0 {
			return
		}
		for v, err := range in {
			if err == nil && skip > 0 {
				skip--
				continue
			}
			if !yield(v, err) {
				return
			}
			if err == nil {
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// SelectAndCount reads a whole page at once, and counts the records that there are
// without limit, offset and cursor: both from one pass, so they agree. unreadable are the
// errors of records that cannot be read; they are not in the page.
func SelectAndCount[V any](ctx context.Context, src Source, q plan.Query, decode func(Record) (V, error)) (page []V, total int, unreadable []error, err error) {
	keep := func(v V, err error) error {
		switch {
		case err == nil:
			page = append(page, v)
		case errs.Unreadable(err):
			unreadable = append(unreadable, err)
		default:
			return err
		}
		return nil
	}
	page = []V{} // not nil, when it is empty
	if len(q.Order) > 0 {
		for v, err := range ordered(ctx, src, q, true, &total, decode) {
			if err := keep(v, err); err != nil {
				return nil, 0, nil, err
			}
		}
		return page, total, unreadable, nil
	}
	// Without an order the page is what comes first. Every record passes to be counted, but
	// only those of the page are decoded.
	whole := q
	whole.Limit, whole.Offset = -1, 0
	var chosen []Record
	for r, err := range Select(ctx, src, whole, true, func(r Record) (Record, error) { return r, nil }) {
		var none V
		switch {
		case err != nil:
			if err := keep(none, err); err != nil {
				return nil, 0, nil, err
			}
			continue
		case total >= q.Offset && (q.Limit < 0 || len(chosen) < q.Limit):
			chosen = append(chosen, r)
		}
		total++
	}
	for v, err := range decoded(ctx, src, chosen, decode) {
		if err := keep(v, err); err != nil {
			return nil, 0, nil, err
		}
	}
	return page, total, unreadable, nil
}

// Count counts the records that a query selects. Without a condition the source counts
// them and no record is read. With one, the source may be able to count them too. Otherwise a record
// that cannot be read is an error: whether it counts is not known.
func Count(ctx context.Context, src Source, q plan.Query) (n int, err error) {
	switch {
	case q.Limit == 0:
		return 0, nil
	case (q.Filter == nil || q.Filter.All()) && q.After == nil:
		if n, err = src.Count(ctx); err != nil {
			return 0, err
		}
		return Counts(q, n), nil
	}
	if q.After == nil {
		q.Order = nil // the number does not depend on it
	}
	if n, ok, err := src.Counted(ctx, q); ok || err != nil {
		return n, err
	}
	for _, err := range Select(ctx, src, q, true, func(Record) (struct{}, error) { return struct{}{}, nil }) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Counts is how many of n records a query's limit and offset leave.
func Counts(q plan.Query, n int) int {
	n = max(0, n-q.Offset)
	if q.Limit >= 0 {
		n = min(n, q.Limit)
	}
	return n
}

// Matcher returns a function that reports whether a single record is live and fulfils a
// filter; nil is no filter. The function returns a *CorruptError for a record that cannot
// be read. It is safe for concurrent use.
func Matcher(def *schema.Definition, filter *cond.Bound) func(store.Message) (bool, error) {
	if filter == nil {
		return func(m store.Message) (bool, error) { return m.Live(), nil }
	}
	fields := document.NewFields(def, filter.Columns(nil)...)
	return func(m store.Message) (bool, error) {
		if !m.Live() {
			return false, nil
		}
		vals, err := fields.Read(m.Value)
		if err != nil {
			return false, errs.Corrupt(def.Name, m.Key, err)
		}
		return filter.Match(vals), nil
	}
}
