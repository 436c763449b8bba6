package maintenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Restore puts the keys of a backup file into a bucket, which is emptied before when
// it is to be cleared. The whole file is read and held against the bucket before
// anything is written; unless r is an io.ReadSeeker, it is kept in a temporary file
// meanwhile. When the bucket has other keys and is not cleared, all models are checked
// and repaired in the end: ErrUnique when two records have one unique value then.
func Restore(ctx context.Context, s store.Store, r io.Reader, cleared bool) error {
	file, done, err := seekable(r)
	if err != nil {
		return err
	}
	defer done()
	begin, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	found, err := survey(ctx, s, file, cleared)
	if err != nil {
		return err
	}
	vacant, err := isVacant(ctx, s)
	if err != nil {
		return err
	}
	if cleared && !vacant {
		if err := empty(ctx, s, found.has); err != nil {
			return err
		}
	}
	if _, err := file.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	err = load(ctx, s, cleared, func(yield func(store.Message) error) error {
		_, err := backup.Read(file, func(e backup.Entry) error {
			if e.Deleted || found.deleted[e.Key] {
				return nil
			}
			return yield(store.Message{Key: e.Key, Value: e.Value})
		})
		return err
	})
	if err != nil || found.catalogue && (cleared || vacant) {
		return err
	}
	return reconcile(ctx, s)
}

// contents is what a backup file has. A key may come several times: the last one holds.
type contents struct {
	catalogue bool            // it knows of models
	deleted   map[string]bool // the keys that it says are deleted in the end
	seed      maphash.Seed
	keys      map[uint64]struct{} // the hashes of the others, when they are needed
}

// has reports whether the file writes a key; sometimes it is wrongly true.
func (c *contents) has(key string) bool {
	_, ok := c.keys[maphash.String(c.seed, key)]
	return ok
}

// survey reads a backup file. ErrFile when it was cut off or altered, ErrInvalid for a
// value that is too large for the bucket, and the errors of agrees.
func survey(ctx context.Context, s store.Store, file io.Reader, cleared bool) (*contents, error) {
	limit := s.Traits().MaxValue
	c := &contents{deleted: map[string]bool{}, seed: maphash.MakeSeed(), keys: map[uint64]struct{}{}}
	_, err := backup.Read(file, func(e backup.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(e.Value) > limit {
			return fmt.Errorf("%w: key %s takes %d bytes, %s", errs.ErrInvalid, e.Key, len(e.Value), store.PayloadLimit(limit, ""))
		}
		if e.Deleted {
			c.deleted[e.Key] = true
			delete(c.keys, maphash.String(c.seed, e.Key))
			return nil
		}
		delete(c.deleted, e.Key)
		if cleared && !keys.IsSequence(e.Key) {
			c.keys[maphash.String(c.seed, e.Key)] = struct{}{}
		}
		if keys.IsSchema(e.Key) {
			c.catalogue = true
			return agrees(ctx, s, store.Message{Key: e.Key, Value: e.Value}, cleared)
		}
		return nil
	})
	return c, err
}

// isVacant reports whether a bucket has no keys but passing ones.
func isVacant(ctx context.Context, s store.Store) (bool, error) {
	for m, err := range s.Scan(ctx, keys.Everything, store.ScanOptions{Want: 1, Keys: true}) {
		if err != nil {
			return false, err
		}
		if !keys.Passing(m.Key) {
			return false, nil
		}
	}
	return true, nil
}

// agrees reports whether a model of a backup's catalogue can be put into a bucket:
// ErrSchema when this natsorm does not know it, or it contradicts what the bucket has,
// unless that is cleared.
func agrees(ctx context.Context, s store.Store, m store.Message, cleared bool) error {
	def, err := catalogue.Decode(m)
	if err != nil {
		return err
	}
	if m.Key != keys.Schema(def.Name) {
		return def.Errorf("it is at key %s of the catalogue", m.Key)
	}
	if def.Moving != nil {
		return def.Errorf("the backup was made while the model was being moved to another layout; take one from before or after that")
	}
	if _, err := layout.New(def); err != nil {
		return err
	}
	have, _, err := catalogue.Read(ctx, s, def.Name)
	switch {
	case err == nil && have != nil && have.Moving != nil:
		return def.Errorf("it is being moved to another layout; let ChangeLayout finish first")
	case cleared: // also what cannot be read
		return nil
	case err != nil || have == nil:
		return err
	}
	if _, _, err := schema.Reconcile(*def, *have); err != nil {
		return fmt.Errorf("%w (the catalogue here is the backup's, the code the bucket's); use DeleteOthers, or another bucket", err)
	}
	return nil
}

