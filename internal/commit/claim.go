package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// patience is how long a claim may be without its record before the owner
	// is fenced: most such owners are about to commit, and a fence would only
	// make them start again.
	patience     = 60 * time.Millisecond
	patienceStep = 500 * time.Microsecond // the first look again; the next ones later
)

// claim takes a unique value for owner, from whoever has it without needing
// it. It returns the claim's revision, or a *UniqueError when another record
// holds the value.
func (w *Writer) claim(ctx context.Context, c layout.Claim, owner []byte) (uint64, error) {
	var since time.Time // when this owner was first seen without the value
	var suspect uint64  // the revision of its claim
	step := patienceStep
	for try := 1; ; try++ {
		have, err := w.store.GetLatest(ctx, c.Key)
		if err != nil {
			return 0, err
		}
		if have.Live() && !bytes.Equal(have.Value, owner) {
			holder, holds, err := w.holder(ctx, c, have)
			if err != nil {
				return 0, err
			}
			if holds {
				return 0, &errs.UniqueError{Model: w.layout.Model().Name, Columns: c.Columns, Value: c.Text, Owner: holder.id}
			}
			if suspect != have.Revision {
				suspect, since, step = have.Revision, time.Now(), patienceStep
			}
			if time.Since(since) < patience {
				if err := workers.Sleep(ctx, step/2+rand.N(step)); err != nil {
					return 0, err
				}
				step *= 2
				continue
			}
			err = w.fence(ctx, holder.record)
			if errors.Is(err, store.ErrWrongRevision) { // its writer is at work
				err = workers.Backoff(ctx, try)
				if err == nil {
					continue
				}
			}
			if err != nil {
				return 0, err
			}
		}
		res := w.store.Write(ctx, claimOp(c.Key, owner, have.Revision))[0]
		if !errors.Is(res.Err, store.ErrWrongRevision) {
			return res.Revision, res.Err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return 0, err
		}
	}
}

// claimOp takes a claim that is at a revision.
func claimOp(key string, owner []byte, revision uint64) store.Op {
	return store.Op{Key: key, Value: owner, Conditional: true, Expect: revision, Settle: true}
}

// CorruptClaim is the error of a claim whose owner cannot be read.
func CorruptClaim(key string, err error) error {
	return fmt.Errorf("%w: claim %s: %w; delete that key", errs.ErrCorrupt, key, err)
}

// holder is the record that a claim names, as the leader has it now.
type holder struct {
	id     string
	record store.Message
}

// holder reads the claim's owner, and whether it holds the value. An owner
// whose document cannot be read is taken to hold it.
func (w *Writer) holder(ctx context.Context, c layout.Claim, claim store.Message) (holder, bool, error) {
	id, err := w.layout.ReadOwner(claim.Value)
	if err != nil {
		return holder{}, false, CorruptClaim(c.Key, err)
	}
	rec, err := w.store.GetLatest(ctx, w.layout.RecordKey(id))
	if err != nil {
		return holder{}, false, err
	}
	h := holder{id: id.Text(), record: rec}
	if !rec.Live() {
		return h, false, nil
	}
	f, err := w.layout.Of(rec.Value)
	return h, err != nil || f.Holds(c.Key), nil
}
