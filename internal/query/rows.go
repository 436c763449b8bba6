package query

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// result is what is made of a record: its built value, or its error.
type result[V any] struct {
	key string // the record's key; empty for an error that is not of one record
	v   V
	err error
}

// rows streams what build makes of the records that fulfil a query's condition, in the
// order of the source's candidates. Each document is decoded as far as the filter needs
// it. For those that pass, the columns in more are decoded too and given to build, for as long as it runs. A
// record that cannot be read comes as a *CorruptError, after which the stream goes on;
// every other error ends it.
func rows[V any](ctx context.Context, src Source, q plan.Query, all bool, more []int, build func(Record, document.Values) (V, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		ctx, cancel := cancelable(ctx, src)
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

// cancelable is a context for the reads of a source.
func cancelable(ctx context.Context, src Source) (context.Context, context.CancelFunc) {
	if src.InMemory() {
		return ctx, func() {}
	}
	return context.WithCancel(ctx)
}

// rowsOf is rows for candidates that were found already. It delivers to yield until that
// returns false, and returns when no goroutine of it is left. Its caller cancels ctx in
// the end.
//
// Candidates that were looked up come from two moments, that of the lookups and that of
// the reading, and a value may have gone from one record to another in between: to one
// that is no candidate, or that was read before. When that may be (see Lookups), the
// records that were written since the lookups are given the same look, as they are at
// one moment, the last one. A record is delivered once.
//
// So at the last moment nothing is missing. A record that fulfils the condition then was
// written since the lookups, and is looked at; or it was not. Then it was a candidate, and
// it was read as it still is.
func rowsOf[V any](ctx context.Context, src Source, c Candidates, more []int, build func(Record, document.Values) (V, error), yield func(V, error) bool) {
	def := src.Model()
	s := selection[V]{src: src, def: def, get: c.Get, lookups: c.Lookups, filter: c.Filter, more: document.NewFields(def, more...), build: build}
	if s.filter != nil {
		s.first = document.NewFields(def, s.filter.Columns(nil)...)
	}
	if c.Few != nil {
		s.few(ctx, c.Few, yield)
		return
	}
	var delivered []string // the keys of the rows that were delivered; only with Lookups
	if c.Lookups != nil {
		delivered = make([]string, 0, FirstChunk)
	}
	deliver := func(r result[V]) bool {
		if c.Lookups != nil && r.key != "" {
			delivered = append(delivered, r.key)
		}
		return yield(r.v, r.err)
	}
	workers := max(runtime.GOMAXPROCS(0), c.Workers)
	// When work returns true, every chunk was worked on, so late is complete.
	if !work(ctx, c.Chunks, workers, s.run, deliver) || c.Lookups == nil || !s.late.Load() && !c.Lookups.Several() {
		return
	}
	written, err := c.Lookups.Written(ctx)
	if err != nil {
		var none V
		yield(none, err)
		return
	}
	seen := make(map[string]bool, len(delivered))
	for _, key := range delivered {
		seen[key] = true
	}
	written = slices.DeleteFunc(written, func(m store.Message) bool { return seen[m.Key] })
	for _, r := range s.run(ctx, Chunk{Records: written}) {
		if !yield(r.v, r.err) {
			return
		}
	}
}

// work runs chunks on several goroutines and delivers their rows in the order of the
// chunks. It returns false when yield wanted no more, or an error ended it.
//
// inFlight is a queue of results, the oldest chunk first. Each result comes on a channel
// with room for it, so a goroutine can always finish, also when nobody reads its rows any
// more. When there are as many results as workers, the oldest is waited for and
// delivered before another chunk is begun: that bounds the memory, and the work that is
// in vain when the caller stops. Whatever way work ends, it cancels what is under way
// and waits for it.
func work[V any](ctx context.Context, chunks iter.Seq2[Chunk, error], workers int, run func(context.Context, Chunk) []result[V], yield func(result[V]) bool) (complete bool) {
	ctx, cancel := context.WithCancel(ctx)
	var inFlight []chan []result[V]
	defer func() {
		cancel()
		for _, c := range inFlight {
			<-c
		}
	}()
	deliver := func(rows []result[V]) bool {
		for _, r := range rows {
			if !yield(r) || r.err != nil && !errs.Unreadable(r.err) {
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
	for chunk, err := range chunks {
		switch {
		case err != nil: // it takes its place in the queue, behind the rows that came before
			c := make(chan []result[V], 1)
			c <- []result[V]{{err: err}}
			inFlight = append(inFlight, c)
		case chunk.Inline && len(inFlight) == 0: // without a goroutine: the next chunk may not be needed
			if !deliver(run(ctx, chunk)) {
				return false
			}
		default:
			c := make(chan []result[V], 1)
			inFlight = append(inFlight, c)
			go func() { c <- run(ctx, chunk) }()
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

// selection makes rows of chunks: it applies the filter, and builds the rows of the
// records that pass. run may be called by several goroutines at the same time.
type selection[V any] struct {
	src    Source
	def    *schema.Definition
	get    func(ctx context.Context, keys []string, each func(i int, m store.Message)) error
	filter *cond.Bound
	first  *document.Fields // the columns that the filter needs; nil without a filter
	more   *document.Fields // the columns that build gets
	build  func(Record, document.Values) (V, error)

	lookups Lookups
	late    atomic.Bool // a candidate was dropped, or came in an order, that was written after the lookups
}

// run makes the rows of those records of a chunk that pass the filter. When the chunk has
// keys, each record is worked on as it comes, while the server sends the next.
func (s *selection[V]) run(ctx context.Context, chunk Chunk) []result[V] {
	var scratch []value.Value
	if s.first != nil {
		scratch = make([]value.Value, s.first.Len())
	}
	switch {
	case chunk.chosen != nil:
		out := make([]result[V], len(chunk.chosen))
		for i, r := range chunk.chosen {
			out[i].key = r.Key()
			out[i].v, out[i].err = s.build(r, document.Values{})
		}
		return out
	case chunk.Rows != nil && ctx.Err() != nil:
		return []result[V]{{err: ctx.Err()}}
	case chunk.Rows != nil:
		return s.inMemory(chunk.Rows, scratch)
	}
	if chunk.Keys == nil {
		out := make([]result[V], 0, s.expect(len(chunk.Records)))
		var dropped uint64
		for _, m := range chunk.Records {
			if r, ok := s.result(ctx, m, scratch); ok {
				out = append(out, r)
			} else {
				dropped = max(dropped, m.Revision)
			}
		}
		s.drop(dropped)
		return out
	}
	// The records come in any order, and one may come twice: the last call for a position
	// counts. So rows keep the places of their keys, and those that were not picked are
	// taken out in the end.
	rows, picked := make([]result[V], len(chunk.Keys)), make([]bool, len(chunk.Keys))
	var dropped uint64
	err := s.get(ctx, chunk.Keys, func(i int, m store.Message) {
		if rows[i], picked[i] = s.result(ctx, m, scratch); !picked[i] || chunk.Settled != nil {
			dropped = max(dropped, m.Revision) // in an order, one that was written has left its place too
		}
	})
	if err != nil {
		return []result[V]{{err: err}}
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

// drop notes the highest revision among the candidates of a chunk that did not pass, 0
// when all passed. A candidate that was written after the lookups may have given its
// value to a record that they have not found.
func (s *selection[V]) drop(last uint64) {
	if s.lookups == nil || last == 0 {
		return
	}
	if asOf := s.lookups.AsOf(); asOf > 0 && last > asOf {
		s.late.Store(true)
	}
}

// expect is for how many rows of a chunk room is made: for all when nothing is filtered
// out, and otherwise for none, because few may pass.
func (s *selection[V]) expect(records int) int {
	if s.first == nil {
		return records
	}
	return 0
}

// row makes the row of a record; ok is false when the record is gone or does not pass the
// filter. A record that cannot be read is a row too, with its error. scratch is room for
// the filter's values.
func (s *selection[V]) result(ctx context.Context, m store.Message, scratch []value.Value) (r result[V], ok bool) {
	r.key = m.Key
	if !m.Live() {
		return r, false
	}
	var vals document.Values
	m, err := s.src.View(ctx, m)
	if err != nil {
		r.key, r.err = "", err
		return r, true
	}
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
	r.v, r.err = s.build(OfMessage(m), vals)
	return r, true
}

// reader reads what a selection needs of rows in memory. It is for one goroutine.
type reader[V any] struct {
	*selection[V]
	first, more *row.Fields
	scratch     []value.Value // for the filter's values
	values      []value.Value // for those that build gets
}

func (s *selection[V]) reader(scratch []value.Value) *reader[V] {
	r := &reader[V]{selection: s, more: row.NewFields(s.more), scratch: scratch, values: make([]value.Value, s.more.Len())}
	if s.first != nil {
		r.first = row.NewFields(s.first)
	}
	return r
}

// row is result for a row in memory.
func (r *reader[V]) row(in *row.Row) (v V, err error, ok bool) {
	var vals document.Values
	if r.first != nil {
		vals, err = r.first.Read(in, r.scratch)
		if err == nil && !r.filter.Match(vals) {
			return v, nil, false
		}
	}
	if err == nil && len(r.values) > 0 {
		vals, err = r.more.Read(in, r.values)
	}
	if err != nil {
		return v, errs.Corrupt(r.def.Name, in.Key(), err), true
	}
	v, err = r.build(OfRow(in), vals)
	return v, err, true
}

// inMemory makes the results of rows in memory.
func (s *selection[V]) inMemory(found []*row.Row, scratch []value.Value) []result[V] {
	out := make([]result[V], 0, s.expect(len(found)))
	read := s.reader(scratch)
	for _, in := range found {
		if v, err, ok := read.row(in); ok {
			out = append(out, result[V]{v: v, err: err})
		}
	}
	return out
}

// checked is after how many rows in memory the context is looked at.
const checked = 256

// few delivers the results of rows in memory as they come.
func (s *selection[V]) few(ctx context.Context, found iter.Seq[*row.Row], yield func(V, error) bool) {
	var scratch []value.Value
	if s.first != nil {
		scratch = make([]value.Value, s.first.Len())
	}
	read, n := s.reader(scratch), 0
	for in := range found {
		if n++; n%checked == 0 && ctx.Err() != nil {
			var none V
			yield(none, ctx.Err())
			return
		}
		if v, err, ok := read.row(in); ok && (!yield(v, err) || err != nil && !errs.Unreadable(err)) {
			return
		}
	}
}

// scan gives visit the values of all records of a source in memory that a query's condition is true of. They
// are valid during the call only. A record that cannot be read is an error. ok is false when the source has
// none but in chunks.
func scan(ctx context.Context, src Source, q plan.Query, fields *document.Fields, visit func(document.Values) error) (ok bool, err error) {
	c, err := src.Candidates(ctx, q, false)
	if err != nil || c.Few == nil {
		return false, err
	}
	def := src.Model()
	var match *row.Fields
	var tested, values []value.Value
	if c.Filter != nil {
		first := document.NewFields(def, c.Filter.Columns(nil)...)
		match, tested = row.NewFields(first), make([]value.Value, first.Len())
	}
	read := row.NewFields(fields)
	values = make([]value.Value, fields.Len())
	n := 0
	for r := range c.Few {
		if n++; n%checked == 0 && ctx.Err() != nil {
			return true, ctx.Err()
		}
		if match != nil {
			vals, err := match.Read(r, tested)
			if err != nil {
				return true, errs.Corrupt(def.Name, r.Key(), err)
			}
			if !c.Filter.Match(vals) {
				continue
			}
		}
		vals, err := read.Read(r, values)
		if err == nil {
			err = visit(vals)
		} else {
			err = errs.Corrupt(def.Name, r.Key(), err)
		}
		if err != nil {
			return true, err
		}
	}
	return true, nil
}
