package chaos

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
)

// reading is a record that is overwritten all the time.
type reading struct {
	ID      int64  `json:"id"    orm:"primaryKey"`
	Place   string `json:"place" orm:"index"`
	Value   int64  `json:"value"`
	Version uint64 `json:"-"     orm:"version"`
}

// readers are the ways to read one reading.
var readers = []struct {
	name string
	find func(ctx context.Context, m *natsorm.Model[reading]) ([]*reading, error)
}{
	{"FindByPK", func(ctx context.Context, m *natsorm.Model[reading]) ([]*reading, error) {
		v, err := m.FindByPK(ctx, 1)
		return []*reading{v}, err
	}},
	{"lookup by index", func(ctx context.Context, m *natsorm.Model[reading]) ([]*reading, error) {
		return m.FindAll(ctx, natsorm.Eq("place", "Oslo"))
	}},
	{"scan", func(ctx context.Context, m *natsorm.Model[reading]) ([]*reading, error) {
		return m.FindAll(ctx, natsorm.Gte("value", 0))
	}},
}

// roundTimeout bounds two writes and two reads, with an election among them.
const roundTimeout = 30 * time.Second

// TestStaleReads reads, without faults, what was acknowledged a moment ago
// through another server: by Latest it is always there, and to a DB whose
// connection has moved, so is what it wrote itself. It counts how often a get
// of nats.go misses it.
func TestStaleReads(t *testing.T) {
	a := newArena(t)
	rounds := pick(500, 2000)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var dbs []*natsorm.DB
	var models []*natsorm.Model[reading]
	for i := range nodes {
		db := a.client(i)
		dbs, models = append(dbs, db), append(models, define[reading](a, db))
	}
	v := &reading{ID: 1, Place: "Oslo"}
	a.must(models[0].Create(ctx, v))
	for node, db := range dbs {
		a.answers(ctx, db, node)
	}

	plain, stale := 0, map[string]int{}
	for i := range rounds {
		writer, reader := models[i%nodes], (i+1)%nodes
		// The whole takes as long as the machine is busy, and leaders are elected when it
		// is very busy; no round takes long.
		ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
		call := func(what string, call func() error) {
			err := call()
			for err != nil && natsorm.SafeToRetry(err) && testbed.Wait(ctx, testbed.Look) == nil {
				err = call()
			}
			if err != nil {
				t.Fatalf("round %d of %d: %s: %v", i, rounds, what, err)
			}
		}
		write := func() error {
			v.Value++
			_, err := writer.Upsert(ctx, v)
			return err
		}
		call("write", write)
		call("kv.Get", func() error {
			e, err := dbs[reader].KV().Get(ctx, "reading.shard_1.1")
			if err == nil && e.Revision() < v.Version {
				plain++
			}
			return err
		})
		call("write again", write)
		how := readers[i%len(readers)]
		call(how.name, func() error {
			got, err := how.find(ctx, models[reader].Latest())
			if err == nil && (len(got) != 1 || got[0].Value < v.Value || got[0].Version < v.Version) {
				stale[how.name]++
				a.violation("Latest is behind: "+how.name, "version %d of value %d was acknowledged, %d records found", v.Version, v.Value, len(got))
			}
			return err
		})
		cancel()
	}
	all := 0
	for _, n := range stale {
		all += n
	}
	t.Logf("stale after an acknowledged write through another server: %d of %d by natsorm %v, %d of %d by kv.Get", all, rounds, stale, plain, rounds)
	if plain == 0 {
		t.Log("no get was stale: this run says little")
	}
}

// behind is a DB with a node that is behind the others, and the leader.
type behind struct {
	*arena
	db           *natsorm.DB
	m            *natsorm.Model[reading]
	leader, slow int
}

