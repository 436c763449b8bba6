package commit

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// listed executes the plans of a change whose entries are lists.
//
// With batches, one batch holds the lists and the record. A crash leaves nothing.
//
// Without batches, three steps follow each other: the record joins its new lists, the
// record is written, the record leaves its old lists. A crash after the first step
// leaves lists with a record that does not hold their value; a crash after the second
// leaves the record in lists that it has left. Readers check the record, so both are
// harmless, and Check with Repair removes them.
//
// Of two changes to one list only one can succeed. So the changes of one Writer that
// share a list wait for each other, rather than for a refusal.
type listed struct {
	*lists
	batches, shared bool
	again           bool            // an earlier plan of this change was refused
	joined          map[string]bool // the lists that earlier plans joined, without a batch
}

func (x *listed) oneByOne() executor {
	if !x.batches {
		return nil
	}
	return &listed{lists: x.lists, again: true, joined: x.joined}
}

func (x *listed) execute(ctx context.Context, p *Plan) (uint64, error) {
	// From here to the end no other change of this Writer executes a plan on these lists.
	// Another process may; then the lists' revisions decide which of the two is refused.
	changes := x.changes(p)
	keys := changes.keys()
	release, err := x.locks.take(ctx, keys)
	if err != nil {
		return 0, Untouched(err)
	}
	defer release()
	// GetMany may be answered by a replica. After a refusal it could answer with the same
	// old list again, so the reads are first brought up to the leader.
	if x.again {
		if err := store.CatchUp(ctx, x.w.store); err != nil {
			return 0, Untouched(err)
		}
	}
	x.again = true
	held, err := store.GetMany(ctx, x.w.store, keys)
	if err != nil {
		return 0, Untouched(err)
	}
	ops, err := changes.ops(held, x.w.store.Traits().MaxValue)
	if err != nil {
		return 0, err
	}
	if !x.batches {
		return x.phased(ctx, p, held) // ops only showed that the lists can be read and written
	}
	// A refusal does not say whether a list or the record has changed. Both are read
	// again before the next plan.
	revision, err := x.w.send(ctx, append(ops, p.Commit()), x.shared)
	if err != nil {
		if errors.Is(err, store.ErrWrongRevision) {
			return 0, err
		}
		return 0, outcome(p, err)
	}
	x.clean(ctx, p)
	return revision, nil
}

// phased carries a plan out without a batch. held are the lists as they were read before
// any of the writes.
func (x *listed) phased(ctx context.Context, p *Plan, held []store.Message) (uint64, error) {
	if x.joined == nil {
		x.joined = map[string]bool{}
	}
	// Joined first and noted before: whatever stops this change, clean or abandon knows
	// what to take back.
	for _, key := range p.Entries {
		x.joined[key] = true
		if err := x.join(ctx, key, p.Doc, p.after.ID); err != nil {
			return 0, Untouched(err)
		}
	}
	res := x.w.store.Write(ctx, p.Commit())[0]
	if res.Err != nil {
		return 0, outcome(p, res.Err)
	}
	// A list that is still as it was read before the commit can be left without a fence.
	// Another writer that joined it for this record before that read has had its commit
	// refused by this one. A writer that joins it later writes the list, and then the
	// write here is refused: x.leave looks at the record and fences it.
	for _, have := range held {
		if slices.Contains(p.Release, have.Key) && have.Live() {
			left, err := x.of.Leave(have.Value, p.Record)
			if err == nil && !bytes.Equal(left, have.Value) && x.w.store.Write(ctx, listOp(have, left))[0].Err != nil {
				x.leave(ctx, have.Key, p.Record)
			}
		}
	}
	x.clean(ctx, p)
	return res.Revision, nil
}

// clean takes the record out of those lists that earlier plans joined and that p, which
// has committed, does not need.
func (x *listed) clean(ctx context.Context, p *Plan) {
	for key := range x.joined {
		if !p.after.Holds(key) {
			x.leave(ctx, key, p.Record)
		}
	}
}

// abandon takes the record out of every list that was joined, unless it holds the
// list's value all the same: leave looks.
func (x *listed) abandon(ctx context.Context, cur store.Message) {
	for key := range x.joined {
		x.leave(ctx, key, cur.Key)
	}
}
