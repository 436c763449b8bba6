package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
)

// member is a record whose e-mail is nobody else's.
type member struct {
	ID    int64  `json:"id"    orm:"primaryKey"`
	Email string `json:"email" orm:"unique"`
}

// contested is an e-mail that clients create members with. Like cells, it is
// left alone after some calls.
type contested struct {
	email       string
	calls, open int
	alive       []int64 // members that may be there
}

const contestedCalls, contestedOpen = 150, 4

// A unique value has one owner at every instant: of many concurrent creates
// with one e-mail one succeeds, the others are told who has it, and that it is
// free again only once its owner is gone. The history of each e-mail is
// linearizable, as that of a lock.
func TestUnique(t *testing.T) {
	a := newArena(t)
	clients := pick(8, 16)
	models := make([]*natsorm.Model[member], clients)
	for c := range clients {
		models[c] = define[member](a, a.client(c))
	}
	h := NewHistory()
	var ids atomic.Int64
	var mu sync.Mutex
	all := []*contested{}
	fresh := func() *contested {
		c := &contested{email: fmt.Sprintf("%d@example.com", len(all))}
		all = append(all, c)
		return c
	}
	live := []*contested{fresh(), fresh(), fresh()}
	faults := []Fault{KillLeader, DropAnswers, StepDown, CutConnections}

	a.run(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		m := models[client]
		mu.Lock()
		slot := rnd.IntN(len(live))
		if c := live[slot]; c.calls >= contestedCalls || c.open >= contestedOpen {
			live[slot] = fresh()
		}
		c := live[slot]
		c.calls++
		in := HolderInput{Verb: Create, Value: c.email}
		if len(c.alive) > 0 && rnd.IntN(4) == 0 {
			in.Verb = Destroy
			i := rnd.IntN(len(c.alive))
			in.Record = c.alive[i]
			c.alive = append(c.alive[:i], c.alive[i+1:]...) // each is destroyed once
		} else {
			in.Record = ids.Add(1)
		}
		mu.Unlock()

		call := h.Now()
		out := HolderOutput{Done: true}
		var err error
		if in.Verb == Destroy {
			var n int
			n, err = m.Latest().Destroy(ctx, natsorm.Eq("id", in.Record))
			out.Done = n == 1
		} else {
			err = m.Create(ctx, &member{ID: in.Record, Email: in.Value})
		}
		var taken *natsorm.UniqueError
		maybe := in.Verb == Create // the record may be there
		switch {
		case err == nil:
			h.Done(client, call, in, out)
		case errors.As(err, &taken):
			owner, e := strconv.ParseInt(taken.Owner, 10, 64)
			if e != nil {
				a.violation("an unreadable owner", "%v", err)
			}
			h.Done(client, call, in, HolderOutput{Holder: owner})
			maybe = false
		case natsorm.SafeToRetry(err):
			a.unlucky(err)
			maybe = false
		case errors.Is(err, natsorm.ErrExists): // each id is created once
			a.violation("a record exists before it is created", "%+v: %v", in, err)
			h.Open(call, in)
		default:
			a.unlucky(err)
			h.Open(call, in)
			mu.Lock()
			c.open++
			mu.Unlock()
		}
		if maybe {
			mu.Lock()
			c.alive = append(c.alive, in.Record)
			mu.Unlock()
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	byEmail := map[string][]int64{}
	for v, err := range models[0].Latest().Each(ctx) {
		a.must(err)
		byEmail[v.Email] = append(byEmail[v.Email], v.ID)
	}
	for _, c := range all {
		owners := byEmail[c.email]
		if len(owners) > 1 {
			a.violation("a unique value with several owners", "%s is of %v", c.email, owners)
		}
		out := HolderOutput{}
		if len(owners) > 0 {
			out.Holder = owners[0]
		}
		h.Done(0, h.Now(), HolderInput{Verb: Read, Value: c.email}, out)
	}
	a.linearizable(h, HolderModel())
}
