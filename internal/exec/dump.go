package exec

import (
	"context"
	"errors"
	"fmt"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Dump delivers the whole bucket as it is at one instant, in memory that does not
// grow with it. A key that changes meanwhile comes again, or as a delete marker: the
// last one holds. Keys without data are left out.
func Dump(ctx context.Context, s store.Store, each func(store.Entry) error) error {
	if err := s.CatchUp(ctx); err != nil {
		return err
	}
	start, err := s.Revision(ctx)
	if err != nil {
		return err
	}
	feed, err := s.Feed(ctx, keys.Everything)
	if err != nil {
		return err
	}
	defer feed.Close()
	for {
		ev, err := feed.Next(ctx)
		switch {
		case err != nil:
			return err
		case ev.Kind == store.CaughtUp:
			return nil
		case ev.Kind == store.Resync:
			return errors.New("the bucket was made anew, or its server was away for long; begin again")
		case keys.Passing(ev.Entry.Key), ev.Entry.Deleted && ev.Entry.Revision <= start: // it was not delivered
			continue
		}
		if err := each(ev.Entry); err != nil {
			return err
		}
	}
}

// Clear deletes every key of the bucket but the anchor and those to keep, which are
// about to be written.
func Clear(ctx context.Context, s store.Store, keep func(key string) bool) error {
	l := newLoader(ctx, s)
	for e, err := range s.Scan(ctx, keys.Everything, store.ScanOptions{Keys: true}) {
		if err != nil {
			return err
		}
		if keys.Passing(e.Key) || keep(e.Key) {
			continue
		}
		if err := l.add(store.Op{Key: e.Key, Delete: true, Purge: true}); err != nil {
			return err
		}
	}
	return l.flush()
}

// Restore writes entries as Dump delivers them. The catalogue's models that are there
// stay as they are, and sequences do not go back.
func Restore(ctx context.Context, s store.Store, each func(yield func(store.Entry) error) error) error {
	l := newLoader(ctx, s)
	err := each(func(e store.Entry) error {
		switch {
		case e.Deleted:
			return l.add(store.Op{Key: e.Key, Delete: true, Purge: true})
		case keys.IsSequence(e.Key):
			return advance(ctx, s, e)
		case keys.IsSchema(e.Key):
			have, err := s.GetLatest(ctx, e.Key)
			if err != nil || have.Live() {
				return err
			}
		}
		return l.add(store.Op{Key: e.Key, Value: e.Value})
	})
	if err != nil {
		return err
	}
	return l.flush()
}

// Agrees reports whether a model of a backup's catalogue can be put into a bucket that
// has the model already: ErrSchema when its records would be at other keys, unless
// none are left, or when this natsorm is too old for it.
func Agrees(ctx context.Context, s store.Store, e store.Entry, cleared bool) error {
	def, err := decode(e)
	if err != nil || cleared {
		return err
	}
	have, _, err := load(ctx, s, def.Name)
	if err != nil || have == nil {
		return err
	}
	if have.Layout != def.Layout || have.Shards != def.Shards || have.Key().Name != def.Key().Name {
		return def.Fault("the backup has layout %s, %d shards and primary key %s, the bucket %s, %d and %s; use Clear, or another bucket", def.Layout, def.Shards, def.Key().Name, have.Layout, have.Shards, have.Key().Name)
	}
	return nil
}

// Reinstate declares models that a bucket had before it was restored, so that handles
// of theirs find all their indexes: those that the restored catalogue does not have
// are built. A model that contradicts the restored one is left out.
func Reinstate(ctx context.Context, s store.Store, before []*schema.Definition) error {
	for _, def := range before {
		_, err := Define(ctx, s, *def, def.Shards)
		if err != nil && !errors.Is(err, errs.ErrSchema) {
			return err
		}
	}
	return nil
}

// loader writes in chunks, each of which is acknowledged before the next is sent.
type loader struct {
	ctx   context.Context
	s     store.Store
	ops   []store.Op
	at    map[string]int // in ops, by key: a later write of the key takes its place
	bytes int
}

const (
	loadOps   = 1000
	loadBytes = 4 << 20
)

func newLoader(ctx context.Context, s store.Store) *loader {
	return &loader{ctx: ctx, s: s, at: map[string]int{}}
}

func (l *loader) add(op store.Op) error {
	if i, ok := l.at[op.Key]; ok {
		l.bytes += len(op.Value) - len(l.ops[i].Value)
		l.ops[i] = op
		return nil
	}
	l.at[op.Key] = len(l.ops)
	l.ops = append(l.ops, op)
	if l.bytes += len(op.Key) + len(op.Value); len(l.ops) < loadOps && l.bytes < loadBytes {
		return nil
	}
	return l.flush()
}

func (l *loader) flush() error {
	if len(l.ops) == 0 {
		return nil
	}
	for i, res := range l.s.Write(l.ctx, l.ops...) {
		if res.Err != nil {
			return fmt.Errorf("write %s: %w", l.ops[i].Key, res.Err)
		}
	}
	l.ops, l.bytes = l.ops[:0], 0
	clear(l.at)
	return nil
}
