package txn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// View is the bucket as a transaction sees it, for one model: as it was at the
// transaction's instant, with the transaction's own writes on top.
//
// It is a store.Store by itself, so that whatever is read through it is noted and
// guarded. What cannot be guarded, or is not for transactions, is refused with an
// error that is errs.ErrInvalid; Size alone is neither, because it is an estimate.
type View struct {
	tx     *Tx
	layout layout.Layout
}

var _ store.Store = (*View)(nil)

// View is the transaction's view of a model.
func (t *Tx) View(l layout.Layout) *View { return &View{tx: t, layout: l} }

// Writer stages changes of the model's records in the transaction.
func (v *View) Writer() *commit.Writer {
	return commit.NewStagingWriter(v, v.layout, func(ctx context.Context, id value.Value, p *commit.Plan) (uint64, error) {
		return v.tx.stage(ctx, v.layout, id, p)
	})
}

// own is a record that the transaction has changed.
func (v *View) own(key string) (store.Message, bool) {
	v.tx.mu.Lock()
	defer v.tx.mu.Unlock()
	if c, ok := v.tx.changes[key]; ok {
		return c.entry(), true
	}
	return store.Message{}, false
}

// known is a key that was read before, and is still the same as far as the
// transaction is concerned.
func (v *View) known(key string) (store.Message, bool) {
	v.tx.mu.Lock()
	defer v.tx.mu.Unlock()
	if v.tx.unsure {
		return store.Message{}, false
	}
	e, ok := v.tx.entries[key]
	if ok {
		if _, guarded := v.tx.keys[key]; !guarded && !v.tx.spanned(key) {
			v.tx.keys[key] = e.Revision
		}
	}
	return e, ok
}

// spanned reports whether a pattern that was read guards the key.
func (t *Tx) spanned(key string) bool {
	for pattern := range t.ranges {
		if !isLookup(pattern) && matches(pattern, key) { // no lookup's matches a record
			return true
		}
	}
	return false
}

// Get reads a key once; later it is as it was then.
func (v *View) Get(ctx context.Context, key string) (store.Message, error) {
	found, err := v.GetMany(ctx, []string{key})
	if err != nil {
		return store.Message{}, err
	}
	return found[0], nil
}

// GetLatest is Get: the commit finds out whether the key is still the same.
func (v *View) GetLatest(ctx context.Context, key string) (store.Message, error) {
	return v.Get(ctx, key)
}

// GetMany is GetEach into a slice.
func (v *View) GetMany(ctx context.Context, keys []string) ([]store.Message, error) {
	out := make([]store.Message, len(keys))
	for i, key := range keys {
		out[i].Key = key
	}
	if err := v.GetEach(ctx, keys, func(i int, e store.Message) { out[i] = e }); err != nil {
		return nil, err
	}
	return out, nil
}

// GetEach reads the keys that the transaction has neither changed nor read.
func (v *View) GetEach(ctx context.Context, keys []string, each func(i int, e store.Message)) error {
	if err := v.tx.Usable(); err != nil {
		return err
	}
	var others []string
	var at []int
	for i, key := range keys {
		if e, ok := v.own(key); ok {
			each(i, e)
		} else {
			others, at = append(others, key), append(at, i)
		}
	}
	return v.outsideEach(ctx, others, func(i int, e store.Message) { each(at[i], e) })
}

