package store

import (
	"context"
	"errors"
	"fmt"
)

// removeTries is how often Remove removes a key whose answer is lost each time.
const removeTries = 5

// Remove removes messages with their history, each only while it is the last of its key: what was
// written since stays. It returns how many of them it has removed. One whose answer is lost is
// removed once more, which does no harm, and counts as removed when it is not the last one then.
func Remove(ctx context.Context, s Store, messages ...Message) (removed int, err error) {
	ops := make([]Op, len(messages))
	for i, m := range messages {
		ops[i] = Op{Key: m.Key, Delete: true, Purge: true, Conditional: true, Expect: m.Revision}
	}
	for try := 1; len(ops) > 0; try++ {
		lost := ops[:0]
		for i, res := range s.Write(ctx, ops...) {
			switch {
			case res.Err == nil, try > 1 && errors.Is(res.Err, ErrWrongRevision):
				removed++
			case errors.Is(res.Err, ErrWrongRevision):
			case errors.Is(res.Err, ErrUnknown) && try < removeTries && ctx.Err() == nil:
				lost = append(lost, ops[i])
			default:
				return removed, fmt.Errorf("delete %s: %w", ops[i].Key, res.Err)
			}
		}
		ops = lost
	}
	return removed, nil
}
