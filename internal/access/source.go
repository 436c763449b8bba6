package access

import (
	"context"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/statistics"
	"github.com/natsorm/natsorm/internal/store"
)

// Source is the records of one model in a bucket. It is safe for concurrent use.
type Source struct {
	def    *schema.Definition
	layout layout.Layout
	store  store.Store
	stats  *statistics.Statistics
	trust  *trust
	view   View
	still  func(ctx context.Context) bool // see Trusting; nil: entries are never taken for records
}

// View brings a record into the names of the version of the model that a Source has.
type View func(ctx context.Context, m store.Message) (store.Message, error)

var _ query.Source = (*Source)(nil)

// New makes the Source of a model. Its statistics are empty.
func New(s store.Store, l layout.Layout) *Source {
	return &Source{def: l.Model(), layout: l, store: s, stats: statistics.New(l), trust: &trust{}}
}

// View is a record as the model describes it; see query.Source.
func (s *Source) View(ctx context.Context, m store.Message) (store.Message, error) {
	if s.view == nil {
		return m, nil
	}
	return s.view(ctx, m)
}

// Viewed is the Source with a view of the records.
func (s *Source) Viewed(view View) *Source {
	out := *s
	out.view = view
	return &out
}

// On is the Source of the same model in another store on the same bucket. Both share
// their statistics. It is not Trusting.
func (s *Source) On(other store.Store) *Source {
	out := *s
	out.store, out.still = other, nil
	return &out
}

// snapshot is what the statistics say by now.
func (s *Source) snapshot() plan.Stats { return s.stats.Snapshot(s.store.Traits().Replicable) }

// Model describes the records.
func (s *Source) Model() *schema.Definition { return s.def }

// InMemory reports that records are read; see query.Source.
func (s *Source) InMemory() bool { return false }

// Get reads records by their keys, and notes how large they are; see query.Candidates.
func (s *Source) Get(ctx context.Context, keys []string, each func(i int, m store.Message)) error {
	var size, n int
	err := s.store.GetEach(ctx, keys, func(i int, m store.Message) {
		size += len(m.Key) + len(m.Value)
		n++
		each(i, m)
	})
	if err == nil {
		s.stats.SawBytes(size, n)
	}
	return err
}

// Count is the number of records of the model.
func (s *Source) Count(ctx context.Context) (int, error) {
	n, err := store.CountAfter(ctx, s.store, keys.Records(s.def.Name), s.def.Gone())
	if err == nil {
		s.stats.SawRecords(n)
	}
	return n, err
}

// fetchers is how many requests for records by key are under way at the same time, even
// with fewer cores.
const fetchers = 4

// Candidates plans a query, makes the lookups that its plan begins with, and yields the
// records to which they lead, in no order; see query.Source.
func (s *Source) Candidates(ctx context.Context, q plan.Query, all bool) (query.Candidates, error) {
	all = all || len(q.Order) > 0 // the first record of an order is known when all were read
	p, f, err := s.resolve(ctx, q)
	if err != nil {
		return query.Candidates{}, err
	}
	c := query.Candidates{Chunks: s.chunks(ctx, p, f, all), Get: s.Get, Filter: p.Residual(s.def)}
	var w *walk
	if p.Sorted {
		w = s.walk(ctx, p.Access, max(1, p.Keeps()), f.when)
		c.Chunks = s.sorted(ctx, p, w)
	}
	if p.Path != plan.Scan {
		c.Workers = fetchers
	}
	if f.when != nil {
		l := lookups{source: s, when: f.when}
		if f.later == nil && p.Path != plan.Intersect && !p.Sorted {
			l.patterns, l.found = s.patterns(p.AllLookups()), f.keys
		}
		if w != nil {
			l.walk = &w.saw
		}
		c.Lookups = l
	}
	return c, nil
}
