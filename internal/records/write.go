package records

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/document"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/keyset"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// Change is what a call does to one record. Every write of a record goes through one.
type Change struct {
	// Next makes the new document from the record before the change. It may be called
	// several times, each time with what others have written meanwhile. An error ends the
	// change.
	Next func(before store.Message) (commit.Draft, error)

	// Done is called once when the record was written, with its new revision; nil for
	// nothing.
	Done func(revision uint64)
}

// Target says which record a change is for.
type Target struct {
	ID   value.Value // the primary key
	New  bool        // the record is believed to be absent: Next is asked before anything is read
	Many bool        // the change is one of many that come at the same time

	found *store.Message    // the record as a query has found it, or nil
	keys  *layout.Footprint // the footprint of found
}

// Write makes a change. Its errors are those of Next, a *UniqueError, ErrUnknownOutcome,
// and others of commit.Writer.Apply.
func (m *Model) Write(ctx context.Context, t Target, c Change) error {
	ch := commit.Change{ID: t.ID, Many: t.Many, Assume: t.found, Held: t.keys, Next: c.Next}
	if t.New {
		ch.Assume = &store.Message{}
	}
	by := m
	if m.fence != nil {
		by = m.fence.Last()
	}
	for {
		ch.Next = by.naming(c.Next)
		if by != m { // the call is long, and the schema has changed since it began
			ch.Held, ch.Next = nil, by.instead(m, c.Next)
		}
		now, out, err := by.write(ctx, ch)
		if now != by {
			by, ch.Assume, ch.Held = now, nil, nil
			continue
		}
		if err == nil && out.Written {
			if !m.inside {
				m.written.Add(1)
			}
			if c.Done != nil {
				c.Done(out.Revision)
			}
		}
		return err
	}
}

// naming is a change's Next that sees and makes documents in the names of the version m, and makes
// only such as fit it.
func (m *Model) naming(next func(store.Message) (commit.Draft, error)) func(store.Message) (commit.Draft, error) {
	if m.names == nil && m.both == nil {
		return next
	}
	return func(before store.Message) (commit.Draft, error) {
		before.Value = m.names.Apply(before.Value)
		draft, err := next(before)
		if err == nil {
			err = m.fits(draft.Doc)
		}
		return draft, err
	}
}

// instead is the Next of a change that is made by the version m, while the call works by an older
// one: it sees and makes documents in the names and types of that one.
func (m *Model) instead(of *Model, next func(store.Message) (commit.Draft, error)) func(store.Message) (commit.Draft, error) {
	n := of.in(m)
	return m.naming(func(before store.Message) (commit.Draft, error) {
		doc, err := n.from(before.Key, before.Value)
		if err != nil {
			return commit.Draft{}, err
		}
		before.Value = of.names.Apply(doc)
		draft, err := next(before)
		if e := n.types.Widen(draft.Doc); err == nil && e != nil {
			err = document.Invalid(m.Def.Name, e)
		}
		draft.Doc = m.names.Apply(draft.Doc)
		draft.Keys, draft.SameKeys = nil, false // which are by the version that of is
		return draft, err
	})
}

// write makes a change by the version of the model that m is. Another version of it means
// that the change is to be made by that one: nothing was done, because of what m found, and
// there are the records elsewhere.
func (m *Model) write(ctx context.Context, ch commit.Change) (*Model, commit.Outcome, error) {
	out, err := m.writer.Apply(ctx, ch)
	for newer := new(*commit.NewerError); errors.As(err, newer); {
		now, e := m.newest(ctx, (*newer).Schema)
		if e != nil || now != m {
			return now, out, e
		}
		out, err = m.writer.Apply(ctx, ch)
	}
	switch {
	case m.fence == nil:
	case err == nil && out.Written:
		return m.settled(ctx, ch.ID, out)
	case errors.Is(err, errs.ErrUnknownOutcome):
		m.later(ch.ID, out)
	default:
		now, e := m.fence.Settle(ctx, m)
		if errors.Is(e, errs.ErrDropped) {
			return m, out, e
		}
		if e != nil && (err == nil || !errors.Is(err, errs.ErrUnwritten)) {
			return m, out, fmt.Errorf("%w: it is not known whether %s %s was looked for by the schema that is in force: %w", errs.ErrUnwritten, m.Def.Name, ch.ID.Text(), e)
		}
		if e == nil && !m.SamePlacement(now) {
			return now, out, nil
		}
	}
	return m, out, err
}

