package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/workers"
)

// Refused is a record that Ensure could not give a claim.
type Refused struct {
	Record *layout.Footprint
	Err    error // a *UniqueError when another record holds the value; ErrCorrupt when the claim cannot be read
}

// Ensure writes the index keys of records that are committed already: it puts all
// entries of their footprints and takes all their claims, whether they are there or not.
// It does not write the records.
//
// It returns the records whose claims it could not take, with the first reason of each;
// everything else is there all the same. ErrInvalid when a list would be too long for the
// bucket. A record that changes meanwhile may be left with entries that it no longer
// needs, which readers drop.
func (w *Writer) Ensure(ctx context.Context, records ...*layout.Footprint) ([]Refused, error) {
	if err := w.entries.ensure(ctx, records); err != nil {
		return nil, err
	}
	return w.takeAll(ctx, records)
}

// contenders is how many claims of other records are contended for at the same time.
// Each of them takes several requests, and up to 60 ms of waiting (patience).
const contenders = 64

// takeAll takes the claims of records. It reads all of them with one call and takes the
// free ones with another. Those of other records, and those that another writer takes
// in between, are contended for one by one.
func (w *Writer) takeAll(ctx context.Context, records []*layout.Footprint) ([]Refused, error) {
	var names []string
	var claims []layout.Claim
	var of []int // for each claim the position of its record
	for i, f := range records {
		for _, c := range f.Claims {
			names, claims, of = append(names, c.Key), append(claims, c), append(of, i)
		}
	}
	if len(claims) == 0 {
		return nil, nil
	}
	found, err := store.GetMany(ctx, w.store, names)
	if err != nil {
		return nil, err
	}
	var ops []store.Op
	var at, contested []int // positions in claims: those of ops, and those to contend for
	for i, have := range found {
		owner := w.layout.Owner(records[of[i]].ID)
		if have.Live() && !bytes.Equal(have.Value, owner) {
			contested = append(contested, i)
			continue
		}
		ops, at = append(ops, claimOp(claims[i].Key, owner, have.Revision)), append(at, i)
	}
	for i, res := range w.store.Write(ctx, ops...) {
		switch {
		case errors.Is(res.Err, store.ErrWrongRevision):
			contested = append(contested, at[i])
		case res.Err != nil:
			return nil, fmt.Errorf("put %s: %w", ops[i].Key, res.Err)
		}
	}
	var mu sync.Mutex
	reasons := map[int]error{} // by the record's position
	pool := workers.NewPool(ctx, contenders)
	for _, i := range contested {
		pool.Do(func(ctx context.Context) (int, error) {
			_, err := w.claim(ctx, claims[i], w.layout.Owner(records[of[i]].ID))
			if !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrCorrupt) {
				return 1, err
			}
			mu.Lock()
			defer mu.Unlock()
			if reasons[of[i]] == nil {
				reasons[of[i]] = err
			}
			return 1, nil
		})
	}
	if _, err := pool.Wait(); err != nil {
		return nil, err
	}
	var refused []Refused
	for i, f := range records {
		if err := reasons[i]; err != nil {
			refused = append(refused, Refused{f, err})
		}
	}
	return refused, nil
}

// Move writes a record, as it was read, to another key and deletes it at the old one.
// Both writes are checked. ErrExists when another record is at the new key;
// store.ErrWrongRevision when the record has changed since it was read.
//
// Without batches the new key is written first. A crash in between leaves the same
// document at both keys; moving it again deletes it at the old one.
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
	case w.store.Traits().Writes != store.Phased:
		_, err := w.store.Batch(ctx, store.Batch{Ops: []store.Op{put, gone}})
		return err
	}
	if err := w.store.Write(ctx, put)[0].Err; err != nil {
		return err
	}
	return w.store.Write(ctx, gone)[0].Err
}

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

// Discard deletes a record, given as it was read, whatever its document holds. It is
// for emptying a model, and a Check with Repair has to follow, which removes what
// Discard leaves in the index: the entries and claims of a record that cannot be read,
// and every list. A list is left to the check because that writes it once, and not once
// for each record. Discard reports whether the record was there.
func (w *Writer) Discard(ctx context.Context, rec store.Message) (bool, error) {
	f, err := layout.At(w.layout, rec.Key, rec.Value)
	if err != nil || w.entries.shared() && w.stage == nil {
		return true, w.erase(ctx, rec)
	}
	out, err := w.Apply(ctx, Change{ID: f.ID, Assume: &rec, Held: &f, Many: true, Next: func(cur store.Message) (Draft, error) {
		if !cur.Live() {
			return Draft{}, ErrLeave
		}
		return Draft{}, nil
	}})
	return out.Written, err
}

// erase deletes a record at whatever revision it has by then, and leaves its index
// entries and claims.
func (w *Writer) erase(ctx context.Context, rec store.Message) error {
	for rec.Live() {
		err := w.store.Write(ctx, store.Op{Key: rec.Key, Delete: true, Conditional: true, Expect: rec.Revision, Settle: true})[0].Err
		if !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if rec, err = w.store.GetLatest(ctx, rec.Key); err != nil {
			return err
		}
	}
	return nil
}
