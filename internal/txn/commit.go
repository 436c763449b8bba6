package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
)

// assembly puts a transaction's batch together.
type assembly struct {
	tx      *Tx
	plans   []*commit.Plan
	of      []*change           // of the plans
	holders map[string]*change  // of claims, by what the records will be
	expect  map[string]uint64   // the revisions of claims that are taken
	own     map[string]uint64   // those of claims that their records give up
	fences  map[string]store.Op // of records that are to lose their claims
	planned map[string]bool     // the records that are written, by key
	written map[string]bool     // the keys that ops write
	ops     []store.Op
}

// commit writes what the transaction has changed, if all that it has read is still
// so. It returns the new revisions of records.
func (t *Tx) commit(ctx context.Context) (map[string]uint64, error) {
	t.mu.Lock()
	err := t.usable()
	t.sealed = true
	if err == nil {
		err = t.ensure(ctx)
	}
	t.mu.Unlock()
	if err != nil {
		return nil, commit.Untouched(err)
	}
	a := &assembly{tx: t, holders: map[string]*change{}, expect: map[string]uint64{}, own: map[string]uint64{}, fences: map[string]store.Op{}, planned: map[string]bool{}, written: map[string]bool{}}
	for _, step := range []func(context.Context) error{a.plan, a.judge, a.assemble} {
		if err := step(ctx); err != nil {
			return nil, commit.Untouched(err)
		}
	}
	if len(a.ops) == 0 { // what was read was so at one instant
		revisions := map[string]uint64{}
		for _, c := range t.order {
			revisions[c.base.Key] = c.base.Version()
		}
		return revisions, nil
	}
	b, err := a.batch(ctx)
	if err != nil {
		return nil, commit.Untouched(err)
	}
	first, err := t.store.Batch(ctx, b)
	switch {
	case errors.Is(err, store.ErrWrongRevision), errors.Is(err, store.ErrReplicable):
		t.mu.Lock()
		defer t.mu.Unlock()
		return nil, t.fail(errConflict)
	case errors.Is(err, store.ErrBatchTooLarge), errors.Is(err, store.ErrTooLarge):
		return nil, tooLarge(err)
	case errors.Is(err, store.ErrUnknown):
		return nil, fmt.Errorf("%w: the transaction's commit was sent, and nobody answered in time, also not to the question whether it was done: %w", errs.ErrUnknownOutcome, err)
	case errors.Is(err, store.ErrNoBatches):
		return nil, fmt.Errorf("%w: the bucket's atomic publish was switched off, and cannot be switched on: %w", errs.ErrUnsupportedServer, err)
	case err != nil:
		return nil, commit.Untouched(fmt.Errorf("natsorm: commit the transaction: %w", err))
	}
	revisions := make(map[string]uint64, len(t.order))
	for i, op := range b.Ops {
		if a.planned[op.Key] {
			revisions[op.Key] = first + uint64(i)
		}
	}
	for _, c := range t.order { // what was changed back is as it was
		if !a.planned[c.base.Key] {
			revisions[c.base.Key] = c.base.Version()
		}
	}
	return revisions, nil
}

func tooLarge(err error) error {
	return fmt.Errorf("%w: nothing was sent: %w; a transaction's records, with their index entries and claims, take at most %d messages and %d MB: change fewer records at a time, or use BulkCreate, Update or Destroy outside of a transaction", errs.ErrTxTooLarge, err, store.MaxBatch, store.MaxBatchBytes>>20)
}

// plan makes a plan for every record that is not as it was.
func (a *assembly) plan(context.Context) error {
	for _, c := range a.tx.order {
		for _, claim := range c.after.Claims {
			if other := a.holders[claim.Key]; other != nil {
				return claim.Taken(c.layout.Model().Name, other.id)
			}
			a.holders[claim.Key] = c
		}
		if !c.base.Live() && c.doc == nil || c.base.Live() && c.doc != nil && bytes.Equal(c.base.Value, c.doc) {
			continue
		}
		var before *layout.Footprint
		if c.base.Live() {
			if f, err := layout.At(c.layout, c.base.Key, c.base.Value); err == nil {
				before = &f
			}
		}
		var after *layout.Footprint
		if c.doc != nil {
			after = &c.after
		}
		p := a.tx.View(c.layout).Writer().MakePlan(c.base, before, after, c.doc, c.layout.Owner(c.id))
		a.plans, a.of = append(a.plans, p), append(a.of, c)
		a.planned[p.Record] = true
	}
	return nil
}

