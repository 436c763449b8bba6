package commit

import (
	"errors"
	"fmt"
	"testing"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// How sure it must be what a record is, before an error may end a change.
func TestCertainty(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, guessed},
		{ErrLeave, seen},
		{fmt.Errorf("wrapped: %w", ErrLeave), seen},
		{errs.ErrExists, agreed},
		{errs.ErrNotFound, agreed},
		{fmt.Errorf("wrapped: %w", errs.ErrConflict), agreed},
		{errs.ErrInvalid, guessed},
		{errors.New("the caller's own"), guessed},
	} {
		if got := certainty(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// What is said of a commit whose write failed: that the record is as it was, or that
// nobody knows.
func TestOutcomeOfACommit(t *testing.T) {
	t.Parallel()
	p := &Plan{Record: "M.shard_7.7"}
	for _, c := range []struct {
		name               string
		err                error
		unknown, unwritten bool
	}{
		{"no answer", store.ErrUnknown, true, false},
		{"not sent", fmt.Errorf("%w: a server that does not answer: %w", errs.ErrUnwritten, store.ErrUnknown), true, true},
		{"refused", store.ErrWrongRevision, false, false},
		{"too large", store.ErrTooLarge, false, false},
	} {
		err := outcome(p, c.err)
		if !errors.Is(err, c.err) || errors.Is(err, errs.ErrUnknownOutcome) != c.unknown || errors.Is(err, errs.ErrUnwritten) != c.unwritten {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := Untouched(fmt.Errorf("on the way: %w", store.ErrUnknown)); !errors.Is(err, errs.ErrUnwritten) {
		t.Errorf("a read that failed: %v", err)
	}
}
