package testbed

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ClusterSize is how many nodes a cluster has: one may be down.
const ClusterSize = 3

// Cluster is three nodes, with a proxy for each direction between two of them, and a
// connection of its own to look at them. Its methods are for one goroutine.
type Cluster struct {
	Nodes []*Node
	links [ClusterSize][ClusterSize]*Proxy // from one node to another; nil to itself
	nc    *nats.Conn
	js    jetstream.JetStream
}

// ClusterOptions say how a cluster's servers run.
type ClusterOptions struct {
	Dir       string // the directory for everything that they write
	Processes bool   // each node is a process of its own, for a package that calls Main; otherwise all are in this process

	SlowElections  bool // elections take as long as outside of tests: 4 to 9 s after a start or a kill
	Logs           bool // each node writes server.log in its directory
	VerboseServers bool // with debug lines
}

// StartCluster starts a cluster in this process. It is closed at the end of the test.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	c, err := NewCluster(ctx, ClusterOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("testbed: %v", err)
		}
	})
	return c
}

// clusterTimeout bounds the start of a cluster.
const clusterTimeout = time.Minute

// NewCluster starts the nodes and waits until they have elected a leader.
func NewCluster(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	ports, err := FreePorts(2 * ClusterSize)
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	for i := range ClusterSize {
		spec := nodeSpec{
			Name: fmt.Sprint("node", i), Dir: filepath.Join(o.Dir, fmt.Sprint("node", i)),
			Port: ports[i], Route: ports[ClusterSize+i], Quick: !o.SlowElections, Log: o.Logs, Verbose: o.VerboseServers,
		}
		for j := range ClusterSize {
			if i == j {
				continue
			}
			link, err := NewProxy([]string{fmt.Sprint("127.0.0.1:", ports[ClusterSize+j])}, 0)
			if err != nil {
				return nil, errors.Join(err, c.Close())
			}
			c.links[i][j] = link
			spec.Routes = append(spec.Routes, link.URL())
		}
		if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.Nodes = append(c.Nodes, &Node{spec: spec, own: o.Processes})
	}
	var wg sync.WaitGroup
	errs := make([]error, ClusterSize)
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
	nc, err := c.dial()
	if err != nil {
		return err
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc); err != nil {
		return err
	}
	return Until(ctx, func(ctx context.Context) error {
		_, err := c.js.AccountInfo(ctx) // the leader of the whole cluster answers
		return err
	})
}

// dial opens a connection to any node. It moves to another node when that one goes away.
func (c *Cluster) dial() (*nats.Conn, error) {
	opts := nats.GetDefaultOptions()
	for _, n := range c.Nodes {
		opts.Servers = append(opts.Servers, n.URL())
	}
	opts.MaxReconnect, opts.ReconnectWait, opts.ReconnectJitter = -1, Look, 0
	opts.PingInterval, opts.MaxPingsOut = time.Second, 2 // to notice a node that is paused
	opts.AsyncErrorCB = func(*nats.Conn, *nats.Subscription, error) {}
	return opts.Connect()
}

// Connect opens a connection to any node, which is closed at the end of the test. It moves
// to another node when that one goes away.
func (c *Cluster) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := c.dial()
	if err != nil {
		t.Fatalf("testbed: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Addrs are the addresses for clients, by node.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Addr())
	}
	return out
}

// Leader returns the node that leads the stream. It waits until there is one.
func (c *Cluster) Leader(ctx context.Context, stream string) (*Node, error) {
	var leader *Node
	err := Until(ctx, func(ctx context.Context) error {
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

// MetaLeader returns the node that leads JetStream: it places streams and consumers. It
// waits until there is one. No node may be paused.
func (c *Cluster) MetaLeader(ctx context.Context) (leader *Node, err error) {
	err = Until(ctx, func(context.Context) error {
		for _, n := range c.Nodes {
			if !n.Up() {
				continue
			}
			switch leads, err := n.life.leads(); {
			case err != nil:
				return err
			case leads:
				leader = n
				return nil
			}
		}
		return errors.New("JetStream has no leader")
	})
	return leader, err
}

// StepDown asks the stream's leader to give its place to another node.
func (c *Cluster) StepDown(ctx context.Context, stream string) error {
	_, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	return err
}

// Fill writes at least so many bytes into a bucket's stream, all to one key, which it
// removes again. They are random, because servers compress what they send each other.
func (c *Cluster) Fill(ctx context.Context, stream string, bytes int) error {
	const size = 256 << 10
	subject := "$KV." + strings.TrimPrefix(stream, "KV_") + "._fill"
	value := make([]byte, size)
	for ; bytes > 0; bytes -= size {
		_, _ = crand.Read(value) // never fails
		if err := Until(ctx, func(ctx context.Context) error {
			_, err := c.js.Publish(ctx, subject, value)
			return err
		}); err != nil {
			return err
		}
	}
	return Until(ctx, func(ctx context.Context) error {
		_, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: nats.Header{"KV-Operation": {"DEL"}}})
		return err
	})
}

// Links calls do for the connections between a node and the others.
func (c *Cluster) Links(node *Node, do func(*Proxy)) {
	for i := range ClusterSize {
		for j := range ClusterSize {
			if i != j && (c.Nodes[i] == node || c.Nodes[j] == node) {
				do(c.links[i][j])
			}
		}
	}
}

// Settled waits until the cluster and the stream have leaders, and each replica of the
// stream has all that its leader has. It is an error when a node is down.
func (c *Cluster) Settled(ctx context.Context, stream string) error {
	for _, n := range c.Nodes {
		if !n.Up() {
			return fmt.Errorf("%s is down", n.Name())
		}
	}
	return Until(ctx, func(ctx context.Context) error {
		if _, err := c.js.AccountInfo(ctx); err != nil {
			return err
		}
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		conf, info := s.CachedInfo().Config, s.CachedInfo().Cluster
		if info == nil {
			return fmt.Errorf("stream %s has no leader", stream)
		}
		current := 0
		for _, r := range info.Replicas {
			if r.Current && !r.Offline {
				current++
			}
		}
		if info.Leader == "" || current != conf.Replicas-1 || len(info.Replicas) != current {
			return fmt.Errorf("stream %s: leader %q, %d of %d followers are current", stream, info.Leader, current, conf.Replicas-1)
		}
		return nil
	})
}

// Configure changes the configuration of a stream, and waits until the stream is settled.
func (c *Cluster) Configure(ctx context.Context, stream string, change func(*jetstream.StreamConfig)) error {
	err := Until(ctx, func(ctx context.Context) error {
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		conf := s.CachedInfo().Config
		change(&conf)
		_, err = c.js.UpdateStream(ctx, conf)
		return err
	})
	if err != nil {
		return err
	}
	return c.Settled(ctx, stream)
}

// Remake deletes a stream, and makes it anew, empty and with the same configuration.
func (c *Cluster) Remake(ctx context.Context, stream string) error {
	var conf jetstream.StreamConfig
	err := Until(ctx, func(ctx context.Context) error {
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		conf = s.CachedInfo().Config
		return nil
	})
	if err != nil {
		return err
	}
	err = Until(ctx, func(ctx context.Context) error {
		if err := c.js.DeleteStream(ctx, stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = Until(ctx, func(ctx context.Context) error {
		_, err := c.js.CreateOrUpdateStream(ctx, conf)
		return err
	})
	if err != nil {
		return err
	}
	return c.Settled(ctx, stream)
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

// Close ends every node, whatever state it is in. Its error names the nodes that had ended
// by themselves before.
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
