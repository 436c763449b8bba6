// Package embedded runs a real nats-server inside the process, so that a program has
// its database without anything to install or to start.
//
//	srv, err := embedded.Start(embedded.Config{Dir: "data"})
//	if err != nil {
//		return err
//	}
//	defer srv.Close()
//	db, err := srv.Open(ctx, natsorm.Config{Bucket: "shop"})
//	if err != nil {
//		return err
//	}
//	defer db.Close()
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/refusal"
)

// Sync says when writes reach the disk.
type Sync int

const (
	// SyncAlways syncs every write to the disk before it is acknowledged, so an
	// acknowledged write survives a power cut. This is the default.
	SyncAlways Sync = iota

	// SyncInterval leaves writing to the operating system, and syncs every two
	// minutes, as nats-server does by default. Writes are several times faster. An
	// acknowledged write survives the end of the process, also by kill -9, but a
	// power cut may take those of the last two minutes.
	SyncInterval
)

// Config says where the server keeps its data and who can reach it.
type Config struct {
	// Dir is the directory for the data. It is created when it does not exist, and
	// only one server at a time can use it. docs/large-buckets.md says what millions of
	// records take. Defaults to "": the data is kept in
	// memory, and is gone after Close.
	Dir string

	// Sync says when writes reach the disk; without a Dir it means nothing.
	// Defaults to SyncAlways.
	Sync Sync

	// Port is the TCP port on which other processes can connect; -1 takes any free
	// one. Defaults to 0: there is no port, and only this process can connect.
	Port int

	// Host is the address that Port listens on. Defaults to 127.0.0.1. There is no
	// authentication: anyone who can reach the address can read and write everything.
	Host string

	// MaxPayload is the largest message, and so the largest record, in bytes: at
	// most 64 MiB. Defaults to 1 MiB, which is nats-server's default.
	MaxPayload int

	// Logger receives the server's own warnings and errors, such as that the disk is full.
	// Close returns when it has got them all. Defaults to slog.Default.
	Logger *slog.Logger
}

// maxPayload is the largest MaxPayload that nats-server accepts, in bytes.
const maxPayload = 64 << 20

// readyTimeout is how long Start waits for the server, which reads what is in Dir first.
const readyTimeout = time.Minute

// Server is a nats-server in this process. It is safe for concurrent use.
type Server struct {
	ns     *server.Server
	memory bool         // there is no Config.Dir
	dir    string       // a temporary directory, which Close removes; "" for none
	lock   *flock.Flock // on Config.Dir; nil in memory
	log    *serverLog
	once   sync.Once // for Close
}

// ErrDirInUse is the error of Start when another server, most often one in another
// process, uses Config.Dir.
var ErrDirInUse = errors.New("embedded: the directory is in use by another server")

// Start starts a server and returns when it is ready, which takes longer the more data
// there is in Dir. The error is ErrDirInUse when another server uses Dir. When the server
// itself fails to start, the error quotes the first one in its log.
func Start(cfg Config) (*Server, error) {
	s := &Server{memory: cfg.Dir == ""}
	opts := &server.Options{
		ServerName: "natsorm-embedded",
		Host:       cfg.Host,
		Port:       cfg.Port,
		DontListen: cfg.Port == 0,
		JetStream:  true,
		StoreDir:   cfg.Dir,
		SyncAlways: cfg.Sync == SyncAlways && cfg.Dir != "",
		NoSigs:     true,
		NoLog:      true,
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	if cfg.MaxPayload < 0 || cfg.MaxPayload > maxPayload {
		return nil, fmt.Errorf("embedded: Config.MaxPayload is %d; use 1 to %d bytes", cfg.MaxPayload, maxPayload)
	}
	opts.MaxPayload = int32(cfg.MaxPayload) // 0 is the server's default
	if err := s.prepare(opts); err != nil {
		s.release()
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		s.release()
		return nil, fmt.Errorf("embedded: %w", err)
	}
	s.ns = ns
	s.log = newServerLog(cfg.Logger, func(f *refusal.Failure) {
		f.Server = ns.ID()
		refusal.Fail(f)
	})
	ns.SetLogger(s.log, false, false)
	ns.Start()
	// Some errors, such as a port that is taken, only come in the server's log.
	if s.log.first() != "" || !ns.ReadyForConnections(readyTimeout) || !ns.JetStreamEnabled() {
		s.Close()
		return nil, fmt.Errorf("embedded: the server did not start on %q and port %d: %s", opts.StoreDir, cfg.Port, s.log.first())
	}
	return s, nil
}

// prepare makes the server's directory and locks it. Without a Dir it is a temporary
// one: JetStream needs a directory even for streams in memory.
func (s *Server) prepare(opts *server.Options) (err error) {
	if s.memory {
		s.dir, err = os.MkdirTemp("", "natsorm-")
		opts.StoreDir = s.dir
		return err
	}
	if err := os.MkdirAll(opts.StoreDir, 0o755); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	s.lock = flock.New(filepath.Join(opts.StoreDir, "natsorm.lock"))
	got, err := s.lock.TryLock()
	if err != nil {
		return fmt.Errorf("embedded: lock %q: %w", opts.StoreDir, err)
	}
	if !got {
		return fmt.Errorf("%w: %q; give that server a Port and connect to it with natsorm.Open, or use another Dir", ErrDirInUse, opts.StoreDir)
	}
	return nil
}

// Connect returns a new connection to the server, which does not use the network. The
// caller closes it.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{nats.InProcessServer(s.ns)}, opts...)...)
}

// Open opens a bucket on the server. It does what natsorm.Open does, and returns the same
// errors, but it ignores Config.Servers; and on a server without a Dir it keeps the
// bucket in memory, whatever Config.Storage says. Close the DB before the server.
func (s *Server) Open(ctx context.Context, cfg natsorm.Config) (*natsorm.DB, error) {
	if s.memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	cfg.Servers = []string{"nats://in-process"} // for errors; nothing is dialled
	cfg.NATS = append([]nats.Option{nats.InProcessServer(s.ns)}, cfg.NATS...)
	return natsorm.Open(ctx, cfg)
}

// URL is the address for other processes to connect to, for natsorm.Config.Servers. It
// is "" when the server has no Port.
func (s *Server) URL() string {
	if s.ns.Addr() == nil {
		return ""
	}
	return s.ns.ClientURL()
}

// Close stops the server and returns when it has stopped. The directory can then be used
// again. The error is always nil. Close may be called more than once.
func (s *Server) Close() error {
	s.once.Do(func() {
		if s.ns != nil {
			s.ns.Shutdown()
			s.ns.WaitForShutdown()
			refusal.Forget(s.ns.ID())
		}
		if s.log != nil {
			s.log.close()
		}
		s.release()
	})
	return nil
}

// release gives up what prepare took: the lock, and a temporary directory.
func (s *Server) release() {
	if s.lock != nil {
		_ = s.lock.Unlock() // the end of the process unlocks it too
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // it is in the system's temporary directory
	}
}
