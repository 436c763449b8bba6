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

// scanChunk is how many records of a scan a worker decodes at a time.
const scanChunk = 256

// chunks yields the candidates of a plan in chunks. f is what its lookups have found.
//
// For a scan they are records, or keys where the bucket may have replicas. For every other path they
// are keys: first those that the lookups have found, then those that are found later,
// while the engine reads the records of the first ones. The sequence may be ranged over
// once. Breaking out of it ends the lookups and the scan behind it.
func (s *Source) chunks(ctx context.Context, p plan.Plan, f found, all bool) iter.Seq2[query.Chunk, error] {
	if p.Path == plan.Scan {
		return s.scanned(ctx, p, all)
	}
	return func(yield func(query.Chunk, error) bool) {
		for _, err := range f.corrupt {
			if !yield(query.Chunk{}, err) {
				return
			}
		}
		pace := query.NewPace(p.Needs(), all, s.snapshot().FetchChunk())
		keys := f.keys
		// When no more keys follow, the last chunk may be smaller. Otherwise the rest waits
		// for more keys, to fill a chunk with them.
		for f.later == nil && len(keys) > 0 || len(keys) >= pace.Size {
			n := min(pace.Size, len(keys))
			if !yield(query.Chunk{Keys: keys[:n], Inline: pace.Inline || f.later == nil && n == len(f.keys)}, nil) {
				return
			}
			keys = keys[n:]
			pace.Next()
		}
		if f.later == nil {
			return
		}
		// The caller may stop early: the records of these keys may be enough, and then the
		// lookups that follow are not made.
		if pace.Inline && len(keys) > 0 {
			if !yield(query.Chunk{Keys: keys, Inline: true}, nil) {
				return
			}
			keys = nil
		}
		chunk := append(make([]string, 0, pace.Size), keys...)
		for key, err := range f.later {
			if err != nil { // f.later goes on after a corrupt entry, and ends after other errors
				if !yield(query.Chunk{}, err) {
					return
				}
				continue
			}
			if chunk = append(chunk, key); len(chunk) >= pace.Size {
				if !yield(query.Chunk{Keys: chunk, Inline: pace.Inline}, nil) {
					return
				}
				pace.Next()
				chunk = make([]string, 0, pace.Size)
			}
		}
		if len(chunk) > 0 {
			yield(query.Chunk{Keys: chunk, Inline: pace.Inline}, nil)
		}
	}
}

// scanned yields the records of a scan. A model that the planner takes for small is read
// with one request, which also sees the whole model at one instant. If it turns out to
// be too large for that, or the planner knew it, a consumer reads it.
func (s *Source) scanned(ctx context.Context, p plan.Plan, all bool) iter.Seq2[query.Chunk, error] {
	return func(yield func(query.Chunk, error) bool) {
		if p.OneRequest() {
			found, err := s.store.Read(ctx, store.Lookup{Patterns: []string{keys.Records(s.def.Name)}})
			if err == nil {
				s.stats.SawRecords(len(found.Messages))
				s.stats.SawMessages(found.Messages)
				yield(query.Chunk{Records: found.Messages, Inline: true}, nil)
				return
			}
			if !errors.Is(err, store.ErrTooMany) {
				yield(query.Chunk{}, err)
				return
			}
			s.stats.SawCrowd()
		}
		// The replica that serves the scan may hold older values than the session has seen.
		if s.store.Traits().Replicable {
			s.scannedKeys(ctx, p, all, yield)
			return
		}
		pace := query.NewPace(p.Needs(), all, scanChunk)
		chunk := make([]store.Message, 0, pace.Size)
		n := 0
		give := func(inline bool) bool {
			s.stats.SawMessages(chunk)
			return yield(query.Chunk{Records: chunk, Inline: inline}, nil)
		}
		for m, err := range s.store.Scan(ctx, keys.Records(s.def.Name), store.ScanOptions{Want: most(p.Needs()), Counted: true, Current: true}) {
			if errors.Is(err, store.ErrReplicable) && n == 0 {
				s.scannedKeys(ctx, p, all, yield)
				return
			}
			if err != nil { // what was read before the error is delivered before it
				if len(chunk) == 0 || give(false) {
					yield(query.Chunk{}, err)
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
		s.stats.SawRecords(n)
		if len(chunk) > 0 {
			give(pace.Inline || n == len(chunk))
		}
	}
}

// scannedKeys yields the keys that a scan finds. The engine then reads the records by
// key, which no replica answers that is behind what the session has seen. The replica
// that serves the scan may be behind. Its keys are good enough: the store makes a scan
// complete (store.Scan), and a record that is gone by now is dropped.
func (s *Source) scannedKeys(ctx context.Context, p plan.Plan, all bool, yield func(query.Chunk, error) bool) {
	pace := query.NewPace(p.Needs(), all, s.snapshot().FetchChunk())
	chunk := make([]string, 0, pace.Size)
	n := 0
	for m, err := range s.store.Scan(ctx, keys.Records(s.def.Name), store.ScanOptions{Want: most(p.Needs()), Keys: true, After: s.def.Gone()}) {
		if err != nil {
			if len(chunk) == 0 || yield(query.Chunk{Keys: chunk}, nil) {
				yield(query.Chunk{}, err)
			}
			return
		}
		n++
		if chunk = append(chunk, m.Key); len(chunk) == pace.Size {
			if !yield(query.Chunk{Keys: chunk, Inline: pace.Inline}, nil) {
				return
			}
			pace.Next()
			chunk = make([]string, 0, pace.Size)
		}
	}
	s.stats.SawRecords(n)
	if len(chunk) > 0 {
		yield(query.Chunk{Keys: chunk, Inline: pace.Inline || n == len(chunk)}, nil)
	}
}
