package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
)

// Two versions of a program. The second one finds guests by their team, by their rank in its order, also of one team,
// and by their tags, gives a seat and a badge once, and calls the nick an alias.
type (
	guestV1 struct {
		ID    int64    `json:"id"    orm:"primaryKey"`
		Team  string   `json:"team"`
		Seat  string   `json:"seat"`
		Badge string   `json:"badge"`
		Nick  string   `json:"nick"  orm:"index"`
		Rank  int64    `json:"rank"`
		Tags  []string `json:"tags"`
	}
	guestV2 struct {
		ID    int64    `json:"id"    orm:"primaryKey"`
		Team  string   `json:"team"  orm:"index,ordered:table"`
		Seat  string   `json:"seat"  orm:"unique"`
		Badge string   `json:"badge" orm:"unique,fold"`
		Alias string   `json:"alias" orm:"index"`
		Rank  int64    `json:"rank"  orm:"ordered,ordered:table"`
		Tags  []string `json:"tags"  orm:"index"`
	}

	// Where the model is moved to the Sequelize layout, which has only plain indexes, and none
	// of renamed columns, this is the second version.
	guestMoved struct {
		ID    int64    `json:"id"    orm:"primaryKey"`
		Team  string   `json:"team"  orm:"index"`
		Seat  string   `json:"seat"  orm:"index"`
		Badge string   `json:"badge"`
		Nick  string   `json:"nick"  orm:"index"`
		Rank  int64    `json:"rank"`
		Tags  []string `json:"tags"`
	}
)

// The versions of the program.
const (
	firstVersion = iota + 1
	secondVersion
	movedVersion
)

const (
	guests = "guest"

	// ranks is how many ranks a writer gives, each writer others.
	ranks = 30

	// mostGuests is how many records a writer keeps, so that a scan stays a part of the work.
	mostGuests = 60

	// kept is how many of a writer's records stay for good: every Each must deliver them.
	kept = 10

	// callTime bounds one call of a program.
	callTime = 30 * time.Second
)

// writers is how many write in each process. Under the race detector a call takes many times as long, and
// as many writers would wait for the processors instead of for each other.
var writers = func() int {
	if testbed.Race {
		return 4
	}
	return 8
}()

// guestRow is what a writer knows of a record of its own.
type guestRow struct {
	Team, Seat, Badge, Nick, Tag string
	Rank                         int64
}

// tags are those of the record: one that all have, and the row's own.
func (r guestRow) tags() []string { return []string{"all", r.Tag} }

// rollingSpec tells a copy of the test binary which program it is.
type rollingSpec struct {
	URL     string
	Version int
	Process int
	Calm    bool // nothing disturbs it: no error is to be expected
}

const rollingEnv = "NATSORM_CHAOS_ROLLING"

// rollingResult is what a program says at its end.
type rollingResult struct {
	Rows    map[int64]guestRow
	Unknown map[int64]bool // records of which it does not know what became of them
	Wrong   []string       // broken promises
	Calls   map[string]int
	Slowest map[string]time.Duration
	Refused int // values that another record had
}

