package natsorm

import (
	"context"
	"fmt"
	"time"

	"github.com/natsorm/natsorm/internal/errs"
	"github.com/natsorm/natsorm/internal/explain"
	"github.com/natsorm/natsorm/internal/plan"
	"github.com/natsorm/natsorm/internal/query"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/usage"
)

// Plan is how FindAll answers a query, and what that costs. String prints it as a tree.
type Plan struct {
	Model     string   `json:"model"`
	Filter    string   `json:"filter,omitempty"`  // the condition that is checked on each record read
	OrderBy   []string `json:"orderBy,omitempty"` // the columns, with the primary key added at the end
	Limit     *int     `json:"limit,omitempty"`
	Offset    int      `json:"offset,omitempty"`
	After     bool     `json:"after,omitempty"` // the results begin behind a cursor
	Access    Access   `json:"access"`
	Local     bool     `json:"local,omitempty"`  // a Local answers from memory: nothing is asked of the server, entries are counted, and no cost is estimated
	Counts    string   `json:"counts,omitempty"` // CountsEntries, or empty when Count reads records too
	Writes    string   `json:"writes"`           // how a change of one record is written: WritesAtomic or WritesPhased
	Estimated Cost     `json:"estimated"`
	Samples   *Cost    `json:"samples,omitempty"` // of ordered indexes, read to plan the query and known for a minute; not in Estimated and Actual
	Actual    *Cost    `json:"actual,omitempty"`  // with Analyze
	Results   *int     `json:"results,omitempty"` // with Analyze: how many records were returned
}

// The values of Plan.Writes: how a record is written together with its index entries
// and unique claims. The configuration of the bucket decides it when the bucket is
// opened.
const (
	// WritesAtomic: in one atomic batch, which takes one round trip. This is for
	// buckets in memory, or with replicas.
	WritesAtomic = "atomic"
	// WritesPhased: first the index entries and claims, then the record, in two round
	// trips. This is for buckets in files without replicas, where the server takes
	// longer for a batch than for several messages. (When it syncs every message to the
	// disk, concurrent writes of one DB share batches all the same.) It is also for
	// buckets whose atomic publish is off.
	WritesPhased = "phased"
)

// CountsEntries, in Plan.Counts: Count with these queries counts the entries of an index, because they are
// proven to be exact; it reads only records that were written since the proof.
const CountsEntries = "entries"

// Access is one way to find the records of a model.
type Access struct {
	// Path is "primary key", "unique index", "index", "ordered index", "scan", or "intersection" or
	// "union" of Inputs. It is "nothing" when no record needs to be read: the condition
	// cannot be true, or the Limit is 0.
	Path    string   `json:"path"`
	Columns []string `json:"columns,omitempty"` // the columns that are looked up: the first ones of the index, or all
	Lookups []string `json:"lookups,omitempty"` // the values that are looked up, at most 8 of them
	More    int      `json:"more,omitempty"`    // how many more there are
	Sorted  bool     `json:"sorted,omitempty"`  // records are read in the query's order, as far as it needs
	Entries int      `json:"entries"`           // index entries and claims to read, an estimate
	Records int      `json:"records"`           // records to read, an estimate
	Inputs  []Access `json:"inputs,omitempty"`
}

// Cost is what it takes to answer a query.
type Cost struct {
	Keys     int `json:"keys"`     // index entries and records that are received, deleted ones included
	Requests int `json:"requests"` // to the server; requests under way together count separately
	// Again is how many of the Requests had been sent before and were not answered, or not in
	// time: the server, the network or this program stood still, or the connection was lost.
	// It is 0 in an estimate.
	Again int           `json:"again,omitempty"`
	Bytes int64         `json:"bytes"` // that are received
	Time  time.Duration `json:"time"`  // nanoseconds in JSON; an estimate is for a server on the same machine
}

// Explain returns the plan by which FindAll answers these queries. To estimate the
// costs, it reads the index entries, and uses what this process has seen of the model.
// With a Limit and without an order the estimate is a guess, because nobody knows how
// soon enough records are found.
//
// How many entries a range of an ordered index has, samples of it say. Where they are not known, Explain
// reads them, as the query would, and Samples is what that took.
//
// With Analyze it also runs the query, and the plan has the actual cost. ErrCorrupt
// then comes together with the plan, as FindAll returns it together with records. The
// other errors are those of FindAll.
func (m *reads[T]) Explain(ctx context.Context, q ...Query) (Plan, error) {
	out, analyze, err := m.explain(ctx, q)
	if err != nil || !analyze {
		return out, err
	}
	var used usage.Usage
	start := time.Now()
	found, err := m.FindAll(usage.Measured(ctx, &used), append(append([]Query(nil), q...), withoutAnalyze)...)
	if err != nil && !errs.Unreadable(err) {
		return Plan{}, err
	}
	n := len(found)
	out.Results = &n
	out.Actual = &Cost{Keys: int(used.Keys.Load()), Requests: int(used.Requests.Load()), Again: int(used.Again.Load()), Bytes: used.Bytes.Load(), Time: time.Since(start)}
	return out, err
}

