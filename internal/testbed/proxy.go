package testbed

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialTimeout bounds the connection of a proxy to a server.
const dialTimeout = time.Second

// Proxy stands between one client and servers, or between one node and another.
// Each connection goes to the server that the proxy is routed to, or when that is
// down to the next one. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	targets  []string
	losses   *losses // nil for a proxy that passes bytes
	closing  chan struct{}
	wg       sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	blocked bool
	route   int
	delay   time.Duration
	rate    int // bytes a second in each direction; 0: as many as the other side takes
	held    int // pieces that are held back
	links   map[*link]struct{}
}

// link is one connection of the client, with the connection to a server that belongs to
// it.
type link struct {
	client, server net.Conn
	mute           bool // answers are not passed on; guarded by Proxy.mu
}

func (l *link) cut() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// StartProxy starts a proxy to the servers at the addresses, or URLs, routed to the
// first one. It ends with the test.
func StartProxy(t testing.TB, targets ...string) *Proxy {
	t.Helper()
	return endWith(t, func() (*Proxy, error) { return NewProxy(targets, 0) })
}

// StartLossyProxy is StartProxy for a proxy that loses the messages that Lose tells
// it to, and none before.
func StartLossyProxy(t testing.TB, targets ...string) *Proxy {
	t.Helper()
	return endWith(t, func() (*Proxy, error) { return newProxy(targets, 0, newLosses()) })
}

func endWith(t testing.TB, start func() (*Proxy, error)) *Proxy {
	t.Helper()
	p, err := start()
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

// NewProxy starts a proxy to the servers, routed to the one at position route.
func NewProxy(targets []string, route int) (*Proxy, error) { return newProxy(targets, route, nil) }

func newProxy(targets []string, route int, losses *losses) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, route: route, losses: losses, closing: make(chan struct{}), links: map[*link]struct{}{}}
	for _, t := range targets {
		p.targets = append(p.targets, strings.TrimPrefix(t, "nats://"))
	}
	p.wg.Go(p.accept)
	return p, nil
}

// URL is where the client connects.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Block cuts every connection and takes no new one, until Unblock.
func (p *Proxy) Block() {
	p.mu.Lock()
	p.blocked = true
	p.mu.Unlock()
	p.Cut()
}

// Unblock ends Block.
func (p *Proxy) Unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = false
}

// Cut breaks every connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Route makes the proxy lead to another server, and cuts the connections that it has.
func (p *Proxy) Route(target int) {
	p.mu.Lock()
	p.route = target % len(p.targets)
	p.mu.Unlock()
	p.Cut()
}

// Next routes to the server after the one that the proxy is routed to.
func (p *Proxy) Next() {
	p.mu.Lock()
	next := p.route + 1
	p.mu.Unlock()
	p.Route(next)
}

// Mute drops everything that the server sends on the connections that there are now. The
// client's requests still arrive and are carried out. Unmute cuts these connections, so
// that what was dropped is never delivered.
func (p *Proxy) Mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.mute = true
	}
}

// Unmute ends Mute.
func (p *Proxy) Unmute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.mute {
			l.cut()
		}
	}
}

// Delay holds everything back for d, in both directions; 0 ends that.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Held is how many pieces, read from either side, were held back and have not been passed on yet.
func (p *Proxy) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// Slow passes no more than so many bytes a second on, in each direction; 0 ends that.
func (p *Proxy) Slow(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytes
}

// Lose sets the function that decides which messages a lossy proxy loses. It is asked
// about each request, and later about the answer to it, both by the subject of the
// request; and about each message that others have published, by its own.
func (p *Proxy) Lose(decide func(subject string, answer bool) bool) { p.losses.set(decide) }

// LoseNothing ends Lose.
func (p *Proxy) LoseNothing() { p.losses.set(nothing) }

// Lost is how many messages a lossy proxy has lost.
func (p *Proxy) Lost() int { return p.losses.count() }

// Close ends the proxy and its connections, and waits for its goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
	}
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server := p.dial()
	if server == nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	if p.closed || p.blocked {
		l.cut()
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(l, client, server, false) })
	wg.Go(func() { p.pump(l, server, client, true) })
	wg.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// dial connects to the first server that takes it, nil when none does.
func (p *Proxy) dial() net.Conn {
	p.mu.Lock()
	route := p.route
	p.mu.Unlock()
	for i := range p.targets {
		if conn, err := net.DialTimeout("tcp", p.targets[(route+i)%len(p.targets)], dialTimeout); err == nil {
			return conn
		}
	}
	return nil
}

// pump passes the bytes of one direction on, until one of the two sides is gone. Then it
// cuts the link, which ends the other direction too.
func (p *Proxy) pump(l *link, from, to net.Conn, answers bool) {
	defer l.cut()
	next := p.reader(from)
	for {
		chunk, err := next()
		if !p.pass(l, chunk, to, answers) || err != nil {
			return
		}
	}
}

// pass passes a piece on, or holds it back first. It returns false when it could not.
func (p *Proxy) pass(l *link, chunk []byte, to net.Conn, answers bool) bool {
	p.mu.Lock()
	mute, delay := l.mute && answers, p.delay
	if p.rate > 0 {
		delay += time.Duration(len(chunk)) * time.Second / time.Duration(p.rate)
	}
	if delay > 0 {
		p.held++
		defer func() { // when the other side has it
			p.mu.Lock()
			defer p.mu.Unlock()
			p.held--
		}()
	}
	p.mu.Unlock()
	if delay > 0 && !p.holdBack(delay) {
		return false
	}
	if len(chunk) == 0 || mute {
		return true
	}
	_, err := to.Write(chunk)
	return err == nil
}

// reader returns a function that reads the next bytes of a connection to pass on.
func (p *Proxy) reader(from net.Conn) func() ([]byte, error) {
	if p.losses != nil {
		return p.losses.reader(from)
	}
	buf := make([]byte, 64<<10)
	return func() ([]byte, error) {
		n, err := from.Read(buf)
		return buf[:n], err
	}
}

// holdBack waits for d. It returns false when the proxy was closed meanwhile.
func (p *Proxy) holdBack(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.closing:
		return false
	}
}
