package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// ListChanges is what plans do to index entries that are lists, of several records
// each: every list is written once, checked to be as it was read.
type ListChanges struct {
	layout layout.Layout
	of     map[string]*listChange
}

type listChange struct {
	join  []value.Value
	leave []string // record keys
	doc   []byte   // of one that joins, for messages
}

// NewListChanges is nothing to be done yet, in the lists of a model.
func NewListChanges(l layout.Layout) *ListChanges {
	return &ListChanges{layout: l, of: map[string]*listChange{}}
}

// Add adds what a plan does.
func (c *ListChanges) Add(p *Plan) {
	for _, key := range p.Entries {
		ch := c.at(key)
		ch.join, ch.doc = append(ch.join, p.after.ID), p.Doc
	}
	for _, key := range p.Release {
		ch := c.at(key)
		ch.leave = append(ch.leave, p.Record)
	}
}

func (c *ListChanges) at(key string) *listChange {
	if c.of[key] == nil {
		c.of[key] = &listChange{}
	}
	return c.of[key]
}

// Keys are the lists that change, in order.
func (c *ListChanges) Keys() []string {
	out := make([]string, 0, len(c.of))
	for key := range c.of {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// Ops are the writes of the lists, which hold what is given. One that a record joins
// is written even when the record is in it already: so whoever is about to take it
// out, for what they have seen before, can not.
func (c *ListChanges) Ops(held []store.Message, limit int) ([]store.Op, error) {
	ops := make([]store.Op, 0, len(held))
	for _, have := range held {
		ch := c.of[have.Key]
		next, err := ch.apply(c.layout, have)
		switch {
		case err != nil:
			return nil, c.corrupt(have.Key, err)
		case len(next) > limit && len(ch.join) > 0:
			return nil, c.tooLong(have.Key, ch, next, limit)
		case len(ch.join) == 0 && bytes.Equal(next, have.Value):
			continue
		}
		ops = append(ops, listOp(have, next))
	}
	return ops, nil
}

func (ch *listChange) apply(l layout.Layout, have store.Message) (list []byte, err error) {
	if have.Live() {
		list = have.Value
	}
	if len(ch.leave) > 0 {
		if list, err = l.Lists().Leave(list, ch.leave...); err != nil {
			return nil, err
		}
	}
	if len(ch.join) > 0 {
		list, err = l.Lists().Join(list, ch.join...)
	}
	return list, err
}

// listOp writes a list that was read; nil deletes it, with a plain marker.
func listOp(have store.Message, list []byte) store.Op {
	return store.Op{Key: have.Key, Value: list, Delete: list == nil, Conditional: true, Expect: have.Revision}
}

func (c *ListChanges) corrupt(key string, err error) error {
	return &errs.CorruptError{Model: c.layout.Model().Name, Key: key, Err: fmt.Errorf("%w; Check with Repair makes it anew", err)}
}

func (c *ListChanges) tooLong(key string, ch *listChange, list []byte, limit int) error {
	column, text := c.layout.Lists().Value(ch.doc, key)
	if column == "" { // only the key is known
		column, _ = keys.IndexOf(c.layout.Model().Name, key, false)
		text = key
	}
	const most = 100 // of a value in a message
	if len(text) > most {
		text = text[:most] + "…"
	}
	return errs.Invalidf(c.layout.Model().Name, column, "the value %q would be shared by %d records, whose ids take %d bytes in one entry, and the server's payload limit leaves %d; use the native layout, whose entries are one record's each (Migrate moves a model there), another value, or raise max_payload",
		text, bytes.Count(list, []byte{','})+1, len(list), limit)
}

// listed executes plans of models whose index entries are lists: in one batch with
// the lists, or, where the bucket takes no batches, the lists that the record joins
// first, then the record, then those that it leaves. Changes of one process that
// have a list in common take turns, for only one of them could commit.
type listed struct {
	w               *Writer
	batches, shared bool
	again           bool            // a plan before was refused
	joined          map[string]bool // by plans before, one by one
}

func (x *listed) oneByOne() executor {
	if !x.batches {
		return nil
	}
	return &listed{w: x.w, again: true, joined: x.joined}
}

func (x *listed) execute(ctx context.Context, p *Plan) (uint64, error) {
	changes := NewListChanges(x.w.layout)
	changes.Add(p)
	names := changes.Keys()
	release, err := x.w.turns.take(ctx, names)
	if err != nil {
		return 0, Untouched(err)
	}
	defer release()
	if x.again { // what a replica has may be what was refused
		if err := x.w.store.CatchUp(ctx); err != nil {
			return 0, Untouched(err)
		}
	}
	x.again = true
	held, err := x.w.store.GetMany(ctx, names)
	if err != nil {
		return 0, Untouched(err)
	}
	ops, err := changes.Ops(held, x.w.store.MaxValue())
	if err != nil {
		return 0, err
	}
	if !x.batches {
		return x.phased(ctx, p, held)
	}
	revision, err := x.send(ctx, append(ops, p.Commit()))
	if err != nil {
		if errors.Is(err, store.ErrWrongRevision) {
			return 0, err
		}
		return 0, outcome(p, err)
	}
	x.clean(ctx, p)
	return revision, nil
}

// send does ops in one step, and returns the last one's revision.
func (x *listed) send(ctx context.Context, ops []store.Op) (uint64, error) {
	return (&atomic{w: x.w, shared: x.shared}).send(ctx, ops)
}

// phased writes one list after the other.
func (x *listed) phased(ctx context.Context, p *Plan, held []store.Message) (uint64, error) {
	if x.joined == nil {
		x.joined = map[string]bool{}
	}
	for _, key := range p.Entries {
		x.joined[key] = true
		if err := x.w.join(ctx, key, p.Doc, p.after.ID); err != nil {
			return 0, Untouched(err)
		}
	}
	res := x.w.store.Write(ctx, p.Commit())[0]
	if res.Err != nil {
		return 0, outcome(p, res.Err)
	}
	// What was read before the commit can be taken out of unjudged: who has joined
	// before that lost its commit, and who joins later writes the list again.
	for _, have := range held {
		if slices.Contains(p.Release, have.Key) && have.Live() {
			left, err := x.w.layout.Lists().Leave(have.Value, p.Record)
			if err == nil && !bytes.Equal(left, have.Value) && x.w.store.Write(ctx, listOp(have, left))[0].Err != nil {
				x.w.leave(ctx, have.Key, p.Record)
			}
		}
	}
	x.clean(ctx, p)
	return res.Revision, nil
}

// clean takes the record out of the lists that plans before this one joined.
func (x *listed) clean(ctx context.Context, p *Plan) {
	for key := range x.joined {
		if !p.after.Holds(key) {
			x.w.leave(ctx, key, p.Record)
		}
	}
}

func (x *listed) abandon(ctx context.Context, w *Writer, cur store.Message) {
	for key := range x.joined {
		w.leave(ctx, key, cur.Key)
	}
}

// join puts records into a list, which is written even when they are in it.
func (w *Writer) join(ctx context.Context, key string, doc []byte, ids ...value.Value) error {
	changes := NewListChanges(w.layout)
	ch := changes.at(key)
	ch.join, ch.doc = ids, doc
	for try := 1; ; try++ {
		have, err := w.store.GetLatest(ctx, key)
		if err != nil {
			return err
		}
		ops, err := changes.Ops([]store.Message{have}, w.store.MaxValue())
		if err != nil {
			return err
		}
		if err := w.store.Write(ctx, ops...)[0].Err; !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return fmt.Errorf("others kept changing the list at key %s: %w", key, err)
		}
	}
}

// leaveTries bounds how often a hot list is tried to be left. A record too many in it
// is harmless here: readers look at the record.
const leaveTries = 16

// leave takes a record out of a list, if it does not hold the value: a writer that is
// about to make it so is fenced off first.
func (w *Writer) leave(ctx context.Context, key, record string) {
	for try := 1; try <= leaveTries; try++ {
		have, err := w.store.GetLatest(ctx, key)
		if err != nil || !have.Live() {
			return
		}
		left, err := w.layout.Lists().Leave(have.Value, record)
		if err != nil || bytes.Equal(left, have.Value) {
			return
		}
		rec, err := w.store.GetLatest(ctx, record)
		if err != nil {
			return
		}
		if rec.Live() {
			if f, err := w.layout.Of(rec.Value); err != nil || f.Holds(key) {
				return
			}
		}
		if err = w.fence(ctx, rec); err == nil {
			err = w.store.Write(ctx, listOp(have, left))[0].Err
		}
		if !errors.Is(err, store.ErrWrongRevision) || workers.Backoff(ctx, try) != nil {
			return
		}
	}
}

// Enlist is Place for many records in lists: each list is written once for all of
// them.
func (w *Writer) Enlist(ctx context.Context, footprints []*layout.Footprint) error {
	changes := NewListChanges(w.layout)
	for _, f := range footprints {
		for _, key := range f.Entries {
			ch := changes.at(key)
			ch.join = append(ch.join, f.ID)
		}
	}
	todo := changes.Keys()
	for try := 1; ; try++ {
		held, err := w.store.GetMany(ctx, todo)
		if err != nil {
			return err
		}
		ops, err := changes.Ops(held, w.store.MaxValue())
		if err != nil {
			return err
		}
		todo = todo[:0]
		for i, res := range w.store.Write(ctx, ops...) {
			switch {
			case errors.Is(res.Err, store.ErrWrongRevision):
				todo = append(todo, ops[i].Key)
			case res.Err != nil:
				return fmt.Errorf("write the list at key %s: %w", ops[i].Key, res.Err)
			}
		}
		if len(todo) == 0 {
			return nil
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return fmt.Errorf("others kept changing the list at key %s: %w", todo[0], err)
		}
		if err := w.store.CatchUp(ctx); err != nil {
			return err
		}
	}
}