// newest is the version by which a change is to be made that met a record of a newer version. It is
// m, which takes such records for its own from then on, where the catalogue has no newer version.
func (m *Model) newest(ctx context.Context, revision uint64) (*Model, error) {
	if m.stale != nil {
		if err := m.stale(ctx, revision); err != nil {
			return m, err
		}
	}
	now := m
	if m.fence != nil {
		var err error
		if now, err = m.fence.Since(ctx, revision); err != nil {
			return m, commit.Untouched(err)
		}
	}
	if now == m {
		m.writer.Trust(revision)
	}
	return now, nil
}

// Modify makes a change to every record that a query selects, many at the same time. It
// returns how many records were selected when they were changed, also those that stay as
// they were. A record that others have changed since the query found it is changed only
// if the query still selects it. The first error ends the call; records that were changed
// before it stay changed, and a *PartialError says how many. In a transaction nothing
// stays.
//
// The query may be asked several times: when a record that was found is no longer
// selected, its value may have gone to one that was not found. Records that were changed
// are remembered and not changed twice.
func (m *Model) Modify(ctx context.Context, q plan.Query, change func() Change) (int, error) {
	p := plan.Make(m.Def, q, plan.Stats{})
	if p.Path == plan.Key && len(p.Keys) == 1 && q.Offset == 0 {
		// The primary key may be all of the condition: then the record can be changed, or
		// destroyed, even if its document cannot be read.
		return m.modify(ctx, Target{ID: p.Keys[0]}, query.Matcher(m.Def, p.Residual(m.Def)), change())
	}
	selects := query.Matcher(m.Def, q.Filter)
	whole := q.Limit < 0 && q.Offset == 0
	var mu sync.Mutex
	const first, later = 1, 2
	done, round := keyset.New(first), uint64(first) // the primary keys of records that were changed
	total, begun := 0, 0
	for by := m; ; begun = total { // by is m, as the records are looked for
		pool := workers.NewPool(ctx, commit.Together)
		var lost atomic.Bool
		elsewhere := false // what was found is, by another version of the model
		found := query.Records(pool.Ctx(), by.source, q)
		if m.inside { // in a transaction, a query that is still being read sees the changes
			found = query.Gathered(found)
		}
		for r, err := range found {
			var target Target
			if err == nil {
				target, err = by.target(r)
			}
			if errors.Is(err, errs.ErrCorrupt) {
				elsewhere = errors.Is(by.Moved(ctx), ErrReplaced)
			}
			if elsewhere { // changes that are under way end by themselves: of one that was broken off it would not be known whether it was made
				break
			}
			if err != nil {
				pool.Fail(err)
				break
			}
			id := target.ID.Text()
			mu.Lock()
			again := round == later && done.Has(id)
			mu.Unlock()
			if again {
				continue
			}
			if begun++; q.Limit >= 0 && begun > q.Limit {
				break
			}
			pool.Do(func(ctx context.Context) (int, error) {
				n, err := m.modify(ctx, target, selects, change())
				switch {
				case n == 0 && err == nil:
					lost.Store(true)
				case n > 0:
					mu.Lock()
					defer mu.Unlock()
					done.First(id, round)
				}
				return n, err
			})
		}
		n, err := pool.Wait()
		total += n
		if err == nil && (total == 0 || elsewhere || p.Path != plan.Scan) {
			e := by.Moved(ctx)
			if e != nil && total == 0 {
				return 0, e
			}
			switch replaced := errors.Is(e, ErrReplaced); {
			case replaced && total == q.Limit:
			case replaced && q.Offset > 0:
				err = fmt.Errorf("%w: the schema of %s was changed while records were changed with an Offset, which does not say any more where to go on", errs.ErrConflict, m.Def.Name)
			case replaced: // the records have moved, or an index is being dropped, and may have been empty already
				if by, err = m.placedAs(m.fence.Last()); err != nil {
					return total, err
				}
				p, round = plan.Make(by.Def, q, plan.Stats{}), later
				continue
			case elsewhere:
				err = e
			}
		}
		// A scan finds every record, so only lookups can have missed one.
		if err == nil && whole && lost.Load() && p.Path != plan.Scan {
			round = later
			continue
		}
		if err != nil && total > 0 && !m.inside {
			err = &errs.PartialError{Model: m.Def.Name, Changed: total, Err: err}
		}
		return total, err
	}
}

