package calls

import (
	"cmp"
	"context"

	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/replica"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/value"
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
	_, err := m.local.At(ctx, func(bool) (uint64, error) { return revision, nil })
	return err
}

// Fresh waits until what is in memory has every write that was acknowledged to anyone before the call.
func (m *Model) Fresh(ctx context.Context) error {
	_, err := m.local.At(ctx, func(bool) (uint64, error) { return m.DB.acknowledged(ctx) })
	return err
}

// acknowledged is a revision that covers every write that was acknowledged to anyone before the call.
func (db *DB) acknowledged(ctx context.Context) (uint64, error) {
	if db.Bucket.Traits().Replicable {
		_, err := db.Bucket.Revision(ctx, store.Agreed)
		return db.Bucket.Floor(), err
	}
	return db.Bucket.Revision(ctx, store.Acknowledged)
}

// reached is what is in memory, when that has the revision after, and what this DB has written; with latest, what anyone
// was told is written.
func (m *Model) reached(ctx context.Context, after *uint64) (*replica.Snapshot, error) {
	if !m.latest { // most often nothing is to be waited for
		if asOf, now := m.local.Now(); now != nil && asOf >= max(*after, m.DB.Bucket.Written()) && m.DB.Life.Err() == nil {
			return now, nil
		}
	}
	return m.local.At(ctx, func(lost bool) (revision uint64, err error) {
		if lost { // the bucket may be another one
			*after = 0
		}
		if revision = m.DB.Bucket.Written(); m.latest {
			revision, err = m.DB.acknowledged(ctx)
		}
		return max(revision, *after), err
	})
}

// inMemory is a session that reads from memory what this DB has written, and what the bucket had when it
// had that. With latest, it has what anyone was told is written.
//
// It reads by the version of the model that was in force then, or a later one, which it may have to learn.
// What was there while the model was being moved or emptied is not shown: it waits until that has ended.
func (m *Model) inMemory(ctx context.Context) (*Session, error) {
	after := uint64(0) // a revision at which the model was being moved or emptied
	for {
		now, err := m.reached(ctx, &after)
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
			after = max(docs.Def.Revision, now.Def.Revision+1)
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
			after = docs.Def.Revision
			continue
		}
		s := m.on(docs, nil)
		s.Local = now.Source(docs)
		return s, nil
	}
}

// offering gives a transaction records that are in memory. What it is not given it reads from the bucket: a record that
// is not there, because only the bucket knows how long it has not been; and all while the model in
// memory has another version than in the transaction, or was read by Latest.
func (m *Model) offering(t *tx) func(ctx context.Context, ids ...value.Value) error {
	used := t.models[m.Handle].outside
	return func(ctx context.Context, ids ...value.Value) error {
		if m.latest || !t.Run.Offered() {
			return nil
		}
		want := func(lost bool) (uint64, error) {
			if lost { // the bucket may be another one, in which what was read has no revision
				return 0, nil
			}
			return max(t.Run.AsOf(), m.DB.Bucket.Written()), nil
		}
		if _, err := m.local.At(ctx, want); err != nil {
			return err
		}
		asOf, now := m.local.Now()
		if now == nil || now.Def == nil || now.Def.Revision != used.Def.Revision || now.Def.Paused() {
			return nil
		}
		for _, id := range ids {
			if e, ok := now.Stored(used, id); ok {
				if err := t.Run.Offer(asOf, e); err != nil {
					return err
				}
			}
		}
		return nil
	}
}
