package natsorm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	kv "github.com/natsorm/natsorm/internal/bucket"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/commit"
	"github.com/natsorm/natsorm/internal/maintenance"
	"github.com/natsorm/natsorm/internal/records"
	"github.com/natsorm/natsorm/internal/schema"
	"github.com/natsorm/natsorm/internal/store"
	"github.com/natsorm/natsorm/internal/store/fault"
	"github.com/natsorm/natsorm/internal/testbed"
	"github.com/natsorm/natsorm/internal/testsize"
	"github.com/natsorm/natsorm/internal/value"
	"github.com/natsorm/natsorm/natsormtest"
)

// Nothing is left of a dropped model but the word that it was, and nothing of others is gone.
func TestDropModel(t *testing.T) {
	t.Parallel()
	for _, layout := range []string{"native", "sequelize"} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			accounts := define[account](t, db)
			ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1", Owner: "Ann"}))
			put := func(key string) { t.Helper(); must[uint64](t)(db.KV().PutString(ctx, key, "{}")) }
			put("User.settings") // of another program
			want := bucket(t, ctx, db)
			users := defineIn(t, db, layout)
			for id := range int64(20) {
				ok(t, users.Create(ctx, &nodeUser{ID: id - 10, Name: fmt.Sprint("n", id%3), Email: ptr(fmt.Sprint("e", id))}))
			}
			put("User.shard_1.corrupt")
			put("User.index.name.stray.8")
			elsewhere := defineIn(t, another(t, db), layout)

			ok(t, db.DropModel(ctx, "User"))
			document := must[jetstream.KeyValueEntry](t)(db.KV().Get(ctx, "_schema.User"))
			if !strings.Contains(string(document.Value()), `"dropped":true`) {
				t.Errorf("its document is %s", document.Value())
			}
			sameBucket(t, bucket(t, ctx, db), want)
			for _, s := range must[[]natsorm.Schema](t)(db.Models(ctx)) {
				if s.Name == "User" {
					t.Error("it is among the models")
				}
			}
			for name, m := range map[string]*natsorm.Model[nodeUser]{"its handle": users, "that of another program": elsewhere} {
				for call, err := range dropped(ctx, m) {
					if !errors.Is(err, natsorm.ErrNotFound) || !strings.Contains(err.Error(), "User") || !strings.Contains(err.Error(), "define it again") {
						t.Errorf("%s, %s: %v", name, call, err)
					}
				}
			}
			_, byName := db.Model(ctx, "User")
			for call, err := range map[string]error{"again": db.DropModel(ctx, "User"), "Model": byName, "one that never was": db.DropModel(ctx, "Nobody"), "ChangeLayout": db.ChangeLayout(ctx, "User", natsorm.Native)} {
				if !errors.Is(err, natsorm.ErrNotFound) {
					t.Errorf("%s: %v", call, err)
				}
			}
			if err := db.DropModel(ctx, "a.b"); !errors.Is(err, natsorm.ErrSchema) {
				t.Errorf("by a name that no model has: %v", err)
			}

			type pet struct {
				ID   int64     `json:"id" orm:"primaryKey,auto"`
				Name time.Time `json:"name" orm:"index"` // another type than it had
			}
			pets := define[pet](t, db, natsorm.Name("User"))
			p := &pet{Name: time.Unix(1, 0).UTC()}
			ok(t, pets.Create(ctx, p))
			if p.ID != 1 {
				t.Errorf("the first id is %d", p.ID)
			}
			if found := must[[]*pet](t)(pets.FindAll(ctx, natsorm.Eq("name", p.Name))); len(found) != 1 {
				t.Errorf("%d are found", len(found))
			}
			for call, err := range dropped(ctx, elsewhere) {
				if !errors.Is(err, natsorm.ErrNotFound) {
					t.Errorf("when there is another one, %s: %v", call, err)
				}
			}
			if n := must[int](t)(pets.Count(ctx)); n != 1 {
				t.Errorf("%d are there", n)
			}
		})
	}
}

// dropped makes calls of a model that was dropped.
func dropped(ctx context.Context, m *natsorm.Model[nodeUser]) map[string]error {
	_, find := m.FindByPK(ctx, 1)
	_, all := m.FindAll(ctx, natsorm.Eq("name", "n1"))
	_, count := m.Count(ctx)
	_, update := m.Update(ctx, natsorm.Set{"name": "x"}, natsorm.Eq("id", 1))
	_, watch := m.Watch(ctx)
	return map[string]error{
		"FindByPK": find, "FindAll": all, "Count": count, "Update": update, "Watch": watch, "Truncate": m.Truncate(ctx),
		"Create": m.Create(ctx, &nodeUser{ID: 1}), "BulkCreate": m.BulkCreate(ctx, []*nodeUser{{ID: 2}}), "Save": m.Save(ctx, &nodeUser{ID: 3}),
	}
}

