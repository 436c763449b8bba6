package commit

import (
	"context"
	"errors"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// Discard deletes a record, given as it was read, whatever its document holds. It is
// for emptying a model, and a Check with Repair has to follow, which removes what
// Discard leaves in the index: the entries and claims of a record that cannot be read,
// and every list. A list is left to the check because that writes it once, and not once
// for each record. Discard reports whether the record was there.
func (w *Writer) Discard(ctx context.Context, rec store.Message) (bool, error) {
	f, err := layout.At(w.layout, rec.Key, rec.Value)
	if err != nil || Newer(w.layout, rec) || w.entries.shared() && w.stage == nil {
		return w.erase(ctx, rec)
	}
	out, err := w.Apply(ctx, Change{ID: f.ID, Assume: &rec, Held: &f, Many: true, Next: func(cur store.Message) (Draft, error) {
		if !cur.Live() {
			return Draft{}, ErrLeave
		}
		return Draft{}, nil
	}})
	if errors.As(err, new(*NewerError)) { // it was written once more, by a newer version of the model
		return w.erase(ctx, rec)
	}
	return out.Written, err
}

// erase deletes a record at whatever revision it has by then, and leaves its index
// entries and claims. It reports whether the record was there.
func (w *Writer) erase(ctx context.Context, rec store.Message) (bool, error) {
	for rec.Live() {
		err := w.store.Write(ctx, store.Op{Key: rec.Key, Delete: true, Conditional: true, Expect: rec.Revision, Settle: true})[0].Err
		if !errors.Is(err, store.ErrWrongRevision) {
			return err == nil, err
		}
		if rec, err = w.store.GetLatest(ctx, rec.Key); err != nil {
			return false, err
		}
	}
	return false, nil
}
