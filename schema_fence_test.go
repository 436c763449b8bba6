package natsorm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// Two versions of a program: the new one finds members by their team, and allows a badge once.
type memberV1 struct {
	ID    int64  `json:"id" orm:"primaryKey"`
	Team  string `json:"team"`
	Badge string `json:"badge"`
}

type memberV2 struct {
	ID    int64  `json:"id" orm:"primaryKey"`
	Team  string `json:"team" orm:"index"`
	Badge string `json:"badge" orm:"unique"`
}

// deploy is a server on which the old version of a program runs, behind a proxy, and the new
// one is about to be started.
type deploy struct {
	proxy    *testbed.Proxy
	old      *natsorm.Model[memberV1]
	oldDB    *natsorm.DB
	newDB    *natsorm.DB
	ended    atomic.Bool
	mu       sync.Mutex
	accepted map[int64]memberV1 // those that the old version was told are written
}

// versions runs a test on buckets whose records are written phased, and in batches.
func versions(t *testing.T, test func(t *testing.T, d *deploy)) {
	for name, cfg := range map[string]embedded.Config{
		"in memory": {Port: -1}, "in files": {Port: -1, Dir: "x", Sync: embedded.SyncInterval},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if cfg.Dir != "" {
				if testing.Short() {
					t.Skip("the other kind of writes takes as long again")
				}
				cfg.Dir = t.TempDir()
			}
			srv := serve(t, cfg)
			d := &deploy{accepted: map[int64]memberV1{}, newDB: natsormtest.Open(t, srv, "deploy")}
			d.proxy = testbed.StartLossyProxy(t, srv.URL())
			nc := must[*nats.Conn](t)(nats.Connect(d.proxy.URL()))
			t.Cleanup(nc.Close)
			d.oldDB = must[*natsorm.DB](t)(natsorm.New(within(t), nc, natsorm.Config{Bucket: "deploy"}))
			t.Cleanup(func() { d.oldDB.Close() })
			d.old = define[memberV1](t, d.oldDB, natsorm.Name("member"))
			test(t, d)
		})
	}
}

// create lets the old version create a member, and notes what it was told.
func (d *deploy) create(t *testing.T, m memberV1) {
	switch err := d.old.Create(within(t), &m); {
	case err == nil:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.accepted[m.ID] = m
	case !errors.Is(err, natsorm.ErrUnique):
		t.Errorf("create %d: %v", m.ID, err)
	}
}

// sent returns a function that waits until the old version has sent so many messages more:
// then its calls are on their way.
func (d *deploy) sent(t *testing.T) (wait func(n int)) {
	before := d.oldDB.Conn().Stats().OutMsgs
	return func(n int) {
		t.Helper()
		ok(t, testbed.Until(within(t), func(context.Context) error {
			if got := d.oldDB.Conn().Stats().OutMsgs - before; got < uint64(n) {
				return fmt.Errorf("%d of %d messages were sent", got, n)
			}
			return nil
		}))
	}
}

// verify looks, as the new version, for everything that the old one was told is there.
func (d *deploy) verify(t *testing.T, members *natsorm.Model[memberV2]) {
	t.Helper()
	ctx := within(t)
	badges, teams := map[string]int64{}, map[string]map[int64]bool{}
	for id, m := range d.accepted {
		if other, ok := badges[m.Badge]; ok {
			t.Errorf("badge %s was given to %d and %d", m.Badge, other, id)
		}
		badges[m.Badge] = id
		if found, err := members.FindOne(ctx, natsorm.Eq("badge", m.Badge)); err != nil || found.ID != id {
			t.Errorf("by badge %s there is %v, not %d: %v", m.Badge, found, id, err)
		}
		if teams[m.Team] == nil {
			teams[m.Team] = map[int64]bool{}
			for _, found := range must[[]*memberV2](t)(members.FindAll(ctx, natsorm.Eq("team", m.Team))) {
				teams[m.Team][found.ID] = true
			}
		}
		if !teams[m.Team][id] {
			t.Errorf("%d is not found in team %s", id, m.Team)
		}
	}
	if len(d.accepted) == 0 {
		t.Error("nothing was accepted")
	}
}

