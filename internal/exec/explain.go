package exec

import (
	"context"
	"slices"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/store"
)

// sample is how many records are read to learn how large they are.
const sample = 16

// Explain is the plan that a query has now, with what it will read and ask: for
// that it does the lookups, and counts what would be scanned. What that teaches may
// change the plan; then it is explained again.
func (m *Model) Explain(ctx context.Context, q plan.Query) (plan.Plan, error) {
	for try := 1; ; try++ {
		p, settled, err := m.explain(ctx, q)
		if err != nil || settled || try == replans {
			return p, err
		}
	}
}

// explain is Explain once; settled is false when the plan has changed meanwhile.
func (m *Model) explain(ctx context.Context, q plan.Query) (_ plan.Plan, settled bool, err error) {
	p, r, err := m.resolve(ctx, q)
	if err != nil {
		return p, false, err
	}
	if p.Path == plan.Nothing {
		return p, true, nil
	}
	single := len(p.Lookups) == 1 && p.Path != plan.Intersect
	records, counted := len(r.keys), r.later == nil
	large := single && p.Lookups[0].Large
	if r.later != nil && !large && q.Needs() == 0 {
		for _, err := range r.later {
			if err != nil {
				return p, false, err
			}
			records++
		}
		r.later = nil
	}
	if p.Path == plan.Scan {
		n, err := m.store.Size(ctx, keys.Records(m.Def.Name))
		if err != nil {
			return p, false, err
		}
		m.stats.sawRecords(n)
	}
	if err := m.sample(ctx, r.keys); err != nil {
		return p, false, err
	}
	known := m.stats.snapshot(m)
	planned := plan.Make(m.Def, q, known)
	same := planned.Path == p.Path && planned.Index.Name == p.Index.Name && len(planned.Lookups) == len(p.Lookups)
	if !same || p.Path == plan.Scan || q.Needs() > 0 {
		return planned, same, nil
	}
	if large {
		n, err := m.store.Size(ctx, m.patterns(p.Lookups)[0])
		if err != nil {
			return p, false, err
		}
		planned.Lookups[0].Matches, planned.Lookups[0].Keys, planned.Entries, planned.Records = n, n, n, n
		planned.Cost = plan.Estimate(m.Def, planned, known)
		return planned, true, nil
	}
	planned.Records = records
	if counted && single {
		planned.Lookups[0].Matches, planned.Lookups[0].Keys, planned.Entries = r.led, r.read, r.led
	}
	planned.Cost = plan.Estimate(m.Def, planned, known)
	if counted {
		planned.Cost.Keys += r.read
		for _, l := range planned.AllLookups() {
			planned.Cost.Keys -= l.Keys
		}
		planned.Entries = r.led
	}
	return planned, true, nil
}

// sample reads some records when it is not known how large they are.
func (m *Model) sample(ctx context.Context, at []string) error {
	if m.stats.snapshot(m).RecordBytes > 0 {
		return nil
	}
	if len(at) > 0 {
		found, err := m.store.GetMany(ctx, at[:min(sample, len(at))])
		m.stats.sawEntries(slices.DeleteFunc(found, func(e store.Message) bool { return !e.Live() }))
		return err
	}
	var some []store.Message
	for e, err := range m.store.Scan(ctx, keys.Records(m.Def.Name), store.ScanOptions{Want: sample}) {
		if err != nil {
			return err
		}
		if some = append(some, e); len(some) == sample {
			break
		}
	}
	m.stats.sawEntries(some)
	return nil
}
