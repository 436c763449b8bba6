package natsorm

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/calls"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/dial"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
)

// DB is a bucket and the models in it. It is safe for concurrent use.
type DB struct {
	cfg   Config
	nc    *nats.Conn
	owned bool // Open made the connection, so Close closes it
	store *bucket.Bucket
	calls *calls.DB
	stop  context.CancelFunc // ends calls.Life

	sweeper *maintenance.Sweeper

	lapse   time.Duration // how long a lease of Migrate lasts; 0: the default
	closing sync.Once
}

// Open connects to a server and opens a bucket. It returns within ctx's deadline.
//
// Errors: ErrInvalid for a wrong Config. ErrUnsupportedServer for a server that is too
// old, and ErrUnsupportedBucket for a bucket in which messages go by themselves.
// ErrPermission for a user who lacks what every program needs. Otherwise the error of nats.go, such as nats.ErrNoServers or
// nats.ErrAuthorization.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if err := calls.CheckContext(ctx); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	opts, err := dial.Options(ctx, cfg.Servers, cfg.User, cfg.Pass, cfg.NATS, cfg.Logger)
	if err != nil {
		return nil, err
	}
	nc, err := dial.Connect(ctx, opts, cfg.WaitForServer)
	if err != nil {
		return nil, err
	}
	db, err := New(ctx, nc, cfg)
	if err != nil {
		nc.Close()
		return nil, err
	}
	db.owned = true
	return db, nil
}

// New opens a bucket on a connection that belongs to the caller: Close leaves it open.
// Make the connection with nats.ReconnectBufSize(-1), as Open does: otherwise a write that
// is published in the moment in which it breaks may be sent later, to whatever server is
// there then. Its errors are those of Open.
func New(ctx context.Context, nc *nats.Conn, cfg Config) (*DB, error) {
	if err := calls.CheckContext(ctx); err != nil {
		return nil, err
	}
	if nc == nil {
		return nil, fmt.Errorf("%w: New got a nil connection; use Open to make one", ErrInvalid)
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	st, err := bucket.Open(ctx, nc, bucket.Config{
		Bucket: cfg.Bucket, Replicas: cfg.Replicas, Storage: cfg.Storage, History: cfg.History, Wait: cfg.WaitForServer, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	knowledge := catalogue.NewKnowledge(st, st.Generation, func(ctx context.Context, model string) error {
		return maintenance.Resume(ctx, st, model)
	})
	if err := st.Hear(ctx, keys.Schemas(), knowledge.Hear); err != nil {
		knowledge.Close()
		st.Close()
		return nil, fmt.Errorf("natsorm: open bucket %q: %w", cfg.Bucket, err)
	}
	life, stop := context.WithCancel(context.Background())
	db := &DB{cfg: cfg, nc: nc, store: st, stop: stop, calls: &calls.DB{Bucket: st, Knowledge: knowledge, Life: life, Logger: cfg.Logger}}
	db.sweeper = &maintenance.Sweeper{Store: st, Every: cfg.SweepEvery, Logger: cfg.Logger}
	db.calls.Tasks.Go(func() { db.sweeper.Run(db.calls.Life) })
	return db, nil
}

// Close ends every watch, and a sweep in the background, and waits for them, frees everything on the server, and closes
// the connection if Open made it. Calls under way, and all later ones, return
// ErrClosed. Close may be called more than once.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.calls.Tasks.Refuse()
		db.stop()
		db.calls.Tasks.Wait()
		db.calls.Knowledge.Close()
		db.store.Close()
		if db.owned {
			db.nc.Close()
		}
	})
	return nil
}

// KV is the bucket as nats.go gives it. Reading through it does no harm. Writing
// through it bypasses the indexes: Check finds what is wrong then, and Repair mends it.
func (db *DB) KV() jetstream.KeyValue { return db.store.KV() }

// Conn is the connection to the server. One that Open made does not keep what is published
// while it is lost (nats.ReconnectBufSize).
func (db *DB) Conn() *nats.Conn { return db.nc }

// Model opens a model of the catalogue by its name, with records as maps. It returns
// ErrNotFound when the catalogue has no such model.
func (db *DB) Model(ctx context.Context, name string) (m *Model[Record], err error) {
	err = db.call(ctx, operation{Name: "Model"}, func() error {
		generation := db.store.Generation()
		def, _, err := catalogue.Load(ctx, db.store, name)
		if err != nil {
			return err
		}
		now, err := records.New(db.store, def)
		if err == nil {
			m = &Model[Record]{reads[Record]{model{db.calls.NewModel(ctx, generation, now, codec.NewRecord[Record](def, nil))}}}
		}
		return err
	})
	return m, err
}

// Models returns the schemas of all models in the catalogue, sorted by name.
func (db *DB) Models(ctx context.Context) (schemas []Schema, err error) {
	err = db.call(ctx, operation{Name: "Models"}, func() error {
		defs, err := catalogue.List(ctx, db.store)
		for _, def := range defs {
			b, failed := catalogue.BuildOf(ctx, db.store, def)
			err = cmp.Or(err, failed)
			schemas = append(schemas, schemaOf(def, b, db.store))
		}
		return err
	})
	return schemas, err
}
