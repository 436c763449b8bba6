package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/internal/testbed"
)

// Two versions of a program: the second one finds staff by their room, and gives a desk once.
type (
	staffV1 struct {
		ID   int64  `json:"id"   orm:"primaryKey"`
		Room int64  `json:"room"`
		Desk string `json:"desk"`
	}
	staffV2 struct {
		ID   int64  `json:"id"   orm:"primaryKey"`
		Room int64  `json:"room" orm:"index"`
		Desk string `json:"desk" orm:"unique"`
	}
)

// The second version of a program is deployed while the first one writes, half of it over
// connections that stand still meanwhile, and servers fail. What the first version was told
// is written is found by the new indexes, and no desk is given twice.
func TestDeploy(t *testing.T) {
	a := newArena(t)
	clients := pick(6, 12)
	models := make([]*natsorm.Model[staffV1], clients)
	named := natsorm.Name("staff")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for c := range clients {
		m, err := natsorm.Define[staffV1](ctx, a.client(c), named)
		a.must(err)
		models[c] = m
	}
	old := a.proxies
	deployed := a.client(0)

	var mu sync.Mutex
	rooms := map[int64]int64{} // of those whose creation was acknowledged; they are not changed
	var ids, updated, taken atomic.Int64
	var second atomic.Pointer[natsorm.Model[staffV2]]
	var deploy sync.WaitGroup
	begin := sync.OnceFunc(func() {
		deploy.Go(func() {
			for i := 0; i < len(old); i += 2 {
				old[i].Delay(3 * time.Second)
			}
			for second.Load() == nil && ctx.Err() == nil {
				m, err := natsorm.Define[staffV2](ctx, deployed, named)
				if err == nil {
					second.Store(m)
				} else if !natsorm.SafeToRetry(err) && !errors.Is(err, natsorm.ErrUnknownOutcome) {
					a.violation("the new version cannot be deployed", "%v", err)
					return
				}
			}
			for i := 0; i < len(old); i += 2 {
				old[i].Delay(0)
			}
		})
	})

	a.run(clients, []Fault{KillLeader, StepDown, CutConnections, DropAnswers}, func(ctx context.Context, client int, rnd *rand.Rand) {
		m, id, room := models[client], ids.Add(1), rnd.Int64N(20)
		if id == 100 {
			begin()
		}
		var err error
		switch rnd.IntN(4) {
		case 0:
			_, err = m.Update(ctx, natsorm.Set{"desk": fmt.Sprint("of ", id)}, natsorm.Eq("id", rnd.Int64N(id)))
			updated.Add(1)
		case 1: // a desk that somebody may have: it is refused once the index is there
			desk := id
			if second.Load() != nil {
				desk = rnd.Int64N(id)
			}
			err = m.Create(ctx, &staffV1{ID: id, Room: 100, Desk: fmt.Sprint(desk)})
		default:
			if err = m.Create(ctx, &staffV1{ID: id, Room: room, Desk: fmt.Sprint(id)}); err == nil {
				mu.Lock()
				rooms[id] = room
				mu.Unlock()
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, natsorm.ErrUnique):
			if taken.Add(1); second.Load() == nil && id < 100 {
				a.violation("a desk is refused that nobody else has", "%v", err)
			}
		default:
			a.unlucky(err)
		}
	})
	begin()
	deploy.Wait()

	members := second.Load()
	if members == nil {
		t.Fatal("the new version was not deployed")
	}
	for c, m := range models { // the first version goes on, and knows now
		desk := fmt.Sprint("again ", c)
		a.must(m.Create(ctx, &staffV1{ID: -int64(2*c + 1), Room: 100, Desk: desk}))
		if err := m.Create(ctx, &staffV1{ID: -int64(2*c + 2), Room: 100, Desk: desk}); !errors.Is(err, natsorm.ErrUnique) {
			a.violation("a desk is given twice", "%s: %v", desk, err)
		}
		taken.Add(1)
	}
	// What was held back may come after its connection has ended, and be the last thing that
	// its program has written.
	a.must(testbed.Until(ctx, func(context.Context) error {
		for i, p := range old {
			if n := p.Held(); n > 0 {
				return fmt.Errorf("%d pieces of client %d are still held back", n, i)
			}
		}
		return nil
	}))
	for { // programs make good what they do not know the outcome of
		report, err := deployed.Check(ctx)
		a.must(err)
		if report.Clean() {
			break
		}
		if ctx.Err() != nil || time.Since(a.start) > 5*time.Minute {
			a.violation("an index disagrees with its records", "%s", report)
			break
		}
		a.must(testbed.Wait(ctx, 100*time.Millisecond))
	}
	desks, byRoom := map[string]int64{}, map[int64]map[int64]bool{}
	for room := range int64(20) {
		byRoom[room] = map[int64]bool{}
		found, err := members.Latest().FindAll(ctx, natsorm.Eq("room", room))
		a.must(err)
		for _, s := range found {
			byRoom[room][s.ID] = true
		}
	}
	for s, err := range members.Latest().Each(ctx) {
		a.must(err)
		if other, ok := desks[s.Desk]; ok {
			a.violation("a desk is given twice", "%s to %d and %d", s.Desk, other, s.ID)
		}
		desks[s.Desk] = s.ID
	}
	for id, room := range rooms {
		if !byRoom[room][id] {
			a.violation("a record is not found by an index", "%d in room %d", id, room)
		}
	}
	t.Logf("%d created, %d updates, %d desks taken", len(rooms), updated.Load(), taken.Load())
	if len(rooms) == 0 || taken.Load() == 0 {
		t.Error("nothing was tested")
	}
	a.report()
}
