package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// phased executes the plans of one change one write after the other: steps 2 to 4 of
// the protocol, in that order.
//
// Entries and claims stand before the record does, and are removed only after it, so
// invariants I1 and I2 hold wherever this stops. A crash between the steps leaves
// entries and claims too many, never too few. It is for one goroutine.
type phased struct{ traces }

func (x *phased) execute(ctx context.Context, p *Plan) (uint64, error) {
	observed, err := x.prepare(ctx, p)
	if err != nil {
		return 0, Untouched(err)
	}
	// Now every entry that the new document needs is in the bucket, and every claim is
	// this record's. A writer that stalls here for ten seconds is safe: another writer
	// that wants one of the claims, or a repair that wants to remove one of the entries,
	// fences the record first, and then this commit is refused.
	res := x.w.store.Write(ctx, p.Commit())[0]
	if res.Err != nil {
		return 0, outcome(p, res.Err)
	}
	// The record is committed: what follows only tidies up, and its errors do not
	// matter. After a stall here other writers may need the same keys again; they have
	// put them, and the removals, checked to be at the observed revisions, are refused.
	x.leftover(p, observed)
	x.w.remove(ctx, observed)
	return res.Revision, nil
}

func (x *phased) oneByOne() executor { return nil }

// prepare is step 2: it puts entries, takes claims, and notes the revisions of the keys
// that the plan releases, all at the same time. It returns those revisions. They are
// read before the commit: a key that is read after it may have been put by a writer that
// has read the new record, and must not be removed.
func (x *phased) prepare(ctx context.Context, p *Plan) (map[string]uint64, error) {
	var observed map[string]uint64
	var watch chan error
	if len(p.Release) > 0 || len(x.placed) > 0 {
		observed = map[string]uint64{}
	}
	if len(p.Release) > 0 {
		watch = make(chan error, 1)
		go func() { watch <- x.w.observe(ctx, p, observed) }()
	}
	err := x.place(ctx, p)
	if watch != nil { // the goroutine writes into observed: wait for it, also after an error
		if e := <-watch; err == nil {
			err = e
		}
	}
	return observed, err
}

// place puts the plan's entries and takes its claims. Whatever was put is noted in
// placed, also when place fails, so that the change can remove it when it gives up.
//
// Entries need no condition: an entry too many is harmless. Claims do: each is first
// tried at the revision that this change gave it on an earlier try, or else as a key
// that was never written. That fails when the key has any other message, which may be a
// mere delete marker; then claim finds out whose it is.
func (x *phased) place(ctx context.Context, p *Plan) error {
	if len(p.Entries)+len(p.Claims) == 0 {
		return nil
	}
	if x.placed == nil {
		x.placed = map[string]uint64{}
	}
	claims := make([]store.Op, len(p.Claims))
	for i, c := range p.Claims {
		claims[i] = claimOp(c.Key, p.Owner, x.placed[c.Key])
	}
	results, err := p.newEntries().write(ctx, x.w.store, claims...)
	for i, res := range results {
		switch {
		case res.Err != nil:
		case i < len(p.Entries):
			x.placed[p.Entries[i]] = res.Revision
		default:
			x.placed[claims[i-len(p.Entries)].Key] = res.Revision
		}
	}
	if err != nil {
		return err
	}
	for i, c := range p.Claims {
		res := results[len(p.Entries)+i]
		switch {
		case res.Err == nil:
			continue
		case !errors.Is(res.Err, store.ErrWrongRevision):
			return fmt.Errorf("put %s: %w", c.Key, res.Err)
		}
		again, err := x.contend(ctx, p, c, p.Claims[i+1:])
		if err != nil {
			return err
		}
		if again {
			return fmt.Errorf("%w: claims were given back while %s was contended for", store.ErrWrongRevision, c.Key)
		}
	}
	return nil
}

// observe notes the revisions of what the plan will release: of each entry that is
// there, and of each claim that names this record. Entries have no value, claims hold
// their owner. A claim of another record is not this one's to remove.
func (w *Writer) observe(ctx context.Context, p *Plan, into map[string]uint64) error {
	found, err := store.GetMany(ctx, w.store, p.Release)
	if err != nil {
		return err
	}
	for _, e := range found {
		if e.Live() && (len(e.Value) == 0 || string(e.Value) == string(p.Owner)) {
			into[e.Key] = e.Revision
		}
	}
	return nil
}

// removal is the write that removes an entry or a claim. The delete marker of an entry is
// brief: no write depends on the revision of an entry that is not there, because entries
// are put without a condition (spec/index.pml, EXPIRE). Claims, and lists, are taken at the
// revision that they have, also that of a marker.
func (w *Writer) removal(key string) store.Op {
	brief := w.layout.Lists() == nil && !keys.IsClaim(w.layout.Model().Name, key)
	return store.Op{Key: key, Delete: true, Purge: true, Brief: brief}
}

// remove deletes those keys that are still at the given revisions. A key whose removal
// is refused or fails stays. That is harmless: either another writer needs it, or
// readers drop it and Check with Repair removes it.
func (w *Writer) remove(ctx context.Context, at map[string]uint64) {
	if len(at) == 0 {
		return
	}
	ops := make([]store.Op, 0, len(at))
	for key, revision := range at {
		op := w.removal(key)
		op.Conditional, op.Expect = true, revision
		ops = append(ops, op)
	}
	w.store.Write(ctx, ops...)
}
