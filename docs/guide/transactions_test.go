package guide_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

type Seats struct {
	ID   int64 `json:"id" orm:"primaryKey"`
	Free int   `json:"free"`
}

type Booking struct {
	ID       int64  `json:"id" orm:"primaryKey,auto"`
	Show     int64  `json:"show" orm:"index"`
	Customer string `json:"customer"`
}

var errSoldOut = errors.New("sold out")

func takeSeat(ctx context.Context, seats *natsorm.Model[Seats], show int64) error {
	n, err := seats.Increment(ctx, natsorm.Set{"free": -1}, natsorm.Eq("id", show), natsorm.Gt("free", 0))
	if err != nil {
		return err
	}
	if n == 0 {
		return errSoldOut
	}
	return nil
}

func book(ctx context.Context, db *natsorm.DB, seats *natsorm.Model[Seats], bookings *natsorm.Model[Booking], show int64, customer string) error {
	err := db.Transaction(ctx, func(ctx context.Context) error {
		seat, err := seats.FindByPK(ctx, show)
		if err != nil {
			return err
		}
		if seat.Free == 0 {
			return errSoldOut
		}
		seat.Free--
		if err := seats.Save(ctx, seat); err != nil {
			return err
		}
		return bookings.Create(ctx, &Booking{Show: show, Customer: customer})
	})
	return err
}

func retry(ctx context.Context, call func(context.Context) error) error {
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		err := call(ctx)
		if err == nil || !natsorm.SafeToRetry(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// Of more customers than seats, as many get one as there are.
func TestTransactions(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db := natsormtest.New(t)
	seats, err := natsorm.Define[Seats](ctx, db)
	check(t, err)
	bookings, err := natsorm.Define[Booking](ctx, db)
	check(t, err)
	check(t, seats.Create(ctx, &Seats{ID: 1, Free: 10}))
	var booked, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			err := retry(ctx, func(ctx context.Context) error {
				if i%3 == 0 {
					return takeSeat(ctx, seats, 1)
				}
				return book(ctx, db, seats, bookings, 1, "someone")
			})
			switch {
			case err == nil:
				booked.Add(1)
			case errors.Is(err, errSoldOut):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if booked.Load() != 10 || refused.Load() != 20 {
		t.Errorf("%d have a seat, and %d were told that there is none", booked.Load(), refused.Load())
	}
}
