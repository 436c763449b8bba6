package query_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/cond"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/row"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// item is a record of the tests, as plain Go has it.
type item struct {
	ID   int64    `json:"id"`
	N    *int64   `json:"n,omitempty"` // most often one of a few numbers
	F    *float64 `json:"f,omitempty"`
	Text string   `json:"text"`
	bad  bool     // its document cannot be read
}

var items = &schema.Definition{
	Format: schema.Format, Name: "Item", Layout: schema.Native, Shards: 1,
	Columns: []schema.Column{
		{Name: "id", Type: value.Int, PrimaryKey: true},
		{Name: "n", Type: value.Int},
		{Name: "f", Type: value.Float},
		{Name: "text", Type: value.String},
	},
}

// shape is that of the rows of items.
var shape = row.NewShape(items)

func (it item) key() string { return fmt.Sprintf("Item.%d", it.ID) }

func (it item) message(revision uint64) store.Message {
	doc, err := json.Marshal(it)
	if err != nil {
		panic(err)
	}
	if it.bad {
		doc = []byte(`{"id":`)
	}
	return store.Message{Key: it.key(), Value: doc, Revision: revision}
}

// compare orders items by one column, null first.
func (it item) compare(column int, other item) int {
	number := func(p *int64) float64 {
		if p == nil {
			return -1e300
		}
		return float64(*p)
	}
	float := func(p *float64) float64 {
		if p == nil {
			return -1e300
		}
		return *p
	}
	sign := func(d float64) int {
		switch {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	}
	switch column {
	case 0:
		return sign(float64(it.ID) - float64(other.ID))
	case 1:
		return sign(number(it.N) - number(other.N))
	case 2:
		return sign(float(it.F) - float(other.F))
	}
	return strings.Compare(it.Text, other.Text)
}

// randomItems are n items with ids of their own, in random order.
func randomItems(r *rand.Rand, n int) []item {
	out := make([]item, n)
	for i, id := range r.Perm(3 * n)[:n] {
		out[i] = item{ID: int64(id - n), Text: fmt.Sprint("t", r.IntN(5))}
		if r.IntN(4) > 0 {
			v := int64(r.IntN(6))
			out[i].N = &v
		}
		if r.IntN(4) > 0 {
			v := float64(r.IntN(1000)) / 8
			out[i].F = &v
		}
	}
	return out
}

// memory is a Source over a slice. It gives everything: the engine filters.
type memory struct {
	list  []item // in the order in which they are given
	order []plan.Sort
	keys  bool // gives keys rather than records
	rows  bool // gives rows in memory
	few   bool // with rows: as they come

	given atomic.Int64 // records, or keys, in chunks
	chunk int          // the largest; 0 for a default

	once sync.Once
	at   map[string]item
}

func (s *memory) Model() *schema.Definition { return items }

func (s *memory) View(_ context.Context, m store.Message) (store.Message, error) { return m, nil }

func (s *memory) InMemory() bool { return s.rows }

func (s *memory) Count(context.Context) (int, error) { return len(s.list), nil }

func (s *memory) Counted(context.Context, plan.Query) (int, bool, error) { return 0, false, nil }

func (s *memory) Grouped(context.Context, []int) ([]query.Tally, []store.Message, bool, error) {
	return nil, nil, false, nil
}

func (s *memory) SawGroups([]int, [][]value.Value) {}

func (s *memory) Get(_ context.Context, keys []string, each func(i int, m store.Message)) error {
	s.once.Do(func() {
		s.at = make(map[string]item, len(s.list))
		for _, it := range s.list {
			s.at[it.key()] = it
		}
	})
	for i := range keys { // backwards, and one of them twice
		i = len(keys) - 1 - i
		if it, ok := s.at[keys[i]]; ok {
			each(i, it.message(1))
		}
		if i == len(keys)/2 {
			each(i, s.at[keys[i]].message(1))
		}
	}
	return nil
}

func (s *memory) Candidates(_ context.Context, q plan.Query, all bool) (query.Candidates, error) {
	most := s.chunk
	if most == 0 {
		most = 64
	}
	chunks := func(yield func(query.Chunk, error) bool) {
		pace := query.NewPace(q.Needs(), all, most)
		for list := s.list; len(list) > 0; pace.Next() {
			n := min(pace.Size, len(list))
			chunk := query.Chunk{Inline: pace.Inline}
			for _, it := range list[:n] {
				switch m := it.message(1); {
				case s.keys:
					chunk.Keys = append(chunk.Keys, it.key())
				case s.rows:
					chunk.Rows = append(chunk.Rows, row.NewPacker(shape).Pack(m.Key, m.Value, 1, 0, 0))
				default:
					chunk.Records = append(chunk.Records, m)
				}
			}
			s.given.Add(int64(n))
			if !yield(chunk, nil) {
				return
			}
			list = list[n:]
		}
	}
	if s.few {
		return query.Candidates{Filter: q.Filter, Order: s.order, Few: func(yield func(*row.Row) bool) {
			for _, it := range s.list {
				m := it.message(1)
				s.given.Add(1)
				if !yield(row.NewPacker(shape).Pack(m.Key, m.Value, 1, 0, 0)) {
					return
				}
			}
		}}, nil
	}
	return query.Candidates{Chunks: chunks, Get: s.Get, Filter: q.Filter, Workers: 3, Order: s.order}, nil
}

// sorted is the same items in an order that the source promises.
func sorted(list []item, order []plan.Sort) *memory {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b item) int { return compare(order, a, b) })
	return &memory{list: list, order: order}
}

