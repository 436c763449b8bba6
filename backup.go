package natsorm

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/exec"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/store"
)

// ErrBackup says that a file can not be restored: it was cut off or altered, or is no
// backup.
var ErrBackup = backup.ErrFile

// BackupOption changes how Backup writes.
type BackupOption func(*backupOptions)

type backupOptions struct{ sequelize bool }

// SequelizeFile writes the file that the Node library sequelize-natskv restores:
// indented JSON, {"KEY": {"value": BASE64, "revision": N}, …}. It is made in memory,
// and has no checksum.
func SequelizeFile() BackupOption { return func(o *backupOptions) { o.sequelize = true } }

// Backup writes every key of the bucket as it is at one instant, though others write
// meanwhile: what Restore makes of it, Check finds clean if this bucket is. It takes
// about as long as a scan, and the same memory however large the bucket is. The
// file is compressed, and has a checksum; docs/format.md describes it.
func (db *DB) Backup(ctx context.Context, w io.Writer, opts ...BackupOption) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	if w == nil {
		return fmt.Errorf("%w: Backup got a nil writer", ErrInvalid)
	}
	var o backupOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	write := db.backup
	if o.sequelize {
		write = db.backupSequelize
	}
	if err := write(ctx, w); err != nil {
		return fmt.Errorf("natsorm: back up %s: %w", db.cfg.Bucket, err)
	}
	return nil
}

func (db *DB) backup(ctx context.Context, w io.Writer) error {
	out, err := backup.NewWriter(w, backup.Header{Bucket: db.cfg.Bucket, Created: time.Now().UTC()})
	if err != nil {
		return err
	}
	err = exec.Dump(ctx, db.store, func(e store.Message) error {
		return out.Write(backup.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision, Deleted: e.Deleted})
	})
	if err != nil {
		return err
	}
	return out.Close()
}

func (db *DB) backupSequelize(ctx context.Context, w io.Writer) error {
	entries := map[string]backup.Entry{}
	err := exec.Dump(ctx, db.store, func(e store.Message) error {
		if delete(entries, e.Key); !e.Deleted {
			entries[e.Key] = backup.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision}
		}
		return nil
	})
	if err != nil {
		return err
	}
	sorted := make([]backup.Entry, 0, len(entries))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		sorted = append(sorted, entries[key])
	}
	return backup.WriteSequelize(w, sorted)
}

// RestoreOption changes what Restore does.
type RestoreOption func(*restoreOptions)

type restoreOptions struct{ clear bool }

// Clear empties the bucket before it is restored: all keys that the backup does not
// have are deleted, also other programs'.
func Clear() RestoreOption { return func(o *restoreOptions) { o.clear = true } }

// Restore puts the keys of a backup into the bucket: of one that Backup wrote, or of
// the JSON file of sequelize-natskv. The whole file is read before anything is
// written, so one that was cut off or altered is refused with ErrBackup and changes
// nothing; unless r is an io.ReadSeeker, it is kept in a temporary file meanwhile.
//
// Without Clear, records of the backup replace those that are there, others stay,
// and then all models are checked and repaired; a model that contradicts the one that
// is there is ErrSchema, and two records with one unique value are ErrUnique. With
// Clear, the backup's model holds, and handles of the other have to be defined again.
// Indexes that only the bucket or only the backup knows are built either way.
//
// Records get new revisions, so that versions from before are stale. Nobody else
// should write to the bucket meanwhile. An error after the beginning leaves it
// half restored; then Restore again.
func (db *DB) Restore(ctx context.Context, r io.Reader, opts ...RestoreOption) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("%w: Restore got a nil reader", ErrInvalid)
	}
	var o restoreOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if err := db.restore(ctx, r, o); err != nil {
		return fmt.Errorf("natsorm: restore %s: %w", db.cfg.Bucket, err)
	}
	return nil
}

func (db *DB) restore(ctx context.Context, r io.Reader, o restoreOptions) error {
	file, done, err := seekable(r)
	if err != nil {
		return err
	}
	defer done()
	begin, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	limit := db.store.MaxValue()
	// The keys of the file, by their hashes: what Clear deletes are the others.
	seed, written := maphash.MakeSeed(), map[uint64]struct{}{}
	catalogued := false       // the file knows of models
	gone := map[string]bool{} // the keys that the file says are deleted in the end
	_, err = backup.Read(file, func(e backup.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(e.Value) > limit {
			return fmt.Errorf("%w: key %s takes %d bytes, %s", ErrInvalid, e.Key, len(e.Value), store.PayloadLimit(limit, ""))
		}
		if e.Deleted {
			gone[e.Key] = true
			delete(written, maphash.String(seed, e.Key))
			return nil
		}
		delete(gone, e.Key)
		if o.clear && !keys.IsSequence(e.Key) {
			written[maphash.String(seed, e.Key)] = struct{}{}
		}
		if keys.IsSchema(e.Key) {
			catalogued = true
			return exec.Agrees(ctx, db.store, store.Message{Key: e.Key, Value: e.Value}, o.clear)
		}
		return nil
	})
	if err != nil {
		return err
	}
	empty := true
	for e, err := range db.store.Scan(ctx, keys.Everything, store.ScanOptions{Want: 1, Keys: true}) {
		if err != nil {
			return err
		}
		if !keys.Passing(e.Key) {
			empty = false
			break
		}
	}
	if o.clear && !empty {
		err := exec.Clear(ctx, db.store, func(key string) bool {
			_, ok := written[maphash.String(seed, key)]
			return ok
		})
		if err != nil {
			return err
		}
	}
	if _, err := file.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	err = exec.Restore(ctx, db.store, o.clear, func(yield func(store.Message) error) error {
		_, err := backup.Read(file, func(e backup.Entry) error {
			if e.Deleted || gone[e.Key] {
				return nil
			}
			return yield(store.Message{Key: e.Key, Value: e.Value})
		})
		return err
	})
	if err != nil || catalogued && (o.clear || empty) {
		return err
	}
	return db.reconcile(ctx)
}

// reconcile repairs what two buckets in one disagree about.
func (db *DB) reconcile(ctx context.Context) error {
	report, err := db.Check(ctx, Repair())
	if err != nil {
		return err
	}
	for _, m := range report.Models {
		for _, p := range m.Problems {
			switch p.Kind {
			case DuplicateValue:
				return fmt.Errorf("%w: %s of %s: two records have one unique value now; change one of them, then Check with Repair", ErrUnique, p.Key, p.Record)
			case MisplacedKey:
				return fmt.Errorf("%w: %s is not where the bucket's model %s has it; a file without a catalogue, as of sequelize-natskv, needs the model as it is declared there", ErrSchema, p.Key, m.Model)
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
