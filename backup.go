package natsorm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/maintenance"
)

// ErrBackup: Restore was given something that it cannot restore. The file was cut off
// or altered, or it is no backup.
var ErrBackup = backup.ErrFile

// BackupOption changes what Backup writes.
type BackupOption func(*backupOptions)

type backupOptions struct{ sequelize bool }

// SequelizeFile makes Backup write the file that the Node library sequelize-natskv
// restores: indented JSON, {"KEY": {"value": BASE64, "revision": N}, …}. Such a file is
// made in memory, and it has no checksum.
func SequelizeFile() BackupOption { return func(o *backupOptions) { o.sequelize = true } }

// Backup writes every key of the bucket to w, as the bucket is at one instant, though
// others may write meanwhile. If Check finds a bucket clean, it finds what Restore
// makes of the backup clean too. Backup takes about as long as a scan; its memory does
// not grow with the bucket. The file is compressed and has a checksum; docs/format.md
// describes it.
//
// Errors: ErrInvalid for a nil writer, the writer's own error, and the server's.
func (db *DB) Backup(ctx context.Context, w io.Writer, opts ...BackupOption) error {
	return db.call(ctx, operation{Name: "Backup", Outside: true}, func() (err error) {
		if w == nil {
			return fmt.Errorf("%w: Backup got a nil writer", ErrInvalid)
		}
		o := chosen[backupOptions](opts)
		if o.sequelize {
			err = maintenance.BackupSequelize(ctx, db.store, w)
		} else {
			err = maintenance.Backup(ctx, db.store, db.cfg.Bucket, w)
		}
		if err != nil {
			return fmt.Errorf("natsorm: back up %s: %w", db.cfg.Bucket, err)
		}
		return nil
	})
}

// RestoreOption changes what Restore does.
type RestoreOption func(*restoreOptions)

type restoreOptions struct{ deleteOthers bool }

// DeleteOthers makes Restore delete every key that the backup does not have, including
// the keys of other programs.
func DeleteOthers() RestoreOption { return func(o *restoreOptions) { o.deleteOthers = true } }

// Restore puts the keys of a backup into the bucket. The backup is a file that Backup
// wrote, or the JSON file of sequelize-natskv. Restore reads the whole file before it
// writes anything, so a damaged file changes nothing. If r is not an io.ReadSeeker, a
// temporary file holds it meanwhile.
//
// Without DeleteOthers, records of the backup replace those with the same key, and
// other records stay. Then all models are checked and repaired. Restore returns
// ErrSchema when a model of the backup contradicts the bucket's, and ErrUnique when two
// records would have the same unique value.
//
// The backup also has which steps of Migrate the bucket had had, and so does the restored
// bucket. Without DeleteOthers, Restore returns ErrSchema when the bucket has records and
// has had other steps than the backup.
//
// With DeleteOthers, the backup's declaration of a model replaces the bucket's, and
// handles made from the old one have to be defined again. Either way, indexes that only
// the bucket or only the backup has are built.
//
// Restored records get new revisions, so a version that was read before is stale.
// Nobody else should write to the bucket during a Restore. After an error the bucket
// may be half restored: call Restore again.
//
// Errors: ErrBackup for a file that cannot be restored, ErrSchema and ErrUnique as
// above, ErrInvalid for a nil reader, the reader's own error, and the server's.
func (db *DB) Restore(ctx context.Context, r io.Reader, opts ...RestoreOption) error {
	return db.call(ctx, operation{Name: "Restore", Outside: true}, func() error {
		if r == nil {
			return fmt.Errorf("%w: Restore got a nil reader", ErrInvalid)
		}
		o := chosen[restoreOptions](opts)
		err := maintenance.Restore(ctx, db.store, r, o.deleteOthers)
		if errors.Is(err, ErrBackup) {
			return fmt.Errorf("natsorm: restore %s: %w; nothing was changed: take another copy of a file that Backup wrote", db.cfg.Bucket, err)
		}
		if err != nil {
			return fmt.Errorf("natsorm: restore %s: %w", db.cfg.Bucket, err)
		}
		return nil
	})
}
