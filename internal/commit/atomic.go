package commit

import (
	"bytes"
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/store"
)

// atomic executes each plan of a change as one batch. That is a phased write with no
// gap between its steps, so writers of both kinds can work on the same record.
//
// The batch removes the entries that the record no longer needs, without having read
// their revisions. Another writer that needs one of them has either read the record
// after the batch, and then puts the entry again; or it read the record before, and
// its commit is refused.
//
// Claims are not removed like that. While a unique index is being built, a record can
// hold a value whose claim belongs to another record. So the claims are read first,
// and only those that name this record are removed, at the revisions that were read.
//
// A crash leaves nothing, because the server does all of a batch or none. A stall
// before the batch is sent costs a try: its conditions are those of the read.
type atomic struct {
	traces
	shared bool              // the batch may carry other changes too; each of them succeeds or fails by itself
	expect map[string]uint64 // claims that are free at a revision other than 0: they have a delete marker
}

func (x *atomic) execute(ctx context.Context, p *Plan) (uint64, error) {
	own, err := x.w.ownClaims(ctx, p)
	if err != nil {
		return 0, Untouched(err)
	}
	revision, err := x.w.send(ctx, p.Ops(x.claimed, own), x.shared)
	switch {
	case errors.Is(err, store.ErrWrongRevision):
		// The server does not say which condition failed. If a claim was the reason, the
		// next try must know more about it, or it fails in the same way.
		if e := x.contest(ctx, p); e != nil {
			return 0, Untouched(e)
		}
		return 0, err
	case err != nil:
		return 0, outcome(p, err)
	}
	// contest takes claims outside of the batch. Those that this plan did not need, but
	// a refused one before it did, are this change's to remove.
	if len(x.placed) > 0 {
		left := map[string]uint64{}
		x.leftover(p, left)
		x.w.remove(ctx, left)
	}
	return revision, nil
}

func (x *atomic) oneByOne() executor { return &phased{x.traces} }

// send writes ops in one step, and returns the revision of the last one. shared says that
// the batch may carry the changes of other calls too.
func (w *Writer) send(ctx context.Context, ops []store.Op, shared bool) (uint64, error) {
	if len(ops) == 1 && !shared { // a message by itself is faster than a batch of one
		res := w.store.Write(ctx, ops[0])[0]
		return res.Revision, res.Err
	}
	first, err := w.store.Batch(ctx, store.Batch{Ops: ops, Shared: shared})
	return first + uint64(len(ops)-1), err
}

// ownClaims returns those claims among what the plan releases that name the record as
// their owner, with their revisions.
func (w *Writer) ownClaims(ctx context.Context, p *Plan) (map[string]uint64, error) {
	claims := p.Claimed()
	if len(claims) == 0 {
		return nil, nil
	}
	found, err := store.GetMany(ctx, w.store, claims)
	if err != nil {
		return nil, err
	}
	own := make(map[string]uint64, len(found))
	for _, e := range found {
		if e.Live() && bytes.Equal(e.Value, p.Owner) {
			own[e.Key] = e.Revision
		}
	}
	return own, nil
}

// claimed is the revision that a claim must have for the batch to take it: the one at
// which this change took it before, the one at which it was last seen free, or 0, which
// says that the key was never written.
func (x *atomic) claimed(key string) uint64 {
	if revision, ok := x.placed[key]; ok {
		return revision
	}
	return x.expect[key]
}

// contest prepares the next try after a batch was refused.
//
// If the record has changed, there is nothing to prepare: the change begins with the
// new record. Otherwise a claim has another revision than the batch expected:
//
//   - A claim that is free, or this record's already, is expected at the revision that
//     it has now.
//   - A claim of another record is fought for (Writer.claim). The answer is that the
//     other record holds the value, a *UniqueError; or that it does not, and the claim
//     has been taken. The claim then stands in the bucket before the record does, as in
//     step 2 of a phased write, so it is noted in placed: whatever ends this change
//     removes it. A crash here leaves a claim without its record.
//
// If neither is the case, a claim that the record gives up has changed; the next try
// reads those again.
func (x *atomic) contest(ctx context.Context, p *Plan) error {
	if len(p.Claims) == 0 {
		return nil
	}
	cur, err := x.w.store.GetLatest(ctx, p.Record)
	if err != nil || cur.Revision != p.Expect {
		return err
	}
	for i, c := range p.Claims {
		have, err := x.w.store.GetLatest(ctx, c.Key)
		if err != nil {
			return err
		}
		if have.Revision == x.claimed(c.Key) {
			continue
		}
		if !have.Live() || bytes.Equal(have.Value, p.Owner) {
			if x.expect == nil {
				x.expect = map[string]uint64{}
			}
			delete(x.placed, c.Key)
			x.expect[c.Key] = have.Revision
			continue
		}
		if again, err := x.contend(ctx, p, c, p.Claims[i+1:]); err != nil || again {
			return err
		}
	}
	return nil
}