// Two programs write and look while all records go, again and again: each record is gone, or
// is there with its entries, and calls succeed.
func TestEmptyBesideWriters(t *testing.T) {
	if testing.Short() {
		t.Skip("keeps the processors busy while a schema changes")
	}
	onEach(t, func(t *testing.T, ctx context.Context, db *natsorm.DB) {
		for _, layout := range []string{"native", "sequelize"} {
			db := db
			if layout == "sequelize" {
				db = natsormtest.New(t)
			}
			models := []*natsorm.Model[nodeUser]{defineIn(t, db, layout), defineIn(t, another(t, db), layout)}
			var stop atomic.Bool
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					m := models[w%2]
					for i := w; !stop.Load(); i += 8 {
						u := &nodeUser{ID: int64(i - 1000), Name: fmt.Sprint("n", i%7), Email: ptr(fmt.Sprint("e", i))}
						ok(t, m.Create(ctx, u))
						_, err := m.Update(ctx, natsorm.Set{"name": fmt.Sprint("m", i%7)}, natsorm.Eq("id", u.ID))
						ok(t, err)
						_, err = m.FindAll(ctx, natsorm.Eq("name", fmt.Sprint("m", i%7)))
						ok(t, err)
						if i%3 == 0 {
							_, err := m.Destroy(ctx, natsorm.Eq("id", u.ID))
							ok(t, err)
						}
					}
				})
			}
			st := below(t, ctx, db)
			for range testsize.Pick(1, 2, 4) {
				ok(t, maintenance.Empty(ctx, st, "User"))
			}
			stop.Store(true)
			wg.Wait()
			natsormtest.Prove(t, db)
			left := must[[]*nodeUser](t)(models[0].FindAll(ctx))
			for _, u := range left {
				found := must[[]*nodeUser](t)(models[1].FindAll(ctx, natsorm.Eq("name", u.Name), natsorm.Eq("id", u.ID)))
				if len(found) != 1 {
					t.Errorf("%d is not found by its name", u.ID)
				}
			}
		}
	})
}

// below opens the bucket of a DB once more, below the models.
func below(t testing.TB, ctx context.Context, db *natsorm.DB) *kv.Bucket {
	t.Helper()
	b := must[*kv.Bucket](t)(kv.Open(ctx, db.Conn(), kv.Config{Bucket: db.KV().Bucket()}))
	t.Cleanup(b.Close)
	return b
}

// process is another program's model, on a store of its own, that hears of nothing.
func process(t *testing.T, ctx context.Context, s store.Store, model string) *records.Model {
	t.Helper()
	def, _, err := catalogue.Load(ctx, s, model)
	ok(t, err)
	f := &fenced{}
	build := func(def *schema.Definition) (*records.Model, error) {
		m, err := records.New(s, def)
		if err == nil {
			m.Under(f)
		}
		return m, err
	}
	k := catalogue.NewKnowledge(s, func() uint64 { return 0 }, nil)
	t.Cleanup(k.Close)
	m := must[*records.Model](t)(build(def))
	f.Handle = catalogue.NewHandle(k, 0, def, m, build)
	return must[*records.Model](t)(f.Current(ctx))
}

// create lets a process create an account.
func create(ctx context.Context, m *records.Model, id int, owner string) error {
	return m.Write(ctx, records.Target{ID: value.OfInt(int64(id)), New: true}, records.Change{Next: func(store.Message) (commit.Draft, error) {
		return commit.Draft{Doc: fmt.Appendf(nil, `{"id":%d,"owner":%q,"number":"%d","balance":1}`, id, owner, id)}, nil
	}})
}

type fenced struct {
	*catalogue.Handle[*records.Model]
}

func (f *fenced) Later(task func(ctx context.Context)) {}

