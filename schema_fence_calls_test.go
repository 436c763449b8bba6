package natsorm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/catalogue"
	"github.com/natsorm/natsorm/internal/testbed"
)

// until waits until the new version sees a record.
func (d *deploy) until(t *testing.T, members *natsorm.Model[memberV2], id int64) {
	t.Helper()
	for ctx := within(t); ; time.Sleep(time.Millisecond) {
		if there := must[bool](t)(members.Exists(ctx, natsorm.Eq("id", id))); there {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d never came", id)
		}
	}
}

// A record that was written by the old schema after the index was built may be changed by a
// program of the new one before its writer has made it good, or when that has died: then the
// change makes it good.
func TestUnmendedRecordsAreChanged(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		d.create(t, memberV1{ID: 1, Team: "red", Badge: "b1"})
		d.proxy.Delay(3 * time.Second)
		sent := d.sent(t)
		var wg sync.WaitGroup
		for id := int64(2); id <= 5; id++ {
			wg.Go(func() { _ = d.old.Create(ctx, &memberV1{ID: id, Team: "blue", Badge: fmt.Sprint("b", id)}) })
		}
		sent(4)
		members := define[memberV2](t, d.newDB, natsorm.Name("member"))
		for id := int64(2); id <= 5; id++ {
			d.until(t, members, id)
		}
		d.proxy.Block() // the old version is gone, and was told nothing
		if n, err := members.Update(ctx, natsorm.Set{"badge": "b2x"}, natsorm.Eq("id", 2)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := members.Update(ctx, natsorm.Set{"team": "green"}, natsorm.Eq("id", 3)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		ok(t, members.Save(ctx, &memberV2{ID: 4, Team: "blue", Badge: "b4x"}))
		ok(t, d.newDB.Transaction(ctx, func(ctx context.Context) error {
			_, err := members.Update(ctx, natsorm.Set{"team": "green"}, natsorm.Eq("id", 5))
			return err
		}))
		for team, want := range map[string]int{"blue": 2, "green": 2} {
			if found := must[[]*memberV2](t)(members.FindAll(ctx, natsorm.Eq("team", team))); len(found) != want {
				t.Errorf("team %s: %d of %d", team, len(found), want)
			}
		}
		for _, badge := range []string{"b3", "b5", "b2x", "b4x"} {
			must[*memberV2](t)(members.FindOne(ctx, natsorm.Eq("badge", badge)))
			if err := members.Create(ctx, &memberV2{ID: 100, Badge: badge}); !errors.Is(err, natsorm.ErrUnique) {
				t.Errorf("badge %s is given twice: %v", badge, err)
			}
		}
		d.proxy.Delay(0)
		d.proxy.Unblock()
		wg.Wait()
	})
}

