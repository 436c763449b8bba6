package chaos

import (
	"net"
	"sync"
	"time"
)

// dialTimeout bounds the connection of a proxy to a node.
const dialTimeout = time.Second

// Proxy stands between one client and the cluster, or between one node and
// another. Each connection goes to the node the proxy is routed to, or when that
// is down to the next one. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	targets  []string
	wg       sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	blocked bool
	route   int
	delay   time.Duration
	links   map[*link]struct{}
}

// link is one connection of the client, and the one to a node it stands for.
type link struct {
	client, node net.Conn
	mute         bool // answers are swallowed; guarded by Proxy.mu
}

func (l *link) cut() {
	_ = l.client.Close()
	_ = l.node.Close()
}

// NewProxy starts a proxy to the addresses, routed to the one at position
// route.
func NewProxy(targets []string, route int) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, targets: targets, route: route, links: map[*link]struct{}{}}
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

// Route sends the client to another node: what it has is cut.
func (p *Proxy) Route(target int) {
	p.mu.Lock()
	p.route = target % len(p.targets)
	p.mu.Unlock()
	p.Cut()
}

// Next routes to the node after the one that the proxy is routed to.
func (p *Proxy) Next() {
	p.mu.Lock()
	next := p.route + 1
	p.mu.Unlock()
	p.Route(next)
}

// Mute swallows, on the connections there are, what the node sends. The
// requests of the client still arrive and are carried out. Unmute cuts these
// connections: what was swallowed is never delivered.
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

// Close ends the proxy and its connections, and waits for its goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
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
	node := p.dial()
	if node == nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, node: node}
	p.mu.Lock()
	if p.closed || p.blocked {
		l.cut()
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(l, client, node, false) })
	wg.Go(func() { p.pump(l, node, client, true) })
	wg.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// dial connects to the first node that takes it, nil when none does.
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

// pump copies one direction until either side is gone, and takes the other
// direction with it.
func (p *Proxy) pump(l *link, from, to net.Conn, answers bool) {
	defer l.cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		mute, delay := l.mute && answers, p.delay
		p.mu.Unlock()
		if delay > 0 {
			time.Sleep(delay) // latency is what this is for
		}
		if n > 0 && !mute {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
