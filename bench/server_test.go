package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// benchServer describes a server on files in a process of its own.
type benchServer struct {
	Dir string
	Key string // it encrypts its files with this
}

// serverEnv holds the benchServer of a process that is to be one.
const serverEnv = "NATSORM_BENCH_SERVER"

func TestMain(m *testing.M) {
	if text := os.Getenv(serverEnv); text != "" {
		if err := serveUntilClosed(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveUntilClosed runs a server until the parent closes standard input or is gone. It
// writes the server's URL first, and for each line that it reads the bytes of its live heap.
func serveUntilClosed(text string) error {
	var as benchServer
	if err := json.Unmarshal([]byte(text), &as); err != nil {
		return err
	}
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: as.Dir, JetStreamKey: as.Key, NoSigs: true, NoLog: true}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		return errors.New("the server did not start")
	}
	fmt.Println(srv.ClientURL())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		runtime.GC()
		runtime.GC() // what finalizers and pools held until the first one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(m.HeapAlloc)
	}
	srv.Shutdown()
	srv.WaitForShutdown()
	return in.Err()
}

// startServer starts a server on files in a process of its own, so that the memory of this
// one is the client's.
func startServer(b testing.TB, as benchServer) (url string, stop func()) {
	url, _, stop = startWatched(b, as)
	return url, stop
}

// startWatched is startServer, with a function that says how large the server's live heap is, in bytes.
func startWatched(b testing.TB, as benchServer) (url string, heap func() int, stop func()) {
	text, err := json.Marshal(as)
	check(b, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	check(b, err)
	stdout, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	out := bufio.NewReader(stdout)
	url, err = out.ReadString('\n')
	check(b, err)
	heap = func() int {
		_, err := fmt.Fprintln(stdin)
		check(b, err)
		line, err := out.ReadString('\n')
		check(b, err)
		n, err := strconv.Atoi(strings.TrimSpace(line))
		check(b, err)
		return n
	}
	return strings.TrimSpace(url), heap, func() {
		stdin.Close()
		check(b, cmd.Wait())
	}
}
