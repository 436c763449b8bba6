package testbed

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout bounds the start of a server, which recovers what it has on disk.
const startTimeout = 30 * time.Second

// Server is a nats-server with JetStream in this process.
type Server struct {
	ns *server.Server
}

// StartServer starts a server, which is stopped at the end of the test. Streams with file
// storage are in a temporary directory, and are not synced to disk. Each change is applied
// to the server's options.
func StartServer(t testing.TB, change ...func(*server.Options)) *Server {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	for _, f := range change {
		f(opts)
	}
	ns, err := run(opts)
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(func() { shutdown(ns) })
	return &Server{ns: ns}
}

// URL is where clients connect.
func (s *Server) URL() string { return s.ns.ClientURL() }

// Connect opens a connection that uses no network. It is closed at the end of the test.
func (s *Server) Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(s.ns)}, opts...)...)
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}