// TestBeRolling is not a test but a program of TestRollingDeploy. It works until it reads
// "stop". When it has read "steal", its writers try to take badges of others.
func TestBeRolling(t *testing.T) {
	text := os.Getenv(rollingEnv)
	if text == "" {
		t.Skip("runs as a process of TestRollingDeploy")
	}
	var spec rollingSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	db, err := natsorm.Open(ctx, natsorm.Config{Servers: []string{spec.URL}, Bucket: bucket, NATS: []nats.Option{nats.IgnoreDiscoveredServers()}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var result rollingResult
	switch spec.Version {
	case firstVersion:
		result, err = rollingWork(ctx, db, spec, "nick", func(id int64, r guestRow) *guestV1 {
			return &guestV1{id, r.Team, r.Seat, r.Badge, r.Nick, r.Rank, r.tags()}
		}, func(g *guestV1) (int64, guestRow) {
			return g.ID, guestRow{g.Team, g.Seat, g.Badge, g.Nick, g.Tags[1], g.Rank}
		})
	case secondVersion:
		result, err = rollingWork(ctx, db, spec, "alias", func(id int64, r guestRow) *guestV2 {
			return &guestV2{id, r.Team, r.Seat, r.Badge, r.Nick, r.Rank, r.tags()}
		}, ofV2)
	case movedVersion:
		result, err = rollingWork(ctx, db, spec, "nick", func(id int64, r guestRow) *guestMoved {
			return &guestMoved{id, r.Team, r.Seat, r.Badge, r.Nick, r.Rank, r.tags()}
		}, ofMoved)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("result %s\n", raw)
}

func ofV2(g *guestV2) (int64, guestRow) {
	return g.ID, guestRow{g.Team, g.Seat, g.Badge, g.Alias, g.Tags[1], g.Rank}
}
func ofMoved(g *guestMoved) (int64, guestRow) {
	return g.ID, guestRow{g.Team, g.Seat, g.Badge, g.Nick, g.Tags[1], g.Rank}
}

// program is the work of one process, with the declaration T.
type program[T any] struct {
	spec   rollingSpec
	m      *natsorm.Model[T]
	nick   string // what T calls the nick
	make   func(int64, guestRow) *T
	fields func(*T) (int64, guestRow)

	steal, stop chan struct{}

	mu     sync.Mutex
	result rollingResult
}

func rollingWork[T any](ctx context.Context, db *natsorm.DB, spec rollingSpec, nick string, makeOf func(int64, guestRow) *T, fields func(*T) (int64, guestRow)) (rollingResult, error) {
	m, err := natsorm.Define[T](ctx, db, natsorm.Name(guests))
	if err != nil {
		return rollingResult{}, err
	}
	p := &program[T]{spec: spec, m: m, nick: nick, make: makeOf, fields: fields, steal: make(chan struct{}), stop: make(chan struct{})}
	p.result = rollingResult{Rows: map[int64]guestRow{}, Unknown: map[int64]bool{}, Calls: map[string]int{}, Slowest: map[string]time.Duration{}}
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			switch in.Text() {
			case "steal":
				close(p.steal)
			case "stop":
				close(p.stop)
				return
			}
		}
		os.Exit(1) // whoever started it is gone
	}()
	var all sync.WaitGroup
	began := make(chan struct{}, writers)
	for n := range writers {
		w := &rollingWriter[T]{program: p, rows: map[int64]guestRow{}, unknown: map[int64]bool{},
			name: fmt.Sprintf("p%dw%d", spec.Process, n), base: int64(spec.Process*writers+n+1) * 1_000_000}
		all.Go(func() {
			for w.create(ctx); !p.stopped(); w.step(ctx) {
				select {
				case began <- struct{}{}:
				default:
				}
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			maps.Copy(p.result.Rows, w.rows)
			maps.Copy(p.result.Unknown, w.unknown)
		})
	}
	all.Go(func() {
		for !p.stopped() {
			p.each(ctx)
		}
	})
	for range writers {
		<-began
	}
	fmt.Println("ready")
	all.Wait()
	return p.result, nil
}

func (p *program[T]) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// call carries out one call, and notes how long it took. lost says that the outcome is not
// known, which only a disturbance explains.
func (p *program[T]) call(ctx context.Context, kind string, f func(context.Context) error) (err error, lost bool) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	began := time.Now()
	err = f(ctx)
	took := time.Since(began)
	p.mu.Lock()
	p.result.Calls[kind]++
	p.result.Slowest[kind] = max(p.result.Slowest[kind], took)
	p.mu.Unlock()
	if err == nil || errors.Is(err, natsorm.ErrUnique) || errors.Is(err, natsorm.ErrNotFound) {
		return err, false
	}
	lucky := natsorm.SafeToRetry(err) || errors.Is(err, natsorm.ErrUnknownOutcome) || errors.Is(err, context.DeadlineExceeded)
	if p.spec.Calm || !lucky {
		p.wrong("%s fails after %v: %v", kind, took, err)
	}
	return err, true
}

func (p *program[T]) wrong(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.result.Wrong) < 20 {
		p.result.Wrong = append(p.result.Wrong, fmt.Sprintf("version %d: ", p.spec.Version)+fmt.Sprintf(format, args...))
	}
}

