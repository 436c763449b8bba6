package txn

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
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
	return commit.NewStagingWriter(v, v.layout, func(id value.Value, p *commit.Plan) (uint64, error) {
		return v.tx.stage(v.layout, id, p)
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
	e, ok := v.tx.messages[key]
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

// Get reads a key once; later it is as it was then.
func (v *View) Get(ctx context.Context, key string) (store.Message, error) {
	found, err := store.GetMany(ctx, v, []string{key})
	if err != nil {
		return store.Message{}, err
	}
	return found[0], nil
}

// GetLatest is Get: the commit finds out whether the key is still the same.
func (v *View) GetLatest(ctx context.Context, key string) (store.Message, error) {
	return v.Get(ctx, key)
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
		for n < min(most, len(ask)) && size < store.MaxPatternBytes {
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

// Read reads the heads of lookups too where they are what guards them. No Limit holds:
// what the transaction would leave out now, it could not guard. An exact read is
// refused: it would show delete markers that the transaction's own writes replace.
func (v *View) Read(ctx context.Context, l store.Lookup) (store.Answer, error) {
	if l.Exact {
		return store.Answer{}, refuse("an exact read that shows delete markers")
	}
	found, err := v.read(ctx, l.Patterns)
	return store.Answer{Messages: found}, err
}

func (v *View) read(ctx context.Context, patterns []string) (found []store.Message, err error) {
	ask := patterns
	heads := v.tx.store.Traits().Replicable
	if heads {
		ask = append([]string(nil), patterns...)
		for _, p := range patterns {
			if keys.IsLookup(p) {
				ask = append(ask, v.layout.HeadOf(p))
			}
		}
	}
	all, err := v.tx.read(ctx, ask)
	if err != nil {
		return nil, err
	}
	if heads {
		v.tx.headed(patterns)
	}
	wanted := keys.NewMatcher(patterns)
	for _, e := range all {
		if e.Live() && wanted.Has(e.Key) {
			found = append(found, e)
		}
	}
	return v.overlay(found, patterns), nil
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
	var records, index []string       // what changed records have under the patterns
	holders := map[string][]*change{} // of the index keys
	for _, c := range v.tx.order {
		if c.layout.Model().Name != v.layout.Model().Name || c.doc == nil {
			continue
		}
		if wanted.Has(c.base.Key) {
			records = append(records, c.base.Key)
		}
		for key := range c.after.IndexKeys() {
			if !wanted.Has(key) {
				continue
			}
			if holders[key] == nil {
				index = append(index, key)
			}
			holders[key] = append(holders[key], c)
		}
	}
	out := make([]store.Message, 0, len(found)+len(records)+len(index))
	for _, e := range found {
		switch {
		case v.layout.IsEntry(e.Key) || v.layout.IsClaim(e.Key):
			out = v.overlaid(out, e, holders[e.Key])
			delete(holders, e.Key)
		case v.tx.changes[e.Key] == nil:
			out = append(out, e)
		}
	}
	for _, key := range records {
		out = append(out, v.tx.changes[key].entry())
	}
	for _, key := range index {
		if by := holders[key]; by != nil { // nothing was there
			out = v.overlaid(out, store.Message{Key: key}, by)
		}
	}
	return out
}

// overlaid appends what an entry or a claim holds with the transaction's changes, of
// which those of now have its value.
func (v *View) overlaid(to []store.Message, e store.Message, now []*change) []store.Message {
	var held *[]byte
	if e.Live() {
		held = &e.Value
	}
	ids := make([]value.Value, len(now))
	for i, c := range now {
		ids[i] = c.id
	}
	texts, err := v.layout.Overlay(e.Key, held, func(record string) bool { return v.tx.changes[record] != nil }, ids)
	if err != nil {
		return append(to, e) // whoever reads it says so
	}
	for _, text := range texts {
		m := store.Message{Key: e.Key, Value: text, Revision: e.Revision}
		if m.Revision == 0 {
			m.Revision = now[len(now)-1].revision
		}
		to = append(to, m)
	}
	return to
}

// Scan reads everything before it delivers the first message: only then is it known
// that all of it is as it was at the transaction's instant.
func (v *View) Scan(ctx context.Context, pattern string, opts store.ScanOptions) iter.Seq2[store.Message, error] {
	return func(yield func(store.Message, error) bool) {
		found, err := v.read(ctx, []string{pattern})
		if errors.Is(err, store.ErrTooMany) {
			if found, err = v.tx.scan(ctx, pattern, opts.After); err == nil {
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

// Count counts what Scan delivers. An estimate is the bucket's and is not guarded: plans
// are chosen by it, and nothing that a transaction reads depends on the choice.
func (v *View) Count(ctx context.Context, pattern string, p store.Precision) (n int, err error) {
	if p == store.About {
		if err := v.tx.Usable(); err != nil {
			return 0, err
		}
		return v.tx.store.Count(ctx, pattern, p)
	}
	for _, err := range v.Scan(ctx, pattern, store.ScanOptions{}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Changes is for reads that take several requests and have to agree. Here all reads
// agree, so nothing is written after any revision.
func (v *View) Changes(context.Context, string, uint64) ([]store.Message, error) {
	return nil, v.tx.Usable()
}

// Revision asks how far the bucket is, for reads of keys that were not read yet: those
// that were stay as they were. The revision itself is no one's business inside: it is 0.
func (v *View) Revision(ctx context.Context, c store.Certainty) (uint64, error) {
	err := v.tx.Usable()
	switch {
	case err != nil:
	case c == store.Whole:
		err = refuse("the bucket's revision")
	case c != store.Acknowledged: // reads agree without it
		_, err = v.tx.store.Revision(ctx, c)
	}
	return 0, err
}

// Traits is the bucket's, but for the way in which a record is written: into the batch of
// the commit, by Writer.
func (v *View) Traits() store.Traits {
	t := v.tx.store.Traits()
	t.Writes = store.Atomic
	return t
}

func (v *View) BeginChange(bool) (store.Way, func()) { return store.Atomic, func() {} }

// What a transaction cannot do.

func (v *View) Last(context.Context, string) (uint64, error) {
	return 0, refuse("the last revision under a pattern")
}

func (v *View) Feed(context.Context, store.FeedOptions) (store.Feed, error) {
	return nil, refuse("a watch")
}

func (v *View) Write(_ context.Context, ops ...store.Op) []store.Result {
	out := make([]store.Result, len(ops))
	for i := range out {
		out[i].Err = refuse("a write outside of its commit")
	}
	return out
}

func (v *View) Batch(context.Context, store.Batch) (uint64, error) {
	return 0, refuse("a write outside of its commit")
}

func refuse(what string) error {
	return fmt.Errorf("%w: %s is not for transactions; use the model itself", errs.ErrInvalid, what)
}
