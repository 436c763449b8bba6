package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
)

// doctor works in a shift, which needs one on call.
type doctor struct {
	ID     int64 `json:"id"     orm:"primaryKey"`
	Shift  int64 `json:"shift"  orm:"index"`
	OnCall bool  `json:"onCall"`
}

// booking takes a slot. That there is one for each slot is up to the program.
type booking struct {
	ID   string `json:"id"   orm:"primaryKey,auto"`
	Slot int64  `json:"slot" orm:"index"`
}

// together is how many clients meet in one shift, and at one slot.
const together = 4

// round gives the same number to clients that come one after the other.
func round(calls *atomic.Int64) int64 { return (calls.Add(1) - 1) / together }

// Each doctor leaves only while another one of the shift is on call. They write
// different records, so that only what they have read can stop the second one.
func TestWriteSkew(t *testing.T) {
	a := newArena(t)
	clients := pick(8, 16)
	dbs, models := make([]*natsorm.DB, clients), make([]*natsorm.Model[doctor], clients)
	for c := range clients {
		dbs[c] = a.client(c)
		models[c] = define[doctor](a, dbs[c])
	}
	var calls, left atomic.Int64
	faults := []Fault{KillLeader, DropAnswers, StepDown, SlowFollower}

	a.run(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		db, m := dbs[client], models[client]
		shift := round(&calls)
		me := shift*together + int64(client%together)
		if err := m.Create(ctx, &doctor{ID: me, Shift: shift, OnCall: true}); err != nil && !errors.Is(err, natsorm.ErrExists) {
			a.unlucky(err)
			return
		}
		err := db.Transaction(ctx, func(ctx context.Context) error {
			all, err := m.FindAll(ctx, natsorm.Eq("shift", shift))
			if err != nil {
				return err
			}
			var mine *doctor
			others := 0
			for _, d := range all {
				switch {
				case d.ID == me:
					mine = d
				case d.OnCall:
					others++
				}
			}
			if mine == nil {
				return errAbsent
			}
			if others == 0 {
				return nil // stays
			}
			mine.OnCall = false
			return m.Save(ctx, mine)
		})
		switch {
		case errors.Is(err, errAbsent):
			a.violation("a transaction misses what its client created", "shift %d, doctor %d", shift, me)
		case err != nil:
			a.unlucky(err)
		default:
			left.Add(1)
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	type staff struct{ all, onCall int }
	shifts := map[int64]staff{}
	for d, err := range models[0].Latest().Each(ctx) {
		a.must(err)
		s := shifts[d.Shift]
		s.all++
		if d.OnCall {
			s.onCall++
		}
		shifts[d.Shift] = s
	}
	for shift, s := range shifts {
		if s.onCall == 0 {
			a.violation("nobody is on call", "shift %d of %d doctors", shift, s.all)
		}
	}
	t.Logf("%d transactions in %d shifts", left.Load(), len(shifts))
	if left.Load() == 0 {
		t.Error("nothing was tested")
	}
	a.report()
}

// errAbsent ends a transaction that does not find its doctor.
var errAbsent = errors.New("the doctor is not there")

// Two transactions that both find a slot free do not both book it: what a
// lookup did not find is guarded too.
func TestPhantoms(t *testing.T) {
	a := newArena(t)
	clients := pick(8, 16)
	dbs, models := make([]*natsorm.DB, clients), make([]*natsorm.Model[booking], clients)
	for c := range clients {
		dbs[c] = a.client(c)
		models[c] = define[booking](a, dbs[c])
	}
	var calls, booked atomic.Int64
	faults := []Fault{KillLeader, DropAnswers, StepDown, SlowFollower}

	a.run(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		m, slot := models[client], round(&calls)
		mine := false
		err := dbs[client].Transaction(ctx, func(ctx context.Context) error {
			mine = false
			there, err := m.FindAll(ctx, natsorm.Eq("slot", slot))
			if err != nil || len(there) > 0 {
				return err
			}
			mine = true
			return m.Create(ctx, &booking{Slot: slot})
		})
		if err != nil {
			a.unlucky(err)
		} else if mine {
			booked.Add(1)
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	slots := map[int64][]string{}
	total := int64(0)
	for b, err := range models[0].Latest().Each(ctx) {
		a.must(err)
		total++
		slots[b.Slot] = append(slots[b.Slot], b.ID)
	}
	for slot, ids := range slots {
		if len(ids) > 1 {
			a.violation("a slot is booked twice", "slot %d: %v", slot, ids)
		}
	}
	if total < booked.Load() {
		a.violation("a booking is lost", "%d acknowledged, %d there", booked.Load(), total)
	}
	t.Logf("%d of %d slots are booked", len(slots), calls.Load()/together+1)
	if booked.Load() == 0 {
		t.Error("nothing was tested")
	}
	a.report()
}
