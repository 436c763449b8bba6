package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/natsormtest"
)

// supportCase is what people of a helpdesk take from each other.
type supportCase struct {
	ID        int64     `json:"id" orm:"primaryKey,auto"`
	Ref       string    `json:"ref" orm:"unique"`
	Status    string    `json:"status" orm:"index"`
	Owner     string    `json:"owner"`
	Priority  int       `json:"priority"`
	CreatedAt time.Time `json:"createdAt" orm:"createdAt"`
	Version   uint64    `json:"version" orm:"version"`
}

// together runs a function in many goroutines that begin at the same time.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			do(i)
		})
	}
	close(begin)
	wg.Wait()
}

// contest makes many calls at the same time, of which one succeeds, and all others are told
// that they came too late.
func contest(t *testing.T, many int, call func(i int) error) {
	t.Helper()
	var won, lost atomic.Int32
	together(many, func(i int) {
		switch err := call(i); {
		case err == nil:
			won.Add(1)
		case errors.Is(err, natsorm.ErrConflict):
			lost.Add(1)
		default:
			t.Error(err)
		}
	})
	if int(won.Load()) != 1 || int(lost.Load()) != many-1 {
		t.Errorf("%d of %d calls succeeded, and %d were told that they came too late", won.Load(), many, lost.Load())
	}
}

// oneCreates makes a hundred calls at the same time, of which one creates the model's only
// record, and all others get it. It returns that record as it is then.
func oneCreates(t *testing.T, ctx context.Context, tickets *natsorm.Model[supportCase], call func(i int) (*supportCase, bool, error)) *supportCase {
	t.Helper()
	var created atomic.Int32
	ids := make([]int64, 100)
	together(len(ids), func(i int) {
		v, made, err := call(i)
		if err != nil {
			t.Error(err)
			return
		}
		if ids[i] = v.ID; made {
			created.Add(1)
		}
	})
	all := must[[]*supportCase](t)(tickets.FindAll(ctx))
	if len(all) != 1 || created.Load() != 1 {
		t.Fatalf("there are %d records, and %d calls say that they created one", len(all), created.Load())
	}
	for _, id := range ids {
		if id != all[0].ID {
			t.Errorf("a call got record %d, and the only one is %d", id, all[0].ID)
		}
	}
	return all[0]
}

// everywhere runs a test on the kinds of buckets that are written in different ways.
func everywhere(t *testing.T, test func(t *testing.T, db *natsorm.DB)) {
	for name, open := range map[string]func(testing.TB) *natsorm.DB{"batches": natsormtest.New, "phases": onFiles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// The same on three servers, where a replica may be behind.
func TestConditionalWritesOnACluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a cluster of three servers")
	}
	cluster := testbed.StartCluster(t)
	for name, test := range map[string]func(*testing.T, *natsorm.DB){
		"UpdateOne":        updateOne,
		"UpdateOneOfMany":  updateOneOfMany,
		"FindOrCreate":     findOrCreate,
		"UpsertOnConflict": upsertOnConflict,
		"IfRevision":       ifRevision,
	} {
		t.Run(name, func(t *testing.T) {
			db := must[*natsorm.DB](t)(natsorm.New(within(t), cluster.Connect(t), natsorm.Config{Bucket: name, Replicas: 3}))
			defer db.Close()
			test(t, db)
			natsormtest.Prove(t, db)
		})
	}
}

// UpdateOne returns the record, and tells what is not there from what does not fulfil the
// rest, by key and by unique value, also in a transaction.
func TestUpdateOne(t *testing.T) {
	t.Parallel()
	everywhere(t, updateOne)
}

