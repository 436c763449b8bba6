package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/natsormtest"
)

// row is the record of random transactions.
type row struct {
	ID      string  `json:"id" orm:"primaryKey"`
	Owner   string  `json:"owner" orm:"index"`
	Number  *string `json:"number"`
	Balance int     `json:"balance" orm:"index"`
	City    string  `json:"city"`
	N       *int    `json:"n"`
	Version uint64  `json:"-" orm:"version"`
}

// commitMark is created by a transaction that writes, to know its revision.
type commitMark struct {
	ID      int64  `json:"id" orm:"primaryKey"`
	Version uint64 `json:"-" orm:"version"`
}

// dice makes the random choices of a client.
type dice struct {
	*rand.Rand
	ids []string
}

func (r *dice) id() string { return r.ids[r.IntN(len(r.ids))] }

var hostileIDs = []string{"a", ">", "*", "a.b", "", "é", "=41", " ", "0"}

// rowLayout declares row in one layout, with or without unique values.
type rowLayout struct {
	ids    []string
	unique bool
	opts   []natsorm.ModelOption
	marks  []natsorm.ModelOption // of commitMark
}

// called is the layout under another model's name.
func (l rowLayout) called(name string) rowLayout {
	l.opts = append(slices.Clip(l.opts), natsorm.Name(name))
	l.marks = []natsorm.ModelOption{natsorm.Name(name + "_mark")}
	return l
}

var nativeRows = rowLayout{hostileIDs, true, []natsorm.ModelOption{natsorm.Unique("number"), natsorm.Unique("city", "n"), natsorm.Index("owner", "city")}, nil}

var sequelizeRows = rowLayout{
	[]string{"a", "-", "0x1", "a/b", "7", "-5", "1e3", "_", "0"}, false,
	[]natsorm.ModelOption{natsorm.SequelizeLayout(), natsorm.Index("number"), natsorm.Index("city"), natsorm.Index("n")}, nil,
}

// mem is what the bucket should hold.
type mem map[string]row

func (m mem) clone() mem { return maps.Clone(m) }

// dup reports whether two records have one unique value.
func (m mem) dup() bool {
	seen := map[string]bool{}
	for _, r := range m {
		if r.Number != nil {
			k := "n" + *r.Number
			if seen[k] {
				return true
			}
			seen[k] = true
		}
		if r.N != nil {
			k := fmt.Sprint("c", r.City, "/", *r.N)
			if seen[k] {
				return true
			}
			seen[k] = true
		}
	}
	return false
}

func show(r row) string {
	s := fmt.Sprintf("%q o=%s b=%d c=%s", r.ID, r.Owner, r.Balance, r.City)
	if r.Number != nil {
		s += " u=" + *r.Number
	}
	if r.N != nil {
		s += fmt.Sprint(" n=", *r.N)
	}
	return s
}

// rowQuery is a condition, and the same in Go.
type rowQuery struct {
	q    natsorm.Condition
	pred func(row) bool
	text string
}

func randQuery(r *dice, depth int) rowQuery {
	n := 12
	if depth > 1 {
		n = 9
	}
	switch r.IntN(n) {
	case 0:
		id := r.id()
		return rowQuery{natsorm.Eq("id", id), func(x row) bool { return x.ID == id }, fmt.Sprintf("id=%q", id)}
	case 1, 2:
		o := "o" + strconv.Itoa(r.IntN(3))
		return rowQuery{natsorm.Eq("owner", o), func(x row) bool { return x.Owner == o }, "owner=" + o}
	case 3:
		u := "u" + strconv.Itoa(r.IntN(5))
		return rowQuery{natsorm.Eq("number", u), func(x row) bool { return x.Number != nil && *x.Number == u }, "number=" + u}
	case 4:
		b := r.IntN(6)
		return rowQuery{natsorm.Gte("balance", b), func(x row) bool { return x.Balance >= b }, fmt.Sprint("balance>=", b)}
	case 5:
		b, c := r.IntN(6), r.IntN(6)
		return rowQuery{natsorm.In("balance", b, c), func(x row) bool { return x.Balance == b || x.Balance == c }, fmt.Sprint("balance in ", b, c)}
	case 6:
		o, c := "o"+strconv.Itoa(r.IntN(3)), "c"+strconv.Itoa(r.IntN(2))
		return rowQuery{natsorm.And(natsorm.Eq("owner", o), natsorm.Eq("city", c)), func(x row) bool { return x.Owner == o && x.City == c }, o + "&" + c}
	case 7:
		c, k := "c"+strconv.Itoa(r.IntN(2)), r.IntN(4)
		return rowQuery{natsorm.And(natsorm.Eq("city", c), natsorm.Eq("n", k)), func(x row) bool { return x.City == c && x.N != nil && *x.N == k }, fmt.Sprint(c, "&n=", k)}
	case 8:
		return rowQuery{natsorm.IsNull("number"), func(x row) bool { return x.Number == nil }, "number null"}
	case 9:
		a, b := randQuery(r, depth+1), randQuery(r, depth+1)
		return rowQuery{natsorm.Or(a.q, b.q), func(x row) bool { return a.pred(x) || b.pred(x) }, "(" + a.text + " or " + b.text + ")"}
	case 10:
		a, b := randQuery(r, depth+1), randQuery(r, depth+1)
		return rowQuery{natsorm.And(a.q, b.q), func(x row) bool { return a.pred(x) && b.pred(x) }, "(" + a.text + " and " + b.text + ")"}
	default:
		o, p := r.id(), r.id()
		return rowQuery{natsorm.In("id", o, p), func(x row) bool { return x.ID == o || x.ID == p }, fmt.Sprintf("id in %q %q", o, p)}
	}
}

