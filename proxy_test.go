package natsorm_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// proxy stands between clients and a server, and loses messages: requests on
// their way there, answers on their way back. It speaks the NATS protocol, so
// that the connection goes on without what was lost.
type proxy struct {
	target string

	mu     sync.Mutex
	lose   func(subject string, answer bool) bool
	asked  map[string]string // reply subjects of requests to JetStream: what was published
	conns  map[net.Conn]bool
	losses int
}

// newProxy listens on a free port. lose decides about each message with a reply:
// the request, by its subject, and later the answer to it.
func newProxy(t *testing.T, target string, lose func(subject string, answer bool) bool) (p *proxy, url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p = &proxy{target: strings.TrimPrefix(target, "nats://"), lose: lose, asked: map[string]string{}, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		wg.Wait()
	})
	return p, "nats://" + l.Addr().String()
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// point sends later connections to another server.
func (p *proxy) point(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// decide replaces what is lost.
func (p *proxy) decide(lose func(subject string, answer bool) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = lose
}

// lost is how many messages were.
func (p *proxy) lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.losses
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(client, server); server.Close() })
	wg.Go(func() { p.pump(server, client); client.Close() })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// pump passes protocol lines on, with the payloads that follow some of them.
func (p *proxy) pump(from, to net.Conn) {
	r := bufio.NewReaderSize(from, 64<<10)
	w := bufio.NewWriterSize(to, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		frame := line
		if args := bytes.Fields(line); len(args) > 2 && payload(string(args[0])) {
			size, err := strconv.Atoi(string(args[len(args)-1]))
			if err != nil {
				return
			}
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			if p.loses(args) {
				continue
			}
			frame = append(frame, body...)
		}
		if _, err := w.Write(frame); err != nil {
			return
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return
			}
		}
	}
}

func payload(verb string) bool {
	return verb == "PUB" || verb == "HPUB" || verb == "MSG" || verb == "HMSG"
}

// loses decides about a message by its line: "HPUB subject reply headers total"
// of a client, or "MSG subject sid size" of the server.
func (p *proxy) loses(args [][]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	verb, subject, lost := string(args[0]), string(args[1]), false
	switch {
	case verb == "PUB" && len(args) == 4, verb == "HPUB" && len(args) == 5:
		p.asked[string(args[2])] = subject
		lost = p.lose(subject, false)
	case verb == "MSG" || verb == "HMSG":
		if asked, ok := p.asked[subject]; ok {
			lost = p.lose(asked, true)
		}
	}
	if lost {
		p.losses++
	}
	return lost
}
