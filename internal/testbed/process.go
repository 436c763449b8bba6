package testbed

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
)

// nodeEnv holds the nodeSpec of a process that is to be a node.
const nodeEnv = "NATSORM_TESTBED_NODE"

// ready is the line that a node writes when clients can connect to it.
const ready = "ready"

// beNode turns this process into a node if it was started as one. It does not return then.
func beNode() {
	text := os.Getenv(nodeEnv)
	if text == "" {
		return
	}
	if err := serveNode(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveNode runs a server until the parent closes standard input or is gone. It answers
// each line of that by whether it is the leader of JetStream.
func serveNode(text string) error {
	var spec nodeSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	s, err := spec.start(ofProcesses)
	if err != nil {
		return err
	}
	fmt.Println(ready)
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		fmt.Println(s.JetStreamIsLeader())
	}
	shutdown(s)
	return asked.Err()
}

// process is a node in a process of its own.
type process struct {
	dir    string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // what it writes, after ready
	exited chan error  // the answer of Wait
}

func startProcess(ctx context.Context, spec nodeSpec) (life, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	stderr, err := os.OpenFile(filepath.Join(spec.Dir, "stderr.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer stderr.Close() // the process has its own
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{dir: spec.Dir, cmd: cmd, stdin: stdin, lines: make(chan string), exited: make(chan error, 1)}
	up := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == ready {
				close(up)
				break
			}
		}
		for lines.Scan() { // until it exits, as Wait wants it
			p.lines <- lines.Text()
		}
		close(p.lines)
		p.exited <- cmd.Wait()
	}()
	select {
	case <-up:
		return p, nil
	case err := <-p.exited:
		_ = stdin.Close()
		return nil, fmt.Errorf("ended at its start: %w: %s", err, p.lastWords())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("did not start: %w", ctx.Err()), p.kill())
	}
}

func (p *process) leads() (bool, error) {
	if _, err := fmt.Fprintln(p.stdin); err != nil {
		return false, err
	}
	return <-p.lines == "true", nil
}

func (p *process) kill() error { return p.gone(p.cmd.Process.Kill(), false) }

func (p *process) stop(ctx context.Context) error {
	err := p.stdin.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	return p.gone(err, true)
}

// gone waits for the end of the process. The exit status of a kill is not an error. A
// process that had ended before, or that did not end in order when asked to, is one.
func (p *process) gone(err error, orderly bool) error {
	exit := <-p.exited
	_ = p.stdin.Close() // most often closed already
	if errors.Is(err, os.ErrProcessDone) || orderly && exit != nil {
		return fmt.Errorf("ended by itself: %v: %s", exit, p.lastWords())
	}
	return err
}

func (p *process) pause() error  { return Suspend(p.cmd.Process) }
func (p *process) resume() error { return Resume(p.cmd.Process) }

// lastWords is the end of what the node wrote to standard error.
func (p *process) lastWords() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "stderr.log"))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-2000):]))
}
