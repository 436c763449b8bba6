package exec

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Records on the way to a caller that may stop early are read a few at first,
// then more at a time. One that needs all of them gets as many as a request takes.
const (
	firstChunk = 16
	scanBatch  = 256 // records of a scan that a worker takes at a time
)

// How fast batches grow for a caller who may stop early, and for one who needs a
// known number.
const (
	growFast = 8
	growSlow = 2
)

// pace is how many records the batches have.
type pace struct {
	size, most, growth int
	inline             bool // the next one is worked on before others are begun
	ahead              bool // others are begun after the first one
}

// newPace begins with all at once for a caller who needs all, with a few for
// one who may stop early, and with about as many as it needs for one that says
// so: that one is not read ahead for before much was read in vain.
func newPace(needs int, all bool, most int) pace {
	switch {
	case needs > 0:
		return pace{size: min(max(firstChunk, needs), most), most: most, growth: growSlow, inline: true}
	case !all:
		return pace{size: firstChunk, most: most, growth: growFast, inline: true, ahead: true}
	}
	return pace{size: most, most: most, growth: 1}
}

// next is the pace after a batch.
func (p *pace) next() {
	if p.size == p.most || p.ahead {
		p.inline = false
	}
	p.size = min(p.size*p.growth, p.most)
}

// fetchers is how many requests for records are under way.
const fetchers = 4

// batch is some of a query's records: there already, or still to be read.
type batch struct {
	entries []store.Message
	keys    []string
	inline  bool // to be worked on before others are begun, or because no other follows
}

// batches divides the records on a plan's path. A caller who does not need all
// gets few in the first ones.
func (m *Model) batches(ctx context.Context, p plan.Plan, r reach, all bool) iter.Seq2[batch, error] {
	if p.Path == plan.Scan {
		return m.scanned(ctx, p, all)
	}
	return func(yield func(batch, error) bool) {
		for _, err := range r.faults {
			if !yield(batch{}, err) {
				return
			}
		}
		pace := newPace(p.Needs(), all, m.stats.snapshot(m).FetchChunk())
		keys := r.keys
		for r.later == nil && len(keys) > 0 || len(keys) >= pace.size {
			n := min(pace.size, len(keys))
			if !yield(batch{keys: keys[:n], inline: pace.inline || r.later == nil && n == len(r.keys)}, nil) {
				return
			}
			keys = keys[n:]
			pace.next()
		}
		if r.later == nil {
			return
		}
		if pace.inline && len(keys) > 0 { // they may be enough
			if !yield(batch{keys: keys, inline: true}, nil) {
				return
			}
			keys = nil
		}
		chunk := append(make([]string, 0, pace.size), keys...)
		for key, err := range r.later {
			if err != nil {
				if !yield(batch{}, err) {
					return
				}
				continue
			}
			if chunk = append(chunk, key); len(chunk) >= pace.size {
				if !yield(batch{keys: chunk, inline: pace.inline}, nil) {
					return
				}
				pace.next()
				chunk = make([]string, 0, pace.size)
			}
		}
		if len(chunk) > 0 {
			yield(batch{keys: chunk, inline: pace.inline}, nil)
		}
	}
}

// scanned divides the records of a scan. Few are read with one request, which
// sees the model at one instant.
func (m *Model) scanned(ctx context.Context, p plan.Plan, all bool) iter.Seq2[batch, error] {
	return func(yield func(batch, error) bool) {
		if p.OneRequest() {
			found, _, _, err := m.store.Lookup(ctx, []string{keys.Records(m.Def.Name)}, 0)
			if err == nil {
				m.stats.sawRecords(len(found))
				yield(batch{entries: found, inline: true}, nil)
				return
			}
			if !errors.Is(err, store.ErrTooMany) {
				yield(batch{}, err)
				return
			}
			m.stats.sawCrowd()
		}
		if m.store.Replicated() { // the values that a replica scans may be old
			m.scannedKeys(ctx, p, all, yield)
			return
		}
		pace := newPace(p.Needs(), all, scanBatch)
		chunk := make([]store.Message, 0, pace.size)
		n := 0
		for e, err := range m.store.Scan(ctx, keys.Records(m.Def.Name), store.ScanOptions{Want: most(p.Needs()), Counted: true}) {
			if err != nil {
				if len(chunk) == 0 || yield(batch{entries: chunk}, nil) {
					yield(batch{}, err)
				}
				return
			}
			n++
			if chunk = append(chunk, e); len(chunk) == pace.size {
				if !yield(batch{entries: chunk, inline: pace.inline}, nil) {
					return
				}
				pace.next()
				chunk = make([]store.Message, 0, pace.size)
			}
		}
		m.stats.sawRecords(n)
		if len(chunk) > 0 {
			yield(batch{entries: chunk, inline: pace.inline || n == len(chunk)}, nil)
		}
	}
}

// scannedKeys divides the records that a scan finds, to be read by key: by servers
// that are not behind what the session has seen, which the one that scans may be.
func (m *Model) scannedKeys(ctx context.Context, p plan.Plan, all bool, yield func(batch, error) bool) {
	pace := newPace(p.Needs(), all, m.stats.snapshot(m).FetchChunk())
	chunk := make([]string, 0, pace.size)
	n := 0
	for e, err := range m.store.Scan(ctx, keys.Records(m.Def.Name), store.ScanOptions{Want: most(p.Needs()), Keys: true}) {
		if err != nil {
			if len(chunk) == 0 || yield(batch{keys: chunk}, nil) {
				yield(batch{}, err)
			}
			return
		}
		n++
		if chunk = append(chunk, e.Key); len(chunk) == pace.size {
			if !yield(batch{keys: chunk, inline: pace.inline}, nil) {
				return
			}
			pace.next()
			chunk = make([]string, 0, pace.size)
		}
	}
	m.stats.sawRecords(n)
	if len(chunk) > 0 {
		yield(batch{keys: chunk, inline: pace.inline || n == len(chunk)}, nil)
	}
}