func updateOne(t *testing.T, db *natsorm.DB) {
	ctx := within(t)
	tickets := define[supportCase](t, db)
	ok(t, tickets.BulkCreate(ctx, []*supportCase{{Ref: "A", Status: "new"}, {Ref: "B", Status: "open"}, {Ref: "C", Status: "new", Priority: 5}}))
	taken := natsorm.Set{"status": "open", "owner": "Ann"}

	got := must[*supportCase](t)(tickets.UpdateOne(ctx, taken, natsorm.Eq("ref", "A"), natsorm.Eq("status", "new")))
	stored := must[*supportCase](t)(tickets.FindByPK(ctx, got.ID))
	if *got != *stored || got.Owner != "Ann" || got.Version == 0 || got.CreatedAt.IsZero() {
		t.Errorf("returned %+v and stored %+v", got, stored)
	}
	again := must[*supportCase](t)(tickets.UpdateOne(ctx, taken, natsorm.Eq("id", got.ID)))
	if *again != *stored {
		t.Errorf("an update that changes nothing returned %+v of %+v", again, stored)
	}
	for what, c := range map[string]struct {
		q    []natsorm.Query
		want error
	}{
		"no such key":                {[]natsorm.Query{natsorm.Eq("id", 99)}, natsorm.ErrNotFound},
		"no such unique value":       {[]natsorm.Query{natsorm.Eq("ref", "Z"), natsorm.Eq("status", "new")}, natsorm.ErrNotFound},
		"a key of another state":     {[]natsorm.Query{natsorm.Eq("id", got.ID), natsorm.Eq("status", "new")}, natsorm.ErrConflict},
		"a value of another state":   {[]natsorm.Query{natsorm.Eq("ref", "A"), natsorm.Eq("status", "new")}, natsorm.ErrConflict},
		"no such state":              {[]natsorm.Query{natsorm.Eq("status", "lost")}, natsorm.ErrNotFound},
		"none":                       {[]natsorm.Query{natsorm.Eq("status", "new"), natsorm.Limit(0)}, natsorm.ErrNotFound},
		"nothing said":               {nil, natsorm.ErrMissingWhere},
		"another revision":           {[]natsorm.Query{natsorm.Eq("ref", "A"), natsorm.IfRevision(got.Version + 1000)}, natsorm.ErrConflict},
		"another revision, by state": {[]natsorm.Query{natsorm.Eq("status", "new"), natsorm.IfRevision(got.Version)}, natsorm.ErrConflict},
	} {
		if v, err := tickets.UpdateOne(ctx, taken, c.q...); !errors.Is(err, c.want) || v != nil {
			t.Errorf("%s: %v, %v", what, v, err)
		}
		err := db.Transaction(ctx, func(ctx context.Context) error {
			_, err := tickets.UpdateOne(ctx, taken, c.q...)
			return err
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s, in a transaction: %v", what, err)
		}
	}
	if _, err := tickets.UpdateOne(ctx, natsorm.Set{"ref": "B"}, natsorm.Eq("ref", "A")); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("a value that is taken: %v", err)
	}
	first := must[*supportCase](t)(tickets.UpdateOne(ctx, natsorm.Set{"owner": "Bob"}, natsorm.All(), natsorm.OrderBy("-priority")))
	if first.Ref != "C" {
		t.Errorf("the first by priority is %+v", first)
	}

	var inside *supportCase
	ok(t, db.Transaction(ctx, func(ctx context.Context) (err error) {
		inside, err = tickets.UpdateOne(ctx, natsorm.Set{"owner": "Cem"}, natsorm.Eq("ref", "B"))
		return err
	}))
	if stored := must[*supportCase](t)(tickets.FindByPK(ctx, inside.ID)); *stored != *inside {
		t.Errorf("a transaction returned %+v and stored %+v", inside, stored)
	}
}

// Of many that take the same record one succeeds, and of many that take any record each
// gets another one.
func TestUpdateOneOfMany(t *testing.T) {
	t.Parallel()
	everywhere(t, updateOneOfMany)
}

