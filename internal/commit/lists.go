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

// lists is entries that are lists of records.
type lists struct {
	w     *Writer
	of    layout.Lists
	locks keyLocks // of the lists that changes of this writer are at work on
}

func (l *lists) executor(way store.Way) executor {
	return &listed{lists: l, batches: way != store.Phased, shared: way == store.Shared}
}

// changes are what plans do to the lists.
func (l *lists) changes(plans ...*Plan) *listChanges {
	c := newListChanges(l.w.layout.Model().Name, l.of)
	for _, p := range plans {
		c.add(p)
	}
	return c
}

// ops are the lists first, and then the records.
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

// ensure writes each list once for all the records in it.
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
			return keptChanging(todo[0], err)
		}
		if err := store.CatchUp(ctx, l.w.store); err != nil {
			return err
		}
	}
}

func keptChanging(list string, err error) error {
	return fmt.Errorf("others kept changing the list at key %s: %w", list, err)
}

// join puts a record into a list, which is written even when the record is in it.
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
		if err := l.w.store.Write(ctx, ops...)[0].Err; !errors.Is(err, store.ErrWrongRevision) {
			return err
		}
		if err := workers.Backoff(ctx, try); err != nil {
			return keptChanging(key, err)
		}
	}
}

// leaveTries bounds the tries to leave a list that others keep changing. To stay in it
// is harmless: readers look at the record.
const leaveTries = 16

// leave takes a record out of a list, if the record does not hold its value. A writer
// that is about to give it the value is fenced off first.
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
		if rec.Live() {
			if f, err := l.w.layout.Of(rec.Value); err != nil || f.Holds(key) {
				return
			}
		}
		if err = l.w.fence(ctx, rec); err == nil {
			err = l.w.store.Write(ctx, listOp(have, left))[0].Err
		}
		if !errors.Is(err, store.ErrWrongRevision) || workers.Backoff(ctx, try) != nil {
			return
		}
	}
}
