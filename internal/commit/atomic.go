package commit

import (
	"bytes"
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/store"
)

// atomic executes each plan of a change as one batch: a phased write with no gap
// in it, so that the two can be at work on the same records. Nothing needs to be
// observed, because what the record no longer needs goes in the same step: who
// else needs it must have read the record after that, or loses its commit.
type atomic struct {
	w      *Writer
	shared bool // with the changes of others, each for itself all the same
	traces
	expect map[string]uint64 // revisions of free claims, where not 0
}

func (x *atomic) execute(ctx context.Context, p *Plan) (uint64, error) {
	revision, err := x.send(ctx, p.Ops(x.claimed))
	switch {
	case errors.Is(err, store.ErrWrongRevision):
		if e := x.contest(ctx, p); e != nil {
			return 0, untouched(e)
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

// send does ops in one step, and returns the last one's revision.
func (x *atomic) send(ctx context.Context, ops []store.Op) (uint64, error) {
	if x.shared {
		return x.w.store.Share(ctx, ops)
	}
	first, err := x.w.store.Batch(ctx, store.Batch{Ops: ops})
	return first + uint64(len(ops)-1), err
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