func updateOneOfMany(t *testing.T, db *natsorm.DB) {
	ctx := within(t)
	const many = 100
	tickets := define[supportCase](t, db)
	one := &supportCase{Ref: "one", Status: "new"}
	ok(t, tickets.Create(ctx, one))
	contest(t, many, func(i int) error {
		by := natsorm.Eq("id", one.ID)
		if i%2 == 0 {
			by = natsorm.Eq("ref", "one")
		}
		_, err := tickets.UpdateOne(ctx, natsorm.Set{"status": "open", "owner": fmt.Sprint(i)}, by, natsorm.Eq("status", "new"))
		return err
	})

	const queue = 30
	for i := range queue {
		ok(t, tickets.Create(ctx, &supportCase{Ref: fmt.Sprint("q", i), Status: "queued", Priority: i}))
	}
	var taken sync.Map
	var none atomic.Int32
	together(many, func(int) {
		v, err := tickets.UpdateOne(ctx, natsorm.Set{"status": "running"}, natsorm.Eq("status", "queued"), natsorm.OrderBy("priority"))
		switch {
		case errors.Is(err, natsorm.ErrNotFound):
			none.Add(1)
		case err != nil:
			t.Error(err)
		default:
			if _, twice := taken.LoadOrStore(v.ID, true); twice {
				t.Errorf("%s was taken twice", v.Ref)
			}
		}
	})
	if none.Load() != many-queue {
		t.Errorf("%d found the queue empty, want %d", none.Load(), many-queue)
	}
}

// Of many that look for the same record, one creates it.
func TestFindOrCreate(t *testing.T) {
	t.Parallel()
	everywhere(t, findOrCreate)
}

func findOrCreate(t *testing.T, db *natsorm.DB) {
	ctx := within(t)
	tickets := define[supportCase](t, db)
	v := oneCreates(t, ctx, tickets, func(i int) (*supportCase, bool, error) {
		return tickets.FindOrCreate(ctx, natsorm.Where{"ref": "A", "status": "new"}, &supportCase{Owner: fmt.Sprint(i), Priority: 3})
	})
	if v.Ref != "A" || v.Status != "new" || v.Priority != 3 || v.CreatedAt.IsZero() {
		t.Errorf("created as %+v", v)
	}

	_, err := tickets.UpdateOne(ctx, natsorm.Set{"status": "open"}, natsorm.Eq("ref", "A"))
	ok(t, err)
	if _, _, err := tickets.FindOrCreate(ctx, natsorm.Where{"ref": "A", "status": "new"}, nil); !errors.Is(err, natsorm.ErrUnique) || !strings.Contains(err.Error(), "rest of where") {
		t.Errorf("one that does not fulfil the rest: %v", err)
	}
	other := must[*supportCase](t)(withoutCreated(tickets.FindOrCreate(ctx, natsorm.Where{"ref": "B"}, nil)))
	if _, _, err := tickets.FindOrCreate(ctx, natsorm.Where{"id": 500}, &supportCase{Ref: "B"}); !errors.Is(err, natsorm.ErrUnique) || strings.Contains(err.Error(), "rest of where") {
		t.Errorf("a unique value of defaults that is taken: %v", err)
	}
	if v, made, err := tickets.FindOrCreate(ctx, natsorm.Where{"id": other.ID}, &supportCase{Ref: "C"}); err != nil || made || v.Ref != "B" {
		t.Errorf("by key: %+v, %v, %v", v, made, err)
	}
	for _, where := range []natsorm.Where{nil, {"status": "new"}, {"ref": []string{"A", "B"}}, {"ref": nil}, {"nothing": 1}, {"ref": 5}} {
		if _, _, err := tickets.FindOrCreate(ctx, where, nil); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%v: %v", where, err)
		}
	}
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		for i := range 2 {
			v, made, err := tickets.FindOrCreate(ctx, natsorm.Where{"ref": "T"}, nil)
			if err != nil || made != (i == 0) || v.Ref != "T" {
				t.Errorf("time %d in a transaction: %+v, %v, %v", i, v, made, err)
			}
		}
		return nil
	}))
	records := must[*natsorm.Model[natsorm.Record]](t)(db.Model(ctx, "supportCase"))
	if v, made, err := records.FindOrCreate(ctx, natsorm.Where{"ref": "R"}, nil); err != nil || !made || (*v)["ref"] != "R" {
		t.Errorf("a Record: %v, %v, %v", v, made, err)
	}
	if v, made, err := records.FindOrCreate(ctx, natsorm.Where{"ref": "R"}, &natsorm.Record{"status": "x"}); err != nil || made || (*v)["ref"] != "R" {
		t.Errorf("a Record again: %v, %v, %v", v, made, err)
	}
}