// What is under way while an index is declared, built and ready is in it when its writer is
// told that it is done, or is refused: also when it takes longer than everything else.
func TestWritesThatTakeLongerThanADeploy(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		d.create(t, memberV1{ID: 1, Team: "red", Badge: "b1"})
		d.proxy.Delay(3 * time.Second)
		sent := d.sent(t)
		var wg sync.WaitGroup
		for i := range int64(40) { // each badge twice, and b1 a second time
			wg.Go(func() { d.create(t, memberV1{ID: 2 + i, Team: "blue", Badge: fmt.Sprint("b", 1+i/2)}) })
		}
		sent(40)
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		if n := must[int](t)(members.Count(within(t))); n != 1 {
			t.Fatalf("%d of the writes came before the index was ready", n)
		}
		d.proxy.Delay(0)
		wg.Wait()
		d.verify(t, members)
		if len(d.accepted) < 20 || len(d.accepted) > 21 {
			t.Errorf("%d were accepted, of 20 badges", len(d.accepted))
		}
	})
}

// A bulk call over a slow connection that begins before a change, and ends after it, goes on
// under the new schema: an index, and each layout.
func TestBulkCallsThatTakeLongerThanAChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the connection is slow")
	}
	rate := testsize.Pick(25_000, 25_000, 150_000) // bytes a second
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		n := int64(testsize.Pick(500, 500, 12_000))
		bulk := func(first int64, during func()) {
			t.Helper()
			all := make([]*memberV1, n)
			for i := range all {
				id := first + int64(i)
				if i%2 == 0 {
					id = -id
				}
				all[i] = &memberV1{ID: id, Team: "blue", Badge: fmt.Sprint(id)}
			}
			d.proxy.Slow(rate)
			sent := d.sent(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if err := d.old.BulkCreate(ctx, all); err != nil {
					t.Error(err)
				}
			}()
			sent(10)
			during()
			select {
			case <-done:
				t.Error("the call was over before the change")
			default:
			}
			d.proxy.Slow(0)
			<-done
			for _, m := range all {
				d.accepted[m.ID] = *m
			}
		}
		bulk(1, func() { ok(t, d.newDB.ChangeLayout(ctx, "member", natsorm.Sequelize)) })
		bulk(100_000, func() { ok(t, d.newDB.ChangeLayout(ctx, "member", natsorm.Native)) })
		var members *natsorm.Model[memberV2]
		bulk(200_000, func() { members = define[memberV2](t, d.newDB, natsorm.Name("member")) })
		seen := map[int64]bool{}
		for m, err := range members.Each(ctx) {
			ok(t, err)
			if seen[m.ID] {
				t.Errorf("Each delivers %d twice", m.ID)
			}
			seen[m.ID] = true
		}
		if len(seen) != int(3*n) {
			t.Errorf("Each delivers %d of %d", len(seen), 3*n)
		}
		d.verify(t, members)
	})
}

// later is how long abandoned writes are under way: well longer than the declaring of an index.
const later = 6 * time.Second

