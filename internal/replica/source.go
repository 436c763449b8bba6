package replica

import (
	"context"
	"iter"

	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// Source is where queries find the records of a Snapshot, by a version of the model. It reads no bucket,
// and shows one moment.
type Source struct {
	snapshot *Snapshot
	model    *records.Model
}

var _ query.Source = (*Source)(nil)

// Source is the snapshot as a version of the model has it.
func (s *Snapshot) Source(m *records.Model) *Source { return &Source{snapshot: s, model: m} }

// Model describes the records.
func (s *Source) Model() *schema.Definition { return s.model.Def }

// View is a record as the version of the model has it.
func (s *Source) View(ctx context.Context, m store.Message) (store.Message, error) {
	return s.model.View(ctx, m)
}

// Find is the record with a primary key; one that is not there is a message that is not live.
func (s *Source) Find(ctx context.Context, id value.Value) (query.Record, error) {
	m, err := s.View(ctx, s.snapshot.Get(s.model.Layout.RecordKey(id)))
	return query.Read(m), err
}

// Get gives the records with these keys.
func (s *Source) Get(_ context.Context, keys []string, each func(i int, m store.Message)) error {
	for i, key := range keys {
		each(i, s.snapshot.Get(key))
	}
	return nil
}

// Count is the number of records.
func (s *Source) Count(context.Context) (int, error) { return s.snapshot.Len(), nil }

// Counted and Grouped leave it to the engine to look at the records, which are here.
func (s *Source) Counted(context.Context, plan.Query) (int, bool, error) { return 0, false, nil }

// Grouped is as Counted.
func (s *Source) Grouped(context.Context, []int) ([]query.Tally, []store.Message, bool, error) {
	return nil, nil, false, nil
}

// SawGroups has nobody to tell.
func (s *Source) SawGroups([]int, [][]value.Value) {}

// Plan is how a query is answered: by the primary keys that it asks for, or by looking at all records.
func (s *Source) Plan(q plan.Query) plan.Plan {
	p := plan.Make(s.model.Def, q, plan.Stats{Records: max(1, s.snapshot.Len())})
	if p.Path != plan.Key && p.Path != plan.Nothing {
		p.Access = plan.Access{Path: plan.Scan, Records: s.snapshot.Len()}
	}
	p.Cost = plan.Cost{}
	return p
}

// firstChunk is how many records are looked at first where a few may be enough, and chunk how many then.
const (
	firstChunk = 16
	chunk      = 512
)

// Candidates are the records that a query's plan leads to.
func (s *Source) Candidates(_ context.Context, q plan.Query, all bool) (query.Candidates, error) {
	p := s.Plan(q)
	c := query.Candidates{Filter: p.Residual(s.model.Def)}
	switch p.Path {
	case plan.Nothing:
		c.Chunks = func(func(query.Chunk, error) bool) {}
	case plan.Key:
		found := make([]store.Message, 0, len(p.Keys))
		seen := make(map[string]bool, len(p.Keys))
		for _, id := range p.Keys {
			key := s.model.Layout.RecordKey(id)
			if m := s.snapshot.Get(key); m.Live() && !seen[key] {
				seen[key] = true
				found = append(found, m)
			}
		}
		c.Chunks = func(yield func(query.Chunk, error) bool) {
			if len(found) > 0 {
				yield(query.Chunk{Records: found, Inline: true}, nil)
			}
		}
	default:
		c.Chunks = s.scan(all || len(q.Order) > 0)
	}
	return c, nil
}

// scan is all records, in the order of their keys; with all, the engine looks at several chunks at the
// same time.
func (s *Source) scan(all bool) iter.Seq2[query.Chunk, error] {
	return func(yield func(query.Chunk, error) bool) {
		size := firstChunk
		if all {
			size = chunk
		}
		next, more := make([]store.Message, 0, size), true
		s.snapshot.rows.Scan(func(m *store.Message) bool {
			if next = append(next, *m); len(next) == size {
				more = yield(query.Chunk{Records: next, Inline: !all}, nil)
				size = min(2*size, chunk)
				next = make([]store.Message, 0, size)
			}
			return more
		})
		if more && len(next) > 0 {
			yield(query.Chunk{Records: next, Inline: true}, nil)
		}
	}
}
