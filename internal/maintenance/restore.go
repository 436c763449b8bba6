package maintenance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/checking"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/layout"
	"github.com/natsorm/natsorm/internal/migration"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Restore writes the keys of a backup file into a bucket. With deleteOthers, the keys that
// the file does not have are deleted first. Nobody may write the bucket's models meanwhile.
//
// The order of the steps keeps a bad file from doing harm:
//
//  1. The whole file is read, and compared with the bucket (survey). A file that is cut
//     off, altered, too large for the bucket or in contradiction to it is refused here,
//     before anything is written. Unless r can be read twice (io.ReadSeeker), the file is
//     kept in a temporary file.
//  2. Sweeps are kept away until the end (whileRestoring). With deleteOthers, the keys that the
//     file does not have are deleted (empty).
//  3. The records of migrations are written, so that an interrupted restore that is run again
//     finds that the bucket has had what the file has had. Then the other keys are written, and
//     the models declared (load).
//  4. When the bucket had other keys, which stayed, or the file has no catalogue, all
//     models are checked and repaired: the index of both sets of records must be one
//     (reconcile).
//
// An interrupted restore leaves the bucket with a part of the file; running it again
// completes it.
//
// backup.ErrFile when the file is not a whole backup; ErrInvalid for a value that is too
// large for the bucket; ErrSchema when models contradict, or when the file's records are to be
// added to those of a bucket that has had other migrations; ErrUnique when two records have
// one unique value in the end.
func Restore(ctx context.Context, s store.Store, r io.Reader, deleteOthers bool) error {
	file, done, err := seekable(r)
	if err != nil {
		return err
	}
	defer done()
	begin, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	found, err := survey(ctx, s, file, deleteOthers)
	if err != nil {
		return err
	}
	vacant, migrated, err := isVacant(ctx, s)
	if err != nil {
		return err
	}
	if !deleteOthers && (!vacant || migrated) {
		has, err := migration.List(ctx, s)
		if err == nil {
			err = migration.Mergeable(has, slices.Collect(maps.Values(found.migrations)), vacant)
		}
		if err != nil {
			return err
		}
	}
	return whileRestoring(ctx, s, func() error {
		if deleteOthers && (!vacant || migrated) {
			if err := empty(ctx, s, found.has); err != nil {
				return err
			}
		}
		return restore(ctx, s, file, begin, found, deleteOthers, vacant)
	})
}

// restore is steps 3 and 4.
func restore(ctx context.Context, s store.Store, file io.ReadSeeker, begin int64, found *contents, deleteOthers, vacant bool) error {
	if err := loadMigrations(ctx, s, found); err != nil {
		return err
	}
	if _, err := file.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	err := load(ctx, s, deleteOthers, func(yield func(store.Message) error) error {
		_, err := backup.Read(file, func(e backup.Entry) error {
			if e.Deleted || found.deleted[e.Key] {
				return nil
			}
			return yield(store.Message{Key: e.Key, Value: e.Value})
		})
		return err
	})
	if err != nil || found.catalogue && (deleteOthers || vacant) {
		return err
	}
	return reconcile(ctx, s)
}

// contents is what a backup file has in it. A key may come several times in it, because a
// backup goes on while others write; its last occurrence counts.
type contents struct {
	catalogue bool            // the file has models
	deleted   map[string]bool // the keys that are deleted at the end of the file

	migrations map[string]migration.Record // by key
	values     map[string][]byte           // of those keys
	seed       maphash.Seed
	keys       map[uint64]struct{} // hashes of the keys that the file writes; only with deleteOthers
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
func survey(ctx context.Context, s store.Store, file io.Reader, deleteOthers bool) (*contents, error) {
	limit := s.Traits().MaxValue
	c := &contents{deleted: map[string]bool{}, seed: maphash.MakeSeed(), keys: map[uint64]struct{}{}, values: map[string][]byte{}, migrations: map[string]migration.Record{}}
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
			delete(c.values, e.Key)
			return nil
		}
		delete(c.deleted, e.Key)
		if deleteOthers && !keys.IsSequence(e.Key) {
			c.keys[maphash.String(c.seed, e.Key)] = struct{}{}
		}
		if keys.IsSchema(e.Key) {
			models = append(models, store.Message{Key: e.Key, Value: e.Value})
		}
		if keys.IsMigration(e.Key) {
			c.values[e.Key] = bytes.Clone(e.Value)
		}
		return nil
	})
	if err == nil {
		err = tooLarge
	}
	for key, value := range c.values {
		if err == nil {
			if c.migrations[key], err = migration.Decode(store.Message{Key: key, Value: value}); err != nil {
				err = fmt.Errorf("in the backup: %w", err)
			}
		}
	}
	for _, m := range models {
		if err == nil {
			err = agrees(ctx, s, m, deleteOthers)
		}
	}
	c.catalogue = len(models) > 0
	return c, err
}