func (m mem) find(q rowQuery) []row {
	var out []row
	for _, x := range m {
		if q.pred(x) {
			out = append(out, x)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

func showAll(rs []row) string {
	parts := make([]string, len(rs))
	for i, x := range rs {
		parts[i] = show(x)
	}
	return strings.Join(parts, "; ")
}

func flat(in []*row) []row {
	out := make([]row, len(in))
	for i, p := range in {
		out[i] = *p
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// rowOp is a call, and the same on a mem; both say what they found.
type rowOp struct {
	text string
	real func(ctx context.Context, in *natsorm.Model[row]) (string, error)
	mem  func(m mem) string
}

func randRec(r *dice) row {
	x := row{ID: r.id(), Owner: "o" + strconv.Itoa(r.IntN(3)), Balance: r.IntN(6), City: "c" + strconv.Itoa(r.IntN(2))}
	if r.IntN(2) == 0 {
		u := "u" + strconv.Itoa(r.IntN(5))
		x.Number = &u
	}
	if r.IntN(2) == 0 {
		n := r.IntN(4)
		x.N = &n
	}
	return x
}

func randSet(r *dice) (natsorm.Set, func(*row)) {
	switch r.IntN(5) {
	case 0:
		o := "o" + strconv.Itoa(r.IntN(3))
		return natsorm.Set{"owner": o}, func(x *row) { x.Owner = o }
	case 1:
		b := r.IntN(6)
		return natsorm.Set{"balance": b}, func(x *row) { x.Balance = b }
	case 2:
		c := "c" + strconv.Itoa(r.IntN(2))
		return natsorm.Set{"city": c}, func(x *row) { x.City = c }
	case 3:
		return natsorm.Set{"number": nil}, func(x *row) { x.Number = nil }
	default:
		return natsorm.Set{"n": nil, "owner": "o1"}, func(x *row) { x.N = nil; x.Owner = "o1" }
	}
}

func randOp(r *dice, write bool) rowOp {
	n := 6
	if write {
		n = 17
	}
	switch k := r.IntN(n); k {
	case 0:
		id := r.id()
		return rowOp{fmt.Sprintf("get %q", id), func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			v, err := in.FindByPK(ctx, id)
			if errors.Is(err, natsorm.ErrNotFound) {
				return "none", nil
			} else if err != nil {
				return "", err
			}
			return show(*v), nil
		}, func(m mem) string {
			if x, ok := m[id]; ok {
				return show(x)
			}
			return "none"
		}}
	case 1, 2:
		q := randQuery(r, 0)
		return rowOp{"find " + q.text, func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			vs, err := in.FindAll(ctx, q.q)
			return showAll(flat(vs)), err
		}, func(m mem) string { return showAll(m.find(q)) }}
	case 3:
		q := randQuery(r, 0)
		return rowOp{"count " + q.text, func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			n, err := in.Count(ctx, q.q)
			return fmt.Sprint(n), err
		}, func(m mem) string { return fmt.Sprint(len(m.find(q))) }}
	case 4:
		q := randQuery(r, 0)
		return rowOp{"page " + q.text, func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			vs, total, err := in.FindAndCountAll(ctx, q.q, natsorm.OrderBy("-balance", "id"), natsorm.Limit(2))
			out := ""
			for _, v := range vs {
				out += show(*v) + ";"
			}
			return fmt.Sprint(out, total), err
		}, func(m mem) string {
			all := m.find(q)
			sort.SliceStable(all, func(i, j int) bool { return all[i].Balance > all[j].Balance })
			out := ""
			for i := range min(2, len(all)) {
				out += show(all[i]) + ";"
			}
			return fmt.Sprint(out, len(all))
		}}
	case 5:
		return rowOp{"sum", func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			s, err := in.Sum(ctx, "balance")
			return fmt.Sprint(int(s)), err
		}, func(m mem) string {
			s := 0
			for _, x := range m {
				s += x.Balance
			}
			return fmt.Sprint(s)
		}}
	case 6, 7:
		x := randRec(r)
		return rowOp{"create " + show(x), func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			v := x
			err := in.Create(ctx, &v)
			if errors.Is(err, natsorm.ErrExists) {
				return "exists", nil
			}
			return "", err
		}, func(m mem) string {
			if _, ok := m[x.ID]; ok {
				return "exists"
			}
			m[x.ID] = x
			return ""
		}}
	case 8:
		x := randRec(r)
		return rowOp{"upsert " + show(x), func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			v := x
			c, err := in.Upsert(ctx, &v)
			return fmt.Sprint(c), err
		}, func(m mem) string {
			_, ok := m[x.ID]
			m[x.ID] = x
			return fmt.Sprint(!ok)
		}}
	case 9, 10:
		id := r.id()
		set, apply := randSet(r)
		var num *string
		if r.IntN(2) == 0 {
			u := "u" + strconv.Itoa(r.IntN(5))
			num = &u
		}
		both := func(x *row) { apply(x); x.Number = num }
		return rowOp{fmt.Sprintf("modify %q %v num %v", id, set, num != nil), func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			v, err := in.FindOne(ctx, natsorm.Eq("id", id))
			if errors.Is(err, natsorm.ErrNotFound) {
				return "none", nil
			} else if err != nil {
				return "", err
			}
			both(v)
			return "", in.Save(ctx, v)
		}, func(m mem) string {
			x, ok := m[id]
			if !ok {
				return "none"
			}
			both(&x)
			m[id] = x
			return ""
		}}
	case 11, 12:
		q := randQuery(r, 0)
		set, apply := randSet(r)
		return rowOp{fmt.Sprint("update ", q.text, set), func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			n, err := in.Update(ctx, set, q.q)
			return fmt.Sprint(n), err
		}, func(m mem) string {
			found := m.find(q)
			for _, x := range found {
				apply(&x)
				m[x.ID] = x
			}
			return fmt.Sprint(len(found))
		}}
	case 13:
		q := randQuery(r, 0)
		return rowOp{"increment " + q.text, func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			n, err := in.Increment(ctx, natsorm.Set{"balance": 1}, q.q)
			return fmt.Sprint(n), err
		}, func(m mem) string {
			found := m.find(q)
			for _, x := range found {
				x.Balance++
				m[x.ID] = x
			}
			return fmt.Sprint(len(found))
		}}
	case 14:
		q := randQuery(r, 1)
		return rowOp{"destroy " + q.text, func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			n, err := in.Destroy(ctx, q.q)
			return fmt.Sprint(n), err
		}, func(m mem) string {
			found := m.find(q)
			for _, x := range found {
				delete(m, x.ID)
			}
			return fmt.Sprint(len(found))
		}}
	case 15: // each, with writes in the loop
		q := randQuery(r, 0)
		return rowOp{"each " + q.text, func(ctx context.Context, in *natsorm.Model[row]) (string, error) {
			n := 0
			for v, err := range in.Each(ctx, q.q, natsorm.OrderBy("id")) {
				if err != nil {
					return "", err
				}
				n++
				if n%2 == 0 {
					if _, err := in.Destroy(ctx, natsorm.Eq("id", v.ID)); err != nil {
						return "", err
					}
					continue
				}
				v.Balance = (v.Balance + 1) % 6
				if err := in.Save(ctx, v); err != nil {
					return "", err
				}
			}
			return fmt.Sprint(n), nil
		}, func(m mem) string {
			found := m.find(q)
			for i, x := range found {
				if i%2 == 1 {
					delete(m, x.ID)
					continue
				}
				x.Balance = (x.Balance + 1) % 6
				m[x.ID] = x
			}
			return fmt.Sprint(len(found))
		}}
	default:
		i := r.IntN(len(r.ids))
		return rowOp{fmt.Sprint("move key ", i), func(ctx context.Context, in *natsorm.Model[row]) (string, error) { // a value moves to a new record
			v, err := in.FindByPK(ctx, r.ids[i])
			if errors.Is(err, natsorm.ErrNotFound) {
				return "none", nil
			} else if err != nil {
				return "", err
			}
			if _, err := in.Destroy(ctx, natsorm.Eq("id", v.ID)); err != nil {
				return "", err
			}
			v.ID = r.ids[(i+1)%len(r.ids)]
			v.Version = 0
			_, err = in.Upsert(ctx, v)
			return "", err
		}, func(m mem) string {
			v, ok := m[r.ids[i]]
			if !ok {
				return "none"
			}
			delete(m, v.ID)
			v.ID = r.ids[(i+1)%len(r.ids)]
			m[v.ID] = v
			return ""
		}}
	}
}