// withoutCreated drops whether a record was created.
func withoutCreated[T any](v T, _ bool, err error) (T, error) { return v, err }

// Upsert by a unique value keeps the key of the record that has it, and of many one creates.
func TestUpsertOnConflict(t *testing.T) {
	t.Parallel()
	everywhere(t, upsertOnConflict)
}

func upsertOnConflict(t *testing.T, db *natsorm.DB) {
	ctx := within(t)
	tickets := define[supportCase](t, db)
	by := natsorm.OnConflict("ref")
	was := oneCreates(t, ctx, tickets, func(i int) (*supportCase, bool, error) {
		v := &supportCase{Ref: "A", Owner: fmt.Sprint(i)}
		made, err := tickets.Upsert(ctx, v, by)
		return v, made, err
	})

	v := &supportCase{Ref: "A", Owner: "Ann"}
	if made, err := tickets.Upsert(ctx, v, by); made || err != nil || v.ID != was.ID || !v.CreatedAt.Equal(was.CreatedAt) {
		t.Errorf("%v, %v: %+v, was %+v", made, err, v, was)
	}
	stale := &supportCase{Ref: "A", Owner: "Bob"}
	if _, err := tickets.Upsert(ctx, stale, by, natsorm.IfRevision(was.Version)); !errors.Is(err, natsorm.ErrConflict) || *stale != (supportCase{Ref: "A", Owner: "Bob"}) {
		t.Errorf("at an earlier revision: %v left %+v", err, stale)
	}
	if _, err := tickets.Upsert(ctx, stale, by, natsorm.IfRevision(v.Version)); err != nil || stale.ID != was.ID {
		t.Errorf("at the present revision: %v left %+v", err, stale)
	}
	if _, err := tickets.Upsert(ctx, &supportCase{ID: was.ID + 1000, Ref: "A"}, by); !errors.Is(err, natsorm.ErrUnique) {
		t.Errorf("with another key: %v", err)
	}
	if made, err := tickets.Upsert(ctx, &supportCase{ID: was.ID, Ref: "A", Owner: "Cem"}, by); made || err != nil {
		t.Errorf("with the same key: %v, %v", made, err)
	}
	if _, err := tickets.Upsert(ctx, &supportCase{ID: was.ID, Ref: "new"}, by); !errors.Is(err, natsorm.ErrExists) {
		t.Errorf("a new value with a key that is taken: %v", err)
	}
	for what, opts := range map[string][]natsorm.WriteOption{
		"not there": {by, natsorm.IfRevision(5)}, "not there, by key": {natsorm.IfRevision(5)},
	} {
		if _, err := tickets.Upsert(ctx, &supportCase{Ref: "Z"}, opts...); !errors.Is(err, natsorm.ErrConflict) || !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, opt := range []natsorm.WriteOption{natsorm.OnConflict(), natsorm.OnConflict("owner"), natsorm.OnConflict("nothing"), natsorm.OnConflict("ref", "owner")} {
		if _, err := tickets.Upsert(ctx, &supportCase{Ref: "Y"}, opt); !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
	ok(t, db.Transaction(ctx, func(ctx context.Context) error {
		for _, owner := range []string{"x", "y"} {
			if _, err := tickets.Upsert(ctx, &supportCase{Ref: "T", Owner: owner}, by); err != nil {
				return err
			}
		}
		return nil
	}))
	if v := must[*supportCase](t)(tickets.FindOne(ctx, natsorm.Eq("ref", "T"))); v.Owner != "y" {
		t.Errorf("a transaction wrote %+v", v)
	}
}

// A nullable unique column: nulls are not compared, so each Upsert creates.
func TestUpsertOnConflictOfNull(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	type badge struct {
		ID   int64   `json:"id" orm:"primaryKey,auto"`
		Site string  `json:"site" orm:"unique:place"`
		Slot *string `json:"slot" orm:"unique:place"`
	}
	badges := define[badge](t, natsormtest.New(t))
	for _, slot := range []*string{nil, nil, ptr("a"), ptr("a")} {
		must[bool](t)(badges.Upsert(ctx, &badge{Site: "x", Slot: slot}, natsorm.OnConflict("slot", "site")))
	}
	if n := must[int](t)(badges.Count(ctx)); n != 3 {
		t.Errorf("%d badges", n)
	}
}

// IfRevision is If-Match: what was changed since is not written over, and of many that read
// the same revision one writes.
func TestIfRevision(t *testing.T) {
	t.Parallel()
	everywhere(t, ifRevision)
}

func ifRevision(t *testing.T, db *natsorm.DB) {
	ctx := within(t)
	tickets := define[supportCase](t, db)
	v := &supportCase{Ref: "A"}
	ok(t, tickets.Create(ctx, v))
	read := v.Version
	contest(t, 100, func(i int) (err error) {
		switch mine := natsorm.IfRevision(read); i % 4 {
		case 0:
			err = tickets.Save(ctx, &supportCase{ID: v.ID, Ref: "A", Owner: fmt.Sprint(i)}, mine)
		case 1:
			_, err = tickets.Update(ctx, natsorm.Set{"owner": fmt.Sprint(i)}, natsorm.Eq("id", v.ID), mine)
		case 2:
			_, err = tickets.Increment(ctx, natsorm.Set{"priority": 1}, natsorm.Eq("ref", "A"), mine)
		case 3:
			_, err = tickets.Upsert(ctx, &supportCase{ID: v.ID, Ref: "A", Owner: fmt.Sprint(i)}, mine)
		}
		return err
	})
	if _, err := tickets.Destroy(ctx, natsorm.Eq("id", v.ID), natsorm.IfRevision(read)); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), fmt.Sprint(read)) {
		t.Errorf("Destroy of what was changed: %v", err)
	}
	now := must[*supportCase](t)(tickets.FindByPK(ctx, v.ID))
	// A version in the record does not matter beside it.
	ok(t, tickets.Save(ctx, &supportCase{ID: v.ID, Ref: "A", Version: read}, natsorm.IfRevision(now.Version)))
	now = must[*supportCase](t)(tickets.FindByPK(ctx, v.ID))
	err := db.Transaction(ctx, func(ctx context.Context) error {
		if _, err := tickets.Update(ctx, natsorm.Set{"owner": "x"}, natsorm.Eq("id", v.ID), natsorm.IfRevision(now.Version)); err != nil {
			return err
		}
		_, err := tickets.Update(ctx, natsorm.Set{"owner": "y"}, natsorm.Eq("id", v.ID), natsorm.IfRevision(now.Version))
		return err // the transaction has changed it itself
	})
	if !errors.Is(err, natsorm.ErrConflict) {
		t.Errorf("in a transaction: %v", err)
	}
	if n := must[int](t)(tickets.Destroy(ctx, natsorm.Eq("id", v.ID), natsorm.IfRevision(now.Version))); n != 1 {
		t.Errorf("%d destroyed", n)
	}
	if err := tickets.Save(ctx, now, natsorm.IfRevision(now.Version)); !errors.Is(err, natsorm.ErrConflict) || !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("Save of what is gone: %v", err)
	}
	for what, err := range map[string]error{
		"Create":     tickets.Create(ctx, &supportCase{Ref: "B"}, natsorm.IfRevision(1)),
		"BulkCreate": tickets.BulkCreate(ctx, []*supportCase{{Ref: "B"}}, natsorm.OnConflict("ref")),
		"Save":       tickets.Save(ctx, &supportCase{ID: 1, Ref: "B"}, natsorm.OnConflict("ref")),
		"zero":       tickets.Save(ctx, &supportCase{ID: 1, Ref: "B"}, natsorm.IfRevision(0)),
		"FindAll":    second(tickets.FindAll(ctx, natsorm.IfRevision(1))),
		"Count":      second(tickets.Count(ctx, natsorm.OnConflict("ref"))),
		"nil":        tickets.Create(ctx, &supportCase{Ref: "B"}, nil),
	} {
		if !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What a query can say that makes UpdateOne easy to get wrong.
func TestUpdateOneAtItsEdges(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(within(t), 30*time.Second) // a loop would never end
	defer cancel()
	db := natsormtest.New(t)
	tickets := define[supportCase](t, db)
	ok(t, tickets.BulkCreate(ctx, []*supportCase{{ID: 1, Ref: "A", Status: "new"}, {ID: 2, Ref: "B", Status: "new"}}))
	set := natsorm.Set{"owner": "Ann"}
	for what, q := range map[string][]natsorm.Query{
		"beyond a key":    {natsorm.Eq("id", 1), natsorm.Offset(1)},
		"beyond a value":  {natsorm.Eq("ref", "A"), natsorm.Offset(1)},
		"beyond a status": {natsorm.Eq("status", "new"), natsorm.OrderBy("id"), natsorm.Offset(2)},
	} {
		if v, err := tickets.UpdateOne(ctx, set, q...); !errors.Is(err, natsorm.ErrNotFound) {
			t.Errorf("%s: %v, %v", what, v, err)
		}
	}
	if v, err := tickets.UpdateOne(ctx, set, natsorm.Eq("status", "new"), natsorm.OrderBy("id"), natsorm.Offset(1)); err != nil || v.ID != 2 {
		t.Errorf("the second: %+v, %v", v, err)
	}
	if _, err := tickets.UpdateOne(ctx, set, natsorm.All(), natsorm.Limit(2)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("a limit of two: %v", err)
	}

	// A record that cannot be read does not stop a queue.
	type small struct {
		ID     int64  `json:"id" orm:"primaryKey"`
		Status string `json:"status" orm:"index"`
		Size   int8   `json:"size"`
	}
	smalls := define[small](t, db)
	ok(t, smalls.BulkCreate(ctx, []*small{{ID: 1, Status: "new"}, {ID: 2, Status: "new"}}))
	for _, doc := range []string{`{"id":1,"status":"new","size":300}`, `{"id":1,"status":"new`} {
		must[int](t)(smalls.Update(ctx, natsorm.Set{"status": "new"}, natsorm.Eq("id", 2)))
		must[uint64](t)(db.KV().PutString(ctx, "small.shard_1.1", doc))
		v, err := smalls.UpdateOne(ctx, natsorm.Set{"status": "old"}, natsorm.Eq("status", "new"), natsorm.OrderBy("id"))
		if err != nil || v.ID != 2 || v.Status != "old" {
			t.Errorf("beside %s: %+v, %v", doc, v, err)
		}
		if _, err := smalls.UpdateOne(ctx, natsorm.Set{"status": "old"}, natsorm.Eq("id", 1)); !errors.Is(err, natsorm.ErrCorrupt) {
			t.Errorf("%s itself: %v", doc, err)
		}
	}
	must[int](t)(smalls.Destroy(ctx, natsorm.Eq("id", 2)))
	if _, err := smalls.UpdateOne(ctx, natsorm.Set{"status": "old"}, natsorm.Eq("status", "new")); !errors.Is(err, natsorm.ErrCorrupt) {
		t.Errorf("the only one cannot be read: %v", err)
	}
	must[int](t)(smalls.Destroy(ctx, natsorm.Eq("id", 1)))
}

// A zero that omitempty leaves out is no unique value, and FindOrCreate says so.
func TestFindOrCreateRefusesWhatIsNotUnique(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	type account struct {
		ID   int64  `json:"id" orm:"primaryKey,auto"`
		Code string `json:"code,omitempty" orm:"unique"`
		Slot int    `json:"slot" orm:"unique"`
		Size int8   `json:"size"`
	}
	accounts := define[account](t, natsormtest.New(t))
	ok(t, accounts.Create(ctx, &account{Slot: 1}))
	for what, where := range map[string]natsorm.Where{
		"left out":        {"code": ""},
		"twice":           {"slot": 2, "Slot": 3},
		"too large":       {"slot": 2, "size": 300},
		"null":            {"slot": nil},
		"no unique value": {"size": 3},
	} {
		if v, _, err := accounts.FindOrCreate(ctx, where, nil); !errors.Is(err, natsorm.ErrInvalid) || errors.Is(err, natsorm.ErrCorrupt) || v != nil {
			t.Errorf("%s: %v, %v", what, v, err)
		}
	}
	if v, made, err := accounts.FindOrCreate(ctx, natsorm.Where{"slot": 0}, nil); err != nil || !made || v.Slot != 0 {
		t.Errorf("a zero that is stored: %+v, %v, %v", v, made, err)
	}
	if _, err := accounts.UpdateOne(ctx, natsorm.Set{"size": 1}, natsorm.Eq("code", ""), natsorm.Eq("size", 9)); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("UpdateOne by what many have: %v", err)
	}
	if _, err := accounts.Update(ctx, natsorm.Set{"size": 1, "SIZE": 2}, natsorm.All()); !errors.Is(err, natsorm.ErrInvalid) || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a column set twice: %v", err)
	}
	if _, err := accounts.Update(ctx, natsorm.Set{"size": 1}, natsorm.All(), natsorm.IfRevision(1), natsorm.IfRevision(2)); !errors.Is(err, natsorm.ErrInvalid) {
		t.Errorf("two revisions: %v", err)
	}
}