// each reads everything. None may come twice, and those that stay for good must come.
func (p *program[T]) each(ctx context.Context) {
	p.mu.Lock()
	stay := maps.Clone(p.result.Rows) // the writers put there what they keep
	p.mu.Unlock()
	seen := map[int64]bool{}
	began, layout := time.Now(), p.m.Schema().Layout
	_, lost := p.call(ctx, "each", func(ctx context.Context) error {
		clear(seen)
		for v, err := range p.m.Each(ctx) {
			if err != nil {
				return err
			}
			id, _ := p.fields(v)
			if seen[id] {
				p.wrong("Each delivers %d twice", id)
			}
			seen[id] = true
		}
		return nil
	})
	for id := range stay {
		if !lost && !seen[id] {
			_, err := p.m.FindByPK(ctx, id)
			p.wrong("Each does not deliver %d, which was there all the time: %d others in %v, %s before and %s now; by its key: %v",
				id, len(seen), time.Since(began), layout, p.m.Schema().Layout, err)
		}
	}
}

// rollingWriter is one of the writers of a process. Nobody else writes its records, so it
// knows exactly what lookups of its teams, nicks and seats must find.
type rollingWriter[T any] struct {
	*program[T]
	name    string
	base    int64
	n       int64
	rows    map[int64]guestRow
	unknown map[int64]bool
	keeps   []int64
}

func (w *rollingWriter[T]) step(ctx context.Context) {
	switch rnd := rand.IntN(100); {
	case rnd < 35 && len(w.rows) < mostGuests:
		w.create(ctx)
	case rnd < 55:
		w.update(ctx)
	case rnd < 70:
		w.destroy(ctx)
	default:
		w.find(ctx)
	}
}

func (w *rollingWriter[T]) create(ctx context.Context) {
	w.n++
	id := w.base + w.n
	if w.n%2 == 0 {
		id = -id
	}
	row := guestRow{Team: fmt.Sprint(w.name, "-t", rand.IntN(4)), Seat: fmt.Sprint("seat ", id), Badge: fmt.Sprint("own ", id), Nick: fmt.Sprint(w.name, "-n", rand.IntN(4)), Tag: fmt.Sprint(w.name, "-g", rand.IntN(4)), Rank: w.base + rand.Int64N(ranks)}
	shared := false
	select {
	case <-w.steal:
		if shared = rand.IntN(4) == 0; shared {
			row.Badge = fmt.Sprint([]string{"shared ", "Shared "}[rand.IntN(2)], rand.IntN(40)) // which is the same
		}
	default:
	}
	err, lost := w.call(ctx, "create", func(ctx context.Context) error { return w.m.Create(ctx, w.make(id, row)) })
	switch {
	case lost:
		w.unknown[id] = true
	case errors.Is(err, natsorm.ErrUnique):
		if !shared {
			w.wrong("a value that nobody else has is refused: %v", err)
		}
		w.mu.Lock()
		w.result.Refused++
		w.mu.Unlock()
	case err != nil:
		w.wrong("create %d: %v", id, err)
	default:
		w.rows[id] = row
		if len(w.keeps) < kept && !shared {
			w.keeps = append(w.keeps, id)
			w.mu.Lock()
			w.result.Rows[id] = row
			w.mu.Unlock()
		}
	}
}

// one is a record of the writer's own; ok is false when it has none.
func (w *rollingWriter[T]) one() (id int64, row guestRow, ok bool) {
	for id, row = range w.rows {
		return id, row, true
	}
	return 0, row, false
}

func (w *rollingWriter[T]) update(ctx context.Context) {
	id, row, ok := w.one()
	if !ok {
		return
	}
	set := natsorm.Set{}
	switch rand.IntN(4) {
	case 0:
		row.Team = fmt.Sprint(w.name, "-t", rand.IntN(4))
		set["team"] = row.Team
	case 1:
		row.Rank = w.base + rand.Int64N(ranks)
		set["rank"] = row.Rank
	case 2:
		row.Tag = fmt.Sprint(w.name, "-g", rand.IntN(4))
		set["tags"] = row.tags()
	default:
		row.Nick = fmt.Sprint(w.name, "-n", rand.IntN(4))
		set[w.nick] = row.Nick
	}
	n := 0
	err, lost := w.call(ctx, "update", func(ctx context.Context) (err error) {
		n, err = w.m.Update(ctx, set, natsorm.Eq("id", id))
		return err
	})
	w.changed(id, "update", n, err, lost)
	if !lost {
		w.rows[id] = row
	}
}

