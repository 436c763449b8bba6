package natsorm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// job has an index of each kind whose entries may be exact, and two whose entries never are.
type job struct {
	ID    int64     `json:"id"              orm:"primaryKey"`
	State string    `json:"state"           orm:"index,index:place"`
	Level int       `json:"level,omitempty" orm:"index:place,ordered"`
	Owner *string   `json:"owner"           orm:"index,fold"`
	Cost  *float64  `json:"cost"            orm:"index"`
	Queue string    `json:"queue"           orm:"ordered:queue"`
	At    time.Time `json:"at"              orm:"ordered:queue"`
	Tags  []string  `json:"tags"            orm:"index"`
	Note  string    `json:"note"`
}

var jobStates = []string{"open", "to be done", strings.Repeat("long ", 40) + "a", strings.Repeat("long ", 40) + "b"}

// randomJob gives most jobs one of a few values, so that counts are large.
func randomJob(r *rand.Rand, id int64) *job {
	j := &job{ID: id, State: jobStates[min(r.IntN(5), 3)], Level: r.IntN(3) - 1, At: time.Unix(int64(r.IntN(100)), 0).UTC(), Queue: "q", Note: "n"}
	if r.IntN(3) > 0 {
		j.Owner = ptr([]string{"Ann", "ann", "Åsa"}[r.IntN(3)])
	}
	if r.IntN(2) > 0 {
		j.Cost = ptr([]float64{0, 1.5, -2}[r.IntN(3)])
	}
	for range r.IntN(3) {
		j.Tags = append(j.Tags, []string{"x", "y"}[r.IntN(2)])
	}
	return j
}

// jobCounts are conditions, and what they say in Go. entries says whether an index has all that
// they say.
var jobCounts = map[string]struct {
	entries bool
	query   []natsorm.Query
	is      func(j *job) bool
}{
	"a value":             {true, []natsorm.Query{natsorm.Eq("state", "open")}, func(j *job) bool { return j.State == "open" }},
	"a value with spaces": {true, []natsorm.Query{natsorm.Eq("state", jobStates[1])}, func(j *job) bool { return j.State == jobStates[1] }},
	"a value that is cut": {true, []natsorm.Query{natsorm.Eq("state", jobStates[3])}, func(j *job) bool { return j.State == jobStates[3] }},
	"several values":      {true, []natsorm.Query{natsorm.In("state", "open", jobStates[2], "none")}, func(j *job) bool { return j.State == "open" || j.State == jobStates[2] }},
	"two columns":         {true, []natsorm.Query{natsorm.In("state", "open", jobStates[1], jobStates[2]), natsorm.In("level", 0, 1)}, func(j *job) bool { return slices.Contains(jobStates[:3], j.State) && j.Level >= 0 }},
	"zero, left out":      {true, []natsorm.Query{natsorm.In("state", jobStates[0], jobStates[1], jobStates[2], jobStates[3]), natsorm.Eq("level", 0)}, func(j *job) bool { return slices.Contains(jobStates, j.State) && j.Level == 0 }},
	"null":                {true, []natsorm.Query{natsorm.IsNull("cost")}, func(j *job) bool { return j.Cost == nil }},
	"null or a number":    {true, []natsorm.Query{natsorm.In("cost", nil, 0)}, func(j *job) bool { return j.Cost == nil || *j.Cost == 0 }},
	"letter case":         {true, []natsorm.Query{natsorm.Eq("owner", "ANN")}, func(j *job) bool { return j.Owner != nil && strings.EqualFold(*j.Owner, "ann") }},
	"a range":             {true, []natsorm.Query{natsorm.Gte("level", 0)}, func(j *job) bool { return j.Level >= 0 }},
	"a list in a range":   {true, []natsorm.Query{natsorm.In("level", -1, 0, 1), natsorm.Gte("level", 0)}, func(j *job) bool { return j.Level >= 0 }},
	"a range of zero":     {true, []natsorm.Query{natsorm.Between("level", 0, 0)}, func(j *job) bool { return j.Level == 0 }},
	"a range below zero":  {true, []natsorm.Query{natsorm.Lt("level", 1)}, func(j *job) bool { return j.Level < 1 }},
	"a value and a range": {true, []natsorm.Query{natsorm.Eq("queue", "q"), natsorm.Between("at", time.Unix(10, 0), time.Unix(59, 0))}, func(j *job) bool { return j.Queue == "q" && j.At.Unix() >= 10 && j.At.Unix() < 60 }},
	"another column too":  {false, []natsorm.Query{natsorm.Eq("state", "open"), natsorm.Eq("note", "n")}, func(j *job) bool { return j.State == "open" && j.Note == "n" }},
	"elements":            {false, []natsorm.Query{natsorm.Contains("tags", "x")}, func(j *job) bool { return strings.Contains(strings.Join(j.Tags, ""), "x") }},
	"not":                 {false, []natsorm.Query{natsorm.Ne("state", "open")}, func(j *job) bool { return j.State != "open" }},
}