// deed is something that was done at a revision.
type deed struct {
	rev     uint64
	ops     []rowOp
	results []string
	text    string
}

// glimpse is a run without a revision of its own: its results must fit some state.
type glimpse struct {
	lo, hi  uint64
	ops     []rowOp
	results []string
	dup     bool // then it must have a duplicate
	text    string
}

// randomTransactions runs clients, every fourth of them without transactions.
func randomTransactions(t *testing.T, ctx context.Context, dbs []*natsorm.DB, rows rowLayout, seed uint64, clients, each int) {
	var models []*natsorm.Model[row]
	var logs []*natsorm.Model[commitMark]
	for _, db := range dbs {
		models, logs = append(models, define[row](t, db, rows.opts...)), append(logs, define[commitMark](t, db, rows.marks...))
	}
	var mu sync.Mutex
	var events []deed
	var loose []glimpse
	var high, next atomic.Uint64 // the highest revision known to be committed
	note := func(e deed) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}
	raise := func(v uint64) {
		for {
			old := high.Load()
			if v <= old || high.CompareAndSwap(old, v) {
				return
			}
		}
	}
	var runsTotal, commits, uniques atomic.Int64
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			r := &dice{rand.New(rand.NewPCG(seed, uint64(c))), rows.ids}
			db, model, logm := dbs[c%len(dbs)], models[c%len(dbs)], logs[c%len(dbs)]
			for range each {
				if c%4 == 3 { // a plain writer: creates and saves, whose revisions are known
					x := randRec(r)
					v := x
					switch r.IntN(3) {
					case 0:
						if err := model.Create(ctx, &v); err == nil {
							raise(v.Version)
							note(deed{rev: v.Version, text: "plain create " + show(x), ops: []rowOp{{mem: func(m mem) string { m[x.ID] = x; return "" }}}, results: []string{""}})
						} else if !errors.Is(err, natsorm.ErrExists) && !errors.Is(err, natsorm.ErrUnique) {
							t.Error(err)
						}
					case 1:
						if _, err := model.Upsert(ctx, &v); err == nil {
							raise(v.Version)
							note(deed{rev: v.Version, text: "plain upsert " + show(x), ops: []rowOp{{mem: func(m mem) string { m[x.ID] = x; return "" }}}, results: []string{""}})
						} else if !errors.Is(err, natsorm.ErrUnique) {
							t.Error(err)
						}
					case 2:
						got, err := model.FindByPK(ctx, x.ID)
						if err != nil {
							continue
						}
						was := got.Version
						x.Number, x.N = got.Number, got.N
						w := x
						w.Version = was
						if err := model.Save(ctx, &w); err == nil {
							raise(w.Version)
							want := show(*got)
							note(deed{rev: w.Version, text: "plain save " + show(x), ops: []rowOp{{mem: func(m mem) string { s := show(m[x.ID]); m[x.ID] = x; return s }}}, results: []string{want}})
						} else if !errors.Is(err, natsorm.ErrConflict) && !errors.Is(err, natsorm.ErrUnique) {
							t.Error(err)
						}
					}
					continue
				}
				var ops []rowOp
				readOnly := r.IntN(3) == 0
				for range 1 + r.IntN(5) {
					ops = append(ops, randOp(r, !readOnly))
				}
				text := ""
				for _, op := range ops {
					text += op.text + " | "
				}
				lo := high.Load()
				own := &commitMark{}
				var results []string
				err := db.Transaction(ctx, func(ctx context.Context) error {
					runsTotal.Add(1)
					if results != nil { // of a run that did not commit
						mu.Lock()
						loose = append(loose, glimpse{lo: lo, hi: 1 << 62, ops: ops, results: results, text: "run: " + text})
						mu.Unlock()
					}
					results = []string{}
					for _, op := range ops {
						s, err := op.real(ctx, model)
						if err != nil {
							return err
						}
						results = append(results, s)
					}
					if readOnly {
						return nil
					}
					own = &commitMark{ID: int64(next.Add(1))}
					return logm.Create(ctx, own)
				})
				switch {
				case err == nil && !readOnly:
					commits.Add(1)
					raise(own.Version)
					note(deed{rev: own.Version, ops: ops, results: results, text: text})
				case err == nil:
					mu.Lock()
					loose = append(loose, glimpse{lo: lo, hi: high.Load(), ops: ops, results: results, text: "read only: " + text})
					mu.Unlock()
				case errors.Is(err, natsorm.ErrUnique):
					uniques.Add(1)
					mu.Lock()
					loose = append(loose, glimpse{lo: lo, hi: 1 << 62, ops: ops, results: results, dup: true, text: "unique: " + text})
					mu.Unlock()
				default:
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
	wg.Wait()
	sort.Slice(events, func(i, j int) bool { return events[i].rev < events[j].rev })
	state := mem{}
	type snap struct {
		rev uint64
		m   mem
	}
	snaps := []snap{{0, state.clone()}}
	bad := 0
	for _, e := range events {
		before := state.clone()
		for i, op := range e.ops {
			if got := op.mem(state); got != e.results[i] && bad < 5 {
				bad++
				t.Errorf("at revision %d, %s: op %d %s: got %q, the model says %q; before: %s", e.rev, e.text, i, op.text, e.results[i], got, showAll(before.find(rowQuery{pred: func(row) bool { return true }})))
			}
		}
		if rows.unique && state.dup() && bad < 5 {
			bad++
			t.Errorf("at revision %d, %s: duplicates", e.rev, e.text)
		}
		snaps = append(snaps, snap{e.rev, state.clone()})
	}
	for _, l := range loose {
		fits := false
		for i, s := range snaps {
			if i+1 < len(snaps) && snaps[i+1].rev <= l.lo {
				continue // the state at lo is a later one
			}
			m := s.m.clone()
			same := true
			for i, got := range l.results {
				if l.ops[i].mem(m) != got {
					same = false
					break
				}
			}
			if same && (!l.dup || m.dup()) {
				fits = true
				break
			}
		}
		if !fits && bad < 10 {
			bad++
			t.Errorf("%s: %q fits no state from revision %d on", l.text, l.results, l.lo)
		}
	}
	all := flat(must[[]*row](t)(models[0].Latest().FindAll(ctx)))
	if got, want := showAll(all), showAll(state.find(rowQuery{pred: func(row) bool { return true }})); got != want {
		t.Errorf("in the end:\n%s\nthe model says:\n%s", got, want)
	}
	t.Logf("%d events, %d commits, %d runs, %d unique, %d loose", len(events), commits.Load(), runsTotal.Load(), uniques.Load(), len(loose))
	natsormtest.Prove(t, dbs[0])
}

// TestRandomTransactions runs random transactions beside plain writers, and then
// all that was done once more, one after the other in the order of revisions,
// against a map: everything that a transaction read must be what it then finds.
// Runs that did not commit, and those that only read, must fit one of the states.
func TestRandomTransactions(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("NATSORM_SEED"), 10, 64); err == nil {
		seed = s
	}
	each := testsize.Pick(8, 20, 60)
	for _, kind := range []string{"memory", "files", "synced", "history", "two sessions", "no direct get", "sequelize", "sequelize, two sessions"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			t.Logf("NATSORM_SEED=%d", seed)
			ctx := within(t)
			if kind == "no direct get" {
				randomTransactions(t, ctx, []*natsorm.DB{withoutDirectGet(t, ctx)}, nativeRows, seed, 8, each)
				return
			}
			cfg := embedded.Config{}
			switch kind {
			case "files", "two sessions", "sequelize, two sessions":
				cfg = embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncInterval}
			case "synced":
				cfg = embedded.Config{Dir: t.TempDir()}
			}
			srv := serve(t, cfg)
			open := func() *natsorm.DB {
				c := natsorm.Config{Bucket: "test"}
				if kind == "history" {
					c.History = 5
				}
				db := must[*natsorm.DB](t)(srv.Open(ctx, c))
				t.Cleanup(func() { db.Close() })
				return db
			}
			dbs := []*natsorm.DB{open()}
			if strings.HasSuffix(kind, "two sessions") {
				dbs = append(dbs, open())
			}
			rows := nativeRows
			if strings.HasPrefix(kind, "sequelize") {
				rows = sequelizeRows
			}
			randomTransactions(t, ctx, dbs, rows, seed, 8, each)
		})
	}
}