// A write whose caller has given up may be done later than everything else. Then its program
// gives it its entries and its claim.
func TestAbandonedWritesThatTakeLongerThanADeploy(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		const n = 20
		d.proxy.Delay(later)
		var wg sync.WaitGroup
		for id := range int64(n) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(within(t), 500*time.Millisecond)
				defer cancel()
				err := d.old.Create(ctx, &memberV1{ID: id, Team: "blue", Badge: fmt.Sprint(id)})
				if !errors.Is(err, natsorm.ErrUnknownOutcome) && !natsorm.SafeToRetry(err) {
					t.Errorf("create %d: %v", id, err)
				}
			})
		}
		wg.Wait()
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		ctx := within(t)
		if n := must[int](t)(members.Count(ctx)); n != 0 {
			t.Fatalf("%d of the writes came before the index was ready", n)
		}
		d.proxy.Delay(0)
		for { // until what was under way has come, and was made good
			there := must[int](t)(members.Count(ctx))
			found := must[[]*memberV2](t)(members.FindAll(ctx, natsorm.Eq("team", "blue")))
			if report := must[natsorm.Report](t)(d.newDB.Check(ctx)); there > 0 && len(found) == there && report.Clean() {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%d of %d are found", len(found), there)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// What such a write would take from others, who were given it meanwhile, it does not keep: its
// program takes it back.
func TestAbandonedWritesThatCannotBeMadeGood(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		const n = 5
		ctx := within(t)
		for id := range int64(n) {
			d.create(t, memberV1{ID: 100 + id, Team: "blue", Badge: fmt.Sprint("own ", id)})
		}
		d.proxy.Delay(later)
		var wg sync.WaitGroup
		var mu sync.Mutex
		sent := map[int64]bool{}
		try := func(id int64, call func(ctx context.Context) error) {
			wg.Go(func() {
				short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				defer cancel()
				switch err := call(short); {
				case errors.Is(err, natsorm.ErrUnknownOutcome):
					mu.Lock()
					sent[id] = true
					mu.Unlock()
				case !natsorm.SafeToRetry(err):
					t.Errorf("%d: %v", id, err)
				}
			})
		}
		for id := range int64(n) {
			try(id, func(ctx context.Context) error {
				return d.old.Create(ctx, &memberV1{ID: id, Team: "red", Badge: fmt.Sprint(id)})
			})
			try(100+id, func(ctx context.Context) error {
				return d.old.Save(ctx, &memberV1{ID: 100 + id, Team: "red", Badge: fmt.Sprint(100 + id)})
			})
		}
		wg.Wait()
		if !sent[0] && !sent[1] && !sent[2] && !sent[3] && !sent[4] {
			t.Fatal("none of the writes was sent")
		}
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		for id := range sent { // somebody else is given the badge
			ok(t, members.Create(ctx, &memberV2{ID: 1000 + id, Team: "blue", Badge: fmt.Sprint(id)}))
		}
		came := map[int64]jetstream.KeyWatcher{}
		for id := range sent {
			w := must[jetstream.KeyWatcher](t)(d.newDB.KV().Watch(ctx, fmt.Sprint("member.*.", id), jetstream.UpdatesOnly()))
			defer w.Stop()
			came[id] = w
		}
		d.proxy.Delay(0)
		for id, w := range came { // it comes, and is written once more
			for range 2 {
				select {
				case <-w.Updates():
				case <-ctx.Done():
					t.Fatalf("%d has not come, or was not taken back", id)
				}
			}
		}
		if report := must[natsorm.Report](t)(d.newDB.Check(ctx)); !report.Clean() {
			t.Errorf("%s", report)
		}
		if there := must[int](t)(members.Count(ctx)); there != n+len(sent) {
			t.Errorf("%d of %d are there", there, n+len(sent))
		}
		d.verify(t, members)
	})
}

