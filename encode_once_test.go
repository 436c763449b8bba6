package natsorm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

// tally is a number that counts how often it is encoded.
type tally struct {
	n       int
	encoded *atomic.Int64
}

func (c tally) MarshalJSON() ([]byte, error) {
	if c.encoded != nil {
		c.encoded.Add(1)
	}
	return json.Marshal(c.n)
}

func (c *tally) UnmarshalJSON(raw []byte) error { return json.Unmarshal(raw, &c.n) }

// Every write encodes its document once, also when others get in its way and it is tried
// again.
func TestWritesEncodeOnce(t *testing.T) {
	t.Parallel()
	type thing struct {
		ID    int    `json:"id" orm:"primaryKey"`
		Name  string `json:"name" orm:"index"`
		Email string `json:"email" orm:"unique"`
		Tally tally  `json:"tally"`
	}
	type dated struct {
		ID      int       `json:"id" orm:"primaryKey"`
		Tally   tally     `json:"tally"`
		Created time.Time `json:"created" orm:"createdAt,index"`
		Updated time.Time `json:"updated" orm:"updatedAt"`
	}
	for name, db := range map[string]*natsorm.DB{"memory": natsormtest.New(t), "files": onFiles(t)} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t)
			things := define[thing](t, db)
			var encoded atomic.Int64
			make := func(id int) *thing {
				return &thing{ID: id, Name: "n", Email: fmt.Sprint(id), Tally: tally{id, &encoded}}
			}
			once := func(what string, want int64, do func() error) {
				t.Helper()
				encoded.Store(0)
				ok(t, do())
				if n := encoded.Load(); n != want {
					t.Errorf("%s encoded %d times, want %d", what, n, want)
				}
			}
			one := make(1)
			once("Create", 1, func() error { return things.Create(ctx, one) })
			one.Name = "m"
			once("Save", 1, func() error { return things.Save(ctx, one) })
			once("Upsert over a record", 1, func() error { _, err := things.Upsert(ctx, make(1)); return err })
			once("Upsert of a new one", 1, func() error { _, err := things.Upsert(ctx, make(2)); return err })
			once("BulkCreate", 50, func() error {
				var all []*thing
				for i := range 50 {
					all = append(all, make(100+i))
				}
				return things.BulkCreate(ctx, all)
			})
			once("Update", 0, func() error {
				_, err := things.Update(ctx, natsorm.Set{"name": "k"}, natsorm.Eq("id", 1))
				return err
			})
			once("Saves that get in each other's way", 200, func() error {
				var wg sync.WaitGroup
				for k := range 8 {
					wg.Go(func() {
						for i := range 25 {
							v := make(1)
							v.Name = fmt.Sprint(k, i)
							if err := things.Save(ctx, v); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				return nil
			})
			created := map[int]time.Time{}
			stamped := define[dated](t, db)
			for id := range 3 { // an Upsert makes each, and a Save and an Upsert replace it
				v := &dated{ID: id, Tally: tally{id, &encoded}}
				once("Upsert of a new one without a time", 1, func() error { _, err := stamped.Upsert(ctx, v); return err })
				created[id] = v.Created
				for what, write := range map[string]func(v *dated) error{
					"Save":   func(v *dated) error { return stamped.Save(ctx, v) },
					"Upsert": func(v *dated) error { _, err := stamped.Upsert(ctx, v); return err },
				} {
					v := &dated{ID: id, Tally: tally{id + 10, &encoded}}
					once(what+" over a record, without a time", 1, func() error { return write(v) })
					got := must[*dated](t)(stamped.FindByPK(ctx, id))
					if !v.Created.Equal(created[id]) || !got.Created.Equal(created[id]) || v.Updated.IsZero() || !got.Updated.Equal(v.Updated) || got.Tally.n != id+10 {
						t.Errorf("%s: %+v, stored %+v, created at %v", what, v, got, created[id])
					}
				}
				if n := must[int](t)(stamped.Count(ctx, natsorm.Eq("created", created[id]))); n < 1 {
					t.Errorf("%d is not found by its time", id)
				}
			}

			once("a transaction", 3, func() error {
				return db.Transaction(ctx, func(ctx context.Context) error {
					if err := things.Create(ctx, make(3)); err != nil {
						return err
					}
					if err := things.Save(ctx, make(2)); err != nil {
						return err
					}
					_, err := things.Upsert(ctx, make(1))
					return err
				})
			})
		})
	}
}