// loadMigrations writes the records of migrations that a file has.
func loadMigrations(ctx context.Context, s store.Store, found *contents) error {
	l := newLoader(s)
	for key, value := range found.values {
		if err := l.add(ctx, store.Op{Key: key, Value: value}); err != nil {
			return err
		}
	}
	return l.flush(ctx)
}

// isVacant reports whether a bucket has no keys with data but the records of migrations, and,
// if it is vacant, whether it has those. A replica that is behind may show a key that was
// deleted. That is harmless: a bucket that is not vacant only takes more work.
func isVacant(ctx context.Context, s store.Store) (vacant, migrated bool, err error) {
	for m, err := range s.Scan(ctx, keys.Everything, store.ScanOptions{Want: 1, Keys: true}) {
		switch {
		case err != nil:
			return false, false, err
		case keys.IsMigration(m.Key):
			migrated = true
		case !keys.Passing(m.Key):
			return false, migrated, nil
		}
	}
	return true, migrated, nil
}

// agrees returns nil when a model of the backup's catalogue can be written into the
// bucket. ErrSchema when this natsorm cannot read it, or one of the two is being moved to
// another layout, or it contradicts the bucket's model of that name, which deleteOthers
// would delete.
func agrees(ctx context.Context, s store.Store, m store.Message, deleteOthers bool) error {
	def, err := catalogue.Decode(m)
	if err != nil {
		return err
	}
	if m.Key != keys.Schema(def.Name) {
		return def.Errorf("it is at key %s of the catalogue", m.Key)
	}
	switch {
	case def.Dropped: // which tells nothing to another bucket
		return nil
	case def.Moving != nil:
		return def.Errorf("the backup was made while the model was being moved to another layout; take one from before or after that")
	case def.Emptying != nil:
		return def.Errorf("the backup was made while all records of the model were being removed; take one from before or after that")
	}
	if _, err := layout.New(def); err != nil {
		return err
	}
	have, _, err := catalogue.Read(ctx, s, def.Name)
	switch {
	case err == nil && have != nil && have.Moving != nil:
		return def.Errorf("it is being moved to another layout; let ChangeLayout come to its end first")
	case err == nil && have != nil && have.Emptying != nil:
		return def.Errorf("all its records are being removed; let Truncate or DropModel come to its end first")
	case err == nil && have != nil && have.Dropped:
		return nil
	case deleteOthers: // the bucket's model goes, also one that cannot be read
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
	// A replica that is behind may show a key that was deleted; to delete it again is
	// harmless.
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
// come, so that an index that only one of the two has is built. With deleteOthers, a model
// that comes wins where the two contradict.
func load(ctx context.Context, s store.Store, deleteOthers bool, each func(yield func(store.Message) error) error) error {
	list := catalogue.List
	if deleteOthers { // a document that cannot be read has been deleted, or is about to be replaced
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
		case keys.Passing(m.Key), keys.IsMigration(m.Key): // the latter have been written
			return nil
		case keys.IsSequence(m.Key):
			if done, err := catalogue.Advance(ctx, s, m); done || err != nil {
				return err
			}
		case keys.IsSchema(m.Key):
			def, err := catalogue.Decode(m)
			if err != nil || def.Dropped {
				return err
			}
			come = append(come, def)
			if m.Value, err = merged(before, def, deleteOthers); err != nil && !deleteOthers {
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
		if _, err := Define(ctx, s, *def, def.Shards); err != nil && (!deleteOthers || !errors.Is(err, errs.ErrSchema)) {
			return err
		}
	}
	return nil
}

// merged returns the document to write for a model that comes into the bucket: it is
// merged with the one that the bucket has. ErrSchema when they contradict; then the
// document is the backup's own. alone is as for Definition.Arrive.
func merged(before []*schema.Definition, def *schema.Definition, alone bool) ([]byte, error) {
	var have *schema.Definition
	var conflict error
	if i := slices.IndexFunc(before, func(have *schema.Definition) bool { return have.Name == def.Name }); i >= 0 {
		have = before[i]
		var both schema.Definition
		if both, _, conflict = schema.Reconcile(*def, *have); conflict == nil {
			def = &both
		}
	}
	def.Arrive(have, alone)
	def.Format = def.FormatOf()
	raw, err := json.Marshal(def)
	if err != nil {
		return nil, err
	}
	return raw, conflict
}

// reconcile checks and repairs all models, after the records of a file were added to those
// of a bucket. ErrUnique when two records have one unique value; ErrSchema when the
// bucket's model has its records at other keys than the file.
func reconcile(ctx context.Context, s store.Store) error {
	reports, _, err := checking.CheckAll(ctx, s, checking.Options{Mend: checking.Indexes})
	if err != nil {
		return err
	}
	for _, m := range reports {
		for _, p := range m.Problems {
			switch p.Kind {
			case checking.DuplicateValue:
				return fmt.Errorf("%w: %s of %s: two records have one unique value now; change one of them, then Check with Repair", errs.ErrUnique, p.Key, p.Record)
			case checking.MisplacedKey:
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
