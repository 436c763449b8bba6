package natsorm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// On a replicated bucket: transactions through all servers, and what guards them.
func TestReplicatedTransactions(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	ctx := within(t)
	cluster := testbed.StartCluster(t)
	var dbs []*natsorm.DB
	for _, node := range cluster.Nodes {
		dbs = append(dbs, openOn(t, ctx, node))
	}
	each := testsize.Pick(5, 10, 25)
	t.Run("write skew", func(t *testing.T) { replicatedWriteSkew(t, ctx, dbs) })
	t.Run("phantoms", func(t *testing.T) { replicatedPhantoms(t, ctx, dbs) })
	t.Run("phantoms of lists", func(t *testing.T) {
		arrayPhantoms(t, ctx, dbs)
		heads := 0
		for key := range bucket(t, ctx, dbs[0]) {
			if strings.HasPrefix(key, "article.head.tags=each.") {
				heads++
			}
		}
		if heads == 0 {
			t.Error("no entry has a head")
		}
	})
	t.Run("bank", func(t *testing.T) { replicatedBank(t, ctx, dbs) })
	t.Run("guards", func(t *testing.T) { replicatedGuards(t, ctx, dbs) })
	t.Run("behind", func(t *testing.T) { replicatedBehind(t, ctx, cluster, dbs) })
	t.Run("random", func(t *testing.T) {
		randomTransactions(t, ctx, dbs, nativeRows, uint64(time.Now().UnixNano()), 9, each)
	})
	t.Run("random, sequelize", func(t *testing.T) {
		randomTransactions(t, ctx, dbs, sequelizeRows.called("lrow"), uint64(time.Now().UnixNano()), 9, each)
	})
	t.Run("own writes", func(t *testing.T) { replicatedOwnWrites(t, ctx, dbs[0], cluster.Nodes[1].URL()) })
	natsormtest.Prove(t, dbs[0])
}

func models[T any](t *testing.T, dbs []*natsorm.DB) (out []*natsorm.Model[T]) {
	t.Helper()
	for _, db := range dbs {
		out = append(out, define[T](t, db))
	}
	return out
}

func replicatedWriteSkew(t *testing.T, ctx context.Context, dbs []*natsorm.DB) {
	accounts := models[account](t, dbs)
	for round := range testsize.Pick(6, 12, 30) {
		for i := range 2 {
			must[bool](t)(accounts[2].Upsert(ctx, &account{ID: i, Owner: "on call", Number: fmt.Sprint("n", i)}))
		}
		q := []natsorm.Query{natsorm.Eq("owner", "on call"), natsorm.Like("owner", "on%"), natsorm.In("id", 0, 1)}[round%3]
		race(t, ctx, dbs, func(ctx context.Context, i int, looked func()) error {
			n, err := accounts[i].Count(ctx, natsorm.And(q.(natsorm.Condition), natsorm.Eq("owner", "on call")))
			if err != nil {
				return err
			}
			looked()
			if n < 2 {
				return nil
			}
			_, err = accounts[i].Update(ctx, natsorm.Set{"owner": "at home"}, natsorm.Eq("id", i))
			return err
		})
		if n := must[int](t)(accounts[2].Latest().Count(ctx, natsorm.Eq("owner", "on call"))); n != 1 {
			t.Fatalf("round %d: %d doctors are on call", round, n)
		}
	}
	must[int](t)(accounts[0].Destroy(ctx, natsorm.All()))
}

func replicatedPhantoms(t *testing.T, ctx context.Context, dbs []*natsorm.DB) {
	bookings := models[booking](t, dbs)
	for round := range testsize.Pick(6, 15, 40) {
		slot := fmt.Sprint("slot ", round, "!")
		q := []natsorm.Query{natsorm.Eq("slot", slot), natsorm.Like("slot", slot[:len(slot)-1]+"_"), natsorm.In("slot", slot, "other")}[round%3]
		race(t, ctx, dbs, func(ctx context.Context, i int, looked func()) error {
			taken, err := bookings[i].FindAll(ctx, q)
			if err != nil {
				return err
			}
			looked()
			if len(taken) > 0 {
				return nil
			}
			return bookings[i].Create(ctx, &booking{Slot: slot, By: fmt.Sprint(i)})
		})
		if n := must[int](t)(bookings[2].Latest().Count(ctx, natsorm.Eq("slot", slot))); n != 1 {
			t.Fatalf("%s was booked %d times", slot, n)
		}
	}
}

