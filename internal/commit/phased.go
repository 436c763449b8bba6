package commit

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/store"
)

// phased executes the plans of one change one write after the other: steps 2 to
// 4 of the protocol. It is for one goroutine.
type phased struct{ traces }

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
	claims := make([]store.Op, len(p.Claims))
	for i, c := range p.Claims {
		// Most often nobody has the value, or this change has from a try before.
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
		revision, err := x.w.claim(ctx, c, p.Owner)
		if err != nil {
			return err
		}
		x.placed[c.Key] = revision
	}
	return nil
}

// observe notes the revisions of what the plan will release: of each entry
// that is there, and of each claim that is this record's.
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