func (w *rollingWriter[T]) destroy(ctx context.Context) {
	id, _, ok := w.one()
	if !ok || slices.Contains(w.keeps, id) || len(w.rows) < mostGuests/2 {
		return
	}
	n := 0
	err, lost := w.call(ctx, "destroy", func(ctx context.Context) (err error) {
		n, err = w.m.Destroy(ctx, natsorm.Eq("id", id))
		return err
	})
	w.changed(id, "destroy", n, err, lost)
	delete(w.rows, id)
}

// changed notes the outcome of a call that changes one record.
func (w *rollingWriter[T]) changed(id int64, kind string, n int, err error, lost bool) {
	if lost {
		w.unknown[id] = true
		delete(w.rows, id)
		w.keeps = slices.DeleteFunc(w.keeps, func(k int64) bool { return k == id })
	} else if err != nil || n != 1 {
		w.wrong("%s %d: %d, %v", kind, id, n, err)
	}
}

func (w *rollingWriter[T]) find(ctx context.Context) {
	id, row, ok := w.one()
	if !ok {
		return
	}
	var found []*T
	var kind string
	var has func(guestRow) bool
	ordered, desc := false, rand.IntN(2) == 0
	by := func(what string, q ...natsorm.Query) func(context.Context) error {
		kind = "find by " + what
		return func(ctx context.Context) (err error) {
			found, err = w.m.FindAll(ctx, q...)
			return err
		}
	}
	find := func(column, value string) func(context.Context) error { return by(column, natsorm.Eq(column, value)) }
	order := natsorm.OrderBy("rank")
	if desc {
		order = natsorm.OrderBy("-rank")
	}
	from := w.base + rand.Int64N(ranks)
	near := natsorm.Between("rank", from, from+ranks/3)
	isNear := func(r guestRow) bool { return r.Rank >= from && r.Rank <= from+ranks/3 }
	var f func(context.Context) error
	switch rand.IntN(7) {
	case 0:
		f, has = find("team", row.Team), func(r guestRow) bool { return r.Team == row.Team }
	case 1:
		f, has = find(w.nick, row.Nick), func(r guestRow) bool { return r.Nick == row.Nick }
	case 2:
		f, has = find("seat", row.Seat), func(r guestRow) bool { return r.Seat == row.Seat }
	case 3:
		ordered = true
		f, has = by("rank", near, order), isNear
	case 4:
		ordered = true
		f, has = by("team and rank", natsorm.Eq("team", row.Team), near, order, natsorm.Limit(mostGuests)), func(r guestRow) bool { return r.Team == row.Team && isNear(r) }
	case 5:
		f, has = by("tag", natsorm.Contains("tags", row.Tag)), func(r guestRow) bool { return r.Tag == row.Tag }
	default:
		kind = "find by key"
		has = func(r guestRow) bool { return r.Seat == row.Seat }
		f = func(ctx context.Context) error {
			v, err := w.m.FindByPK(ctx, id)
			found = []*T{v}
			return err
		}
	}
	err, lost := w.call(ctx, kind, f)
	if lost {
		return
	}
	if err != nil {
		w.wrong("%s, of %d: %v", kind, id, err)
		return
	}
	got := map[int64]guestRow{}
	for i, v := range found {
		id, r := w.fields(v)
		if ordered && i > 0 {
			if _, before := w.fields(found[i-1]); before.Rank != r.Rank && before.Rank > r.Rank != desc {
				w.wrong("%s, descending %v: %d comes before %d", kind, desc, before.Rank, r.Rank)
			}
		}
		if _, twice := got[id]; twice {
			w.wrong("%s finds %d twice", kind, id)
		}
		if !w.unknown[id] {
			got[id] = r
		}
	}
	for id, r := range w.rows {
		if g, ok := got[id]; has(r) != ok || ok && g != r {
			w.wrong("%s: of %d it finds %v %+v, and there is %+v", kind, id, ok, g, r)
		}
		delete(got, id)
	}
	for id := range got {
		w.wrong("%s finds %d, which is not there", kind, id)
	}
}

