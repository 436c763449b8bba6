package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm/internal/testbed"
)

// nodes is the size of a cluster: one may be down.
const nodes = testbed.ClusterSize

// compactedAfter is how many bytes of writes surely make a leader compact its log. It does
// so after 8 MB.
const compactedAfter = 24 << 20

// longestHistory is the most messages of a key that a KV bucket keeps.
const longestHistory = 64

// healTimeout bounds the healing of a fault.
const healTimeout = time.Minute

// Nemesis injects faults into a cluster and the connections to it: one at a
// time, so that never more than one node is down, and each is healed before
// the next. Which ones, on whom and for how long follows from Rand alone.
type Nemesis struct {
	Cluster *testbed.Cluster
	Stream  string           // the stream whose leader and followers are hit
	Proxies []*testbed.Proxy // the clients' connections
	Faults  []Fault          // the first one comes first, the others in random order
	Rand    *rand.Rand
	Log     func(format string, args ...any)

	// Short and Long bound how long a fault lasts, and how long the cluster is
	// left alone after it.
	Short, Long time.Duration
}

// Fault is one kind of fault. It returns once it is healed, which is soon after
// ctx ends.
type Fault struct {
	Name   string
	inject func(ctx context.Context, n *Nemesis, draw dice) error
}

// dice holds the random choices for one fault. All are drawn for every fault, whether it
// needs them or not, so that a seed gives the same choices whatever the cluster does.
type dice struct {
	lasts time.Duration // how long the fault lasts
	pick  int           // chooses one of several nodes or amounts
	half  []bool        // which of the proxies are hit
}

// Faults are the faults that a database on NATS must survive.
func Faults() []Fault {
	return []Fault{KillLeader, KillFollower, RollingRestart, StepDown, SlowFollower, CutFollowerOff, StallFollower, StallAcrossCompaction, CutConnections, DropAnswers, DelayConnections, Hop, ChangeSettings}
}

// DeposedFaults leave a leader in place that does not know of its successor.
// NATS itself answers reads from such a leader, so they are not among Faults.
func DeposedFaults() []Fault { return []Fault{PauseLeader, CutLeaderOff} }

// ReplicaFaults change how many replicas the stream has. nats-server 2.15.2 does not check
// the condition of a single message that it gets in the moment in which a stream gets
// replicas (README.md), so they are not among Faults.
func ReplicaFaults() []Fault { return []Fault{ChangeReplicas} }

// HistoryFaults lower the history of the stream. nats-server 2.15.2 then removes the last
// messages of keys that are written in that moment (README.md), so they are not among
// Faults.
func HistoryFaults() []Fault { return []Fault{LowerHistory} }

// RemakeFaults lose everything that the bucket holds, as somebody does who deletes it. What
// most workloads check does not survive that, so they are not among Faults.
func RemakeFaults() []Fault { return []Fault{Remake} }

// FaultsNamed returns the faults with these names, of all of these.
func FaultsNamed(names ...string) ([]Fault, error) {
	var out []Fault
next:
	for _, name := range names {
		for _, f := range slices.Concat(Faults(), DeposedFaults(), ReplicaFaults(), HistoryFaults(), RemakeFaults()) {
			if f.Name == name {
				out = append(out, f)
				continue next
			}
		}
		return nil, fmt.Errorf("there is no fault %q", name)
	}
	return out, nil
}