// What is under way while a model is moved to another layout is at its key there when its
// writer is told that it is done, in both directions.
func TestWritesThatTakeLongerThanALayoutChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for two layout changes; TestCallsDuringALayoutChange waits for one")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		for id := range int64(40) {
			d.create(t, memberV1{ID: id, Team: "red", Badge: fmt.Sprint(id)})
		}
		for round, to := range []natsorm.Layout{natsorm.Sequelize, natsorm.Native} {
			d.proxy.Delay(4 * time.Second)
			sent := d.sent(t)
			var wg sync.WaitGroup
			for i := range int64(20) {
				id := int64(1+round)*1000 + i
				if i%2 == 0 {
					id = -id
				}
				wg.Go(func() { d.create(t, memberV1{ID: id, Team: "blue", Badge: fmt.Sprint(id)}) })
				wg.Go(func() {
					n, err := d.old.Update(ctx, natsorm.Set{"team": fmt.Sprint("moved ", round)}, natsorm.Eq("id", i))
					if err != nil || n != 1 {
						t.Errorf("update %d: %d, %v", i, n, err)
					}
				})
				wg.Go(func() {
					if n, err := d.old.Destroy(ctx, natsorm.Eq("id", 20+i)); err != nil || n != 1-round {
						t.Errorf("destroy %d: %d, %v", 20+i, n, err)
					}
				})
			}
			sent(60)
			ok(t, d.newDB.ChangeLayout(ctx, "member", to))
			d.proxy.Delay(0)
			wg.Wait()
			members := must[*natsorm.Model[natsorm.Record]](t)(d.newDB.Model(ctx, "member"))
			for id := range d.accepted {
				found, err := members.FindByPK(ctx, id)
				if gone := 20 <= id && id < 40; gone != errors.Is(err, natsorm.ErrNotFound) || !gone && err != nil {
					t.Errorf("%s: %d: %v, %v", to, id, found, err)
				}
			}
			if n := must[int](t)(members.Count(ctx, natsorm.Eq("team", fmt.Sprint("moved ", round)))); n != 20 {
				t.Errorf("%s: %d of 20 were updated", to, n)
			}
			if n := must[int](t)(members.Count(ctx)); n != 40+round*20 {
				t.Errorf("%s: there are %d", to, n)
			}
		}
	})
}

// While the old version writes and the new one is deployed, no call fails or waits for it,
// and none misses the index: also when the old version hears nothing of it.
func TestDeployUnderTraffic(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for !d.ended.Load() {
					id := next.Add(1)
					d.create(t, memberV1{ID: id, Team: fmt.Sprint(id % 10), Badge: fmt.Sprint(id)})
					testsize.Breathe()
				}
			})
		}
		wg.Go(func() { // which is refused once the index is there
			for i := 0; !d.ended.Load(); i++ {
				_, err := d.old.Update(within(t), natsorm.Set{"badge": "the same"}, natsorm.Eq("id", next.Load()/2))
				if err != nil && !errors.Is(err, natsorm.ErrUnique) {
					t.Error(err)
				}
				_, err = d.old.Destroy(within(t), natsorm.Eq("badge", "the same"))
				if err != nil {
					t.Error(err)
				}
				testsize.Breathe()
			}
		})
		for next.Load() < int64(testsize.Pick(200, 500, 2000)) {
			time.Sleep(time.Millisecond)
		}
		d.proxy.Lose(func(subject string, answer bool) bool {
			return answer && strings.HasPrefix(subject, "$KV.deploy._schema.")
		})
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		for from := next.Load(); next.Load() < from+int64(testsize.Pick(200, 500, 2000)); {
			time.Sleep(time.Millisecond)
		}
		d.ended.Store(true)
		wg.Wait()
		ctx := within(t)
		all := must[[]*memberV2](t)(members.FindAll(ctx))
		for _, m := range all {
			if found := must[[]*memberV2](t)(members.FindAll(ctx, natsorm.Eq("badge", m.Badge))); len(found) != 1 {
				t.Errorf("badge %s: %d records", m.Badge, len(found))
			}
		}
		perTeam := map[string]int{}
		for _, m := range all {
			perTeam[m.Team]++
		}
		for team, n := range perTeam {
			if found := must[[]*memberV2](t)(members.FindAll(ctx, natsorm.Eq("team", team))); len(found) != n {
				t.Errorf("team %s: %d of %d", team, len(found), n)
			}
		}
	})
}

// stoppedURL tells a copy of the test binary to be the process that is stopped.
const stoppedURL = "NATSORM_TEST_STOPPED_URL"

