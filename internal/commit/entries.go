package commit

import (
	"context"
	"fmt"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// entries is how the index entries of a layout are written. There are two kinds: keyed,
// where each record has a key of its own in the index, and lists, where one key lists
// all records with a value.
type entries interface {
	// executor makes the executor for one change, which the store says is best written
	// in this way.
	executor(way store.Way) executor

	// ops returns the writes of several plans for one batch. claimed and own are as for
	// Plan.Ops.
	ops(ctx context.Context, plans []*Plan, claimed func(key string) uint64, own map[string]uint64) ([]store.Op, error)

	// ensure writes all entries of records, whether they are there or not.
	ensure(ctx context.Context, records []*layout.Footprint) error

	// without is the write that takes records, given by their keys, out of an entry. It
	// is checked to be at the revision at which the entry was read.
	without(entry store.Message, records []string) (store.Op, error)

	// shared reports whether several records can be in one entry.
	shared() bool
}

// entriesOf returns the kind of entries that w's layout has.
func entriesOf(w *Writer) entries {
	if of := w.layout.Lists(); of != nil {
		return &lists{w: w, of: of}
	}
	return &keyed{w: w}
}

// keyed writes entries of which each record has its own: the key says everything, and
// the value is empty.
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
	_, err := entriesOfAll(k.w, records).write(ctx, k.w.store)
	return err
}

// entriesOfAll is all entries of records, with their heads.
func entriesOfAll(w *Writer, records []*layout.Footprint) (all newEntries) {
	for _, f := range records {
		all.keys = append(all.keys, f.Entries...)
	}
	all.heads, _ = w.heads(all.keys)
	all.loose = true
	return all
}

func (k *keyed) without(entry store.Message, _ []string) (store.Op, error) {
	op := k.w.removal(entry.Key)
	op.Conditional, op.Expect = true, entry.Revision
	return op, nil
}

func (k *keyed) shared() bool { return false }

// newEntries are entries that are to be written, with their heads.
//
// A transaction that has looked under an index notes the head's revision. When the head
// is unchanged at its commit, it concludes that no entry has come since it looked. So an
// entry must be in the bucket before its head is written: otherwise a transaction could
// read the new head, look before the entry is there, and commit without having seen it.
// And both must be there before the record is committed. In a batch the heads stand
// behind the entries; otherwise they are sent when all entries are acknowledged.
//
// A crash between the two leaves entries whose heads were not written. Their record was
// not committed either, so no transaction misses anything.
type newEntries struct {
	keys, heads []string
	loose       bool // nobody asks for their revisions
}

// heads returns the heads of new entries, each once. It is empty where one server keeps the
// bucket, which guards a lookup by its pattern. lone says that this is why: then the record
// may be committed only there.
func (w *Writer) heads(entries []string) (heads []string, lone bool) {
	if len(entries) == 0 {
		return nil, false
	}
	if !w.store.Traits().Replicable {
		return nil, true
	}
	seen := map[string]bool{"": true}
	for _, e := range entries {
		if head := w.layout.HeadOf(e); !seen[head] {
			seen[head] = true
			heads = append(heads, head)
		}
	}
	return heads, false
}

// appendTo appends the writes for one batch. They have no conditions: a put entry that
// is there already gets a new revision, which keeps others from removing it.
func (n newEntries) appendTo(ops []store.Op) []store.Op {
	for _, key := range n.keys {
		ops = append(ops, store.Op{Key: key, Loose: n.loose})
	}
	for _, key := range n.heads {
		ops = append(ops, store.Op{Key: key})
	}
	return ops
}

// write writes the entries and, at the same time, others (the claims of a plan). When
// all entries are acknowledged, it writes the heads. It returns the results of the
// entries, and behind them those of the others. The error is the first one of an entry
// or a head; errors of the others are only in their results.
func (n newEntries) write(ctx context.Context, s store.Store, others ...store.Op) ([]store.Result, error) {
	ops := newEntries{keys: n.keys, loose: n.loose}.appendTo(make([]store.Op, 0, len(n.keys)+len(others)))
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
