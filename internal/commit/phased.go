package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/store"
)

// phased executes the plans of one change one write after the other: steps 2 to
// 4 of the protocol. It is for one goroutine.
type phased struct {
	w *Writer
	traces
}

func (x *phased) execute(ctx context.Context, p *Plan) (uint64, error) {
	observed, err := x.prepare(ctx, p)
	if err != nil {
		return 0, Untouched(err)
	}
	res := x.w.store.Write(ctx, p.Commit())[0]
	if res.Err != nil {
		return 0, outcome(p, res.Err)
	}
	x.leftover(p, observed)
	x.w.remove(ctx, observed)
	return res.Revision, nil
}

func (x *phased) oneByOne() executor { return nil }

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
		ops = append(ops, store.Op{Key: c.Key, Value: p.Owner, Conditional: true, Expect: x.placed[c.Key], Settle: true})
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
			return fmt.Errorf("put %s: %w", ops[i].Key, res.Err)
		}
		revision, err := x.w.claim(ctx, p.Claims[i-len(p.Entries)], p.Owner)
		if err != nil {
			return err
		}
		x.placed[ops[i].Key] = revision
	}
	// Heads come after the entries are there, or a transaction could read the new
	// head and miss the entry.
	heads := make([]store.Op, len(p.Heads))
	for i, h := range p.Heads {
		heads[i].Key = h
	}
	for _, res := range x.w.store.Write(ctx, heads...) {
		if res.Err != nil {
			return fmt.Errorf("put the head of an index entry: %w", res.Err)
		}
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
		ops = append(ops, store.Op{Key: key, Delete: true, Purge: true, Conditional: true, Expect: revision})
	}
	w.store.Write(ctx, ops...)
}