// rollingProcess is a program, as the test sees it.
type rollingProcess struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func startRolling(t *testing.T, spec rollingSpec) *rollingProcess {
	t.Helper()
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	p := &rollingProcess{cmd: exec.Command(os.Args[0], "-test.run=^TestBeRolling$", "-test.v", "-test.timeout=35m"), lines: make(chan string, 100)}
	p.cmd.Env = append(os.Environ(), rollingEnv+"="+string(raw))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in := bufio.NewReader(out)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			p.lines <- strings.TrimSpace(line)
		}
		close(p.lines)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		for range p.lines {
		}
		<-ended
	})
	return p
}

// await reads what the program says until a line begins with what it is to say.
func (p *rollingProcess) await(t *testing.T, ctx context.Context, prefix string) string {
	t.Helper()
	var said []string
	for {
		select {
		case <-ctx.Done():
			t.Fatalf("the program does not say %q", prefix)
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the program has ended without %q: %s", prefix, strings.Join(said, "\n"))
			}
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
			said = append(said, line)
		}
	}
}

func (p *rollingProcess) tell(t *testing.T, word string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, word); err != nil {
		t.Fatal(err)
	}
}

// Two versions of a program write at the same time, as two processes with eight writers each,
// while indexes and unique values are declared, dropped and declared again, a column is renamed
// again and again, and the model is moved to the other layout and back. Each writer looks up
// what it has written, and must find exactly that, at every moment.
//
// With stalls, the process of the old version, its network, or its bandwidth stands still for
// a while in the middle of a change.
func TestRollingDeploy(t *testing.T) {
	for _, kind := range []string{"in memory", "in files", "three servers"} {
		for _, stalls := range []bool{false, true} {
			for _, moves := range []bool{false, true} {
				name := kind
				if moves {
					name += ", moved"
				}
				if stalls {
					name += ", with stalls"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if testing.Short() {
						t.Skip("as long as changes wait for those who do not know of them")
					}
					switch name {
					case "in memory", "in files, with stalls", "in memory, moved, with stalls":
					default:
						if !*longForm {
							t.Skip("only with -chaos.long")
						}
					}
					(&rolling{t: t, kind: kind, stalls: stalls, moves: moves, seed: seedOf(t)}).run()
				})
			}
		}
	}
}

// rolling is one run of TestRollingDeploy.
type rolling struct {
	t      *testing.T
	kind   string
	stalls bool
	moves  bool // between layouts, instead of unique values and renamed columns
	seed   uint64

	start   time.Time
	rnd     *rand.Rand
	db      *natsorm.DB
	first   *rollingProcess
	proxy   *testbed.Proxy // between the first program and the servers
	renamed int
	stall   sync.WaitGroup
	change  map[string]int
}

