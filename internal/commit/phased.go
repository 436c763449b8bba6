package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/store"
)

// phased executes the plans of one change, one after the other until one
// commits: steps 2 to 4 of the protocol. It is for one goroutine.
type phased struct {
	w *Writer

	// placed are the entries and claims that earlier steps put, with the
	// revisions that this gave them: observed, so to speak, by making them.
	placed map[string]uint64
}

// execute returns the record's new revision, ErrWrongRevision when the record
// is no longer as the plan expects, or a *UniqueError.
func (x *phased) execute(ctx context.Context, p *Plan) (uint64, error) {
	observed, err := x.prepare(ctx, p)
	if err != nil {
		return 0, err
	}
	op := store.Op{Key: p.Record, Value: p.Doc, Delete: p.Doc == nil, Check: true, Expect: p.Expect}
	res := x.w.store.Write(ctx, op)[0]
	if res.Err != nil {
		if errors.Is(res.Err, store.ErrUnknown) {
			return 0, fmt.Errorf("%w, read the record to find out: key %s: %w", errs.ErrUnknownOutcome, p.Record, res.Err)
		}
		return 0, res.Err
	}
	for key, revision := range x.placed { // by tries that wanted other values
		if _, ok := observed[key]; !ok && !p.after.Holds(key) {
			observed[key] = revision
		}
	}
	x.w.remove(ctx, observed)
	return res.Revision, nil
}

// prepare is step 2. It returns the revisions of what is to be removed.
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
	if watch != nil {
		if e := <-watch; err == nil {
			err = e
		}
	}
	return observed, err
}

// place puts the plan's entries and takes its claims.
func (x *phased) place(ctx context.Context, p *Plan) error {
	if len(p.Entries)+len(p.Claims) == 0 {
		return nil
	}
	if x.placed == nil {
		x.placed = map[string]uint64{}
	}
	ops := make([]store.Op, 0, len(p.Entries)+len(p.Claims))
	for _, e := range p.Entries {
		ops = append(ops, store.Op{Key: e})
	}
	for _, c := range p.Claims {
		// Most often nobody has the value, or this change has from a try before.
		ops = append(ops, store.Op{Key: c.Key, Value: p.Owner, Check: true, Expect: x.placed[c.Key]})
	}
	results := x.w.store.Write(ctx, ops...)
	for i, res := range results {
		if res.Err == nil {
			x.placed[ops[i].Key] = res.Revision
		}
	}
	for i, res := range results {
		if res.Err == nil {
			continue
		}
		if i < len(p.Entries) || !errors.Is(res.Err, store.ErrWrongRevision) {
			return fmt.Errorf("nothing was committed: put %s: %w", ops[i].Key, res.Err)
		}
		revision, err := x.w.claim(ctx, p.Claims[i-len(p.Entries)], p.Owner)
		if err != nil {
			return err
		}
		x.placed[ops[i].Key] = revision
	}
	return nil
}

// observe notes the revisions of what the plan will release: of each entry
// that is there, and of each claim that is this record's.
func (w *Writer) observe(ctx context.Context, p *Plan, into map[string]uint64) error {
	found, err := w.store.GetMany(ctx, p.Release)
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

// remove deletes keys that are still at the given revisions. What fails stays,
// which is harmless: readers drop it, and Check with Repair takes it.
func (w *Writer) remove(ctx context.Context, at map[string]uint64) {
	if len(at) == 0 {
		return
	}
	ops := make([]store.Op, 0, len(at))
	for key, revision := range at {
		ops = append(ops, store.Op{Key: key, Delete: true, Purge: true, Check: true, Expect: revision})
	}
	w.store.Write(ctx, ops...)
}

// abandon cleans up after a change that will not commit: what it placed and
// the record does not hold is removed, behind a fence, because another writer
// of the same record may count on it.
func (x *phased) abandon(ctx context.Context, cur store.Entry) {
	if len(x.placed) == 0 {
		return
	}
	cur, err := x.w.store.GetLatest(ctx, cur.Key)
	if err != nil {
		return
	}
	if cur.Live() {
		held, err := x.w.layout.Of(cur.Value)
		if err != nil {
			return
		}
		for key := range x.placed {
			if held.Holds(key) {
				delete(x.placed, key)
			}
		}
	}
	if len(x.placed) > 0 && x.w.fence(ctx, cur) == nil {
		x.w.remove(ctx, x.placed)
	}
}
