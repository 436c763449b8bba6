package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Dump delivers the whole bucket as it is at one instant, in memory that does not
// grow with it. A key that changes meanwhile comes again, or as a delete marker: the
// last one holds. Keys without data are left out.
func Dump(ctx context.Context, s store.Store, each func(store.Message) error) error {
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
		case keys.Passing(ev.Message.Key), ev.Message.Deleted && ev.Message.Revision <= start: // it was not delivered
			continue
		}
		if err := each(ev.Message); err != nil {
			return err
		}
	}
}

// Clear deletes every key of the bucket but the anchor, what can be read of the
// catalogue, and those to keep, which are about to be written.
func Clear(ctx context.Context, s store.Store, keep func(key string) bool) error {
	defs, err := list(ctx, s, true)
	if err != nil {
		return err
	}
	models := map[string]bool{}
	for _, def := range defs {
		models[keys.Schema(def.Name)] = true
	}
	l := newLoader(ctx, s)
	for e, err := range s.Scan(ctx, keys.Everything, store.ScanOptions{Keys: true}) {
		if err != nil {
			return err
		}
		if keys.Passing(e.Key) || models[e.Key] || keep(e.Key) {
			continue
		}
		if err := l.add(store.Op{Key: e.Key, Delete: true, Purge: true}); err != nil {
			return err
		}
	}
	return l.flush()
}

// Restore writes entries. Sequences do not go back. The catalogue's models are
// declared in the end, those that were there and those that come: an index that only
// one of both knows is built. With cleared, those that come are what holds where they
// contradict.
func Restore(ctx context.Context, s store.Store, cleared bool, each func(yield func(store.Message) error) error) error {
	before, err := list(ctx, s, cleared) // what can not be read there is written over, or goes
	if err != nil {
		return err
	}
	var come []*schema.Definition
	l := newLoader(ctx, s)
	err = each(func(e store.Message) error {
		switch {
		case keys.Passing(e.Key):
			return nil
		case keys.IsSequence(e.Key):
			if done, err := advance(ctx, s, e); done || err != nil {
				return err
			}
		case keys.IsSchema(e.Key):
			def, err := decode(e)
			if err != nil {
				return err
			}
			come = append(come, def)
			if e.Value, err = merged(before, def, e.Value); err != nil && !cleared {
				return err
			}
		}
		return l.add(store.Op{Key: e.Key, Value: e.Value})
	})
	if err == nil {
		err = l.flush()
	}
	if err != nil {
		return err
	}
	for _, def := range slices.Concat(before, come) {
		if _, err := Define(ctx, s, *def, def.Shards); err != nil && (!cleared || !errors.Is(err, errs.ErrSchema)) {
			return err
		}
	}
	return nil
}

// merged is the catalogue's entry for a model that comes into a bucket, with what the
// bucket says of the model already; raw, when they contradict.
func merged(before []*schema.Definition, def *schema.Definition, raw []byte) ([]byte, error) {
	i := slices.IndexFunc(before, func(have *schema.Definition) bool { return have.Name == def.Name })
	if i < 0 {
		return raw, nil
	}
	both, changed, err := schema.Reconcile(*def, *before[i])
	if err != nil || !changed {
		return raw, err
	}
	return json.Marshal(&both)
}

// Agrees reports whether a model of a backup's catalogue can be put into a bucket:
// ErrSchema when this natsorm does not know it, or it contradicts what the bucket has,
// unless that is cleared.
func Agrees(ctx context.Context, s store.Store, e store.Message, cleared bool) error {
	def, err := decode(e)
	if err != nil {
		return err
	}
	if e.Key != keys.Schema(def.Name) {
		return def.Errorf("it is at key %s of the catalogue", e.Key)
	}
	if def.Moving != nil {
		return def.Errorf("the backup was made while the model was being moved to another layout; take one from before or after that")
	}
	if _, err := layout.New(def); err != nil {
		return err
	}
	have, _, err := load(ctx, s, def.Name)
	switch {
	case err == nil && have != nil && have.Moving != nil:
		return def.Errorf("it is being moved to another layout; let Migrate come to its end first")
	case cleared: // also what can not be read
		return nil
	case err != nil || have == nil:
		return err
	}
	if _, _, err := schema.Reconcile(*def, *have); err != nil {
		return fmt.Errorf("%w (the catalogue here is the backup's, the code the bucket's); use Clear, or another bucket", err)
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
