package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/natsorm/natsorm"
)

// guest is a record of a bucket that somebody deletes.
type guest struct {
	ID   int64  `json:"id"   orm:"primaryKey,auto"`
	Name string `json:"name" orm:"unique"`
	Room int64  `json:"room" orm:"index"`
}

// The bucket is deleted and made anew again and again while clients write. Whatever is in
// it in the end is in its indexes, and its model is defined.
func TestRemake(t *testing.T) {
	a := newArena(t)
	clients := pick(6, 12)
	dbs, models := make([]*natsorm.DB, clients), make([]*natsorm.Model[guest], clients)
	for c := range clients {
		dbs[c] = a.client(c)
		models[c] = define[guest](a, dbs[c])
	}
	var created, updated, taken atomic.Int64
	faults := []Fault{Remake}
	if *longForm {
		faults = append(faults, Faults()...)
	}
	a.runWith(clients, faults, func(ctx context.Context, client int, rnd *rand.Rand) {
		m, room := models[client], rnd.Int64N(20)
		var err error
		switch rnd.IntN(4) {
		case 0:
			_, err = m.Update(ctx, natsorm.Set{"room": room}, natsorm.Eq("room", rnd.Int64N(20)))
			updated.Add(1)
		case 1:
			err = dbs[client].Transaction(ctx, func(ctx context.Context) error {
				n, err := m.Count(ctx, natsorm.Eq("room", room))
				if err != nil || n > 5 {
					return err
				}
				return m.Create(ctx, &guest{Name: fmt.Sprint(rnd.Int64N(200)), Room: room})
			})
		default:
			err = m.Create(ctx, &guest{Name: fmt.Sprint(rnd.Int64N(200)), Room: room})
		}
		var partial *natsorm.PartialError
		switch {
		case err == nil:
			created.Add(1)
		case errors.Is(err, natsorm.ErrUnique):
			taken.Add(1)
		case errors.Is(err, natsorm.ErrExists), errors.As(err, &partial): // an id of the bucket that was there before
		default:
			a.unlucky(err)
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	for c, m := range models { // a client that has not noticed yet notices now
		name := fmt.Sprint("last ", c)
		a.must(m.Create(ctx, &guest{Name: name, Room: 100}))
		other := models[(c+1)%clients].Latest()
		if _, err := other.FindOne(ctx, natsorm.Eq("name", name)); err != nil {
			a.violation("a record is not found by its unique value", "%v", err)
		}
		if n, err := other.Count(ctx, natsorm.Eq("room", 100)); err != nil || n != c+1 {
			a.violation("records are not found by their index", "%d of %d, %v", n, c+1, err)
		}
	}
	schemas, err := dbs[0].Models(ctx)
	if err != nil || len(schemas) != 1 {
		a.violation("the model is not in the catalogue", "%v, %v", schemas, err)
	}
	t.Logf("%d records created, %d updates, %d names taken", created.Load(), updated.Load(), taken.Load())
	if created.Load() == 0 {
		t.Error("nothing was tested")
	}
	a.report()
}
