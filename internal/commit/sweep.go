package commit

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/store"
)

// Sweep takes records out of an entry or a claim whose value they do not hold. Both the
// entry and the records are given as they were read, the entry first. It returns the
// records that were taken out.
//
// Each record is fenced: a writer that read it earlier, and may have put the entry for
// it, cannot commit any more. A record whose fence is refused is being changed and stays
// in the entry. Then the entry is written, checked to be at the revision that was read
// before the fences; a writer that puts the entry after a fence gives it another
// revision. A crash in between leaves fenced records, which look unchanged to everyone.
//
// When the entry has changed since it was read, no record is taken out. Then again
// reports whether reading both once more may help. That is so for a list, which other
// records may have changed. It is not for an entry of one record: a writer has put it
// because it needs it.
func (w *Writer) Sweep(ctx context.Context, entry store.Message, records ...store.Message) (swept []store.Message, again bool, err error) {
	fences := make([]store.Op, len(records))
	for i, rec := range records {
		fences[i] = FenceOp(rec)
	}
	var names []string
	for i, res := range w.store.Write(ctx, fences...) {
		switch {
		case res.Err == nil:
			swept, names = append(swept, records[i]), append(names, records[i].Key)
		case !errors.Is(res.Err, store.ErrWrongRevision):
			return nil, false, res.Err
		}
	}
	if len(swept) == 0 {
		return nil, false, nil
	}
	op, err := w.entries.without(entry, names)
	if err != nil {
		return nil, false, err
	}
	err = w.store.Write(ctx, op)[0].Err
	if errors.Is(err, store.ErrWrongRevision) {
		return nil, w.entries.shared(), nil
	}
	if err != nil {
		return nil, false, err
	}
	return swept, false, nil
}
