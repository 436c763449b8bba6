package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Refused is a claim that Ensure could not give a record.
type Refused struct {
	Record *layout.Footprint
	Claim  layout.Claim
	Err    error // a *UniqueError when another record holds the value; ErrCorrupt when the claim cannot be read
}

// Ensure writes the index keys of records that are committed already: it puts all
// entries of their footprints and takes all their claims, whether they are there or not.
// It does not write the records.
//
// It returns the claims that it could not take; everything else is there all the same.
// ErrInvalid when a list would be too long for the
// bucket. A record that changes meanwhile may be left with entries that it no longer
// needs, which readers drop.
func (w *Writer) Ensure(ctx context.Context, records ...*layout.Footprint) ([]Refused, error) {
	if err := w.entries.ensure(ctx, records); err != nil {
		return nil, err
	}
	return w.takeAll(ctx, wantedOf(records))
}

// EnsureNew is Ensure for records most of which have none of these entries and claims yet, as
// those of an index that is being built. It sends all at once, and takes claims without a look
// at them first, each checked never to have been there. Those that are refused are then taken as
// by Ensure.
//
// Such a claim may be taken late, when the answer to it was lost, and its record have another
// value by then. It stops nobody: the next writer of that value fences its owner and takes it.
func (w *Writer) EnsureNew(ctx context.Context, records ...*layout.Footprint) ([]Refused, error) {
	if _, ok := w.entries.(*keyed); !ok {
		return w.Ensure(ctx, records...)
	}
	wanted := wantedOf(records)
	ops := make([]store.Op, len(wanted))
	for i, c := range wanted {
		ops[i] = claimOp(c.claim.Key, w.layout.Owner(c.record.ID), 0)
		ops[i].Settle = false // a lost answer is followed by a look
		ops[i].Loose = !w.contended.Load()
	}
	add := entriesOfAll(w, records)
	results, err := add.write(ctx, w.store, ops...)
	if err != nil {
		return nil, err
	}
	left := wanted[:0]
	defer func() {
		if len(left) > 0 { // then all of them were sent twice
			w.contended.Store(true)
		}
	}()
	for i, res := range results[len(add.keys):] {
		switch {
		case res.Err == nil:
		case errors.Is(res.Err, store.ErrWrongRevision), errors.Is(res.Err, store.ErrUnknown):
			left = append(left, wanted[i])
		default:
			return nil, fmt.Errorf("put %s: %w", ops[i].Key, res.Err)
		}
	}
	return w.takeAll(ctx, left)
}

// Listed reports whether an entry is a list of all records with a value.
func (w *Writer) Listed() bool { return w.entries.shared() }

// wanted is a claim that a record is to have.
type wanted struct {
	record *layout.Footprint
	claim  layout.Claim
}

func wantedOf(records []*layout.Footprint) (out []wanted) {
	for _, f := range records {
		for _, c := range f.Claims {
			out = append(out, wanted{f, c})
		}
	}
	return out
}

// contenders is how many claims of other records are contended for at the same time.
// Each of them takes several requests, and up to 60 ms of waiting (patience).
const contenders = 64

// takeAll takes claims for records. It reads all of them with one call and takes the
// free ones with another. Those of other records, and those that another writer takes
// in between, are contended for one by one.
func (w *Writer) takeAll(ctx context.Context, claims []wanted) ([]Refused, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	names := make([]string, len(claims))
	for i, c := range claims {
		names[i] = c.claim.Key
	}
	found, err := store.GetMany(ctx, w.store, names)
	if err != nil {
		return nil, err
	}
	var ops []store.Op
	var at, contested []int // positions in claims: those of ops, and those to contend for
	for i, have := range found {
		owner := w.layout.Owner(claims[i].record.ID)
		if have.Live() && !bytes.Equal(have.Value, owner) {
			contested = append(contested, i)
			continue
		}
		ops, at = append(ops, claimOp(claims[i].claim.Key, owner, have.Revision)), append(at, i)
	}
	for i, res := range w.store.Write(ctx, ops...) {
		switch {
		case errors.Is(res.Err, store.ErrWrongRevision):
			contested = append(contested, at[i])
		case res.Err != nil:
			return nil, fmt.Errorf("put %s: %w", ops[i].Key, res.Err)
		}
	}
	reasons := make([]error, len(claims))
	if contested, err = w.heldByOthers(ctx, claims, found, contested, reasons); err != nil {
		return nil, err
	}
	pool := workers.NewPool(ctx, contenders)
	for _, i := range contested {
		pool.Do(func(ctx context.Context) (int, error) {
			_, err := w.claim(ctx, claims[i].claim, w.layout.Owner(claims[i].record.ID), nil)
			if !errors.Is(err, errs.ErrUnique) && !errors.Is(err, errs.ErrCorrupt) {
				return 1, err
			}
			reasons[i] = err
			return 1, nil
		})
	}
	if _, err := pool.Wait(); err != nil {
		return nil, err
	}
	var refused []Refused
	for i, c := range claims {
		if reasons[i] != nil {
			refused = append(refused, Refused{c.record, c.claim, reasons[i]})
		}
	}
	return refused, nil
}

// heldByOthers finds, with one read, which of the contested claims are of records that hold the value,
// and notes why they cannot be taken. It returns the others. On a bucket with replicas it leaves
// that to claim, which asks the leader.
func (w *Writer) heldByOthers(ctx context.Context, claims []wanted, found []store.Message, contested []int, reasons []error) (left []int, err error) {
	const worthwhile = 8
	if len(contested) < worthwhile || w.store.Traits().Replicable {
		return contested, nil
	}
	owners := make([]value.Value, len(contested))
	names := make([]string, len(contested))
	for n, i := range contested {
		names[n], owners[n] = claims[i].record.Record, value.Null
		if !found[i].Live() || bytes.Equal(found[i].Value, w.layout.Owner(claims[i].record.ID)) {
			continue // it was taken since, perhaps by another one for this record
		}
		if owner, err := w.layout.ReadOwner(found[i].Value); err == nil {
			names[n], owners[n] = w.layout.RecordKey(owner), owner
		}
	}
	records, err := store.GetMany(ctx, w.store, names)
	if err != nil {
		return nil, err
	}
	for n, i := range contested {
		if !owners[n].IsNull() && !Newer(w.layout, records[n]) && Holds(w.layout, records[n], claims[i].claim.Key) {
			reasons[i] = claims[i].claim.Taken(w.layout.Model().Name, owners[n])
		} else {
			left = append(left, i)
		}
	}
	return left, nil
}
