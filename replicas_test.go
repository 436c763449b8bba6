package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// A bucket gets replicas, and loses them again, while programs run: they opened it when
// it had none, or when it had three, and each is connected to another server. What they
// promise holds all the while.
func TestReplicasChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx := within(t)
	cluster := testbed.StartCluster(t)
	programs := []*program{startProgram(t, ctx, cluster.Nodes[0], 1), startProgram(t, ctx, cluster.Nodes[1], 1), startProgram(t, ctx, cluster.Nodes[2], 1)}
	rounds := testsize.Pick(10, 40, 150)
	for i, replicas := range []int{1, testbed.ClusterSize, 1, testbed.ClusterSize} {
		if i > 0 { // the change happens beside work
			changed := make(chan error, 1)
			go func() {
				changed <- cluster.Configure(ctx, "KV_shop", func(c *jetstream.StreamConfig) { c.Replicas = replicas })
			}()
			for done := false; !done; {
				workTogether(t, ctx, programs, 1)
				select {
				case err := <-changed:
					ok(t, err)
					done = true
				default:
				}
			}
			// A rolling deploy: programs that opened the bucket as it is now work beside those
			// that opened it before.
			for n := range testbed.ClusterSize {
				programs = append(programs, startProgram(t, ctx, cluster.Nodes[n], 1))
			}
		}
		workTogether(t, ctx, programs, rounds)
		if t.Failed() {
			t.Fatalf("after %d changes, with %d replicas", i, replicas)
		}
	}
	natsormtest.Prove(t, programs[0].db)
}

// program is one that uses the bucket by a connection of its own.
type program struct {
	db       *natsorm.DB
	bookings *natsorm.Model[booking]
	users    *natsorm.Model[user]
}

func startProgram(t *testing.T, ctx context.Context, node *testbed.Node, replicas int) *program {
	t.Helper()
	return startProgramAt(t, ctx, node.URL(), replicas)
}

func startProgramAt(t *testing.T, ctx context.Context, url string, replicas int) *program {
	t.Helper()
	p := &program{}
	ok(t, testbed.Until(ctx, func(ctx context.Context) (err error) {
		p.db, err = natsorm.Open(ctx, natsorm.Config{
			Servers: []string{url}, Bucket: "shop", Replicas: replicas, NATS: []nats.Option{nats.IgnoreDiscoveredServers(), nats.ReconnectWait(time.Millisecond)},
		})
		return err
	}))
	t.Cleanup(func() { p.db.Close() })
	p.bookings, p.users = define[booking](t, p.db), define[user](t, p.db)
	return p
}