func newBehind(ctx context.Context, t *testing.T) *behind {
	t.Helper()
	b := &behind{arena: newArena(t)}
	b.db = b.client(0)
	b.m = define[reading](b.arena, b.db)
	leader, err := b.cluster.Leader(ctx, stream)
	b.must(err)
	b.leader = slices.Index(b.cluster.Nodes, leader)
	b.slow = (b.leader + 1) % nodes
	b.move(ctx, b.slow)
	b.answers(ctx, b.db, b.slow)
	b.cluster.Links(b.cluster.Nodes[b.slow], func(p *testbed.Proxy) { p.Delay(lag) })
	return b
}

// move routes the DB to another node, and waits until it is there.
func (b *behind) move(ctx context.Context, node int) {
	before := b.db.Conn().Stats().Reconnects
	b.proxies[0].Route(node)
	for b.db.Conn().Stats().Reconnects == before || !b.db.Conn().IsConnected() {
		b.must(testbed.Wait(ctx, time.Millisecond))
	}
}

// round makes a round, which does not take long. All together take as long as the machine
// is busy.
func (b *behind) round(do func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
	defer cancel()
	do(ctx)
}

// write counts the record up; it reports whether that was acknowledged.
func (b *behind) write(ctx context.Context, v *reading) bool {
	b.t.Helper()
	before := v.Version
	v.Value++
	if _, err := b.m.Upsert(ctx, v); err != nil {
		b.violation("a write fails after the connection moved", "%v", err)
		return false
	}
	if v.Version <= before {
		b.violation("a write is acknowledged with the revision of an earlier one", "revision %d after %d", v.Version, before)
	}
	return true
}

// A DB whose connection moves, between a write and a read, to a server that is
// behind does not read older than it wrote.
func TestReadsAfterMoving(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	b := newBehind(ctx, t)
	v := &reading{ID: 1, Place: "Oslo"}
	b.must(b.m.Create(ctx, v))

	moves, plain, stale := pick(45, 1000), 0, 0
	for i := range moves {
		b.round(func(ctx context.Context) {
			b.move(ctx, b.leader)
			if !b.write(ctx, v) {
				return
			}
			b.move(ctx, b.slow)
			if i%2 == 0 { // what a program without a session gets
				e, err := b.db.KV().Get(ctx, "reading.shard_1.1")
				switch {
				case errors.Is(err, jetstream.ErrKeyNotFound):
					plain++ // it has not even been created there
				case err != nil:
					b.must(err)
				case e.Revision() < v.Version:
					plain++
				}
				return
			}
			how := readers[i/2%len(readers)]
			got, err := how.find(ctx, b.m)
			switch {
			case err != nil:
				b.violation("a read fails after the connection moved: "+how.name, "%v", err)
			case len(got) != 1 || got[0].Value < v.Value || got[0].Version < v.Version:
				stale++
				b.violation("behind what the same DB wrote: "+how.name, "version %d of value %d was acknowledged, %d records found", v.Version, v.Value, len(got))
			}
		})
	}
	t.Logf("stale after moving to another server: %d of %d by natsorm, %d of %d by kv.Get", stale, moves/2, plain, moves/2)
	if plain == 0 {
		t.Log("no get was stale: this run says little")
	}
	b.report()
}

// An answer that arrives twice is not taken for the answer to a later call.
// It does, when a client moves to a node that has not heard yet that it left:
// the leader answers the client where it is, and sends a copy to where it was.
func TestWritesAfterMoving(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	b := newBehind(ctx, t)
	v := &reading{ID: 1, Place: "Oslo"}
	b.must(b.m.Create(ctx, v))
	other := b.client(b.leader) // one that stays
	readings := define[reading](b.arena, other)

	for i := range pick(30, 1000) {
		b.round(func(ctx context.Context) {
			b.move(ctx, b.leader)
			if !b.write(ctx, v) {
				return
			}
			b.move(ctx, b.slow)
			if !b.write(ctx, v) {
				return
			}
			got, err := readings.Latest().FindByPK(ctx, 1)
			b.must(err)
			if got.Value != v.Value {
				b.violation("an acknowledged write is not there", "round %d: wrote %d, and the leader has %d", i, v.Value, got.Value)
			}
		})
	}
	b.report()
}