// TestCountsFromEntries counts by conditions of all kinds until entries are counted, and goes on
// while records change one after the other: each number is that of plain Go. In the end the bucket
// has been written in every way.
func TestCountsFromEntries(t *testing.T) {
	t.Parallel()
	servers := map[string]embedded.Config{"in memory": {}}
	if !testing.Short() && !testbed.Race { // the counts are the same code
		servers["in files"] = embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}
	}
	for name, cfg := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			db := must[*natsorm.DB](t)(serve(t, cfg).Open(ctx, natsorm.Config{Bucket: "b"}))
			defer db.Close()
			jobs := define[job](t, db)
			all := map[int64]*job{}
			var list []*job
			for id := range int64(1500) {
				all[id] = randomJob(r, id)
				list = append(list, all[id])
			}
			ok(t, jobs.BulkCreate(ctx, list))
			counted := map[string]bool{}
			agree := func(when string) {
				t.Helper()
				for name, c := range jobCounts {
					want := 0
					for _, j := range all {
						if c.is(j) {
							want++
						}
					}
					if got := must[int](t)(jobs.Count(ctx, c.query...)); got != want {
						t.Errorf("%s, %s: counted %d of %d", when, name, got, want)
					}
					if name != "a value" {
						continue
					}
					if n := must[int](t)(jobs.Count(ctx, append([]natsorm.Query{natsorm.Offset(10), natsorm.Limit(1000)}, c.query...)...)); n != min(1000, max(0, want-10)) {
						t.Errorf("%s, %s, with an offset and a limit: %d of %d", when, name, n, want)
					}
				}
				for _, columns := range [][]string{{"state"}, {"level", "state"}, {"cost"}, {"owner"}} {
					want := map[string]int{}
					for _, j := range all {
						key := ""
						for _, c := range columns {
							key += fmt.Sprint(map[string]any{"state": j.State, "level": int64(j.Level), "cost": pointed(j.Cost), "owner": pointed(j.Owner)}[c], "|")
						}
						want[key]++
					}
					groups := must[[]natsorm.Record](t)(jobs.GroupBy(ctx, columns, []natsorm.Aggregate{natsorm.CountRecords()}))
					for _, g := range groups {
						key := ""
						for _, c := range columns {
							key += fmt.Sprint(g[c], "|")
						}
						if g["count"] != int64(want[key]) {
							t.Errorf("%s, by %v: %v, want %d", when, columns, g, want[key])
						}
					}
					if len(groups) != len(want) {
						t.Errorf("%s, by %v: %d groups, want %d", when, columns, len(groups), len(want))
					}
					if plain := must[[]natsorm.Record](t)(jobs.GroupBy(ctx, columns, nil)); len(plain) != len(want) {
						t.Errorf("%s, by %v, without a count: %d groups, want %d", when, columns, len(plain), len(want))
					}
				}
				for name, c := range jobCounts {
					if counted[name] {
						continue
					}
					p := must[natsorm.Plan](t)(jobs.Explain(ctx, c.query...))
					if p.Counts == natsorm.CountsEntries {
						counted[name] = true
						if !strings.Contains(p.String(), "counts:    entries") {
							t.Errorf("%s: %s", name, p)
						}
					}
				}
			}
			for i := range 3 {
				agree(fmt.Sprint("at first, ", i))
			}
			for name, c := range jobCounts {
				if counted[name] != c.entries {
					t.Errorf("%s: counts from entries: %v", name, counted[name])
				}
			}
			for i := range 2 {
				for range 15 {
					id := int64(r.IntN(1600))
					switch _, there := all[id]; {
					case there && r.IntN(3) == 0:
						must[int](t)(jobs.Destroy(ctx, natsorm.Eq("id", id)))
						delete(all, id)
					default:
						j := randomJob(r, id)
						must[bool](t)(jobs.Upsert(ctx, j))
						all[id] = j
					}
				}
				agree(fmt.Sprint("changed, ", i))
			}
			// A state that no group had.
			ok(t, jobs.Create(ctx, &job{ID: 5000, State: "new"}))
			all[5000] = &job{ID: 5000, State: "new"}
			agree("with a new value")
			// Inside a transaction its own changes count.
			ok(t, db.Transaction(ctx, func(ctx context.Context) error {
				before, err := jobs.Count(ctx, natsorm.Eq("state", "open"))
				if err != nil {
					return err
				}
				if err := jobs.Create(ctx, &job{ID: 6000, State: "open"}); err != nil {
					return err
				}
				after, err := jobs.Count(ctx, natsorm.Eq("state", "open"))
				if err == nil && after != before+1 {
					t.Errorf("%d in a transaction that had %d and made one", after, before)
				}
				return err
			}))
			all[6000] = &job{ID: 6000, State: "open"}
			agree("after a transaction")
			ok(t, jobs.Truncate(ctx))
			clear(all)
			agree("truncated")
			natsormtest.Prove(t, db)
		})
	}
}

