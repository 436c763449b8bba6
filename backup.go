package natsorm

import (
	"context"
	"fmt"
	"io"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/maintenance"
)

// ErrBackup says that a file cannot be restored: it was cut off or altered, or is no
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
	return db.call(ctx, operation{name: "Backup", outside: true}, func() (err error) {
		if w == nil {
			return fmt.Errorf("%w: Backup got a nil writer", ErrInvalid)
		}
		var o backupOptions
		for _, opt := range opts {
			if opt != nil {
				opt(&o)
			}
		}
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

// DeleteOthers lets Restore delete every key that the backup does not have, also those of
// other programs.
func DeleteOthers() RestoreOption { return func(o *restoreOptions) { o.deleteOthers = true } }

// Restore puts the keys of a backup into the bucket: of one that Backup wrote, or of
// the JSON file of sequelize-natskv. The whole file is read before anything is
// written, so one that was cut off or altered is refused with ErrBackup and changes
// nothing; unless r is an io.ReadSeeker, it is kept in a temporary file meanwhile.
//
// Without DeleteOthers, records of the backup replace those that are there, others stay,
// and then all models are checked and repaired; a model that contradicts the one that
// is there is ErrSchema, and two records with one unique value are ErrUnique. With
// DeleteOthers, the backup's model holds, and handles of the other have to be defined again.
// Indexes that only the bucket or only the backup knows are built either way.
//
// Records get new revisions, so that versions from before are stale. Nobody else
// should write to the bucket meanwhile. An error after the beginning leaves it
// half restored; then Restore again.
func (db *DB) Restore(ctx context.Context, r io.Reader, opts ...RestoreOption) error {
	return db.call(ctx, operation{name: "Restore", outside: true}, func() error {
		if r == nil {
			return fmt.Errorf("%w: Restore got a nil reader", ErrInvalid)
		}
		var o restoreOptions
		for _, opt := range opts {
			if opt != nil {
				opt(&o)
			}
		}
		if err := maintenance.Restore(ctx, db.store, r, o.deleteOthers); err != nil {
			return fmt.Errorf("natsorm: restore %s: %w", db.cfg.Bucket, err)
		}
		return nil
	})
}