var (
	// KillLeader kills the stream's leader, and starts it again.
	KillLeader = Fault{"kill-leader", func(ctx context.Context, n *Nemesis, d dice) error {
		leader, err := n.Cluster.Leader(ctx, n.Stream)
		if err != nil {
			return err
		}
		return n.kill(ctx, leader, d.lasts)
	}}

	// KillFollower kills a node that does not lead the stream, and starts it
	// again.
	KillFollower = Fault{"kill-follower", func(ctx context.Context, n *Nemesis, d dice) error {
		victim, err := n.follower(ctx, d)
		if err != nil {
			return err
		}
		return n.kill(ctx, victim, d.lasts)
	}}

	// RollingRestart shuts the nodes down in order and starts them again, one
	// after the other, as an upgrade does.
	RollingRestart = Fault{"rolling-restart", func(ctx context.Context, n *Nemesis, d dice) error {
		for i := range nodes {
			node := n.Cluster.Nodes[(d.pick+i)%nodes]
			n.Log("  stops %s", node.Name())
			heal, cancel := n.healing(ctx)
			defer cancel()
			if err := node.Stop(heal); err != nil {
				return err
			}
			if err := n.restart(heal, node); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		return nil
	}}

	// StepDown makes the stream's leader give its place to another node.
	StepDown = Fault{"step-down", func(ctx context.Context, n *Nemesis, _ dice) error {
		short, cancel := context.WithTimeout(ctx, healTimeout)
		defer cancel()
		return n.Cluster.StepDown(short, n.Stream)
	}}

	// CutConnections breaks the connections of half of the clients.
	CutConnections = Fault{"cut", func(_ context.Context, n *Nemesis, d dice) error {
		n.each(d, (*testbed.Proxy).Cut)
		return nil
	}}

	// DropAnswers drops what the nodes answer to half of the clients, and then cuts
	// their connections.
	DropAnswers = Fault{"drop-answers", func(ctx context.Context, n *Nemesis, d dice) error {
		n.each(d, (*testbed.Proxy).Mute)
		_ = testbed.Wait(ctx, min(d.lasts, time.Second)) // an early end heals early
		n.each(d, (*testbed.Proxy).Unmute)
		return nil
	}}

	// DelayConnections makes the connections of half of the clients slow.
	DelayConnections = Fault{"delay", func(ctx context.Context, n *Nemesis, d dice) error {
		n.each(d, func(p *testbed.Proxy) { p.Delay(time.Duration(1+d.pick%50) * time.Millisecond) })
		_ = testbed.Wait(ctx, d.lasts)
		n.each(d, func(p *testbed.Proxy) { p.Delay(0) })
		return nil
	}}

	// Hop moves half of the clients to another node.
	Hop = Fault{"hop", func(_ context.Context, n *Nemesis, d dice) error {
		n.each(d, (*testbed.Proxy).Next)
		return nil
	}}

	// SlowFollower delays what a follower sends to the other nodes and gets from them, so
	// that it is behind.
	SlowFollower = Fault{"slow-follower", func(ctx context.Context, n *Nemesis, d dice) error {
		victim, err := n.follower(ctx, d)
		if err != nil {
			return err
		}
		n.Cluster.Links(victim, func(p *testbed.Proxy) { p.Delay(time.Duration(1+d.pick%100) * time.Millisecond) })
		_ = testbed.Wait(ctx, d.lasts)
		n.Cluster.Links(victim, func(p *testbed.Proxy) { p.Delay(0) })
		return nil
	}}

	// CutFollowerOff breaks the connections between a node and the others. The
	// clients still reach it.
	CutFollowerOff = Fault{"cut-follower-off", func(ctx context.Context, n *Nemesis, d dice) error {
		victim, err := n.follower(ctx, d)
		if err != nil {
			return err
		}
		n.cutOff(ctx, victim, d.lasts)
		return nil
	}}

	// StallFollower stops the process of a follower, and lets it go on. Its connections stay,
	// so it still gets its share of the reads.
	StallFollower = Fault{"stall-follower", func(ctx context.Context, n *Nemesis, d dice) error {
		victim, err := n.follower(ctx, d)
		if err != nil {
			return err
		}
		return n.stall(ctx, victim, func() error {
			_ = testbed.Wait(ctx, d.lasts)
			return nil
		})
	}}

	// StallAcrossCompaction stops the process of a follower until the leader has compacted
	// its log. What was sent to the follower is lost, so that it has to catch up from a
	// snapshot: it learns what is gone before it learns what came instead.
	StallAcrossCompaction = Fault{"stall-across-compaction", func(ctx context.Context, n *Nemesis, d dice) error {
		victim, err := n.follower(ctx, d)
		if err != nil {
			return err
		}
		return n.stall(ctx, victim, func() error {
			n.Cluster.Links(victim, (*testbed.Proxy).Block)
			defer n.Cluster.Links(victim, (*testbed.Proxy).Unblock)
			_ = testbed.Wait(ctx, d.lasts)
			heal, cancel := n.healing(ctx)
			defer cancel()
			return n.Cluster.Fill(heal, n.Stream, compactedAfter)
		})
	}}

	// CutLeaderOff does the same to the stream's leader.
	CutLeaderOff = Fault{"cut-leader-off", func(ctx context.Context, n *Nemesis, d dice) error {
		leader, err := n.Cluster.Leader(ctx, n.Stream)
		if err != nil {
			return err
		}
		n.cutOff(ctx, leader, d.lasts+2*time.Second) // an election's time
		return nil
	}}

	// ChangeReplicas lets the stream have one replica, and then as many as before.
	ChangeReplicas = Fault{"replicas", func(ctx context.Context, n *Nemesis, d dice) error {
		return n.configured(ctx, d, func(c *jetstream.StreamConfig) { c.Replicas = 1 })
	}}

	// ChangeSettings changes a setting of the stream, and then puts it back, but for the
	// history.
	ChangeSettings = Fault{"settings", func(ctx context.Context, n *Nemesis, d dice) error {
		settings := []struct {
			name   string
			change func(c *jetstream.StreamConfig)
		}{
			{"no direct get", func(c *jetstream.StreamConfig) { c.AllowDirect = false }},
			{"no atomic publish", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }},
			{"smaller messages", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 64 << 10 }},
			{"a shorter duplicate window", func(c *jetstream.StreamConfig) { c.Duplicates = 10 * time.Second }},
			{"a size", func(c *jetstream.StreamConfig) { c.MaxBytes = 8 << 30 }},
		}
		if d.pick%(len(settings)+1) == len(settings) { // which stays; see LowerHistory
			n.Log("  gives the stream a longer history")
			heal, cancel := n.healing(ctx)
			defer cancel()
			return n.Cluster.Configure(heal, n.Stream, func(c *jetstream.StreamConfig) {
				c.MaxMsgsPerSubject = min(c.MaxMsgsPerSubject+1, longestHistory)
			})
		}
		s := settings[d.pick%len(settings)]
		n.Log("  gives the stream %s", s.name)
		return n.configured(ctx, d, s.change)
	}}

	// LowerHistory gives the stream a longer history, and then puts it back.
	LowerHistory = Fault{"lower-history", func(ctx context.Context, n *Nemesis, d dice) error {
		return n.configured(ctx, d, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 })
	}}

	// Remake deletes the stream and makes it anew, empty and with the same configuration.
	Remake = Fault{"remake", func(ctx context.Context, n *Nemesis, _ dice) error {
		heal, cancel := n.healing(ctx)
		defer cancel()
		return n.Cluster.Remake(heal, n.Stream)
	}}

	// PauseLeader stops the process of the stream's leader for longer than an election
	// takes, and then lets it go on: for a moment it believes that it still leads.
	PauseLeader = Fault{"pause-leader", func(ctx context.Context, n *Nemesis, d dice) error {
		leader, err := n.Cluster.Leader(ctx, n.Stream)
		if err != nil {
			return err
		}
		n.Log("  pauses %s", leader.Name())
		if err := leader.Pause(); err != nil {
			return err
		}
		_ = testbed.Wait(ctx, d.lasts+2*time.Second)
		return leader.Resume()
	}}
)