func compare(order []plan.Sort, a, b item) int {
	for _, s := range order {
		if c := a.compare(s.Column, b); c != 0 {
			if s.Desc {
				return -c
			}
			return c
		}
	}
	return 0
}

// passing is a Source over records whose values change between the lookup and the
// reading: one of them, the holder, has the number 1, and gives it to another one
// whenever records are read, as often as passes says. At every instant one has it.
type passing struct {
	mu       sync.Mutex
	list     []item
	written  []uint64 // the revision of each
	revision uint64
	passes   int
	r        *rand.Rand
	chunk    int
}

func newPassing(r *rand.Rand, n, passes int) *passing {
	s := &passing{r: r, passes: passes, written: make([]uint64, n), revision: 1, chunk: 1 + r.IntN(5)}
	for i := range n {
		zero := int64(0)
		s.list = append(s.list, item{ID: int64(i), N: &zero})
		s.written[i] = 1
	}
	*s.list[r.IntN(n)].N = 1
	return s
}

func (s *passing) Model() *schema.Definition { return items }

func (s *passing) View(_ context.Context, m store.Message) (store.Message, error) { return m, nil }

func (s *passing) Count(context.Context) (int, error) { return len(s.list), nil }

func (s *passing) Counted(context.Context, plan.Query) (int, bool, error) { return 0, false, nil }

func (s *passing) Grouped(context.Context, []int) ([]query.Tally, []store.Message, bool, error) {
	return nil, nil, false, nil
}

func (s *passing) SawGroups([]int, [][]value.Value) {}

func (s *passing) pass() {
	from := slices.IndexFunc(s.list, func(it item) bool { return *it.N == 1 })
	to := s.r.IntN(len(s.list))
	for i, n := range map[int]int64{from: 0, to: 1} {
		s.revision++
		s.list[i].N, s.written[i] = &n, s.revision
	}
	if from == to {
		n := int64(1)
		s.list[to].N = &n
	}
}

func (s *passing) InMemory() bool { return false }

func (s *passing) Get(_ context.Context, keys []string, each func(i int, m store.Message)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, key := range keys {
		if s.passes > 0 && s.r.IntN(2) == 0 {
			s.passes--
			s.pass()
		}
		at := slices.IndexFunc(s.list, func(it item) bool { return it.key() == key })
		each(i, s.list[at].message(s.written[at]))
	}
	return nil
}

// Candidates looks up the holder, and what only an old entry leads to.
func (s *passing) Candidates(_ context.Context, q plan.Query, _ bool) (query.Candidates, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, it := range s.list {
		if *it.N == 1 || s.r.IntN(4) == 0 {
			keys = append(keys, it.key())
		}
	}
	asOf := s.revision
	return query.Candidates{Chunks: chunks(keys, s.chunk), Get: s.Get, Filter: q.Filter, Lookups: &since{s, asOf}}, nil
}

func chunks(keys []string, size int) iter.Seq2[query.Chunk, error] {
	return func(yield func(query.Chunk, error) bool) {
		for chunk := range slices.Chunk(keys, size) {
			if !yield(query.Chunk{Keys: chunk}, nil) {
				return
			}
		}
	}
}

// since is the lookup of a passing Source.
type since struct {
	s    *passing
	asOf uint64
}

func (l *since) AsOf() uint64 { return l.asOf }

func (l *since) Several() bool { return false }

func (l *since) Written(context.Context) (out []store.Message, err error) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range s.list {
		if s.written[i] > l.asOf {
			out = append(out, it.message(s.written[i]))
		}
	}
	return out, nil
}

// bind is what the public API makes of a call's queries.
func bind(spec query.Spec) (plan.Query, error) { return query.Bind(items, &spec, query.ForRead) }

// condition is a condition, and the same in plain Go.
type condition struct {
	node cond.Node
	is   func(item) bool
}

// randomCondition makes a condition without Not: in it, null is false.
func randomCondition(r *rand.Rand, depth int) condition {
	if depth > 0 && r.IntN(2) == 0 {
		a, b := randomCondition(r, depth-1), randomCondition(r, depth-1)
		kids := []cond.Node{a.node, b.node}
		if r.IntN(2) == 0 {
			return condition{cond.Node{Op: cond.And, Kids: kids, Depth: depth}, func(it item) bool { return a.is(it) && b.is(it) }}
		}
		return condition{cond.Node{Op: cond.Or, Kids: kids, Depth: depth}, func(it item) bool { return a.is(it) || b.is(it) }}
	}
	n := int64(r.IntN(6))
	switch r.IntN(5) {
	case 0:
		return condition{cond.Node{Op: cond.Eq, Column: "n", Values: []any{n}}, func(it item) bool { return it.N != nil && *it.N == n }}
	case 1:
		return condition{cond.Node{Op: cond.Gte, Column: "n", Values: []any{n}}, func(it item) bool { return it.N != nil && *it.N >= n }}
	case 2:
		f := float64(r.IntN(125))
		return condition{cond.Node{Op: cond.Lt, Column: "f", Values: []any{f}}, func(it item) bool { return it.F != nil && *it.F < f }}
	case 3:
		return condition{cond.Node{Op: cond.IsNull, Column: "n"}, func(it item) bool { return it.N == nil }}
	}
	text := fmt.Sprint("t", r.IntN(5))
	return condition{cond.Node{Op: cond.Ne, Column: "text", Values: []any{text}}, func(it item) bool { return it.Text != text }}
}