// A program puts the entries of a record and stalls. Meanwhile all records go, or their model,
// and the entries with them. When it goes on, its record gets them again, or is taken back.
func TestWriteThatStallsDuringARemoval(t *testing.T) {
	t.Parallel()
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			t.Parallel()
			ctx := within(t)
			db := natsormtest.New(t)
			accounts := define[account](t, db)
			fill(t, accounts, 5)
			st := below(t, ctx, db)
			const key = "account.shard_7.7"
			stalling := fault.StallBefore(fault.Phased(st), func(op store.Op) bool { return op.Key == key })
			other := process(t, ctx, stalling, "account")
			ended := make(chan error)
			go func() { ended <- create(ctx, other, 7, "Ann") }()
			<-stalling.Stalled()
			if n := len(bucket(t, ctx, db)); n != 5*4+3 {
				t.Fatalf("%d keys are there, with the entries of a record that is not", n)
			}
			if drop {
				ok(t, db.DropModel(ctx, "account"))
			} else {
				ok(t, maintenance.Empty(ctx, st, "account"))
			}
			sameBucket(t, bucket(t, ctx, db), map[string]string{})
			stalling.Resume()
			if err := <-ended; drop {
				if !errors.Is(err, natsorm.ErrNotFound) {
					t.Errorf("it was told %v", err)
				}
				if _, err := db.KV().Get(ctx, key); !errors.Is(err, jetstream.ErrKeyNotFound) {
					t.Errorf("the record was not taken back: %v", err)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			for _, where := range []natsorm.Condition{natsorm.Eq("owner", "Ann"), natsorm.Eq("number", "7"), natsorm.Eq("balance", 1)} {
				if n := must[int](t)(accounts.Count(ctx, where)); n != 1 {
					t.Errorf("by %v there are %d", where, n)
				}
			}
		})
	}
}

// What is under way while all records go, or their model, is whole when its writer is told
// that it is done, or is taken back; also when it takes longer than everything else.
func TestWritesThatTakeLongerThanARemoval(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("calls that are held back for seconds")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		st := below(t, ctx, d.newDB)
		d.create(t, memberV1{ID: 1, Team: "red", Badge: "b1"})
		clear(d.accepted)
		slow := func(first int64, during func() error) (errs []error) {
			d.proxy.Delay(3 * time.Second)
			sent := d.sent(t)
			errs = make([]error, 20)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					m := memberV1{ID: first + int64(i), Team: "blue", Badge: fmt.Sprint("b", first+int64(i))}
					if errs[i] = d.old.Create(ctx, &m); errs[i] == nil {
						d.mu.Lock()
						defer d.mu.Unlock()
						d.accepted[m.ID] = m
					}
				})
			}
			sent(20)
			ok(t, during())
			d.proxy.Delay(0)
			wg.Wait()
			return errs
		}
		for _, err := range slow(100, func() error { return maintenance.Empty(ctx, st, "member") }) {
			if err != nil {
				t.Errorf("beside an emptying: %v", err)
			}
		}
		if len(d.accepted) != 20 {
			t.Errorf("%d were accepted", len(d.accepted))
		}
		d.verify(t, members)
		if n := must[int](t)(members.Count(ctx)); n != 20 {
			t.Errorf("%d are there", n)
		}

		for _, err := range slow(200, func() error { return d.newDB.DropModel(ctx, "member") }) {
			if !errors.Is(err, natsorm.ErrNotFound) {
				t.Errorf("beside a drop: %v", err)
			}
		}
		for key := range bucket(t, ctx, d.newDB) {
			if strings.HasPrefix(key, "member.shard_") {
				t.Errorf("%s was not taken back", key)
			}
		}
		members = define[memberV2](t, d.newDB, natsorm.Name("member"))
		if n := must[int](t)(members.Count(ctx)); n != 0 {
			t.Errorf("%d are in the new model", n)
		}
	})
}

// A program that dies while it removes all records leaves a model whose calls wait, and that
// another one goes on with; one that comes back late does no harm.
func TestRemovalBrokenOff(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a wait of a change in each case")
	}
	for _, drop := range []bool{false, true} {
		for after := range 8 {
			if testbed.Race && after != 3 {
				continue
			}
			t.Run(fmt.Sprint(drop, after), func(t *testing.T) {
				t.Parallel()
				ctx := within(t)
				db := natsormtest.New(t)
				accounts := define[account](t, db)
				fill(t, accounts, 30)
				st := below(t, ctx, db)
				remove := maintenance.Empty
				if drop {
					remove = maintenance.Drop
				}
				crashing := fault.CrashAfter(st, after)
				err := remove(ctx, crashing, "account")
				if !crashing.Crashed() {
					ok(t, err)
				} else if !errors.Is(err, fault.ErrCrashed) {
					t.Fatalf("broken off: %v", err)
				}
				ok(t, maintenance.Resume(ctx, st, "account"))
				switch n, err := accounts.Count(ctx); {
				case after == 0:
					if err != nil || n != 30 {
						t.Errorf("nothing was begun, and there are %d: %v", n, err)
					}
				case drop:
					if !errors.Is(err, natsorm.ErrNotFound) {
						t.Errorf("it is there: %v", err)
					}
				case err != nil || n != 0:
					t.Errorf("there are %d: %v", n, err)
				}
			})
		}
	}
}