// outsideEach is GetEach without the transaction's own writes.
func (v *View) outsideEach(ctx context.Context, keys []string, each func(i int, e store.Message)) error {
	at := map[string][]int{}
	var ask []string
	for i, key := range keys {
		if e, ok := v.known(key); ok {
			each(i, e)
		} else {
			if at[key] == nil {
				ask = append(ask, key)
			}
			at[key] = append(at[key], i)
		}
	}
	most := maxRead
	for len(ask) > 0 {
		n, size := 0, 0
		for n < min(most, len(ask)) && size < maxReadBytes {
			size += len(ask[n])
			n++
		}
		found, err := v.tx.read(ctx, ask[:n])
		if errors.Is(err, store.ErrTooMany) && n > 1 { // the payload limit is small
			most = n / 2
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range found {
			for _, i := range at[e.Key] {
				each(i, e)
			}
		}
		ask = ask[n:]
	}
	return nil
}

// Lookup reads the heads of lookups too where they are what guards them. No limit
// holds: what the transaction would leave out now, it could not guard.
func (v *View) Lookup(ctx context.Context, patterns []string, _ int) (found []store.Message, rest int, asOf uint64, err error) {
	ask := patterns
	if v.tx.store.Replicated() {
		ask = append([]string(nil), patterns...)
		for _, p := range patterns {
			if isPattern(p) && strings.HasPrefix(p, v.layout.Model().Name+".index.") {
				ask = append(ask, v.layout.HeadOf(p))
			}
		}
	}
	all, err := v.tx.read(ctx, ask)
	if err != nil {
		return nil, 0, 0, err
	}
	wanted := newMatcher(patterns)
	for _, e := range all {
		if e.Live() && wanted.has(e.Key) {
			found = append(found, e)
		}
	}
	return v.overlay(found, patterns), 0, 0, nil
}

// overlay replaces what records that the transaction has changed had under
// patterns by what they have now.
func (v *View) overlay(found []store.Message, patterns []string) []store.Message {
	v.tx.mu.Lock()
	defer v.tx.mu.Unlock()
	if len(v.tx.changes) == 0 {
		return found
	}
	wanted := newMatcher(patterns)
	out := make([]store.Message, 0, len(found))
	for _, e := range found {
		if v.tx.changes[v.recordOf(e)] == nil {
			out = append(out, e)
		}
	}
	for _, c := range v.tx.order {
		if c.layout.Model().Name != v.layout.Model().Name || c.doc == nil {
			continue
		}
		if wanted.has(c.base.Key) {
			out = append(out, c.entry())
		}
		for _, key := range c.after.Entries {
			if v.layout.Lists() == nil && wanted.has(key) {
				out = append(out, store.Message{Key: key, Revision: c.revision})
			}
		}
		for _, claim := range c.after.Claims {
			if wanted.has(claim.Key) {
				out = append(out, store.Message{Key: claim.Key, Value: v.layout.Owner(c.id), Revision: c.revision})
			}
		}
	}
	if v.layout.Lists() != nil {
		out = v.lists(out, patterns)
	}
	return out
}

// recordOf is the key of the record that a record, entry or claim belongs to.
func (v *View) recordOf(e store.Message) string {
	if !v.layout.IsClaim(e.Key) && !v.layout.IsEntry(e.Key) || v.layout.Lists() != nil {
		return e.Key
	}
	to, err := v.layout.Pointers(nil, e.Key, e.Value)
	if err != nil {
		return ""
	}
	return to[0]
}

// lists is what found has of lists, as the transaction's changes make them.
func (v *View) lists(found []store.Message, asked []string) []store.Message {
	for _, key := range asked {
		if !v.layout.IsEntry(key) {
			continue
		}
		var leave []string
		var join []value.Value
		revision := uint64(0)
		for _, c := range v.tx.order {
			if c.layout.Model().Name != v.layout.Model().Name {
				continue
			}
			leave = append(leave, c.base.Key)
			if c.doc != nil && c.after.Holds(key) {
				join, revision = append(join, c.id), c.revision
			}
		}
		at := slices.IndexFunc(found, func(e store.Message) bool { return e.Key == key })
		list := store.Message{Key: key, Revision: revision}
		if at >= 0 {
			list = found[at]
		}
		left, err := v.layout.Lists().Leave(list.Value, leave...)
		if err == nil {
			left, err = v.layout.Lists().Join(left, join...)
		}
		if err != nil {
			continue // whoever reads it says so
		}
		list.Value = left
		switch {
		case at >= 0 && left == nil:
			found = slices.Delete(found, at, at+1)
		case at >= 0:
			found[at] = list
		case left != nil:
			found = append(found, list)
		}
	}
	return found
}

// Match scans each pattern.
func (v *View) Match(ctx context.Context, patterns []string) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		for _, p := range patterns {
			for m, err := range v.Scan(ctx, p, store.ScanOptions{}) {
				if !yield(m, err) || err != nil {
					return
				}
			}
		}
	}
}

