package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/internal/workers"
)

// lists writes entries that are lists of all the records with a value.
//
// The rule for each write of a list: it was read, and the write is checked to be at the
// revision that was read. A refused write means that another writer was faster; the list
// is read again. So no writer can drop a record that another one has added.
type lists struct {
	w     *Writer
	of    layout.Lists
	locks keyLocks // one for each list that changes of this Writer work on
}

func (l *lists) executor(way store.Way) executor {
	return &listed{lists: l, batches: way != store.Phased, shared: way == store.Shared}
}

// changes gathers what plans do to lists.
func (l *lists) changes(plans ...*Plan) *listChanges {
	c := newListChanges(l.w.layout.Model().Name, l.of)
	for _, p := range plans {
		c.add(p)
	}
	return c
}

// ops returns the writes of the lists first and then those of the records. Several plans
// that touch one list are one write of it.
func (l *lists) ops(ctx context.Context, plans []*Plan, _ func(string) uint64, _ map[string]uint64) ([]store.Op, error) {
	changes := l.changes(plans...)
	held, err := store.GetMany(ctx, l.w.store, changes.keys())
	if err != nil {
		return nil, err
	}
	ops, err := changes.ops(held, l.w.store.Traits().MaxValue)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		ops = append(ops, p.Commit())
	}
	return ops, nil
}

func (l *lists) without(entry store.Message, records []string) (store.Op, error) {
	left, err := l.of.Leave(entry.Value, records...)
	return listOp(entry, left), err
}

func (l *lists) shared() bool { return true }

// ensure adds records to their lists, and writes each list once for all of them. It
// repeats the writes that were refused until none is left: the records are committed
// already, so no condition but the list's own revision matters. A crash leaves some
// lists complete and others not; ensuring again completes them.
func (l *lists) ensure(ctx context.Context, records []*layout.Footprint) error {
	changes := l.changes()
	for _, f := range records {
		for _, key := range f.Entries {
			changes.join(key, nil, f.ID)
		}
	}
	todo := changes.keys()
	for try := 1; ; try++ {
		held, err := store.GetMany(ctx, l.w.store, todo)
		if err != nil {
			return err
		}
		ops, err := changes.ops(held, l.w.store.Traits().MaxValue)
		if err != nil {
			return err
		}
		todo = todo[:0]
		for i, res := range l.w.store.Write(ctx, ops...) {
			switch {
			case again(ctx, res.Err):
				todo = append(todo, ops[i].Key)
			case res.Err != nil:
				return fmt.Errorf("write the list at key %s: %w", ops[i].Key, res.Err)
			}
		}
		if len(todo) == 0 {
			return nil
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return keptChanging(todo[0], err)
		}
		// A replica that is behind would give the list that was refused again.
		if err := store.CatchUp(ctx, l.w.store); err != nil {
			return err
		}
	}
}

// again reports whether the list is to be looked at again after a write of it: others were faster, or the
// answer was lost, and it is as it was to be, or not.
func again(ctx context.Context, err error) bool {
	return errors.Is(err, store.ErrWrongRevision) || errors.Is(err, store.ErrUnknown) && ctx.Err() == nil
}

func keptChanging(list string, err error) error {
	return fmt.Errorf("others kept changing the list at key %s: %w", list, err)
}

// join puts one record into a list, before the record is committed. The list is written
// even when the record is in it already, so that a writer that has read it and is about
// to take the record out is refused. From then on the record stays in the list until a
// writer fences it: that is invariant I1 for the commit that follows.
func (l *lists) join(ctx context.Context, key string, doc []byte, id value.Value) error {
	changes := l.changes()
	changes.join(key, doc, id)
	for try := 1; ; try++ {
		have, err := l.w.store.GetLatest(ctx, key)
		if err != nil {
			return err
		}
		ops, err := changes.ops([]store.Message{have}, l.w.store.Traits().MaxValue)
		if err != nil {
			return err
		}
		if err := l.w.store.Write(ctx, ops...)[0].Err; !again(ctx, err) {
			return err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return keptChanging(key, err)
		}
	}
}

// leaveTries is how often leaving a list is tried while other writers keep changing it.
// After that the record stays in the list, which is harmless: readers check the record.
const leaveTries = 16

// leave takes a record out of a list, unless the record holds the list's value. record
// is its key.
//
// The order of the three reads and writes matters. The list is read first. Then the
// record is read, and fenced at what was read: a writer that read it earlier, and may
// have joined the list for it, cannot commit any more. A writer that reads the record
// after the fence joins by a write, which gives the list another revision than the one
// read at first. So if the last write, checked to be at that revision, succeeds, no
// writer counts on the record's being in the list, however long this one has stalled.
//
// Errors are not returned: staying in the list is harmless.
func (l *lists) leave(ctx context.Context, key, record string) {
	for try := 1; try <= leaveTries; try++ {
		have, err := l.w.store.GetLatest(ctx, key)
		if err != nil || !have.Live() {
			return
		}
		left, err := l.of.Leave(have.Value, record)
		if err != nil || bytes.Equal(left, have.Value) {
			return
		}
		rec, err := l.w.store.GetLatest(ctx, record)
		if err != nil {
			return
		}
		if Holds(l.w.layout, rec, key) {
			return
		}
		if err = l.w.fence(ctx, rec); err == nil {
			err = l.w.store.Write(ctx, listOp(have, left))[0].Err
		}
		if !errors.Is(err, store.ErrWrongRevision) || workers.Backoff(ctx, try) != nil {
			return
		}
	}
}