func replicatedBank(t *testing.T, ctx context.Context, dbs []*natsorm.DB) {
	accounts := models[account](t, dbs)
	const n, each, clients = 20, 100, 6
	runs := testsize.Pick(10, 15, 40)
	for i := range n {
		ok(t, accounts[0].Create(ctx, &account{ID: i, Owner: "o", Number: fmt.Sprint(i), Balance: each}))
	}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			db, accounts := dbs[c%3], accounts[c%3]
			for i := range runs {
				if i%5 == 4 {
					total := 0
					err := db.Transaction(ctx, func(ctx context.Context) error {
						sum, err := accounts.Sum(ctx, "balance")
						total = int(sum)
						return err
					})
					if err != nil || total != n*each {
						t.Errorf("total %d, %v", total, err)
					}
					continue
				}
				from, to := (c+i)%n, (c*7+i*3+1)%n
				if from == to {
					continue
				}
				err := db.Transaction(ctx, func(ctx context.Context) error {
					_, e1 := accounts.Increment(ctx, natsorm.Set{"balance": -1}, natsorm.Eq("id", from))
					_, e2 := accounts.Increment(ctx, natsorm.Set{"balance": 1}, natsorm.Eq("id", to))
					return errors.Join(e1, e2)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if sum := must[float64](t)(accounts[1].Latest().Sum(ctx, "balance")); sum != n*each {
		t.Errorf("in the end the total is %v", sum)
	}
}

// A guard on a pattern does not see writes under way on a replicated bucket: a
// batch commits after an entry that it should have found. That is why lookups are
// guarded by heads, which do.
func replicatedGuards(t *testing.T, ctx context.Context, dbs []*natsorm.DB) {
	rounds, most := testsize.Pick(30, 60, 150), testsize.Pick(60, 120, 3000)
	put := func(nc *nats.Conn, subject string, header nats.Header) (uint64, error) {
		m := &nats.Msg{Subject: "$KV.shop." + subject, Header: header}
		reply, err := nc.RequestMsg(m, 5*time.Second)
		if err != nil {
			return 0, err
		}
		return acknowledged(reply.Data)
	}
	overtaken, commits := 0, 0
	for round := 0; round < rounds || overtaken == 0 && round < most; round++ {
		var wg sync.WaitGroup
		var entry, commit uint64
		var failed, refused error
		nc, other := dbs[round%3].Conn(), dbs[(round+1+round/3%2)%3].Conn() // it depends on where the leader is
		wg.Go(func() { entry, failed = put(other, fmt.Sprintf("raw.index.slot.%d.1", round), nats.Header{}) })
		wg.Go(func() {
			commit, refused = put(nc, fmt.Sprintf("raw.shard_1.%d", round), nats.Header{
				"Nats-Batch-Id": {fmt.Sprint("b", round)}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"},
				"Nats-Expected-Last-Subject-Sequence":         {"0"},
				"Nats-Expected-Last-Subject-Sequence-Subject": {fmt.Sprintf("$KV.shop.raw.index.slot.%d.*", round)},
			})
		})
		wg.Wait()
		ok(t, failed)
		if refused == nil {
			commits++
			if entry < commit {
				overtaken++
			}
		}
	}
	if overtaken == 0 {
		t.Logf("none of %d commits overtook an entry; patterns may be guarded by this server", commits)
	}
	t.Logf("guarded by a pattern, %d of %d commits overtook the entry that they should have found", overtaken, commits)

	type place struct {
		ID      int    `json:"id" orm:"primaryKey"`
		Slot    string `json:"slot" orm:"index"`
		Version uint64 `json:"-" orm:"version"`
	}
	places := models[place](t, dbs)
	for round := range rounds {
		slot := fmt.Sprint("s", round)
		var wg sync.WaitGroup
		plain, inside := &place{ID: 2 * round, Slot: slot}, &place{ID: 2*round + 1, Slot: slot}
		committed := false
		wg.Go(func() { ok(t, places[1].Create(ctx, plain)) })
		wg.Go(func() {
			ok(t, dbs[0].Transaction(ctx, func(ctx context.Context) error {
				committed = false
				n, err := places[0].Count(ctx, natsorm.Eq("slot", slot))
				if err != nil || n > 0 {
					return err
				}
				committed = true
				return places[0].Create(ctx, inside)
			}))
		})
		wg.Wait()
		if committed && plain.Version < inside.Version {
			t.Fatalf("round %d: a transaction committed at %d and had not seen the record of %d", round, inside.Version, plain.Version)
		}
	}
}

// A transaction that is guarded as a whole, by what the leader says, has read
// through a server that is behind: 4 of 600 had not seen what they followed.
func replicatedBehind(t *testing.T, ctx context.Context, cluster *testbed.Cluster, dbs []*natsorm.DB) {
	type note struct {
		ID   int    `json:"id" orm:"primaryKey"`
		Slot string `json:"slot"`
	}
	notes := models[note](t, dbs)
	leader := slices.Index(cluster.Nodes, must[*testbed.Node](t)(cluster.Leader(ctx, "KV_shop")))
	for round := range testsize.Pick(50, 100, 300) {
		slot := fmt.Sprint("slot", round)
		reader := (leader + 1 + round%2) % 3
		found, runs := 0, 0
		ok(t, dbs[reader].Transaction(ctx, func(ctx context.Context) error {
			runs++
			var err error
			if found, err = notes[reader].Count(ctx, natsorm.Eq("slot", slot)); err != nil || found > 0 { // a scan
				return err
			}
			if runs == 1 {
				ok(t, notes[leader].Create(natsorm.Outside(ctx), &note{ID: 2*round + 1, Slot: slot}))
			}
			return notes[reader].Create(ctx, &note{ID: 2 * round, Slot: slot})
		}))
		if found == 0 {
			t.Fatalf("round %d: a transaction committed after a record that its scan does not have", round)
		}
	}
}

// acknowledged is the revision in the answer to a publish.
func acknowledged(data []byte) (uint64, error) {
	var ack struct {
		Seq   uint64
		Error *struct{ Description string }
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, err
	}
	if ack.Error != nil {
		return 0, errors.New(ack.Error.Description)
	}
	return ack.Seq, nil
}

// A session that moves to another server sees what it wrote: by key, by index
// and by scan.
func replicatedOwnWrites(t *testing.T, ctx context.Context, first *natsorm.DB, url string) {
	p := testbed.StartProxy(t, first.Conn().ConnectedUrl(), url)
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{p.URL()}, Bucket: "shop", NATS: []nats.Option{nats.IgnoreDiscoveredServers(), nats.ReconnectWait(time.Millisecond)}}))
	defer db.Close()
	type session struct {
		ID int    `json:"id" orm:"primaryKey"`
		N  string `json:"n" orm:"index"`
		U  string `json:"u" orm:"unique"`
	}
	sessions := define[session](t, db)
	for i := range testsize.Pick(12, 24, 60) {
		v := strconv.Itoa(i)
		must[bool](t)(sessions.Upsert(ctx, &session{ID: 1, N: v, U: v}))
		p.Route(i)
		switch i % 4 {
		case 0:
			if got := must[*session](t)(sessions.FindByPK(ctx, 1)); got.N != v {
				t.Fatalf("by key: %q, wrote %q", got.N, v)
			}
		case 1:
			if n := must[int](t)(sessions.Count(ctx, natsorm.Eq("n", v))); n != 1 {
				t.Fatalf("by index: %d", n)
			}
		case 2:
			must[*session](t)(sessions.FindOne(ctx, natsorm.Eq("u", v)))
		default:
			all := must[[]*session](t)(sessions.FindAll(ctx))
			if len(all) != 1 || all[0].N != v {
				t.Fatalf("by scan: %v, wrote %q", all, v)
			}
		}
	}
}
