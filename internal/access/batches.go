package access

import (
	"context"
	"errors"
	"iter"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/store"
)

// scanBatch is how many records of a scan a worker takes at a time.
const scanBatch = 256

// batches divides the records on a plan's path.
func (s *Source) batches(ctx context.Context, p plan.Plan, f found, all bool) iter.Seq2[query.Batch, error] {
	if p.Path == plan.Scan {
		return s.scanned(ctx, p, all)
	}
	return func(yield func(query.Batch, error) bool) {
		for _, err := range f.corrupt {
			if !yield(query.Batch{}, err) {
				return
			}
		}
		pace := query.NewPace(p.Needs(), all, s.snapshot().FetchChunk())
		keys := f.keys
		for f.later == nil && len(keys) > 0 || len(keys) >= pace.Size {
			n := min(pace.Size, len(keys))
			if !yield(query.Batch{Keys: keys[:n], Inline: pace.Inline || f.later == nil && n == len(f.keys)}, nil) {
				return
			}
			keys = keys[n:]
			pace.Next()
		}
		if f.later == nil {
			return
		}
		if pace.Inline && len(keys) > 0 { // they may be enough
			if !yield(query.Batch{Keys: keys, Inline: true}, nil) {
				return
			}
			keys = nil
		}
		chunk := append(make([]string, 0, pace.Size), keys...)
		for key, err := range f.later {
			if err != nil {
				if !yield(query.Batch{}, err) {
					return
				}
				continue
			}
			if chunk = append(chunk, key); len(chunk) >= pace.Size {
				if !yield(query.Batch{Keys: chunk, Inline: pace.Inline}, nil) {
					return
				}
				pace.Next()
				chunk = make([]string, 0, pace.Size)
			}
		}
		if len(chunk) > 0 {
			yield(query.Batch{Keys: chunk, Inline: pace.Inline}, nil)
		}
	}
}

// scanned divides the records of a scan. Few are read with one request, which
// sees the model at one instant.
func (s *Source) scanned(ctx context.Context, p plan.Plan, all bool) iter.Seq2[query.Batch, error] {
	return func(yield func(query.Batch, error) bool) {
		if p.OneRequest() {
			found, err := s.store.Read(ctx, store.Lookup{Patterns: []string{keys.Records(s.def.Name)}})
			if err == nil {
				s.stats.sawRecords(len(found.Messages))
				s.stats.sawMessages(found.Messages)
				yield(query.Batch{Records: found.Messages, Inline: true}, nil)
				return
			}
			if !errors.Is(err, store.ErrTooMany) {
				yield(query.Batch{}, err)
				return
			}
			s.stats.sawCrowd()
		}
		if s.store.Traits().Replicated { // the values that a replica scans may be old
			s.scannedKeys(ctx, p, all, yield)
			return
		}
		pace := query.NewPace(p.Needs(), all, scanBatch)
		chunk := make([]store.Message, 0, pace.Size)
		n := 0
		give := func(inline bool) bool {
			s.stats.sawMessages(chunk)
			return yield(query.Batch{Records: chunk, Inline: inline}, nil)
		}
		for m, err := range s.store.Scan(ctx, keys.Records(s.def.Name), store.ScanOptions{Want: most(p.Needs()), Counted: true}) {
			if err != nil {
				if len(chunk) == 0 || give(false) {
					yield(query.Batch{}, err)
				}
				return
			}
			n++
			if chunk = append(chunk, m); len(chunk) == pace.Size {
				if !give(pace.Inline) {
					return
				}
				pace.Next()
				chunk = make([]store.Message, 0, pace.Size)
			}
		}
		s.stats.sawRecords(n)
		if len(chunk) > 0 {
			give(pace.Inline || n == len(chunk))
		}
	}
}

// scannedKeys divides the records that a scan finds, to be read by key: by servers
// that are not behind what the session has seen, which the one that scans may be.
func (s *Source) scannedKeys(ctx context.Context, p plan.Plan, all bool, yield func(query.Batch, error) bool) {
	pace := query.NewPace(p.Needs(), all, s.snapshot().FetchChunk())
	chunk := make([]string, 0, pace.Size)
	n := 0
	for m, err := range s.store.Scan(ctx, keys.Records(s.def.Name), store.ScanOptions{Want: most(p.Needs()), Keys: true}) {
		if err != nil {
			if len(chunk) == 0 || yield(query.Batch{Keys: chunk}, nil) {
				yield(query.Batch{}, err)
			}
			return
		}
		n++
		if chunk = append(chunk, m.Key); len(chunk) == pace.Size {
			if !yield(query.Batch{Keys: chunk, Inline: pace.Inline}, nil) {
				return
			}
			pace.Next()
			chunk = make([]string, 0, pace.Size)
		}
	}
	s.stats.sawRecords(n)
	if len(chunk) > 0 {
		yield(query.Batch{Keys: chunk, Inline: pace.Inline || n == len(chunk)}, nil)
	}
}
