package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// executor carries out the plans of one change, one after the other until one
// commits. It is for one goroutine.
type executor interface {
	// execute returns the record's new revision, ErrWrongRevision when the record
	// is no longer as the plan expects, or a *UniqueError.
	execute(ctx context.Context, p *Plan) (uint64, error)

	// abandon cleans up after a change that will not commit. cur is the record as
	// it was last seen.
	abandon(ctx context.Context, cur store.Message)

	// oneByOne is what takes over where the server takes no batch; nil where that
	// changes nothing.
	oneByOne() executor
}

// traces is what the plans of a change leave in the bucket before one of them
// commits.
type traces struct {
	w *Writer

	// placed are the entries and claims that were put, with the revisions that
	// this gave them: observed, so to speak, by making them.
	placed map[string]uint64
}

// leftover adds to remove what plans before p placed, and p does not need.
func (t *traces) leftover(p *Plan, remove map[string]uint64) {
	for key, revision := range t.placed {
		if _, ok := remove[key]; !ok && !p.after.Holds(key) {
			remove[key] = revision
		}
	}
}

// abandon removes what was placed and the record does not hold, behind a fence,
// because another writer of the same record may count on it.
func (t *traces) abandon(ctx context.Context, cur store.Message) {
	if len(t.placed) == 0 {
		return
	}
	cur, err := t.w.store.GetLatest(ctx, cur.Key)
	if err != nil {
		return
	}
	if cur.Live() {
		held, err := t.w.layout.Of(cur.Value)
		if err != nil {
			return
		}
		for key := range t.placed {
			if held.Holds(key) {
				delete(t.placed, key)
			}
		}
	}
	if len(t.placed) > 0 && t.w.fence(ctx, cur) == nil {
		t.w.remove(ctx, t.placed)
	}
}

// outcome is the error of a commit whose write failed.
func outcome(p *Plan, err error) error {
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("%w: the commit of key %s was sent, and no answer came before the call ended, also not to the question whether it was done, so it was, or was not, or will be; doing the same again is safe where it looks first: %w", errs.ErrUnknownOutcome, p.Record, err)
	}
	return Untouched(err)
}

// Untouched marks an error after which the record is as it was, when another try
// may succeed.
func Untouched(err error) error {
	if store.Transient(err) && !errors.Is(err, errs.ErrUnwritten) {
		return fmt.Errorf("%w: %w", errs.ErrUnwritten, err)
	}
	return err
}
