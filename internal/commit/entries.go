package commit

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// entries is how the index entries of a layout are written: keyed, where each has a
// key of its own, or lists.
type entries interface {
	// executor is for one change, which is written in this way.
	executor(way store.Way) executor

	// ops are the writes of several plans in one batch. claimed and own are as for
	// Plan.Ops.
	ops(ctx context.Context, plans []*Plan, claimed func(key string) uint64, own map[string]uint64) ([]store.Op, error)

	// ensure writes the entries of records, whether they are there or not.
	ensure(ctx context.Context, records []*layout.Footprint) error

	// without is the write that takes records out of an entry as it was read.
	without(entry store.Message, records []string) (store.Op, error)

	// shared reports whether an entry can be several records'.
	shared() bool
}

// entriesOf is how w writes the entries of its layout.
func entriesOf(w *Writer) entries {
	if of := w.layout.Lists(); of != nil {
		return &lists{w: w, of: of}
	}
	return &keyed{w: w}
}

// keyed is entries that have a key each.
type keyed struct{ w *Writer }

func (k *keyed) executor(way store.Way) executor {
	if way == store.Phased {
		return &phased{traces{w: k.w}}
	}
	return &atomic{traces: traces{w: k.w}, shared: way == store.Shared}
}

func (k *keyed) ops(_ context.Context, plans []*Plan, claimed func(key string) uint64, own map[string]uint64) (ops []store.Op, err error) {
	for _, p := range plans {
		ops = append(ops, p.Ops(claimed, own)...)
	}
	return ops, nil
}

func (k *keyed) ensure(ctx context.Context, records []*layout.Footprint) error {
	var add newEntries
	for _, f := range records {
		add.keys = append(add.keys, f.Entries...)
	}
	add.heads = k.w.heads(add.keys)
	_, err := add.write(ctx, k.w.store)
	return err
}

func (k *keyed) without(entry store.Message, _ []string) (store.Op, error) {
	return store.Op{Key: entry.Key, Delete: true, Purge: true, Conditional: true, Expect: entry.Revision}, nil
}

func (k *keyed) shared() bool { return false }

// newEntries are entries that are to be written, with their heads. A transaction that
// finds a head as it was takes it that no entry has come since. So heads come after
// the entries: behind them in one batch, or when they are acknowledged.
type newEntries struct{ keys, heads []string }

// heads are the heads of new entries, each once. Only a replicated bucket has any.
func (w *Writer) heads(entries []string) (heads []string) {
	if !w.store.Traits().Replicated {
		return nil
	}
	seen := map[string]bool{"": true}
	for _, e := range entries {
		if head := w.layout.HeadOf(e); !seen[head] {
			seen[head] = true
			heads = append(heads, head)
		}
	}
	return heads
}

// appendTo appends the writes for one batch.
func (n newEntries) appendTo(ops []store.Op) []store.Op {
	for _, key := range n.keys {
		ops = append(ops, store.Op{Key: key})
	}
	for _, key := range n.heads {
		ops = append(ops, store.Op{Key: key})
	}
	return ops
}

// write writes the entries and, at the same time, others; then the heads. It returns
// the results of the entries, and behind them those of the others. The error is that
// of an entry or a head.
func (n newEntries) write(ctx context.Context, s store.Store, others ...store.Op) ([]store.Result, error) {
	ops := newEntries{keys: n.keys}.appendTo(make([]store.Op, 0, len(n.keys)+len(others)))
	results := s.Write(ctx, append(ops, others...)...)
	for i, key := range n.keys {
		if err := results[i].Err; err != nil {
			return results, fmt.Errorf("put %s: %w", key, err)
		}
	}
	if len(n.heads) == 0 {
		return results, nil
	}
	for _, res := range s.Write(ctx, newEntries{heads: n.heads}.appendTo(nil)...) {
		if res.Err != nil {
			return results, fmt.Errorf("put the head of an index entry: %w", res.Err)
		}
	}
	return results, nil
}
