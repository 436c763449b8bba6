package exec

import (
	"context"
	"errors"
	"iter"

	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
)

// Entries streams the records that a query selects, as they are stored.
func (m *Model) Entries(ctx context.Context, q plan.Query) iter.Seq2[store.Message, error] {
	return Select(ctx, m, q, true, func(e store.Message) (store.Message, error) { return e, nil })
}

// Select streams the records that a query selects, decoded on several cores.
// With all, the caller is known to read every one. A record that can not be
// read comes as a *CorruptError, after which the stream goes on; every other
// error ends it.
func Select[V any](ctx context.Context, m *Model, q plan.Query, all bool, decode func(store.Message) (V, error)) iter.Seq2[V, error] {
	if len(q.Order) > 0 {
		return ordered(ctx, m, q, nil, decode)
	}
	all = all && q.Needs() == 0
	return limited(q, rows(ctx, m, q, all, nil, func(e store.Message, _ document.Values) (V, error) { return decode(e) }))
}

// Gathered is a sequence, all of it taken before the first is given.
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

// limited passes over a query's offset and ends at its limit. Records that can
// not be read count in neither.
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

// Page is Select of a whole page at once, and how many records there are
// without limit, offset and position. Faults are the records that can not be
// read.
func Page[V any](ctx context.Context, m *Model, q plan.Query, decode func(store.Message) (V, error)) (page []V, total int, faults []error, err error) {
	whole := q
	whole.Limit, whole.Offset, whole.After = -1, 0, nil
	keep := func(v V, err error) error {
		switch {
		case err == nil:
			page = append(page, v)
		case errors.Is(err, errs.ErrCorrupt):
			faults = append(faults, err)
		default:
			return err
		}
		return nil
	}
	if len(q.Order) > 0 {
		for v, err := range ordered(ctx, m, q, &total, decode) {
			if err := keep(v, err); err != nil {
				return nil, 0, nil, err
			}
		}
		return page, total, faults, nil
	}
	var chosen []store.Message
	for e, err := range m.Entries(ctx, whole) {
		var none V
		switch {
		case err != nil:
			if err := keep(none, err); err != nil {
				return nil, 0, nil, err
			}
			continue
		case total >= q.Offset && (q.Limit < 0 || len(chosen) < q.Limit):
			chosen = append(chosen, e)
		}
		total++
	}
	for v, err := range decoded(ctx, m, chosen, decode) {
		if err := keep(v, err); err != nil {
			return nil, 0, nil, err
		}
	}
	return page, total, faults, nil
}

// Count counts the records that a query selects. One that can not be read is an
// error, unless there is no condition.
func (m *Model) Count(ctx context.Context, q plan.Query) (n int, err error) {
	switch {
	case q.Limit == 0:
		return 0, nil
	case (q.Filter == nil || q.Filter.All()) && q.After == nil:
		if n, err = m.store.Count(ctx, keys.Records(m.Def.Name)); err != nil {
			return 0, err
		}
		m.stats.sawRecords(n)
		n = max(0, n-q.Offset)
		if q.Limit >= 0 {
			n = min(n, q.Limit)
		}
		return n, nil
	}
	if q.After == nil {
		q.Order = nil // it does not matter which
	}
	for _, err := range Select(ctx, m, q, true, func(store.Message) (struct{}, error) { return struct{}{}, nil }) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// corrupt marks an error as that of reading a record.
func (m *Model) corrupt(e store.Message, err error) error {
	if err == nil {
		return nil
	}
	return &errs.CorruptError{Model: m.Def.Name, Key: e.Key, Err: err}
}
