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
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

const (
	// patience is how long a claim may stand without its record before the owner is
	// fenced. Most such owners are about to commit, and a fence only makes them start
	// again: with 200 creates of one value, writers that fence at once fence each other
	// in turn (docs/design.md).
	patience     = 60 * time.Millisecond
	patienceStep = 500 * time.Microsecond // about the pause before the first look again; each later one is twice as long
)

// claim takes the claim of a unique value for owner, and returns the claim's revision.
// It returns a *UniqueError when another record holds the value.
//
// A claim whose record does not hold the value has one of two origins. Its writer
// crashed, or the record gave the value up and the claim was not removed: then the
// claim stays as it is. Or its writer is between steps 2 and 3 of the protocol: then
// it commits soon, or its commit is refused. The two cannot be told apart, so claim
// waits for a while (patience), and then fences the named record. After the fence no
// writer that took the claim earlier can commit, so the claim may be taken, checked to
// be at the revision that was read before the fence.
//
// A stall of this writer between the fence and the taking is harmless. Another writer
// of the fenced record that wants the value rewrites the claim first, which changes
// its revision, and the taking is refused.
//
// waits is called before the first pause; nil for nothing.
func (w *Writer) claim(ctx context.Context, c layout.Claim, owner []byte, waits func()) (uint64, error) {
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
				return 0, c.Taken(w.layout.Model().Name, holder.id)
			}
			// Another writer has taken the claim since the last look: it gets its own time.
			if suspect != have.Revision {
				suspect, since, step = have.Revision, time.Now(), patienceStep
			}
			if waits != nil {
				waits()
				waits = nil
			}
			if time.Since(since) < patience {
				if err := workers.Sleep(ctx, step/2+rand.N(step)); err != nil {
					return 0, err
				}
				step *= 2
				continue
			}
			err = w.fence(ctx, holder.record)
			// A refused fence says that a writer of that record has just committed. It may
			// hold the value now, so all is read again.
			if errors.Is(err, store.ErrWrongRevision) {
				err = workers.Backoff(ctx, try)
				if err == nil {
					continue
				}
			}
			if err != nil {
				return 0, err
			}
		}
		// The claim is free, already this owner's, or its record cannot commit any more.
		// have.Revision was read before the fence, so a refusal means that another writer
		// has taken the claim, and the judgement is void.
		res := w.store.Write(ctx, claimOp(c.Key, owner, have.Revision))[0]
		if !errors.Is(res.Err, store.ErrWrongRevision) {
			return res.Revision, res.Err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return 0, err
		}
	}
}

// claimOp is the write that takes a claim, checked to be at a revision. The store
// settles it: a lost answer is followed by a look at what became of the write.
func claimOp(key string, owner []byte, revision uint64) store.Op {
	return store.Op{Key: key, Value: owner, Conditional: true, Expect: revision, Settle: true}
}

// CorruptClaim is the error for a claim whose owner cannot be read; it is ErrCorrupt.
func CorruptClaim(key string, err error) error {
	return fmt.Errorf("%w: claim %s: %w; delete that key", errs.ErrCorrupt, key, err)
}

// holder is the record that a claim names, as the stream's leader has it.
type holder struct {
	id     value.Value
	record store.Message
}

// holder reads the record that a claim names, and reports whether it holds the value.
func (w *Writer) holder(ctx context.Context, c layout.Claim, claim store.Message) (holder, bool, error) {
	id, err := w.layout.ReadOwner(claim.Value)
	if err != nil {
		return holder{}, false, CorruptClaim(c.Key, err)
	}
	rec, err := w.store.GetLatest(ctx, w.layout.RecordKey(id))
	if err != nil {
		return holder{}, false, err
	}
	if err := w.newer(rec); err != nil {
		return holder{}, false, err
	}
	return holder{id: id, record: rec}, Holds(w.layout, rec, c.Key), nil
}

// Holds reports whether a record, as it was read, holds the value of the entry or the
// claim at key, so that it must not be taken from it. A record whose document cannot be
// read is taken to hold it, and so is one of a newer version of the model: a wrong refusal can be
// corrected, two records with one unique value cannot.
func Holds(l layout.Layout, rec store.Message, key string) bool {
	if !rec.Live() {
		return false
	}
	f, err := l.Of(rec.Value)
	return err != nil || Newer(l, rec) || f.Holds(key)
}
