package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// Ensure gives a committed record what its footprint says, whether it has it or
// not: entries are put, claims taken. A *UniqueError says that another record
// holds one of the values too; everything else is placed all the same.
func (w *Writer) Ensure(ctx context.Context, f *layout.Footprint) error {
	if w.layout.Lists() != nil {
		return w.Enlist(ctx, []*layout.Footprint{f})
	}
	ops := make([]store.Op, len(f.Entries))
	for i, e := range f.Entries {
		ops[i] = store.Op{Key: e}
	}
	for _, res := range w.store.Write(ctx, ops...) {
		if res.Err != nil {
			return res.Err
		}
	}
	if w.store.Replicated() {
		heads := make([]store.Op, len(f.Entries))
		for i, e := range f.Entries {
			heads[i].Key = w.layout.HeadOf(e)
		}
		for _, res := range w.store.Write(ctx, heads...) {
			if res.Err != nil {
				return res.Err
			}
		}
	}
	var failed error
	for _, c := range f.Claims {
		if _, err := w.claim(ctx, c, w.layout.Owner(f.ID)); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// Put puts the entries of many records, whether they are there or not; they claim
// nothing.
func (w *Writer) Put(ctx context.Context, footprints []*layout.Footprint) error {
	var ops []store.Op
	heads := map[string]bool{}
	for _, f := range footprints {
		for _, e := range f.Entries {
			ops = append(ops, store.Op{Key: e})
			if head := w.layout.HeadOf(e); w.store.Replicated() && !heads[head] {
				heads[head] = true
				ops = append(ops, store.Op{Key: head})
			}
		}
	}
	for i, res := range w.store.Write(ctx, ops...) {
		if res.Err != nil {
			return fmt.Errorf("put %s: %w", ops[i].Key, res.Err)
		}
	}
	return nil
}

// Move moves a record as it was read to another key, where there is none. One that was
// moved before is only deleted at the old key.
func (w *Writer) Move(ctx context.Context, rec store.Message, to string) error {
	there, err := w.store.GetLatest(ctx, to)
	if err != nil {
		return err
	}
	gone := store.Op{Key: rec.Key, Delete: true, Conditional: true, Expect: rec.Revision, Settle: true}
	put := store.Op{Key: to, Value: rec.Value, Conditional: true, Expect: there.Revision, Settle: true}
	switch {
	case there.Live() && bytes.Equal(there.Value, rec.Value):
		return w.store.Write(ctx, gone)[0].Err
	case there.Live():
		return fmt.Errorf("%w: another record is there already; delete one of them", errs.ErrExists)
	case w.store.Writes() != store.Phased:
		_, err := w.store.Batch(ctx, store.Batch{Ops: []store.Op{put, gone}})
		return err
	}
	if err := w.store.Write(ctx, put)[0].Err; err != nil {
		return err
	}
	return w.store.Write(ctx, gone)[0].Err
}

// Sweep removes an entry or a claim that its record, read at rec, does not
// hold. removed is false when something changed meanwhile: then somebody needs
// it, or will clean up after themselves.
func (w *Writer) Sweep(ctx context.Context, stray, rec store.Message) (removed bool, err error) {
	if err := w.fence(ctx, rec); err != nil {
		return false, ignoreLost(err)
	}
	res := w.store.Write(ctx, store.Op{Key: stray.Key, Delete: true, Purge: true, Conditional: true, Expect: stray.Revision})[0]
	return res.Err == nil, ignoreLost(res.Err)
}

// SweepList takes records out of a list that do not hold its value, as they were
// read. Those that somebody is changing stay in it. swept is false when the list was
// changed meanwhile; gone are the records that were tried.
func (w *Writer) SweepList(ctx context.Context, list store.Message, records []store.Message) (gone []store.Message, swept bool, err error) {
	fences := make([]store.Op, len(records))
	for i, rec := range records {
		fences[i] = FenceOp(rec)
	}
	var names []string
	for i, res := range w.store.Write(ctx, fences...) {
		switch {
		case res.Err == nil:
			gone, names = append(gone, records[i]), append(names, records[i].Key)
		case !errors.Is(res.Err, store.ErrWrongRevision):
			return nil, false, res.Err
		}
	}
	left, err := w.layout.Lists().Leave(list.Value, names...)
	if err != nil || len(gone) == 0 {
		return gone, err == nil, err
	}
	err = w.store.Write(ctx, listOp(list, left))[0].Err
	return gone, err == nil, ignoreLost(err)
}

func ignoreLost(err error) error {
	if errors.Is(err, store.ErrWrongRevision) {
		return nil
	}
	return err
}
