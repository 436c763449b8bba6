package fault

import (
	"context"
	"iter"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// Lagging is a replicated bucket whose scans are served by a replica that is behind: they
// deliver what it has before what was written since, and correct that for who asks for it
// (store.ScanOptions). Other reads and writes go to the others.
type Lagging struct {
	store.Store
	was []store.Message
}

// NewLagging is s with a replica that has only what is in the bucket now.
func NewLagging(ctx context.Context, s store.Store) (*Lagging, error) {
	l := &Lagging{Store: s}
	for m, err := range s.Scan(ctx, keys.Everything, store.ScanOptions{}) {
		if err != nil {
			return nil, err
		}
		l.was = append(l.was, m)
	}
	return l, nil
}

func (l *Lagging) Traits() store.Traits {
	t := l.Store.Traits()
	t.Replicable = true
	return t
}

func (l *Lagging) Count(ctx context.Context, pattern string, p store.Precision) (int, error) {
	if p == store.About {
		return l.Store.Count(ctx, pattern, p)
	}
	return store.CountByScan(ctx, l, pattern, 0)
}

func (l *Lagging) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		delivered := map[string]uint64{}
		for _, m := range l.was {
			if !keys.Matches(pattern, m.Key) || m.Revision <= opts.After {
				continue
			}
			delivered[m.Key] = m.Revision
			if opts.Keys {
				m.Value = nil
			}
			if !yield(m, nil) {
				return
			}
		}
		found := map[string]bool{}
		for m, err := range l.Store.Scan(ctx, pattern, opts) {
			if err != nil {
				yield(m, err)
				return
			}
			found[m.Key] = true
			switch was, ok := delivered[m.Key]; {
			case !ok:
			case was == m.Revision || !opts.Again:
				continue
			default:
				m.Again = true
			}
			if !yield(m, nil) {
				return
			}
		}
		for key := range delivered {
			if found[key] || !opts.Again {
				continue
			}
			m, err := l.Store.Get(ctx, key)
			if err == nil && m.Revision == 0 {
				continue // it was purged: no marker says so
			}
			m.Again, m.Deleted = true, true
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}
