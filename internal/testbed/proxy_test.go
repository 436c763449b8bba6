package testbed

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo is a server that answers each line with its name and the line, and says
// on a channel what it got.
func echo(t *testing.T, name string) (addr string, got chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got = make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					got <- lines.Text()
					fmt.Fprintln(conn, name, lines.Text())
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), got
}

// dial connects a client to the proxy.
func dial(t *testing.T, p *Proxy) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func TestProxy(t *testing.T) {
	t.Parallel()
	a, gotA := echo(t, "a")
	b, gotB := echo(t, "b")
	p, err := NewProxy([]string{a, fmt.Sprint("127.0.0.1:", FreePort(t)), b}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	ask := func(conn net.Conn, r *bufio.Reader, want string) {
		t.Helper()
		fmt.Fprintln(conn, "hello")
		if answer, err := r.ReadString('\n'); err != nil || answer != want+" hello\n" {
			t.Fatalf("%q, %v from %s", answer, err, want)
		}
	}
	ended := func(r *bufio.Reader) {
		t.Helper()
		if answer, err := r.ReadString('\n'); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Fatalf("%q, %v from a connection that is cut", answer, err)
		}
	}

	conn, r := dial(t, p)
	ask(conn, r, "a")
	<-gotA

	p.Mute() // the request arrives, the answer does not, and the connection ends
	fmt.Fprintln(conn, "unheard")
	if got := <-gotA; got != "unheard" {
		t.Fatalf("a got %q", got)
	}
	other, otherR := dial(t, p) // comes later, and is not concerned
	ask(other, otherR, "a")
	<-gotA
	p.Unmute()
	ended(r)
	ask(other, otherR, "a")
	<-gotA

	p.Next() // to one that is not there, and so on to the next
	ended(otherR)
	conn, r = dial(t, p)
	ask(conn, r, "b")
	<-gotB

	const delay = 50 * time.Millisecond
	p.Delay(delay)
	start := time.Now()
	ask(conn, r, "b")
	<-gotB
	if took := time.Since(start); took < 2*delay {
		t.Errorf("a round trip takes %v with a delay of %v", took, delay)
	}
	p.Delay(0)

	p.Block()
	ended(r)
	_, r = dial(t, p)
	ended(r)
	p.Unblock()
	conn, r = dial(t, p)
	ask(conn, r, "b")

	p.Close()
	_, err = io.ReadAll(r)
	if err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("Close leaves a connection")
	}
}