// Run injects faults until ctx ends. When it returns, everything is healed: all nodes are
// up, and each replica has all that the leader has. Its error is that of a fault that could
// not be injected or healed, never ctx's.
func (n *Nemesis) Run(ctx context.Context) error {
	var deck []Fault
	for first := n.Faults[:1]; ctx.Err() == nil; first = nil {
		if len(deck) == 0 { // each fault once before any comes again
			deck = append(deck, n.Faults...)
			rest := deck[len(first):]
			n.Rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		}
		fault, d, rest := deck[0], n.draw(), n.span()
		deck = deck[1:]
		n.Log("%s, %v", fault.Name, d.lasts)
		if err := fault.inject(ctx, n, d); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", fault.Name, err)
		}
		if err := n.settle(ctx); err != nil {
			return fmt.Errorf("after %s: %w", fault.Name, err)
		}
		n.Log("  healed")
		_ = testbed.Wait(ctx, rest) // its end ends the loop
	}
	return n.settle(ctx)
}

func (n *Nemesis) settle(ctx context.Context) error {
	heal, cancel := n.healing(ctx)
	defer cancel()
	return n.Cluster.Settled(heal, n.Stream)
}

// healing is a context that outlives ctx, for as long as healing may take.
func (n *Nemesis) healing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), healTimeout)
}

