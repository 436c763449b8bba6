package guide_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

type Ware struct {
	ID    int64  `json:"id"    orm:"primaryKey"`
	Kind  string `json:"kind"  orm:"ordered:shelf"`
	Price int64  `json:"price" orm:"ordered:shelf"`
}

func cheapest(ctx context.Context, wares natsorm.Reader[Ware], kind string) ([]*Ware, error) {
	return wares.FindAll(ctx, natsorm.Eq("kind", kind), natsorm.OrderBy("price"), natsorm.Limit(20))
}

func discount(ctx context.Context, db *natsorm.DB, wares *natsorm.Model[Ware], local *natsorm.Local[Ware], id int64) error {
	err := db.Transaction(ctx, func(ctx context.Context) error {
		p, err := local.FindByPK(ctx, id)
		if err != nil {
			return err
		}
		p.Price = p.Price * 9 / 10
		return wares.Save(ctx, p)
	})
	return err
}

func TestInMemory(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), natsormtest.New(t)
	kind := "bolt"
	check(t, func() error {
		wares, err := natsorm.Define[Ware](ctx, db)
		if err != nil {
			return err
		}
		local, err := wares.Local(ctx)
		if err != nil {
			return err
		}
		defer local.Close()
		var list []*Ware
		for i := range int64(1000) {
			list = append(list, &Ware{ID: i, Kind: []string{"bolt", "nut"}[i%2], Price: 10_000 - i})
		}
		if err := wares.BulkCreate(ctx, list); err != nil {
			return err
		}
		plan, err := local.Explain(ctx, natsorm.Eq("kind", kind), natsorm.OrderBy("price"), natsorm.Limit(20))
		if err != nil {
			return err
		}
		fmt.Println(plan.Access) // ordered index (kind, price) "bolt", all, in order: 500 entries, 20 records
		if got := plan.Access.String(); !strings.HasPrefix(got, "ordered index (kind, price)") || !strings.HasSuffix(got, "in order: 500 entries, 20 records") {
			t.Errorf("the plan is %s", got)
		}
		if err := discount(ctx, db, wares, local, 0); err != nil {
			return err
		}
		mine, err := cheapest(ctx, local, kind)
		if err != nil {
			return err
		}
		theirs, err := cheapest(ctx, wares, kind)
		if err != nil {
			return err
		}
		if len(mine) != 20 || mine[0].ID != 0 || mine[0].Price != 9000 {
			t.Errorf("the first of %d is %+v", len(mine), mine[0])
		}
		for i := range mine {
			if *mine[i] != *theirs[i] {
				t.Errorf("%+v is in memory, and %+v in the bucket", mine[i], theirs[i])
			}
		}
		return nil
	}())
}
