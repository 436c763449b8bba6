package query

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// row is a record's result: what was built of it, or its error.
type row[V any] struct {
	key string // the record's
	v   V
	err error
}

// rows streams what build makes of the records that fulfil a query's condition, in the
// order of the source's candidates, with a worker for each core. Documents are decoded
// as far as the filter needs them, and those that it lets pass as far as more names
// columns. A record that cannot be read comes as a *CorruptError, after which the
// stream goes on; every other error ends it.
func rows[V any](ctx context.Context, src Source, q plan.Query, all bool, more []int, build func(store.Message, document.Values) (V, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c, err := src.Candidates(ctx, q, all)
		if err != nil {
			var none V
			yield(none, err)
			return
		}
		rowsOf(ctx, src, c, more, build, yield)
	}
}

// rowsOf is rows of candidates. Its caller cancels ctx in the end.
func rowsOf[V any](ctx context.Context, src Source, c Candidates, more []int, build func(store.Message, document.Values) (V, error), yield func(V, error) bool) {
	def := src.Model()
	s := selection[V]{src: src, def: def, lookups: c.Lookups, filter: c.Filter, more: document.NewFields(def, more...), build: build}
	if s.filter != nil {
		s.first = document.NewFields(def, s.filter.Columns(nil)...)
	}
	var delivered []string // the keys, when they may be found again
	if c.Lookups != nil {
		delivered = make([]string, 0, FirstBatch)
	}
	deliver := func(r row[V]) bool {
		if c.Lookups != nil && r.key != "" {
			delivered = append(delivered, r.key)
		}
		return yield(r.v, r.err)
	}
	workers := max(runtime.GOMAXPROCS(0), c.Workers)
	for work(ctx, c.Batches, workers, s.run, deliver) && s.left.Swap(false) {
		seen := make(map[string]bool, len(delivered))
		for _, key := range delivered {
			seen[key] = true
		}
		var err error
		c.Batches, err = c.Lookups.Since(ctx, func(key string) bool { return seen[key] })
		if err != nil {
			var none V
			yield(none, err)
			return
		}
		if c.Batches == nil {
			return
		}
	}
}

// work runs batches on several goroutines and delivers their rows in order; it
// reports false when that was broken off, or ended with an error. In the end it
// cancels what is under way, and waits for it.
func work[V any](ctx context.Context, batches iter.Seq2[Batch, error], workers int, run func(context.Context, Batch) []row[V], yield func(row[V]) bool) (complete bool) {
	ctx, cancel := context.WithCancel(ctx)
	var inFlight []chan []row[V]
	defer func() {
		cancel()
		for _, c := range inFlight {
			<-c
		}
	}()
	deliver := func(rows []row[V]) bool {
		for _, r := range rows {
			if !yield(r) || r.err != nil && !errors.Is(r.err, errs.ErrCorrupt) {
				return false
			}
		}
		return true
	}
	next := func() bool {
		rows := <-inFlight[0]
		inFlight = inFlight[1:]
		return deliver(rows)
	}
	for b, err := range batches {
		switch {
		case err != nil:
			c := make(chan []row[V], 1)
			c <- []row[V]{{err: err}}
			inFlight = append(inFlight, c)
		case b.Inline && len(inFlight) == 0:
			if !deliver(run(ctx, b)) {
				return false
			}
		default:
			c := make(chan []row[V], 1)
			inFlight = append(inFlight, c)
			go func() { c <- run(ctx, b) }()
		}
		if len(inFlight) >= workers && !next() {
			return false
		}
	}
	for len(inFlight) > 0 {
		if !next() {
			return false
		}
	}
	return true
}

// selection makes rows of batches: it applies a filter, and builds what passes.
type selection[V any] struct {
	src         Source
	def         *schema.Definition
	filter      *cond.Bound
	first, more *document.Fields // the filter's columns, and those that build gets
	build       func(store.Message, document.Values) (V, error)

	lookups Lookups
	left    atomic.Bool // a candidate was dropped that was written since the lookups
}

// run makes rows of what passes the filter in a batch. Records that are still
// to be read are worked on as they come, while the server sends the next.
func (s *selection[V]) run(ctx context.Context, b Batch) []row[V] {
	var scratch []value.Value
	if s.first != nil {
		scratch = make([]value.Value, s.first.Len())
	}
	if b.Keys == nil {
		out := make([]row[V], 0, s.expect(len(b.Records)))
		var dropped uint64
		for _, m := range b.Records {
			if r, ok := s.row(m, scratch); ok {
				out = append(out, r)
			} else {
				dropped = max(dropped, m.Revision)
			}
		}
		s.drop(dropped)
		return out
	}
	rows, picked := make([]row[V], len(b.Keys)), make([]bool, len(b.Keys))
	var dropped uint64
	err := s.src.Get(ctx, b.Keys, func(i int, m store.Message) {
		if rows[i], picked[i] = s.row(m, scratch); !picked[i] {
			dropped = max(dropped, m.Revision)
		}
	})
	if err != nil {
		return []row[V]{{err: err}}
	}
	s.drop(dropped)
	kept := rows[:0]
	for i, r := range rows {
		if picked[i] {
			kept = append(kept, r)
		}
	}
	return kept
}

// drop notes the last revision of a batch's candidates that did not pass.
func (s *selection[V]) drop(last uint64) {
	if s.lookups == nil || last == 0 {
		return
	}
	if asOf := s.lookups.AsOf(); asOf > 0 && last > asOf {
		s.left.Store(true)
	}
}

// expect is room for the rows of a batch of records.
func (s *selection[V]) expect(records int) int {
	if s.first == nil {
		return records
	}
	return 0
}

// row makes a row of a record; ok is false when it does not pass the filter.
func (s *selection[V]) row(m store.Message, scratch []value.Value) (r row[V], ok bool) {
	r.key = m.Key
	if !m.Live() {
		return r, false
	}
	var vals document.Values
	var err error
	if s.first != nil {
		vals, err = s.first.ReadInto(m.Value, scratch)
		if err == nil && !s.filter.Match(vals) {
			return r, false
		}
	}
	if err == nil && s.more.Len() > 0 {
		vals, err = s.more.Read(m.Value)
	}
	if err != nil {
		r.err = errs.Corrupt(s.def.Name, m.Key, err)
		return r, true
	}
	r.v, r.err = s.build(m, vals)
	return r, true
}