// Every call that is under way while the model is moved to another layout does what it is for,
// on the records where they are then.
func TestCallsDuringALayoutChange(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		define[memberV1](t, d.newDB, natsorm.Name("member"), natsorm.Index("team"))
		for id := int64(-9); id <= 9; id++ {
			d.create(t, memberV1{ID: id, Team: fmt.Sprint("t", id), Badge: fmt.Sprint(id)})
		}
		for len(d.old.Schema().Indexes) == 0 { // until it knows the index
			must[int](t)(d.old.Count(ctx, natsorm.Eq("team", "t0")))
		}
		d.proxy.Delay(4 * time.Second)
		sent := d.sent(t)
		var wg sync.WaitGroup
		for what, call := range map[string]func() (bool, error){
			"FindByPK": func() (bool, error) { m, err := d.old.FindByPK(ctx, -1); return err == nil && m.Badge == "-1", err },
			"FindOne by an index": func() (bool, error) {
				m, err := d.old.FindOne(ctx, natsorm.Eq("team", "t2"))
				return err == nil && m.ID == 2, err
			},
			"Update by an index": func() (bool, error) {
				n, err := d.old.Update(ctx, natsorm.Set{"badge": "x"}, natsorm.Eq("team", "t3"))
				return n == 1, err
			},
			"UpdateOne by an index": func() (bool, error) {
				m, err := d.old.UpdateOne(ctx, natsorm.Set{"badge": "x"}, natsorm.Eq("team", "t4"))
				return err == nil && m.Badge == "x", err
			},
			"Destroy by an index": func() (bool, error) { n, err := d.old.Destroy(ctx, natsorm.Eq("team", "t5")); return n == 1, err },
			"Destroy by key":      func() (bool, error) { n, err := d.old.Destroy(ctx, natsorm.Eq("id", -2)); return n == 1, err },
			"Upsert": func() (bool, error) {
				created, err := d.old.Upsert(ctx, &memberV1{ID: -3, Team: "up"})
				return !created, err
			},
			"FindOrCreate": func() (bool, error) {
				m, created, err := d.old.FindOrCreate(ctx, natsorm.Where{"id": -4}, &memberV1{Team: "new"})
				return err == nil && !created && m.Team == "t-4", err
			},
			"Save": func() (bool, error) { return true, d.old.Save(ctx, &memberV1{ID: -5, Team: "saved"}) },
			"Create of one that is there": func() (bool, error) {
				err := d.old.Create(ctx, &memberV1{ID: -6})
				return errors.Is(err, natsorm.ErrExists), nil
			},
			"BulkCreate": func() (bool, error) {
				err := d.old.BulkCreate(ctx, []*memberV1{{ID: -7}, {ID: 100}, {ID: -101}})
				var bulk *natsorm.BulkError
				if !errors.As(err, &bulk) || len(bulk.Faults) != 1 || bulk.Faults[0].Index != 0 {
					return false, err
				}
				return true, nil
			},
			"a transaction": func() (bool, error) {
				return true, d.oldDB.Transaction(ctx, func(ctx context.Context) error {
					m, err := d.old.FindByPK(ctx, -8)
					if err == nil {
						m.Team = "in a transaction"
						err = d.old.Save(ctx, m)
					}
					return err
				})
			},
		} {
			wg.Go(func() {
				if right, err := call(); !right || err != nil {
					t.Errorf("%s: %v, %v", what, right, err)
				}
			})
		}
		sent(12)
		ok(t, d.newDB.ChangeLayout(ctx, "member", natsorm.Sequelize))
		d.proxy.Delay(0)
		wg.Wait()
		members := must[*natsorm.Model[natsorm.Record]](t)(d.newDB.Model(ctx, "member"))
		if n := must[int](t)(members.Count(ctx)); n != 19 {
			t.Errorf("there are %d", n)
		}
	})
}

// The requests of calls reach the server while the model is in another layout, and their answers come
// when it is back in the first one: the records were elsewhere, and the calls look again.
func TestCallsDuringALayoutChangeThereAndBack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("two changes of the layout")
	}
	for name, there := range map[string]func(t *testing.T, d *deploy) (brokenOff bool){
		"done": func(t *testing.T, d *deploy) bool {
			ok(t, d.newDB.ChangeLayout(within(t), "member", natsorm.Sequelize))
			return false
		},
		"broken off": func(t *testing.T, d *deploy) bool { // when the records have been moved, and the catalogue does not say so
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			err := d.newDB.ChangeLayout(ctx, "member", natsorm.Sequelize, natsorm.LayoutProgress(func(s natsorm.LayoutStep, done, total int) {
				if s == natsorm.LayoutCarrying && done == total && done > 0 {
					cancel()
				}
			}))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the change was not broken off: %v", err)
			}
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			versions(t, func(t *testing.T, d *deploy) { callsDuringALayoutChangeThereAndBack(t, d, there) })
		})
	}
}

