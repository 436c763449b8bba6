package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// nodes is the size of a cluster: one may be down.
const nodes = 3

// look is how long to wait before looking at the cluster again.
const look = 20 * time.Millisecond

// Cluster is three nodes, a proxy for each direction between two of them, and a
// connection to look at them. Its methods are for one goroutine.
type Cluster struct {
	Nodes []*Node
	links [nodes][nodes]*Proxy // from one node to another; nil to itself
	nc    *nats.Conn
	js    jetstream.JetStream
}

// ClusterOptions say how a cluster's servers run.
type ClusterOptions struct {
	Dir            string // for everything they write
	SlowElections  bool   // as outside of tests: 4 to 9 s without a leader after a kill
	VerboseServers bool   // debug lines in server.log
}

// StartCluster starts the nodes and waits until they have elected a leader.
func StartCluster(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	ports, err := freePorts(2 * nodes)
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	for i := range nodes {
		spec := nodeSpec{
			Name: fmt.Sprint("node", i), Dir: filepath.Join(o.Dir, fmt.Sprint("node", i)),
			Port: ports[i], Route: ports[nodes+i], Quick: !o.SlowElections, Verbose: o.VerboseServers,
		}
		for j := range nodes {
			if i == j {
				continue
			}
			link, err := NewProxy([]string{fmt.Sprint("127.0.0.1:", ports[nodes+j])}, 0)
			if err != nil {
				return nil, errors.Join(err, c.Close())
			}
			c.links[i][j] = link
			spec.Routes = append(spec.Routes, link.URL())
		}
		if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.Nodes = append(c.Nodes, &Node{spec: spec})
	}
	var wg sync.WaitGroup
	errs := make([]error, nodes)
	for i, n := range c.Nodes {
		wg.Go(func() { errs[i] = n.Start(ctx) })
	}
	wg.Wait()
	err = errors.Join(errs...)
	if err == nil {
		err = c.connect(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// connect opens the connection that looks at the cluster, past every proxy.
func (c *Cluster) connect(ctx context.Context) error {
	opts := nats.GetDefaultOptions()
	for _, a := range c.Addrs() {
		opts.Servers = append(opts.Servers, "nats://"+a)
	}
	opts.MaxReconnect, opts.ReconnectWait, opts.ReconnectJitter = -1, look, 0
	opts.PingInterval, opts.MaxPingsOut = time.Second, 2 // of a node that is paused
	opts.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {}
	nc, err := opts.Connect()
	if err != nil {
		return err
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc); err != nil {
		return err
	}
	return c.until(ctx, func(ctx context.Context) error {
		_, err := c.js.AccountInfo(ctx) // the leader of the whole cluster answers
		return err
	})
}

// Addrs are the addresses for clients, by node.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Addr())
	}
	return out
}

// Leader is the node that leads the stream, as soon as there is one.
func (c *Cluster) Leader(ctx context.Context, stream string) (*Node, error) {
	var leader *Node
	err := c.until(ctx, func(ctx context.Context) error {
		info, err := c.info(ctx, stream)
		if err != nil {
			return err
		}
		for _, n := range c.Nodes {
			if n.Name() == info.Leader && n.Up() {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("stream %s has no leader", stream)
	})
	return leader, err
}

// StepDown asks the stream's leader to give its place to another node.
func (c *Cluster) StepDown(ctx context.Context, stream string) error {
	_, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	return err
}

// Links calls do for the connections between a node and the others.
func (c *Cluster) Links(node *Node, do func(*Proxy)) {
	for i := range nodes {
		for j := range nodes {
			if i != j && (c.Nodes[i] == node || c.Nodes[j] == node) {
				do(c.links[i][j])
			}
		}
	}
}

// Settled waits until every node is up, there is a leader for everything, and
// each replica of the stream has all that the leader has.
func (c *Cluster) Settled(ctx context.Context, stream string) error {
	for _, n := range c.Nodes {
		if !n.Up() {
			return fmt.Errorf("%s is down", n.Name())
		}
	}
	return c.until(ctx, func(ctx context.Context) error {
		if _, err := c.js.AccountInfo(ctx); err != nil {
			return err
		}
		info, err := c.info(ctx, stream)
		if err != nil {
			return err
		}
		current := 0
		for _, r := range info.Replicas {
			if r.Current && !r.Offline {
				current++
			}
		}
		if info.Leader == "" || current < len(c.Nodes)-1 {
			return fmt.Errorf("stream %s: leader %q, %d replicas are current", stream, info.Leader, current)
		}
		return nil
	})
}

func (c *Cluster) info(ctx context.Context, stream string) (*jetstream.ClusterInfo, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo().Cluster
	if info == nil {
		return nil, fmt.Errorf("stream %s is not replicated", stream)
	}
	return info, nil
}

// until asks again and again until there is no error.
func (c *Cluster) until(ctx context.Context, ask func(ctx context.Context) error) error {
	for {
		short, cancel := context.WithTimeout(ctx, time.Second)
		err := ask(short)
		cancel()
		if err == nil {
			return nil
		}
		if wait(ctx, look) != nil {
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		}
	}
}

// Close ends every node, whatever state it is in. Its error says which of them
// had ended by itself before.
func (c *Cluster) Close() error {
	if c.nc != nil {
		c.nc.Close()
	}
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Kill())
	}
	for _, from := range c.links {
		for _, link := range from {
			if link != nil {
				link.Close()
			}
		}
	}
	return errors.Join(errs...)
}

// wait waits for d, or for the end of ctx, whose error it then returns.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// freePorts are ports that nobody listens on. A node comes back to its own, so
// they are taken from below those that systems give to outgoing connections:
// nobody gets one by chance while its node is down.
func freePorts(n int) ([]int, error) {
	const lowest, highest = 20_000, 32_000
	given.Lock()
	defer given.Unlock()
	var ports []int
	for try := 0; len(ports) < n; try++ {
		port := lowest + rand.N(highest-lowest)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			if try > 1000 {
				return nil, err
			}
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		ports = append(ports, port)
		given.ports[port] = true
	}
	return ports, nil
}

// given are the ports of all clusters of this process.
var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}
