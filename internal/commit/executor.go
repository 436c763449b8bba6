package commit

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// executor carries out the plans of one change. A plan that is refused because the
// record has changed is followed by another one, until one commits or the change gives
// up. An executor remembers what the refused plans have left in the bucket. It is for one
// goroutine.
type executor interface {
	// execute carries a plan out and returns the record's new revision.
	// ErrWrongRevision says that the record is no longer as the plan expects; a
	// *UniqueError, that another record holds a value; ErrUnknownOutcome, that the
	// answer to the commit was lost. store.ErrNoBatches and store.ErrBatchTooLarge say
	// that oneByOne has to take over.
	execute(ctx context.Context, p *Plan) (uint64, error)

	// abandon removes what refused plans have left, after a change that will not commit.
	// cur is the record as it was last read. What cannot be removed stays: readers drop
	// it, and Check with Repair removes it.
	abandon(ctx context.Context, cur store.Message)

	// oneByOne returns the executor that does without batches, for a server that refuses
	// them. It knows what this one has left. It is nil when this one uses no batches.
	oneByOne() executor
}

// traces is what the plans of a change have left in the bucket, although none of them
// has committed yet.
type traces struct {
	w *Writer

	// placed holds the entries and claims that were put, with the revisions that the
	// puts gave them. A removal checked to be at that revision is refused when another
	// writer has put the key since.
	placed map[string]uint64
}

// leftover adds what earlier plans placed, and p does not need, to what is to be removed
// after p has committed. A key that is in remove already keeps its revision there.
func (t *traces) leftover(p *Plan, remove map[string]uint64) {
	for key, revision := range t.placed {
		if _, ok := remove[key]; !ok && !p.after.Holds(key) {
			remove[key] = revision
		}
	}
}

// abandon removes what was placed and the record does not hold.
//
// After a commit no fence is needed for that, because the commit refused every other
// writer that had read the record before. Here nothing was committed. Another writer of
// the record may have read it when it held one of these values, and so count on the
// entry without having put it. So the record is fenced first. When the fence is refused,
// another writer has just committed, and everything stays.
func (t *traces) abandon(ctx context.Context, cur store.Message) {
	t.giveBack(ctx, cur.Key, maps.Clone(t.placed))
}

// giveBack removes those keys of placed that the record does not hold, behind a fence of it. It
// reports whether it did: otherwise they stay, because somebody else has just written the record.
func (t *traces) giveBack(ctx context.Context, record string, placed map[string]uint64) bool {
	if len(placed) == 0 {
		return false
	}
	cur, err := t.w.store.GetLatest(ctx, record)
	if err != nil {
		return false
	}
	if cur.Live() {
		held, err := t.w.layout.Of(cur.Value)
		if err != nil || Newer(t.w.layout, cur) {
			return false
		}
		maps.DeleteFunc(placed, func(key string, _ uint64) bool { return held.Holds(key) })
	}
	if len(placed) == 0 || t.w.fence(ctx, cur) != nil {
		return false
	}
	t.w.remove(ctx, placed)
	for key := range placed {
		delete(t.placed, key)
	}
	return true
}

// contend takes a claim of a plan that another writer has, and notes it. later are the claims of
// the plan that come after it.
//
// Those it gives back before it waits. So a change that waits for a claim holds none that comes
// after it, and of several changes that want the same claims, the one that has the first of them
// finds the others free. If each kept what it has, none would get all of them: the
// time that a claim may stand without its record (patience) is over before the others come.
//
// again says that the record was fenced for that: the plan's commit would be refused.
func (t *traces) contend(ctx context.Context, p *Plan, c layout.Claim, later []layout.Claim) (again bool, err error) {
	revision, err := t.w.claim(ctx, c, p.Owner, func() {
		back := map[string]uint64{}
		for _, l := range later {
			if at, ok := t.placed[l.Key]; ok {
				back[l.Key] = at
			}
		}
		again = t.giveBack(ctx, p.Record, back) || again
	})
	if err == nil {
		if t.placed == nil {
			t.placed = map[string]uint64{}
		}
		t.placed[c.Key] = revision
	}
	return again, err
}

// outcome is the error of a plan whose last write, that of the record, failed.
func outcome(p *Plan, err error) error {
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("%w: the commit of key %s was sent, and no answer came before the call ended, also not to the question whether it was done, so it was, or was not, or will be; doing the same again is safe where it looks first: %w", errs.ErrUnknownOutcome, p.Record, err)
	}
	return Untouched(err)
}

// Untouched marks an error before the commit as ErrUnwritten, when it is transient:
// the record is as it was, and the same call may succeed later. It returns other errors,
// and nil, as they are.
func Untouched(err error) error {
	if store.Transient(err) && !errors.Is(err, errs.ErrUnwritten) {
		return fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
	}
	return err
}
