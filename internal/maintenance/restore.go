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

// Restore writes the keys of a backup file into a bucket. With cleared, the bucket is
// emptied first. Nobody may write the bucket's models meanwhile.
//
// The order of the steps keeps a bad file from doing harm:
//
//  1. The whole file is read, and compared with the bucket (survey). A file that is cut
//     off, altered, too large for the bucket or in contradiction to it is refused here,
//     before anything is written. Unless r can be read twice (io.ReadSeeker), the file is
//     kept in a temporary file.
//  2. With cleared, the keys that the file does not have are deleted (empty).
//  3. The file's keys are written and its models declared (load).
//  4. When the bucket had other keys, which stayed, or the file has no catalogue, all
//     models are checked and repaired: the index of both sets of records must be one
//     (reconcile).
//
// An interrupted restore leaves the bucket with a part of the file; running it again
// completes it.
//
// backup.ErrFile when the file is not a whole backup; ErrInvalid for a value that is too
// large for the bucket; ErrSchema when models contradict; ErrUnique when two records have
// one unique value in the end.
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

// contents is what a backup file has in it. A key may come several times in it, because a
// backup goes on while others write; its last occurrence counts.
type contents struct {
	catalogue bool            // the file has models
	deleted   map[string]bool // the keys that are deleted at the end of the file
	seed      maphash.Seed
	keys      map[uint64]struct{} // hashes of the keys that the file writes; only for a bucket that is cleared
}

// has reports whether the file writes a key. It compares 64-bit hashes, so that keys take
// little memory, and may be wrongly true for one key in very many.
func (c *contents) has(key string) bool {
	_, ok := c.keys[maphash.String(c.seed, key)]
	return ok
}

// survey reads a whole backup file and writes nothing. backup.ErrFile when the file was
// cut off or altered; then what it says is not judged. ErrInvalid for a value that is too large for the bucket, and the
// errors of agrees.
func survey(ctx context.Context, s store.Store, file io.Reader, cleared bool) (*contents, error) {
	limit := s.Traits().MaxValue
	c := &contents{deleted: map[string]bool{}, seed: maphash.MakeSeed(), keys: map[uint64]struct{}{}}
	var tooLarge error // the first value that is
	var models []store.Message
	_, err := backup.Read(file, func(e backup.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(e.Value) > limit && tooLarge == nil {
			tooLarge = fmt.Errorf("%w: key %s takes %d bytes, %s", errs.ErrInvalid, e.Key, len(e.Value), store.PayloadLimit(limit, ""))
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
			models = append(models, store.Message{Key: e.Key, Value: e.Value})
		}
		return nil
	})
	if err == nil {
		err = tooLarge
	}
	for _, m := range models {
		if err == nil {
			err = agrees(ctx, s, m, cleared)
		}
	}
	c.catalogue = len(models) > 0
	return c, err
}

// isVacant reports whether a bucket has no keys with data.
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

// agrees returns nil when a model of the backup's catalogue can be written into the
// bucket. ErrSchema when this natsorm cannot read it, or one of the two is being moved to
// another layout, or it contradicts the bucket's model of that name and the bucket is not
// cleared.
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
		return def.Errorf("it is being moved to another layout; let ChangeLayout come to its end first")
	case cleared: // the bucket's model goes, also one that cannot be read
		return nil
	case err != nil || have == nil:
		return err
	}
	if _, _, err := schema.Reconcile(*def, *have); err != nil {
		return fmt.Errorf("%w (the catalogue here is the backup's, the code the bucket's); use DeleteOthers, or another bucket", err)
	}
	return nil
}

// empty deletes the keys of the bucket. These stay: keys without data; models in the
// catalogue that can be read, because handles may use them; and the keys that keep
// reports, which are about to be written.
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

// load writes the keys that each yields. A sequence only goes forward, so that no id is
// given out twice. Then all models are declared, those that the bucket had and those that
// come, so that an index that only one of the two has is built. With cleared, a model
// that comes wins where the two contradict.
func load(ctx context.Context, s store.Store, cleared bool, each func(yield func(store.Message) error) error) error {
	list := catalogue.List
	if cleared { // a document that cannot be read has been deleted, or is about to be replaced
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

// merged returns the document to write for a model that comes into the bucket: it is
// merged with the one that the bucket has. ErrSchema when they contradict; then the
// document is raw, the backup's own.
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

// reconcile checks and repairs all models, after the records of a file were added to those
// of a bucket. ErrUnique when two records have one unique value; ErrSchema when the
// bucket's model has its records at other keys than the file.
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

// seekable returns r if it can be read twice, or otherwise a temporary file with what r
// has. done closes and removes that.
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
