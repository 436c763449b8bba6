package calls

import (
	"cmp"
	"context"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/replica"
	"github.com/natsorm/natsorm/internal/store"
)

// hub is the DB's replicas in memory.
func (db *DB) hub() *replica.Hub {
	db.replicas.Do(func() {
		db.memory = &replica.Hub{Store: db.Bucket, Life: db.Life, Tasks: &db.Tasks, Logger: db.Logger}
	})
	return db.memory
}

// Load is the same model, read from memory until Unload; see replica.Hub.Join.
func (m *Model) Load(ctx context.Context) (*Model, error) {
	local, err := m.DB.hub().Join(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	n := *m
	n.local, n.latest = local, false
	return &n, nil
}

// Unload ends Load.
func (m *Model) Unload() { m.local.Close() }

// Reached waits until what is in memory is as new as a revision.
func (m *Model) Reached(ctx context.Context, revision uint64) error {
	_, _, err := m.local.At(ctx, revision)
	return err
}

// Acknowledged is a revision that covers every write that was acknowledged to anyone before the call.
func (db *DB) Acknowledged(ctx context.Context) (uint64, error) {
	if db.Bucket.Traits().Replicable {
		_, err := db.Bucket.Revision(ctx, store.Agreed)
		return db.Bucket.Floor(), err
	}
	return db.Bucket.Revision(ctx, store.Acknowledged)
}

// inMemory is a session that reads from memory what this DB has written, and what the bucket had when it
// had that. With latest, it has what anyone was told is written.
//
// It reads by the version of the model that was in force then, or a later one, which it may have to learn.
// What was there while the model was being moved or emptied is not shown: it waits until that has ended.
func (m *Model) inMemory(ctx context.Context) (*Session, error) {
	revision := m.DB.Bucket.Written()
	if m.latest {
		var err error
		if revision, err = m.DB.Acknowledged(ctx); err != nil {
			return nil, err
		}
	}
	for {
		now, _, err := m.local.At(ctx, revision)
		if err != nil {
			return nil, err
		}
		docs := m.Handle.Last()
		if now.Def == nil { // it cannot be read
			_, err := m.Handle.Current(ctx)
			return nil, cmp.Or(err, catalogue.Dropped(m.Name))
		}
		if now.Def.Paused() {
			if docs, err = m.Handle.Current(ctx); err != nil {
				return nil, err
			}
			revision = max(revision, docs.Def.Revision, now.Def.Revision+1)
			continue
		}
		if docs.Def.Revision < now.Def.Revision {
			if docs, err = m.Handle.Since(ctx, now.Def.Revision); err != nil {
				return nil, err
			}
		}
		if now.Def.Dropped || !now.Def.Same(docs.Def) {
			return nil, catalogue.Dropped(m.Name)
		}
		if docs.Def.Layout != now.Def.Layout { // the model was moved since
			revision = max(revision, docs.Def.Revision)
			continue
		}
		s := m.on(docs, nil)
		s.Local = now.Source(docs)
		return s, nil
	}
}
