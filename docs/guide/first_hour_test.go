package guide_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

type Ticket struct {
	ID       int64     `json:"id"       orm:"primaryKey,auto"`
	Subject  string    `json:"subject"`
	Status   string    `json:"status"   orm:"index"`
	Customer string    `json:"customer" orm:"index"`
	Ref      string    `json:"ref"      orm:"unique"`
	OpenedAt time.Time `json:"openedAt" orm:"createdAt"`
}

func firstHour(ctx context.Context, dir string) error {
	srv, err := embedded.Start(embedded.Config{Dir: dir, Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "helpdesk", Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer db.Close()
	tickets, err := natsorm.Define[Ticket](ctx, db)
	if err != nil {
		return err
	}

	first := &Ticket{Subject: "It does not start", Status: "new", Customer: "acme", Ref: "A-1"}
	if err := tickets.Create(ctx, first); err != nil {
		return err
	}
	fmt.Println("created", first.ID)

	open, err := tickets.FindAll(ctx, natsorm.Eq("customer", "acme"), natsorm.Ne("status", "closed"), natsorm.OrderBy("-openedAt"), natsorm.Limit(20))
	if err != nil {
		return err
	}
	fmt.Println("acme has", len(open))

	taken, err := tickets.UpdateOne(ctx, natsorm.Set{"status": "open"}, natsorm.Eq("ref", "A-1"), natsorm.Eq("status", "new"))
	if err != nil {
		return err
	}
	fmt.Println("now", taken.Status)

	err = tickets.Create(ctx, &Ticket{Subject: "Again", Status: "new", Ref: "A-1"})
	var unique *natsorm.UniqueError
	switch {
	case errors.As(err, &unique):
		fmt.Println("ticket", unique.Owner, "has that reference")
	case err != nil:
		return err
	}
	if _, err := tickets.FindOne(ctx, natsorm.Eq("ref", "Z-9")); errors.Is(err, natsorm.ErrNotFound) {
		fmt.Println("no such ticket")
	}

	changes, err := tickets.Watch(ctx, natsorm.Eq("customer", "acme"))
	if err != nil {
		return err
	}
	defer changes.Stop()
	if _, err := tickets.Update(ctx, natsorm.Set{"status": "closed"}, natsorm.Eq("ref", "A-1")); err != nil {
		return err
	}
	change, more := <-changes.Changes()
	if !more {
		return changes.Err()
	}
	fmt.Println(change.Op, "from", change.Before.Status, "to", change.After.Status)
	return nil
}

func Example_firstHour() {
	dir, err := os.MkdirTemp("", "helpdesk-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := firstHour(context.Background(), dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// created 1
	// acme has 1
	// now open
	// ticket 1 has that reference
	// no such ticket
	// updated from open to closed
}