// Scan reads everything before it delivers the first message: only then is it known
// that all of it is as it was at the transaction's instant.
func (v *View) Scan(ctx context.Context, pattern string, _ store.ScanOptions) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		found, _, _, err := v.Lookup(ctx, []string{pattern}, 0)
		if errors.Is(err, store.ErrTooMany) {
			if found, err = v.tx.scan(ctx, pattern); err == nil {
				found = v.overlay(found, []string{pattern})
			}
		}
		if err != nil {
			yield(store.Message{}, err)
			return
		}
		for _, m := range found {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// Count counts what Scan delivers.
func (v *View) Count(ctx context.Context, pattern string) (n int, err error) {
	for _, err := range v.Scan(ctx, pattern, store.ScanOptions{}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Size is the bucket's, and is not guarded: plans are chosen by it, and nothing that
// a transaction reads depends on the choice.
func (v *View) Size(ctx context.Context, pattern string) (int, error) {
	if err := v.tx.Usable(); err != nil {
		return 0, err
	}
	return v.tx.store.Size(ctx, pattern)
}

// Revision, Changes and Since make reads agree that take several requests. Here all
// reads agree, so nothing is written after any revision.

func (v *View) Revision(context.Context) (uint64, error) { return 0, v.tx.Usable() }

func (v *View) Changes(context.Context, string, uint64) ([]store.Message, error) {
	return nil, v.tx.Usable()
}

func (v *View) Since(context.Context, string, uint64) ([]store.Message, error) {
	return nil, v.tx.Usable()
}

// CatchUp and Barrier are the bucket's. They read nothing; a key that is read later is
// at least as new, and one that was read already stays as it was.

func (v *View) CatchUp(ctx context.Context) error {
	if err := v.tx.Usable(); err != nil {
		return err
	}
	return v.tx.store.CatchUp(ctx)
}

func (v *View) Barrier(ctx context.Context) error {
	if err := v.tx.Usable(); err != nil {
		return err
	}
	return v.tx.store.Barrier(ctx)
}

// What is written goes into the batch of the commit, by Writer.

func (v *View) Writes() store.Way { return store.Atomic }

func (v *View) BeginChange(bool) store.Way { return store.Atomic }

func (v *View) EndChange() {}

func (v *View) Replicated() bool { return v.tx.store.Replicated() }

func (v *View) MaxValue() int { return v.tx.store.MaxValue() }

// What a transaction cannot do.

func (v *View) Read(context.Context, []string) ([]store.Message, uint64, error) {
	return nil, 0, refuse("an isolated read that shows delete markers")
}

func (v *View) Last(context.Context, string) (uint64, error) {
	return 0, refuse("the last revision under a pattern")
}

func (v *View) Whole(context.Context) (uint64, error) {
	return 0, refuse("the bucket's revision")
}

func (v *View) Feed(context.Context, string) (store.Feed, error) { return nil, refuse("a watch") }

func (v *View) Write(_ context.Context, ops ...store.Op) []store.Result {
	out := make([]store.Result, len(ops))
	for i := range out {
		out[i].Err = refuse("a write outside of its commit")
	}
	return out
}

func (v *View) Share(context.Context, []store.Op) (uint64, error) {
	return 0, refuse("a write outside of its commit")
}

func (v *View) Batch(context.Context, store.Batch) (uint64, error) {
	return 0, refuse("a write outside of its commit")
}

func refuse(what string) error {
	return fmt.Errorf("%w: %s is not for transactions; use the model itself", errs.ErrInvalid, what)
}
