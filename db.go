package natsorm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/codec"
	"github.com/natsorm/natsorm/internal/keys"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/txn"
	"github.com/natsorm/natsorm/internal/workers"
)

// DB is a bucket and the models in it. It is safe for concurrent use.
type DB struct {
	cfg           Config
	nc            *nats.Conn
	owned         bool // Open made the connection, so Close closes it
	store         *bucket.Bucket
	transactions  txn.Runner
	announcements *catalogue.Announcements

	life context.Context // ends with Close
	stop context.CancelFunc

	tasks   workers.Tasks // the goroutines of watchers
	closing sync.Once
}

// connectTimeout bounds how long connecting to one server takes when the context has no
// deadline.
const connectTimeout = 2 * time.Second

// Open connects to a server and opens a bucket. It returns within ctx's deadline.
//
// Errors: ErrInvalid for a wrong Config. ErrUnsupportedServer for a server that is too
// old. Otherwise the error of nats.go, such as nats.ErrNoServers or
// nats.ErrAuthorization.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	opts := nats.GetDefaultOptions()
	opts.Servers = cfg.Servers
	opts.User, opts.Password = cfg.User, cfg.Pass
	opts.Timeout = connectTimeout
	opts.Name = "natsorm"
	opts.MaxReconnect = -1 // an outage of any length ends
	opts.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) {
		cfg.Logger.Warn("natsorm: connection error", "error", err)
	}
	for _, o := range cfg.NATS {
		if o == nil {
			continue
		}
		if err := o(&opts); err != nil {
			return nil, fmt.Errorf("%w: Config.NATS: %w", ErrInvalid, err)
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		opts.Timeout = min(opts.Timeout, time.Until(deadline)/time.Duration(len(cfg.Servers)))
	}
	nc, err := connect(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("natsorm: connect to %v: %w; is nats-server running there with JetStream (-js)? Package embedded needs no server", cfg.Servers, err)
	}
	db, err := New(ctx, nc, cfg)
	if err != nil {
		nc.Close()
		return nil, err
	}
	db.owned = true
	return db, nil
}

// connect connects, or gives up when ctx ends. nats.go then goes on in the background,
// until its own timeout.
func connect(ctx context.Context, opts nats.Options) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := opts.Connect()
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// New opens a bucket on a connection that belongs to the caller: Close leaves it open.
// Its errors are those of Open.
func New(ctx context.Context, nc *nats.Conn, cfg Config) (*DB, error) {
	if err := checkContext(ctx); err != nil {
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
		Bucket: cfg.Bucket, Replicas: cfg.Replicas, Storage: cfg.Storage, History: cfg.History, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	db := &DB{cfg: cfg, nc: nc, store: st, announcements: catalogue.Listen(st, st.Epoch)}
	if err := st.Hear(keys.Schemas(), db.announcements.Hear); err != nil {
		st.Close()
		return nil, err
	}
	db.life, db.stop = context.WithCancel(context.Background())
	return db, nil
}

// Close ends every watch and waits for it, frees everything on the server, and closes
// the connection if Open made it. Calls under way, and all later ones, return
// ErrClosed. Close may be called more than once.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.tasks.Refuse()
		db.stop()
		db.tasks.Wait()
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

// Conn is the connection to the server.
func (db *DB) Conn() *nats.Conn { return db.nc }

// Model opens a model of the catalogue by its name, with records as maps. It returns
// ErrNotFound when the catalogue has no such model.
func (db *DB) Model(ctx context.Context, name string) (m *Model[Record], err error) {
	err = db.call(ctx, operation{name: "Model"}, func() error {
		def, _, err := catalogue.Load(ctx, db.store, name)
		if err != nil {
			return err
		}
		now, err := records.New(db.store, def)
		if err == nil {
			m = newModel(db, now, codec.NewRecord[Record](def))
		}
		return err
	})
	return m, err
}

// Models returns the schemas of all models in the catalogue, sorted by name.
func (db *DB) Models(ctx context.Context) (schemas []Schema, err error) {
	err = db.call(ctx, operation{name: "Models"}, func() error {
		defs, err := catalogue.List(ctx, db.store)
		for _, def := range defs {
			schemas = append(schemas, schemaOf(def))
		}
		return err
	})
	return schemas, err
}