// TestBeStopped is not a test but the old version of a program in
// TestProcessStoppedDuringADeploy: it writes, and says what was acknowledged.
func TestBeStopped(t *testing.T) {
	url := os.Getenv(stoppedURL)
	if url == "" {
		t.Skip("runs as a process of TestProcessStoppedDuringADeploy")
	}
	ctx := t.Context()
	db := must[*natsorm.DB](t)(natsorm.Open(ctx, natsorm.Config{Servers: []string{url}, Bucket: "stopped"}))
	old := define[memberV1](t, db, natsorm.Name("member"))
	var mu sync.Mutex
	var next atomic.Int64
	next.Store(1_000_000 * int64(os.Getpid()))
	for range 8 {
		go func() {
			for {
				m := memberV1{ID: next.Add(1), Badge: "badge"}
				m.Team, m.Badge = fmt.Sprint(m.ID%10), fmt.Sprint(m.ID)
				if err := old.Create(ctx, &m); err == nil {
					mu.Lock()
					fmt.Printf("wrote %d\n", m.ID)
					mu.Unlock()
				}
			}
		}()
	}
	<-time.After(5 * time.Minute) // it is killed long before
}

// The old version of a program is stopped at some moment, while it writes, and goes on when
// the new version has been deployed.
func TestProcessStoppedDuringADeploy(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts three processes and stops them for seconds")
	}
	for round := range testsize.Pick(1, 2, 10) {
		srv := serve(t, embedded.Config{Port: -1})
		newDB := natsormtest.Open(t, srv, "stopped")
		define[memberV1](t, newDB, natsorm.Name("member"))
		const processes = 3
		var mu sync.Mutex
		wrote := map[int64]bool{}
		var lines sync.WaitGroup
		var children []*os.Process
		for range processes {
			cmd := exec.Command(os.Args[0], "-test.run=^TestBeStopped$", "-test.v")
			cmd.Env = append(os.Environ(), stoppedURL+"="+srv.URL())
			out := must[io.ReadCloser](t)(cmd.StdoutPipe())
			ok(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			children = append(children, cmd.Process)
			lines.Go(func() {
				for scan := bufio.NewScanner(out); scan.Scan(); {
					if id, is := strings.CutPrefix(scan.Text(), "wrote "); is {
						n, err := strconv.ParseInt(id, 10, 64)
						ok(t, err)
						mu.Lock()
						wrote[n] = true
						mu.Unlock()
					}
				}
				_ = cmd.Wait()
			})
		}
		until := func(n int) {
			for before := -1; ; time.Sleep(time.Millisecond) {
				mu.Lock()
				now := len(wrote)
				mu.Unlock()
				if before < 0 {
					before = now
				}
				if now >= before+n {
					return
				}
			}
		}
		until(200)
		for _, p := range children {
			time.Sleep(time.Duration(rand.Int64N(int64(5 * time.Millisecond))))
			if err := testbed.Suspend(p); errors.Is(err, errors.ErrUnsupported) {
				t.Skip("processes cannot be stopped on this system")
			} else {
				ok(t, err)
			}
		}
		began := time.Now()
		members := define[memberV2](t, newDB, natsorm.Name("member"))
		time.Sleep(time.Until(began.Add(testsize.Pick(2*time.Second, 3*time.Second, 10*time.Second))))
		for _, p := range children {
			ok(t, testbed.Resume(p))
		}
		until(200)
		for _, p := range children {
			ok(t, testbed.Suspend(p)) // what it has said counts, and not what it may have under way
		}
		ctx := within(t)
		byTeam := map[int64]bool{}
		for team := range 10 {
			for _, m := range must[[]*memberV2](t)(members.FindAll(ctx, natsorm.Eq("team", fmt.Sprint(team)))) {
				byTeam[m.ID] = true
			}
		}
		mu.Lock()
		for id := range wrote {
			if found, err := members.FindOne(ctx, natsorm.Eq("badge", fmt.Sprint(id))); !byTeam[id] || err != nil || found.ID != id {
				t.Errorf("round %d: %d was acknowledged; by its team it is found: %v; by its badge: %v, %v", round, id, byTeam[id], found, err)
			}
		}
		mu.Unlock()
		for _, p := range children {
			ok(t, testbed.Resume(p))
		}
		until(50) // what was under way has its entries by now
		for _, p := range children {
			_ = p.Kill()
		}
		lines.Wait()
	}
}
