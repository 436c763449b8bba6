package maintenance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/natsorm/natsorm/internal/backup"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
)

// Backup writes the whole bucket, as it is at one instant, to a backup file. bucket is the
// bucket's name, which the file's header has. A file whose writing was interrupted has no
// end, and Restore refuses it.
func Backup(ctx context.Context, s store.Store, bucket string, w io.Writer) error {
	out, err := backup.NewWriter(w, backup.Header{Bucket: bucket, Created: time.Now().UTC()})
	if err != nil {
		return err
	}
	err = dump(ctx, s, func(m store.Message) error {
		return out.Write(backup.Entry{Key: m.Key, Value: m.Value, Revision: m.Revision, Deleted: m.Deleted})
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// BackupSequelize writes the whole bucket, as it is at one instant, to a JSON file as
// sequelize-natskv has it. It holds the whole bucket in memory.
func BackupSequelize(ctx context.Context, s store.Store, w io.Writer) error {
	entries := map[string]backup.Entry{}
	err := dump(ctx, s, func(m store.Message) error {
		if delete(entries, m.Key); !m.Deleted {
			entries[m.Key] = backup.Entry{Key: m.Key, Value: m.Value, Revision: m.Revision}
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

// dump delivers the whole bucket as it is at one instant: the end of the dump. A key that
// changes while dump reads is delivered again, or as a delete marker; its last message
// counts. So nothing has to be kept in memory. Keys without data are left out. ErrConflict
// when all records of a model are being removed at that time, which a feed does not tell of.
func dump(ctx context.Context, s store.Store, each func(store.Message) error) error {
	if err := store.CatchUp(ctx, s); err != nil {
		return err
	}
	start, err := s.Revision(ctx, store.Acknowledged)
	if err != nil {
		return err
	}
	models, err := catalogue.ListReadable(ctx, s)
	if err != nil {
		return err
	}
	feed, err := s.Feed(ctx, store.FeedOptions{Pattern: keys.Everything})
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
			return errors.New("the bucket was made again, or its server was away for long; begin again")
		// A key that was deleted before the dump began has not been delivered live, so its
		// marker is not needed.
		case keys.Passing(ev.Message.Key), ev.Message.Deleted && ev.Message.Revision <= start:
			continue
		}
		if keys.IsSchema(ev.Message.Key) && ev.Message.Live() {
			def, err := catalogue.Decode(ev.Message)
			if err == nil && removed(def, models, start) {
				return fmt.Errorf("%w: the records of %s were removed while the backup was made; make it again", errs.ErrConflict, def.Name)
			}
		}
		if err := each(ev.Message); err != nil {
			return err
		}
	}
}

// removed reports whether the records of a model are being removed, or were since a revision
// at which the models were as they were read then.
func removed(now *schema.Definition, then []*schema.Definition, start uint64) bool {
	if now.Emptying != nil {
		return true
	}
	i := slices.IndexFunc(then, func(d *schema.Definition) bool { return d.Name == now.Name })
	if i < 0 { // it was not there, or dropped
		return max(now.Emptied, now.Born) > start
	}
	return now.Dropped || now.Emptied != then[i].Emptied || !now.Same(then[i])
}