// placedAs is m with the keys that another version of the model has, and without the indexes that this
// one does not have. Its columns stay those of m, in their places, by which queries were made.
func (m *Model) placedAs(now *Model) (*Model, error) {
	def := *m.Def
	def.Layout, def.Shards, def.Placed = now.Def.Layout, now.Def.Shards, now.Def.Placed
	def.Indexes = slices.DeleteFunc(slices.Clone(m.Def.Indexes), func(x schema.Index) bool { return !x.Among(now.Def.Indexes) })
	n, err := New(m.store, &def)
	if err == nil {
		n.Under(m.fence)
	}
	return n, err
}

// Selected is what ModifyOne has found.
type Selected int

const (
	Changed Selected = iota // a record that the query selects, which was changed
	Other                   // the record that has the key or the unique value asked for, but which does not fulfil the rest
	Nothing                 // no such record
)

// These end a change of ModifyOne. As every error that tells what was read, they are only
// believed when the record was read as a majority of the servers has it; see package commit.
var (
	errNothing = fmt.Errorf("%w: no such record", errs.ErrNotFound)
	errOther   = fmt.Errorf("%w: it is not selected", errs.ErrConflict)
)

// ModifyOne makes a change to the first record that a query selects, at a moment when the
// query selects it. id is that of the record of Other. Its errors are those of Write. A
// record that cannot be read is passed over; it is the error when there is no other.
func (m *Model) ModifyOne(ctx context.Context, q plan.Query, c Change) (found Selected, id string, err error) {
	if q.Limit == 0 {
		return Nothing, "", nil
	}
	p := plan.Make(m.Def, q, plan.Stats{})
	if p.Path == plan.Key && len(p.Keys) == 1 && q.Offset == 0 { // as in Modify
		err := m.Write(ctx, Target{ID: p.Keys[0]}, selecting(query.Matcher(m.Def, p.Residual(m.Def)), c, errNothing, errOther))
		switch {
		case errors.Is(err, errNothing):
			return Nothing, "", nil
		case errors.Is(err, errOther):
			return Other, p.Keys[0].Text(), nil
		}
		return Changed, "", err
	}
	selects := query.Matcher(m.Def, q.Filter)
	corrupt := map[string]error{} // the records that were passed over
	for agreed := m.inside; ; {
		r, unreadable, err := m.first(ctx, q, corrupt)
		if err != nil {
			return Nothing, "", err
		}
		if !r.Live() && !agreed { // a replica may not have it yet
			if err := m.Agree(ctx); err != nil {
				return Nothing, "", err
			}
			agreed = true
			continue
		}
		if !r.Live() && unreadable != nil { // or it is elsewhere, and was taken for one that cannot be read
			return Nothing, "", cmp.Or(m.Moved(ctx), unreadable)
		}
		if identity, ok := query.IdentityIn(m.Def, q.Filter, false); !r.Live() && ok && q.Offset == 0 {
			other, err := m.First(ctx, identity.Query(m.Def))
			if err != nil {
				return Nothing, "", err
			}
			switch ok, err := selects(other); {
			case err != nil:
				return Nothing, "", err
			case ok: // it has come between the two looks
				continue
			case other.Live():
				return Other, keys.RecordID(other.Key), nil
			}
		}
		if !r.Live() {
			return Nothing, "", m.Moved(ctx)
		}
		target, err := m.target(r)
		n := 0
		if err == nil {
			target.Many = false
			n, err = m.modify(ctx, target, selects, c)
		}
		switch {
		case errors.Is(err, errs.ErrCorrupt):
			corrupt[r.Key] = err
		case n > 0 || err != nil:
			return Changed, "", err
		}
		// Otherwise somebody has changed it meanwhile: perhaps another one is selected.
	}
}