// judge finds out for every claim that is to be taken who has it, and whether they
// still hold the value when the transaction is done.
func (a *assembly) judge(ctx context.Context) error {
	if err := a.prefetch(ctx); err != nil {
		return err
	}
	for i, p := range a.plans {
		c := a.of[i]
		view := a.tx.View(c.layout)
		for _, key := range p.Claimed() {
			have, err := a.outside(ctx, view, key)
			if err != nil {
				return err
			}
			if have.Live() && bytes.Equal(have.Value, p.Owner) {
				a.own[key] = have.Revision
			}
		}
		for _, claim := range p.Claims {
			have, err := a.outside(ctx, view, claim.Key)
			if err != nil {
				return err
			}
			a.expect[claim.Key] = have.Revision
			if !have.Live() || bytes.Equal(have.Value, p.Owner) {
				continue
			}
			owner, err := c.layout.ReadOwner(have.Value)
			if err != nil {
				return commit.CorruptClaim(claim.Key, err)
			}
			record := c.layout.RecordKey(owner)
			if a.planned[record] {
				continue // it is written, and does not hold the value then, or plan had said so
			}
			other, err := a.outside(ctx, view, record)
			if err != nil {
				return err
			}
			if commit.Newer(c.layout, other) { // the commit would be refused, because the model was altered
				a.tx.mu.Lock()
				defer a.tx.mu.Unlock()
				return a.tx.conflict(record)
			}
			if commit.Holds(c.layout, other, claim.Key) {
				return claim.Taken(c.layout.Model().Name, owner)
			}
			a.fences[record] = commit.FenceOp(other)
		}
	}
	return nil
}

// prefetch reads all claims that judge will ask for, in few requests.
func (a *assembly) prefetch(ctx context.Context) error {
	var claims []string
	for _, p := range a.plans {
		for _, c := range p.Claims {
			claims = append(claims, c.Key)
		}
		claims = append(claims, p.Claimed()...)
	}
	if len(claims) == 0 {
		return nil
	}
	return a.tx.View(a.of[0].layout).outsideEach(ctx, claims, func(int, store.Message) {})
}

// outside reads a key as it is outside of the transaction.
func (a *assembly) outside(ctx context.Context, v *View, key string) (store.Message, error) {
	if e, ok := v.known(key); ok {
		return e, nil
	}
	found, err := a.tx.read(ctx, []string{key})
	if err != nil {
		return store.Message{}, err
	}
	if len(found) == 0 {
		return store.Message{Key: key}, nil
	}
	return found[0], nil
}

// assemble makes the writes: each key once.
func (a *assembly) assemble(ctx context.Context) error {
	add := func(op store.Op) {
		if !a.written[op.Key] {
			a.written[op.Key] = true
			if revision, guarded := a.tx.keys[op.Key]; guarded && !op.Conditional {
				op.Conditional, op.Expect = true, revision
			}
			a.ops = append(a.ops, op)
		}
	}
	var models []layout.Layout
	plans := map[string][]*commit.Plan{} // by model
	for i, p := range a.plans {
		l := a.of[i].layout
		name := l.Model().Name
		if plans[name] == nil {
			models = append(models, l)
		}
		plans[name] = append(plans[name], p)
	}
	for _, l := range models {
		ops, err := a.tx.View(l).Writer().Ops(ctx, plans[l.Model().Name], func(key string) uint64 { return a.expect[key] }, a.own)
		if err != nil {
			return err
		}
		for _, op := range ops {
			if op.Delete && a.holders[op.Key] != nil {
				continue // the claim goes to another record
			}
			add(op)
		}
	}
	for _, op := range a.fences {
		add(op)
	}
	return nil
}

// batch adds the guards.
func (a *assembly) batch(ctx context.Context) (store.Batch, error) {
	b := store.Batch{Ops: a.ops}
	if len(a.ops) > store.MaxBatch {
		return b, tooLarge(fmt.Errorf("%d messages", len(a.ops)))
	}
	whole := false
	for key, revision := range a.tx.keys {
		if !a.written[key] {
			b.Guards = append(b.Guards, store.Guard{Key: key, Revision: revision})
		}
	}
	// A lookup is guarded by its head and by its pattern. The head is enough where every
	// writer knows that there may be replicas. The pattern is enough where there are none,
	// and a writer that knows so, or another version of the program, writes no heads.
	replicable := a.tx.store.Traits().Replicable
	for pattern, s := range a.tx.ranges {
		b.Guards = append(b.Guards, store.Guard{Key: pattern, Revision: s.last})
		switch {
		case !s.large && s.headed:
		case replicable: // a scan; or a lookup that began before that was known
			whole = true
		default:
			b.Lone = true
		}
	}
	if whole || b.Messages() > store.MaxBatch {
		a.tx.mu.Lock()
		revision, err := a.tx.revalidate(ctx)
		a.tx.mu.Unlock()
		if err != nil {
			return b, err
		}
		b.Guards, b.After, b.Lone = nil, &revision, false
	}
	slices.SortFunc(b.Guards, func(x, y store.Guard) int { return bytes.Compare([]byte(x.Key), []byte(y.Key)) })
	return b, nil
}
