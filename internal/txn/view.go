package txn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
)

// View is the bucket as a transaction sees it, for one model: as of one instant,
// with the transaction's own writes on top.
type View struct {
	store.Store
	tx     *Tx
	layout layout.Layout
}

// View is the transaction's view of a model.
func (t *Tx) View(l layout.Layout) *View { return &View{Store: t.store, tx: t, layout: l} }

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
		if !keys.IsLookup(pattern) && keys.Matches(pattern, key) { // no lookup's matches a record
			return true
		}
	}
	return false
}

func (v *View) Get(ctx context.Context, key string) (store.Message, error) {
	found, err := v.GetMany(ctx, []string{key})
	if err != nil {
		return store.Message{}, err
	}
	return found[0], nil
}

func (v *View) GetLatest(ctx context.Context, key string) (store.Message, error) {
	return v.Get(ctx, key)
}

func (v *View) GetMany(ctx context.Context, keys []string) ([]store.Message, error) {
	out := make([]store.Message, len(keys))
	for i, key := range keys {
		out[i].Key = key
	}
	err := v.GetEach(ctx, keys, func(i int, e store.Message) { out[i] = e })
	return out, err
}

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

// Lookup reads the heads of lookups with them where they are what guards them.
func (v *View) Lookup(ctx context.Context, patterns []string, _ int) (found []store.Message, rest int, asOf uint64, err error) {
	ask := patterns
	if v.Replicated() {
		ask = append([]string(nil), patterns...)
		for _, p := range patterns {
			if keys.IsLookup(p) {
				ask = append(ask, v.layout.HeadOf(p))
			}
		}
	}
	all, err := v.tx.read(ctx, ask)
	if err != nil {
		return nil, 0, 0, err
	}
	wanted := keys.NewMatcher(patterns)
	for _, e := range all {
		if e.Live() && wanted.Has(e.Key) {
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
	wanted := keys.NewMatcher(patterns)
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
		if wanted.Has(c.base.Key) {
			out = append(out, c.entry())
		}
		for _, key := range c.after.Entries {
			if v.layout.Lists() == nil && wanted.Has(key) {
				out = append(out, store.Message{Key: key, Revision: c.revision})
			}
		}
		for _, claim := range c.after.Claims {
			if wanted.Has(claim.Key) {
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

func (v *View) Match(ctx context.Context, patterns []string) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		for _, p := range patterns {
			for e, err := range v.Scan(ctx, p, store.ScanOptions{}) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// Scan reads everything before it delivers the first entry: only then is it known
// to be as of one instant.
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
		for _, e := range found {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (v *View) Count(ctx context.Context, pattern string) (n int, err error) {
	for _, err := range v.Scan(ctx, pattern, store.ScanOptions{}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Revision, Changes and Since are for reads that take several requests and must agree:
// here all do.
func (v *View) Revision(context.Context) (uint64, error) { return 0, nil }

func (v *View) Changes(context.Context, string, uint64) ([]store.Message, error) { return nil, nil }

func (v *View) Since(context.Context, string, uint64) ([]store.Message, error) { return nil, nil }

func (v *View) Feed(context.Context, string) (store.Feed, error) { return nil, errNotHere }

func (v *View) Write(_ context.Context, ops ...store.Op) []store.Result {
	out := make([]store.Result, len(ops))
	for i := range out {
		out[i].Err = errNotHere
	}
	return out
}

func (v *View) Share(context.Context, []store.Op) (uint64, error) { return 0, errNotHere }

func (v *View) Batch(context.Context, store.Batch) (uint64, error) { return 0, errNotHere }

var errNotHere = fmt.Errorf("%w: not inside a transaction; use the model itself", errs.ErrInvalid)
