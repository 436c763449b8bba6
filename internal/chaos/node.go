package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// nodeEnv holds the nodeSpec of a process that is to be a node.
const nodeEnv = "NATSORM_CHAOS_NODE"

// startTimeout bounds the start of a node, which recovers what it has on disk.
const startTimeout = 30 * time.Second

// ready is the line that a node writes when clients can connect to it.
const ready = "ready"

// nodeSpec is what a node is, over all of its lives.
type nodeSpec struct {
	Name    string
	Dir     string   // streams, raft logs, and the log files
	Port    int      // for clients
	Route   int      // for the other nodes
	Routes  []string // to the other nodes
	Quick   bool     // short election timeouts
	Verbose bool     // log what raft does
}

// NodeMain turns the process into a node when it was started as one, and does
// not return then. TestMain calls it first.
func NodeMain() {
	text := os.Getenv(nodeEnv)
	if text == "" {
		return
	}
	if err := serve(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server until the parent closes standard input or is gone.
func serve(text string) error {
	var spec nodeSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	if spec.Quick {
		quickElections()
	}
	s, err := server.NewServer(&server.Options{
		ServerName: spec.Name, Host: "127.0.0.1", Port: spec.Port,
		JetStream: true, StoreDir: spec.Dir,
		// Without advertising, nodes reach each other by their proxies only.
		Cluster: server.ClusterOpts{Name: "chaos", Host: "127.0.0.1", Port: spec.Route, NoAdvertise: true},
		Routes:  server.RoutesFromStr(strings.Join(spec.Routes, ",")),
		LogFile: filepath.Join(spec.Dir, "server.log"), Debug: spec.Verbose, NoSigs: true,
	})
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		return errors.New("the server did not start; see server.log")
	}
	fmt.Println(ready)
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	s.WaitForShutdown()
	return err
}

// Node is one server of a Cluster. Its methods are for one goroutine.
type Node struct {
	spec   nodeSpec
	cmd    *exec.Cmd // nil while it is down
	stdin  io.Closer
	exited chan error // the answer of Wait
}

// Name is the server's name.
func (n *Node) Name() string { return n.spec.Name }

// Addr is where clients connect.
func (n *Node) Addr() string { return fmt.Sprint("127.0.0.1:", n.spec.Port) }

// Up reports whether the node was started and neither killed nor stopped.
func (n *Node) Up() bool { return n.cmd != nil }

// Start starts the node on the directory and ports that it always has, and
// returns once clients can connect.
func (n *Node) Start(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(n.spec)
	if err != nil {
		return err
	}
	stderr, err := os.OpenFile(filepath.Join(n.spec.Dir, "stderr.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close() // the process has its own
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.stdin, n.exited = cmd, stdin, make(chan error, 1)
	exited, up := n.exited, make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == ready {
				close(up)
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout) // until it exits, as Wait wants it
		exited <- cmd.Wait()
	}()
	select {
	case <-up:
		return nil
	case err := <-exited:
		n.cmd = nil
		_ = stdin.Close()
		return fmt.Errorf("node %s ended at its start: %w: %s", n.spec.Name, err, n.lastWords())
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("node %s did not start: %w", n.spec.Name, ctx.Err()), n.Kill())
	}
}

// Kill ends the node at once, as kill -9 does.
func (n *Node) Kill() error {
	if n.cmd == nil {
		return nil
	}
	err := n.cmd.Process.Kill()
	return n.gone(err, false)
}

// Stop lets the node shut down in order: it gives its leaderships away.
func (n *Node) Stop(ctx context.Context) error {
	if n.cmd == nil {
		return nil
	}
	err := n.stdin.Close()
	stop := context.AfterFunc(ctx, func() { _ = n.cmd.Process.Kill() })
	defer stop()
	return n.gone(err, true)
}

// gone waits for the process. What it says about a kill is no error.
func (n *Node) gone(err error, orderly bool) error {
	exit := <-n.exited
	n.cmd = nil
	_ = n.stdin.Close() // most often closed already
	if errors.Is(err, os.ErrProcessDone) || orderly && exit != nil {
		return fmt.Errorf("node %s ended by itself: %v: %s", n.spec.Name, exit, n.lastWords())
	}
	return err
}

// Pause stops the process without ending it: its connections stay, and it
// does not know that time passes. ErrUnsupported where the system can not.
func (n *Node) Pause() error { return suspend(n.cmd.Process) }

// Resume lets a paused node go on.
func (n *Node) Resume() error { return resume(n.cmd.Process) }

// lastWords is the end of what the node wrote to standard error.
func (n *Node) lastWords() string {
	text, err := os.ReadFile(filepath.Join(n.spec.Dir, "stderr.log"))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-2000):]))
}