// explain returns the plan, and whether the query is to be run too.
func (m *model) explain(ctx context.Context, q []Query) (p Plan, analyze bool, err error) {
	err = m.read(ctx, "Explain", q, query.ForExplain, func(s *session, bound plan.Query, spec query.Spec) error {
		if s.Local != nil {
			made := s.Local.Plan(bound)
			if s.Local.Covers(made) {
				made.Filter = nil // it is not checked
			}
			p, analyze = describePlan(s.Docs.Def, made), spec.Analyze
			p.Local = true
			return nil
		}
		made, err := s.Docs.Source().Explain(ctx, bound)
		if err != nil {
			return err
		}
		p, analyze = describePlan(s.Docs.Def, made), spec.Analyze
		if s.Docs.Source().CountsEntries(bound) {
			p.Counts = CountsEntries
		}
		p.Writes = WritesPhased
		if s.Tx != nil || m.core.DB.Bucket.Traits().Writes == store.Atomic {
			p.Writes = WritesAtomic
		}
		return nil
	})
	return p, analyze, err
}

// Analyze makes Explain run the query and report what it took.
func Analyze() Query { return queryFunc(func(s *query.Spec) { s.Analyze = true }) }

var withoutAnalyze = queryFunc(func(s *query.Spec) { s.Analyze = false })

// shownLookups is how many lookups of an access, and how many values of a list, a plan
// shows.
const shownLookups = 8

func describePlan(def *schema.Definition, p plan.Plan) Plan {
	out := Plan{Model: def.Name, Offset: p.Offset, After: p.After != nil, Access: describeAccess(def, p.Access), Estimated: estimate(p.Cost)}
	if check := p.Residual(def); check != nil && p.Path != plan.Nothing {
		out.Filter = check.Text(def, shownLookups)
	}
	if p.Samples.Requests > 0 {
		samples := estimate(p.Samples)
		out.Samples = &samples
	}
	if p.Limit >= 0 {
		out.Limit = &p.Limit
	}
	for _, s := range p.Order {
		name := def.Columns[s.Column].Name
		if s.Desc {
			name = "-" + name
		}
		out.OrderBy = append(out.OrderBy, name)
	}
	return out
}

func describeAccess(def *schema.Definition, a plan.Access) Access {
	out := Access{Path: a.Path.String(), Entries: a.Entries, Records: a.Records, Sorted: a.Sorted}
	out.Columns, out.Lookups, out.More = a.Text(def, shownLookups)
	for _, in := range a.Inputs {
		out.Inputs = append(out.Inputs, describeAccess(def, in))
	}
	return out
}

// estimate is the cost that a plan expects.
func estimate(c plan.Cost) Cost {
	return Cost{Keys: c.Keys, Requests: c.Requests, Bytes: c.Bytes, Time: c.Time}
}

// String prints the plan as a tree. Each line works on what the lines below it give:
//
//	users: order by -age, id, limit 10
//	└─ filter city = "Oslo" and age >= 30
//	   └─ index (city) "Oslo": 120 entries, 120 records
//	estimated: 240 keys, 2 requests, 52.1 kB, 0.70 ms
//	writes:    atomic
func (p Plan) String() string {
	root := p.Access.node()
	if p.Filter != "" {
		root = explain.Node{Line: "filter " + p.Filter, Kids: []explain.Node{root}}
	}
	text := explain.Tree(explain.Title(p.Model, p.OrderBy, p.After, p.Offset, p.Limit), root)
	text += fmt.Sprintf("estimated: %s", p.Estimated)
	if p.Samples != nil {
		text += fmt.Sprintf("\nsamples:   %s", *p.Samples)
	}
	if p.Actual != nil {
		text += fmt.Sprintf("\nactual:    %s; %d results", *p.Actual, *p.Results)
	}
	if p.Counts != "" {
		text += "\ncounts:    " + p.Counts
	}
	if p.Writes != "" {
		text += "\nwrites:    " + p.Writes
	}
	return text
}

func (a Access) node() explain.Node {
	n := explain.Node{Line: a.String()}
	for _, in := range a.Inputs {
		n.Kids = append(n.Kids, in.node())
	}
	return n
}

// String prints the access on one line, without its inputs.
func (a Access) String() string {
	text := explain.Access(a.Path, a.Columns, a.Lookups, a.More)
	if a.Sorted {
		text += ", in order"
	}
	if a.Path == plan.Nothing.String() {
		return text + " to read"
	}
	return text + ": " + explain.Reads(a.Entries, a.Records)
}

// String prints the cost on one line.
func (c Cost) String() string { return explain.Cost(c.Keys, c.Requests, c.Again, c.Bytes, c.Time) }