// empty deletes every key of the bucket but the anchor, what can be read of the
// catalogue, and those to keep, which are about to be written.
func empty(ctx context.Context, s store.Store, keep func(key string) bool) error {
	defs, err := catalogue.ListReadable(ctx, s)
	if err != nil {
		return err
	}
	models := map[string]bool{}
	for _, def := range defs {
		models[keys.Schema(def.Name)] = true
	}
	l := newLoader(s)
	for e, err := range s.Scan(ctx, keys.Everything, store.ScanOptions{Keys: true}) {
		if err != nil {
			return err
		}
		if keys.Passing(e.Key) || models[e.Key] || keep(e.Key) {
			continue
		}
		if err := l.add(ctx, store.Op{Key: e.Key, Delete: true, Purge: true}); err != nil {
			return err
		}
	}
	return l.flush(ctx)
}

// load writes what a backup has. Sequences do not go back. The catalogue's models are
// declared in the end, those that were there and those that come: an index that only
// one of both knows is built. With cleared, those that come are what holds where they
// contradict.
func load(ctx context.Context, s store.Store, cleared bool, each func(yield func(store.Message) error) error) error {
	list := catalogue.List
	if cleared { // what cannot be read there is written over, or goes
		list = catalogue.ListReadable
	}
	before, err := list(ctx, s)
	if err != nil {
		return err
	}
	var come []*schema.Definition
	l := newLoader(s)
	err = each(func(m store.Message) error {
		switch {
		case keys.Passing(m.Key):
			return nil
		case keys.IsSequence(m.Key):
			if done, err := catalogue.Advance(ctx, s, m); done || err != nil {
				return err
			}
		case keys.IsSchema(m.Key):
			def, err := catalogue.Decode(m)
			if err != nil {
				return err
			}
			come = append(come, def)
			if m.Value, err = merged(before, def, m.Value); err != nil && !cleared {
				return err
			}
		}
		return l.add(ctx, store.Op{Key: m.Key, Value: m.Value})
	})
	if err == nil {
		err = l.flush(ctx)
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

// merged is the catalogue's document of a model that comes into a bucket, with what the
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

// reconcile repairs what two buckets in one disagree about.
func reconcile(ctx context.Context, s store.Store) error {
	reports, err := CheckAll(ctx, s, true)
	if err != nil {
		return err
	}
	for _, m := range reports {
		for _, p := range m.Problems {
			switch p.Kind {
			case DuplicateValue:
				return fmt.Errorf("%w: %s of %s: two records have one unique value now; change one of them, then Check with Repair", errs.ErrUnique, p.Key, p.Record)
			case MisplacedKey:
				return fmt.Errorf("%w: %s is not where the bucket's model %s has it; a file without a catalogue, as of sequelize-natskv, needs the model as it is declared there", errs.ErrSchema, p.Key, m.Model)
			}
		}
	}
	return nil
}

// seekable is r, or a temporary file with what r has, that done removes.
func seekable(r io.Reader) (file io.ReadSeeker, done func(), err error) {
	if s, ok := r.(io.ReadSeeker); ok {
		if _, err := s.Seek(0, io.SeekCurrent); err == nil { // not a pipe
			return s, func() {}, nil
		}
	}
	f, err := os.CreateTemp("", "natsorm-restore-")
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		_ = f.Close() // it was only read
		_ = os.Remove(f.Name())
	}
	if _, err := io.Copy(f, r); err != nil {
		done()
		return nil, nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		done()
		return nil, nil, err
	}
	return f, done, nil
}
