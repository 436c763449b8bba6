package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
)

// cell is a register. Its two indexed columns change with its value, so that
// every write has entries and claims to place and to release.
type cell struct {
	ID      int64  `json:"id"    orm:"primaryKey"`
	Value   int64  `json:"value" orm:"index"`
	Email   string `json:"email" orm:"unique"`
	Version uint64 `json:"-"     orm:"version"`
}

func email(id, value int64) string { return fmt.Sprintf("%d-%d@example.com", id, value%3) }

// cells hands out the keys that are worked on. A key is left alone after some
// operations, and sooner when the outcome of several is unknown: the search for
// an order doubles with each of these.
type cells struct {
	mu   sync.Mutex
	next int64
	live []*cellUse
	all  []int64
}

type cellUse struct {
	id          int64
	calls, open int
}

const (
	cellCalls = 200
	cellOpen  = 5
)

func newCells(n int) *cells {
	c := &cells{}
	for range n {
		c.live = append(c.live, c.fresh())
	}
	return c
}

func (c *cells) fresh() *cellUse {
	c.next++
	c.all = append(c.all, c.next)
	return &cellUse{id: c.next}
}

func (c *cells) pick(rnd *rand.Rand) *cellUse {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := rnd.IntN(len(c.live))
	if u := c.live[i]; u.calls >= cellCalls || u.open >= cellOpen {
		c.live[i] = c.fresh()
	}
	c.live[i].calls++
	return c.live[i]
}

func (c *cells) opened(u *cellUse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u.open++
}

// A record is linearizable: every create, read, update, save and destroy of it
// takes effect at one instant between call and return, whoever dies. A call
// whose outcome is unknown takes effect later, or never, but not twice.
func TestRegisters(t *testing.T) {
	a := newArena(t)
	clients := pick(8, 16)
	dbs, models := make([]*natsorm.DB, clients), make([]*natsorm.Model[cell], clients)
	for i := range clients {
		dbs[i] = a.client(i)
		models[i] = define[cell](a, dbs[i])
	}
	h, keys := NewHistory(), newCells(clients/2)
	var values atomic.Int64
	faults := []Fault{KillLeader, DropAnswers, StepDown, CutConnections}

	read := func(ctx context.Context, client int, id int64) (*cell, error) {
		call := h.Now()
		v, err := models[client].Latest().FindByPK(ctx, id)
		switch {
		case err == nil:
			h.Done(client, call, RegisterInput{Verb: Read, Key: id}, RegisterOutput{Done: true, Value: v.Value, Version: v.Version})
		case errors.Is(err, natsorm.ErrNotFound):
			h.Done(client, call, RegisterInput{Verb: Read, Key: id}, RegisterOutput{})
		}
		return v, err
	}

	a.run(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		m, u := models[client], keys.pick(rnd)
		in := RegisterInput{Key: u.id, Value: values.Add(1)}
		v := &cell{ID: in.Key, Value: in.Value, Email: email(in.Key, in.Value)}
		out := RegisterOutput{Done: true}
		var call int64
		var n int
		var err error
		switch d := rnd.IntN(100); {
		case d < 30:
			if _, err := read(ctx, client, in.Key); err != nil && !errors.Is(err, natsorm.ErrNotFound) {
				a.unlucky(err) // it is as if there had been no read
			}
			return
		case d < 55:
			in.Verb = Create
			call = h.Now()
			err = m.Create(ctx, v)
			out.Version = v.Version
		case d < 75:
			in.Verb = Update
			call = h.Now()
			n, err = m.Latest().Update(ctx, natsorm.Set{"value": v.Value, "email": v.Email}, natsorm.Eq("id", in.Key))
			out.Done = n == 1
		case d < 92:
			in.Verb = Save
			old, e := read(ctx, client, in.Key)
			if e != nil {
				return
			}
			in.Want, v.Version = old.Value, old.Version
			call = h.Now()
			err = m.Save(ctx, v)
			out.Version = v.Version
		default:
			in.Verb = Destroy
			call = h.Now()
			n, err = m.Latest().Destroy(ctx, natsorm.Eq("id", in.Key))
			out.Done = n == 1
		}
		switch {
		case err == nil:
			h.Done(client, call, in, out)
		case in.Verb == Create && errors.Is(err, natsorm.ErrExists), in.Verb == Save && errors.Is(err, natsorm.ErrConflict):
			h.Done(client, call, in, RegisterOutput{})
		case natsorm.SafeToRetry(err): // surely nothing happened
			a.unlucky(err)
		case errors.Is(err, natsorm.ErrUnique): // the e-mails of a cell are its own
			a.violation("a unique value without an owner", "%+v: %v", in, err)
		default:
			a.unlucky(err)
			h.Open(call, in)
			keys.opened(u)
		}
	})

	// What was acknowledged is still there, also where nobody works any more.
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	for i, id := range keys.all {
		if _, err := read(ctx, i%clients, id); err != nil && !errors.Is(err, natsorm.ErrNotFound) {
			t.Fatal(err)
		}
	}
	a.linearizable(h, RegisterModel())
}
