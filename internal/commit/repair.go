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

// Refused is a record that could not have a unique value.
type Refused struct {
	Record *layout.Footprint
	Err    error // a *UniqueError, or ErrCorrupt
}

// Ensure gives committed records what their footprints say, whether they have it or
// not: entries are put, claims are taken. It returns the records of claims that it
// could not take, with the first reason of each; everything else is there all the
// same. ErrInvalid when an entry cannot hold all its records.
func (w *Writer) Ensure(ctx context.Context, records ...*layout.Footprint) ([]Refused, error) {
	if err := w.entries.ensure(ctx, records); err != nil {
		return nil, err
	}
	return w.takeAll(ctx, records)
}

// contenders is how many claims that others have are contended for at the same time.
const contenders = 64

// takeAll takes the claims of records.
func (w *Writer) takeAll(ctx context.Context, records []*layout.Footprint) ([]Refused, error) {
	var names []string
	var claims []layout.Claim
	var of []int // of the claims: which record's
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
	var at, contested []int // positions of claims: those of ops, and those to contend for
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
	reasons := map[int]error{} // by record
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
	case w.store.Traits().Writes != store.Phased:
		_, err := w.store.Batch(ctx, store.Batch{Ops: []store.Op{put, gone}})
		return err
	}
	if err := w.store.Write(ctx, put)[0].Err; err != nil {
		return err
	}
	return w.store.Write(ctx, gone)[0].Err
}

// Sweep takes records, as they were read, out of an entry or a claim whose value they
// do not hold. It returns those that are out of it. A record that somebody is changing
// stays in. When the entry has changed since it was read, nobody is taken out; then
// again says whether it is worth while to read both once more: not if whoever has
// changed it needs all of it.
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

// Discard deletes a record as it was read, whatever it holds, as one of all that are to
// go. What that leaves in the index a Check with Repair takes away: the entries of a
// record that cannot be read, and all that records share, each of which is then written
// once. It reports whether the record was there.
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

// erase deletes a record and leaves the index alone.
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