// configured changes the stream's configuration, and puts it back after a while.
func (n *Nemesis) configured(ctx context.Context, d dice, change func(*jetstream.StreamConfig)) error {
	heal, cancel := n.healing(ctx)
	defer cancel()
	var was jetstream.StreamConfig
	err := n.Cluster.Configure(heal, n.Stream, func(c *jetstream.StreamConfig) {
		was = *c
		change(c)
	})
	if err != nil {
		return err
	}
	_ = testbed.Wait(ctx, d.lasts) // an early end heals early
	return n.Cluster.Configure(heal, n.Stream, func(c *jetstream.StreamConfig) { *c = was })
}

func (n *Nemesis) kill(ctx context.Context, node *testbed.Node, lasts time.Duration) error {
	n.Log("  kills %s", node.Name())
	if err := node.Kill(); err != nil {
		return err
	}
	_ = testbed.Wait(ctx, lasts) // an early end heals early
	heal, cancel := n.healing(ctx)
	defer cancel()
	return n.restart(heal, node)
}

// stall stops the process of a node while f runs.
func (n *Nemesis) stall(ctx context.Context, node *testbed.Node, f func() error) error {
	n.Log("  stops the process of %s", node.Name())
	if err := node.Pause(); err != nil {
		return err
	}
	return errors.Join(f(), node.Resume())
}

func (n *Nemesis) cutOff(ctx context.Context, node *testbed.Node, lasts time.Duration) {
	n.Log("  cuts %s off", node.Name())
	n.Cluster.Links(node, (*testbed.Proxy).Block)
	_ = testbed.Wait(ctx, lasts)
	n.Cluster.Links(node, (*testbed.Proxy).Unblock)
}

// follower is the node that the dice chose among those that do not lead.
func (n *Nemesis) follower(ctx context.Context, d dice) (*testbed.Node, error) {
	leader, err := n.Cluster.Leader(ctx, n.Stream)
	if err != nil {
		return nil, err
	}
	if node := n.Cluster.Nodes[d.pick%nodes]; node != leader {
		return node, nil
	}
	return n.Cluster.Nodes[(d.pick+1)%nodes], nil
}

// restart starts a node and waits until it has what the others have.
func (n *Nemesis) restart(ctx context.Context, node *testbed.Node) error {
	n.Log("  starts %s", node.Name())
	if err := node.Start(ctx); err != nil {
		return err
	}
	return n.Cluster.Settled(ctx, n.Stream)
}

// each calls do for the proxies that the dice chose.
func (n *Nemesis) each(d dice, do func(*testbed.Proxy)) {
	for i, p := range n.Proxies {
		if d.half[i] {
			do(p)
		}
	}
}

func (n *Nemesis) draw() dice {
	d := dice{lasts: n.span(), pick: n.Rand.IntN(1 << 16)}
	for range n.Proxies {
		d.half = append(d.half, n.Rand.IntN(2) == 0)
	}
	return d
}

func (n *Nemesis) span() time.Duration {
	return n.Short + time.Duration(n.Rand.Int64N(int64(n.Long-n.Short)+1))
}
