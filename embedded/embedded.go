// Package embedded runs a real nats-server inside the process, so that a
// program has its database without anything to install or to start.
//
//	srv, err := embedded.Start(embedded.Config{Dir: "data"})
//	defer srv.Close()
//	db, err := srv.Open(ctx, natsorm.Config{Bucket: "shop"})
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
)

// Sync says when writes reach the disk.
type Sync int

const (
	// SyncAlways syncs every write before it is acknowledged: an acknowledged
	// write survives a power cut. The default.
	SyncAlways Sync = iota
	// SyncInterval leaves it to the operating system, and syncs every two
	// minutes: several times faster. An acknowledged write survives the end of
	// the process, also by kill -9, but a power cut may take the last minutes.
	SyncInterval
)

// Config says where the server keeps its data and who can reach it.
type Config struct {
	// Dir is the directory for the data, created when absent. One server at a
	// time uses it. Empty means memory: everything is gone after Close.
	Dir string

	// Sync is when writes reach the disk. Defaults to SyncAlways.
	Sync Sync

	// Port is a TCP port on Host for other processes, -1 for a free one.
	// Defaults to 0: no port, only this process can connect.
	Port int

	// Host is the address that Port listens on. Defaults to 127.0.0.1. There
	// is no authentication: think before opening it to a network.
	Host string

	// MaxPayload is the size limit of a message, and so of a record, in bytes,
	// at most 64 MiB. Defaults to 1 MiB, as of every nats-server.
	MaxPayload int
}

// maxPayload is the most that nats-server takes.
const maxPayload = 64 << 20

// readyTimeout bounds the start, which recovers what is in Dir.
const readyTimeout = time.Minute

// Server is a nats-server in this process.
type Server struct {
	ns     *server.Server
	memory bool
	dir    string // to remove after Close; empty for none
	lock   *flock.Flock
	once   sync.Once
}

// ErrDirInUse: another server, most often of another process, has the Dir.
var ErrDirInUse = errors.New("embedded: the directory is in use by another server")

// Start starts a server. ErrDirInUse when another one has the Dir.
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
	reason := &firstFault{}
	ns.SetLogger(reason, false, false)
	ns.Start()
	if reason.get() != "" || !ns.ReadyForConnections(readyTimeout) || !ns.JetStreamEnabled() {
		s.Close()
		return nil, fmt.Errorf("embedded: the server did not start on %q and port %d: %s", opts.StoreDir, cfg.Port, reason.get())
	}
	return s, nil
}

// firstFault is a server log that keeps the first error, for the message when
// the server does not start.
type firstFault struct {
	mu   sync.Mutex
	text string
}

func (l *firstFault) note(format string, v []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		l.text = fmt.Sprintf(format, v...)
	}
}

func (l *firstFault) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

func (l *firstFault) Errorf(format string, v ...any) { l.note(format, v) }
func (l *firstFault) Fatalf(format string, v ...any) { l.note(format, v) }
func (l *firstFault) Noticef(string, ...any)         {}
func (l *firstFault) Warnf(string, ...any)           {}
func (l *firstFault) Debugf(string, ...any)          {}
func (l *firstFault) Tracef(string, ...any)          {}

// prepare makes and locks the directory. JetStream wants one even for streams
// in memory.
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

// Connect is a connection to the server that needs no network.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{nats.InProcessServer(s.ns)}, opts...)...)
}

// Open opens a bucket on the server, as natsorm.Open does elsewhere; it ignores
// Config.Servers. A server in memory keeps buckets that Open creates in memory. Close the DB before the
// server.
func (s *Server) Open(ctx context.Context, cfg natsorm.Config) (*natsorm.DB, error) {
	if s.memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	cfg.Servers = []string{"nats://in-process"} // for messages; nothing is dialled
	cfg.NATS = append([]nats.Option{nats.InProcessServer(s.ns)}, cfg.NATS...)
	return natsorm.Open(ctx, cfg)
}

// URL is where other processes connect to; empty without a Port.
func (s *Server) URL() string {
	if s.ns.Addr() == nil {
		return ""
	}
	return s.ns.ClientURL()
}

// Close stops the server, and returns when it has stopped. It may be called
// more than once.
func (s *Server) Close() error {
	s.once.Do(func() {
		if s.ns != nil {
			s.ns.Shutdown()
			s.ns.WaitForShutdown()
		}
		s.release()
	})
	return nil
}

func (s *Server) release() {
	if s.lock != nil {
		_ = s.lock.Unlock() // the process's end does it too
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // it is in the system's temporary directory
	}
}