// lower is text that its type writes in another form than it was given.
type lower string

func (l lower) MarshalText() ([]byte, error) { return []byte(strings.ToLower(string(l))), nil }
func (l *lower) UnmarshalText(text []byte) error {
	*l = lower(strings.ToLower(string(text)))
	return nil
}

// FindOrCreate looks for what it would store, which is not always what it was given.
func TestFindOrCreateByWhatIsStored(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(within(t), 30*time.Second) // a loop would never end
	defer cancel()
	db := natsormtest.New(t)
	type mail struct {
		ID    int64   `json:"id" orm:"primaryKey,auto"`
		Email lower   `json:"email" orm:"unique"`
		Part  float32 `json:"part"`
	}
	type named struct {
		ID lower `json:"id" orm:"primaryKey"`
	}
	mails, names := define[mail](t, db), define[named](t, db)
	for i, email := range []string{"Ann@X", "ann@x", "ANN@x"} {
		v, made, err := mails.FindOrCreate(ctx, natsorm.Where{"email": email, "part": 0.123456789}, nil)
		if err != nil || made != (i == 0) || v.Email != "ann@x" || v.ID != 1 {
			t.Errorf("%s: %+v, %v, %v", email, v, made, err)
		}
		n, made, err := names.FindOrCreate(ctx, natsorm.Where{"id": email}, nil)
		if err != nil || made != (i == 0) || n.ID != "ann@x" {
			t.Errorf("%s as a key: %+v, %v, %v", email, n, made, err)
		}
	}
	for what, err := range map[string]error{
		"a zero for an automatic key": second(withoutCreated(mails.FindOrCreate(ctx, natsorm.Where{"id": 0}, nil))),
		"part of a record": second(withoutCreated(define[supportCase](t, db).FindOrCreate(ctx, natsorm.Where{"ref": "B"}, func() *supportCase {
			cases := define[supportCase](t, db)
			ok(t, cases.Create(ctx, &supportCase{ID: 1, Ref: "A", Owner: "Ann"}))
			return must[*supportCase](t)(cases.FindOne(ctx, natsorm.Select("id")))
		}()))),
	} {
		if !errors.Is(err, natsorm.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A record at another key than its own is not given away.
	must[uint64](t)(db.KV().PutString(ctx, "supportCase.shard_7.7", `{"id":2,"ref":"M"}`))
	cases := define[supportCase](t, db)
	if v, _, err := cases.FindOrCreate(ctx, natsorm.Where{"id": 7}, nil); !errors.Is(err, natsorm.ErrCorrupt) {
		t.Errorf("a record at another key: %+v, %v", v, err)
	}
	must[int](t)(cases.Destroy(ctx, natsorm.Eq("id", 7)))
	must[natsorm.Report](t)(db.Check(ctx, natsorm.Repair()))
}