// row is what becomes of a record.
type row[V any] struct {
	key string // the record's
	v   V
	err error
}

// rows streams what build makes of the records that a query selects, in no
// particular order, with a worker for each core. Documents are decoded as far
// as the filter needs them, and those that it lets pass as far as more names
// columns. A record that can not be read comes as a *CorruptError, after which
// the stream goes on; every other error ends it.
//
// A lookup takes two steps, and between them a value may move from a record that it
// has found to one that it has not. So when a record no longer fulfils the condition
// because it was written since the first step, what has come under the lookups since
// then is read too.
func rows[V any](ctx context.Context, m *Model, q plan.Query, all bool, more []int, build func(store.Message, document.Values) (V, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var none V
		p, r, err := m.resolve(ctx, q)
		if err != nil {
			yield(none, err)
			return
		}
		s := selection[V]{m: m, filter: p.Residual(m.Def), more: document.NewFields(m.Def, more...), build: build, asOf: r.asOf}
		if s.asOf == nil {
			s.asOf = new(atomic.Uint64)
		}
		if s.filter != nil {
			s.first = document.NewFields(m.Def, s.filter.Columns(nil)...)
		}
		workers := runtime.GOMAXPROCS(0)
		if p.Path != plan.Scan {
			workers = max(workers, fetchers)
		}
		var delivered map[string]bool
		if r.asOf != nil {
			delivered = make(map[string]bool, len(r.keys))
		}
		deliver := func(r row[V]) bool {
			if delivered != nil && r.key != "" {
				delivered[r.key] = true
			}
			return yield(r.v, r.err)
		}
		batches := m.batches(ctx, p, r, all)
		for work(ctx, batches, workers, s.run, deliver) && s.moved.Swap(false) {
			to, asOf, err := m.moved(ctx, p, s.asOf.Load())
			if err != nil {
				yield(none, err)
				return
			}
			to = slices.DeleteFunc(to, func(key string) bool { return delivered[key] })
			if len(to) == 0 {
				return
			}
			s.asOf.Store(asOf)
			batches = m.batches(ctx, p, reach{keys: to}, all)
		}
	}
}

// work runs batches on several goroutines and delivers their rows in order; it
// reports false when that was broken off, or ended with an error. In the end it
// cancels what is under way, and waits for it.
func work[V any](ctx context.Context, batches iter.Seq2[batch, error], workers int, run func(context.Context, batch) []row[V], yield func(row[V]) bool) (complete bool) {
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
		case b.inline && len(inFlight) == 0:
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

// selection applies a filter to batches.
type selection[V any] struct {
	m           *Model
	filter      *cond.Bound
	first, more *document.Fields
	build       func(store.Message, document.Values) (V, error)

	asOf  *atomic.Uint64 // of the lookups, when that is known
	moved atomic.Bool    // a record did not pass that was written since
}

// run makes rows of what passes the filter in a batch. Records that are still
// to be read are worked on as they come, while the server sends the next.
func (s *selection[V]) run(ctx context.Context, b batch) []row[V] {
	var scratch []value.Value
	if s.first != nil {
		scratch = make([]value.Value, s.first.Len())
	}
	if b.keys == nil {
		out := make([]row[V], 0, s.expect(len(b.entries)))
		for _, e := range b.entries {
			if r, ok := s.row(e, scratch); ok {
				out = append(out, r)
			}
		}
		s.m.stats.sawEntries(b.entries)
		return out
	}
	rows, picked := make([]row[V], len(b.keys)), make([]bool, len(b.keys))
	var size, n int
	err := s.m.store.GetEach(ctx, b.keys, func(i int, e store.Message) {
		rows[i], picked[i] = s.row(e, scratch)
		size += len(e.Key) + len(e.Value)
		n++
	})
	if err != nil {
		return []row[V]{{err: err}}
	}
	s.m.stats.sawBytes(size, n)
	kept := rows[:0]
	for i, r := range rows {
		if picked[i] {
			kept = append(kept, r)
		}
	}
	return kept
}

// expect is room for the rows of so many records.
func (s *selection[V]) expect(records int) int {
	if s.first == nil {
		return records
	}
	return 0
}

// row makes a row of a record; ok is false when it does not pass the filter.
func (s *selection[V]) row(e store.Message, scratch []value.Value) (r row[V], ok bool) {
	r.key = e.Key
	var vals document.Values
	var err error
	passes := e.Live()
	if passes && s.first != nil {
		vals, err = s.first.ReadInto(e.Value, scratch)
		passes = err != nil || s.filter.Match(vals)
	}
	if !passes {
		if asOf := s.asOf.Load(); asOf > 0 && e.Revision > asOf {
			s.moved.Store(true)
		}
		return r, false
	}
	if err == nil && s.more.Len() > 0 {
		vals, err = s.more.Read(e.Value)
	}
	if err != nil {
		r.err = s.m.corrupt(e, err)
		return r, true
	}
	r.v, r.err = s.build(e, vals)
	return r, true
}