// workTogether lets each two programs do what they can do wrong with each other. A round
// takes milliseconds on an idle machine; one that hangs fails by itself.
func workTogether(t *testing.T, ctx context.Context, programs []*program, rounds int) {
	t.Helper()
	for round := range rounds {
		one, other := programs[round%len(programs)], programs[(round+1+round/len(programs))%len(programs)]
		if one == other {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		one.workWith(t, ctx, other)
		cancel()
	}
}

// workWith is one round of workTogether.
func (one *program) workWith(t *testing.T, ctx context.Context, other *program) {
	t.Helper()
	id := lastID.Add(1)

	// Two transactions find a slot free. One of them books it.
	slot := fmt.Sprint("slot ", id)
	two := []*program{one, other}
	race(t, ctx, []*natsorm.DB{one.db, other.db}, func(ctx context.Context, i int, looked func()) error {
		n, err := two[i].bookings.Count(ctx, natsorm.Eq("slot", slot))
		if err != nil {
			return err
		}
		looked()
		if n > 0 {
			return nil
		}
		return two[i].bookings.Create(ctx, &booking{Slot: slot, By: fmt.Sprint(i)})
	})
	if n := must[int](t)(one.bookings.Latest().Count(ctx, natsorm.Eq("slot", slot))); n != 1 {
		t.Errorf("%s was booked %d times", slot, n)
	}

	// A plain booking stands between what a transaction looks up and its commit.
	slot = fmt.Sprint("plain ", id)
	ran, booked := 0, false
	ok(t, one.db.Transaction(ctx, func(ctx context.Context) error {
		ran++
		n, err := one.bookings.Count(ctx, natsorm.Eq("slot", slot))
		if err != nil {
			return err
		}
		if ran == 1 {
			ok(t, other.bookings.Create(natsorm.Outside(ctx), &booking{Slot: slot}))
		}
		if booked = n == 0; !booked {
			return nil
		}
		return one.bookings.Create(ctx, &booking{Slot: slot})
	}))
	if booked {
		t.Errorf("%s was booked twice: a transaction did not notice a booking", slot)
	}

	// A program finds what it has just created; Latest finds what another one has.
	ok(t, one.users.Create(ctx, &user{ID: id, Name: fmt.Sprint("n", id), Email: fmt.Sprint(id)}))
	if _, err := one.users.FindByPK(ctx, id); err != nil {
		t.Errorf("a program's own record, by its key: %v", err)
	}
	if n := must[int](t)(one.users.Count(ctx, natsorm.Eq("name", fmt.Sprint("n", id)))); n != 1 {
		t.Errorf("a program's own record, by an index: %d", n)
	}
	if _, err := other.users.Latest().FindByPK(ctx, id); err != nil {
		t.Errorf("Latest does not find an acknowledged record: %v", err)
	}
	if err := other.users.Create(ctx, &user{ID: id + 1<<40, Name: "x", Email: fmt.Sprint(id)}); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("a value that must be unique was taken twice: %v", err)
	}
}

// Programs on a server that is in no cluster find themselves on a cluster, where the bucket
// was put back from a backup, beside programs that have never known it otherwise.
func TestProgramsMoveToACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx := within(t)
	cluster, single := testbed.StartCluster(t), testbed.StartServer(t)
	var programs []*program
	var proxies []*testbed.Proxy
	for range 2 {
		p := testbed.StartProxy(t, single.URL(), cluster.Nodes[0].URL())
		proxies = append(proxies, p)
		programs = append(programs, startProgramAt(t, ctx, p.URL(), 1))
	}
	workTogether(t, ctx, programs, testsize.Pick(5, 10, 50))

	var file bytes.Buffer
	ok(t, programs[0].db.Backup(ctx, &file))
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{cluster.Nodes[1].URL()}, Bucket: "shop", Replicas: testbed.ClusterSize}))
	defer db.Close()
	ok(t, db.Restore(ctx, &file))
	for n, p := range proxies {
		p.Route(1)
		programs = append(programs, startProgram(t, ctx, cluster.Nodes[n+1], 1))
	}
	workTogether(t, ctx, programs, testsize.Pick(10, 40, 150))
	natsormtest.Prove(t, programs[0].db)
}

// One program is connected to the server that keeps the bucket, and knows that it is alone.
// The other one is connected to a leaf node of it, and cannot tell.
func TestLeafNode(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	port := testbed.FreePort(t)
	one := testbed.StartServer(t, func(o *server.Options) {
		o.JetStreamDomain = "hub"
		o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: port}
	})
	remote := must[*url.URL](t)(url.Parse(fmt.Sprintf("nats://127.0.0.1:%d", port)))
	other := testbed.StartServer(t, func(o *server.Options) {
		o.JetStream = false
		o.JsAccDefaultDomain = map[string]string{server.DEFAULT_GLOBAL_ACCOUNT: "hub"}
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}
	})
	programs := []*program{startProgramAt(t, ctx, one.URL(), 1), startProgramAt(t, ctx, other.URL(), 1)}
	workTogether(t, ctx, programs, testsize.Pick(10, 40, 150))
	natsormtest.Prove(t, programs[1].db)
}

// lastID gives each record of these tests another id.
var lastID atomic.Int64
