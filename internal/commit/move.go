package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// Move writes a record, as it was read, to another key and deletes it at the old one.
// Both writes are checked. ErrExists when another record is at the new key;
// store.ErrWrongRevision when the record has changed since it was read.
//
// Without batches the new key is written first. A crash in between leaves the same
// document at both keys; moving it again deletes it at the old one. A record that changes in
// between stays where it is.
func (w *Writer) Move(ctx context.Context, rec store.Message, to string) error {
	there, err := w.store.GetLatest(ctx, to)
	if err != nil {
		return err
	}
	gone := store.Op{Key: rec.Key, Delete: true, Conditional: true, Expect: rec.Revision, Settle: true}
	put := store.Op{Key: to, Value: rec.Value, Schema: rec.Schema, Conditional: true, Expect: there.Revision, Settle: true}
	switch {
	case there.Live() && bytes.Equal(there.Value, rec.Value):
		return w.store.Write(ctx, gone)[0].Err
	case there.Live():
		return fmt.Errorf("%w: another record is there already; delete one of them", errs.ErrExists)
	case w.store.Traits().Writes != store.Phased:
		_, err := w.store.Batch(ctx, store.Batch{Ops: []store.Op{put, gone}})
		return err
	}
	copied := w.store.Write(ctx, put)[0]
	if copied.Err != nil {
		return copied.Err
	}
	err = w.store.Write(ctx, gone)[0].Err
	if errors.Is(err, store.ErrWrongRevision) { // the copy is of an older state: it would be in the way of the next move
		back := w.store.Write(ctx, store.Op{Key: to, Delete: true, Conditional: true, Expect: copied.Revision, Settle: true})[0].Err
		if back != nil {
			err = errors.Join(err, back)
		}
	}
	return err
}
