package commit

import (
	"bytes"
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/store"
)

// atomic executes each plan of a change as one batch: a phased write with no gap
// in it, so that the two can be at work on the same records. Entries that the
// record no longer needs go in the same step without having been observed: another writer
// that needs them must have read the record after that, or loses its commit. A
// claim may be another record's while its index is being built, when this one can
// have the value without it; so claims are looked at, and go only as they were.
type atomic struct {
	traces
	shared bool              // with the changes of others, each for itself all the same
	expect map[string]uint64 // revisions of free claims, where not 0
}

func (x *atomic) execute(ctx context.Context, p *Plan) (uint64, error) {
	own, err := x.w.ownClaims(ctx, p)
	if err != nil {
		return 0, Untouched(err)
	}
	revision, err := x.w.send(ctx, p.Ops(x.claimed, own), x.shared)
	switch {
	case errors.Is(err, store.ErrWrongRevision):
		if e := x.contest(ctx, p); e != nil {
			return 0, Untouched(e)
		}
		return 0, err
	case err != nil:
		return 0, outcome(p, err)
	}
	if len(x.placed) > 0 {
		left := map[string]uint64{}
		x.leftover(p, left)
		x.w.remove(ctx, left)
	}
	return revision, nil
}

func (x *atomic) oneByOne() executor { return &phased{x.traces} }

// send does ops in one step, shared with the changes of others or not, and returns the
// last one's revision.
func (w *Writer) send(ctx context.Context, ops []store.Op, shared bool) (uint64, error) {
	if len(ops) == 1 && !shared { // a message by itself is faster than a batch of one
		res := w.store.Write(ctx, ops[0])[0]
		return res.Revision, res.Err
	}
	first, err := w.store.Batch(ctx, store.Batch{Ops: ops, Shared: shared})
	return first + uint64(len(ops)-1), err
}

// ownClaims are the claims that the plan releases and that are the record's, with
// their revisions.
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

// claimed is the revision at which a claim can be taken, as far as is known.
func (x *atomic) claimed(key string) uint64 {
	if revision, ok := x.placed[key]; ok {
		return revision
	}
	return x.expect[key]
}

// contest finds out why a batch was refused. When the record is as it was, it
// must be a claim: one that nobody has is taken at its revision the next time,
// and for one that somebody has it is judged whether they need it.
func (x *atomic) contest(ctx context.Context, p *Plan) error {
	if len(p.Claims) == 0 {
		return nil
	}
	cur, err := x.w.store.GetLatest(ctx, p.Record)
	if err != nil || cur.Revision != p.Expect {
		return err
	}
	for _, c := range p.Claims {
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
		revision, err := x.w.claim(ctx, c, p.Owner)
		if err != nil {
			return err
		}
		if x.placed == nil {
			x.placed = map[string]uint64{}
		}
		x.placed[c.Key] = revision
	}
	return nil
}
