package testbed

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// nodeSpec is what stays the same of a node from one start to the next.
type nodeSpec struct {
	Name    string
	Dir     string   // the directory of its streams, raft logs and log files
	Port    int      // the port for clients
	Route   int      // the port for the other nodes
	Routes  []string // the URLs of the other nodes
	Quick   bool     // elections have short timeouts
	Log     bool     // it writes server.log
	Verbose bool     // it logs what raft does
}

// start starts the server of a node.
func (spec nodeSpec) start(quick elections) (*server.Server, error) {
	if spec.Quick {
		quicken(quick)
	}
	opts := &server.Options{
		ServerName: spec.Name, Host: "127.0.0.1", Port: spec.Port, JetStream: true, StoreDir: spec.Dir, NoSigs: true, NoLog: true,
		// Without advertising, nodes reach each other by their proxies only.
		Cluster: server.ClusterOpts{Name: "testbed", Host: "127.0.0.1", Port: spec.Route, NoAdvertise: true},
		Routes:  server.RoutesFromStr(strings.Join(spec.Routes, ",")),
	}
	if spec.Log {
		opts.NoLog, opts.LogFile, opts.Debug = false, filepath.Join(spec.Dir, "server.log"), spec.Verbose
	}
	return run(opts)
}

// run starts a server and waits until clients can connect.
func run(opts *server.Options) (*server.Server, error) {
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		shutdown(s)
		return nil, errors.New("the server did not start")
	}
	return s, nil
}

func shutdown(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Node is one server of a Cluster. Its methods are for one goroutine.
type Node struct {
	spec nodeSpec
	own  bool // it runs in a process of its own
	life life // the running server; nil while the node is down
}

// life is the running server of a node, from a start to its end.
type life interface {
	kill() error
	stop(ctx context.Context) error
	pause() error
	resume() error
	leads() (bool, error)
}

// Name is the server's name.
func (n *Node) Name() string { return n.spec.Name }

// Addr is where clients connect.
func (n *Node) Addr() string { return fmt.Sprint("127.0.0.1:", n.spec.Port) }

// URL is Addr as clients want it.
func (n *Node) URL() string { return "nats://" + n.Addr() }

// Up reports whether the node was started and neither killed nor stopped.
func (n *Node) Up() bool { return n.life != nil }

// Start starts the node on the directory and ports that it always has, and
// returns once clients can connect.
func (n *Node) Start(ctx context.Context) error {
	var err error
	if n.own {
		n.life, err = startProcess(ctx, n.spec)
	} else {
		n.life, err = startInside(n.spec)
	}
	if err != nil {
		n.life = nil
		return fmt.Errorf("node %s: %w", n.spec.Name, err)
	}
	return nil
}

// Kill ends the node at once, as kill -9 does. Without a process of its own it
// shuts down in order.
func (n *Node) Kill() error { return n.end(life.kill) }

// Stop lets the node shut down in order: it gives its leaderships away.
func (n *Node) Stop(ctx context.Context) error {
	return n.end(func(l life) error { return l.stop(ctx) })
}

func (n *Node) end(how func(life) error) error {
	if n.life == nil {
		return nil
	}
	err := how(n.life)
	n.life = nil
	if err != nil {
		return fmt.Errorf("node %s: %w", n.spec.Name, err)
	}
	return nil
}

// Pause stops the node's process without ending it: its connections stay, and it does not
// notice that time passes. errors.ErrUnsupported when the system cannot do that, or the
// node has no process of its own.
func (n *Node) Pause() error { return n.life.pause() }

// Resume lets a paused node go on.
func (n *Node) Resume() error { return n.life.resume() }

// inside is a node in this process.
type inside struct{ ns *server.Server }

func startInside(spec nodeSpec) (life, error) {
	ns, err := spec.start(ofInsiders)
	if err != nil {
		return nil, err
	}
	return inside{ns}, nil
}

func (i inside) kill() error                { return i.stop(context.Background()) }
func (i inside) stop(context.Context) error { shutdown(i.ns); return nil }
func (i inside) pause() error               { return errors.ErrUnsupported }
func (i inside) resume() error              { return errors.ErrUnsupported }
func (i inside) leads() (bool, error)       { return i.ns.JetStreamIsLeader(), nil }
