package guide_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/natsormtest"
)

type Customer struct {
	ID        string    `json:"id"        orm:"primaryKey,auto"` // a UUIDv7, which sorts by time
	Email     string    `json:"email"     orm:"unique"`
	Country   string    `json:"country"   orm:"index:place"`
	City      string    `json:"city"      orm:"index:place"`
	Phone     *string   `json:"phone"     orm:"unique"`               // nil is null: any number of them
	Tags      []string  `json:"tags"      orm:"index"`                // an entry for each element
	Secret    string    `json:"-"         orm:"column:secret,hidden"` // stored, but not in JSON, nor for ParseWhere
	Cache     []byte    `json:"-"         orm:"-"`                    // not stored
	Version   uint64    `json:"version"   orm:"version"`              // the record's revision: see transactions
	CreatedAt time.Time `json:"createdAt" orm:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt" orm:"updatedAt"`
}

func modelling(ctx context.Context, customers *natsorm.Model[Customer]) error {
	plan, err := customers.Explain(ctx, natsorm.Eq("country", "NO"), natsorm.Eq("city", "Oslo"))
	if err != nil {
		return err
	}
	fmt.Println(plan.Access.Path, plan.Access.Columns, plan.Access.Records)

	found, err := customers.FindAll(ctx, natsorm.ContainsAny("tags", "vip", "beta"), natsorm.Not(natsorm.Contains("tags", "closed")))
	if err != nil {
		return err
	}
	fmt.Println(len(found))

	created, err := customers.Upsert(ctx, &Customer{Email: "ann@example.com", City: "Oslo"}, natsorm.OnConflict("email"))
	if err != nil {
		return err
	}
	ann, made, err := customers.FindOrCreate(ctx, natsorm.Where{"email": "ann@example.com"}, &Customer{Country: "NO"})
	if err != nil {
		return err
	}
	fmt.Println(created, made, ann.City)

	city := natsorm.Column(func(c *Customer) *string { return &c.City })
	phone := natsorm.Column(func(c *Customer) *string { return c.Phone })
	n, err := customers.Update(ctx, natsorm.Assign(city.Set("Bergen"), phone.Set("55")), city.Eq("Oslo"))
	if err != nil {
		return err
	}
	fmt.Println("moved", n)

	type Row struct {
		Email string `json:"email"`
		City  string `json:"city"`
	}
	rows, err := natsorm.FindAllInto[Row](ctx, customers, natsorm.Eq("city", "Bergen"))
	if err != nil {
		return err
	}
	type Total struct {
		City  string `json:"city"`
		Count int    `json:"count"`
	}
	totals, err := natsorm.GroupByInto[Total](ctx, customers, []string{"city"}, []natsorm.Aggregate{natsorm.CountRecords()},
		natsorm.Having(natsorm.Gt("count", 0)), natsorm.OrderBy("-count"))
	if err != nil {
		return err
	}
	fmt.Println(rows, totals)
	return nil
}

func buildIndex(ctx context.Context, db *natsorm.DB) (*natsorm.Model[Customer], error) {
	customers, err := natsorm.Define[Customer](ctx, db, natsorm.Index("city"),
		natsorm.BuildRate(20_000), // records in a second; without it, as fast as others let it
		natsorm.BuildProgress(func(done, total int) { fmt.Println(done, "of", total) }))
	var same *natsorm.DuplicatesError
	if errors.As(err, &same) {
		for _, g := range same.Groups {
			fmt.Println("not unique:", g.Columns, g.Value, g.Keys)
		}
	}
	if err != nil {
		return nil, err
	}
	return customers, nil
}

func showBuilds(ctx context.Context, db *natsorm.DB) error {
	schemas, err := db.Models(ctx)
	if err != nil {
		return err
	}
	for _, s := range schemas {
		for _, x := range s.Indexes {
			fmt.Println(s.Name, x.Columns, x.State, x.Done, x.Total, x.Paused)
		}
	}
	return nil
}

func TestModelling(t *testing.T) {
	t.Parallel()
	db := natsormtest.New(t)
	customers, err := natsorm.Define[Customer](t.Context(), db)
	check(t, err)
	check(t, customers.Create(t.Context(), &Customer{Email: "bo@example.com", Country: "NO", City: "Tromsø"}))
	check(t, modelling(t.Context(), customers))
	ann, err := customers.FindOne(t.Context(), natsorm.Eq("email", "ann@example.com"))
	check(t, err)
	if ann.City != "Bergen" || *ann.Phone != "55" {
		t.Errorf("%+v", ann)
	}
	customers, err = buildIndex(t.Context(), db)
	check(t, err)
	check(t, showBuilds(t.Context(), db))
	plan, err := customers.Explain(t.Context(), natsorm.Eq("city", "Bergen"))
	check(t, err)
	if len(plan.Access.Columns) == 0 {
		t.Errorf("%+v", plan.Access)
	}
}
