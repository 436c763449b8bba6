package natsorm_test

import (
	"context"
	"fmt"
	"log"

	"github.com/natsorm/natsorm"
	"github.com/natsorm/natsorm/embedded"
)

// cities fills a model for the examples of queries.
func cities(ctx context.Context, db *natsorm.DB) *natsorm.Model[City] {
	cities, err := natsorm.Define[City](ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	err = cities.BulkCreate(ctx, []*City{
		{Name: "Oslo", Country: "NO", People: 717_710}, {Name: "Bergen", Country: "NO", People: 291_940}, {Name: "Trondheim", Country: "NO", People: 212_660},
		{Name: "Stockholm", Country: "SE", People: 984_748}, {Name: "Uppsala", Country: "SE", People: 242_140},
	})
	if err != nil {
		log.Fatal(err)
	}
	return cities
}

// City is the record of the examples of queries.
type City struct {
	Name    string `json:"name"    orm:"primaryKey"`
	Country string `json:"country" orm:"index"`
	People  int    `json:"people"`
}

func ExampleOrderBy() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	cities := cities(ctx, db)

	largest, err := cities.FindAll(ctx, natsorm.OrderBy("-people"), natsorm.Limit(2))
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range largest {
		fmt.Println(c.Name, c.People)
	}
	// Output:
	// Stockholm 984748
	// Oslo 717710
}

// Pages stay right while records come and go between them.
func ExampleModel_FindPage() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	cities := cities(ctx, db)

	for cursor := ""; ; {
		page, next, err := cities.FindPage(ctx, natsorm.Eq("country", "NO"), natsorm.OrderBy("-people"), natsorm.Limit(2), natsorm.After(cursor))
		if err != nil {
			log.Fatal(err)
		}
		for i, c := range page {
			fmt.Println(i, c.Name)
		}
		if next == "" {
			break
		}
		cursor = next
	}
	// Output:
	// 0 Oslo
	// 1 Bergen
	// 0 Trondheim
}

func ExampleModel_FindAndCountAll() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	cities := cities(ctx, db)

	page, total, err := cities.FindAndCountAll(ctx, natsorm.OrderBy("name"), natsorm.Limit(2), natsorm.Offset(2))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page[0].Name, page[1].Name, "of", total)
	// Output: Stockholm Trondheim of 5
}

func ExampleModel_GroupBy() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	cities := cities(ctx, db)

	groups, err := cities.GroupBy(ctx, []string{"country"},
		[]natsorm.Aggregate{natsorm.CountRecords().As("cities"), natsorm.SumOf("people")}, natsorm.OrderBy("-sum_people"))
	if err != nil {
		log.Fatal(err)
	}
	for _, g := range groups {
		fmt.Printf("%s: %d cities, %.0f people\n", g["country"], g["cities"], g["sum_people"])
	}
	// Output:
	// SE: 2 cities, 1226888 people
	// NO: 3 cities, 1222310 people
}

func ExampleModel_Explain() {
	ctx := context.Background()
	db, done := open(ctx)
	defer done()
	cities := cities(ctx, db)

	plan, err := cities.Explain(ctx, natsorm.Eq("country", "NO"), natsorm.Gt("people", 250_000), natsorm.OrderBy("people"), natsorm.Analyze())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan.Access, "in", plan.Estimated.Requests, "requests")
	fmt.Println("sent", plan.Actual.Requests, "for", *plan.Results, "results")
	// Output:
	// index (country) "NO": 3 entries, 3 records in 2 requests
	// sent 2 for 2 results
}

func ExampleModel_Local() {
	ctx := context.Background()
	srv, err := embedded.Start(embedded.Config{Port: -1})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	db, err := srv.Open(ctx, natsorm.Config{Bucket: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	type Price struct {
		Product string `json:"product" orm:"primaryKey"`
		Cents   int    `json:"cents"`
	}
	prices, err := natsorm.Define[Price](ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	local, err := prices.Local(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer local.Close()

	// What this program has written is there at once; reading it asks nothing of the server.
	if err := prices.Create(ctx, &Price{Product: "apple", Cents: 30}); err != nil {
		log.Fatal(err)
	}
	apple, err := local.FindByPK(ctx, "apple")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(apple.Cents)

	// Code that only reads takes either.
	cheap := func(from natsorm.Reader[Price]) (int, error) { return from.Count(ctx, natsorm.Lt("cents", 50)) }
	fromMemory, err := cheap(local)
	if err != nil {
		log.Fatal(err)
	}
	fromServer, err := cheap(prices)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(fromMemory, fromServer)
	// Output:
	// 30
	// 1 1
}