// First is the first record that a query selects; one that is not live when there is none.
// The error is that of a record that cannot be read, when there is no other, or of Moved when
// there may be one.
func (m *Model) First(ctx context.Context, q plan.Query) (store.Message, error) {
	r, unreadable, err := m.first(ctx, q, nil)
	if err == nil && !r.Live() { // the index may be empty already, because it is being dropped
		err = cmp.Or(m.Moved(ctx), unreadable)
	}
	return r, err
}

// first is the first record that a query selects and that is not among those to pass over.
// unreadable is the error of one that was passed over, if there is any.
func (m *Model) first(ctx context.Context, q plan.Query, pass map[string]error) (r store.Message, unreadable, err error) {
	for _, err := range pass {
		unreadable = err
	}
	q.Limit = 1 + len(pass)
	for r, err := range query.Records(ctx, m.source, q) {
		switch {
		case errors.Is(err, errs.ErrCorrupt):
			unreadable = err
		case err != nil:
			return store.Message{}, nil, err
		case pass[r.Key] == nil:
			return r, unreadable, nil
		}
	}
	return store.Message{}, unreadable, ctx.Err()
}

// selecting is a change of a record that is selected at that moment. Otherwise the change
// ends with absent, when there is no record, or with other. A record that would stay as it
// is is left.
func selecting(selects func(store.Message) (bool, error), c Change, absent, other error) Change {
	next := c.Next
	c.Next = func(before store.Message) (commit.Draft, error) {
		if !before.Live() {
			return commit.Draft{}, absent
		}
		if ok, err := selects(before); err != nil || !ok {
			return commit.Draft{}, cmp.Or(err, other)
		}
		draft, err := next(before)
		if err == nil && draft.Doc != nil && bytes.Equal(draft.Doc, before.Value) {
			err = commit.ErrLeave
		}
		return draft, err
	}
	return c
}

// errUnselected is commit.ErrLeave, told from a record that stays as it is.
var errUnselected = fmt.Errorf("%w: it is not selected", commit.ErrLeave)

// modify changes one record if it is still selected. It returns 1 if it is, and else 0.
func (m *Model) modify(ctx context.Context, t Target, selects func(store.Message) (bool, error), c Change) (int, error) {
	var last error
	ch := selecting(selects, c, errUnselected, errUnselected)
	next := ch.Next
	ch.Next = func(before store.Message) (draft commit.Draft, err error) {
		draft, last = next(before)
		return draft, last
	}
	if err := m.Write(ctx, t, ch); err != nil || last == errUnselected {
		return 0, err
	}
	return 1, nil
}

// Found makes the Target of a record that was found among many, as it was read. ErrCorrupt when
// its document cannot be read.
func (m *Model) Found(r store.Message) (Target, error) {
	f, err := layout.At(m.Layout, r.Key, r.Value)
	if err != nil {
		return Target{}, errs.Corrupt(m.Def.Name, r.Key, err)
	}
	return Target{ID: f.ID, Many: true, found: &r, keys: &f}, nil
}

// target is Found of a record that a query has found, in the names of m. The writer has to read it
// again where it may have other names in the bucket.
func (m *Model) target(r store.Message) (Target, error) {
	t, err := m.Found(r)
	if m.viewed(r) {
		t.found, t.keys = nil, nil
	}
	return t, err
}