func (r *rolling) run() {
	t := r.t
	lasts := pick(10*time.Second, time.Minute)
	if *duration > 0 {
		lasts = *duration
	}
	ctx, cancel := context.WithTimeout(context.Background(), lasts+5*time.Minute)
	defer cancel()
	r.start, r.rnd, r.change = time.Now(), rand.New(rand.NewPCG(r.seed, 0)), map[string]int{}
	cfg := natsorm.Config{Bucket: bucket}
	var urls []string
	switch r.kind {
	case "three servers":
		cluster, err := testbed.NewCluster(ctx, testbed.ClusterOptions{Dir: t.TempDir(), Processes: true})
		r.must(err)
		t.Cleanup(func() {
			if err := cluster.Close(); err != nil {
				t.Error(err)
			}
		})
		urls, cfg.Replicas = cluster.Addrs(), nodes
	case "in memory":
		cfg.Storage = jetstream.MemoryStorage
		fallthrough
	default:
		urls = []string{testbed.StartServer(t).URL()}
	}
	cfg.Servers = urls
	r.must(testbed.Until(ctx, func(context.Context) (err error) {
		r.db, err = natsorm.Open(ctx, cfg)
		return err
	}))
	defer r.db.Close()
	r.proxy = testbed.StartProxy(t, urls...)
	_, err := natsorm.Define[guestV1](ctx, r.db, natsorm.Name(guests))
	r.must(err)

	r.first = startRolling(t, rollingSpec{URL: r.proxy.URL(), Version: firstVersion, Process: 0, Calm: !r.stalls})
	r.first.await(t, ctx, "ready")
	version := movedVersion
	changes := []func(context.Context){
		func(ctx context.Context) { r.drop(ctx, "team") },
		func(ctx context.Context) { r.drop(ctx, "seat") },
		r.move,
	}
	if !r.moves {
		version, changes[2] = secondVersion, r.rename
		others := [][]string{{"rank"}, {"team", "rank"}, {"tags"}}
		next := int(r.seed % 3)
		changes = append(changes, func(ctx context.Context) { // one of them each time, because each takes seconds
			r.drop(ctx, others[next%3]...)
			next++
		})
		r.rename(ctx)
	}
	second := startRolling(t, rollingSpec{URL: urls[len(urls)-1], Version: version, Process: 1, Calm: !r.stalls})
	second.await(t, ctx, "ready")
	r.define(ctx)
	for _, p := range []*rollingProcess{r.first, second} {
		if !r.moves {
			p.tell(t, "steal")
		}
	}
	for n := 0; n < len(changes) || time.Since(r.start) < lasts; n++ {
		r.disturb(ctx)
		changes[(n+int(r.seed%2))%len(changes)](ctx)
	}
	r.stall.Wait()

	rows, unknown := map[int64]guestRow{}, map[int64]bool{}
	for _, p := range []*rollingProcess{r.first, second} {
		p.tell(t, "stop")
		var result rollingResult
		r.must(json.Unmarshal([]byte(p.await(t, ctx, "result ")), &result))
		for _, wrong := range result.Wrong {
			t.Error(wrong)
		}
		maps.Copy(rows, result.Rows)
		maps.Copy(unknown, result.Unknown)
		t.Logf("calls %v, %d refused, slowest %v", result.Calls, result.Refused, result.Slowest)
		if result.Refused == 0 && !r.moves {
			t.Error("no badge was refused, so nothing was tested")
		}
		for kind, took := range result.Slowest {
			if *longForm && !r.stalls && !r.moves && took > 2*time.Second && kind != "each" {
				t.Errorf("a call took %v: %s", took, kind)
			}
		}
	}
	t.Logf("changes: %v, in %v", r.change, time.Since(r.start))
	r.verify(ctx, rows, unknown)
}

// verify holds what is there at the end against what the programs were told.
func (r *rolling) verify(ctx context.Context, rows map[int64]guestRow, unknown map[int64]bool) {
	t := r.t
	report, err := r.db.Check(ctx)
	r.must(err)
	if !report.Clean() {
		t.Errorf("an index disagrees with its records: %s", report)
	}
	if r.moves {
		verifyGuests(ctx, r, "nick", ofMoved, rows, unknown)
	} else {
		verifyGuests(ctx, r, "alias", ofV2, rows, unknown)
	}
}

func verifyGuests[T any](ctx context.Context, r *rolling, nick string, fields func(*T) (int64, guestRow), rows map[int64]guestRow, unknown map[int64]bool) {
	t := r.t
	m, err := natsorm.Define[T](ctx, r.db, natsorm.Name(guests))
	r.must(err)
	for _, x := range m.Schema().Indexes {
		if x.State != natsorm.IndexReady {
			t.Errorf("the index of %v is %s", x.Columns, x.State)
		}
	}
	badges, there := map[string]int64{}, map[int64]bool{}
	for v, err := range m.Each(ctx) {
		r.must(err)
		id, got := fields(v)
		badge := got.Badge
		if !r.moves { // letter case does not matter
			badge = strings.ToLower(badge)
		}
		if other, taken := badges[badge]; taken {
			t.Errorf("badge %q was given to %d and %d", got.Badge, other, id)
		}
		badges[badge], there[id] = id, true
		if want, known := rows[id]; !unknown[id] && (!known || got != want) {
			t.Errorf("%d is %+v, want %+v, %v", id, got, want, known)
		}
		values := map[string]string{"team": got.Team, "seat": got.Seat, nick: got.Nick}
		if !r.moves { // badges are indexed
			values["badge"] = got.Badge
		}
		for column, value := range values {
			found, err := m.FindAll(ctx, natsorm.Eq(column, value))
			r.must(err)
			if !slices.ContainsFunc(found, func(f *T) bool { by, _ := fields(f); return by == id }) {
				t.Errorf("%d is not found by its %s", id, column)
			}
		}
		for what, q := range map[string][]natsorm.Query{
			"rank": {natsorm.Between("rank", got.Rank, got.Rank+1)}, "team and rank": {natsorm.Eq("team", got.Team), natsorm.Gte("rank", got.Rank), natsorm.OrderBy("rank")},
			"tag": {natsorm.Contains("tags", got.Tag)},
		} {
			found, err := m.FindAll(ctx, q...)
			r.must(err)
			if !slices.ContainsFunc(found, func(f *T) bool { by, _ := fields(f); return by == id }) {
				t.Errorf("%d is not found by its %s", id, what)
			}
		}
	}
	for id := range rows {
		if !there[id] && !unknown[id] {
			t.Errorf("%d is lost", id)
		}
	}
	if len(rows) < writers*2 {
		t.Errorf("only %d records: nothing was tested", len(rows))
	}
}

