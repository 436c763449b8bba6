package commit

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/natsorm/natsorm/internal/store"
)

// listed executes the plans of a change whose entries are lists: in one batch with
// the lists; or, where the bucket takes no batches, first the lists that the record
// joins, then the record, then those that it leaves. Changes of one writer that have a
// list in common take turns, for only one of them could commit.
type listed struct {
	*lists
	batches, shared bool
	again           bool            // a plan before was refused
	joined          map[string]bool // by plans before, one by one
}

func (x *listed) oneByOne() executor {
	if !x.batches {
		return nil
	}
	return &listed{lists: x.lists, again: true, joined: x.joined}
}

func (x *listed) execute(ctx context.Context, p *Plan) (uint64, error) {
	changes := x.changes(p)
	keys := changes.keys()
	release, err := x.locks.take(ctx, keys)
	if err != nil {
		return 0, Untouched(err)
	}
	defer release()
	if x.again { // what a replica has may be what was refused
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
		return x.phased(ctx, p, held)
	}
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

// phased writes one list after the other.
func (x *listed) phased(ctx context.Context, p *Plan, held []store.Message) (uint64, error) {
	if x.joined == nil {
		x.joined = map[string]bool{}
	}
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
	// Of a list as it was read before the commit, the record can be taken out without
	// a fence: a writer that joined it for this record earlier has lost its commit, and
	// one that joins it later writes the list again.
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

// clean takes the record out of the lists that plans before this one joined.
func (x *listed) clean(ctx context.Context, p *Plan) {
	for key := range x.joined {
		if !p.after.Holds(key) {
			x.leave(ctx, key, p.Record)
		}
	}
}

func (x *listed) abandon(ctx context.Context, cur store.Message) {
	for key := range x.joined {
		x.leave(ctx, key, cur.Key)
	}
}