// pointed is what a pointer points to, or nil.
func pointed[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// TestCountsFromEntriesBesideWriters: another process changes the states of jobs in transactions,
// two at a time. At every moment each job has one of two states, and counts say so.
func TestCountsFromEntriesBesideWriters(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	srv := serve(t, embedded.Config{})
	db := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "b"}))
	defer db.Close()
	writes := must[*natsorm.DB](t)(srv.Open(ctx, natsorm.Config{Bucket: "b"}))
	defer writes.Close()
	jobs, others := define[job](t, db), define[job](t, writes)
	const n = 1200
	var list []*job
	for id := range int64(n) {
		list = append(list, &job{ID: id, State: jobStates[id%2]})
	}
	ok(t, jobs.BulkCreate(ctx, list))
	open := natsorm.Eq("state", jobStates[0])
	entries := func() bool { return must[natsorm.Plan](t)(jobs.Explain(ctx, open)).Counts == natsorm.CountsEntries }
	for i := 0; !entries(); i++ {
		if got := must[int](t)(jobs.Count(ctx, open)); got != n/2 || i > 20 {
			t.Fatalf("count %d: %d", i, got)
		}
	}
	for round := range 15 {
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				err := writes.Transaction(ctx, func(ctx context.Context) error {
					for _, state := range []int{0, 1} {
						j, err := others.FindOne(ctx, natsorm.Eq("id", int64(w*300+2*r.IntN(150)+state)))
						if err != nil {
							return err
						}
						j.State = map[string]string{jobStates[0]: jobStates[1], jobStates[1]: jobStates[0]}[j.State]
						if err := others.Save(ctx, j); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		a := must[int](t)(jobs.Count(ctx, natsorm.In("state", jobStates[0], jobStates[1])))
		if a != n {
			t.Errorf("round %d: %d of %d", round, a, n)
		}
		wg.Wait()
		a, b := must[int](t)(jobs.Count(ctx, open)), must[int](t)(jobs.Count(ctx, natsorm.Eq("state", jobStates[1])))
		if a+b != n {
			t.Errorf("round %d: %d and %d", round, a, b)
		}
	}
	natsormtest.Prove(t, db)
}