func callsDuringALayoutChangeThereAndBack(t *testing.T, d *deploy, there func(*testing.T, *deploy) bool) {
	ctx := within(t)
	for id := range int64(8) {
		d.create(t, memberV1{ID: -id - 1, Team: "red", Badge: fmt.Sprint(id)}) // the layouts have other keys for these
	}
	arrived, asked, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stage := 0
	d.proxy.Lose(func(subject string, answer bool) bool { // one at a time, so that the others wait too
		if !strings.Contains(subject, "KV.deploy.member.shard_") {
			return false
		}
		switch {
		case stage == 0 && !answer:
			close(arrived)
			<-asked
			stage++
		case stage == 1 && answer:
			<-answered
			stage++
		}
		return false
	})
	var wg sync.WaitGroup
	for what, call := range map[string]func() (bool, error){
		"FindByPK": func() (bool, error) { m, err := d.old.FindByPK(ctx, -1); return err == nil && m.ID == -1, err },
		"FindOne": func() (bool, error) {
			m, err := d.old.FindOne(ctx, natsorm.Eq("id", -2))
			return err == nil && m.ID == -2, err
		},
		"Exists": func() (bool, error) { return d.old.Exists(ctx, natsorm.Eq("id", -3)) },
		"Count":  func() (bool, error) { n, err := d.old.Count(ctx, natsorm.In("id", -3, -4)); return n == 2, err },
		"Update": func() (bool, error) {
			n, err := d.old.Update(ctx, natsorm.Set{"team": "blue"}, natsorm.Eq("id", -5))
			return n == 1, err
		},
		"UpdateOne": func() (bool, error) {
			m, err := d.old.UpdateOne(ctx, natsorm.Set{"team": "blue"}, natsorm.Eq("id", -6))
			return err == nil && m.ID == -6, err
		},
		"Destroy": func() (bool, error) { n, err := d.old.Destroy(ctx, natsorm.Eq("id", -7)); return n == 1, err },
		"Upsert": func() (bool, error) {
			created, err := d.old.Upsert(ctx, &memberV1{ID: -8, Team: "blue"})
			return !created, err
		},
	} {
		wg.Go(func() {
			if right, err := call(); !right || err != nil {
				t.Errorf("%s: %v, %v", what, right, err)
			}
		})
	}
	<-arrived
	brokenOff := there(t, d)
	close(asked)
	release := sync.OnceFunc(func() { close(answered) })
	back := func(step natsorm.LayoutStep, _, _ int) {
		if brokenOff && step == natsorm.LayoutWaiting { // the records are back, and calls go on; later the requests would be repeated
			release()
		}
	}
	ok(t, d.newDB.ChangeLayout(ctx, "member", natsorm.Native, natsorm.LayoutProgress(back)))
	release()
	wg.Wait()
	d.proxy.LoseNothing()
	members := must[*natsorm.Model[natsorm.Record]](t)(d.newDB.Model(ctx, "member"))
	if n := must[int](t)(members.Count(ctx)); n != 7 {
		t.Errorf("there are %d", n)
	}
	if n := must[int](t)(members.Count(ctx, natsorm.Eq("team", "blue"))); n != 3 {
		t.Errorf("%d are changed", n)
	}
}

// A call has read, and cannot find out whether the schema by which it did is still in force: it does not say
// that there is nothing, nor that it has found all.
func TestReadsThatCannotLookAtTheCatalogue(t *testing.T) {
	t.Parallel()
	if testing.Short() || testbed.Race {
		t.Skip("reads that end with their contexts")
	}
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		d.create(t, memberV1{ID: 1, Team: "red", Badge: "b"})
		for what, call := range map[string]func(context.Context) (any, error){
			"FindByPK":            func(ctx context.Context) (any, error) { m, err := d.old.FindByPK(ctx, 1); return m != nil, err },
			"FindByPK of nothing": func(ctx context.Context) (any, error) { m, err := d.old.FindByPK(ctx, 2); return m != nil, err },
			"FindAll": func(ctx context.Context) (any, error) {
				all, err := d.old.FindAll(ctx, natsorm.Eq("id", 1))
				return all != nil, err
			},
		} {
			must[int](t)(d.old.Count(ctx, natsorm.Eq("id", 1))) // it knows the catalogue
			held := false
			d.proxy.Lose(func(subject string, answer bool) bool {
				if answer && strings.Contains(subject, "KV.deploy.member.shard_") && !held {
					held = true
					_ = testbed.Wait(ctx, catalogue.Young) // until it does not any more
				}
				return held && !strings.Contains(subject, "KV.deploy.member.shard_")
			})
			short, cancel := context.WithTimeout(ctx, 3*catalogue.Young)
			found, err := call(short)
			cancel()
			d.proxy.LoseNothing()
			if found == true || !natsorm.SafeToRetry(err) || errors.Is(err, natsorm.ErrNotFound) {
				t.Errorf("%s: %v, %v", what, found, err)
			}
		}
	})
}

// A document that this natsorm cannot read stops the calls of its model, and no others.
func TestUnreadableDocumentOfAnotherModel(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, d *deploy) {
		ctx := within(t)
		users := define[user](t, d.oldDB)
		kv := d.newDB.KV()
		entry := must[jetstream.KeyValueEntry](t)(kv.Get(ctx, "_schema.member"))
		newer := strings.Replace(string(entry.Value()), `"format":1`, `"format":9`, 1)
		must[uint64](t)(kv.Put(ctx, "_schema.member", []byte(newer)))
		for began := time.Now(); time.Since(began) < 2*catalogue.Young; time.Sleep(10 * time.Millisecond) {
			must[int](t)(users.Count(ctx))
			if _, err := d.old.Count(ctx); errors.Is(err, natsorm.ErrSchema) {
				ok(t, users.Create(ctx, &user{ID: 1, Name: "n", Email: "e"}))
				must[uint64](t)(kv.Put(ctx, "_schema.member", entry.Value()))
				return
			}
		}
		t.Error("a model goes on whose document is of a newer natsorm")
	})
}