// Calls wait for a removal that was broken off, and one of them ends it.
func TestRemovalIsTakenOver(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes the ten seconds after which a removal counts as abandoned")
	}
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 30)
	crashing := fault.CrashAfter(below(t, ctx, db), 2)
	if err := maintenance.Empty(ctx, crashing, "account"); !errors.Is(err, fault.ErrCrashed) {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 5*time.Second) // enough to see that it has to wait, and half of what it would have to
	defer cancel()
	if _, err := accounts.Count(short); !errors.Is(err, context.DeadlineExceeded) || !natsorm.SafeToRetry(err) || !strings.Contains(err.Error(), "Truncate") {
		t.Errorf("a call that has no time: %v", err)
	}
	ok(t, accounts.Create(ctx, &account{ID: 1, Number: "1"}))
	if n := must[int](t)(accounts.Count(ctx)); n != 1 {
		t.Errorf("%d are there", n)
	}
}

// A purge that comes when others have ended the removal takes nothing that was written since.
func TestLatePurge(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	accounts := define[account](t, db)
	fill(t, accounts, 30)
	st := below(t, ctx, db)
	stalled := &latePurge{Bucket: st, began: make(chan struct{}), goOn: make(chan struct{})}
	ended := make(chan error)
	go func() { ended <- maintenance.Empty(ctx, stalled, "account") }()
	<-stalled.began
	ok(t, maintenance.Resume(ctx, st, "account"))
	fill(t, accounts, 10)
	close(stalled.goOn)
	ok(t, <-ended)
	if n := must[int](t)(accounts.Count(ctx)); n != 10 {
		t.Errorf("%d are there", n)
	}
}

// latePurge is a bucket whose purges wait.
type latePurge struct {
	*kv.Bucket
	once        sync.Once
	began, goOn chan struct{}
}

func (l *latePurge) Purge(ctx context.Context, pattern string, upTo uint64) error {
	l.once.Do(func() { close(l.began) })
	<-l.goOn
	return l.Bucket.Purge(ctx, pattern, upTo)
}

// Many programs that empty, and one that drops, at the same time, end all.
func TestRemovalsAtOnce(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	fill(t, define[account](t, db), 30)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			st := below(t, ctx, db)
			if i == 0 {
				ok(t, maintenance.Drop(ctx, st, "account"))
			} else if err := maintenance.Empty(ctx, st, "account"); err != nil && !errors.Is(err, natsorm.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := db.Model(ctx, "account"); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("it is there: %v", err)
	}
	sameBucket(t, bucket(t, ctx, db), map[string]string{})
}

// A backup does not have half of a model that is being emptied, and one with a model that was
// dropped is restored without it.
func TestBackupOfARemoval(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	db := natsormtest.New(t)
	fill(t, define[account](t, db), 30)
	bookings := define[booking](t, db)
	ok(t, bookings.Create(ctx, &booking{ID: 1}))
	crashing := fault.CrashAfter(below(t, ctx, db), 1)
	if err := maintenance.Drop(ctx, crashing, "account"); !errors.Is(err, fault.ErrCrashed) {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := db.Backup(ctx, &file); !errors.Is(err, natsorm.ErrConflict) || !strings.Contains(err.Error(), "account") {
		t.Errorf("in the middle of it: %v", err)
	}
	ok(t, db.DropModel(ctx, "account"))
	file.Reset()
	ok(t, db.Backup(ctx, &file))
	fill(t, define[account](t, db), 5)
	ok(t, db.Restore(ctx, bytes.NewReader(file.Bytes())))
	if n := must[int](t)(define[account](t, db).Count(ctx)); n != 5 {
		t.Errorf("%d are there after a restore beside them", n)
	}
	empty := natsormtest.New(t)
	ok(t, empty.Restore(ctx, &file))
	if _, err := empty.Model(ctx, "account"); !errors.Is(err, natsorm.ErrNotFound) {
		t.Errorf("the dropped model was restored: %v", err)
	}
	must[*booking](t)(define[booking](t, empty).FindByPK(ctx, 1))
}