// define declares the second version again, which builds the indexes that were dropped.
func (r *rolling) define(ctx context.Context) {
	r.t.Helper()
	var err error
	if r.moves {
		_, err = natsorm.Define[guestMoved](ctx, r.db, natsorm.Name(guests))
	} else {
		_, err = natsorm.Define[guestV2](ctx, r.db, natsorm.Name(guests))
	}
	r.must(err)
}

func (r *rolling) drop(ctx context.Context, columns ...string) {
	r.change["drop and declare "+strings.Join(columns, " and ")]++
	r.must(r.db.Alter(ctx, guests, natsorm.DropIndex(columns...)))
	r.define(ctx)
}

// alias is what the column is called that was the nick, after so many renamings.
func alias(n int) string {
	switch n {
	case 0:
		return "nick"
	case 1:
		return "alias"
	}
	return fmt.Sprint("alias", n)
}

func (r *rolling) rename(ctx context.Context) {
	r.change["rename"]++
	r.must(r.db.Alter(ctx, guests, natsorm.RenameColumn(alias(r.renamed), alias(r.renamed+1))))
	r.renamed++
}

// move moves the model to the other layout and back.
func (r *rolling) move(ctx context.Context) {
	r.change["move"]++
	r.must(r.db.ChangeLayout(ctx, guests, natsorm.Sequelize))
	r.must(r.db.ChangeLayout(ctx, guests, natsorm.Native))
}

// disturb makes something stand still for a while, a moment from now.
func (r *rolling) disturb(ctx context.Context) {
	if !r.stalls {
		return
	}
	after := time.Duration(r.rnd.Int64N(int64(2 * time.Second)))
	begin, end, lasts, what := func() error { return nil }, func() error { return nil }, time.Duration(0), ""
	switch r.rnd.IntN(3) {
	case 0:
		what, lasts = "the process stands still", pick(2*time.Second, 10*time.Second)
		begin = func() error { return testbed.Suspend(r.first.cmd.Process) }
		end = func() error { return testbed.Resume(r.first.cmd.Process) }
	case 1:
		what, lasts = "the network stands still", pick(2*time.Second, 5*time.Second)
		begin = func() error { r.proxy.Delay(lasts); return nil }
		end = func() error { r.proxy.Delay(0); return nil }
	default:
		what, lasts = "the network has 150 kB/s", pick(2*time.Second, 5*time.Second)
		begin = func() error { r.proxy.Slow(150_000); return nil }
		end = func() error { r.proxy.Slow(0); return nil }
	}
	r.stall.Wait() // one at a time
	r.stall.Go(func() {
		if testbed.Wait(ctx, after) != nil {
			return
		}
		r.t.Logf("%7.3fs  %s", time.Since(r.start).Seconds(), what)
		if err := begin(); err != nil {
			if !errors.Is(err, errors.ErrUnsupported) {
				r.t.Error(err)
			}
			return
		}
		_ = testbed.Wait(ctx, lasts)
		if err := end(); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rolling) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}
