package guide_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
	"github.com/natsorm/natsorm/natsormtest"
)

type Product struct {
	ID    int64  `json:"id" orm:"primaryKey,auto"`
	Name  string `json:"name" orm:"index"`
	Stock int    `json:"stock"`
}

var errNotEnough = errors.New("not enough in stock")

// sell is what is tested.
func sell(ctx context.Context, products *natsorm.Model[Product], name string, pieces int) error {
	n, err := products.Increment(ctx, natsorm.Set{"stock": -pieces}, natsorm.Eq("name", name), natsorm.Gte("stock", pieces))
	if err == nil && n == 0 {
		err = errNotEnough
	}
	return err
}

func TestStock(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	products, err := natsorm.Define[Product](t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if err := products.Create(t.Context(), &Product{Name: "bolt", Stock: 3}); err != nil {
		t.Fatal(err)
	}
	if err := sell(t.Context(), products, "bolt", 4); !errors.Is(err, errNotEnough) {
		t.Errorf("sold more than there is: %v", err)
	}
}

func seenFromOutside(ctx context.Context, products *natsorm.Model[Product]) error {
	changes, err := products.Watch(ctx)
	if err != nil {
		return err
	}
	defer changes.Stop()
	if err := sell(ctx, products, "bolt", 1); err != nil {
		return err
	}
	change, open := <-changes.Changes()
	if !open {
		return changes.Err()
	}
	fmt.Println(change.Op, change.Columns, change.Before.Stock, change.After.Stock)

	gone, cancel := context.WithCancel(ctx)
	cancel()
	err = sell(gone, products, "bolt", 1)
	fmt.Println(errors.Is(err, context.Canceled), natsorm.SafeToRetry(err))
	return nil
}

func Example_testing() {
	srv, err := embedded.Start(embedded.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	ctx := context.Background()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	products, err := natsorm.Define[Product](ctx, db)
	if err == nil {
		err = products.Create(ctx, &Product{Name: "bolt", Stock: 3})
	}
	if err == nil {
		err = seenFromOutside(ctx, products)
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// updated [stock] 3 2
	// true true
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for run := range 2 {
		srv, err := embedded.Start(embedded.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		db, err := srv.Open(t.Context(), natsorm.Config{Bucket: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		products, err := natsorm.Define[Product](t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := products.Count(t.Context()); n != run || err != nil {
			t.Errorf("run %d finds %d products, %v", run, n, err)
		}
		if err := products.Create(t.Context(), &Product{Name: "bolt"}); err != nil {
			t.Error(err)
		}
		natsormtest.Prove(t, db)
		if err := errors.Join(db.Close(), srv.Close()); err != nil {
			t.Error(err)
		}
	}
}
